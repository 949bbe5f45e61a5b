// The gradient of a filter on tiles, of bfloat16 or of floats in three pieces (see gemm_split.h).
//
// As a matrix product it has a row per (channel, tap), a column per channel of y, and k runs over the points
// of the grid, image after image. Neighbours in k lie side by side in a row of A's tile, as points do in a
// plane of the laid-out image: a row of the product is copied from there, shifted by its tap, 32 points with
// as many loads as they touch rows of the grid. B, the gradient of the result, is packed once for all rows.
// Floats are laid out in a plane per piece, so that they are split once for all taps.
//
// Tiles could be loaded from the planes themselves, of 16 channels at one tap each. But they would hold the
// points between two rows of the grid as well, whose products with 0 are not 0 where the image is infinite,
// and few channels would leave tiles empty. To copy a step of a panel of rows takes some 80 cycles, its
// product with each panel of columns 64; of three pieces 250 and 384 (counted, not measured).
#pragma once

#include "kernels/cpu/amx/conv_pieces.h"
#include "kernels/cpu/amx/gemm_slabs.h"
#include "kernels/cpu/amx/panel_sums.h"
#include "kernels/cpu/avx512_bf16/conv_filter_pairs.h"

namespace ctorch::CT_ISA {
namespace {

// What FilterChunks is told of a type.
template <class T>
using FilterFormat = std::conditional_t<std::is_same_v<T, float>, PlainFilter<float>, HalfFilter>;

template <class T>
class TileFilterGradient {
  using Chunks = FilterChunks<FilterFormat<T>>;
  using Pieces = TapPieces<T>;
  static constexpr int kPieces = Pieces::kPieces;
  static constexpr int64_t kStepPairs = kPieces * kPiecePairs;  // of a panel

 public:
  explicit TileFilterGradient(const FilterProduct<T>& p)
      : chunks_(unscaled(p), kPartialSums), p_(chunks_.product()), l_(p_.layout), points_(l_.points()) {
    const int64_t elements = l_.size() + y_panels() * kPanel * points_;
    is_product_ = points_ >= kProductPoints && is_pointwise();
    block_images_ = std::clamp<int64_t>(kBlockElements / (kPieces * elements), 1, chunks_.images());
    piece_ = block_images_ * l_.size();
  }

  // How many times as fast as multiply-adds of floats, at two vectors a cycle. The cycles of a step are
  // counted; measured, it is 0.6 of that.
  double gain() const {
    const double measured = g_small_floats_too ? 1 : 0.6;
    if (is_product_)
      return cost_of_tiles(chunks_.depth(), kPackCost, p_.cols, kTurnCost, points_) < 1 ? 2 : 0;
    constexpr double kProducts = 6 * 64 + 20;  // of two panels; with a part of adding up blocks of steps
    constexpr double kPackY = 650;             // a panel: 4 squares are transposed, 64 vectors split
    constexpr double kLayOut = 24.0 / kStep;   // an element of the image: split, and 3 halves stored
    // A row: 3 stores, and 3 loads per row of the grid that a step meets, most of them from two cache lines.
    const bool joined = l_.extent[2] == l_.axis[2].grid;
    const int64_t run = joined ? l_.axis[1].grid * l_.axis[2].grid : l_.axis[2].grid;
    const double copy = 8 + 4.0 * kStep / static_cast<double>(run);
    const int64_t rows = ceil_div(chunks_.depth(), kPanel), cols = y_panels();
    const int64_t chunk_points = chunks_.images() * points_;
    const double wanted = static_cast<double>(chunk_points) / kStep;
    const double step = static_cast<double>(rows * cols) * kProducts + static_cast<double>(cols) * kPackY +
                        static_cast<double>(rows * kPanel * ceil_div(cols, kWidest)) * copy;
    const double image = static_cast<double>(chunks_.images() * l_.size()) * kLayOut;
    return measured * static_cast<double>(chunks_.depth() * p_.cols) * wanted /
           (static_cast<double>(steps(chunks_.images())) * step + image);
  }

  // False, and nothing written, if there are numbers that are not fit for tiles.
  bool run() const {
    chunks_.run(
        [&](int64_t group, int64_t from, int64_t to, float* sums) { chunk_sum(group, from, to, sums); },
        [&] { return fit_.load(); });
    return fit_;
  }

 private:
  // What floats are multiplied by is taken back when the sums are written.
  static FilterProduct<T> unscaled(FilterProduct<T> p) {
    if constexpr (kPieces > 1) p.alpha /= Pieces::kScale * Pieces::kScale;
    return p;
  }

  // A filter of one point, whose rows are those of the image and the gradient as they lie in memory.
  bool is_pointwise() const {
    int64_t x = 1, y = 1;
    for (int d = kConvDims - 1; d >= 0; --d) {
      const TapAxis& a = l_.axis[d];
      if (a.taps != 1 || a.step != 1 || *a.shift != 0 || a.x_size != a.grid) return false;
      if (a.grid > 1 && (p_.x_strides[d] != x || p_.y_strides[d] != y)) return false;
      x *= a.grid, y *= a.grid;
    }
    return true;
  }
  void product_sum(int64_t group, int64_t from, int64_t to, float* sums) const {
    const int64_t width = chunks_.width();
    WriteOut<float, float> out{sums, width, 1, nullptr, width, 1, 1, 1, GemmActivation::none};
    for (int64_t n = from; n < to && fit_; ++n, out.d = sums) {
      const Product<T, float, float> q{chunks_.depth(),
                                       p_.cols,
                                       points_,
                                       p_.x + n * p_.x_image + group * p_.x_group,
                                       p_.x_channel,
                                       1,
                                       p_.y + n * p_.y_image + group * p_.y_group,
                                       1,
                                       p_.y_channel,
                                       out};
      TileProduct<T, float>(q, format()).run(Pieces::fit, [&](const Product<T, float, float>&) {
        fit_ = false;
      });
    }
  }
  static constexpr const TileFormat<T>& format() {
    if constexpr (kPieces == 1) {
      return kBFloat16;
    } else {
      return kHighest;
    }
  }

  void chunk_sum(int64_t group, int64_t from, int64_t to, float* sums) const {
    if (is_product_) return product_sum(group, from, to, sums);
    Scratch image_buffer(static_cast<size_t>(kPieces * piece_) * sizeof(BFloat16));
    Scratch y_buffer(static_cast<size_t>(y_panels() * steps(block_images_) * kStepPairs) * sizeof(Pair));
    BFloat16* image = image_buffer.as<BFloat16>();
    Pair* y = y_buffer.as<Pair>();
    for (int64_t n = from; n < to && fit_; n += block_images_) {
      const int64_t images = std::min(block_images_, to - n);
      SharedLargest x_largest, y_largest;
      chunks_.lay_out(group, n, images, [&](int64_t at, const T* x, int64_t channel) {
        lay_out(image + at * l_.size() + channel * l_.channel, x + channel * p_.x_channel, x_largest);
      });
      pack_y(y, p_.y + n * p_.y_image + group * p_.y_group, images, y_largest);
      if (!Pieces::fit(x_largest.value(), y_largest.value(), p_.batch * points_)) {
        fit_ = false;
      } else {
        multiply({images, image, y, sums, n == from});
      }
    }
  }
  int64_t steps(int64_t images) const { return ceil_div(images * points_, kStep); }
  int64_t y_panels() const { return ceil_div(p_.cols, kPanel); }

  // Images that are multiplied at a time: laid out, and the gradient of the result packed. Their sums are the
  // whole ones so far, or are added to them.
  struct Block {
    int64_t images;
    const BFloat16* image;
    const Pair* y;
    float* sums;
    bool whole;
  };

  // The planes of a channel, piece_ apart for each piece.
  void lay_out(BFloat16* to, const T* x, SharedLargest& largest) const {
    const TapAxis& w = l_.axis[2];
    const int64_t stride = p_.x_strides[2];
    Bits seen = {};
    const auto clear = [&](BFloat16* points, int64_t count) {
      for (int p = 0; p < kPieces; ++p) std::fill_n(points + p * piece_, count, BFloat16{});
    };
    const auto write = [&](BFloat16* row, int64_t at, int64_t start) {
      const auto copy = [&](BFloat16* points, int64_t first, int64_t count) {
        Pieces::halves(points, piece_, x + at + first * stride, w.step * stride, count, seen);
      };
      padded_row(row, l_.extent[2], w.x_size, w.step, start, copy, clear);
    };
    lay_out_channel(l_, to, p_.x_strides, write, clear);
    if constexpr (kPieces > 1) largest.see(seen);
  }

  // Points of a step that lie one after the other: as a mask, and where number 0 of the step would lie
  // before them.
  struct Run {
    int64_t at;
    __mmask32 points;
  };
  // The points of a step as runs; their number. place(image, q) says where a point is, of which the next in
  // its row follows where they are `dense`.
  template <class Place>
  int64_t find_runs(Run (&runs)[kStep], int64_t step, int64_t images, bool dense, Place&& place) const {
    const int64_t first = step * kStep, count = std::min(kStep, images * points_ - first);
    int64_t image = first / points_, q[kConvDims], n = 0;
    l_.coordinates(first % points_, q);
    for (int64_t i = 0, length; i < count; i += length) {
      length = dense ? std::min(l_.axis[2].grid - q[2], count - i) : 1;
      const int64_t at = place(image, q) - i;
      if (n == 0 || runs[n - 1].at != at) runs[n++] = {at, 0};
      runs[n - 1].points |= static_cast<__mmask32>(((uint64_t{1} << length) - 1) << i);
      q[2] += length;
      for (int d = 2; d > 0 && q[d] == l_.axis[d].grid; --d) q[d] = 0, ++q[d - 1];
      if (q[0] == l_.axis[0].grid) q[0] = 0, ++image;
    }
    return n;
  }
  // The points of a step of one row or column, in planes `piece` apart; 0 beyond the last.
  template <int kPlanes>
  static CT_INLINE void gather(__m512i (&points)[kPlanes], const Run* runs, int64_t count,
                               const BFloat16* from, int64_t piece) {
#pragma GCC unroll 3
    for (int p = 0; p < kPlanes; ++p) points[p] = __m512i{};
    for (int64_t i = 0; i < count; ++i) {
#pragma GCC unroll 3
      for (int p = 0; p < kPlanes; ++p)
        points[p] = _mm512_mask_loadu_epi16(points[p], runs[i].points, from + p * piece + runs[i].at);
    }
  }
  // Half of the points of a step of floats.
  static CT_INLINE Floats gather(const Run* runs, int64_t count, const float* from, int half) {
    __m512 points = {};
    for (int64_t i = 0; i < count; ++i) {
      const auto wanted = static_cast<__mmask16>(runs[i].points >> half * kTile);
      if (wanted) points = _mm512_mask_loadu_ps(points, wanted, from + runs[i].at + half * kTile);
    }
    return reinterpret_cast<Floats>(points);
  }

  void pack_y(Pair* to, const T* y, int64_t images, SharedLargest& largest) const {
    const int64_t count = steps(images), grain = Chunks::kPackGrain / (kPanel * kStep);
    parallel_for(0, y_panels() * count, grain, [&](int64_t from, int64_t end) {
      Bits seen = {};
      for (int64_t i = from; i < end; ++i)
        pack_step(to + i * kStepPairs, y, i / count, i % count, images, seen);
      if constexpr (kPieces > 1) largest.see(seen);
    });
  }
  void pack_step(Pair* to, const T* y, int64_t panel, int64_t step, int64_t images, Bits& largest) const {
    const int64_t* stride = p_.y_strides;
    Run runs[kStep];
    const int64_t n = find_runs(runs, step, images, stride[2] == 1, [&](int64_t image, const int64_t* q) {
      return image * p_.y_image + q[0] * stride[0] + q[1] * stride[1] + q[2] * stride[2];
    });
    const int64_t first = panel * kPanel, end = std::min(first + kPanel, p_.cols);
    for (int64_t col = first; col < end; col += kTile, to += kTilePairs)
      pack_columns(to, y + col * p_.y_channel, std::min(kTile, end - col), runs, n, largest);
  }
  void pack_columns(Pair* to, const BFloat16* y, int64_t cols, const Run* runs, int64_t count, Bits&) const {
    Bits square[kTile] = {};
    for (int64_t c = 0; c < cols; ++c) {
      __m512i points[1];
      gather(points, runs, count, y + c * p_.y_channel, 0);
      square[c] = reinterpret_cast<Bits>(points[0]);
    }
    transpose_square<Pair>(square);
#pragma GCC unroll 16
    for (int64_t r = 0; r < kTile; ++r) store_vector(to + r * kTile, square[r]);
  }
  // Floats are transposed before they are split: two squares and not three.
  void pack_columns(Pair* to, const float* y, int64_t cols, const Run* runs, int64_t count,
                    Bits& largest) const {
    Bits seen = largest;
    for (int half = 0; half < 2; ++half) {
      Floats square[kTile] = {};
      for (int64_t c = 0; c < cols; ++c) square[c] = gather(runs, count, y + c * p_.y_channel, half);
      transpose_square<float>(square);
#pragma GCC unroll 8
      for (int64_t r = 0; r < kTile; r += 2, to += kTile) {
        Bits pieces[kPieces];
        split_pairs<kPieces>(square[r], square[r + 1], pieces, seen);
#pragma GCC unroll 3
        for (int p = 0; p < kPieces; ++p) store_vector(to + p * kPiecePairs, pieces[p]);
      }
    }
    largest = seen;
  }

  void multiply(const Block& block) const {
    const PanelProduct product(chunks_.depth(), p_.cols, steps(block.images), kBlockSteps,
                               kPanelKernels<kPieces>);
    // Rows are packed anew for every rectangle of columns: threads share out rows first.
    const Rectangles tasks = product.tasks(kWidest, kRowBytes, kWidest);
    parallel_for(0, tasks.count(), tasks.grain, [&](int64_t from, int64_t to) {
      TileRegisters tiles;
      for (int64_t task = from; task < to; ++task) {
        const Rectangle r = tasks.at(task);
        Rows rows(*this, product, block, r);
        RectangleSums(product, rows).run(r);
      }
    });
  }

  // The rows of a rectangle: their packed panels for a block of k, and the way of their sums.
  class Rows {
   public:
    Rows(const TileFilterGradient& f, const PanelProduct& product, const Block& block, const Rectangle& r)
        : f_(f),
          product_(product),
          block_(block),
          first_(r.i_from),
          end_(r.i_to),
          packed_(static_cast<size_t>((end_ - first_) * product.block_steps * kStepPairs) * sizeof(Pair)) {}

    void begin(int64_t step, int64_t count) const {
      const TapLayout& l = f_.l_;
      const auto place = [&](int64_t image, const int64_t* q) { return image * l.size() + l.place(q); };
      Run runs[kBlockSteps][kStep];
      int64_t n[kBlockSteps];
      for (int64_t s = 0; s < count; ++s) n[s] = f_.find_runs(runs[s], step + s, block_.images, true, place);
      // A panel is of few channels: their points pass through the L1 once.
      for (int64_t i = first_; i < end_; ++i) {
        for (int64_t s = 0; s < count; ++s) pack(panel(i) + s * kStepPairs, i, runs[s], n[s]);
      }
    }
    static constexpr bool a_is_far = false, b_is_far = true;
    const Pair* a(int64_t i, int64_t) const { return panel(i); }
    const Pair* b(int64_t j, int64_t step) const {
      return block_.y + (j * product_.steps + step) * kStepPairs;
    }
    void expect(int64_t, int64_t) const {}
    void write(int64_t i, int64_t j, const float* tile) const {
      const int64_t width = f_.chunks_.width();
      float* sum = block_.sums + i * kPanel * width + j * kPanel;
      for (int64_t r = 0; r < product_.rows(i); ++r, sum += width, tile += kPanel) {
        for (int64_t c = 0; c < product_.cols(j); c += kTile) {
          const Floats v = load_vector(tile + c);
          store_vector(sum + c, block_.whole ? v : load_vector(sum + c) + v);
        }
      }
    }

   private:
    Pair* panel(int64_t i) const {
      return packed_.template as<Pair>() + (i - first_) * product_.block_steps * kStepPairs;
    }
    // What is missing of the last tile are rows of sums that nothing reads.
    void pack(Pair* to, int64_t i, const Run* runs, int64_t count) const {
      const int64_t* offset = f_.chunks_.image_offset() + i * kPanel;
      for (int64_t r = 0; r < product_.rows(i); ++r, to += kTile) {
        __m512i points[kPieces];
        gather(points, runs, count, block_.image + offset[r], f_.piece_);
#pragma GCC unroll 3
        for (int p = 0; p < kPieces; ++p)
          store_vector(to + p * kPiecePairs, reinterpret_cast<Bits>(points[p]));
      }
    }

    const TileFilterGradient& f_;
    const PanelProduct& product_;
    const Block& block_;
    const int64_t first_, end_;
    const Scratch packed_;
  };

  // Images of fewer points have their points joined in k.
  static constexpr int64_t kProductPoints = 192;
  static constexpr int64_t kBlockSteps = Pieces::kBlockSteps;
  static constexpr int64_t kWidest = 16;  // columns of a rectangle, in panels
  // 4 MB: to write and add up 16 MB takes almost as long as the products that 256 channels of 32 images of 14
  // x 14 have (measured, against counted cycles of tiles). Large sums are rectangles enough for all threads.
  static constexpr int64_t kPartialSums = 1 << 20;
  // Of the pieces of images and gradients of the result that are packed at a time: 8 MB.
  static constexpr int64_t kBlockElements = 1 << 22;

  const Chunks chunks_;
  const FilterProduct<T>& p_;
  const TapLayout& l_;
  const int64_t points_;  // of an image
  bool is_product_;
  int64_t block_images_;
  int64_t piece_;  // between the pieces of a laid-out image
  mutable std::atomic<bool> fit_ = true;
};

}  // namespace
}  // namespace ctorch::CT_ISA
