// The loops around a reducer: which elements make which result, in what order, on which thread.
//
// Work is cut by the sizes alone, so that the bits of a result do not depend on the number of threads.
#include "kernels/reduce.h"

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/gemm_blocks.h"
#include "kernels/cpu/reduce_lanes.h"
#include "kernels/cpu/turn.h"

namespace ctorch::CT_ISA {
namespace {

constexpr int64_t kGather = 1024;      // strided elements are brought together in this many at a time
constexpr int64_t kLeastWork = 32768;  // elements: about 5 us, below which a second thread does not pay
constexpr int64_t kTasks = 64;         // parts to cut a large input into, when it has few results
constexpr int64_t kMaxTotal = 32;      // bytes of the largest total

// The offsets of up to two operands at a flat row-major index, and at the ones after it.
struct Walker {
  int64_t dims;
  const int64_t* sizes;
  const int64_t* strides[2];
  int64_t at[kMaxReduceDims];
  int64_t offset[2] = {0, 0};

  CT_INLINE Walker(int64_t dims_, const int64_t* sizes_, const int64_t* a, const int64_t* b, int64_t flat)
      : dims(dims_), sizes(sizes_), strides{a, b} {
    for (int64_t d = dims - 1; d >= 0; --d) {
      at[d] = flat ? flat % sizes[d] : 0;
      flat = flat ? flat / sizes[d] : 0;
      offset[0] += at[d] * a[d];
      offset[1] += at[d] * b[d];
    }
  }
  // Move on by `step` elements, at most to the end of the last dim.
  CT_INLINE void advance(int64_t step) {
    int64_t d = dims - 1;
    if (d < 0) return;
    at[d] += step;
    offset[0] += step * strides[0][d];
    offset[1] += step * strides[1][d];
    while (at[d] >= sizes[d] && d > 0) {
      at[d] = 0;
      offset[0] += strides[0][d - 1] - sizes[d] * strides[0][d];
      offset[1] += strides[1][d - 1] - sizes[d] * strides[1][d];
      ++at[--d];
    }
  }
};

// Into how many parts to cut each of `tasks` tasks of `work` elements.
CT_INLINE int64_t piece_count(int64_t tasks, int64_t work) {
  return most(1, least(ceil_div(kTasks, tasks), work / (2 * kLeastWork)));
}

template <class T>
CT_INLINE void gather_as(char* CT_RESTRICT to, const char* from, int64_t n, int64_t stride) {
  for (int64_t i = 0; i < n; ++i) {
    reinterpret_cast<T*>(to)[i] = reinterpret_cast<const T*>(from)[i * stride];
  }
}
struct Pair {
  uint64_t low, high;
};
// n elements, `stride` apart, to consecutive places.
void gather(char* to, const char* from, int64_t n, int64_t stride, int64_t size) {
  switch (size) {
    case 1: return gather_as<uint8_t>(to, from, n, stride);
    case 2: return gather_as<uint16_t>(to, from, n, stride);
    case 4: return gather_as<uint32_t>(to, from, n, stride);
    case 8: return gather_as<uint64_t>(to, from, n, stride);
    default: return gather_as<Pair>(to, from, n, stride);
  }
}

// Floats that are made of half types at a time: they and their source fit L1.
constexpr int64_t kWidened = 2048;

// r.row() and r.columns() of elements in memory.
void join_row(const Reducer& r, const ReduceArgs& a, const char* p, int64_t n, int64_t start, void* total) {
  if (!r.widen) return r.row(a, p, n, start, total);
  alignas(64) float numbers[kWidened];
  for (int64_t i = 0; i < n; i += kWidened) {
    const int64_t run = least(kWidened, n - i);
    r.widen(p + i * r.in_size, numbers, run);
    r.row(a, numbers, run, start + i, total);
  }
}
void join_columns(const Reducer& r, const ReduceArgs& a, const char* p, int64_t rows, int64_t stride,
                  int64_t cols, int64_t start, char* totals) {
  if (!r.widen) return r.columns(a, p, rows, stride, cols, start, totals);
  constexpr int64_t kBand = 128;  // narrower ones would read less than some cache lines of a row
  alignas(64) float numbers[kBand * kBlockRows];
  for (int64_t j = 0; j < cols; j += kBand) {
    const int64_t band = least(kBand, cols - j);
    for (int64_t i = 0; i < rows; ++i) r.widen(p + (i * stride + j) * r.in_size, numbers + i * band, band);
    r.columns(a, numbers, rows, band, band, start, totals + j * r.total_size);
  }
}

// Short rows are turned to columns where elements have 4 or 8 bytes.
constexpr int64_t kFewestTurned = 8;
bool turns(const Reducer& r, int64_t n) {
  return n <= kLongestTurned && (r.widen || r.in_size == 4 || r.in_size == 8);
}
template <class S>
void join_turned(const Reducer& r, const ReduceArgs& a, const void* p, int64_t rows, int64_t pitch,
                 char* totals) {
  alignas(64) S columns[kTurnedElements];
  const int64_t cols = turned_width<S>(rows);
  turn_rows(static_cast<const S*>(p), pitch, rows, a.count, columns);
  for (int64_t i = 0; i < a.count; i += kBlockRows)
    r.columns(a, columns + i * cols, least(kBlockRows, a.count - i), cols, cols, i, totals);
}
// Dense rows that are `pitch` apart, each to a total of its own. There is room for kTurned totals, of which
// some more are written.
void join_turned_rows(const Reducer& r, const ReduceArgs& a, const char* p, int64_t rows, int64_t pitch,
                      char* totals) {
  if (!r.widen)
    return (r.in_size == 4 ? join_turned<uint32_t> : join_turned<uint64_t>)(r, a, p, rows, pitch, totals);
  alignas(64) float numbers[kTurnedElements];
  const int64_t n = a.count;
  if (pitch == n) {
    r.widen(p, numbers, rows * n);
  } else {
    for (int64_t k = 0; k < rows; ++k) r.widen(p + k * pitch * r.in_size, numbers + k * n, n);
  }
  join_turned<uint32_t>(r, a, numbers, rows, n, totals);
}

// Join the next n elements of a reduction whose last dim is dense, from element `start` on: runs of it are
// brought together as floats.
void join_widened_runs(const Reducer& r, const ReduceArgs& a, const char* base, Walker& w, int64_t n,
                       int64_t start, void* total) {
  const int64_t last = a.reduced_dims - 1, length = a.reduced_sizes[last];
  alignas(64) float numbers[kWidened];
  for (int64_t i = 0; i < n;) {
    const int64_t want = least(kWidened, n - i);
    int64_t filled = 0;
    while (filled < want) {
      const int64_t run = least(length - w.at[last], want - filled);
      r.widen(base + w.offset[0] * r.in_size, numbers + filled, run);
      w.advance(run);
      filled += run;
    }
    r.row(a, numbers, filled, start + i, total);
    i += filled;
  }
}

// Join the elements [from, to) of the reduction that starts at `base` to `total`.
void reduce_range(const Reducer& r, const ReduceArgs& a, const char* base, int64_t from, int64_t to,
                  void* total) {
  const int64_t last = a.reduced_dims - 1, n = a.reduced_sizes[last], stride = a.reduced_in[last],
                size = r.in_size;
  if (last == 0 && stride == 1) {
    for (int64_t i = from; i < to; i += kBlock)
      join_row(r, a, base + i * size, least(kBlock, to - i), i, total);
    return;
  }
  Walker w(a.reduced_dims, a.reduced_sizes, a.reduced_in, a.reduced_in, from);
  if (stride == 1 && n >= 64) {
    if (r.widen) return join_widened_runs(r, a, base, w, to - from, from, total);
    for (int64_t i = from; i < to;) {
      int64_t run = least(least(n - w.at[last], to - i), kBlock);
      r.row(a, base + w.offset[0] * size, run, i, total);
      w.advance(run);
      i += run;
    }
    return;
  }
  alignas(64) char gathered[kGather * 16];
  for (int64_t i = from; i < to;) {
    int64_t filled = 0;
    const int64_t want = least(kGather, to - i);
    while (filled < want) {
      int64_t run = least(n - w.at[last], want - filled);
      gather(gathered + filled * size, base + w.offset[0] * size, run, stride, size);
      w.advance(run);
      filled += run;
    }
    join_row(r, a, gathered, filled, i, total);
    i += filled;
  }
}

// A result at a time: for inputs whose elements lie closest along a reduced dim.
void reduce_rows(const Reducer& r, const ReduceArgs& a) {
  const char* base = static_cast<const char*>(a.in);
  alignas(64) char single[kMaxTotal];
  if (a.outputs == 1 && a.count <= kLeastWork) {
    r.empty(single, 1);
    reduce_range(r, a, base, 0, a.count, single);
    return r.write(a, single, 1, 0, 0);
  }
  const int64_t pieces = piece_count(a.outputs, a.count);
  if (pieces == 1) {
    constexpr int64_t kBatch = kTurned;  // results written at a time
    const bool dense = a.reduced_dims == 1 && a.reduced_in[0] == 1;
    // Sums fold rows of 16 elements and more faster than they could be turned.
    const bool turned = dense && turns(r, a.count),
               short_rows = r.short_rows && dense && a.count <= kShortRow && !(turned && a.count < 16);
    const int64_t batch = turned ? rows_to_turn(a.count) : kBatch;
    // A short row costs as much as one of 32 elements.
    parallel_for(
        0, a.outputs, most(1, kLeastWork / most(a.count, short_rows ? 32 : 1)),
        [&](int64_t from, int64_t to) {
          alignas(64) char totals[kBatch * kMaxTotal];
          Walker w(a.kept_dims, a.kept_sizes, a.kept_in, a.kept_out, from);
          const int64_t last = a.kept_dims - 1;
          for (int64_t o = from; o < to;) {
            const int64_t run = last < 0 ? 1 : least(least(batch, to - o), a.kept_sizes[last] - w.at[last]);
            const int64_t step = last < 0 ? 0 : a.kept_in[last], out_step = last < 0 ? 0 : a.kept_out[last];
            const char* p = base + w.offset[0] * r.in_size;
            const bool side_by_side = turned && run >= kFewestTurned;
            r.empty(totals, side_by_side ? kBatch : run);
            if (short_rows) {
              r.short_rows(p, run, step, a.count, totals);
            } else if (side_by_side) {
              join_turned_rows(r, a, p, run, step, totals);
            } else {
              for (int64_t k = 0; k < run; ++k)
                reduce_range(r, a, p + k * step * r.in_size, 0, a.count, totals + k * r.total_size);
            }
            r.write(a, totals, run, w.offset[1], out_step);
            w.advance(run);
            o += run;
          }
        });
    return;
  }
  const int64_t piece = ceil_div(ceil_div(a.count, pieces), kBlock) * kBlock;
  Scratch scratch(static_cast<size_t>(a.outputs * pieces * r.total_size));
  char* parts = scratch.as<char>();
  r.empty(parts, a.outputs * pieces);
  parallel_for(0, a.outputs * pieces, 1, [&](int64_t from, int64_t to) {
    for (int64_t t = from; t < to; ++t) {
      Walker w(a.kept_dims, a.kept_sizes, a.kept_in, a.kept_out, t / pieces);
      int64_t start = least(t % pieces * piece, a.count);
      reduce_range(r, a, base + w.offset[0] * r.in_size, start, least(start + piece, a.count),
                   parts + t * r.total_size);
    }
  });
  Walker w(a.kept_dims, a.kept_sizes, a.kept_in, a.kept_out, 0);
  for (int64_t o = 0; o < a.outputs; ++o, w.advance(1)) {
    char* total = parts + o * pieces * r.total_size;
    for (int64_t p = 1; p < pieces; ++p) r.join(total, total + p * r.total_size, 1);
    r.write(a, total, 1, w.offset[1], 0);
  }
}

// Rows [from, to) of a band of `cols` columns that lie col_stride apart, joined to totals[0 .. cols).
void reduce_band(const Reducer& r, const ReduceArgs& a, const char* base, int64_t cols, int64_t col_stride,
                 int64_t from, int64_t to, char* totals) {
  const int64_t last = a.reduced_dims - 1, n = a.reduced_sizes[last], stride = a.reduced_in[last],
                size = r.in_size;
  Walker w(a.reduced_dims, a.reduced_sizes, a.reduced_in, a.reduced_in, from);
  Scratch scratch(col_stride == 1 ? 1 : static_cast<size_t>(kBlockRows * cols * size));
  for (int64_t i = from; i < to;) {
    const int64_t rows = least(least(n - w.at[last], to - i), kBlockRows);
    const char* p = base + w.offset[0] * size;
    if (col_stride == 1) {
      join_columns(r, a, p, rows, stride, cols, i, totals);
    } else {
      char* block = scratch.as<char>();
      for (int64_t k = 0; k < rows; ++k)
        gather(block + k * cols * size, p + k * stride * size, cols, col_stride, size);
      join_columns(r, a, block, rows, cols, cols, i, totals);
    }
    w.advance(rows);
    i += rows;
  }
}

// A row of results at a time: for inputs whose elements lie closest along the last kept dim. A task is a band
// of columns, cut by rows into pieces.
struct ColumnTasks {
  const Reducer& r;
  const ReduceArgs& a;
  int64_t last, m, col_stride;
  int64_t fold;  // narrow dense rows are read `fold` at a time, as one row, and folded at the end
  int64_t bands, tasks, pieces, piece;

  ColumnTasks(const Reducer& r_, const ReduceArgs& a_) : r(r_), a(a_) {
    last = a.kept_dims - 1;
    m = a.kept_sizes[last];
    col_stride = a.kept_in[last];
    const bool dense = !r.indexed && col_stride == 1 && a.reduced_dims == 1 && a.reduced_in[0] == m;
    fold = dense && m <= 64 ? least(256 / m, a.count) : 1;
    bands = ceil_div(m, kMaxCols);
    tasks = a.outputs / m * bands;
    pieces = piece_count(tasks, a.count * least(m, kMaxCols));
    piece = ceil_div(ceil_div(a.count, pieces), fold * kBlockRows) * fold * kBlockRows;
  }

  int64_t first_col(int64_t task) const { return task % bands * kMaxCols; }
  int64_t cols(int64_t task) const { return least(kMaxCols, m - first_col(task)); }

  void run(int64_t task, int64_t piece_index, char* totals) const {
    Walker w(last, a.kept_sizes, a.kept_in, a.kept_out, task / bands);
    const char* p = static_cast<const char*>(a.in) + (w.offset[0] + first_col(task) * col_stride) * r.in_size;
    const int64_t from = least(piece_index * piece, a.count), to = least(from + piece, a.count);
    r.empty(totals, fold > 1 ? fold * m : cols(task));
    if (fold == 1) return reduce_band(r, a, p, cols(task), col_stride, from, to, totals);
    const int64_t wide = fold * m;
    int64_t i = from;
    while (i + fold <= to) {
      const int64_t rows = least((to - i) / fold, kBlockRows);
      join_columns(r, a, p + i * m * r.in_size, rows, wide, wide, i, totals);
      i += rows * fold;
    }
    for (int64_t f = 1; f < fold; ++f) r.join(totals, totals + f * m * r.total_size, m);
    for (; i < to; ++i) join_columns(r, a, p + i * m * r.in_size, 1, m, m, i, totals);
  }

  void finish(int64_t task, const char* totals) const {
    Walker w(last, a.kept_sizes, a.kept_in, a.kept_out, task / bands);
    const int64_t out_stride = a.kept_out[last];
    r.write(a, totals, cols(task), w.offset[1] + first_col(task) * out_stride, out_stride);
  }
};

void reduce_columns(const Reducer& r, const ReduceArgs& a) {
  const ColumnTasks t(r, a);
  const int64_t row_bytes = kMaxCols * r.total_size;
  Scratch scratch(t.pieces > 1 ? static_cast<size_t>(t.tasks * t.pieces * row_bytes) : 1);
  char* parts = scratch.as<char>();
  const int64_t work = most(1, a.outputs * a.count / (t.tasks * t.pieces));
  parallel_for(0, t.tasks * t.pieces, most(1, kLeastWork / work), [&](int64_t from, int64_t to) {
    alignas(64) char totals[kMaxCols * kMaxTotal];
    for (int64_t i = from; i < to; ++i) {
      if (t.pieces == 1) {
        t.run(i, 0, totals);
        t.finish(i, totals);
      } else {
        t.run(i / t.pieces, i % t.pieces, parts + i * row_bytes);
      }
    }
  });
  if (t.pieces == 1) return;
  for (int64_t task = 0; task < t.tasks; ++task) {
    char* totals = parts + task * t.pieces * row_bytes;
    for (int64_t p = 1; p < t.pieces; ++p) r.join(totals, totals + p * row_bytes, t.cols(task));
    t.finish(task, totals);
  }
}

int64_t least_stride(int64_t dims, const int64_t* strides) {
  int64_t best = INT64_MAX;
  for (int64_t d = 0; d < dims; ++d) best = least(best, strides[d] < 0 ? -strides[d] : strides[d]);
  return best;
}

void run(const Reducer& r, const ReduceArgs& a) {
  const bool by_columns =
      a.kept_dims > 0 && least_stride(a.kept_dims, a.kept_in) < least_stride(a.reduced_dims, a.reduced_in);
  by_columns ? reduce_columns(r, a) : reduce_rows(r, a);
}

}  // namespace

void fill_reduce(ReduceTable& table) {
  table.run = &run;
  fill_reduce_sum(table);
  fill_reduce_short(table);
  fill_reduce_order(table);
  fill_reduce_norm(table);
  fill_reduce_moments(table);
}

}  // namespace ctorch::CT_ISA
