// Matrix products c = act(alpha * a b + beta * d): the choice of a method for the shape, and the loops around
// the register tile. Packing is in gemm_pack.h, the tile in gemm_micro.h, its write-out in gemm_write.h,
// block sizes in gemm_blocks.h.
//
// Every element of c is summed in the order of k, cut at places that depend on the shape alone, so results
// are the same bits for any number of threads.
#include "kernels/gemm.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/gemm_micro.h"
#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/gemm_skinny.h"
#include "kernels/cpu/gemm_write.h"

namespace ctorch::CT_ISA {
namespace {

// One product of elements T, computed in S: a(i, p) at a[i * a_row + p * a_k], b(p, j) at b[p * b_k + j *
// b_col].
template <class T, class S>
struct Product {
  int64_t m, n, k;
  const T* a;
  int64_t a_row, a_k;
  const T* b;
  int64_t b_k, b_col;
  WriteOut<T, S> out;
};

// c^T = b^T a^T.
template <class T, class S>
void transpose(Product<T, S>& q) {
  std::swap(q.m, q.n);
  std::swap(q.a, q.b);
  const int64_t a_row = q.a_row, a_k = q.a_k;
  q.a_row = q.b_col, q.a_k = q.b_k;
  q.b_col = a_row, q.b_k = a_k;
  std::swap(q.out.c_row, q.out.c_col);
  std::swap(q.out.d_row, q.out.d_col);
}

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

// The loops of a product of any size, around packed slabs of A and B. One slab of each is packed by all
// threads, then all threads work on tasks, rectangles of the result.
template <class T, class S>
class BlockedProduct {
  using Blocks = GemmBlocks<S>;

 public:
  explicit BlockedProduct(const Product<T, S>& q) : q_(q) {
    const int64_t k_blocks = ceil_div(q.k, depth_limit());
    depth_ = ceil_div(q.k, k_blocks);
    slab_rows_ = std::min(q.m, Blocks::slab_rows);
    slab_cols_ = std::min(q.n, Blocks::slab_cols);
    // Operands are read in place where packing would cost more than it saves: few panels use them, or they
    // fit the L1.
    const bool in_place = std::is_same_v<T, S>;
    b_in_place_ = in_place && q.b_col == 1 && (q.m <= 2 * Blocks::rows || q.k * q.n <= kSmallOperand);
    a_in_place_ = in_place && (q.n <= 2 * Blocks::cols || (q.a_k == 1 && q.m * q.k <= kSmallOperand));
  }

  void run() {
    Scratch a_buffer(static_cast<size_t>(a_in_place_ ? 0 : slab_rows_ * depth_) * sizeof(S));
    Scratch b_buffer(static_cast<size_t>(ceil_div(slab_cols_, Blocks::cols) * Blocks::cols * depth_) *
                     sizeof(S));
    a_packed_ = a_buffer.as<S>();
    b_packed_ = b_buffer.as<S>();
    for (int64_t j = 0; j < q_.n; j += slab_cols_) {
      for (int64_t p = 0; p < q_.k; p += depth_) {
        for (int64_t i = 0; i < q_.m; i += slab_rows_) slab(i, j, p);
      }
    }
  }

 private:
  // Half types have no room for partial sums in the result, so they take all of k at once (see product()).
  static constexpr int64_t depth_limit() { return std::is_same_v<T, S> ? Blocks::depth : Blocks::half_depth; }

  void slab(int64_t i0, int64_t j0, int64_t p0) {
    i0_ = i0, j0_ = j0, p0_ = p0;
    m_ = std::min(slab_rows_, q_.m - i0);
    n_ = std::min(slab_cols_, q_.n - j0);
    k_ = std::min(depth_, q_.k - p0);
    out_ = for_k_block(q_.out, p0 == 0, p0 + k_ == q_.k);
    pack();
    multiply();
  }

  void pack() {
    const Panels rows(m_, Blocks::rows);
    const int64_t a_panels = a_in_place_ ? 0 : rows.count;
    const int64_t b_panels = i0_ > 0 ? 0 : ceil_div(n_, Blocks::cols);
    const int64_t grain = std::max<int64_t>(1, kPackGrain / (Blocks::cols * k_));
    parallel_for(0, a_panels + b_panels, grain, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        if (i < b_panels) {
          pack_b(i);
        } else {
          const int64_t first = rows.start(i - b_panels), count = rows.rows(i - b_panels);
          pack_panel(a_packed_ + first * k_, count, count, k_, q_.a + (i0_ + first) * q_.a_row + p0_ * q_.a_k,
                     q_.a_row, q_.a_k);
        }
      }
    });
  }

  void pack_b(int64_t panel) {
    const int64_t j = panel * Blocks::cols;
    const int64_t cols = std::min(Blocks::cols, n_ - j);
    if (b_in_place_ && cols == Blocks::cols) return;
    pack_panel(b_packed_ + j * k_, ceil_div(cols, Blocks::lanes) * Blocks::lanes, cols, k_,
               q_.b + (j0_ + j) * q_.b_col + p0_ * q_.b_k, q_.b_col, q_.b_k);
  }

  void multiply() {
    const Panels rows(m_, Blocks::rows);
    const int64_t col_panels = ceil_div(n_, Blocks::cols);
    // Rectangles of panels: as large as the caches like them, but enough of them for all threads.
    int64_t high = std::min(rows.count, Blocks::task_row_panels),
            wide = std::min(col_panels, Blocks::task_col_panels);
    const int64_t tile_work = Blocks::rows * Blocks::cols * k_;
    const int64_t enough = 4 * num_threads();
    while (ceil_div(rows.count, high) * ceil_div(col_panels, wide) < enough &&
           high * wide * tile_work > 2 * kTaskWork) {
      if (high >= 2 * wide) {
        high = ceil_div(high, 2);
      } else {
        wide = ceil_div(wide, 2);
      }
    }
    const int64_t down = ceil_div(rows.count, high), across = ceil_div(col_panels, wide);
    const int64_t grain = std::max<int64_t>(1, kTaskWork / (high * wide * tile_work));
    parallel_for(0, down * across, grain, [&](int64_t from, int64_t to) {
      for (int64_t task = from; task < to; ++task) {
        const int64_t i = task % down * high, j = task / down * wide;
        rectangle(rows, i, std::min(i + high, rows.count), j, std::min(j + wide, col_panels));
      }
    });
  }

  // Panels [i_from, i_to) x [j_from, j_to) of the slab.
  void rectangle(const Panels& panels, int64_t i_from, int64_t i_to, int64_t j_from, int64_t j_to) {
    alignas(64) S tile[Blocks::rows * Blocks::cols];
    TileArgs<S> t{};
    t.k = k_;
    t.tile = tile;
    for (int64_t j = j_from; j < j_to; ++j) {
      const int64_t col = j * Blocks::cols;
      const int64_t cols = std::min(Blocks::cols, n_ - col);
      const int64_t vectors = ceil_div(cols, Blocks::lanes);
      t.b = b_packed_ + col * k_;
      t.b_k = vectors * Blocks::lanes;
      if constexpr (std::is_same_v<T, S>) {
        if (b_in_place_ && cols == Blocks::cols) {
          t.b = q_.b + p0_ * q_.b_k + (j0_ + col);
          t.b_k = q_.b_k;
        }
      }
      for (int64_t i = i_from; i < i_to; ++i) {
        const int64_t first = panels.start(i), rows = panels.rows(i);
        prefetch_tile(out_, i0_ + first, j0_ + col, rows, cols);
        if constexpr (std::is_same_v<T, S>) {
          if (a_in_place_) {
            t.a = q_.a + (i0_ + first) * q_.a_row + p0_ * q_.a_k;
            t.a_row = q_.a_row;
            t.a_k = q_.a_k;
            kStridedTiles<S>.get(rows, vectors)(t);
            write_tile(out_, i0_ + first, j0_ + col, rows, cols, tile, Blocks::cols);
            continue;
          }
        }
        t.a = a_packed_ + first * k_;
        kPackedTiles<S>.get(rows, vectors)(t);
        write_tile(out_, i0_ + first, j0_ + col, rows, cols, tile, Blocks::cols);
      }
    }
  }

  static constexpr int64_t kSmallOperand = 16384;
  // Work that is worth a thread: elements to pack, multiply-adds.
  static constexpr int64_t kPackGrain = 1 << 15, kTaskWork = 1 << 18;

  const Product<T, S> q_;
  int64_t depth_, slab_rows_, slab_cols_;
  bool a_in_place_, b_in_place_;
  S* a_packed_ = nullptr;
  S* b_packed_ = nullptr;
  int64_t i0_ = 0, j0_ = 0, p0_ = 0, m_ = 0, n_ = 0, k_ = 0;
  WriteOut<T, S> out_{};
};

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
  // Below 4 rows packing never pays; up to 16 it does unless the large operand comes from memory.
  constexpr int64_t kLarge = 1 << 19;
  if (q.m > kSkinnyRows || (q.m > 4 && q.n * q.k < kLarge) || (q.b_k != 1 && q.b_col != 1)) return false;
  skinny_product(q.a, q.a_row, q.a_k, q.m, q.b, q.b_k, q.b_col, q.n, q.k, q.out);
  return true;
}

template <class T, class S>
void product(Product<T, S> q) {
  using Blocks = GemmBlocks<S>;
  if (q.k == 0) return write_without_product(q);
  if (q.m * q.n * q.k <= Blocks::small_work && q.k <= Blocks::small_depth) {
    if (q.out.c_col != 1 && q.out.c_row == 1) transpose(q);
    return small_product(q);
  }
  if (try_skinny(q)) return;
  if (q.n <= kSkinnyRows) {
    Product<T, S> turned = q;
    transpose(turned);
    if (try_skinny(turned)) return;
  }
  if (q.out.c_col != 1 && q.out.c_row == 1) transpose(q);
  if constexpr (!std::is_same_v<T, S>) {
    if (q.k > Blocks::half_depth) {
      // Sums over several blocks of k are kept in S, and converted at the end.
      Scratch sums(static_cast<size_t>(q.m * q.n) * sizeof(S));
      split_product(q, sums.as<S>());
      return;
    }
  }
  BlockedProduct<T, S>(q).run();
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

// Offsets of the operands of one matrix of the batch, in elements.
struct BatchOffsets {
  int64_t a = 0, b = 0, c = 0, d = 0;
};
BatchOffsets batch_offsets(const GemmArgs& g, int64_t index) {
  BatchOffsets at;
  for (int dim = g.batch_dims - 1; dim >= 0; --dim) {
    const int64_t i = index % g.batch_size[dim];
    index /= g.batch_size[dim];
    at.a += i * g.a.batch[dim];
    at.b += i * g.b.batch[dim];
    at.c += i * g.c.batch[dim];
    at.d += i * g.d.batch[dim];
  }
  return at;
}

// Run one product per matrix of the batch: in turn if each is large enough for all threads, else side by
// side.
template <class Body>
void for_each_matrix(const GemmArgs& g, Body&& body) {
  int64_t batch = 1;
  for (int dim = 0; dim < g.batch_dims; ++dim) batch *= g.batch_size[dim];
  if (batch == 0 || g.m == 0 || g.n == 0) return;
  if (batch == 1) return body(batch_offsets(g, 0));
  constexpr int64_t kWorth = 1 << 17, kLarge = 1 << 23;  // multiply-adds: worth a thread; worth all threads
  const int64_t work = g.m * g.n * std::max<int64_t>(g.k, 1);
  if (work >= kLarge && batch < 4 * num_threads()) {
    for (int64_t i = 0; i < batch; ++i) body(batch_offsets(g, i));
    return;
  }
  parallel_for(0, batch, std::max<int64_t>(1, kWorth / work), [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) body(batch_offsets(g, i));
  });
}

template <class T, class S>
void gemm_as(const GemmArgs& g) {
  S alpha, beta;
  if constexpr (std::is_floating_point_v<S>) {
    alpha = static_cast<S>(g.alpha.real), beta = static_cast<S>(g.beta.real);
  } else {
    alpha = static_cast<S>(g.alpha.integer), beta = static_cast<S>(g.beta.integer);
  }
  for_each_matrix(g, [&](const BatchOffsets& at) {
    const T* d = static_cast<const T*>(g.d.data);
    product(
        Product<T, S>{g.m, g.n, g.k, static_cast<const T*>(g.a.data) + at.a, g.a.row, g.a.col,
                      static_cast<const T*>(g.b.data) + at.b, g.b.row, g.b.col,
                      WriteOut<T, S>{static_cast<T*>(g.c.data) + at.c, g.c.row, g.c.col,
                                     d ? d + at.d : nullptr, g.d.row, g.d.col, alpha, beta, g.activation}});
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

void gemm(const GemmArgs& g) {
  FlushDenormals flush;  // parallel_for() carries the mode into its threads
  switch (g.dtype) {
    case DType::float32: return gemm_as<float, float>(g);
    case DType::float64: return gemm_as<double, double>(g);
    case DType::float16: return gemm_as<Half, float>(g);
    case DType::bfloat16: return gemm_as<BFloat16, float>(g);
    case DType::complex64: return gemm_complex<float>(g);
    case DType::complex128: return gemm_complex<double>(g);
    // Signed and unsigned products have the same bits.
    case DType::boolean:
    case DType::int8:
    case DType::uint8: return gemm_as<uint8_t, uint32_t>(g);
    case DType::int16:
    case DType::uint16: return gemm_as<uint16_t, uint32_t>(g);
    case DType::int32:
    case DType::uint32: return gemm_as<uint32_t, uint32_t>(g);
    case DType::int64:
    case DType::uint64: return gemm_as<uint64_t, uint64_t>(g);
  }
}

}  // namespace

void fill_gemm(GemmTable& table) { table.gemm = gemm; }

}  // namespace ctorch::CT_ISA
