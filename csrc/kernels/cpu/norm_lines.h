// Lines of n elements of a channel or of a sample, mapped and summed.
#pragma once

#include "kernels/cpu/gemm_simd.h"
#include "kernels/cpu/norm_row.h"
#include "kernels/cpu/stream.h"

namespace ctorch::CT_ISA {
namespace {

// y[i - first] = map(x[i], g[i], at) for i in [first, first + n), for vectors and single numbers alike, where
// at(p) is p[i]. Half types are converted in registers.
template <class V, class X, class Y, class Map>
CT_INLINE void map_run(const X* CT_RESTRICT x, const X* CT_RESTRICT g, int64_t first, int64_t n,
                       Y* CT_RESTRICT y, Map map) {
  int64_t k = 0;
  if constexpr (is_half_v<Y>) {
    for (; k + kLanes<V> <= n; k += kLanes<V>) {
      const int64_t i = first + k;
      auto at = [i](const V* p) __attribute__((always_inline)) { return load_vector(p + i); };
      store_converted(y + k, map(load_convert<V>(x + i), load_convert<V>(g + i), at));
    }
  }
#pragma GCC ivdep
  for (; k < n; ++k) {
    const int64_t i = first + k;
    auto at = [i](const V* p) __attribute__((always_inline)) { return p[i]; };
    y[k] = static_cast<Y>(map(static_cast<V>(x[i]), static_cast<V>(g[i]), at));
  }
}
// Past the caches, by way of runs that end at cache lines of y.
template <class V, class X, class Y, class Map>
CT_NOINLINE void stream_line(const X* x, const X* g, int64_t n, Y* y, Map map) {
  constexpr int64_t size = sizeof(Y), run = 1024 / size;
  alignas(64) Y results[run];
  for (int64_t i = 0, count; i < n; i += count) {
    count = least(n - i, run - static_cast<int64_t>(reinterpret_cast<uintptr_t>(y + i) % 64) / size);
    map_run<V>(x, g, i, count, results, map);
    stream(y + i, results, count * size);
  }
}
// A whole line, past the caches if asked and long: short ones would be stored in parts of cache lines.
template <class V, class X, class Y, class Map>
CT_INLINE void map_line(const X* x, const X* g, int64_t n, Y* y, bool past_caches, Map map) {
  if (past_caches && n * static_cast<int64_t>(sizeof(Y)) >= 1024) return stream_line<V>(x, g, n, y, map);
  map_run<V>(x, g, 0, n, y, map);
}

template <class V, class T>
CT_INLINE void affine_line(const T* x, int64_t n, V scale, V shift, T* y, bool past_caches) {
  map_line<V>(x, x, n, y, past_caches,
              [=](auto v, auto, auto) __attribute__((always_inline)) { return v * scale + shift; });
}
template <class V, class T>
CT_NOINLINE void normalize_line(const V* x, int64_t n, V mean, V scale, V shift, T* y, bool past_caches) {
  map_line<V>(x, x, n, y, past_caches,
              [=](auto v, auto, auto) __attribute__((always_inline)) { return (v - mean) * scale + shift; });
}
template <class V, class X, class Y>
CT_NOINLINE void gradient_line(const X* x, const X* g, int64_t n, V mean, V scale, V slope, V shift, Y* y,
                               bool past_caches) {
  map_line<V>(x, g, n, y, past_caches, [=](auto v, auto d, auto) __attribute__((always_inline)) {
    return d * scale + (v - mean) * slope + shift;
  });
}
// The same where coefficients run along with the elements.
template <class V, class T>
CT_NOINLINE void affine_sample(const T* x, int64_t n, const V* scale, const V* shift, T* y,
                               bool past_caches) {
  map_line<V>(x, x, n, y, past_caches, [=](auto v, auto, auto at) __attribute__((always_inline)) {
    return v * at(scale) + at(shift);
  });
}
template <class V, class T>
CT_NOINLINE void gradient_sample(const T* x, const T* g, int64_t n, const V* mean, const V* scale,
                                 const V* slope, const V* shift, T* y, bool past_caches) {
  map_line<V>(x, g, n, y, past_caches, [=](auto v, auto d, auto at) __attribute__((always_inline)) {
    return d * at(scale) + (v - at(mean)) * at(slope) + at(shift);
  });
}

// Adds the sums of g and of g (x - centre).
template <class V, class T>
CT_NOINLINE void add_sums(const T* x, const T* g, int64_t n, V centre, double& sum, double& sum_x) {
  constexpr int64_t lanes = kLanes<V>, kSide = 4;  // as many of each sum side by side
  using Vector = typename Simd<V>::Vector;
  for (int64_t start = 0; start < n; start += kSumRun) {
    const int64_t end = least(n, start + kSumRun);
    Vector s[kSide] = {}, sx[kSide] = {};
    auto add = [&](int64_t at, int64_t k) __attribute__((always_inline)) {
      const Vector d = load_convert<V>(g + at);
      s[k] += d;
      sx[k] += d * (load_convert<V>(x + at) - centre);
    };
    int64_t i = start;
    for (; i + kSide * lanes <= end; i += kSide * lanes) {
#pragma GCC unroll 4
      for (int64_t k = 0; k < kSide; ++k) add(i + k * lanes, k);
    }
    for (; i + lanes <= end; i += lanes) add(i, 0);
    V rest = 0, rest_x = 0;
    for (; i < end; ++i) {
      const V d = static_cast<V>(g[i]);
      rest += d;
      rest_x += d * (static_cast<V>(x[i]) - centre);
    }
    sum += sum_lanes<V>((s[0] + s[1]) + (s[2] + s[3])) + rest;
    sum_x += sum_lanes<V>((sx[0] + sx[1]) + (sx[2] + sx[3])) + rest_x;
  }
}

}  // namespace
}  // namespace ctorch::CT_ISA
