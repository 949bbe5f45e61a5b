// Resampling of one dim. Where other dims lie inside it, the sums run over whole rows and vectorise; along
// the innermost dim each result gathers its elements.
#include "kernels/resample.h"

#include <algorithm>

#include "core/macros.h"
#include "core/parallel.h"

namespace ctorch::CT_ISA {
namespace {

constexpr int64_t kGrain = 1 << 15;  // sums worth handing to a thread
constexpr int64_t kBand = 512;       // of the inner elements that one piece covers

CT_INLINE int64_t grain_of(int64_t work) { return std::max<int64_t>(1, kGrain / (work + 1)); }

// to[0, n) += weight * from[0, n)
template <class T>
CT_INLINE void add_scaled(T* CT_RESTRICT to, const T* CT_RESTRICT from, T weight, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] += weight * from[i];
}

template <class T>
void forward(const ResampleArgs& g) {
  const T* weights = static_cast<const T*>(g.weights);
  const T* x = static_cast<const T*>(g.from);
  T* y = static_cast<T*>(g.to);
  if (g.inner == 1) {
    return parallel_for(0, g.outer, grain_of(g.y_size * g.taps), [&](int64_t from, int64_t to) {
      for (int64_t o = from; o < to; ++o) {
        const T* row = x + o * g.x_size;
        for (int64_t i = 0, t = 0; i < g.y_size; ++i) {
          T sum = 0;
          for (int64_t end = t + g.taps; t < end; ++t) sum += weights[t] * row[g.positions[t]];
          y[o * g.y_size + i] = sum;
        }
      }
    });
  }
  parallel_for(0, g.outer * g.y_size, grain_of(g.inner * g.taps), [&](int64_t from, int64_t to) {
    for (int64_t r = from; r < to; ++r) {
      const T* plane = x + r / g.y_size * g.x_size * g.inner;
      const int64_t first = r % g.y_size * g.taps;
      T* row = y + r * g.inner;
      std::fill(row, row + g.inner, T(0));
      for (int64_t t = first; t < first + g.taps; ++t)
        add_scaled(row, plane + g.positions[t] * g.inner, weights[t], g.inner);
    }
  });
}

// Pieces are bands of one plane of x, so that no two write the same elements.
template <class T>
void backward(const ResampleArgs& g) {
  const T* weights = static_cast<const T*>(g.weights);
  const T* y = static_cast<const T*>(g.from);
  T* x = static_cast<T*>(g.to);
  if (g.inner == 1) {
    return parallel_for(0, g.outer, grain_of(g.y_size * g.taps), [&](int64_t from, int64_t to) {
      for (int64_t o = from; o < to; ++o) {
        T* row = x + o * g.x_size;
        std::fill(row, row + g.x_size, T(0));
        for (int64_t i = 0, t = 0; i < g.y_size; ++i) {
          const T value = y[o * g.y_size + i];
          for (int64_t end = t + g.taps; t < end; ++t) row[g.positions[t]] += weights[t] * value;
        }
      }
    });
  }
  const int64_t bands = (g.inner + kBand - 1) / kBand;
  const int64_t work = g.y_size * g.taps * std::min(g.inner, kBand);
  parallel_for(0, g.outer * bands, grain_of(work), [&](int64_t from, int64_t to) {
    for (int64_t b = from; b < to; ++b) {
      const int64_t start = b % bands * kBand, n = std::min(kBand, g.inner - start);
      T* plane = x + b / bands * g.x_size * g.inner + start;
      const T* rows = y + b / bands * g.y_size * g.inner + start;
      for (int64_t i = 0; i < g.x_size; ++i) std::fill(plane + i * g.inner, plane + i * g.inner + n, T(0));
      for (int64_t i = 0, t = 0; i < g.y_size; ++i) {
        for (int64_t end = t + g.taps; t < end; ++t)
          add_scaled(plane + g.positions[t] * g.inner, rows + i * g.inner, weights[t], n);
      }
    }
  });
}

void resample_forward(const ResampleArgs& g) {
  g.dtype == DType::float32 ? forward<float>(g) : forward<double>(g);
}
void resample_backward(const ResampleArgs& g) {
  g.dtype == DType::float32 ? backward<float>(g) : backward<double>(g);
}

}  // namespace

void fill_resample(ResampleTable& table) {
  table = {.forward = resample_forward, .backward = resample_backward};
}

}  // namespace ctorch::CT_ISA
