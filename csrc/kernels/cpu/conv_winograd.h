// The sum over taps of conv_forward.h by Winograd's convolutions, for up to three adjacent (or equally
// spaced) taps in rows and columns. Taps in the third dimension are further terms of the sum. So are the
// phases of an image of which a grid of step 2 sees every second point: a filter of three taps has two of
// them in one phase and one in the other, which the transform for two taps serves both.
//
// Filters are transformed once. Then chunks of tiles are: their image is transformed, a product of matrices
// (tiles, terms) x (terms, rows of the result) is taken for each point of the transform, and transformed
// back. A chunk stays in the cache of its thread.
#pragma once

#include <atomic>

#include "kernels/cpu/conv_forward.h"
#include "kernels/cpu/winograd_tiles.h"

namespace ctorch::CT_ISA {
namespace {

class WinogradConvolution {
  using Blocks = GemmBlocks<float>;
  using Vector = Simd<float>::Vector;
  static constexpr int64_t lanes = kLanes<float>;

 public:
  CT_NOINLINE explicit WinogradConvolution(const TapProduct<float>& p)
      : p_(p),
        tiles_(p.layout, p.batch),
        terms_(p.layout, tiles_),
        pitch_(row_pitch(terms_.count)),
        panels_(ceil_div(p.rows, Blocks::cols)),
        filter_plane_(panels_ * terms_.padded * Blocks::cols) {}

  // Against tiles of columns, whose gaps are computed in vain.
  CT_NOINLINE bool wins() const {
    const TapLayout& l = p_.layout;
    const int64_t points = p_.batch * l.axis[0].grid * ceil_div(l.columns(), Blocks::lanes) * Blocks::lanes;
    return !p_.accumulate && p_.alpha == 1 && winograd_wins(l, tiles_, terms_, p_.rows, points, 1.1);
  }

  int64_t prepared_elements() const { return p_.groups * group_elements(); }

  bool reads_in_place() const { return false; }
  static constexpr int64_t kind() { return 1; }

  // The transformed filter: to[group][pair of tap sets][point][panel of rows][term][row of the panel].
  CT_NOINLINE void prepare(float* to) const {
    const int64_t blocks = terms_.padded / lanes, vectors = ceil_div(p_.rows, lanes);
    parallel_for(0, p_.groups * blocks * vectors, std::max<int64_t>(1, kPackGrain / (9 * lanes * lanes)),
                 [&](int64_t from, int64_t end) {
                   for (int64_t i = from; i < end; ++i) {
                     const int64_t group = i / (blocks * vectors);
                     float* filter = to + group * group_elements();
                     for (int n = 0; n < terms_.pairs; ++n) {
                       with_transform(tiles_.taps, [&](auto transform) {
                         filter_block<decltype(transform)>(filter, group, terms_.pair[n], i % vectors * lanes,
                                                           i / vectors % blocks * lanes);
                       });
                     }
                   }
                 });
  }

  // From a prepared filter. False, with the result undefined, where it takes the sum over taps (see
  // LargestValue).
  CT_NOINLINE bool run(const float* prepared) {
    for (int64_t group = 0; group < p_.groups && !too_large_; ++group) {
      filter_ = prepared + group * group_elements();
      all_tiles(group);
    }
    return !too_large_;
  }

 private:
  int64_t group_elements() const { return terms_.products * filter_plane_; }

  template <class Transform>
  CT_NOINLINE void filter_block(float* filter, int64_t group, const TapPair& pair, int64_t row,
                                int64_t term) const {
    constexpr int kIn = Transform::kIn, kTaps = Transform::kTaps;
    alignas(64) float w[lanes][kTaps * kTaps][lanes] = {};
    const int64_t rows = std::min(lanes, p_.rows - row);
    for (int64_t l = 0; l < lanes && term + l < terms_.count; ++l) {
      const int64_t at = term + l;
      const float* from = p_.w + group * p_.w_group + row * p_.w_row +
                          at % terms_.channels * p_.w_strides[0] +
                          p_.layout.axis[0].index[at / terms_.channels] * p_.w_strides[1];
      for (int r = 0; r < pair.h->taps; ++r) {
        for (int s = 0; s < pair.w->taps; ++s) {
          const float* tap =
              from + pair.h->filter_index[r] * p_.w_strides[2] + pair.w->filter_index[s] * p_.w_strides[3];
          for (int64_t i = 0; i < rows; ++i) w[l][r * kTaps + s][i] = tap[i * p_.w_row];
        }
      }
    }
    float* to = filter + pair.first * filter_plane_ +
                (row / Blocks::cols * terms_.padded + term) * Blocks::cols + row % Blocks::cols;
    for (int64_t l = 0; l < lanes; ++l, to += Blocks::cols) {
      Vector half[kIn][kTaps];
      for (int s = 0; s < kTaps; ++s) {
        Vector d[kTaps], u[kIn];
        for (int r = 0; r < kTaps; ++r) d[r] = load_vector(w[l][r * kTaps + s]);
        Transform::filter(d, u);
        for (int r = 0; r < kIn; ++r) half[r][s] = u[r];
      }
      for (int64_t r = 0; r < pair.h_points; ++r) {
        Vector u[kIn];
        Transform::filter(half[r], u);
        for (int64_t s = 0; s < pair.w_points; ++s)
          store_vector(to + (r * pair.w_points + s) * filter_plane_, u[s]);
      }
    }
  }

  void all_tiles(int64_t group) {
    // Runs of tiles of a chunk, such that both sides of the product stay in an L2 of 1 MB, or at least two
    // panels of tiles share the reading of the filter. A large filter is read once for all threads.
    const int64_t per_tile = result_points() * (pitch_ + panels_ * Blocks::cols);
    const int64_t wanted = std::clamp<int64_t>(kChunkElements / per_tile, 2 * Blocks::rows, kMostTiles);
    const int64_t runs = tiles_.runs();
    int64_t in_chunk = std::clamp<int64_t>(wanted / tiles_.length, 1, runs);
    const int64_t chunks = ceil_div(runs, in_chunk);
    if (chunks >= 2 * num_threads() && group_elements() <= kLargeFilter) {
      parallel_for(0, chunks, 1, [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) chunk(group, i * in_chunk, std::min((i + 1) * in_chunk, runs));
      });
    } else {  // in turn, each by all threads
      in_chunk = ceil_div(runs, ceil_div(runs, std::max<int64_t>(1, kMostTiles / tiles_.length)));
      for (int64_t i = 0; i < runs; i += in_chunk) chunk(group, i, std::min(i + in_chunk, runs));
    }
  }

  // Where the result has a value: at the points of the first pair.
  int64_t result_points() const { return terms_.pair[0].points(); }

  struct Buffers {
    float *image, *sums;
    int64_t image_plane, sums_plane, tiles;
  };

  void chunk(int64_t group, int64_t from, int64_t to) {
    Buffers b{};
    b.tiles = (to - from) * tiles_.length;
    b.image_plane = b.tiles * pitch_ + lanes;
    b.sums_plane = b.tiles * panels_ * Blocks::cols + lanes;
    Scratch memory(static_cast<size_t>(result_points() * (b.image_plane + b.sums_plane)) * sizeof(float));
    b.image = memory.as<float>();
    b.sums = b.image + result_points() * b.image_plane;

    const int64_t blocks = terms_.padded / lanes;
    for (int n = 0; n < terms_.pairs; ++n) {
      const TapPair& pair = terms_.pair[n];
      parallel_for(0, blocks * (to - from), 1, [&](int64_t begin, int64_t end) {
        Scratch strip(tiles_.strip_bytes());
        for (int64_t i = begin; i < end; ++i) {
          const TileRun run = tiles_.run(from + i / blocks);
          const int64_t term = i % blocks * lanes;
          transform_image(b.image + i / blocks * tiles_.length * pitch_ + term, b.image_plane, pitch_, tiles_,
                          run, terms_, pair, term, p_.x + run.image * p_.x_image + group * p_.x_group,
                          p_.x_channel, p_.x_strides, strip.as<float>());
        }
      });
      parallel_for(0, pair.points() * panels_, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) multiply(b, pair, i / panels_, i % panels_);
      });
    }
    const int64_t vectors = ceil_div(p_.rows, lanes);
    parallel_for(0, vectors * (to - from), 1, [&](int64_t begin, int64_t end) {
      Scratch strip(tiles_.strip_bytes());
      LargestValue largest;
      for (int64_t i = begin; i < end; ++i) {
        with_transform(tiles_.taps, [&](auto transform) {
          finish<decltype(transform)>(b, group, tiles_.run(from + i / vectors), i / vectors * tiles_.length,
                                      i % vectors * lanes, strip.as<float>(), largest);
        });
      }
      if (largest.too_large()) too_large_ = true;
    });
  }

  // The sums of a pair's point t, for the rows of a panel: sums[point of the result][panel][tile][row of the
  // panel].
  void multiply(const Buffers& b, const TapPair& pair, int64_t t, int64_t panel) const {
    const Panels panels(b.tiles, Blocks::rows);
    const int64_t vectors = ceil_div(std::min(Blocks::cols, p_.rows - panel * Blocks::cols), Blocks::lanes);
    const float* filter = filter_ + (pair.first + t) * filter_plane_ + panel * terms_.padded * Blocks::cols;
    const float* image = b.image + t * b.image_plane;
    const int64_t point = t / pair.w_points * terms_.pair[0].w_points + t % pair.w_points;
    float* sums = b.sums + point * b.sums_plane + panel * b.tiles * Blocks::cols;
    TileArgs<float> args{};
    args.a_row = pitch_, args.a_k = 1;
    args.b_k = Blocks::cols;
    for (int64_t k = 0; k < terms_.count; k += kDepth) {
      args.k = std::min(kDepth, terms_.count - k);
      args.b = filter + k * Blocks::cols;
      args.add = pair.first > 0 || k > 0;
      for (int64_t i = 0; i < panels.count; ++i) {
        const int64_t start = panels.start(i), rows = panels.rows(i);
        args.a = image + start * pitch_ + k;
        args.tile = sums + start * Blocks::cols;
        kStridedTiles<float>.get(rows, vectors)(args);
      }
    }
  }

  // Rows [row, row + lanes) of the result of a run, whose tiles begin at `first` in the chunk.
  template <class Transform>
  CT_NOINLINE void finish(const Buffers& b, int64_t group, const TileRun& run, int64_t first, int64_t row,
                          float* strip, LargestValue& largest) const {
    constexpr int kIn = Transform::kIn, kLast = kIn - 1;
    const int64_t cols = tiles_.length * kWinogradTile, rows = std::min(lanes, p_.rows - row);
    alignas(64) float bias[lanes] = {};
    for (int64_t l = 0; p_.bias && l < rows; ++l)
      bias[l] = p_.bias[(group * p_.rows + row + l) * p_.bias_stride];
    const Vector shift = load_vector(bias);
    const float* sums = b.sums + (row / Blocks::cols * b.tiles + first) * Blocks::cols + row % Blocks::cols;
    const int64_t h_points = terms_.pair[0].h_points, w_points = terms_.pair[0].w_points;
    for (int64_t tile = 0; tile < tiles_.length; ++tile, sums += Blocks::cols) {
      Vector half[kWinogradTile][kIn];
      for (int r = 0; r < kWinogradTile; ++r) half[r][kLast] = Vector{};
      for (int64_t s = 0; s < w_points; ++s) {
        Vector m[kIn], y[kWinogradTile];
        for (int64_t r = 0; r < kIn; ++r)
          m[r] = r < h_points ? load_vector(sums + (r * w_points + s) * b.sums_plane) : Vector{};
        Transform::result(m, y);
        for (int r = 0; r < kWinogradTile; ++r) half[r][s] = y[r];
      }
      for (int r = 0; r < kWinogradTile; ++r) {
        Vector y[kWinogradTile];
        Transform::result(half[r], y);
        for (int j = 0; j < kWinogradTile; ++j) {
          largest.see(y[j]);
          store_vector(strip + (r * cols + tile * kWinogradTile + j) * lanes, y[j] + shift);
        }
      }
    }
    float* sheet = p_.y + run.image * p_.y_image + group * p_.y_group + run.sheet * p_.y_strides[0];
    store_strip(strip, kWinogradTile, cols, strip_channels(sheet, row, p_.rows, p_.y_row),
                tiles_.h.result(run.h_phase, run.h_tile, p_.y_strides[1]),
                tiles_.w.result(run.w_phase, run.w_tile, p_.y_strides[2]));
  }

  // Elements of a chunk; tiles of one, for which the loops around the product cost nothing any more.
  static constexpr int64_t kChunkElements = 1 << 18, kMostTiles = 16 * Blocks::rows;
  static constexpr int64_t kPackGrain = 1 << 15;
  // Terms that are summed at a stretch: the error of a long sum grows with its length (twice at 512), and a
  // panel of the filter stays in the L1.
  static constexpr int64_t kDepth = 128;

  const TapProduct<float>& p_;
  const WinogradTiles tiles_;
  const WinogradTerms terms_;
  const int64_t pitch_, panels_, filter_plane_;
  const float* filter_ = nullptr;
  std::atomic<bool> too_large_ = false;
};

}  // namespace
}  // namespace ctorch::CT_ISA
