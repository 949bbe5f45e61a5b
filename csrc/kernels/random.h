// Random fills. Each draws from a RandomState exactly the words that PyTorch's CPU operation draws, in its
// order, and makes of them the value that PyTorch makes, for n contiguous elements.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/random_state.h"

namespace ctorch {

// Indexed by dtype; null where an operation has no such dtype.
struct RandomTable {
  // out[i]: the next 32-bit word.
  void (*words)(RandomState& state, uint32_t* out, int64_t n);
  // Floats in [from, to). A float64 takes two words, the others one.
  void (*uniform[kNumDTypes])(RandomState& state, void* out, int64_t n, double from, double to);
  // Floats of mean and deviation std; n >= 16 (fewer, and elements that are not contiguous: normal_serial()).
  void (*normal[kNumDTypes])(RandomState& state, void* out, int64_t n, double mean, double std);
  // 1 with probability p, else 0. Two words each. All dtypes but complex and uint16, uint32, uint64.
  void (*bernoulli[kNumDTypes])(RandomState& state, void* out, int64_t n, double p);
  // base + w % range, w of two words if `wide`, else of one; range 0 stands for 2^64. All dtypes but complex.
  void (*integers[kNumDTypes])(RandomState& state, void* out, int64_t n, uint64_t range, int64_t base,
                               bool wide);
  // out[i] = x[i] * (mask[i] ? scale : 0), in the dtype's computing type; out may be x. Floats only.
  void (*masked_scale[kNumDTypes])(void* out, const void* x, const bool* mask, int64_t n, double scale);
};

// The distributions whose formula is a call into the C library for each element: built once, on top of a
// level's table. All take two words for an element and compute in double, whatever the dtype of out.
void normal_serial(const RandomTable& table, RandomState& state, DType dt, void* out, int64_t n, double mean,
                   double std);
void log_normal_fill(const RandomTable& table, RandomState& state, DType dt, void* out, int64_t n,
                     double mean, double std);
void exponential_fill(const RandomTable& table, RandomState& state, DType dt, void* out, int64_t n,
                      double lambda);
void cauchy_fill(const RandomTable& table, RandomState& state, DType dt, void* out, int64_t n, double median,
                 double sigma);
void geometric_fill(const RandomTable& table, RandomState& state, DType dt, void* out, int64_t n, double p);

// out[i] = 1 with probability p[i], p float32 or float64 (one word or two an element). Throws at the first p
// outside [0, 1] before it draws anything.
void bernoulli_fill(const RandomTable& table, RandomState& state, DType dt, void* out, DType p_dtype,
                    const void* p, int64_t n);

// A random permutation of 0 .. n - 1 (Fisher and Yates), of any integer or floating dtype.
void permutation_fill(const RandomTable& table, RandomState& state, DType dt, void* out, int64_t n);

// out (rows, samples): the columns with the largest weight / waiting time of each row, largest first, all
// (rows, columns) of a floating dtype: with exponential waiting times that draws columns without replacement.
void pick_distinct(DType dt, const void* weights, const void* waiting, int64_t rows, int64_t columns,
                   int64_t* out, int64_t samples);

// out (rows, samples): columns drawn with replacement from the weights (rows, columns), float32 or float64.
// Throws when a weight is negative, infinite or NaN, or a row sums to 0.
void multinomial_fill(const RandomTable& table, RandomState& state, DType dt, const void* weights,
                      int64_t rows, int64_t columns, int64_t* out, int64_t samples);

}  // namespace ctorch
