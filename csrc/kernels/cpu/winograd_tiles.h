// How Winograd's convolution cuts the points of a grid into tiles of 4 x 4, and moves them between tensors of
// any strides and strips, in which the channels of one pixel form a vector.
#pragma once

#include <algorithm>
#include <bit>

#include "kernels/cpu/conv_taps.h"
#include "kernels/cpu/winograd.h"

namespace ctorch::CT_ISA {
namespace {

// Rows or columns. Taps that are `spacing` points apart split the grid into as many interleaved grids
// (phases), each of which is convolved as with adjacent taps.
struct TileAxis {
  int64_t x_size, grid, spacing, first;
  int64_t filter_index[3];  // of the taps in order of their shift
  int64_t tiles;            // of one phase

  explicit TileAxis(const TapAxis& a)
      : x_size(a.x_size),
        grid(a.grid),
        spacing(std::abs(a.shift[1] - a.shift[0])),
        first(std::min(a.shift[0], a.shift[2])),
        tiles(ceil_div(ceil_div(a.grid, spacing), Winograd::kOut)) {
    const bool reversed = a.shift[2] < a.shift[0];
    for (int j = 0; j < 3; ++j) filter_index[j] = a.index[reversed ? 2 - j : j];
  }

  static bool fits(const TapAxis& a) {
    return a.step == 1 && a.taps == 3 && a.shift[1] != a.shift[0] &&
           a.shift[2] - a.shift[1] == a.shift[1] - a.shift[0];
  }
};

// A row of tiles, or a part of a long one: what is transformed at a time.
struct TileRun {
  int64_t image, sheet, h_phase, h_tile, w_phase, w_tile;
};

struct WinogradTiles {
  static constexpr int64_t kLongest = 48;  // tiles of a run: its strip stays in the L1

  const TapAxis* depth;
  TileAxis h, w;
  int64_t images, length, parts;  // length: tiles of a run; parts: runs of a row

  WinogradTiles(const TapLayout& l, int64_t batch)
      : depth(&l.axis[0]), h(l.axis[1]), w(l.axis[2]), images(batch) {
    parts = ceil_div(w.tiles, kLongest);
    length = ceil_div(w.tiles, parts);
  }
  static bool fits(const TapLayout& l) { return TileAxis::fits(l.axis[1]) && TileAxis::fits(l.axis[2]); }

  int64_t runs() const { return images * depth->grid * h.spacing * h.tiles * w.spacing * parts; }
  TileRun run(int64_t i) const {
    TileRun r{};
    r.w_tile = i % parts * length, i /= parts;
    r.h_tile = i % h.tiles, i /= h.tiles;
    r.w_phase = i % w.spacing, i /= w.spacing;
    r.h_phase = i % h.spacing, i /= h.spacing;
    r.sheet = i % depth->grid, i /= depth->grid;
    r.image = i;
    return r;
  }
};

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

// to[(r * cols + c) * lanes + l] = channel l of pixel (r, c).
inline void load_strip(float* to, int64_t rows, int64_t cols, const StripChannels<const float>& x,
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
    } else if (pitch == 1) {
      for (int64_t c = from; c < end; c += lanes) {
        const int64_t count = std::min(lanes, end - c);
        Vector square[lanes];
#pragma GCC unroll 16
        for (int64_t l = 0; l < lanes; ++l)
          square[l] = x.lane[l] ? load_partial(x.lane[l] + origin + c, count) : Vector{};
        transpose_square<float>(square);
        for (int64_t i = 0; i < count; ++i) store_vector(to + (c + i) * lanes, square[i]);
      }
    } else {
      for (int64_t l = 0; l < lanes; ++l) {
        const float* pixel = x.lane[l];
        for (int64_t c = from; c < end; ++c) to[c * lanes + l] = pixel ? pixel[origin + c * pitch] : 0.0f;
      }
    }
  }
}

// The reverse, for the pixels that are inside.
inline void store_strip(const float* from, int64_t rows, int64_t cols, const StripChannels<float>& y,
                        const StripAxis& h, const StripAxis& w) {
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
    } else if (pitch == 1) {
      for (int64_t c = 0; c < end; c += lanes) {
        const int64_t count = std::min(lanes, end - c);
        Vector square[lanes];
        for (int64_t i = 0; i < lanes; ++i)
          square[i] = i < count ? load_vector(from + (c + i) * lanes) : Vector{};
        transpose_square<float>(square);
#pragma GCC unroll 16
        for (int64_t l = 0; l < lanes; ++l) {
          if (y.lane[l]) store_partial(y.lane[l] + origin + c, square[l], count);
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

// The terms of the sum of one tile: (tap in depth, channel), in this order.
struct WinogradTerms {
  int64_t channels, count, padded;  // padded: to whole vectors

  explicit WinogradTerms(const TapLayout& l)
      : channels(l.channels),
        count(l.axis[0].taps * l.channels),
        padded(ceil_div(count, kLanes<float>) * kLanes<float>) {}
};

// Rows of a power of two would fall on the same few sets of the cache: one line more.
inline int64_t row_pitch(int64_t columns) {
  return ceil_div(columns, kLanes<float>) * kLanes<float> + kLanes<float>;
}

// The transformed image of the tiles of one run, for terms [term, term + kLanes): value (tile, term) of point
// t at to[t * plane + tile * pitch].
inline void transform_image(float* to, int64_t plane, int64_t pitch, const WinogradTiles& tiles,
                            const TileRun& run, const WinogradTerms& terms, int64_t term, const float* x,
                            int64_t channel, const int64_t* strides, float* strip) {
  constexpr int64_t lanes = kLanes<float>;
  constexpr int kIn = Winograd::kIn;
  using Vector = Winograd::Vector;
  StripChannels<const float> lane{};
  for (int64_t l = 0; l < lanes && term + l < terms.count; ++l) {
    const int64_t tap = (term + l) / terms.channels, c = (term + l) % terms.channels;
    const int64_t sheet = run.sheet * tiles.depth->step + tiles.depth->shift[tap];
    if (sheet >= 0 && sheet < tiles.depth->x_size) lane.lane[l] = x + c * channel + sheet * strides[0];
  }
  lane.adjacent = channel == 1 && lane.lane[0] && term % terms.channels + lanes <= terms.channels;
  const int64_t cols = tiles.length * Winograd::kOut + 2;
  const TileAxis &h = tiles.h, &w = tiles.w;
  load_strip(
      strip, kIn, cols, lane,
      {run.h_phase + h.first + run.h_tile * Winograd::kOut * h.spacing, h.spacing, h.x_size, strides[1]},
      {run.w_phase + w.first + run.w_tile * Winograd::kOut * w.spacing, w.spacing, w.x_size, strides[2]});
  for (int64_t c = 0; c < cols; ++c) {
    Vector d[6], v[6];
    for (int r = 0; r < kIn; ++r) d[r] = load_vector(strip + (r * cols + c) * lanes);
    Winograd::image(d, v);
    for (int r = 0; r < kIn; ++r) store_vector(strip + (r * cols + c) * lanes, v[r]);
  }
  for (int r = 0; r < kIn; ++r) {
    const float* row = strip + r * cols * lanes;
    float* out = to + r * kIn * plane;
    for (int64_t tile = 0; tile < tiles.length; ++tile) {
      Vector d[6], v[6];
      for (int j = 0; j < kIn; ++j) d[j] = load_vector(row + (tile * Winograd::kOut + j) * lanes);
      Winograd::image(d, v);
      for (int j = 0; j < kIn; ++j) store_vector(out + j * plane + tile * pitch, v[j]);
    }
  }
}

// Whether the method beats a sum over nine taps at so many points: multiply-adds per pair of term and row,
// and the measured costs of the transforms in the same unit. `filter` is the number of elements of the
// transformed filter, which beyond the caches costs three times as much.
inline bool winograd_wins(int64_t terms, int64_t rows, int64_t tiles, int64_t points, int64_t filter) {
  constexpr int64_t kFewest = 12, kLargeFilter = 1 << 22;  // channels on either side for which it can win
  if (terms < kFewest || rows < kFewest) return false;
  const auto pairs = static_cast<double>(terms * rows), ends = static_cast<double>(terms + rows);
  const double transform = pairs * (filter > kLargeFilter ? 900 : 300);
  const double winograd = static_cast<double>(tiles) * (Winograd::kPoints * pairs + 250 * ends) + transform;
  return winograd * 1.1 < 9 * pairs * static_cast<double>(points);
}

// Whether sums came out so large that a tile may have lost its small ones, or not finite: an infinity in a
// tile spreads to all of its results. Then the sum over taps has to be taken.
class LargestValue {
 public:
  using Bits = Simd<uint32_t>::Vector;
  CT_INLINE void see(Winograd::Vector v) {
    const Bits magnitude = reinterpret_cast<Bits>(v) & 0x7fffffffu;
    bits_ = magnitude > bits_ ? magnitude : bits_;
  }
  bool too_large() const {
    const uint32_t limit = std::bit_cast<uint32_t>(0x1p64f);
    for (int64_t l = 0; l < kLanes<float>; ++l) {
      if (bits_[l] >= limit) return true;
    }
    return false;
  }

 private:
  Bits bits_ = {};
};

}  // namespace
}  // namespace ctorch::CT_ISA
