// Attention over bfloat16 with VDPBF16PS.
#include "kernels/attention.h"

#include "kernels/cpu/avx512_bf16/attention_pairs.h"

namespace ctorch::CT_ISA {
namespace {

template <int... I>
constexpr auto make_row_tiles(std::integer_sequence<int, I...>) {
  constexpr int vectors = kPairCols / kLanes<Pair>;
  struct Kernels {
    TileKernel<Pair, float> of[sizeof...(I)];
  };
  return Kernels{{&pair_tile<I + 1, vectors, StridedA<Pair, I + 1>, RowsB<Pair, vectors>>...}};
}
constexpr auto kRowTiles = make_row_tiles(std::make_integer_sequence<int, GemmBlocks<float>::rows>());

void multiply(int64_t m, int64_t n, int64_t k, const BFloat16* a, int64_t a_row, const Pair* b, int64_t b_row,
              int64_t b_panel, float* c, int64_t c_row, bool add) {
  if (m == 0) return;
  const Panels panels(m, GemmBlocks<float>::rows);
  TileArgs<Pair, float> t{};
  t.k = k / 2;
  t.a_row = a_row / 2;
  t.a_k = 1;
  t.b_k = b_row;
  t.tile_row = c_row;
  t.add = add;
  for (int64_t j = 0; j < n; j += kPairCols, b += b_panel) {
    t.b = b;
    for (int64_t i = 0; i < panels.count; ++i) {
      t.a = reinterpret_cast<const Pair*>(a + panels.start(i) * a_row);
      t.tile = c + panels.start(i) * c_row + j;
      kRowTiles.of[panels.rows(i) - 1](t);
    }
  }
}
void nothing() {}
constexpr PairProducts kProducts = {2, 1, multiply, nothing, nothing};

// The kernels of the level below.
AttentionTable g_plain;

void forward(const AttentionArgs& g) {
  if (g.dtype != DType::bfloat16) return g_plain.forward(g);
  FlushDenormals flush;
  PairAttention(g).forward();
}
void backward(const AttentionArgs& g) {
  if (g.dtype != DType::bfloat16) return g_plain.backward(g);
  FlushDenormals flush;
  PairAttention(g).backward();
}
bool reads_transposed(const AttentionArgs& g) {
  return g.dtype != DType::bfloat16 && g_plain.reads_transposed(g);
}

}  // namespace

void fill_attention(AttentionTable& table) {
  g_plain = table;
  table.forward = forward;
  table.backward = backward;
  table.reads_transposed = reads_transposed;
  table.pairs = &kProducts;
}

}  // namespace ctorch::CT_ISA
