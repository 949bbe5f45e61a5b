// The gradient of a filter by the transposed Winograd convolution: for each point of the transform a product
// (terms, tiles) x (tiles, columns), summed over chunks of tiles in order, so that the result does not depend
// on the number of threads. Sums that no tap needs are left out (winograd.h).
#pragma once

#include <atomic>

#include "kernels/cpu/conv_filter.h"
#include "kernels/cpu/winograd_tiles.h"

namespace ctorch::CT_ISA {
namespace {

class WinogradFilterGradient {
  using Blocks = GemmBlocks<float>;
  using Vector = Simd<float>::Vector;
  static constexpr int64_t lanes = kLanes<float>;

 public:
  explicit WinogradFilterGradient(const FilterProduct<float>& p)
      : p_(p),
        tiles_(p.layout, p.batch),
        terms_(p.layout, tiles_),
        image_pitch_(row_pitch(terms_.padded)),
        grad_pitch_(row_pitch(ceil_div(p.cols, Blocks::cols) * Blocks::cols)),
        sums_plane_(terms_.padded * grad_pitch_) {}

  // The margin is for the sums, which pass through the L3 with every chunk.
  bool wins() const {
    const int64_t points = p_.batch * tiles_.depth->grid * tiles_.h.grid * tiles_.w.grid;
    return !p_.accumulate && p_.alpha == 1 && winograd_wins(p_.layout, tiles_, terms_, p_.cols, points, 1.3);
  }

  // False, with the result undefined, where it takes the sum over taps (see LargestValue).
  CT_NOINLINE bool run() {
    Scratch sums(static_cast<size_t>(terms_.products * sums_plane_) * sizeof(float));
    sums_ = sums.as<float>();
    const int64_t runs = tiles_.runs();
    const int64_t wanted = std::clamp<int64_t>(
        kChunkElements / (grad_points() * (image_pitch_ + grad_pitch_)), kFewestTiles, kMostTiles);
    const int64_t in_chunk = std::clamp<int64_t>(wanted / tiles_.length, 1, runs);
    for (int64_t group = 0; group < p_.groups && !too_large_; ++group) {
      for (int64_t i = 0; i < runs; i += in_chunk) chunk(group, i, std::min(i + in_chunk, runs));
      const int64_t vectors = ceil_div(p_.cols, lanes), blocks = terms_.padded / lanes;
      parallel_for(0, blocks * vectors, 1, [&](int64_t from, int64_t to) {
        LargestValue largest;
        for (int64_t i = from * terms_.pairs; i < to * terms_.pairs; ++i) {
          const int64_t square = i / terms_.pairs;
          with_transform(tiles_.taps, [&](auto transform) {
            finish<decltype(transform)>(group, terms_.pair[i % terms_.pairs], square / vectors * lanes,
                                        square % vectors * lanes, largest);
          });
        }
        if (largest.too_large()) too_large_ = true;
      });
    }
    return !too_large_;
  }

 private:
  int64_t grad_points() const { return terms_.pair[0].points(); }

  void chunk(int64_t group, int64_t from, int64_t to) {
    const int64_t count = (to - from) * tiles_.length;
    const int64_t image_plane = count * image_pitch_, grad_plane = count * grad_pitch_;
    Scratch memory(static_cast<size_t>(grad_points() * (image_plane + grad_plane)) * sizeof(float));
    float* image = memory.as<float>();
    float* grad = image + grad_points() * image_plane;

    const int64_t blocks = terms_.padded / lanes, vectors = ceil_div(p_.cols, lanes);
    parallel_for(0, vectors * (to - from), 1, [&](int64_t begin, int64_t end) {
      Scratch strip(tiles_.strip_bytes());
      for (int64_t i = begin; i < end; ++i) {
        with_transform(tiles_.taps, [&](auto transform) {
          transform_gradient<decltype(transform)>(
              grad + i / vectors * tiles_.length * grad_pitch_ + i % vectors * lanes, grad_plane, group,
              tiles_.run(from + i / vectors), i % vectors * lanes, strip.as<float>());
        });
      }
    });
    for (int n = 0; n < terms_.pairs; ++n) {
      const TapPair& pair = terms_.pair[n];
      parallel_for(0, blocks * (to - from), 1, [&](int64_t begin, int64_t end) {
        Scratch strip(tiles_.strip_bytes());
        for (int64_t i = begin; i < end; ++i) {
          const TileRun run = tiles_.run(from + i / blocks);
          const int64_t term = i % blocks * lanes;
          transform_image(image + i / blocks * tiles_.length * image_pitch_ + term, image_plane, image_pitch_,
                          tiles_, run, terms_, pair, term, p_.x + run.image * p_.x_image + group * p_.x_group,
                          p_.x_channel, p_.x_strides, strip.as<float>());
        }
      });
      const Panels panels(terms_.count, Blocks::rows);
      parallel_for(0, pair.points() * panels.count, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t t = i / panels.count, panel = i % panels.count;
          const int64_t point = t / pair.w_points * terms_.pair[0].w_points + t % pair.w_points;
          multiply(image + t * image_plane, grad + point * grad_plane, count, pair.first + t,
                   panels.start(panel), panels.rows(panel), from == 0);
        }
      });
    }
  }

  // Columns [col, col + lanes) of the gradient of the result, A dy A^T, at the points of the first pair.
  template <class Transform>
  CT_NOINLINE void transform_gradient(float* to, int64_t plane, int64_t group, const TileRun& run,
                                      int64_t col, float* strip) const {
    constexpr int kIn = Transform::kIn;
    const int64_t cols = tiles_.length * kWinogradTile;
    const float* sheet = p_.y + run.image * p_.y_image + group * p_.y_group + run.sheet * p_.y_strides[0];
    load_strip(strip, kWinogradTile, cols, strip_channels(sheet, col, p_.cols, p_.y_channel),
               tiles_.h.result(run.h_phase, run.h_tile, p_.y_strides[1]),
               tiles_.w.result(run.w_phase, run.w_tile, p_.y_strides[2]));
    const int64_t h_points = terms_.pair[0].h_points, w_points = terms_.pair[0].w_points;
    for (int64_t tile = 0; tile < tiles_.length; ++tile) {
      Vector half[kIn][kWinogradTile];
#pragma GCC unroll 1
      for (int j = 0; j < kWinogradTile; ++j) {
        Vector y[kWinogradTile], z[kIn];
        for (int r = 0; r < kWinogradTile; ++r)
          y[r] = load_vector(strip + (r * cols + tile * kWinogradTile + j) * lanes);
        Transform::result_gradient(y, z);
        for (int r = 0; r < kIn; ++r) half[r][j] = z[r];
      }
      for (int64_t r = 0; r < h_points; ++r) {
        Vector z[kIn];
        Transform::result_gradient(half[r], z);
        for (int64_t s = 0; s < kIn; ++s) {
          if (s < w_points) store_vector(to + (r * w_points + s) * plane + tile * grad_pitch_, z[s]);
        }
      }
    }
  }

  // Adds to sums_[point][term][column] for the terms of a panel.
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
        float* to = sums_ + t * sums_plane_ + (term + i) * grad_pitch_ + col;
        for (int64_t v = 0; v < vectors * lanes; v += lanes) {
          const Vector value = load_vector(tile + i * Blocks::cols + v);
          store_vector(to + v, first ? value : load_vector(to + v) + value);
        }
      }
    }
  }

  // G^T sums G for a square of terms and columns, written to the taps of a pair.
  template <class Transform>
  CT_NOINLINE void finish(int64_t group, const TapPair& pair, int64_t term, int64_t col,
                          LargestValue& largest) const {
    constexpr int kIn = Transform::kIn, kTaps = Transform::kTaps;
    const int64_t cols = std::min(lanes, p_.cols - col);
    for (int64_t l = 0; l < lanes && term + l < terms_.count; ++l) {
      const int64_t at = term + l;
      const float* sums = sums_ + pair.first * sums_plane_ + at * grad_pitch_ + col;
      Vector half[kTaps][kIn] = {};
      for (int64_t s = 0; s < pair.w_points; ++s) {
        Vector m[kIn], w[kTaps];
        for (int64_t r = 0; r < kIn; ++r) {
          const float* sum = sums + (r * pair.w_points + s) * sums_plane_;
          m[r] = r < pair.h_points ? load_vector(sum) : Vector{};
          __builtin_prefetch(sum + 2 * grad_pitch_);  // of the term after the next: the sums lie in memory
        }
        Transform::filter_gradient(m, w);
        for (int r = 0; r < kTaps; ++r) half[r][s] = w[r];
      }
      float* to = p_.w + group * p_.w_group + col * p_.w_col + at % terms_.channels * p_.w_strides[0] +
                  p_.layout.axis[0].index[at / terms_.channels] * p_.w_strides[1];
      for (int r = 0; r < pair.h->taps; ++r) {
        Vector w[kTaps];
        Transform::filter_gradient(half[r], w);
        for (int s = 0; s < pair.w->taps; ++s) {
          alignas(64) float value[lanes];
          store_vector(value, w[s]);
          float* tap =
              to + pair.h->filter_index[r] * p_.w_strides[2] + pair.w->filter_index[s] * p_.w_strides[3];
          for (int64_t i = 0; i < cols; ++i) tap[i * p_.w_col] = value[i];
          largest.see(w[s]);
        }
      }
    }
  }

  static constexpr int64_t kChunkElements = 1 << 22, kFewestTiles = 64, kMostTiles = 256;

  const FilterProduct<float>& p_;
  const WinogradTiles tiles_;
  const WinogradTerms terms_;
  const int64_t image_pitch_, grad_pitch_, sums_plane_;
  float* sums_ = nullptr;
  std::atomic<bool> too_large_ = false;
};

}  // namespace
}  // namespace ctorch::CT_ISA
