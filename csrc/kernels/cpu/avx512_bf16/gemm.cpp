// Products of bfloat16 with VDPBF16PS: a lane of 32 bits holds two neighbours in k, and a multiply-add of
// lanes adds two products to a float. (Twice the products per instruction of the plain kernels, which convert
// to float first.)
#include "kernels/gemm.h"

#include <immintrin.h>

#include "kernels/cpu/gemm_loops.h"

namespace ctorch::CT_ISA {
namespace {

// Elements p and p + 1 of a row, the first in the lower half; beyond an odd k, 0.
using Pair = uint32_t;

CT_INLINE Pair pair_of(BFloat16 first, BFloat16 second) {
  return first.bits | static_cast<Pair>(second.bits) << 16;
}

// Element (i, p) of the strip at src[i * row + p * k_stride]; pair (i, p / 2) goes to panel[p / 2 * width +
// i].
void pack_pairs(Pair* panel, int64_t width, int64_t rows, int64_t k, const BFloat16* src, int64_t row,
                int64_t k_stride) {
  const int64_t whole = k / 2;
  if (k_stride == 1 && row % 2 == 0) {  // pairs lie as they are wanted: a transposition of words
    for (int64_t i = 0; i < rows; i += kLanes<Pair>) {
      pack_rows_along_k<Pair>(panel + i, width, std::min(kLanes<Pair>, rows - i), whole,
                              reinterpret_cast<const Pair*>(src + i * row), row / 2);
    }
  } else if (row == 1) {
    for (int64_t p = 0; p < whole; ++p) {
      const BFloat16 *first = src + 2 * p * k_stride, *second = first + k_stride;
      Pair* to = panel + p * width;
      for (int64_t i = 0; i < rows; ++i) to[i] = pair_of(first[i], second[i]);
    }
  } else {
    for (int64_t p = 0; p < whole; ++p) {
      const BFloat16* at = src + 2 * p * k_stride;
      for (int64_t i = 0; i < rows; ++i) panel[p * width + i] = pair_of(at[i * row], at[i * row + k_stride]);
    }
  }
  if (k % 2) {
    const BFloat16* at = src + 2 * whole * k_stride;
    for (int64_t i = 0; i < rows; ++i) panel[whole * width + i] = at[i * row].bits;
  }
  if (rows < width) {
    for (int64_t p = 0; p < whole + k % 2; ++p) {
      for (int64_t i = rows; i < width; ++i) panel[p * width + i] = 0;
    }
  }
}

template <int MR, int NV>
void pair_tile(const TileArgs<Pair, float>& t) {
  using Vector = Simd<float>::Vector;
  Vector acc[MR][NV] = {};
  const Pair *a = t.a, *b = t.b;
  for (int64_t p = t.k; p > 0; --p) {
    __m512bh bv[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) bv[j] = reinterpret_cast<__m512bh>(load_vector(b + j * kLanes<Pair>));
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      const auto av = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(a[i])));
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j)
        acc[i][j] =
            reinterpret_cast<Vector>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(acc[i][j]), av, bv[j]));
    }
    a += MR;
    b += t.b_k;
  }
  store_tile<float, MR, NV>(acc, t.tile);
}

template <int NV, int... I>
constexpr void fill_row(TileKernels<Pair, float>& k, std::integer_sequence<int, I...>) {
  ((k.table[NV - 1][I] = &pair_tile<I + 1, NV>), ...);
}
template <int... J>
constexpr TileKernels<Pair, float> make_pair_tiles(std::integer_sequence<int, J...>) {
  TileKernels<Pair, float> k{};
  (fill_row<J + 1>(k, std::make_integer_sequence<int, GemmBlocks<float>::rows>()), ...);
  return k;
}
constexpr TileKernels<Pair, float> kPairTiles = make_pair_tiles(TileWidths());

struct PairFormat {
  using Input = BFloat16;
  using Element = Pair;
  using Sum = float;
  static constexpr int64_t step = 2;
  static constexpr bool in_place = false;
  // As many bytes of a panel as those of the half types that are converted.
  static constexpr int64_t depth = 2 * GemmBlocks<float>::half_depth;

  static void pack(Pair* panel, int64_t width, int64_t rows, int64_t k, const BFloat16* src, int64_t row,
                   int64_t k_stride) {
    pack_pairs(panel, width, rows, k, src, row, k_stride);
  }
  static constexpr const TileKernels<Pair, float>& packed_tiles() { return kPairTiles; }
};

void product(Product<BFloat16, float> q) {
  if (q.out.c_col != 1 && q.out.c_row == 1) transpose(q);
  if (q.k <= PairFormat::depth) return BlockedProduct<PairFormat, BFloat16>(q).run();
  // The result has no room for sums of several blocks of k.
  Scratch buffer(static_cast<size_t>(q.m * q.n) * sizeof(float));
  float* sums = buffer.as<float>();
  const WriteOut<float, float> out{sums, q.n, 1, nullptr, 0, 0, 1, 0, GemmActivation::none};
  BlockedProduct<PairFormat, float>({q.m, q.n, q.k, q.a, q.a_row, q.a_k, q.b, q.b_k, q.b_col, out}).run();
  parallel_for(0, q.m, 1 + 32768 / q.n, [&](int64_t from, int64_t to) {
    write_tile(q.out, from, 0, to - from, q.n, sums + from * q.n, q.n);
  });
}

GemmFn g_plain = nullptr;  // the kernel that converts, for what is bound by memory or too small to pack

void gemm(const GemmArgs& g) {
  constexpr int64_t kFew = 16, kLeastWork = 32 * 32 * 32;
  if (g.m <= kFew || g.n <= kFew || g.k < 2 || g.m * g.n * g.k <= kLeastWork) return g_plain(g);
  FlushDenormals flush;
  const auto alpha = static_cast<float>(g.alpha.real), beta = static_cast<float>(g.beta.real);
  for_each_matrix(g, [&](const BatchOffsets& at) {
    const auto* d = static_cast<const BFloat16*>(g.d.data);
    product({g.m, g.n, g.k, static_cast<const BFloat16*>(g.a.data) + at.a, g.a.row, g.a.col,
             static_cast<const BFloat16*>(g.b.data) + at.b, g.b.row, g.b.col,
             WriteOut<BFloat16, float>{static_cast<BFloat16*>(g.c.data) + at.c, g.c.row, g.c.col,
                                       d ? d + at.d : nullptr, g.d.row, g.d.col, alpha, beta, g.activation}});
  });
}

}  // namespace

void fill_gemm(GemmTable& table) {
  GemmFn& entry = table.of[static_cast<int>(DType::bfloat16)];
  g_plain = entry;
  entry = gemm;
}

}  // namespace ctorch::CT_ISA
