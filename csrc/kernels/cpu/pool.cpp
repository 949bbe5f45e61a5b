// Pooling. A row of results is computed at a time: each tap of the window is one pass over the row, so that
// the passes are loops over consecutive results, which vectorise.
#include "kernels/pool.h"

#include <algorithm>
#include <limits>

#include "core/half.h"
#include "core/macros.h"
#include "core/parallel.h"
#include "core/scratch.h"

namespace ctorch::CT_ISA {
namespace {

constexpr int64_t kRow = 512;  // results that are computed at a time
constexpr int64_t kGrain = 1 << 15;

CT_INLINE int64_t ceil_div(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

// The elements of a dim under window i, and how many there would be with padding.
struct Window {
  int64_t begin, end, extent;
};
CT_INLINE Window mean_window(const PoolAxis& a, bool adaptive, int64_t i) {
  if (adaptive) {
    const int64_t begin = i * a.x_size / a.y_size, end = ceil_div((i + 1) * a.x_size, a.y_size);
    return {begin, end, end - begin};
  }
  const int64_t begin = i * a.stride - a.padding;
  const int64_t end = std::min(begin + a.kernel, a.x_size + a.padding);
  return {std::max<int64_t>(begin, 0), std::min(end, a.x_size), end - begin};
}
// For a tap at `offset` from the beginning of every window: the windows [from, to) in which it is an element.
struct TapRange {
  int64_t from, to;
};
CT_INLINE TapRange tap_range(const PoolAxis& a, int64_t offset) {
  const int64_t from = std::clamp<int64_t>(ceil_div(-offset, a.stride), 0, a.y_size);
  return {from, std::clamp<int64_t>(ceil_div(a.x_size - offset, a.stride), from, a.y_size)};
}

template <class T>
CT_INLINE T lowest() {
  if constexpr (std::numeric_limits<T>::has_infinity) {
    return -std::numeric_limits<T>::infinity();
  } else {
    return std::numeric_limits<T>::lowest();
  }
}

// One tap over results [from, to) of a block: a NaN is a maximum, and so is a later one, as in PyTorch.
template <int kStep, bool kTaps, class T, class S>
CT_INLINE void max_pass(S* best, int32_t* taps, int32_t tap, const T* x, int64_t step, int64_t from,
                        int64_t to) {
#pragma GCC ivdep
  for (int64_t o = from; o < to; ++o) {
    const S v = static_cast<S>(x[o * (kStep ? kStep : step)]);
    const bool take = (v > best[o]) | (v != v);
    best[o] = take ? v : best[o];
    if constexpr (kTaps) taps[o] = take ? tap : taps[o];
  }
}
template <int kStep, class T, class S>
CT_INLINE void add_pass(S* sum, const T* x, int64_t step, int64_t from, int64_t to) {
#pragma GCC ivdep
  for (int64_t o = from; o < to; ++o) sum[o] += static_cast<S>(x[o * (kStep ? kStep : step)]);
}
template <int kStep, class S>
CT_INLINE void spread_pass(S* x, const S* value, int64_t step, int64_t from, int64_t to) {
#pragma GCC ivdep
  for (int64_t o = from; o < to; ++o) x[o * (kStep ? kStep : step)] += value[o];
}
// body<kStep>(): with the step as a constant where it is usual.
template <class Body>
CT_INLINE void with_step(int64_t step, Body&& body) {
  if (step == 1) {
    body.template operator()<1>();
  } else if (step == 2) {
    body.template operator()<2>();
  } else {
    body.template operator()<0>();
  }
}

// Calls body(plane, d, h) for all rows of results, in parallel.
template <class Body>
CT_INLINE void for_each_row(const PoolArgs& g, int64_t work_per_row, Body&& body) {
  const int64_t rows = g.axis[0].y_size * g.axis[1].y_size;
  parallel_for(0, g.batch * g.channels * rows, std::max<int64_t>(1, kGrain / (work_per_row + 1)),
               [&](int64_t from, int64_t to) {
                 for (int64_t i = from; i < to; ++i)
                   body(i / rows, i % rows / g.axis[1].y_size, i % g.axis[1].y_size);
               });
}
template <class T>
CT_INLINE const T* plane_of(const PoolArgs& g, int64_t plane) {
  return static_cast<const T*>(g.x) + plane / g.channels * g.x_strides[0] +
         plane % g.channels * g.x_strides[1];
}
CT_INLINE int64_t taps_of(const PoolArgs& g) {
  int64_t n = 1;
  for (const PoolAxis& a : g.axis) n *= g.adaptive ? a.x_size / a.y_size + 1 : a.kernel;
  return n;
}

// The maxima of results [o0, o0 + count) of a row, and with kTaps the tap that each stands at (-1: no element
// above the lowest).
template <bool kTaps, class T, class S>
void max_block(const PoolArgs& g, const T* plane, int64_t d, int64_t h, int64_t o0, int64_t count, S* best,
               int32_t* taps) {
  const PoolAxis &ad = g.axis[0], &ah = g.axis[1], &aw = g.axis[2];
  for (int64_t o = 0; o < count; ++o) best[o] = lowest<S>();
  if constexpr (kTaps) std::fill(taps, taps + count, -1);
  int32_t tap = 0;
  for (int64_t i = 0; i < ad.kernel; ++i) {
    const int64_t xd = d * ad.stride - ad.padding + i * ad.dilation;
    for (int64_t j = 0; j < ah.kernel; ++j) {
      const int64_t xh = h * ah.stride - ah.padding + j * ah.dilation;
      if (xd < 0 || xd >= ad.x_size || xh < 0 || xh >= ah.x_size) {
        tap += static_cast<int32_t>(aw.kernel);
        continue;
      }
      const T* row = plane + xd * g.x_strides[2] + xh * g.x_strides[3];
      for (int64_t l = 0; l < aw.kernel; ++l, ++tap) {
        const int64_t offset = l * aw.dilation - aw.padding;
        const TapRange range = tap_range(aw, offset);
        const int64_t from = std::max<int64_t>(range.from - o0, 0), to = std::min(range.to - o0, count);
        const int64_t step = aw.stride * g.x_strides[4];
        const T* x = row + (o0 * aw.stride + offset) * g.x_strides[4];
        with_step(step, [&]<int kStep>() { max_pass<kStep, kTaps>(best, taps, tap, x, step, from, to); });
      }
    }
  }
}

// Where in its plane the maximum of a result stands.
class Positions {
 public:
  explicit Positions(const PoolArgs& g) : g_(g), in_table_(taps_of(g) <= kTable) {
    if (!in_table_) return;
    for (int64_t tap = 0; tap < taps_of(g); ++tap) table_[tap] = shift_of(tap);
  }
  // Of result (d, h, o) at a tap; without any element above the lowest (tap < 0) it is the first of the
  // window.
  CT_INLINE int64_t of(int64_t d, int64_t h, int64_t o, int32_t tap) const {
    const PoolAxis* a = g_.axis;
    const int64_t begin =
        ((d * a[0].stride - a[0].padding) * a[1].x_size + h * a[1].stride - a[1].padding) * a[2].x_size +
        o * a[2].stride - a[2].padding;
    if (CT_LIKELY(tap >= 0)) return begin + (in_table_ ? table_[tap] : shift_of(tap));
    return begin + (first_tap(a[0], d) * a[1].x_size + first_tap(a[1], h)) * a[2].x_size + first_tap(a[2], o);
  }

 private:
  int64_t shift_of(int64_t tap) const {
    const PoolAxis* a = g_.axis;
    const int64_t l = tap % a[2].kernel, j = tap / a[2].kernel % a[1].kernel,
                  i = tap / (a[2].kernel * a[1].kernel);
    return (i * a[0].dilation * a[1].x_size + j * a[1].dilation) * a[2].x_size + l * a[2].dilation;
  }
  // From the beginning of a window to its first element that exists.
  static int64_t first_tap(const PoolAxis& a, int64_t result) {
    const int64_t begin = result * a.stride - a.padding;
    return begin < 0 ? ceil_div(-begin, a.dilation) * a.dilation : 0;
  }

  static constexpr int64_t kTable = 64;
  const PoolArgs& g_;
  const bool in_table_;
  int64_t table_[kTable];
};

template <class T, class S>
void max_windows(const PoolArgs& g) {
  const int64_t width = g.axis[2].y_size;
  const Positions positions(g);
  for_each_row(g, width * taps_of(g), [&](int64_t plane, int64_t d, int64_t h) {
    S best[kRow];
    int32_t taps[kRow];
    const T* x = plane_of<T>(g, plane);
    const int64_t row = ((plane * g.axis[0].y_size + d) * g.axis[1].y_size + h) * width;
    T* y = static_cast<T*>(g.y) + row;
    for (int64_t o0 = 0; o0 < width; o0 += kRow) {
      const int64_t count = std::min(kRow, width - o0);
      if (g.indices) {
        max_block<true>(g, x, d, h, o0, count, best, taps);
        for (int64_t o = 0; o < count; ++o) g.indices[row + o0 + o] = positions.of(d, h, o0 + o, taps[o]);
      } else {
        max_block<false>(g, x, d, h, o0, count, best, taps);
      }
      for (int64_t o = 0; o < count; ++o) y[o0 + o] = static_cast<T>(best[o]);
    }
  });
}

// Windows of their own size each: the elements one by one.
template <class T, class S>
void max_adaptive(const PoolArgs& g) {
  const int64_t width = g.axis[2].y_size;
  for_each_row(g, width * taps_of(g), [&](int64_t plane, int64_t d, int64_t h) {
    const T* x = plane_of<T>(g, plane);
    const int64_t row = ((plane * g.axis[0].y_size + d) * g.axis[1].y_size + h) * width;
    const Window wd = mean_window(g.axis[0], true, d), wh = mean_window(g.axis[1], true, h);
    for (int64_t o = 0; o < width; ++o) {
      const Window ww = mean_window(g.axis[2], true, o);
      S best = lowest<S>();
      int64_t position = (wd.begin * g.axis[1].x_size + wh.begin) * g.axis[2].x_size + ww.begin;
      for (int64_t i = wd.begin; i < wd.end; ++i) {
        for (int64_t j = wh.begin; j < wh.end; ++j) {
          for (int64_t l = ww.begin; l < ww.end; ++l) {
            const S v = static_cast<S>(x[i * g.x_strides[2] + j * g.x_strides[3] + l * g.x_strides[4]]);
            if ((v > best) | (v != v)) {
              best = v;
              position = (i * g.axis[1].x_size + j) * g.axis[2].x_size + l;
            }
          }
        }
      }
      static_cast<T*>(g.y)[row + o] = static_cast<T>(best);
      if (g.indices) g.indices[row + o] = position;
    }
  });
}

// A plane of the gradient in S: the result itself, or a buffer that is converted at the end.
template <class T, class S, class Body>
void for_each_plane_gradient(const PoolArgs& g, Body&& body) {
  const int64_t size = g.axis[0].x_size * g.axis[1].x_size * g.axis[2].x_size;
  const int64_t results = g.axis[0].y_size * g.axis[1].y_size * g.axis[2].y_size;
  const int64_t work = size + results * taps_of(g);
  parallel_for(0, g.batch * g.channels, std::max<int64_t>(1, kGrain / (work + 1)),
               [&](int64_t from, int64_t to) {
                 Scratch buffer(std::is_same_v<T, S> ? 0 : static_cast<size_t>(size) * sizeof(S));
                 for (int64_t plane = from; plane < to; ++plane) {
                   T* x = static_cast<T*>(g.x_grad) + plane * size;
                   S* sums = std::is_same_v<T, S> ? reinterpret_cast<S*>(x) : buffer.as<S>();
                   std::fill(sums, sums + size, S(0));
                   body(plane, sums, static_cast<const T*>(g.y_grad) + plane * results);
                   if constexpr (!std::is_same_v<T, S>) {
                     for (int64_t i = 0; i < size; ++i) x[i] = static_cast<T>(sums[i]);
                   }
                 }
               });
}

template <class T, class S>
void max_backward(const PoolArgs& g) {
  const Positions positions(g);
  for_each_plane_gradient<T, S>(g, [&](int64_t plane, S* sums, const T* grad) {
    S best[kRow];
    int32_t taps[kRow];
    const T* x = plane_of<T>(g, plane);
    const int64_t width = g.axis[2].y_size;
    for (int64_t d = 0; d < g.axis[0].y_size; ++d) {
      for (int64_t h = 0; h < g.axis[1].y_size; ++h, grad += width) {
        for (int64_t o0 = 0; o0 < width; o0 += kRow) {
          const int64_t count = std::min(kRow, width - o0);
          max_block<true>(g, x, d, h, o0, count, best, taps);
          for (int64_t o = 0; o < count; ++o)
            sums[positions.of(d, h, o0 + o, taps[o])] += static_cast<S>(grad[o0 + o]);
        }
      }
    }
  });
}

template <class S>
CT_INLINE S divisor_of(const PoolArgs& g, const Window& d, const Window& h, const Window& w) {
  if (g.divisor != 0) return static_cast<S>(g.divisor);
  if (g.count_include_pad) return static_cast<S>(d.extent * h.extent * w.extent);
  return static_cast<S>((d.end - d.begin) * (h.end - h.begin) * (w.end - w.begin));
}

constexpr int64_t kLine = 1024;  // the longest row of x whose sums over the rows of a window are kept

// A row of adaptive means: the rows of x under the window are added up as a whole, then each result takes its
// part.
template <class T, class S>
void adaptive_row(const PoolArgs& g, const T* plane, const Window& wd, const Window& wh, T* y) {
  const PoolAxis& aw = g.axis[2];
  S line[kLine];
  for (int64_t l = 0; l < aw.x_size; ++l) line[l] = S(0);
  for (int64_t i = wd.begin; i < wd.end; ++i) {
    for (int64_t j = wh.begin; j < wh.end; ++j) {
      const T* row = plane + i * g.x_strides[2] + j * g.x_strides[3];
      with_step(g.x_strides[4],
                [&]<int kStep>() { add_pass<kStep>(line, row, g.x_strides[4], 0, aw.x_size); });
    }
  }
  for (int64_t o = 0; o < aw.y_size; ++o) {
    const Window ww = mean_window(aw, true, o);
    S total = S(0);
    for (int64_t l = ww.begin; l < ww.end; ++l) total += line[l];
    y[o] = static_cast<T>(total / divisor_of<S>(g, wd, wh, ww));
  }
}
// Its gradient: each result's share goes to the columns of its window, and the whole line to the rows of x.
template <class T, class S>
void adaptive_row_backward(const PoolArgs& g, const T* grad, const Window& wd, const Window& wh, S* sums) {
  const PoolAxis& aw = g.axis[2];
  S line[kLine];
  for (int64_t l = 0; l < aw.x_size; ++l) line[l] = S(0);
  for (int64_t o = 0; o < aw.y_size; ++o) {
    const Window ww = mean_window(aw, true, o);
    const S share = static_cast<S>(grad[o]) / divisor_of<S>(g, wd, wh, ww);
    for (int64_t l = ww.begin; l < ww.end; ++l) line[l] += share;
  }
  for (int64_t i = wd.begin; i < wd.end; ++i) {
    for (int64_t j = wh.begin; j < wh.end; ++j)
      add_pass<1>(sums + (i * g.axis[1].x_size + j) * aw.x_size, line, 1, 0, aw.x_size);
  }
}

template <class T, class S>
void mean_windows(const PoolArgs& g) {
  const PoolAxis& aw = g.axis[2];
  const int64_t width = aw.y_size;
  for_each_row(g, width * taps_of(g), [&](int64_t plane, int64_t d, int64_t h) {
    S sum[kRow];
    T* y = static_cast<T*>(g.y) + ((plane * g.axis[0].y_size + d) * g.axis[1].y_size + h) * width;
    const Window wd = mean_window(g.axis[0], g.adaptive, d), wh = mean_window(g.axis[1], g.adaptive, h);
    if (g.adaptive && aw.x_size <= kLine) return adaptive_row<T, S>(g, plane_of<T>(g, plane), wd, wh, y);
    for (int64_t o0 = 0; o0 < width; o0 += kRow) {
      const int64_t count = std::min(kRow, width - o0);
      std::fill(sum, sum + count, S(0));
      for (int64_t i = wd.begin; i < wd.end; ++i) {
        for (int64_t j = wh.begin; j < wh.end; ++j) {
          const T* row = plane_of<T>(g, plane) + i * g.x_strides[2] + j * g.x_strides[3];
          if (g.adaptive) {
            for (int64_t o = 0; o < count; ++o) {
              const Window ww = mean_window(aw, true, o0 + o);
              S total = S(0);
              if (g.x_strides[4] == 1) {
#pragma omp simd reduction(+ : total)
                for (int64_t l = ww.begin; l < ww.end; ++l) total += static_cast<S>(row[l]);
              } else {
                for (int64_t l = ww.begin; l < ww.end; ++l) total += static_cast<S>(row[l * g.x_strides[4]]);
              }
              sum[o] += total;
            }
            continue;
          }
          for (int64_t l = 0; l < aw.kernel; ++l) {
            const TapRange range = tap_range(aw, l - aw.padding);
            const int64_t from = std::max<int64_t>(range.from - o0, 0), to = std::min(range.to - o0, count);
            const int64_t step = aw.stride * g.x_strides[4];
            const T* x = row + (o0 * aw.stride + l - aw.padding) * g.x_strides[4];
            with_step(step, [&]<int kStep>() { add_pass<kStep>(sum, x, step, from, to); });
          }
        }
      }
      for (int64_t o = 0; o < count; ++o) {
        const S divisor = divisor_of<S>(g, wd, wh, mean_window(aw, g.adaptive, o0 + o));
        y[o0 + o] = divisor == S(0) ? T(S(0)) : static_cast<T>(sum[o] / divisor);
      }
    }
  });
}

template <class T, class S>
void mean_backward(const PoolArgs& g) {
  const PoolAxis& aw = g.axis[2];
  for_each_plane_gradient<T, S>(g, [&](int64_t, S* sums, const T* grad) {
    S share[kRow];
    const int64_t width = aw.y_size;
    for (int64_t d = 0; d < g.axis[0].y_size; ++d) {
      const Window wd = mean_window(g.axis[0], g.adaptive, d);
      for (int64_t h = 0; h < g.axis[1].y_size; ++h, grad += width) {
        const Window wh = mean_window(g.axis[1], g.adaptive, h);
        if (g.adaptive && aw.x_size <= kLine) {
          adaptive_row_backward<T, S>(g, grad, wd, wh, sums);
          continue;
        }
        for (int64_t o0 = 0; o0 < width; o0 += kRow) {
          const int64_t count = std::min(kRow, width - o0);
          for (int64_t o = 0; o < count; ++o) {
            const S divisor = divisor_of<S>(g, wd, wh, mean_window(aw, g.adaptive, o0 + o));
            share[o] = divisor == S(0) ? S(0) : static_cast<S>(grad[o0 + o]) / divisor;
          }
          for (int64_t i = wd.begin; i < wd.end; ++i) {
            for (int64_t j = wh.begin; j < wh.end; ++j) {
              S* row = sums + (i * g.axis[1].x_size + j) * aw.x_size;
              if (g.adaptive) {
                for (int64_t o = 0; o < count; ++o) {
                  const Window ww = mean_window(aw, true, o0 + o);
                  for (int64_t l = ww.begin; l < ww.end; ++l) row[l] += share[o];
                }
                continue;
              }
              for (int64_t l = 0; l < aw.kernel; ++l) {
                const TapRange range = tap_range(aw, l - aw.padding);
                const int64_t from = std::max<int64_t>(range.from - o0, 0),
                              to = std::min(range.to - o0, count);
                S* x = row + o0 * aw.stride + l - aw.padding;
                with_step(aw.stride, [&]<int kStep>() { spread_pass<kStep>(x, share, aw.stride, from, to); });
              }
            }
          }
        }
      }
    }
  });
}

template <class T, class S>
void max_any(const PoolArgs& g) {
  g.adaptive ? max_adaptive<T, S>(g) : max_windows<T, S>(g);
}

#define CT_POOL_FLOATS(fn)                             \
  case DType::float32: return fn<float, float>(g);     \
  case DType::float64: return fn<double, double>(g);   \
  case DType::float16: return fn<Half, float>(g);      \
  case DType::bfloat16: return fn<BFloat16, float>(g); \
  case DType::int64: return fn<int64_t, int64_t>(g);
#define CT_POOL_INTEGERS(fn)                         \
  case DType::uint8: return fn<uint8_t, uint8_t>(g); \
  case DType::int8: return fn<int8_t, int8_t>(g);    \
  case DType::int16: return fn<int16_t, int16_t>(g); \
  case DType::int32: return fn<int32_t, int32_t>(g);

void pool_max(const PoolArgs& g) {
  switch (g.dtype) {
    CT_POOL_FLOATS(max_any)
    CT_POOL_INTEGERS(max_any)
    default: return;
  }
}
void pool_max_backward(const PoolArgs& g) {
  switch (g.dtype) {
    CT_POOL_FLOATS(max_backward)
    CT_POOL_INTEGERS(max_backward)
    default: return;
  }
}
void pool_mean(const PoolArgs& g) {
  switch (g.dtype) {
    CT_POOL_FLOATS(mean_windows)
    default: return;
  }
}
void pool_mean_backward(const PoolArgs& g) {
  switch (g.dtype) {
    CT_POOL_FLOATS(mean_backward)
    default: return;
  }
}
#undef CT_POOL_FLOATS
#undef CT_POOL_INTEGERS

}  // namespace

void fill_pool(PoolTable& table) {
  table = {.max = pool_max,
           .max_backward = pool_max_backward,
           .mean = pool_mean,
           .mean_backward = pool_mean_backward};
}

}  // namespace ctorch::CT_ISA
