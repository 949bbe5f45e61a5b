// Attention over bfloat16 on AMX tiles. Both sides of its products lie in memory as tiles read them: rows of
// 64 bytes, a stride apart.
#include "kernels/attention.h"

#include "kernels/cpu/amx/gemm_tiles.h"
#include "kernels/cpu/attention_pairs.h"

namespace ctorch::CT_ISA {
namespace {

struct TileProducts {
  static constexpr int64_t step = kStep, rows = kTile;
  using Registers = TileRegisters;

  static void multiply(int64_t m, int64_t n, int64_t k, const BFloat16* a, int64_t a_row, const Pair* b,
                       int64_t b_row, int64_t b_panel, float* c, int64_t c_row, bool add) {
    static_assert(kPairCols == kPanel);
    for (int64_t j = 0; j < n; j += kPanel, b += b_panel) {
      for (int64_t i = 0; i < m; i += kPanel) {
        const auto multiply = m - i > kTile ? multiply_tiles<true> : multiply_tiles<false>;
        multiply(k / kStep, a + i * a_row, a_row, b, b_row, c + i * c_row + j, c_row, add);
      }
    }
  }

 private:
  template <bool kTwoRows>
  static void multiply_tiles(int64_t steps, const BFloat16* a, int64_t a_row, const Pair* b, int64_t b_row,
                             float* c, int64_t c_row, bool add) {
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
};

// The kernels of the level below.
AttentionTable g_plain;

void forward(const AttentionArgs& g) {
  if (g.dtype != DType::bfloat16) return g_plain.forward(g);
  FlushDenormals flush;
  PairAttention<TileProducts>(g).forward();
}
void backward(const AttentionArgs& g) {
  if (g.dtype != DType::bfloat16) return g_plain.backward(g);
  FlushDenormals flush;
  PairAttention<TileProducts>(g).backward();
}

}  // namespace

void fill_attention(AttentionTable& table) {
  g_plain = table;
  table.forward = forward;
  table.backward = backward;
}

}  // namespace ctorch::CT_ISA
