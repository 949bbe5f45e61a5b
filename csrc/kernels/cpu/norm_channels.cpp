// Affine maps and sums per channel, of which batch norm and its like are made: single passes over memory.
#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/cpu/norm_lines.h"

namespace ctorch::CT_ISA {
namespace {

// line(offset, c) for every channel of every sample, with the coefficient at c; where inner is 1,
// sample(offset, c), whose coefficients are those from c on.
template <class Line, class Sample>
CT_INLINE void for_channels(const ChannelArgs& a, Line line, Sample sample) {
  if (a.inner == 1) {
    parallel_for(0, a.samples, most(1, kLeastWork / a.channels), [&](int64_t from, int64_t to) {
      for (int64_t s = from; s < to; ++s)
        sample(s * a.channels, a.per_sample ? s / a.repeat * a.channels : 0);
      if (a.stream) stream_end();
    });
    return;
  }
  parallel_for(0, a.samples * a.channels, most(1, kLeastWork / a.inner), [&](int64_t from, int64_t to) {
    for (int64_t l = from; l < to; ++l) line(l * a.inner, a.per_sample ? l : l % a.channels);
    if (a.stream) stream_end();
  });
}

template <class T>
void affine(const ChannelArgs& a) {
  using V = acc_t<T>;
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  const V* scale = static_cast<const V*>(a.scale);
  const V* shift = static_cast<const V*>(a.shift);
  for_channels(
      a, [&](int64_t at, int64_t c) { affine_line(x + at, a.inner, scale[c], shift[c], y + at, a.stream); },
      [&](int64_t at, int64_t c) {
        affine_sample(x + at, a.channels, scale + c, shift + c, y + at, a.stream);
      });
}

template <class T>
void affine_backward(const ChannelArgs& a) {
  using V = acc_t<T>;
  const T* x = static_cast<const T*>(a.x);
  const T* g = static_cast<const T*>(a.grad);
  T* y = static_cast<T*>(a.y);
  const V* mean = static_cast<const V*>(a.mean);
  const V* scale = static_cast<const V*>(a.scale);
  const V* slope = static_cast<const V*>(a.slope);
  const V* shift = static_cast<const V*>(a.shift);
  for_channels(
      a,
      [&](int64_t at, int64_t c) {
        gradient_line(x + at, g + at, a.inner, mean[c], scale[c], slope[c], shift[c], y + at, a.stream);
      },
      [&](int64_t at, int64_t c) {
        gradient_sample(x + at, g + at, a.channels, mean + c, scale + c, slope + c, shift + c, y + at,
                        a.stream);
      });
}

// s[c] += g[c], sx[c] += g[c] (x[c] - centre[c])
template <class V, class T>
CT_NOINLINE void add_row(const T* CT_RESTRICT x, const T* CT_RESTRICT g, int64_t n,
                         const V* CT_RESTRICT centre, V* CT_RESTRICT s, V* CT_RESTRICT sx) {
  int64_t c = 0;
  if constexpr (is_half_v<T>) {
    for (; c + kLanes<V> <= n; c += kLanes<V>) {
      const auto d = load_convert<V>(g + c);
      store_vector(s + c, load_vector(s + c) + d);
      store_vector(sx + c, load_vector(sx + c) + d * (load_convert<V>(x + c) - load_vector(centre + c)));
    }
  }
  for (; c < n; ++c) {
    const V d = static_cast<V>(g[c]);
    s[c] += d;
    sx[c] += d * (static_cast<V>(x[c]) - centre[c]);
  }
}

// Of (samples, channels), per channel, or with per_sample per channel and `repeat` consecutive rows: blocks
// of 32 rows in the elements' own precision, their sums in double.
template <class T>
void column_sums(const ChannelArgs& a) {
  using V = acc_t<T>;
  constexpr int64_t kBand = 512, kBlock = 32;
  const int64_t channels = a.channels, rows = a.per_sample ? a.repeat : a.samples, sets = a.samples / rows;
  const int64_t pieces = most(1, least((kTasks + sets - 1) / sets, rows * channels / kLeastWork));
  Scratch scratch(static_cast<size_t>(sets * pieces * 2 * channels) * sizeof(double));
  double* parts = scratch.as<double>();
  const V* mean = static_cast<const V*>(a.mean);
  parallel_for(0, sets * pieces, 1, [&](int64_t from, int64_t to) {
    for (int64_t p = from; p < to; ++p) {
      const int64_t set = p / pieces, piece = p % pieces, end = set * rows + rows * (piece + 1) / pieces;
      double* part = parts + p * 2 * channels;
      for (int64_t c = 0; c < 2 * channels; ++c) part[c] = 0;
      const V* centre = mean + (a.per_sample ? set * channels : 0);
      for (int64_t r = set * rows + rows * piece / pieces; r < end; r += kBlock) {
        for (int64_t first = 0; first < channels; first += kBand) {
          V s[kBand], sx[kBand];
          const int64_t band = least(kBand, channels - first);
          for (int64_t c = 0; c < band; ++c) s[c] = sx[c] = 0;
          for (int64_t i = r; i < least(end, r + kBlock); ++i) {
            const int64_t at = i * channels + first;
            add_row(static_cast<const T*>(a.x) + at, static_cast<const T*>(a.grad) + at, band, centre + first,
                    s, sx);
          }
          for (int64_t c = 0; c < band; ++c) {
            part[first + c] += s[c];
            part[channels + first + c] += sx[c];
          }
        }
      }
    }
  });
  for (int64_t set = 0; set < sets; ++set) {
    double* sum = a.sum_grad + set * channels;
    double* sum_x = a.sum_grad_x + set * channels;
    for (int64_t c = 0; c < channels; ++c) sum[c] = sum_x[c] = 0;
    for (int64_t p = set * pieces; p < (set + 1) * pieces; ++p) {
      for (int64_t c = 0; c < channels; ++c) {
        sum[c] += parts[p * 2 * channels + c];
        sum_x[c] += parts[p * 2 * channels + channels + c];
      }
    }
  }
}

template <class T>
void sums(const ChannelArgs& a) {
  using V = acc_t<T>;
  const T* x = static_cast<const T*>(a.x);
  const T* g = static_cast<const T*>(a.grad);
  const V* mean = static_cast<const V*>(a.mean);
  if (a.inner == 1) return column_sums<T>(a);
  const int64_t lines = a.per_sample ? a.samples * a.channels : a.channels;
  const int64_t work = a.per_sample ? a.inner : a.inner * a.samples;
  parallel_for(0, lines, most(1, kLeastWork / work), [&](int64_t from, int64_t to) {
    for (int64_t l = from; l < to; ++l) {
      double sum = 0, sum_x = 0;
      const int64_t step = a.channels * a.inner;
      for (int64_t s = 0; s < (a.per_sample ? 1 : a.samples); ++s) {
        const int64_t at = l * a.inner + s * step;
        add_sums(x + at, g + at, a.inner, mean[l], sum, sum_x);
      }
      a.sum_grad[l] = sum;
      a.sum_grad_x[l] = sum_x;
    }
  });
}

template <class... Ts>
void fill_types(NormTable& table, TypeList<Ts...>) {
  ((table.affine[static_cast<int>(dtype_of<Ts>)] = &affine<Ts>,
    table.affine_backward[static_cast<int>(dtype_of<Ts>)] = &affine_backward<Ts>,
    table.sums[static_cast<int>(dtype_of<Ts>)] = &sums<Ts>),
   ...);
}

}  // namespace

void fill_norm_channels(NormTable& table) { fill_types(table, Floats{}); }

}  // namespace ctorch::CT_ISA
