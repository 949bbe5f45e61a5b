// Attention on AMX tiles. Over bfloat16 the products are of this level, the rest of the level below: both
// sides of the products lie in memory as tiles read them, rows of 64 bytes a stride apart.
#include "kernels/attention.h"

#include "kernels/cpu/amx/attention_pieces.h"
#include "kernels/cpu/flush_denormals.h"

namespace ctorch::CT_ISA {
namespace {

template <bool kTwoRows>
void multiply_tiles(int64_t steps, const BFloat16* a, int64_t a_row, const Pair* b, int64_t b_row, float* c,
                    int64_t c_row, bool add) {
  using Tiles = SumTiles<kTwoRows, true>;
  asm volatile("" ::: "memory");  // the intrinsics do not say that they read memory
  if (add) {
    Tiles::load(c, c_row);
  } else {
    Tiles::clear();
  }
  for (; steps > 0; --steps, a += kStep, b += kTile * b_row) {
    Tiles::load_a(a, a + kTile * a_row, a_row * static_cast<int64_t>(sizeof(BFloat16)));
    Tiles::add_with_b(b, b + kTile, b_row * static_cast<int64_t>(sizeof(Pair)));
  }
  Tiles::store(c, c_row);
}

void multiply(int64_t m, int64_t n, int64_t k, const BFloat16* a, int64_t a_row, const Pair* b, int64_t b_row,
              int64_t b_panel, float* c, int64_t c_row, bool add) {
  static_assert(PairProducts::cols == kPanel);
  for (int64_t j = 0; j < n; j += kPanel, b += b_panel) {
    for (int64_t i = 0; i < m; i += kPanel) {
      const auto tiles = m - i > kTile ? multiply_tiles<true> : multiply_tiles<false>;
      tiles(k / kStep, a + i * a_row, a_row, b, b_row, c + i * c_row + j, c_row, add);
    }
  }
}
void begin() { _tile_loadconfig(&kTileConfig); }
void end() { _tile_release(); }
constexpr PairProducts kProducts = {kStep, kTile, multiply, begin, end};

// The kernels of the level below.
AttentionTable g_plain;

void forward(const AttentionArgs& g) {
  FlushDenormals flush;
  if (!PieceAttention::wins(g) || !PieceAttention(g).forward()) g_plain.forward(g);
}
void backward(const AttentionArgs& g) {
  FlushDenormals flush;
  if (!PieceAttention::wins(g) || !PieceAttention(g).backward()) g_plain.backward(g);
}
bool reads_transposed(const AttentionArgs& g) {
  return !PieceAttention::wins(g) && g_plain.reads_transposed(g);
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
