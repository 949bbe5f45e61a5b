// How Winograd's convolutions cut the points of a grid into tiles of 4 x 4, and the sum of one tile into
// terms.
#pragma once

#include <algorithm>
#include <bit>

#include "kernels/cpu/winograd.h"
#include "kernels/cpu/winograd_strips.h"

namespace ctorch::CT_ISA {
namespace {

constexpr int64_t kWinogradTile = 4;  // rows and columns of a tile

// The taps of one dimension whose shifts differ by multiples of the step: those that see the same phase of
// the image.
struct TapSet {
  static constexpr int kMost = 3;
  int64_t first;                // the smallest shift
  int64_t filter_index[kMost];  // of the taps in order of their shift
  int taps;
};

// Rows or columns. Taps that are `spacing` points of their phase apart split the grid into as many
// interleaved grids (phases), each of which is convolved as with adjacent taps.
struct TileAxis {
  int64_t x_size, grid, step, spacing = 0;
  TapSet set[2] = {};  // the one of more taps first
  int sets = 0;        // 0: the taps are too many, or unequally spaced
  int64_t tiles;       // of one phase

  CT_NOINLINE explicit TileAxis(const TapAxis& a) : x_size(a.x_size), grid(a.grid), step(a.step) {
    const bool reversed = a.taps > 1 && a.shift[1] < a.shift[0];
    bool fits = true;
    for (int64_t i = 0; i < a.taps && fits; ++i) {
      const int64_t t = reversed ? a.taps - 1 - i : i;
      fits = add(a.shift[t], a.index[t]);
    }
    if (!fits) sets = 0;
    if (set[1].taps > set[0].taps) std::swap(set[0], set[1]);
    spacing = std::max<int64_t>(1, spacing);
    tiles = ceil_div(ceil_div(grid, spacing), kWinogradTile);
  }

  // The points of the image that a set of taps sees, and of the result, from a tile on.
  StripAxis image(const TapSet& s, int64_t phase, int64_t tile, int64_t stride) const {
    return {step * (phase + tile * kWinogradTile * spacing) + s.first, step * spacing, x_size, stride};
  }
  StripAxis result(int64_t phase, int64_t tile, int64_t stride) const {
    return {phase + tile * kWinogradTile * spacing, spacing, grid, stride};
  }

 private:
  bool add(int64_t shift, int64_t index) {
    int i = 0;
    while (i < sets && (shift - set[i].first) % step != 0) ++i;
    if (i == 2 || set[i].taps == TapSet::kMost) return false;
    TapSet& s = set[i];
    if (i == sets) {
      s.first = shift;
      ++sets;
    } else {
      if (spacing == 0) spacing = (shift - s.first) / step;
      if (shift != s.first + s.taps * spacing * step) return false;
    }
    s.filter_index[s.taps++] = index;
    return true;
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
  int taps = 0;                   // of the transform that is wanted; 0 for none
  int64_t images, length, parts;  // length: tiles of a run; parts: runs of a row

  WinogradTiles(const TapLayout& l, int64_t batch)
      : depth(&l.axis[0]), h(l.axis[1]), w(l.axis[2]), images(batch) {
    if (h.sets > 0 && w.sets > 0) taps = std::max(h.set[0].taps, w.set[0].taps);
    parts = ceil_div(w.tiles, kLongest);
    length = ceil_div(w.tiles, parts);
  }

  int64_t runs() const { return images * depth->grid * h.spacing * h.tiles * w.spacing * parts; }
  int64_t count() const { return runs() * length; }
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
  int points() const {
    return taps + static_cast<int>(kWinogradTile) - 1;
  }  // of the transform, in one dimension
  // Of a strip for the tiles of a run, of the image or the result.
  size_t strip_bytes() const {
    constexpr int64_t lanes = kLanes<float>;
    return static_cast<size_t>((points() * (length * kWinogradTile + taps - 1) + lanes) * lanes) *
           sizeof(float);
  }
};

// A set of taps in rows and one in columns: a filter over its own phase of the image.
struct TapPair {
  const TapSet *h, *w;
  int64_t h_points, w_points;  // of the transform at which it has a value (see winograd.h)
  int64_t first;               // points of the pairs before it
  int64_t points() const { return h_points * w_points; }
};

// The terms of the sum of one tile: for every pair (tap in depth, channel), in this order. The first pair has
// a value wherever another has.
struct WinogradTerms {
  int64_t channels, count, padded;  // of one pair; padded: to whole vectors
  int64_t products = 0;             // points of all pairs
  int pairs = 0;
  TapPair pair[4];

  WinogradTerms(const TapLayout& l, const WinogradTiles& tiles)
      : channels(l.channels),
        count(l.axis[0].taps * l.channels),
        padded(ceil_div(count, kLanes<float>) * kLanes<float>) {
    const auto points = [&](const TapSet& s) { return tiles.points() - (s.taps < tiles.taps); };
    for (int i = 0; i < tiles.h.sets; ++i) {
      for (int j = 0; j < tiles.w.sets; ++j) {
        const TapSet &h = tiles.h.set[i], &w = tiles.w.set[j];
        pair[pairs] = {&h, &w, points(h), points(w), products};
        products += pair[pairs++].points();
      }
    }
  }
};

// Rows of a power of two would fall on the same few sets of the cache: one line more.
inline int64_t row_pitch(int64_t columns) {
  return ceil_div(columns, kLanes<float>) * kLanes<float> + kLanes<float>;
}

// A strip of a pair's image, transformed: as in transform_image.
template <class Transform>
CT_NOINLINE void transform_strip(float* to, int64_t plane, int64_t pitch, int64_t tiles, const TapPair& pair,
                                 float* strip) {
  constexpr int64_t lanes = kLanes<float>;
  constexpr int kIn = Transform::kIn, kLast = kIn - 1;
  using Vector = typename Transform::Vector;
  const int64_t cols = tiles * kWinogradTile + kIn - kWinogradTile;
  // The last point of the image counts at infinity alone.
  const bool h_infinity = pair.h_points == kIn, w_infinity = pair.w_points == kIn;
  for (int64_t c = 0; c < cols; ++c) {
    float* at = strip + c * lanes;
    Vector d[kIn], v[kIn];
    for (int r = 0; r < kLast; ++r) d[r] = load_vector(at + r * cols * lanes);
    d[kLast] = h_infinity ? load_vector(at + kLast * cols * lanes) : Vector{};
    Transform::image(d, v);
    for (int r = 0; r < kLast; ++r) store_vector(at + r * cols * lanes, v[r]);
    if (h_infinity) store_vector(at + kLast * cols * lanes, v[kLast]);
  }
  for (int64_t r = 0; r < pair.h_points; ++r) {
    const float* row = strip + r * cols * lanes;
    float* out = to + r * pair.w_points * plane;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      Vector d[kIn], v[kIn];
      for (int j = 0; j < kIn; ++j) d[j] = load_vector(row + (tile * kWinogradTile + j) * lanes);
      Transform::image(d, v);
      for (int j = 0; j < kLast; ++j) store_vector(out + j * plane + tile * pitch, v[j]);
      if (w_infinity) store_vector(out + kLast * plane + tile * pitch, v[kLast]);
    }
  }
}

// What a pair of taps sees of the image of a run, transformed, for terms [term, term + kLanes): value (tile,
// term) of point (r, s) at to[(r * pair.w_points + s) * plane + tile * pitch].
inline void transform_image(float* to, int64_t plane, int64_t pitch, const WinogradTiles& tiles,
                            const TileRun& run, const WinogradTerms& terms, const TapPair& pair, int64_t term,
                            const float* x, int64_t channel, const int64_t* strides, float* strip) {
  constexpr int64_t lanes = kLanes<float>;
  StripChannels<const float> lane{};
  for (int64_t l = 0; l < lanes && term + l < terms.count; ++l) {
    const int64_t tap = (term + l) / terms.channels, c = (term + l) % terms.channels;
    const int64_t sheet = run.sheet * tiles.depth->step + tiles.depth->shift[tap];
    if (sheet >= 0 && sheet < tiles.depth->x_size) lane.lane[l] = x + c * channel + sheet * strides[0];
  }
  lane.adjacent = channel == 1 && lane.lane[0] && term % terms.channels + lanes <= terms.channels;
  const int64_t cols = tiles.length * kWinogradTile + tiles.taps - 1;
  load_strip(strip, pair.h_points, cols, lane, tiles.h.image(*pair.h, run.h_phase, run.h_tile, strides[1]),
             tiles.w.image(*pair.w, run.w_phase, run.w_tile, strides[2]));
  with_transform(tiles.taps, [&](auto transform) {
    transform_strip<decltype(transform)>(to, plane, pitch, tiles.length, pair, strip);
  });
}

// From so many elements on a transformed filter lies outside the caches.
constexpr int64_t kLargeFilter = 1 << 22;

// Whether the method beats a sum over taps at so many points: multiply-adds per pair of term and row, and the
// measured costs of the transforms in the same unit. That of a large filter costs three times as much.
// `margin`: the least quotient of the two costs.
inline bool winograd_wins(const TapLayout& l, const WinogradTiles& tiles, const WinogradTerms& terms,
                          int64_t rows, int64_t points, double margin) {
  constexpr int64_t kFewest = 12;  // channels on either side for which it can win
  if (tiles.taps < 2 || terms.count < kFewest || rows < kFewest) return false;
  const int64_t filter = terms.products * terms.count * rows;
  const int64_t ends = terms.pairs * terms.count + rows;
  const double winograd = static_cast<double>(tiles.count()) * static_cast<double>(filter + 250 * ends) +
                          static_cast<double>(filter) * (filter > kLargeFilter ? 25 : 8);
  return winograd * margin < static_cast<double>(l.taps * l.channels * rows) * static_cast<double>(points);
}

// Whether sums came out so large that a tile may have lost its small ones, or not finite: an infinity in a
// tile spreads to all of its results. Then the sum over taps has to be taken.
class LargestValue {
 public:
  using Bits = Simd<uint32_t>::Vector;
  CT_INLINE void see(Simd<float>::Vector v) {
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
