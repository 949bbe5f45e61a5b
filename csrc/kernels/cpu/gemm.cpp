// Matrix products c = act(alpha * a b + beta * d): the choice of a method for the shape. The loops around the
// register tile are in gemm_loops.h, batches in gemm_batch.h, packing in gemm_pack.h, the tile in
// gemm_micro.h, its write-out in gemm_write.h, block sizes in gemm_blocks.h.
//
// Every element of c is summed in the order of k, cut at places that depend on the shape alone, so results
// are the same bits for any number of threads.
#include "kernels/gemm.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/gemm_loops.h"
#include "kernels/cpu/gemm_skinny.h"

namespace ctorch::CT_ISA {
namespace {

// Small products: nothing is allocated, A is read in place, B too where its rows are contiguous.
template <class T, class S>
void small_product(const Product<T, S>& q) {
  using Blocks = GemmBlocks<S>;
  alignas(64) S panel[Blocks::small_depth * Blocks::cols];
  alignas(64) S a_panel[std::is_same_v<T, S> ? 1 : Blocks::small_depth * Blocks::rows];
  alignas(64) S tile[Blocks::rows * Blocks::cols];
  const Panels panels(q.m, Blocks::rows);
  TileArgs<S> t{};
  t.k = q.k;
  t.tile = tile;
  for (int64_t j = 0; j < q.n; j += Blocks::cols) {
    const int64_t cols = std::min(Blocks::cols, q.n - j);
    const int64_t vectors = ceil_div(cols, Blocks::lanes);
    const T* b = q.b + j * q.b_col;
    if constexpr (std::is_same_v<T, S>) {
      t.b = b;
      t.b_k = q.b_k;
    }
    if (!std::is_same_v<T, S> || q.b_col != 1 || cols != vectors * Blocks::lanes) {
      pack_panel(panel, vectors * Blocks::lanes, cols, q.k, b, q.b_col, q.b_k);
      t.b = panel;
      t.b_k = vectors * Blocks::lanes;
    }
    for (int64_t i = 0; i < panels.count; ++i) {
      const int64_t first = panels.start(i), rows = panels.rows(i);
      const T* a = q.a + first * q.a_row;
      if constexpr (std::is_same_v<T, S>) {
        t.a = a;
        t.a_row = q.a_row;
        t.a_k = q.a_k;
        kStridedTiles<S>.get(rows, vectors)(t);
      } else {
        pack_panel(a_panel, rows, rows, q.k, a, q.a_row, q.a_k);
        t.a = a_panel;
        kPackedTiles<S>.get(rows, vectors)(t);
      }
      write_tile(q.out, first, j, rows, cols, tile, Blocks::cols);
    }
  }
}

// No k to sum over: what is left of the formula is beta * d.
template <class T, class S>
void write_without_product(const Product<T, S>& q) {
  constexpr int64_t width = 256;
  const S zeros[width] = {};
  for (int64_t j = 0; j < q.n; j += width) write_tile(q.out, 0, j, q.m, std::min(width, q.n - j), zeros, 0);
}

// Try the methods for few rows; false if the shape or the strides ask for another.
template <class T, class S>
bool try_skinny(const Product<T, S>& q) {
  if (!is_skinny(q.m, q.n, q.k) || (q.b_k != 1 && q.b_col != 1)) return false;
  if (q.b_panels && (q.m > 4 || q.always_prepared)) return false;
  skinny_product(q.a, q.a_row, q.a_k, q.m, q.b, q.b_k, q.b_col, q.n, q.k, q.out);
  return true;
}

// Few results of long sums, of which a block of k has too little for several threads: stretches of k are
// summed side by side, each by one. No form of b is kept for them.
template <class T>
struct DeepProduct {
  static constexpr int64_t kMostResults = 1 << 14, kBlock = GemmBlocks<T>::depth, kShortest = 4 * kBlock,
                           kFewest = 4, kMost = 16;
  static bool serves(int64_t m, int64_t n, int64_t k) {
    return m * n <= kMostResults && k >= kFewest * kShortest;
  }
};
template <class T>
void deep_product(const Product<T, T>& q) {
  using Deep = DeepProduct<T>;
  const int64_t results = q.m * q.n, block = Deep::kBlock;
  const int64_t depth = ceil_div(ceil_div(q.k, std::min(Deep::kMost, q.k / Deep::kShortest)), block) * block;
  const int64_t count = ceil_div(q.k, depth);
  Scratch buffer(static_cast<size_t>(count * results) * sizeof(T));
  T* sums = buffer.as<T>();
  parallel_for(0, count, 1, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      Product<T, T> part = q;
      part.a += i * depth * q.a_k;
      part.b += i * depth * q.b_k;
      part.k = std::min(depth, q.k - i * depth);
      part.out = {sums + i * results, q.n, 1, nullptr, 0, 0, T(1), T(0), GemmActivation::none};
      BlockedProduct<PlainFormat<T, T>, T>(part).run();
    }
  });
  parallel_for(0, q.m, std::max<int64_t>(1, 32768 / (q.n * count)), [&](int64_t from, int64_t to) {
    T* first = sums + from * q.n;
    for (int64_t i = 1; i < count; ++i) {
      const T* part = first + i * results;
      for (int64_t at = 0; at < (to - from) * q.n; ++at) first[at] += part[at];
    }
    write_tile(q.out, from, 0, to - from, q.n, first, q.n);
  });
}

// Sums that are cut along k, and those of half types that take several goes, are products of one matrix.
template <class T, class S>
bool may_join(const GemmArgs& g) {
  if constexpr (!std::is_same_v<T, S>) return g.k <= GemmBlocks<S>::half_depth;
  if constexpr (std::is_floating_point_v<T>) return !DeepProduct<T>::serves(g.m, g.n, g.k);
  return true;
}

template <class T, class S>
void product(Product<T, S> q) {
  using Blocks = GemmBlocks<S>;
  if (q.joined) return BlockedProduct<PlainFormat<T, S>, T>(q).run();
  if (q.k == 0) return write_without_product(q);
  // A vector by a matrix along whose rows it is summed: nothing is worth packing.
  constexpr int64_t kFewDots = 2048;  // elements of the matrix
  const bool dots = ((q.m == 1 && q.b_k == 1) || (q.n == 1 && q.a_k == 1)) && q.m * q.n * q.k >= kFewDots;
  if (q.m * q.n * q.k <= Blocks::small_work && q.k <= Blocks::small_depth && !dots && !q.always_prepared) {
    if (q.out.c_col != 1 && q.out.c_row == 1) transpose(q);
    return small_product(q);
  }
  if constexpr (std::is_floating_point_v<S>) {  // integers: rare, and each type would take 25 KB
    if (try_skinny(q)) return;
    if (q.n <= kSkinnyRows) {
      Product<T, S> turned = q;
      transpose(turned);
      if (try_skinny(turned)) return;
    }
  }
  if constexpr (std::is_floating_point_v<T>) {
    if (DeepProduct<T>::serves(q.m, q.n, q.k) && !q.always_prepared) return deep_product(q);
  }
  put_result_in_rows(q);
  if constexpr (!std::is_same_v<T, S>) {
    if (q.k > Blocks::half_depth) {
      // Sums over several blocks of k are kept in S, and converted at the end.
      Scratch sums(static_cast<size_t>(q.m * q.n) * sizeof(S));
      split_product(q, sums.as<S>());
      return;
    }
  }
  BlockedProduct<PlainFormat<T, S>, T>(q).run();
}

// A product of half types that is too deep for one block of k: exact conversions of slices of k to S, summed
// in S.
template <class T, class S>
void split_product(const Product<T, S>& q, S* sums) {
  const int64_t depth = GemmBlocks<S>::half_depth;
  Scratch a_buffer(static_cast<size_t>(q.m * depth) * sizeof(S));
  Scratch b_buffer(static_cast<size_t>(q.n * depth) * sizeof(S));
  S* a = a_buffer.template as<S>();
  S* b = b_buffer.template as<S>();
  for (int64_t p = 0; p < q.k; p += depth) {
    const int64_t k = std::min(depth, q.k - p);
    parallel_for(0, q.m + q.n, std::max<int64_t>(1, 32768 / k), [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const T* src = i < q.m ? q.a + i * q.a_row + p * q.a_k : q.b + (i - q.m) * q.b_col + p * q.b_k;
        const int64_t step = i < q.m ? q.a_k : q.b_k;
        S* to_row = i < q.m ? a + i * k : b + (i - q.m) * k;
        for (int64_t l = 0; l < k; ++l) to_row[l] = static_cast<S>(src[l * step]);
      }
    });
    const WriteOut<S, S> out{sums, q.n, 1, p ? sums : nullptr, q.n, 1, S(1), S(1), GemmActivation::none};
    product(Product<S, S>{q.m, q.n, k, a, k, 1, b, 1, k, out});
  }
  write_tile(q.out, 0, 0, q.m, q.n, sums, q.n);
}

template <class T, class S>
void gemm_as(const GemmArgs& g) {
  S alpha, beta;
  if constexpr (std::is_floating_point_v<S>) {
    alpha = static_cast<S>(g.alpha.real), beta = static_cast<S>(g.beta.real);
  } else {
    alpha = static_cast<S>(g.alpha.integer), beta = static_cast<S>(g.beta.integer);
  }
  const T* d = static_cast<const T*>(g.d.data);
  for_each_product(
      g, may_join<T, S>(g), [&](const GemmArgs& p, const BatchOffsets& at, const JoinedColumns* joined) {
        product(
            Product<T, S>{p.m, p.n, p.k, static_cast<const T*>(g.a.data) + at.a, g.a.row, g.a.col,
                          static_cast<const T*>(g.b.data) + at.b, g.b.row, g.b.col,
                          WriteOut<T, S>{static_cast<T*>(g.c.data) + at.c, g.c.row, g.c.col,
                                         d ? d + at.d : nullptr, g.d.row, g.d.col, alpha, beta, g.activation},
                          std::is_same_v<T, S> ? g.prepared : nullptr, g.always_prepared, joined});
      });
}

// c = alpha * sums + beta * d over complex numbers given as pairs; sums are dense rows.
template <class R>
void write_complex(const GemmArgs& g, const R* sums, R* c, const R* d) {
  const R ar = static_cast<R>(g.alpha.real), ai = static_cast<R>(g.alpha.imag);
  const R br = static_cast<R>(g.beta.real), bi = static_cast<R>(g.beta.imag);
  for (int64_t i = 0; i < g.m; ++i) {
    for (int64_t j = 0; j < g.n; ++j) {
      const R* s = sums + 2 * (i * g.n + j);
      R re = ar * s[0] - ai * s[1], im = ar * s[1] + ai * s[0];
      if (d) {
        const R* e = d + 2 * (i * g.d.row + j * g.d.col);
        re += br * e[0] - bi * e[1];
        im += br * e[1] + bi * e[0];
      }
      R* to = c + 2 * (i * g.c.row + j * g.c.col);
      to[0] = re;
      to[1] = im;
    }
  }
}

// A complex product as four real ones over the real and imaginary parts, which are strided matrices in place.
template <class R>
void gemm_complex(const GemmArgs& g) {
  for_each_matrix(g, [&](const BatchOffsets& at) {
    const R* a = static_cast<const R*>(g.a.data) + 2 * at.a;
    const R* b = static_cast<const R*>(g.b.data) + 2 * at.b;
    R* c = static_cast<R*>(g.c.data) + 2 * at.c;
    const R* d = g.d.data ? static_cast<const R*>(g.d.data) + 2 * at.d : nullptr;
    Scratch buffer(static_cast<size_t>(2 * g.m * g.n) * sizeof(R));
    R* sums = buffer.as<R>();
    auto part = [&](int a_part, int b_part, int to, R sign, bool add) {
      const WriteOut<R, R> out{sums + to, 2 * g.n, 2,    add ? sums + to : nullptr, 2 * g.n,
                               2,         sign,    R(1), GemmActivation::none};
      product(Product<R, R>{g.m, g.n, g.k, a + a_part, 2 * g.a.row, 2 * g.a.col, b + b_part, 2 * g.b.row,
                            2 * g.b.col, out});
    };
    const R sign = g.conj_a ? R(-1) : R(1);
    part(0, 0, 0, R(1), false);
    part(1, 1, 0, -sign, true);
    part(0, 1, 1, R(1), false);
    part(1, 0, 1, sign, true);
    write_complex(g, sums, c, d);
  });
}

template <class T, class S>
void gemm(const GemmArgs& g) {
  FlushDenormals flush;
  gemm_as<T, S>(g);
}
template <class R>
void gemm_of_complex(const GemmArgs& g) {
  FlushDenormals flush;
  gemm_complex<R>(g);
}

bool joins(const GemmArgs& g) {
  if (!shares_large_a(g)) return false;
  const JoinedColumns joined(g);
  const auto answer = [&]<class T, class S>(T, S) {
    return may_join<T, S>(g) && is_worth_joining(g, joined);
  };
  switch (g.dtype) {
    case DType::float32: return answer(float(), float());
    case DType::float64: return answer(double(), double());
    default: return is_half(g.dtype) && answer(BFloat16(), float());
  }
}
int64_t prepared_bytes(const GemmArgs& g) {
  const auto bytes = [&]<class T>(T) {
    const bool deep = DeepProduct<T>::serves(g.m, g.n, g.k) && !g.always_prepared;
    return deep || !is_worth_preparing(g) ? 0 : panels_bytes<PlainFormat<T, T>>(g);
  };
  switch (g.dtype) {
    case DType::float32: return bytes(float());
    case DType::float64: return bytes(double());
    default: return 0;
  }
}
void prepare(const GemmArgs& g, void* to) {
  g.dtype == DType::float32 ? write_panels<PlainFormat<float, float>>(g, to)
                            : write_panels<PlainFormat<double, double>>(g, to);
}

}  // namespace

#define CT_SHARED_TILES(S)                                                                          \
  template <>                                                                                       \
  const TileKernels<S> SharedTiles<S>::packed = make_tile_kernels<S, PackedA, RowsB>(TileWidths()); \
  template <>                                                                                       \
  const TileKernels<S> SharedTiles<S>::strided = make_tile_kernels<S, StridedA, RowsB>(TileWidths());
CT_SHARED_TILES(float)
CT_SHARED_TILES(double)
CT_SHARED_TILES(uint32_t)
CT_SHARED_TILES(uint64_t)
#undef CT_SHARED_TILES

void fill_gemm(GemmTable& table) {
  auto at = [&](DType dtype) -> GemmFn& { return table.of[static_cast<int>(dtype)]; };
  at(DType::float32) = gemm<float, float>;
  at(DType::float64) = gemm<double, double>;
  at(DType::float16) = gemm<Half, float>;
  at(DType::bfloat16) = gemm<BFloat16, float>;
  at(DType::complex64) = gemm_of_complex<float>;
  at(DType::complex128) = gemm_of_complex<double>;
  // Signed and unsigned products have the same bits.
  at(DType::boolean) = at(DType::int8) = at(DType::uint8) = gemm<uint8_t, uint32_t>;
  at(DType::int16) = at(DType::uint16) = gemm<uint16_t, uint32_t>;
  at(DType::int32) = at(DType::uint32) = gemm<uint32_t, uint32_t>;
  at(DType::int64) = at(DType::uint64) = gemm<uint64_t, uint64_t>;
  table.joins = joins;
  table.prepared_bytes = prepared_bytes;
  table.prepare = prepare;
}

}  // namespace ctorch::CT_ISA
