// Sums of short rows.
#include <algorithm>

#include "kernels/cpu/gemm_simd.h"
#include "kernels/reduce.h"

namespace ctorch::CT_ISA {
namespace {

// The first `count` elements, the other lanes 0.
template <class S, class T>
CT_INLINE typename Simd<S>::Vector load_rest(const T* p, int64_t count) {
  if constexpr (is_half_v<T>) {
    T rest[kLanes<S>] = {};
    std::memcpy(rest, p, static_cast<size_t>(count) * sizeof(T));
    return load_convert<S>(static_cast<const T*>(rest));
  } else {
    return load_partial(p, count);
  }
}

// Sums of as many rows as a register has lanes, each in the lanes of one register, are folded side by side:
// by a transposition, where folding them one by one would cost more than the sums.
template <class T>
void sum_short_rows(const void* data, int64_t rows, int64_t stride, int64_t n, void* totals) {
  using S = acc_t<T>;
  constexpr int64_t lanes = kLanes<S>;
  using Vector = typename Simd<S>::Vector;
  for (int64_t first = 0; first < rows; first += lanes) {
    const int64_t count = std::min(lanes, rows - first);
    Vector sums[lanes] = {};
    for (int64_t i = 0; i < count; ++i) {
      const T* p = static_cast<const T*>(data) + (first + i) * stride;
      Vector a = {}, b = {};
      int64_t j = 0;
      for (; j + 2 * lanes <= n; j += 2 * lanes) {
        a += load_convert<S>(p + j);
        b += load_convert<S>(p + j + lanes);
      }
      if (j + lanes <= n) {
        a += load_convert<S>(p + j);
        j += lanes;
      }
      if (j < n) b += load_rest<S>(p + j, n - j);
      sums[i] = a + b;
    }
    transpose_square<S>(sums);
#pragma GCC unroll 8
    for (int64_t half = lanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
      for (int64_t i = 0; i < half; ++i) sums[i] += sums[i + half];
    }
    for (int64_t i = 0; i < count; ++i) static_cast<double*>(totals)[first + i] += sums[0][i];
  }
}

template <class T>
void fill_type(ReduceTable& table) {
  for (Reduce kind : {Reduce::sum, Reduce::mean})
    table.reducers[static_cast<int>(kind)][static_cast<int>(dtype_of<T>)].short_rows = &sum_short_rows<T>;
}

}  // namespace

void fill_reduce_short(ReduceTable& table);
void fill_reduce_short(ReduceTable& table) {
  fill_type<float>(table);
  fill_type<double>(table);
  fill_type<Half>(table);
  fill_type<BFloat16>(table);
}

}  // namespace ctorch::CT_ISA
