// The gradient of a filter: products of the image, laid out as for the forward pass, and the gradient of the
// result, summed over all points and images.
//
// As a matrix product it has a row per (channel, tap), found in the image through the table of offsets, a
// column per channel of y, and the points of the grid as its long inner dimension. Images are cut into chunks
// with a partial sum each; the cuts depend on the shape alone, and the partial sums are added in order, so
// the result does not depend on the number of threads.
#pragma once

#include "kernels/cpu/conv_taps.h"

namespace ctorch::CT_ISA {
namespace {

template <class S>
struct FilterProduct {
  TapLayout layout;
  int64_t batch, groups, cols;  // cols: channels of y in one group
  const S* x;
  int64_t x_image, x_group, x_channel, x_strides[kConvDims];
  const S* y;
  int64_t y_image, y_group, y_channel, y_strides[kConvDims];
  S* w;
  int64_t w_group, w_col, w_strides[1 + kConvDims];  // of channel and taps
  S alpha;
  bool accumulate;
};

// What a FilterGradient computes with: the Points of which the laid-out image consists; the Elements of the
// packed gradient of the result, each for `step` neighbouring points; how they are brought there, and the
// kernels that sum them. This one takes them as they are.
template <class S>
struct PlainFilter {
  using Input = S;
  using Point = S;
  using Element = S;
  using Sum = S;
  static constexpr int64_t step = 1;

  static void lay_out_channel(const FilterProduct<S>& p, S* to, const S* x, int64_t channel) {
    lay_out(p.layout, to, x, p.x_channel, p.x_strides, channel, channel + 1);
  }
  static void pack(S* panel, int64_t width, int64_t cols, int64_t points, const S* y, int64_t channel,
                   int64_t point) {
    pack_panel(panel, width, cols, points, y, channel, point);
  }
  static constexpr const TileKernels<S>& tiles() { return kGatheredATiles<S>; }
  // Up to a vector of neighbouring elements.
  static CT_INLINE void store(S* w, typename Simd<S>::Vector v, int64_t count) {
    count < kLanes<S> ? store_partial(w, v, count) : store_vector(w, v);
  }
};

// The gradient as the sum of chunks, each of some of the images. Of Format, the types, and store().
template <class Format>
class FilterChunks {
  using T = typename Format::Input;
  using S = typename Format::Sum;
  using Blocks = GemmBlocks<S>;

 public:
  // `most` bounds all partial sums together: 16 MB of floats, or less for methods that share out the sums of
  // a chunk among threads as well as chunks.
  explicit FilterChunks(const FilterProduct<T>& p, int64_t most = 1 << 22)
      : p_(p),
        depth_(p.layout.depth()),
        width_(ceil_div(p.cols, Blocks::lanes) * Blocks::lanes),
        chunks_(std::clamp<int64_t>(most / std::max<int64_t>(1, depth_ * width_ * p.groups), 1,
                                    std::clamp<int64_t>(p.batch, 1, kMostChunks))),
        images_(ceil_div(p.batch, chunks_)),
        offsets_(static_cast<size_t>(2 * depth_) * sizeof(int64_t)),
        image_offset_(offsets_.as<int64_t>()),
        filter_offset_(image_offset_ + depth_) {
    p_.layout.offsets(image_offset_, filter_offset_, p.w_strides);
  }

  const FilterProduct<T>& product() const { return p_; }
  int64_t depth() const { return depth_; }
  int64_t width() const { return width_; }
  int64_t images() const { return images_; }  // of a chunk, at most
  // Where the row of each (channel, tap) begins in a laid-out image.
  const int64_t* image_offset() const { return image_offset_; }

  // sum(group, from, to, sums) writes the sums over images [from, to), at least one: a row of width() of them
  // for each (channel, tap). Loops in it are shared by all threads where chunks are taken in turn. Unless
  // they are usable() then, nothing is written.
  template <class Sum, class Usable>
  void run(Sum&& sum, Usable&& usable) const {
    if (depth_ == 0 || p_.cols == 0) return;
    Scratch partial(static_cast<size_t>(chunks_ * p_.groups * depth_ * width_) * sizeof(S));
    S* sums = partial.as<S>();
    const auto some = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t from = i / p_.groups * images_, to = std::min(p_.batch, from + images_);
        S* chunk = sums + i * depth_ * width_;
        if (from < to) {
          sum(i % p_.groups, from, to, chunk);
        } else {
          std::fill_n(chunk, depth_ * width_, S(0));
        }
      }
    };
    // Side by side, or where some threads would wait for the last ones in turn, each by all threads.
    const int64_t tasks = chunks_ * p_.groups;
    const int64_t work = p_.batch * p_.cols * depth_ * p_.layout.points() / chunks_;
    if (tasks % num_threads() == 0 || tasks >= 4 * num_threads()) {
      parallel_for(0, tasks, std::max<int64_t>(1, kPieceWork / (work + 1)), some);
    } else {
      some(0, tasks);
    }
    if (usable()) add(sums);
  }

  // `count` images of a group from image n on: lay_out_channel(at, x, c) takes channel c of x, which is the
  // one `at` of them.
  template <class Channel>
  void lay_out(int64_t group, int64_t n, int64_t count, Channel&& lay_out_channel) const {
    const TapLayout& l = p_.layout;
    const int64_t grain = std::max<int64_t>(1, kPackGrain / (l.channel + 1));
    parallel_for(0, count * l.channels, grain, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        const int64_t at = c / l.channels;
        lay_out_channel(at, p_.x + (n + at) * p_.x_image + group * p_.x_group, c % l.channels);
      }
    });
  }

  static constexpr int64_t kPackGrain = 1 << 15, kPieceWork = 1 << 18;

 private:
  // Squares of the sums are transposed: their rows are columns of the filter.
  void add(const S* sums) const {
    constexpr int64_t lanes = Blocks::lanes;
    const int64_t blocks = width_ / lanes;
    const bool dense = is_dense(filter_offset_, depth_);
    const int64_t grain = std::max<int64_t>(1, kPackGrain / (chunks_ * depth_ * lanes));
    parallel_for(0, p_.groups * blocks, grain, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const int64_t group = i / blocks, col = i % blocks * lanes;
        const int64_t cols = std::min(lanes, p_.cols - col);
        T* w = p_.w + group * p_.w_group + col * p_.w_col;
        for (int64_t k = 0; k < depth_; k += lanes) {
          typename Simd<S>::Vector square[lanes];
          const int64_t rows = std::min(lanes, depth_ - k);
          for (int64_t r = 0; r < lanes; ++r)
            square[r] = r < rows ? total(sums, group, k + r, col) : typename Simd<S>::Vector{};
          transpose_square<S>(square);
          for (int64_t j = 0; j < cols; ++j) write_column(w + j * p_.w_col, square[j], k, rows, dense);
        }
      }
    });
  }
  CT_INLINE typename Simd<S>::Vector total(const S* sums, int64_t group, int64_t k, int64_t col) const {
    const int64_t next_chunk = p_.groups * depth_ * width_;
    const S* part = sums + (group * depth_ + k) * width_ + col;
    __builtin_prefetch(part + Blocks::lanes * width_);  // rows too far apart for the CPU to do it
    typename Simd<S>::Vector sum = load_vector(part);
    for (int64_t chunk = 1; chunk < chunks_; ++chunk) {
      part += next_chunk;
      __builtin_prefetch(part + Blocks::lanes * width_);
      sum += load_vector(part);
    }
    return sum * static_cast<S>(p_.alpha);
  }
  // Elements [k, k + count) of a column.
  CT_INLINE void write_column(T* w, typename Simd<S>::Vector v, int64_t k, int64_t count, bool dense) const {
    if (dense && !p_.accumulate) return Format::store(w + k, v, count);
    alignas(64) S value[Blocks::lanes];
    store_vector(value, v);
    for (int64_t r = 0; r < count; ++r) {
      T& to = w[filter_offset_[k + r]];
      to = static_cast<T>(p_.accumulate ? value[r] + static_cast<S>(to) : value[r]);
    }
  }

  static constexpr int64_t kMostChunks = 16;  // enough for as many threads

  const FilterProduct<T> p_;
  const int64_t depth_, width_, chunks_, images_;
  const Scratch offsets_;
  int64_t *const image_offset_, *const filter_offset_;
};

template <class Format>
class FilterGradient {
  using T = typename Format::Input;
  using Point = typename Format::Point;
  using E = typename Format::Element;
  using S = typename Format::Sum;
  using Blocks = GemmBlocks<S>;
  using Chunks = FilterChunks<Format>;

 public:
  explicit FilterGradient(const FilterProduct<T>& p)
      : chunks_(p),
        p_(chunks_.product()),
        l_(p_.layout),
        panels_(std::max<int64_t>(1, chunks_.depth()), Blocks::rows),
        width_(chunks_.width()),
        x_joined_(l_.extent[2] == l_.axis[2].grid),
        y_joined_(p.y_strides[1] == l_.axis[2].grid * p.y_strides[2]) {
    // Elements of several points end with the same row on both sides.
    if (Format::step > 1) x_joined_ = y_joined_ = x_joined_ && y_joined_;
    // Points of one block: whole sheets of one or several images, or some rows of a sheet.
    const int64_t points = std::min(kMostPoints, kBlockElements / width_);
    const int64_t sheet_points = l_.axis[1].grid * l_.axis[2].grid;
    block_rows_ = std::clamp<int64_t>(points / l_.axis[2].grid, 1, l_.axis[1].grid);
    const bool flat = l_.axis[0].grid == 1;
    block_images_ = flat ? std::clamp<int64_t>(points / sheet_points, 1, chunks_.images()) : 1;
  }

  void run() const {
    chunks_.run([&](int64_t group, int64_t from, int64_t to, S* sums) { chunk_sum(group, from, to, sums); },
                [] { return true; });
  }

 private:
  CT_NOINLINE void chunk_sum(int64_t group, int64_t from, int64_t to, S* sums) const {
    const int64_t size = l_.size();
    // Vectors of points are written, and pairs read, beyond the last one.
    Scratch image_buffer(static_cast<size_t>(block_images_ * size + TapLayout::kSlack) * sizeof(Point));
    Scratch y_buffer(static_cast<size_t>(block_images_ * steps(block_rows_) * width_) * sizeof(E));
    Point* image = image_buffer.as<Point>();
    E* y = y_buffer.as<E>();
    bool whole = true;
    for (int64_t n = from; n < to; n += block_images_) {
      const int64_t images = std::min(block_images_, to - n);
      chunks_.lay_out(group, n, images, [&](int64_t at, const T* x, int64_t channel) {
        Format::lay_out_channel(p_, image + at * size, x, channel);
      });
      for (int64_t sheet = 0; sheet < l_.axis[0].grid; ++sheet) {
        for (int64_t row = 0; row < l_.axis[1].grid; row += block_rows_) {
          const int64_t rows = std::min(block_rows_, l_.axis[1].grid - row);
          pack_y(y, group, n, images, sheet, row, rows);
          block_sum(image + sheet * l_.sheet() + row * l_.extent[2], y, images, rows, sums, whole);
          whole = false;
        }
      }
    }
  }

  // Elements of one channel of the gradient of the result, for so many rows of points of an image.
  int64_t steps(int64_t rows) const {
    const int64_t width = l_.axis[2].grid;
    return y_joined_ ? ceil_div(rows * width, Format::step) : rows * ceil_div(width, Format::step);
  }

  // The gradient of the result with its channels innermost: a panel of columns after the other, (steps,
  // columns of the panel).
  void pack_y(E* to, int64_t group, int64_t n, int64_t images, int64_t sheet, int64_t row,
              int64_t rows) const {
    const int64_t width = l_.axis[2].grid;
    const int64_t pieces = y_joined_ ? 1 : rows, length = y_joined_ ? rows * width : width;
    const int64_t panels = ceil_div(p_.cols, Blocks::cols);
    const auto pack = [&](int64_t j) {
      const int64_t cols = std::min(Blocks::cols, p_.cols - j * Blocks::cols);
      const int64_t padded = ceil_div(cols, Blocks::lanes) * Blocks::lanes;
      E* panel = to + j * Blocks::cols * images * steps(rows);
      for (int64_t i = 0; i < images; ++i) {
        const T* y = p_.y + (n + i) * p_.y_image + group * p_.y_group + j * Blocks::cols * p_.y_channel +
                     sheet * p_.y_strides[0] + row * p_.y_strides[1];
        for (int64_t r = 0; r < pieces; ++r, panel += ceil_div(length, Format::step) * padded)
          Format::pack(panel, padded, cols, length, y + r * p_.y_strides[1], p_.y_channel, p_.y_strides[2]);
      }
    };
    parallel_for(0, panels, std::max<int64_t>(1, Chunks::kPackGrain / (Blocks::cols * images * rows * width)),
                 [&](int64_t from, int64_t end) {
                   for (int64_t j = from; j < end; ++j) pack(j);
                 });
  }

  // The sums of a block, which are the whole sums so far, or are added to them.
  void block_sum(const Point* image, const E* y, int64_t images, int64_t rows, S* sums, bool whole) const {
    const int64_t width = l_.axis[2].grid, points = images * rows * width;
    TileArgs<E, S> args{};
    args.k = width;
    args.runs = rows;
    args.run_gap = l_.extent[2] - width;
    args.sheets = images;
    args.sheet_gap = l_.size() - rows * l_.extent[2];
    if (x_joined_) {
      args.k *= rows;
      args.runs = 1;
    }
    const int64_t grain = std::max<int64_t>(1, Chunks::kPieceWork / (Blocks::rows * p_.cols * points));
    parallel_for(0, panels_.count, grain, [&](int64_t from, int64_t to) {
      alignas(64) S tile[Blocks::rows * Blocks::cols];
      TileArgs<E, S> t = args;
      t.tile = tile;
      t.a = reinterpret_cast<const E*>(image);
      for (int64_t j = 0; j < p_.cols; j += Blocks::cols) {
        const int64_t vectors = ceil_div(std::min(Blocks::cols, p_.cols - j), Blocks::lanes);
        t.b = y + j * images * steps(rows);
        t.b_k = vectors * Blocks::lanes;
        for (int64_t panel = from; panel < to; ++panel) {
          const int64_t first = panels_.start(panel), count = panels_.rows(panel);
          t.offset = chunks_.image_offset() + first;
          if (whole) t.tile = sums + first * width_ + j, t.tile_row = width_;
          Format::tiles().get(count, vectors)(t);
          for (int64_t i = 0; i < count && !whole; ++i) {
            S* sum = sums + (first + i) * width_ + j;
            for (int64_t v = 0; v < vectors; ++v) {
              const int64_t at = v * Blocks::lanes;
              store_vector(sum + at, load_vector(sum + at) + load_vector(tile + i * Blocks::cols + at));
            }
          }
        }
      }
    });
  }

  // Elements of y in a block of points of the inner dimension, 1 MB of floats for the L2. A long block pays
  // for the pass over the sums at its end: blocks of 256 points ran at two thirds of the speed of blocks of
  // 1024.
  static constexpr int64_t kBlockElements = 1 << 18, kMostPoints = 1024;

  const Chunks chunks_;
  const FilterProduct<T>& p_;
  const TapLayout& l_;
  const Panels panels_;
  const int64_t width_;
  bool x_joined_, y_joined_;  // whether the rows of points of a block follow one another
  int64_t block_rows_, block_images_;
};

}  // namespace
}  // namespace ctorch::CT_ISA
