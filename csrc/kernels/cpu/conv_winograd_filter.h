// The gradient of a 3 x 3 filter by the transposed Winograd convolution: for each of the 36 points a product
// (terms, tiles) x (tiles, columns), summed over chunks of tiles in order, so that the result does not depend
// on the number of threads.
#pragma once

#include <atomic>

#include "kernels/cpu/conv_filter.h"
#include "kernels/cpu/winograd_tiles.h"

namespace ctorch::CT_ISA {
namespace {

class WinogradFilterGradient {
  using Blocks = GemmBlocks<float>;
  using Vector = Winograd::Vector;
  static constexpr int64_t lanes = kLanes<float>;
  static constexpr int kIn = Winograd::kIn, kOut = Winograd::kOut;

 public:
  explicit WinogradFilterGradient(const FilterProduct<float>& p)
      : p_(p),
        tiles_(p.layout, p.batch),
        terms_(p.layout),
        image_pitch_(row_pitch(terms_.padded)),
        grad_pitch_(row_pitch(ceil_div(p.cols, Blocks::cols) * Blocks::cols)) {}

  static bool fits(const FilterProduct<float>& p) {
    return !p.accumulate && p.alpha == 1 && WinogradTiles::fits(p.layout);
  }

  bool wins() const {
    const int64_t points = p_.batch * tiles_.depth->grid * tiles_.h.grid * tiles_.w.grid;
    return winograd_wins(terms_.count, p_.cols, tiles_.runs() * tiles_.length, points,
                         terms_.count * p_.cols * Winograd::kPoints);
  }

  // False, with the result undefined, where it takes the sum over taps (see LargestValue).
  bool run() {
    const int64_t plane = terms_.padded * grad_pitch_;
    Scratch sums(static_cast<size_t>(Winograd::kPoints * plane) * sizeof(float));
    sums_ = sums.as<float>();
    const int64_t runs = tiles_.runs();
    const int64_t wanted = std::clamp<int64_t>(
        kChunkElements / (Winograd::kPoints * (image_pitch_ + grad_pitch_)), kFewestTiles, kMostTiles);
    const int64_t in_chunk = std::clamp<int64_t>(wanted / tiles_.length, 1, runs);
    for (int64_t group = 0; group < p_.groups && !too_large_; ++group) {
      for (int64_t i = 0; i < runs; i += in_chunk) chunk(group, i, std::min(i + in_chunk, runs));
      const int64_t vectors = ceil_div(p_.cols, lanes), blocks = terms_.padded / lanes;
      parallel_for(0, blocks * vectors, 1, [&](int64_t from, int64_t to) {
        LargestValue largest;
        for (int64_t i = from; i < to; ++i) finish(group, i / vectors * lanes, i % vectors * lanes, largest);
        if (largest.too_large()) too_large_ = true;
      });
    }
    return !too_large_;
  }

 private:
  void chunk(int64_t group, int64_t from, int64_t to) {
    const int64_t count = (to - from) * tiles_.length;
    const int64_t image_plane = count * image_pitch_, grad_plane = count * grad_pitch_;
    Scratch memory(static_cast<size_t>(Winograd::kPoints * (image_plane + grad_plane)) * sizeof(float));
    float* image = memory.as<float>();
    float* grad = image + Winograd::kPoints * image_plane;

    const int64_t blocks = terms_.padded / lanes, vectors = ceil_div(p_.cols, lanes);
    parallel_for(0, (blocks + vectors) * (to - from), 1, [&](int64_t begin, int64_t end) {
      Scratch strip(static_cast<size_t>(kIn * (tiles_.length * kOut + 2) * lanes) * sizeof(float));
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i / (blocks + vectors), block = i % (blocks + vectors);
        const TileRun run = tiles_.run(from + at);
        const int64_t first = at * tiles_.length;
        if (block < blocks) {
          transform_image(image + first * image_pitch_ + block * lanes, image_plane, image_pitch_, tiles_,
                          run, terms_, block * lanes, p_.x + run.image * p_.x_image + group * p_.x_group,
                          p_.x_channel, p_.x_strides, strip.as<float>());
        } else {
          const int64_t col = (block - blocks) * lanes;
          transform_gradient(grad + first * grad_pitch_ + col, grad_plane, group, run, col,
                             strip.as<float>());
        }
      }
    });

    const Panels panels(terms_.count, Blocks::rows);
    parallel_for(0, Winograd::kPoints * panels.count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t t = i / panels.count, panel = i % panels.count;
        multiply(image + t * image_plane, grad + t * grad_plane, count, t, panels.start(panel),
                 panels.rows(panel), from == 0);
      }
    });
  }

  // Columns [col, col + lanes) of the gradient of the result, A dy A^T.
  void transform_gradient(float* to, int64_t plane, int64_t group, const TileRun& run, int64_t col,
                          float* strip) const {
    const int64_t cols = tiles_.length * kOut;
    const TileAxis &h = tiles_.h, &w = tiles_.w;
    const float* sheet = p_.y + run.image * p_.y_image + group * p_.y_group + run.sheet * p_.y_strides[0];
    load_strip(strip, kOut, cols, strip_channels(sheet, col, p_.cols, p_.y_channel),
               {run.h_phase + run.h_tile * kOut * h.spacing, h.spacing, h.grid, p_.y_strides[1]},
               {run.w_phase + run.w_tile * kOut * w.spacing, w.spacing, w.grid, p_.y_strides[2]});
    for (int64_t tile = 0; tile < tiles_.length; ++tile) {
      Vector half[kIn][kOut];
      for (int j = 0; j < kOut; ++j) {
        Vector y[kOut], z[kIn];
        for (int r = 0; r < kOut; ++r) y[r] = load_vector(strip + (r * cols + tile * kOut + j) * lanes);
        Winograd::result_gradient(y, z);
        for (int r = 0; r < kIn; ++r) half[r][j] = z[r];
      }
      for (int r = 0; r < kIn; ++r) {
        Vector z[kIn];
        Winograd::result_gradient(half[r], z);
        for (int j = 0; j < kIn; ++j) store_vector(to + (r * kIn + j) * plane + tile * grad_pitch_, z[j]);
      }
    }
  }

  // Adds to sums_[t][term][column] for the terms of a panel.
  void multiply(const float* image, const float* grad, int64_t count, int64_t t, int64_t term, int64_t terms,
                bool first) const {
    alignas(64) float tile[Blocks::rows * Blocks::cols];
    TileArgs<float> args{};
    args.k = count;
    args.a = image + term;
    args.a_row = 1, args.a_k = image_pitch_;
    args.b_k = grad_pitch_;
    args.tile = tile;
    for (int64_t col = 0; col < p_.cols; col += Blocks::cols) {
      const int64_t vectors = ceil_div(std::min(Blocks::cols, p_.cols - col), Blocks::lanes);
      args.b = grad + col;
      kStridedTiles<float>.get(terms, vectors)(args);
      for (int64_t i = 0; i < terms; ++i) {
        float* to = sums_ + (t * terms_.padded + term + i) * grad_pitch_ + col;
        for (int64_t v = 0; v < vectors * lanes; v += lanes) {
          const Vector value = load_vector(tile + i * Blocks::cols + v);
          store_vector(to + v, first ? value : load_vector(to + v) + value);
        }
      }
    }
  }

  // G^T sums G for a square of terms and columns, written to the filter.
  void finish(int64_t group, int64_t term, int64_t col, LargestValue& largest) const {
    const int64_t plane = terms_.padded * grad_pitch_;
    const int64_t cols = std::min(lanes, p_.cols - col);
    for (int64_t l = 0; l < lanes && term + l < terms_.count; ++l) {
      const float* sums = sums_ + (term + l) * grad_pitch_ + col;
      Vector half[3][kIn];
      for (int j = 0; j < kIn; ++j) {
        Vector m[kIn], w[3];
        for (int r = 0; r < kIn; ++r) m[r] = load_vector(sums + (r * kIn + j) * plane);
        Winograd::filter_gradient(m, w);
        for (int r = 0; r < 3; ++r) half[r][j] = w[r];
      }
      const int64_t at = term + l;
      float* to = p_.w + group * p_.w_group + col * p_.w_col + at % terms_.channels * p_.w_strides[0] +
                  p_.layout.axis[0].index[at / terms_.channels] * p_.w_strides[1];
      for (int r = 0; r < 3; ++r) {
        Vector w[3];
        Winograd::filter_gradient(half[r], w);
        for (int s = 0; s < 3; ++s) {
          alignas(64) float value[lanes];
          store_vector(value, w[s]);
          float* tap =
              to + tiles_.h.filter_index[r] * p_.w_strides[2] + tiles_.w.filter_index[s] * p_.w_strides[3];
          for (int64_t i = 0; i < cols; ++i) tap[i * p_.w_col] = value[i];
          largest.see(w[s]);
        }
      }
    }
  }
  static constexpr int64_t kChunkElements = 1 << 20, kFewestTiles = 64, kMostTiles = 256;

  const FilterProduct<float>& p_;
  const WinogradTiles tiles_;
  const WinogradTerms terms_;
  const int64_t image_pitch_, grad_pitch_;
  float* sums_ = nullptr;
  std::atomic<bool> too_large_ = false;
};

}  // namespace
}  // namespace ctorch::CT_ISA
