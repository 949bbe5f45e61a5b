// The sum over taps on tiles: a product of the filter, packed as A, and the points of the image, packed as B
// a block of k at a time from an image that is laid out once in pairs of channels, and pieces of floats.
//
// Row k of the product is a pair of neighbouring channels at one tap, the taps innermost as in a filter, so
// that rows of the filter are packed in the order of memory. In a laid-out image it begins at
// image_offset[k]. Columns are the points of all images, without the gaps between rows and images.
#pragma once

#include "kernels/cpu/amx/conv_pieces.h"
#include "kernels/cpu/amx/panel_sums.h"
#include "kernels/cpu/conv_forward.h"

namespace ctorch::CT_ISA {
namespace {

template <class T>
class TileConvolution {
  using Pieces = TapPieces<T>;
  static constexpr int kPieces = Pieces::kPieces;
  static constexpr int64_t kStepPairs = kPieces * kPiecePairs;  // of a panel
  // In front of the filter of a group: its greatest magnitude, in a cache line of its own.
  static constexpr int64_t kHeader = 16;

 public:
  using Element = Pair;

  explicit TileConvolution(const TapProduct<T>& p)
      : p_(p),
        l_(in_pairs(p.layout)),
        depth_(l_.depth()),
        steps_(ceil_div(depth_, kTile)),
        row_panels_(ceil_div(p.rows, kPanel)),
        offsets_(static_cast<size_t>(2 * depth_) * sizeof(int64_t)),
        image_offset_(offsets_.as<int64_t>()),
        filter_offset_(image_offset_ + depth_) {
    const int64_t w_strides[] = {2 * p.w_strides[0], p.w_strides[1], p.w_strides[2], p.w_strides[3]};
    l_.offsets(image_offset_, filter_offset_, w_strides);
  }

  int64_t prepared_elements() const { return p_.groups * group_elements(); }
  bool reads_in_place() const { return false; }
  int64_t kind() const { return 1; }

  void prepare(Pair* to) const {
    if (depth_ == 0) return;
    Scratch buffer(static_cast<size_t>(p_.groups * row_panels_) * sizeof(Bits));
    Bits* largest = buffer.as<Bits>();
    const int64_t grain = std::max<int64_t>(1, kPackGrain / (kPanel * depth_));
    parallel_for(0, p_.groups * row_panels_, grain, [&](int64_t from, int64_t end) {
      Scratch row(static_cast<size_t>(kPieces * steps_ * kTile) * sizeof(Pair));
      for (int64_t i = from; i < end; ++i) {
        const int64_t group = i / row_panels_, panel = i % row_panels_;
        pack_filter(to + group * group_elements() + kHeader + panel * steps_ * kStepPairs, row.as<Pair>(),
                    group, panel, largest[i]);
      }
    });
    for (int64_t group = 0; group < p_.groups; ++group)
      *reinterpret_cast<float*>(to + group * group_elements()) =
          greatest(largest + group * row_panels_, row_panels_);
  }

  // False, and parts of the result written, if there are numbers that are not fit for tiles.
  bool run(const Pair* filter) {
    if (depth_ == 0) {  // a phase of the stride that no tap reaches
      write_bias();
      return true;
    }
    const int64_t most = std::clamp<int64_t>(kLaidOutPairs / (l_.size() * kPieces), 1, p_.batch);
    piece_ = most * l_.size();
    Scratch laid_out(static_cast<size_t>(kPieces * piece_ + TapLayout::kSlack) * sizeof(Pair));
    for (int64_t group = 0; group < p_.groups; ++group) {
      const Pair* group_filter = filter + group * group_elements();
      for (int64_t first = 0; first < p_.batch; first += most) {
        const int64_t images = std::min(most, p_.batch - first);
        const float largest = lay_out_images(laid_out.as<Pair>(), group, first, images);
        if (!Pieces::fit(largest, *reinterpret_cast<const float*>(group_filter), 2 * depth_)) return false;
        multiply(laid_out.as<Pair>(), group_filter + kHeader, group, first, images);
      }
    }
    return true;
  }

 private:
  static TapLayout in_pairs(TapLayout l) {
    l.channels = ceil_div(l.channels, 2);
    return l;
  }
  int64_t group_elements() const { return kHeader + row_panels_ * steps_ * kStepPairs; }
  // The second channel of a pair, where the first of it lies at `first`; null beyond an odd number of them.
  const T* second(int64_t pair, const T* first, int64_t channel_stride) const {
    return 2 * pair + 1 < p_.layout.channels ? first + channel_stride : nullptr;
  }

  void pack_filter(Pair* panel, Pair* row, int64_t group, int64_t index, Bits& largest) const {
    Bits seen = {};
    const int64_t piece = steps_ * kTile;
    for (int64_t i = 0; i < kPanel; ++i) {
      const int64_t r = index * kPanel + i;
      if (r < p_.rows) {
        pair_row(row, piece, p_.w + group * p_.w_group + r * p_.w_row, seen);
      } else {
        std::fill(row, row + kPieces * piece, Pair{0});
      }
      Pair* to = panel + i / kTile * kTilePairs + i % kTile * kTile;
      for (int64_t step = 0; step < steps_; ++step, to += kStepPairs) {
        for (int p = 0; p < kPieces; ++p)
          store_vector(to + p * kPiecePairs, load_vector(row + p * piece + step * kTile));
      }
    }
    largest = seen;
  }

  // One row of the filter as pairs, filled up with zeros.
  void pair_row(Pair* to, int64_t piece, const T* w, Bits& largest) const {
    const int64_t channels = p_.layout.channels, stride = p_.w_strides[0];
    if (l_.taps == 1 && stride == 1) {  // pairs as they lie
      Pieces::points(to, piece, w + *filter_offset_, w + *filter_offset_ + 1, 2, channels / 2, largest);
      if (channels % 2) {
        const T* last = w + *filter_offset_ + channels - 1;
        Pieces::points(to + channels / 2, piece, last, nullptr, 1, 1, largest);
      }
    } else {
      const bool dense = is_dense(filter_offset_, l_.taps);
      for (int64_t c = 0; c < l_.channels; ++c) {
        const T* first = w + 2 * c * stride;
        const T* other = second(c, first, stride);
        if (dense) {
          Pieces::points(to + c * l_.taps, piece, first, other, 1, l_.taps, largest);
          continue;
        }
        for (int64_t t = 0; t < l_.taps; ++t) {
          const int64_t at = filter_offset_[t];
          Pieces::points(to + c * l_.taps + t, piece, first + at, other ? other + at : nullptr, 1, 1,
                         largest);
        }
      }
    }
    for (int p = 0; p < kPieces; ++p) std::fill(to + p * piece + depth_, to + (p + 1) * piece, Pair{0});
  }

  // The greatest magnitude of images [first, first + images) of a group.
  float lay_out_images(Pair* to, int64_t group, int64_t first, int64_t images) const {
    SharedLargest largest;
    const int64_t grain = std::max<int64_t>(1, kPackGrain / (2 * l_.channel + 1));
    parallel_for(0, images * l_.channels, grain, [&](int64_t from, int64_t end) {
      Bits seen = {};
      for (int64_t i = from; i < end; ++i) {
        const int64_t image = i / l_.channels, pair = i % l_.channels;
        lay_out_pair(to + image * l_.size() + pair * l_.channel,
                     p_.x + (first + image) * p_.x_image + group * p_.x_group + 2 * pair * p_.x_channel, pair,
                     seen);
      }
      largest.see(seen);
    });
    return largest.value();
  }

  void lay_out_pair(Pair* to, const T* x, int64_t pair, Bits& largest) const {
    const TapAxis& w = l_.axis[2];
    const int64_t stride = p_.x_strides[2], pitch = w.step * stride;
    const auto clear = [&](Pair* points, int64_t count) {
      for (int p = 0; p < kPieces; ++p) std::fill_n(points + p * piece_, count, Pair{0});
    };
    const auto write = [&](Pair* row, int64_t at, int64_t start) {
      const auto copy = [&](Pair* points, int64_t point, int64_t count) {
        const T* first = x + at + point * stride;
        Pieces::points(points, piece_, first, second(pair, first, p_.x_channel), pitch, count, largest);
      };
      padded_row(row, l_.extent[2], w.x_size, w.step, start, copy, clear);
    };
    lay_out_channel(l_, to, p_.x_strides, write, clear);
  }

  void multiply(const Pair* x, const Pair* filter, int64_t group, int64_t first, int64_t images) const {
    const PanelProduct product(p_.rows, images * l_.points(), steps_, Pieces::kBlockSteps,
                               kPanelKernels<kPieces>);
    const Rectangles tasks = product.tasks(kWidest, kHighBytes);
    parallel_for(0, tasks.count(), tasks.grain, [&](int64_t from, int64_t to) {
      TileRegisters tiles;
      for (int64_t task = from; task < to; ++task) {
        const Rectangle r = tasks.at(task);
        Columns columns(*this, product, x, filter, group, first, r);
        RectangleSums(product, columns).run(r);
      }
    });
  }

  void write_bias() const {
    alignas(64) constexpr float zeros[kPanel * kPanel] = {};
    const int64_t panels = ceil_div(p_.batch * l_.points(), kPanel);
    parallel_for(0, p_.groups * panels, 1, [&](int64_t from, int64_t to) {
      Run runs[kPanel];
      for (int64_t task = from; task < to; ++task) {
        const int64_t group = task / panels, begin = task % panels * kPanel;
        const T* bias = p_.bias ? p_.bias + group * p_.rows * p_.bias_stride : nullptr;
        const int64_t count = find_runs(runs, p_, l_, static_cast<const Pair*>(nullptr), group, 0, begin,
                                        std::min(kPanel, p_.batch * l_.points() - begin), kPanel);
        for (int64_t r = 0; r < count; ++r)
          store_run<Pieces>(p_, 1.0f, runs[r].y, bias, zeros, 0, p_.rows, runs[r].count);
      }
    });
  }

  using Run = PointRun<T, Pair>;

  // Columns of a rectangle, in panels, and bytes of its rows: all columns are packed for all its rows, more
  // than one operand that lies packed already.
  static constexpr int64_t kWidest = 16, kHighBytes = 3 << 19;

  // The columns of a rectangle: where their points lie, and their packed panels for a block of k.
  class Columns {
   public:
    Columns(const TileConvolution& c, const PanelProduct& product, const Pair* x, const Pair* filter,
            int64_t group, int64_t first_image, const Rectangle& r)
        : c_(c),
          product_(product),
          filter_(filter),
          bias_(c.p_.bias ? c.p_.bias + group * c.p_.rows * c.p_.bias_stride : nullptr),
          first_(r.j_from),
          panels_(r.j_to - r.j_from),
          runs_(static_cast<size_t>(panels_ * kPanel) * sizeof(Run)),
          packed_(static_cast<size_t>(panels_ * product.block_steps * kStepPairs) * sizeof(Pair)) {
      for (int64_t j = 0; j < panels_; ++j)
        count_[j] = find_runs(runs(j), c.p_, c.l_, x, group, first_image, (first_ + j) * kPanel,
                              product.cols(first_ + j), kTile);
    }

    void begin(int64_t step, int64_t count) const {
      for (int64_t j = 0; j < panels_; ++j) pack(panel(j), j, step, count);
    }
    static constexpr bool a_is_far = true, b_is_far = false;
    const Pair* a(int64_t i, int64_t step) const { return filter_ + (i * c_.steps_ + step) * kStepPairs; }
    const Pair* b(int64_t j, int64_t) const { return panel(j - first_); }
    void expect(int64_t, int64_t) const {}
    void write(int64_t i, int64_t j, const float* sums) const {
      const TapProduct<T>& p = c_.p_;
      const T* bias = bias_ ? bias_ + i * kPanel * p.bias_stride : nullptr;
      const float alpha = static_cast<float>(p.alpha) / (Pieces::kScale * Pieces::kScale);
      const Run* run = runs(j - first_);
      for (int64_t r = 0; r < count_[j - first_]; ++r)
        store_run<Pieces>(p, alpha, run[r].y + i * kPanel * p.y_row, bias, sums + run[r].at, kPanel,
                          product_.rows(i), run[r].count);
    }

   private:
    Run* runs(int64_t j) const { return runs_.as<Run>() + j * kPanel; }
    Pair* panel(int64_t j) const { return packed_.as<Pair>() + j * product_.block_steps * kStepPairs; }

    void pack(Pair* to, int64_t j, int64_t step, int64_t count) const {
      const int64_t from = step * kTile, end = std::min(c_.depth_, (step + count) * kTile);
      for (int64_t r = 0; r < count_[j];) {
        const int64_t tile = runs(j)[r].at / kTile;
        TileRun part[kTile];
        int64_t n = 0;
        for (; r < count_[j] && runs(j)[r].at / kTile == tile; ++r) {
          const int64_t first = runs(j)[r].at % kTile;
          part[n++] = {runs(j)[r].x - first, static_cast<__mmask16>(((1u << runs(j)[r].count) - 1) << first)};
        }
        const auto pack = n == 1   ? pack_tile<1>
                          : n == 2 ? pack_tile<2>
                          : n == 3 ? pack_tile<3>
                                   : pack_tile<0>;
        pack(to + tile * kTilePairs, part, n, c_.image_offset_, c_.piece_, from, end);
      }
      // Zeros beyond the depth, as the filter has: no infinity may stand there by chance.
      for (int64_t k = end; k < (step + count) * kTile; ++k) {
        Pair* at = to + (k - from) / kTile * kStepPairs + k % kTile * kTile;
        for (int p = 0; p < kPieces; ++p) {
          std::fill_n(at + p * kPiecePairs, kTile, Pair{0});
          std::fill_n(at + p * kPiecePairs + kTilePairs, kTile, Pair{0});
        }
      }
    }

    // Columns of a tile whose points follow one another: column l at x[l].
    struct TileRun {
      const Pair* x;
      __mmask16 columns;
    };
    // Rows [from, end) of the columns of a tile, from kRuns runs, or n if that is 0. Loads are merged, so
    // that each row is stored once, and whole.
    template <int kRuns>
    static void pack_tile(Pair* to, const TileRun* runs, int64_t n, const int64_t* offset, int64_t piece,
                          int64_t from, int64_t end) {
      if constexpr (kRuns > 0) n = kRuns;
      for (int64_t k = from; k < end; ++k) {
        Pair* row = to + (k - from) / kTile * kStepPairs + k % kTile * kTile;
        for (int p = 0; p < kPieces; ++p) {
          const int64_t at = offset[k] + p * piece;
          __m512i v = _mm512_maskz_loadu_epi32(runs[0].columns, runs[0].x + at);
          for (int64_t r = 1; r < n; ++r) v = _mm512_mask_loadu_epi32(v, runs[r].columns, runs[r].x + at);
          _mm512_store_si512(row + p * kPiecePairs, v);
        }
      }
    }

    const TileConvolution& c_;
    const PanelProduct& product_;
    const Pair* filter_;
    const T* bias_;
    const int64_t first_, panels_;
    const Scratch runs_, packed_;
    int64_t count_[kWidest];
  };

  static constexpr int64_t kPackGrain = 1 << 15;  // elements to pack that are worth a thread
  // Of the images that are laid out at a time: 8 MB.
  static constexpr int64_t kLaidOutPairs = 1 << 21;

  const TapProduct<T> p_;
  const TapLayout l_;  // of pairs
  const int64_t depth_, steps_, row_panels_;
  const Scratch offsets_;
  int64_t *image_offset_, *filter_offset_;
  int64_t piece_ = 0;  // between the pieces of a laid-out image
};

}  // namespace
}  // namespace ctorch::CT_ISA
