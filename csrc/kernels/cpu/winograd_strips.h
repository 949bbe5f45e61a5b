// Moves the pixels of tiles between tensors of any strides and strips, in which the channels of one pixel
// form a vector.
#pragma once

#include <algorithm>

#include "kernels/cpu/conv_taps.h"

namespace ctorch::CT_ISA {
namespace {

// Points of a tensor along one dimension: the i-th is point start + i * step of `size`, those outside are
// zero.
struct StripAxis {
  int64_t start, step, size, stride;

  int64_t low() const { return start >= 0 ? 0 : ceil_div(-start, step); }
  int64_t high(int64_t count) const {
    return std::clamp<int64_t>(size > start ? ceil_div(size - start, step) : 0, 0, count);
  }
};

// The pixels of up to kLanes channels, a pointer to the origin of each; null where there is none. `adjacent`:
// all are there, and lie side by side.
template <class T>
struct StripChannels {
  T* lane[kLanes<float>];
  bool adjacent;
};

// Columns [from, end) of a row of load_strip() whose pixels are `pitch` apart. Squares are written whole:
// `to` has room for zeros beyond the end, which what follows overwrites. Every channel is a stream of its
// own, too short for the CPU to read ahead, so the next row is asked for.
template <int64_t pitch>
CT_INLINE void load_squares(float* to, const StripChannels<const float>& x, int64_t origin, int64_t from,
                            int64_t end, int64_t next_row) {
  constexpr int64_t lanes = kLanes<float>;
  for (int64_t c = from; c < end; c += lanes) {
    Simd<float>::Vector square[lanes] = {};
#pragma GCC unroll 16
    for (int64_t l = 0; l < lanes; ++l) {
      if (!x.lane[l]) continue;
      const float* pixel = x.lane[l] + origin + c * pitch;
      square[l] = pitch == 1 ? load_partial(pixel, std::min(lanes, end - c)) : load_evens(pixel, end - c);
      for (int64_t i = 0; i < pitch; ++i) __builtin_prefetch(pixel + next_row + i * lanes);
    }
    transpose_square<float>(square);
#pragma GCC unroll 16
    for (int64_t i = 0; i < lanes; ++i) store_vector(to + (c + i) * lanes, square[i]);
  }
}

// to[(r * cols + c) * lanes + l] = channel l of pixel (r, c).
CT_NOINLINE inline void load_strip(float* to, int64_t rows, int64_t cols, const StripChannels<const float>& x,
                                   const StripAxis& h, const StripAxis& w) {
  constexpr int64_t lanes = kLanes<float>;
  using Vector = Simd<float>::Vector;
  const int64_t high = w.high(cols), low = std::min(w.low(), high), pitch = w.step * w.stride;
  for (int64_t r = 0; r < rows; ++r, to += cols * lanes) {
    const int64_t row = h.start + r * h.step;
    const bool inside = row >= 0 && row < h.size;
    const int64_t from = inside ? low : 0, end = inside ? high : 0;
    for (int64_t c = 0; c < from; ++c) store_vector(to + c * lanes, Vector{});
    for (int64_t c = end; c < cols; ++c) store_vector(to + c * lanes, Vector{});
    const int64_t origin = row * h.stride + w.start * w.stride;
    if (x.adjacent) {
      for (int64_t c = from; c < end; ++c)
        store_vector(to + c * lanes, load_vector(x.lane[0] + origin + c * pitch));
    } else if (pitch == 1 || pitch == 2) {
      pitch == 1 ? load_squares<1>(to, x, origin, from, end, h.step * h.stride)
                 : load_squares<2>(to, x, origin, from, end, h.step * h.stride);
    } else {
      for (int64_t l = 0; l < lanes; ++l) {
        const float* pixel = x.lane[l];
        for (int64_t c = from; c < end; ++c) to[c * lanes + l] = pixel ? pixel[origin + c * pitch] : 0.0f;
      }
    }
  }
}

// The reverse, for the pixels that are inside.
CT_NOINLINE inline void store_strip(const float* from, int64_t rows, int64_t cols,
                                    const StripChannels<float>& y, const StripAxis& h, const StripAxis& w) {
  constexpr int64_t lanes = kLanes<float>;
  using Vector = Simd<float>::Vector;
  const int64_t end = w.high(cols), pitch = w.step * w.stride;
  for (int64_t r = 0; r < rows; ++r, from += cols * lanes) {
    const int64_t row = h.start + r * h.step;
    if (row >= h.size) return;
    const int64_t origin = row * h.stride + w.start * w.stride;
    if (y.adjacent) {
      for (int64_t c = 0; c < end; ++c)
        store_vector(y.lane[0] + origin + c * pitch, load_vector(from + c * lanes));
    } else if (pitch == 1 || pitch == 2) {
      for (int64_t c = 0; c < end; c += lanes) {
        const int64_t count = std::min(lanes, end - c);
        Vector square[lanes];
#pragma GCC unroll 16
        for (int64_t i = 0; i < lanes; ++i) square[i] = load_vector(from + (c + i) * lanes);
        transpose_square<float>(square);
#pragma GCC unroll 16
        for (int64_t l = 0; l < lanes; ++l) {
          if (!y.lane[l]) continue;
          float* pixel = y.lane[l] + origin + c * pitch;
          pitch == 1 ? store_partial(pixel, square[l], count) : store_evens(pixel, square[l], count);
        }
      }
    } else {
      for (int64_t l = 0; l < lanes && y.lane[l]; ++l) {
        for (int64_t c = 0; c < end; ++c) y.lane[l][origin + c * pitch] = from[c * lanes + l];
      }
    }
  }
}

// Channels [first, first + kLanes) of `channels`, `stride` apart, in a sheet of a tensor.
template <class T>
StripChannels<T> strip_channels(T* sheet, int64_t first, int64_t channels, int64_t stride) {
  StripChannels<T> x{};
  for (int64_t l = 0; l < kLanes<float>; ++l)
    x.lane[l] = first + l < channels ? sheet + (first + l) * stride : nullptr;
  x.adjacent = stride == 1 && first + kLanes<float> <= channels;
  return x;
}

}  // namespace
}  // namespace ctorch::CT_ISA
