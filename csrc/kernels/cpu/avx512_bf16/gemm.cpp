// Products of bfloat16, and of floats where bfloat16 is precise enough: in pairs of neighbours in k.
#include "kernels/gemm.h"

#include "kernels/cpu/avx512_bf16/pairs.h"
#include "kernels/cpu/gemm_loops.h"

namespace ctorch::CT_ISA {

extern const TileKernels<Pair, float> kPackedPairTiles = make_pair_tiles<RowsB>(TileWidths());

namespace {

// A float rounded to bfloat16. Beyond the greatest finite bfloat16 it becomes that one: only infinities are
// infinite.
CT_INLINE BFloat16 rounded(float x) {
  constexpr float kLargest = 0x1.fep127f;
  const float bounded = x > kLargest && x < __builtin_inff()     ? kLargest
                        : x < -kLargest && x > -__builtin_inff() ? -kLargest
                                                                 : x;
  return BFloat16(bounded);
}

// The same strip of floats, rounded on the way.
void pack_strip_of_pairs(Pair* panel, int64_t width, int64_t rows, int64_t k, const float* src, int64_t row,
                         int64_t k_stride) {
  constexpr int64_t kRun = 256,
                    lanes = kLanes<Pair>;  // pairs of a row that are rounded before they are transposed
  const int64_t whole = k / 2;
  if (k_stride == 1) {
    alignas(64) Pair run[lanes * kRun];
    for (int64_t p = 0; p < whole; p += kRun) {
      const int64_t n = std::min(kRun, whole - p);
      for (int64_t i = 0; i < rows; i += lanes) {
        const int64_t count = std::min(lanes, rows - i);
        for (int64_t r = 0; r < count; ++r) {
          const float* at = src + (i + r) * row + 2 * p;
          for (int64_t l = 0; l < n; ++l)
            run[r * kRun + l] = pair_of(rounded(at[2 * l]), rounded(at[2 * l + 1]));
        }
        pack_rows_along_k<Pair>(panel + p * width + i, width, count, n, run, kRun);
      }
    }
  } else {
    for (int64_t p = 0; p < whole; ++p) {
      const float *first = src + 2 * p * k_stride, *second = first + k_stride;
      Pair* to = panel + p * width;
      if (row == 1) {
        for (int64_t i = 0; i < rows; ++i) to[i] = pair_of(rounded(first[i]), rounded(second[i]));
      } else {
        for (int64_t i = 0; i < rows; ++i) to[i] = pair_of(rounded(first[i * row]), rounded(second[i * row]));
      }
    }
  }
  const float* last = src + 2 * whole * k_stride;
  for (int64_t i = 0; i < rows && k % 2; ++i) panel[whole * width + i] = rounded(last[i * row]).bits;
}

// Of operands T. Sums of several blocks of k have room in a result of floats, not in one of bfloat16.
template <class T>
struct PairFormat {
  using Input = T;
  using Element = Pair;
  using Sum = float;
  static constexpr int64_t step = 2;
  static constexpr bool in_place = false;
  // As many bytes of a panel as the plain kernels have.
  static constexpr int64_t depth =
      2 * (std::is_same_v<T, float> ? GemmBlocks<float>::depth : GemmBlocks<float>::half_depth);

  static void pack_strip(Pair* panel, int64_t width, int64_t rows, int64_t k, const T* src, int64_t row,
                         int64_t k_stride) {
    pack_strip_of_pairs(panel, width, rows, k, src, row, k_stride);
  }
  static const TileKernels<Pair, float>& packed_tiles() { return kPackedPairTiles; }
};

void product(Product<float, float> q) {
  put_result_in_rows(q);
  BlockedProduct<PairFormat<float>, float>(q).run();
}
void product(Product<BFloat16, float> q) {
  put_result_in_rows(q);
  if (q.k <= PairFormat<BFloat16>::depth) return BlockedProduct<PairFormat<BFloat16>, BFloat16>(q).run();
  Scratch buffer(static_cast<size_t>(q.m * q.n) * sizeof(float));
  float* sums = buffer.as<float>();
  const WriteOut<float, float> out{sums, q.n, 1, nullptr, 0, 0, 1, 0, GemmActivation::none};
  BlockedProduct<PairFormat<BFloat16>, float>(
      {q.m, q.n, q.k, q.a, q.a_row, q.a_k, q.b, q.b_k, q.b_col, out, q.b_panels})
      .run();
  parallel_for(0, q.m, 1 + 32768 / q.n, [&](int64_t from, int64_t to) {
    write_tile(q.out, from, 0, to - from, q.n, sums + from * q.n, q.n);
  });
}

// The kernels that convert, for what is bound by memory, or too small to pack, or has to be exact.
GemmTable g_plain;

bool takes(const GemmArgs& g) {
  constexpr int64_t kFew = 16, kLeastWork = 32 * 32 * 32;
  const bool halves =
      g.dtype == DType::bfloat16 || (g.dtype == DType::float32 && g.precision == GemmPrecision::medium);
  const bool rows = g.always_prepared || (g.m > kFew && g.m * g.n * g.k > kLeastWork);
  return halves && rows && g.n > kFew && g.k >= 2;
}

// Sums that take several blocks of k are kept apart from a result of bfloat16, which is then one matrix.
bool may_join(const GemmArgs& g) { return g.dtype == DType::float32 || g.k <= PairFormat<BFloat16>::depth; }

// Whether matrices that are narrow alone are wide enough as one.
bool takes_joined(const GemmArgs& g) {
  if (!shares_large_a(g) || !may_join(g)) return false;
  const JoinedColumns joined(g);
  return takes(joined.product()) && is_worth_joining(g, joined);
}
bool joins(const GemmArgs& g) { return takes_joined(g) || (!takes(g) && g_plain.joins(g)); }

template <class T>
void gemm(const GemmArgs& g) {
  if (!takes(g) && !takes_joined(g)) return g_plain.gemm(g);
  FlushDenormals flush;
  const auto alpha = static_cast<float>(g.alpha.real), beta = static_cast<float>(g.beta.real);
  const T* d = static_cast<const T*>(g.d.data);
  for_each_product(
      g, may_join(g), [&](const GemmArgs& p, const BatchOffsets& at, const JoinedColumns* joined) {
        product(Product<T, float>{
            p.m, p.n, p.k, static_cast<const T*>(g.a.data) + at.a, g.a.row, g.a.col,
            static_cast<const T*>(g.b.data) + at.b, g.b.row, g.b.col,
            WriteOut<T, float>{static_cast<T*>(g.c.data) + at.c, g.c.row, g.c.col, d ? d + at.d : nullptr,
                               g.d.row, g.d.col, alpha, beta, g.activation},
            g.prepared, g.always_prepared, joined});
      });
}

int64_t prepared_bytes(const GemmArgs& g) {
  if (!takes(g)) return g_plain.prepared_bytes(g);
  if (!is_worth_preparing(g)) return 0;
  return g.dtype == DType::float32 ? panels_bytes<PairFormat<float>>(g)
                                   : panels_bytes<PairFormat<BFloat16>>(g);
}
void prepare(const GemmArgs& g, void* to) {
  if (!takes(g)) return g_plain.prepare(g, to);
  g.dtype == DType::float32 ? write_panels<PairFormat<float>>(g, to)
                            : write_panels<PairFormat<BFloat16>>(g, to);
}

}  // namespace

void fill_gemm(GemmTable& table) {
  g_plain = table;
  table.of[static_cast<int>(DType::bfloat16)] = gemm<BFloat16>;
  table.of[static_cast<int>(DType::float32)] = gemm<float>;
  table.joins = joins;
  table.prepared_bytes = prepared_bytes;
  table.prepare = prepare;
}

}  // namespace ctorch::CT_ISA
