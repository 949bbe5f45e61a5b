// Shared by the index kernels: element types by size, and walking several strided operands at once.
#pragma once

#include "core/macros.h"
#include "core/parallel.h"
#include "kernels/index.h"

namespace ctorch::CT_ISA {
namespace {

struct Bytes16 {
  uint64_t low, high;
};
using MoveList = TypeList<uint8_t, uint16_t, uint32_t, uint64_t, Bytes16>;

// The offsets, in elements, of K operands at the coordinate that a flat row-major number names, and at the
// ones after it.
template <int K>
struct Walk {
  int64_t ndim;
  const int64_t* sizes;
  const int64_t* strides[K];
  int64_t at[kMaxIndexedDims];
  int64_t offset[K];

  CT_INLINE void start(int64_t flat) {
    for (int k = 0; k < K; ++k) offset[k] = 0;
    for (int64_t d = ndim - 1; d >= 0; --d) {
      at[d] = flat % sizes[d];
      flat /= sizes[d];
      for (int k = 0; k < K; ++k) offset[k] += at[d] * strides[k][d];
    }
  }
  // Move `step` on along the last dim, or past its end to the next dims.
  CT_INLINE void advance(int64_t step) {
    int64_t d = ndim - 1;
    if (d < 0) return;
    at[d] += step;
    for (int k = 0; k < K; ++k) offset[k] += step * strides[k][d];
    while (at[d] >= sizes[d] && d > 0) {
      for (int k = 0; k < K; ++k) offset[k] += strides[k][d - 1] - sizes[d] * strides[k][d];
      at[d] -= sizes[d];
      ++at[--d];
    }
  }
};

CT_INLINE int64_t product(const int64_t* sizes, int64_t n) {
  int64_t p = 1;
  for (int64_t i = 0; i < n; ++i) p *= sizes[i];
  return p;
}

// Threads race to report; any bad index will do.
CT_INLINE void report(BadIndex* bad, int64_t tensor, int64_t value) {
  __atomic_store_n(&bad->value, value, __ATOMIC_RELAXED);
  __atomic_store_n(&bad->tensor, tensor, __ATOMIC_RELAXED);
}

CT_INLINE bool outside(int64_t index, int64_t bound) {
  return static_cast<uint64_t>(index) >= static_cast<uint64_t>(bound);
}

}  // namespace
}  // namespace ctorch::CT_ISA
