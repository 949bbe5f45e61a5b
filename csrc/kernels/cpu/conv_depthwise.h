// Convolution of groups with few channels (depthwise): too little to sum for a product of matrices, so rows
// of the result are summed tap by tap. They are bound by the reading of the image.
#pragma once

#include "kernels/cpu/conv_filter.h"
#include "kernels/cpu/conv_forward.h"

namespace ctorch::CT_ISA {
namespace {

inline constexpr int64_t kFewChannels = 2;

template <class S>
class DepthwiseConvolution {
  static constexpr int64_t lanes = kLanes<S>;
  using Vector = typename Simd<S>::Vector;

 public:
  explicit DepthwiseConvolution(const TapProduct<S>& p) : p_(p), l_(p_.layout), depth_(l_.depth()) {}

  static bool fits(const TapProduct<S>& p) {
    return p.rows <= kFewChannels && p.layout.channels <= kFewChannels && !p.accumulate && p.alpha == S(1);
  }

  void run() {
    Scratch table(static_cast<size_t>(2 * depth_ + 1) * sizeof(int64_t));
    image_offset_ = table.as<int64_t>();
    filter_offset_ = image_offset_ + depth_;
    l_.offsets(image_offset_, filter_offset_, p_.w_strides);
    const int64_t work = p_.rows * depth_ * l_.axis[0].grid * l_.columns() + l_.size();
    parallel_for(
        0, p_.batch * p_.groups, std::max<int64_t>(1, kPieceWork / work), [&](int64_t from, int64_t to) {
          Scratch memory(
              static_cast<size_t>(l_.size() + TapLayout::kSlack + depth_ + l_.axis[2].grid + 4 * lanes) *
              sizeof(S));
          S* x = memory.as<S>();
          S* filter = x + l_.size() + TapLayout::kSlack;
          S* line = filter + depth_;
          for (int64_t i = from; i < to; ++i)
            plane(i / p_.groups, i % p_.groups, x, filter, line, i + 1 < to ? origin(i + 1) : nullptr);
        });
  }

 private:
  const S* origin(int64_t i) const { return p_.x + i / p_.groups * p_.x_image + i % p_.groups * p_.x_group; }

  // Ask for a part of the plane that comes next: its memory is read while this one is computed.
  void prefetch(const S* next, int64_t row) const {
    const TapAxis &h = l_.axis[1], &w = l_.axis[2];
    if (!next || p_.x_strides[2] != 1 || p_.x_strides[1] != w.x_size) return;
    const int64_t bytes = h.x_size * w.x_size * static_cast<int64_t>(sizeof(S));
    const int64_t each = ceil_div(bytes, l_.axis[0].grid * h.grid * 64) * 64;
    const char* from = reinterpret_cast<const char*>(next);
    for (int64_t at = row * each; at < std::min((row + 1) * each, bytes); at += 64)
      __builtin_prefetch(from + at);
  }

  void plane(int64_t image, int64_t group, S* x, S* filter, S* line, const S* next) const {
    lay_out(l_, x, origin(image * p_.groups + group), p_.x_channel, p_.x_strides, 0, l_.channels);
    const int64_t width = l_.axis[2].grid;
    for (int64_t row = 0; row < p_.rows; ++row) {
      const S* w = p_.w + group * p_.w_group + row * p_.w_row;
      for (int64_t k = 0; k < depth_; ++k) filter[k] = w[filter_offset_[k]];
      const S shift = p_.bias ? p_.bias[(group * p_.rows + row) * p_.bias_stride] : S(0);
      S* y = p_.y + image * p_.y_image + group * p_.y_group + row * p_.y_row;
      for (int64_t sheet = 0; sheet < l_.axis[0].grid; ++sheet) {
        for (int64_t h = 0; h < l_.axis[1].grid; ++h) {
          prefetch(next, sheet * l_.axis[1].grid + h);
          const S* from = x + sheet * l_.sheet() + h * l_.extent[2];
          S* to = y + sheet * p_.y_strides[0] + h * p_.y_strides[1];
          if (p_.y_strides[2] == 1) {
            row_sum(from, filter, shift, width, to);
            continue;
          }
          row_sum(from, filter, shift, width, line);
          for (int64_t i = 0; i < width; ++i) to[i * p_.y_strides[2]] = line[i];
        }
      }
    }
  }

  void row_sum(const S* x, const S* filter, S shift, int64_t width, S* to) const {
    int64_t i = 0, left = ceil_div(width, lanes);
    for (; left >= 3; left -= 4, i += 4 * lanes) piece<4>(x + i, filter, shift, width - i, to + i);
    if (left > 0) piece<2>(x + i, filter, shift, width - i, to + i);
  }

  // Several vectors at a time hide the latency of a multiply-add.
  template <int N>
  CT_INLINE void piece(const S* x, const S* filter, S shift, int64_t left, S* to) const {
    Vector acc[N];
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) acc[v] = Vector{} + shift;
    for (int64_t k = 0; k < depth_; ++k) {
      const S* from = x + image_offset_[k];
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) acc[v] += load_vector(from + v * lanes) * filter[k];
    }
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) {
      if (left >= (v + 1) * lanes) {
        store_vector(to + v * lanes, acc[v]);
      } else if (left > v * lanes) {
        store_partial(to + v * lanes, acc[v], left - v * lanes);
      }
    }
  }

  static constexpr int64_t kPieceWork = 1 << 16;

  const TapProduct<S>& p_;
  const TapLayout& l_;
  const int64_t depth_;
  int64_t* image_offset_ = nullptr;
  int64_t* filter_offset_ = nullptr;
};

// The gradient of such filters: a product of the shifted image and the gradient of the result, summed over
// points and images, per tap. Each group is summed by one thread.
template <class S>
class DepthwiseFilterGradient {
  static constexpr int64_t lanes = kLanes<S>;
  static constexpr int kTaps = 9;  // sums in registers
  using Vector = typename Simd<S>::Vector;

 public:
  explicit DepthwiseFilterGradient(const FilterProduct<S>& p) : p_(p), l_(p_.layout), depth_(l_.depth()) {}

  static bool fits(const FilterProduct<S>& p) {
    return p.cols <= kFewChannels && p.layout.channels <= kFewChannels && !p.accumulate && p.alpha == S(1);
  }

  void run() {
    const int64_t padded = ceil_div(depth_, kTaps) * kTaps;
    Scratch table(static_cast<size_t>(2 * padded) * sizeof(int64_t));
    image_offset_ = table.as<int64_t>();
    filter_offset_ = image_offset_ + padded;
    l_.offsets(image_offset_, filter_offset_, p_.w_strides);
    std::fill(image_offset_ + depth_, image_offset_ + padded, int64_t{0});
    // The gradient is laid out like a sheet of the image, with zeros between the rows of the grid.
    const int64_t columns = ceil_div(l_.columns(), lanes) * lanes;
    parallel_for(0, p_.groups, 1, [&](int64_t from, int64_t to) {
      Scratch memory(static_cast<size_t>(l_.size() + TapLayout::kSlack + columns + padded * p_.cols * lanes) *
                     sizeof(S));
      S* x = memory.as<S>();
      S* y = x + l_.size() + TapLayout::kSlack;
      S* sums = y + columns;
      std::fill(y, y + columns, S(0));
      for (int64_t group = from; group < to; ++group) {
        std::fill(sums, sums + padded * p_.cols * lanes, S(0));
        for (int64_t image = 0; image < p_.batch; ++image)
          add_image(group, image, x, y, sums, padded, columns);
        for (int64_t col = 0; col < p_.cols; ++col) {
          S* w = p_.w + group * p_.w_group + col * p_.w_col;
          for (int64_t k = 0; k < depth_; ++k)
            w[filter_offset_[k]] = sum_lanes<S>(load_vector(sums + (col * padded + k) * lanes));
        }
      }
    });
  }

 private:
  void add_image(int64_t group, int64_t image, S* x, S* y, S* sums, int64_t padded, int64_t columns) const {
    const TapAxis &h = l_.axis[1], &w = l_.axis[2];
    lay_out(l_, x, p_.x + image * p_.x_image + group * p_.x_group, p_.x_channel, p_.x_strides, 0,
            l_.channels);
    // What the vectors at the end read beyond the image must be finite, as it is multiplied by 0.
    std::fill(x + l_.size(), x + l_.size() + TapLayout::kSlack, S(0));
    for (int64_t col = 0; col < p_.cols; ++col) {
      for (int64_t sheet = 0; sheet < l_.axis[0].grid; ++sheet) {
        const S* from =
            p_.y + image * p_.y_image + group * p_.y_group + col * p_.y_channel + sheet * p_.y_strides[0];
        for (int64_t i = 0; i < h.grid; ++i)
          lay_out_row(y + i * l_.extent[2], w.grid, from + i * p_.y_strides[1], w.grid, p_.y_strides[2],
                      int64_t{1}, int64_t{0});
        for (int64_t k = 0; k < padded; k += kTaps)
          add_taps(x + sheet * l_.sheet(), y, columns, image_offset_ + k, sums + (col * padded + k) * lanes);
      }
    }
  }

  static void add_taps(const S* x, const S* y, int64_t columns, const int64_t* offset, S* sums) {
    Vector acc[kTaps];
    const S* from[kTaps];
#pragma GCC unroll 9
    for (int t = 0; t < kTaps; ++t) acc[t] = load_vector(sums + t * lanes), from[t] = x + offset[t];
    for (int64_t c = 0; c < columns; c += lanes) {
      const Vector grad = load_vector(y + c);
#pragma GCC unroll 9
      for (int t = 0; t < kTaps; ++t) acc[t] += load_vector(from[t] + c) * grad;
    }
#pragma GCC unroll 9
    for (int t = 0; t < kTaps; ++t) store_vector(sums + t * lanes, acc[t]);
  }

  const FilterProduct<S>& p_;
  const TapLayout& l_;
  const int64_t depth_;
  int64_t* image_offset_ = nullptr;
  int64_t* filter_offset_ = nullptr;
};

// Depthwise filters over images whose channels are innermost in memory: vectors of channels, pixel by pixel.
template <class S>
class DepthwisePixels {
  static constexpr int64_t lanes = kLanes<S>;
  using Vector = typename Simd<S>::Vector;

 public:
  explicit DepthwisePixels(const TapProduct<S>& p) : p_(p), l_(p_.layout), depth_(l_.depth()) {}

  static bool fits(const TapProduct<S>& p) {
    return p.rows == 1 && p.layout.channels == 1 && p.groups > 1 && p.x_group == 1 && p.y_group == 1 &&
           !p.accumulate && p.alpha == S(1);
  }

  void run() {
    Scratch table(static_cast<size_t>(2 * depth_ + 1) * sizeof(int64_t));
    int64_t* image_offset = table.as<int64_t>();
    int64_t* filter_offset = image_offset + depth_;
    l_.offsets(image_offset, filter_offset, p_.w_strides);
    // The filter with the channels innermost, a tap after the other.
    Scratch filter(static_cast<size_t>((depth_ + 1) * p_.groups + lanes) * sizeof(S));
    filter_ = filter.as<S>();
    for (int64_t k = 0; k < depth_; ++k) {
      for (int64_t c = 0; c < p_.groups; ++c)
        filter_[k * p_.groups + c] = p_.w[c * p_.w_group + filter_offset[k]];
    }
    S* bias = filter_ + depth_ * p_.groups;
    for (int64_t c = 0; c < p_.groups; ++c) bias[c] = p_.bias ? p_.bias[c * p_.bias_stride] : S(0);
    const int64_t rows = p_.batch * l_.axis[0].grid * l_.axis[1].grid;
    const int64_t work = l_.axis[2].grid * p_.groups * (depth_ + 1);
    parallel_for(0, rows, std::max<int64_t>(1, kPieceWork / work), [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) row(i);
    });
  }

 private:
  void row(int64_t i) const {
    const int64_t height = l_.axis[1].grid, sheets = l_.axis[0].grid;
    const int64_t h = i % height, sheet = i / height % sheets, image = i / height / sheets;
    const S* x = p_.x + image * p_.x_image;
    S* y = p_.y + image * p_.y_image + sheet * p_.y_strides[0] + h * p_.y_strides[1];
    for (int64_t w = 0; w < l_.axis[2].grid; ++w) {
      int64_t c = 0;
      for (; c + 4 * lanes <= p_.groups; c += 4 * lanes) pixel<4>(x, sheet, h, w, c, y + w * p_.y_strides[2]);
      for (; c < p_.groups; c += lanes) pixel<1>(x, sheet, h, w, c, y + w * p_.y_strides[2]);
    }
  }

  // Channels [c, c + N vectors) of one pixel of the result.
  template <int N>
  CT_INLINE void pixel(const S* x, int64_t sheet, int64_t h, int64_t w, int64_t c, S* y) const {
    const TapAxis *a = l_.axis, &b = l_.axis[1], &d = l_.axis[2];
    const int64_t left = std::min(N * lanes, p_.groups - c);
    Vector acc[N];
    const S* filter = filter_ + c;
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) acc[v] = load(filter + depth_ * p_.groups + v * lanes, left - v * lanes);
    for (int64_t i = 0; i < a->taps; ++i) {
      const int64_t xd = a->step * sheet + a->shift[i];
      for (int64_t j = 0; j < b.taps; ++j) {
        const int64_t xh = b.step * h + b.shift[j];
        const bool inside = xd >= 0 && xd < a->x_size && xh >= 0 && xh < b.x_size;
        for (int64_t t = 0; t < d.taps; ++t, filter += p_.groups) {
          const int64_t xw = d.step * w + d.shift[t];
          if (!inside || xw < 0 || xw >= d.x_size) continue;
          const S* from = x + xd * p_.x_strides[0] + xh * p_.x_strides[1] + xw * p_.x_strides[2] + c;
#pragma GCC unroll 4
          for (int v = 0; v < N; ++v)
            acc[v] += load(from + v * lanes, left - v * lanes) * load(filter + v * lanes, left - v * lanes);
        }
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) {
      if (left >= (v + 1) * lanes) {
        store_vector(y + c + v * lanes, acc[v]);
      } else {
        store_partial(y + c + v * lanes, acc[v], left - v * lanes);
      }
    }
  }
  CT_INLINE static Vector load(const S* from, int64_t count) {
    return count >= lanes ? load_vector(from) : load_partial(from, count);
  }

  static constexpr int64_t kPieceWork = 1 << 16;

  const TapProduct<S>& p_;
  const TapLayout& l_;
  const int64_t depth_;
  S* filter_ = nullptr;
};

}  // namespace
}  // namespace ctorch::CT_ISA
