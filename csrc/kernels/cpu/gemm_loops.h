// The loops of a matrix product around the register tile, for any format of the packed panels.
#pragma once

#include <algorithm>

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/gemm_batch.h"
#include "kernels/cpu/gemm_micro.h"
#include "kernels/cpu/gemm_pack.h"
#include "kernels/cpu/gemm_write.h"
#include "kernels/gemm.h"

namespace ctorch::CT_ISA {
namespace {

// One product of elements T, computed in S, with results O: a(i, p) at a[i * a_row + p * a_k], b(p, j) at
// b[p * b_k + j * b_col].
template <class T, class S, class O = T>
struct Product {
  int64_t m, n, k;
  const T* a;
  int64_t a_row, a_k;
  const T* b;
  int64_t b_k, b_col;
  WriteOut<O, S> out;
  // b in the form of write_panels(), or null.
  const void* b_panels = nullptr;
  bool always_prepared = false;  // b is
  // Where the columns lie if they are not those of one matrix; b, out.c and out.d are those of the first.
  const JoinedColumns* joined = nullptr;
};

// c^T = b^T a^T.
template <class T, class S, class O>
void transpose(Product<T, S, O>& q) {
  std::swap(q.m, q.n);
  std::swap(q.a, q.b);
  const int64_t a_row = q.a_row, a_k = q.a_k;
  q.a_row = q.b_col, q.a_k = q.b_k;
  q.b_col = a_row, q.b_k = a_k;
  std::swap(q.out.c_row, q.out.c_col);
  std::swap(q.out.d_row, q.out.d_col);
  q.b_panels = nullptr;
}
// A result in columns is one in rows of the transposed product, which a kept form of b does not serve.
template <class T, class S, class O>
void put_result_in_rows(Product<T, S, O>& q) {
  if (q.out.c_col != 1 && q.out.c_row == 1 && !q.b_panels) transpose(q);
}

// Panels of what is summed: elements T converted to S.
template <class T, class S>
struct PlainFormat {
  using Input = T;
  using Element = S;
  using Sum = S;
  static constexpr int64_t step = 1;
  static constexpr bool in_place = std::is_same_v<T, S>;
  // Half types have no room for partial sums in the result, so they take all of k at once (see product()).
  static constexpr int64_t depth = in_place ? GemmBlocks<S>::depth : GemmBlocks<S>::half_depth;

  static void pack_strip(S* panel, int64_t width, int64_t rows, int64_t k, const T* src, int64_t row,
                         int64_t k_stride) {
    ctorch::CT_ISA::pack_strip(panel, width, rows, k, src, row, k_stride);
  }
  static constexpr const TileKernels<S>& packed_tiles() { return kPackedTiles<S>; }
};

// Panels [i_from, i_to) of A and [j_from, j_to) of B.
struct Rectangle {
  int64_t i_from, i_to, j_from, j_to;
};

// The tasks of a slab: rectangles of at most `high` by `wide` panels, as large as the caches like them, but
// enough of them for all threads. `work` is the number of multiply-adds of one panel with one. Rows are cut
// before rectangles get narrower than `narrowest`.
class Rectangles {
 public:
  CT_INLINE Rectangles(int64_t rows, int64_t cols, int64_t high, int64_t wide, int64_t work,
                       int64_t narrowest = 1)
      : rows_(rows), cols_(cols), high_(std::min(rows, high)), wide_(std::min(cols, wide)) {
    constexpr int64_t kTaskWork = 1 << 18;  // multiply-adds that are worth a thread
    const int64_t threads = num_threads(), enough = 4 * threads;
    const auto too_few = [&] { return count() < enough || (count() < 2 * enough && count() % threads != 0); };
    while (too_few() && high_ * wide_ > 1 && high_ * wide_ * work > 2 * kTaskWork) {
      if (high_ > 1 && (high_ >= 2 * wide_ || wide_ <= narrowest)) {
        high_ = ceil_div(high_, 2);
      } else {
        wide_ = ceil_div(wide_, 2);
      }
    }
    high_ = even(rows_, high_), wide_ = even(cols_, wide_);
    grain = std::max<int64_t>(1, kTaskWork / (high_ * wide_ * work));
  }
  CT_INLINE int64_t count() const { return ceil_div(rows_, high_) * ceil_div(cols_, wide_); }
  CT_INLINE int64_t high() const { return high_; }
  CT_INLINE bool take_all_rows() const { return high_ == rows_; }
  CT_INLINE bool take_all_cols() const { return wide_ == cols_; }
  CT_INLINE Rectangle at(int64_t task) const {
    const int64_t down = ceil_div(rows_, high_), i = task % down * high_, j = task / down * wide_;
    return {i, std::min(i + high_, rows_), j, std::min(j + wide_, cols_)};
  }

  int64_t grain;  // tasks that are worth a thread

 private:
  // Parts alike, as many as there would be of `part` each.
  static CT_INLINE int64_t even(int64_t all, int64_t part) { return ceil_div(all, ceil_div(all, part)); }

  int64_t rows_, cols_, high_, wide_;
};

// The loops of a product of any size, around packed slabs of A and B. One slab of each is packed by all
// threads, then all threads work on tasks, rectangles of the result. Where a panel of B serves one task
// alone, the task packs it.
//
// Format says what the packed panels hold: Elements, each for `step` neighbours in k; how they are packed,
// and the kernels that read them; whether operands may be read in place; and the greatest depth of a block of
// k.
template <class Format, class O>
class BlockedProduct {
  using T = typename Format::Input;
  using S = typename Format::Sum;
  using Element = typename Format::Element;
  using Blocks = GemmBlocks<S>;

 public:
  explicit BlockedProduct(const Product<T, S, O>& q) : q_(q) {
    // By panels that are there already and serve few rows as a rule, several blocks would only be several
    // starts of all threads.
    const bool one_block = q.always_prepared && q.b_panels && q.k <= 4 * Format::depth;
    const int64_t k_blocks = one_block ? 1 : ceil_div(q.k, Format::depth);
    depth_ = ceil_div(ceil_div(q.k, k_blocks), Format::step) * Format::step;
    slab_rows_ = std::min(q.m, Blocks::slab_rows);
    slab_cols_ = std::min(q.n, Blocks::slab_cols);
    // Operands are read in place where packing would cost more than it saves: few panels use them, or they
    // fit the L1.
    constexpr bool in_place = Format::in_place;
    b_in_place_ =
        in_place && q.b_col == 1 && !q.b_panels && (q.m <= 2 * Blocks::rows || q.k * q.n <= kSmallOperand);
    a_in_place_ = in_place && (q.n <= Blocks::in_place_cols || (q.a_k == 1 && q.m * q.k <= kSmallOperand));
    // To pack rows again costs less than to fetch their panels from other cores: two threads take 82 us
    // instead of 104 for 32 x 1024 by 1024 x 256, 1.23 ms instead of 1.28 for 128 x 1024 by 1024 x 1024, and
    // where they share no L3, 1.66 instead of 1.77 to 2.08 for 512 x 512 by 512 x 512 (1.30 since threads
    // have shares of a loop). More rows are to serve more columns of each thread.
    const int threads = in_parallel_region() ? 1 : num_threads();
    const int64_t panels = ceil_div(q.m, Blocks::rows), least = panels <= 10 ? 1 : 4;
    copies_ = !a_in_place_ && threads > 1 && panels <= Blocks::copied_row_panels &&
                      q.n >= least * Blocks::cols * threads
                  ? std::min(threads, kMostCopies)
                  : 0;
    b_by_task_ = !q.b_panels && q.m == slab_rows_ &&
                 tasks(Panels(slab_rows_, Blocks::rows), slab_cols_, depth_ / Format::step).take_all_rows();
  }

  void run() {
    const int64_t steps = depth_ / Format::step;
    Scratch a_buffer(static_cast<size_t>(a_in_place_ ? 0 : slab_rows_ * steps * std::max(1, copies_)) *
                     sizeof(Element));
    const int64_t b_panels = q_.b_panels || b_by_task_ ? 0 : ceil_div(slab_cols_, Blocks::cols);
    Scratch b_buffer(static_cast<size_t>(b_panels * Blocks::cols * steps) * sizeof(Element));
    a_packed_ = a_buffer.template as<Element>();
    b_packed_ = b_buffer.template as<Element>();
    for (int64_t j = 0; j < q_.n; j += slab_cols_) {
      for (int64_t p = 0; p < q_.k; p += depth_) {
        for (int64_t i = 0; i < q_.m; i += slab_rows_) slab(i, j, p);
      }
    }
  }

 private:
  void slab(int64_t i0, int64_t j0, int64_t p0) {
    i0_ = i0, j0_ = j0, p0_ = p0;
    m_ = std::min(slab_rows_, q_.m - i0);
    n_ = std::min(slab_cols_, q_.n - j0);
    k_ = std::min(depth_, q_.k - p0);
    steps_ = ceil_div(k_, Format::step);
    out_ = for_k_block(q_.out, p0 == 0, p0 + k_ == q_.k);
    pack();
    multiply();
  }

  void pack() {
    const Panels rows(m_, Blocks::rows);
    const int64_t a_panels = a_in_place_ || copies_ ? 0 : rows.count;
    const int64_t b_panels = i0_ > 0 || q_.b_panels || b_by_task_ ? 0 : ceil_div(n_, Blocks::cols);
    const int64_t grain = std::max<int64_t>(1, kPackGrain / (Blocks::cols * k_));
    parallel_for(0, a_panels + b_panels, grain, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < std::min(to, b_panels); ++i)
        pack_b(i, b_packed_ + i * Blocks::cols * steps_);
      if (to > b_panels) pack_a(rows, std::max<int64_t>(from - b_panels, 0), to - b_panels, a_packed_);
    });
  }

  // Panels whose rows lie side by side in memory share cache lines, so they are packed together, as many
  // steps of k at a time as stay in the L1 if all of them fall into one set.
  void pack_a(const Panels& panels, int64_t from, int64_t to, Element* packed) const {
    const int64_t run = q_.a_row == 1 ? 8 : k_;
    for (int64_t p = 0; p < k_; p += run) {
      for (int64_t i = from; i < to; ++i) {
        const int64_t first = panels.start(i), rows = panels.rows(i);
        Format::pack_strip(packed + first * steps_ + p / Format::step * rows, rows, rows,
                           std::min(run, k_ - p), q_.a + (i0_ + first) * q_.a_row + (p0_ + p) * q_.a_k,
                           q_.a_row, q_.a_k);
      }
    }
  }

  void pack_b(int64_t panel, Element* packed) const {
    const int64_t j = panel * Blocks::cols;
    const int64_t cols = std::min(Blocks::cols, n_ - j),
                  width = ceil_div(cols, Blocks::lanes) * Blocks::lanes;
    ColumnRun run[Blocks::cols];
    const int64_t runs = runs_of_b(run, j, cols);
    if (b_in_place_ && cols == Blocks::cols && runs == 1) return;
    for (int64_t i = 0; i < runs; ++i)
      Format::pack_strip(packed + run[i].at, width, run[i].count, k_, b_at(run[i]), q_.b_col, q_.b_k);
    fill_missing(packed, width, cols, steps_);
  }
  // The runs of columns [col, col + cols) of the slab.
  CT_INLINE int64_t runs_of_b(ColumnRun* run, int64_t col, int64_t cols) const {
    run[0] = {0, cols, j0_ + col, {}};
    return q_.joined ? q_.joined->find_runs_of_b(run, j0_ + col, cols) : 1;
  }
  CT_INLINE int64_t runs_of_c(ColumnRun* run, int64_t col, int64_t cols) const {
    run[0] = {0, cols, j0_ + col, {}};
    return q_.joined ? q_.joined->find_runs_of_c(run, j0_ + col, cols) : 1;
  }
  const T* b_at(const ColumnRun& run) const {
    return q_.b + run.offset.b + run.first * q_.b_col + p0_ * q_.b_k;
  }
  // The write-out of a run, from its first column on.
  static CT_INLINE WriteOut<O, S> out_of(WriteOut<O, S> out, const ColumnRun& run) {
    if (out.d) out.d += (out.d == out.c ? run.offset.c : run.offset.d) + run.first * out.d_col;
    out.c += run.offset.c + run.first * out.c_col;
    return out;
  }

  CT_INLINE Rectangles tasks(const Panels& rows, int64_t n, int64_t steps) const {
    return {rows.count, ceil_div(n, Blocks::cols),
            copies_ ? Blocks::copied_row_panels : Blocks::task_row_panels, Blocks::task_col_panels,
            Blocks::rows * Blocks::cols * steps};
  }

  void multiply() {
    const Panels rows(m_, Blocks::rows);
    const Rectangles rectangles = tasks(rows, n_, steps_);
    bool copied[kMostCopies] = {};
    parallel_for(0, rectangles.count(), rectangles.grain, [&](int64_t from, int64_t to) {
      // More threads than there were when the buffer was made pack for every piece of the loop.
      const int thread = thread_index();
      const bool own = thread < copies_, late = copies_ && !own;
      Scratch spare(static_cast<size_t>(late ? m_ * steps_ : 0) * sizeof(Element));
      Element* a = late ? spare.as<Element>() : a_packed_ + (own ? thread * m_ * steps_ : 0);
      if (late || (own && !copied[thread])) pack_a(rows, 0, rows.count, a);
      if (own) copied[thread] = true;
      Scratch panel(static_cast<size_t>(b_by_task_ ? Blocks::cols * steps_ : 0) * sizeof(Element));
      for (int64_t task = from; task < to; ++task)
        rectangle(rows, rectangles.at(task), a, panel.as<Element>());
    });
  }

  void rectangle(const Panels& panels, const Rectangle& r, const Element* a_packed, Element* b_panel) {
    // Runs of columns are written by whole vectors, which end beyond the last row.
    alignas(64) S tile[Blocks::rows * Blocks::cols + Blocks::lanes];
    TileArgs<Element, S> t{};
    t.k = steps_;
    // A result that grows is what tiles start from, wherever it lies: an element has the same bits in every
    // layout.
    t.add = tiles_add<S> && grows(out_);
    for (int64_t j = r.j_from; j < r.j_to; ++j) {
      const int64_t col = j * Blocks::cols;
      const int64_t cols = std::min(Blocks::cols, n_ - col);
      const int64_t vectors = ceil_div(cols, Blocks::lanes);
      ColumnRun run[Blocks::cols];
      const int64_t runs = runs_of_c(run, col, cols);
      WriteOut<O, S> out = out_of(out_, run[0]);
      if (t.add) out.d = nullptr;
      const bool plain = runs == 1 && is_plain(out) && cols % Blocks::lanes == 0;
      t.tile = tile;
      t.tile_row = plain ? out.c_row : Blocks::cols;
      if (b_by_task_) pack_b(j, b_panel);
      t.b = b_by_task_ ? b_panel : b_packed_ + col * steps_;
      t.b_k = vectors * Blocks::lanes;
      if constexpr (Format::in_place) {
        ColumnRun in_place[Blocks::cols];
        if (b_in_place_ && cols == Blocks::cols && runs_of_b(in_place, col, cols) == 1) {
          t.b = b_at(in_place[0]);
          t.b_k = q_.b_k;
        }
      }
      if (q_.b_panels) {
        t.b = static_cast<const Element*>(q_.b_panels) + (j0_ + col) * ceil_div(q_.k, Format::step) +
              p0_ / Format::step * Blocks::cols;
        t.b_k = Blocks::cols;
      }
      for (int64_t i = r.i_from; i < r.i_to; ++i) {
        const int64_t first = panels.start(i), rows = panels.rows(i);
        prefetch_tile(out, i0_ + first, 0, rows, run[0].count);
        if constexpr (std::is_same_v<O, S>) {
          if (plain) {
            t.tile = out.c + (i0_ + first) * out.c_row;
          } else if (t.add) {
            load_tile(tile, run, runs, i0_ + first, rows, cols);
          }
        }
        multiply_tile(t, a_packed, first, rows, vectors);
        if (plain) continue;
        write_tile(out, i0_ + first, 0, rows, run[0].count, tile, Blocks::cols);
        for (int64_t l = 1; l < runs; ++l) {
          WriteOut<O, S> next = out_of(out_, run[l]);
          if (t.add) next.d = nullptr;
          write_tile(next, i0_ + first, 0, rows, run[l].count, tile + run[l].at, Blocks::cols);
        }
      }
    }
  }
  // What rows of the result hold.
  void load_tile(S* tile, const ColumnRun* run, int64_t runs, int64_t row, int64_t rows, int64_t cols) const {
    for (int64_t i = 0; i < runs; ++i) {
      const WriteOut<S, S> out = out_of(out_, run[i]);
      pack_strip(tile + run[i].at, Blocks::cols, run[i].count, rows, out.c + row * out.c_row, out.c_col,
                 out.c_row);
    }
    fill_missing(tile, Blocks::cols, cols, rows);
  }

  CT_INLINE void multiply_tile(TileArgs<Element, S>& t, const Element* a_packed, int64_t first, int64_t rows,
                               int64_t vectors) const {
    if constexpr (Format::in_place) {
      if (a_in_place_) {
        t.a = q_.a + (i0_ + first) * q_.a_row + p0_ * q_.a_k;
        t.a_row = q_.a_row;
        t.a_k = q_.a_k;
        return kStridedTiles<S>.get(rows, vectors)(t);
      }
    }
    t.a = a_packed + first * steps_;
    Format::packed_tiles().get(rows, vectors)(t);
  }

  static constexpr int kMostCopies = 64;
  static constexpr int64_t kSmallOperand = 16384;
  static constexpr int64_t kPackGrain = 1 << 15;  // elements to pack that are worth a thread

  const Product<T, S, O> q_;
  int64_t depth_, slab_rows_, slab_cols_;
  bool a_in_place_, b_in_place_, b_by_task_;
  int copies_;  // of the packed rows, one for each thread; 0: all share them
  Element* a_packed_ = nullptr;
  Element* b_packed_ = nullptr;
  int64_t i0_ = 0, j0_ = 0, p0_ = 0, m_ = 0, n_ = 0, k_ = 0, steps_ = 0;
  WriteOut<O, S> out_{};
};

// Few rows by a matrix that comes from memory: then it is best read once, in place. Below 4 rows packing it
// never pays.
inline constexpr int64_t kSkinnyRows = 16;
inline bool is_skinny(int64_t m, int64_t n, int64_t k) {
  constexpr int64_t kLarge = 1 << 19;
  return m <= 4 || (m <= kSkinnyRows && n * k >= kLarge);
}

// Whether a form of b is worth keeping: packing it costs as much as 20 to 40 rows of the product.
inline bool is_worth_preparing(const GemmArgs& g) {
  constexpr int64_t kMostRows = 512, kLeast = 4096;
  for (int d = 0; d < g.batch_dims; ++d) {
    if (g.batch_size[d] > 1 && g.b.batch[d] != 0) return false;
  }
  const bool rows = g.always_prepared || (g.m <= kMostRows && !is_skinny(g.m, g.n, g.k));
  return rows && g.n > kSkinnyRows && g.k * g.n >= kLeast;
}

// The whole of b in panels of GemmBlocks<S>::cols columns, each (steps of k, cols) and the last one filled up
// with zeros.
template <class Format>
int64_t panels_bytes(const GemmArgs& g) {
  constexpr int64_t cols = GemmBlocks<typename Format::Sum>::cols;
  return ceil_div(g.n, cols) * cols * ceil_div(g.k, Format::step) *
         static_cast<int64_t>(sizeof(typename Format::Element));
}
template <class Format>
void write_panels(const GemmArgs& g, void* to) {
  constexpr int64_t cols = GemmBlocks<typename Format::Sum>::cols;
  auto* panels = static_cast<typename Format::Element*>(to);
  const auto* b = static_cast<const typename Format::Input*>(g.b.data);
  const int64_t panel = cols * ceil_div(g.k, Format::step), count = ceil_div(g.n, cols);
  // In the order of memory: some steps of all panels where rows of b are contiguous, else panel by panel.
  const int64_t run = g.b.col == 1 ? 64 : g.k, runs = ceil_div(g.k, run);
  parallel_for(0, runs * count, std::max<int64_t>(1, 32768 / (cols * run)), [&](int64_t from, int64_t end) {
    for (int64_t i = from; i < end; ++i) {
      const int64_t p = i / count * run, j = i % count;
      const int64_t width = std::min(cols, g.n - j * cols), steps = std::min(run, g.k - p);
      auto* to_panel = panels + j * panel + p / Format::step * cols;
      Format::pack_strip(to_panel, cols, width, steps, b + j * cols * g.b.col + p * g.b.row, g.b.col,
                         g.b.row);
      fill_missing(to_panel, cols, width, ceil_div(steps, Format::step));
    }
  });
}

// Whether a batch that shares a large a is better computed as one product. Few rows are no work beside
// reading b. Columns that no task packs for itself go by way of the L3: slabs of 4 MB are as fast
// as matrix after matrix or faster (1024 -> 512 channels at 14 x 14, batch 16: 160 GFLOP/s instead of 138),
// slabs of 8 MB up to 14 % slower.
inline bool is_worth_joining(const GemmArgs& g, const JoinedColumns& joined) {
  using Blocks = GemmBlocks<float>;
  constexpr int64_t kMostSlab = 1 << 20;  // elements
  const bool stays =
      g.m <= Blocks::task_row_panels * Blocks::rows ||
      std::min(Blocks::depth, g.k) * std::min(Blocks::slab_cols, joined.product().n) <= kMostSlab;
  return joined.count() > 1 && !g.prepared && !is_skinny(g.m, g.n, g.k) && stays &&
         (g.c.col == 1 || joined.follow_on());
}

// Calls body(product, offsets, joined) for every product of a batch, those with the same a as one where that
// pays and `may_join`.
template <class Body>
void for_each_product(const GemmArgs& g, bool may_join, Body&& body) {
  if (may_join && shares_large_a(g)) {
    const JoinedColumns joined(g);
    if (is_worth_joining(g, joined)) {
      const JoinedColumns* columns = joined.follow_on() ? nullptr : &joined;
      return for_each_matrix(joined.product(),
                             [&](const BatchOffsets& at) { body(joined.product(), at, columns); });
    }
  }
  for_each_matrix(g, [&](const BatchOffsets& at) { body(g, at, nullptr); });
}

}  // namespace
}  // namespace ctorch::CT_ISA
