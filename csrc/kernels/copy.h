// Moving and converting elements.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace ctorch {

// n elements, contiguous, from one dtype to another.
using ConvertFn = void (*)(void* to, const void* from, int64_t n);

// A block of rows x n elements; strides in bytes, of any sign and 0.
struct BlockArgs {
  char* to;
  const char* from;
  int64_t n, rows;
  int64_t to_stride, to_row;
  int64_t from_stride, from_row;
  bool stream;  // past the caches where that can be done
};
using MoveFn = void (*)(const BlockArgs&);

struct CopyTable {
  // Null where the conversion goes by way of another dtype: see convert_via().
  ConvertFn convert[kNumDTypes][kNumDTypes];
  // By the logarithm of the element size: 1, 2, 4, 8, 16 bytes. The operands do not overlap.
  MoveFn move[5];
  // Copy bytes past the caches, for results too large to stay in them. A thread that streamed calls
  // stream_end() before others may read what it wrote.
  void (*stream)(void* to, const void* from, int64_t bytes);
  void (*stream_end)();
  // Write one element n times.
  void (*fill[5])(void* to, const void* value, int64_t n);
};

// A dtype to which `from` is converted first and which converts to `to`.
constexpr DType convert_via(DType from, DType to) {
  if (is_complex(from)) return from == DType::complex64 ? DType::float32 : DType::float64;
  if (is_complex(to)) return to == DType::complex64 ? DType::float32 : DType::float64;
  return DType::float32;  // the half types convert to and from float only
}

}  // namespace ctorch
