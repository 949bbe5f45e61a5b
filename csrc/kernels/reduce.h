// Reductions: many elements of the input make one of each result.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace ctorch {

inline constexpr int64_t kMaxReduceDims = 64;

// The dims of the input are split into those that the results keep and those that are reduced, both outermost
// first. Strides count elements and may be negative or zero. There is at least one reduced dim, and no size
// is 0.
struct ReduceArgs {
  const void* in;
  void* out[2];  // the second is there for kernels with two results; both are laid out alike
  int64_t kept_dims;
  const int64_t* kept_sizes;
  const int64_t* kept_in;
  const int64_t* kept_out;
  int64_t reduced_dims;
  const int64_t* reduced_sizes;
  const int64_t* reduced_in;
  int64_t outputs;  // the product of the kept sizes
  int64_t count;    // the product of the reduced sizes
  double param;     // norm_p: p; var and std: the correction
};

enum class Reduce : int8_t {
  sum,            // T -> T; bool, uint8, int32, int64 -> int64
  mean,           // T -> T; floating and complex
  nansum,         // T -> T; floating and complex
  prod,           // T -> T; int64, floating and complex
  count_nonzero,  // T -> int64
  all,
  any,  // T -> bool
  max,
  min,  // T -> T, NaN if there is one
  argmax,
  argmin,  // T -> int64: the first of equals; NaN counts as the extreme. Elements are numbered in the order
  max_index,
  min_index,  // T -> T, int64                                               of the reduced dims given.
  norm1,
  norm2,
  norm_inf,
  norm_minus_inf,
  norm_p,  // T -> real type of T
  var,
  std,        // T -> T, T: the spread and the mean; either may be null
  logsumexp,  // T -> T
};
inline constexpr int kReduceKinds = static_cast<int>(Reduce::logsumexp) + 1;

inline constexpr int64_t kShortRow = 256;

// A reducer turns a block of elements into a total, a few bytes by which a part of a reduction is known, and
// joins totals.
struct Reducer {
  int32_t in_size = 0;     // bytes of an element; 0: there is no such reducer
  int32_t total_size = 0;  // bytes of a total
  bool indexed = false;  // `start`, the number of a block's first element (or row) in the reduction, matters
  // totals[0 .. n) are those of no elements.
  void (*empty)(void* totals, int64_t n);
  // Join p[0 .. n), n <= 8192, to *total.
  void (*row)(const ReduceArgs&, const void* p, int64_t n, int64_t start, void* total);
  // Join p[i * stride + j], i < rows <= 32, to totals[j], j < cols <= 1024.
  void (*columns)(const ReduceArgs&, const void* p, int64_t rows, int64_t stride, int64_t cols, int64_t start,
                  void* totals);
  // Join b[j], which stand for later elements, to a[j], j < n.
  void (*join)(void* a, const void* b, int64_t n);
  // Results at + j * out_stride of the outputs, from totals[j], j < n.
  void (*write)(const ReduceArgs&, const void* totals, int64_t n, int64_t at, int64_t out_stride);
  // Join p[i * stride + j], j < n <= kShortRow, to totals[i], i < rows. May be null: row() does that, too.
  void (*short_rows)(const void* p, int64_t rows, int64_t stride, int64_t n, void* totals) = nullptr;
  // Where not null, row() and columns() take the floats that this makes of elements of a half type.
  void (*widen)(const void* from, float* to, int64_t n) = nullptr;
};

struct ReduceTable {
  Reducer reducers[kReduceKinds][kNumDTypes];
  void (*run)(const Reducer&, const ReduceArgs&);
  const Reducer& get(Reduce kind, DType dtype) const {
    return reducers[static_cast<int>(kind)][static_cast<int>(dtype)];
  }
};

}  // namespace ctorch
