// The sum over taps of conv_forward.h by Winograd's convolution, for filters of 3 x 3 adjacent (or equally
// spaced) taps over a grid of step 1. Taps in the third dimension are further terms of the sum.
//
// Filters are transformed once. Then chunks of tiles are: their image is transformed, a product of matrices
// (tiles, terms) x (terms, rows of the result) is taken for each of the 36 points, and transformed back. A
// chunk stays in the cache of its thread.
#pragma once

#include <atomic>

#include "kernels/cpu/conv_forward.h"
#include "kernels/cpu/winograd_tiles.h"

namespace ctorch::CT_ISA {
namespace {

class WinogradConvolution {
  using Blocks = GemmBlocks<float>;
  using Vector = Winograd::Vector;
  static constexpr int64_t lanes = kLanes<float>;
  static constexpr int kIn = Winograd::kIn, kOut = Winograd::kOut;

 public:
  explicit WinogradConvolution(const TapProduct<float>& p)
      : p_(p),
        tiles_(p.layout, p.batch),
        terms_(p.layout),
        pitch_(row_pitch(terms_.count)),
        panels_(ceil_div(p.rows, Blocks::cols)),
        filter_plane_(panels_ * terms_.padded * Blocks::cols) {}

  static bool fits(const TapProduct<float>& p) {
    return !p.accumulate && p.alpha == 1 && WinogradTiles::fits(p.layout);
  }

  // Against tiles of columns, whose gaps are computed in vain.
  bool wins() const {
    const TapLayout& l = p_.layout;
    const int64_t points = p_.batch * l.axis[0].grid * ceil_div(l.columns(), Blocks::lanes) * Blocks::lanes;
    return winograd_wins(terms_.count, p_.rows, tiles_.runs() * tiles_.length, points,
                         filter_plane_ * Winograd::kPoints);
  }

  int64_t prepared_elements() const { return p_.groups * Winograd::kPoints * filter_plane_; }

  bool reads_in_place() const { return false; }
  static constexpr int64_t kind() { return 1; }

  // The transformed filter: to[group][t][panel of rows][term][row of the panel].
  void prepare(float* to) const {
    const int64_t blocks = terms_.padded / lanes, vectors = ceil_div(p_.rows, lanes);
    parallel_for(0, p_.groups * blocks * vectors, std::max<int64_t>(1, kPackGrain / (9 * lanes * lanes)),
                 [&](int64_t from, int64_t end) {
                   for (int64_t i = from; i < end; ++i) {
                     const int64_t group = i / (blocks * vectors);
                     filter_block(to + group * Winograd::kPoints * filter_plane_, group, i % vectors * lanes,
                                  i / vectors % blocks * lanes);
                   }
                 });
  }

  // From a prepared filter. False, with the result undefined, where it takes the sum over taps (see
  // LargestValue).
  bool run(const float* prepared) {
    for (int64_t group = 0; group < p_.groups && !too_large_; ++group) {
      filter_ = prepared + group * Winograd::kPoints * filter_plane_;
      all_tiles(group);
    }
    return !too_large_;
  }

 private:
  void filter_block(float* filter, int64_t group, int64_t row, int64_t term) const {
    alignas(64) float w[lanes][9][lanes];
    const int64_t rows = std::min(lanes, p_.rows - row);
    for (int64_t l = 0; l < lanes; ++l) {
      const int64_t at = term + l;
      if (at >= terms_.count || rows < lanes) std::fill(&w[l][0][0], &w[l][0][0] + 9 * lanes, 0.0f);
      if (at >= terms_.count) continue;
      const float* from = p_.w + group * p_.w_group + row * p_.w_row +
                          at % terms_.channels * p_.w_strides[0] +
                          p_.layout.axis[0].index[at / terms_.channels] * p_.w_strides[1];
      for (int r = 0; r < 3; ++r) {
        for (int s = 0; s < 3; ++s) {
          const float* tap =
              from + tiles_.h.filter_index[r] * p_.w_strides[2] + tiles_.w.filter_index[s] * p_.w_strides[3];
          for (int64_t i = 0; i < rows; ++i) w[l][r * 3 + s][i] = tap[i * p_.w_row];
        }
      }
    }
    float* to = filter + (row / Blocks::cols * terms_.padded + term) * Blocks::cols + row % Blocks::cols;
    for (int64_t l = 0; l < lanes; ++l, to += Blocks::cols) {
      Vector half[kIn][3];
      for (int s = 0; s < 3; ++s) {
        const Vector d[3] = {load_vector(w[l][s]), load_vector(w[l][3 + s]), load_vector(w[l][6 + s])};
        Vector u[kIn];
        Winograd::filter(d, u);
        for (int r = 0; r < kIn; ++r) half[r][s] = u[r];
      }
      for (int r = 0; r < kIn; ++r) {
        Vector u[kIn];
        Winograd::filter(half[r], u);
        for (int j = 0; j < kIn; ++j) store_vector(to + (r * kIn + j) * filter_plane_, u[j]);
      }
    }
  }

  void all_tiles(int64_t group) {
    // Runs of tiles of a chunk, such that both sides of the product stay in an L2 of 1 MB, or at least two
    // panels of tiles share the reading of the filter.
    const int64_t per_tile = Winograd::kPoints * (pitch_ + panels_ * Blocks::cols);
    const int64_t wanted = std::clamp<int64_t>(kChunkElements / per_tile, 2 * Blocks::rows, kMostTiles);
    const int64_t runs = tiles_.runs();
    int64_t in_chunk = std::clamp<int64_t>(wanted / tiles_.length, 1, runs);
    const int64_t chunks = ceil_div(runs, in_chunk);
    const bool side_by_side = chunks >= 2 * num_threads();
    if (side_by_side) {
      parallel_for(0, chunks, 1, [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) chunk(group, i * in_chunk, std::min((i + 1) * in_chunk, runs));
      });
    } else {  // in turn, each by all threads
      in_chunk = std::clamp<int64_t>(kMostTiles / tiles_.length, 1, runs);
      for (int64_t i = 0; i < runs; i += in_chunk) chunk(group, i, std::min(i + in_chunk, runs));
    }
  }

  struct Buffers {
    float *image, *sums;
    int64_t image_plane, sums_plane, tiles;
  };

  void chunk(int64_t group, int64_t from, int64_t to) {
    Buffers b{};
    b.tiles = (to - from) * tiles_.length;
    b.image_plane = b.tiles * pitch_ + lanes;
    b.sums_plane = b.tiles * panels_ * Blocks::cols + lanes;
    Scratch memory(static_cast<size_t>(Winograd::kPoints * (b.image_plane + b.sums_plane)) * sizeof(float));
    b.image = memory.as<float>();
    b.sums = b.image + Winograd::kPoints * b.image_plane;

    const int64_t blocks = terms_.padded / lanes;
    parallel_for(0, blocks * (to - from), 1, [&](int64_t begin, int64_t end) {
      Scratch strip(strip_bytes(kIn));
      for (int64_t i = begin; i < end; ++i) {
        const TileRun run = tiles_.run(from + i / blocks);
        const int64_t term = i % blocks * lanes;
        transform_image(b.image + i / blocks * tiles_.length * pitch_ + term, b.image_plane, pitch_, tiles_,
                        run, terms_, term, p_.x + run.image * p_.x_image + group * p_.x_group, p_.x_channel,
                        p_.x_strides, strip.as<float>());
      }
    });
    parallel_for(0, Winograd::kPoints * panels_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) multiply(b, i / panels_, i % panels_);
    });
    const int64_t vectors = ceil_div(p_.rows, lanes);
    parallel_for(0, vectors * (to - from), 1, [&](int64_t begin, int64_t end) {
      Scratch strip(strip_bytes(kIn));
      LargestValue largest;
      for (int64_t i = begin; i < end; ++i)
        finish(b, group, tiles_.run(from + i / vectors), i / vectors * tiles_.length, i % vectors * lanes,
               strip.as<float>(), largest);
      if (largest.too_large()) too_large_ = true;
    });
  }

  size_t strip_bytes(int64_t rows) const {
    return static_cast<size_t>(rows * (tiles_.length * kOut + 2) * lanes) * sizeof(float);
  }

  // The sums of point t for the rows of a panel: sums[t][panel][tile][row of the panel].
  void multiply(const Buffers& b, int64_t t, int64_t panel) const {
    const Panels panels(b.tiles, Blocks::rows);
    const int64_t vectors = ceil_div(std::min(Blocks::cols, p_.rows - panel * Blocks::cols), Blocks::lanes);
    const float* filter = filter_ + t * filter_plane_ + panel * terms_.padded * Blocks::cols;
    const float* image = b.image + t * b.image_plane;
    float* sums = b.sums + t * b.sums_plane + panel * b.tiles * Blocks::cols;
    alignas(64) float tile[Blocks::rows * Blocks::cols];
    TileArgs<float> args{};
    args.a_row = pitch_, args.a_k = 1;
    args.b_k = Blocks::cols;
    for (int64_t k = 0; k < terms_.count; k += kDepth) {
      args.k = std::min(kDepth, terms_.count - k);
      args.b = filter + k * Blocks::cols;
      for (int64_t i = 0; i < panels.count; ++i) {
        const int64_t first = panels.start(i), rows = panels.rows(i);
        float* to = sums + first * Blocks::cols;
        args.a = image + first * pitch_ + k;
        args.tile = k == 0 ? to : tile;
        kStridedTiles<float>.get(rows, vectors)(args);
        if (k == 0) continue;
        for (int64_t v = 0; v < rows * Blocks::cols; v += Blocks::lanes)
          store_vector(to + v, load_vector(to + v) + load_vector(tile + v));
      }
    }
  }

  // Rows [row, row + lanes) of the result of a run, whose tiles begin at `first` in the chunk.
  void finish(const Buffers& b, int64_t group, const TileRun& run, int64_t first, int64_t row, float* strip,
              LargestValue& largest) const {
    const int64_t cols = tiles_.length * kOut, rows = std::min(lanes, p_.rows - row);
    alignas(64) float bias[lanes] = {};
    for (int64_t l = 0; p_.bias && l < rows; ++l)
      bias[l] = p_.bias[(group * p_.rows + row + l) * p_.bias_stride];
    const Vector shift = load_vector(bias);
    const float* sums = b.sums + (row / Blocks::cols * b.tiles + first) * Blocks::cols + row % Blocks::cols;
    for (int64_t tile = 0; tile < tiles_.length; ++tile, sums += Blocks::cols) {
      Vector half[kOut][kIn];
      for (int j = 0; j < kIn; ++j) {
        Vector m[kIn], y[kOut];
        for (int r = 0; r < kIn; ++r) m[r] = load_vector(sums + (r * kIn + j) * b.sums_plane);
        Winograd::result(m, y);
        for (int r = 0; r < kOut; ++r) half[r][j] = y[r];
      }
      for (int r = 0; r < kOut; ++r) {
        Vector y[kOut];
        Winograd::result(half[r], y);
        for (int j = 0; j < kOut; ++j) {
          largest.see(y[j]);
          store_vector(strip + (r * cols + tile * kOut + j) * lanes, y[j] + shift);
        }
      }
    }
    const TileAxis &h = tiles_.h, &w = tiles_.w;
    float* sheet = p_.y + run.image * p_.y_image + group * p_.y_group + run.sheet * p_.y_strides[0];
    store_strip(strip, kOut, cols, strip_channels(sheet, row, p_.rows, p_.y_row),
                {run.h_phase + run.h_tile * kOut * h.spacing, h.spacing, h.grid, p_.y_strides[1]},
                {run.w_phase + run.w_tile * kOut * w.spacing, w.spacing, w.grid, p_.y_strides[2]});
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
