// Element-wise kernels: a table of functions, one per functor of kernels/functors/ and dtype.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace ctorch {

inline constexpr int kMaxOperands = 7;  // the result, inputs and parameters of one functor

// `rows` rows of n elements. Operand 0 is the result. Within a row an operand's elements are contiguous, or,
// if its bit in `fixed` is set (bit i for input i, which is operand i + 1), one element serves the row. The
// result may be an input.
struct ElementwiseArgs {
  char* data[kMaxOperands];
  int64_t row_bytes[kMaxOperands];  // from one row to the next
  int64_t n, rows;
  unsigned fixed;  // one of the functor's masks
};
using ElementwiseFn = void (*)(const ElementwiseArgs&);

inline constexpr int kMaxFunctors = 192;

struct ElementwiseTable {
  // By the functor's number (functor_id in kernels/functors/lists.h) and the dtype it computes in; null where
  // it has none.
  ElementwiseFn fn[kMaxFunctors][kNumDTypes];
};

// Complex kernels are compiled once, for all levels.
void fill_complex_elementwise(ElementwiseTable& table);

}  // namespace ctorch
