// Convolution as a sum over taps, without an im2col buffer.
//
// Everything here computes or uses sums of the form
//   y[o, q] = sum over c, t of w[o, c, t] * x[c, step * q + d_t]
// over a grid of points q, with x zero outside. The image is laid out once, padded and (for steps > 1) split
// by phase, such that the values x[c, step * q + d_t] for consecutive q are contiguous: a tap is then a
// shifted pointer, and the sum a matrix product whose right-hand rows are found through a table of offsets. A
// row of the grid has the pitch of a padded row, so a tile of columns runs over the ends of rows; the few
// columns between them are computed and not stored.
#pragma once

#include <algorithm>

#include "core/parallel.h"
#include "core/scratch.h"
#include "kernels/conv.h"
#include "kernels/cpu/gemm_micro.h"
#include "kernels/cpu/gemm_pack.h"

namespace ctorch::CT_ISA {
namespace {

// One spatial dimension: the grid, and the taps along it.
struct TapAxis {
  int64_t x_size, grid, step;
  int64_t taps;
  const int64_t* shift;  // d_t
  const int64_t* index;  // where the tap stands in the filter
  // Derived: the smallest shift, the points beyond the grid that taps reach, the phases that they need.
  int64_t first = 0, reach = 0, phases = 1;

  void derive() {
    if (taps == 0) return;
    first = *std::min_element(shift, shift + taps);
    reach = (*std::max_element(shift, shift + taps) - first) / step;
    phases = taps < step ? count_phases() : step;
  }
  int64_t phase(int64_t t) const { return (shift[t] - first) % step; }
  // Phases that no tap needs are left out where taps are few (a 1x1 filter of stride 2 needs one).
  int64_t slot(int64_t t) const {
    if (taps >= step) return phase(t);
    int64_t found = 0;
    for (int64_t s = 0; s < t; ++s) {
      if (phase(s) == phase(t)) return slot(s);
      found += is_first_of_phase(s);
    }
    return found;
  }
  int64_t phase_of_slot(int64_t wanted) const {
    if (taps >= step) return wanted;
    for (int64_t t = 0; t < taps; ++t) {
      if (slot(t) == wanted) return phase(t);
    }
    return 0;
  }
  int64_t extent() const { return grid + reach; }

 private:
  bool is_first_of_phase(int64_t t) const {
    for (int64_t s = 0; s < t; ++s) {
      if (phase(s) == phase(t)) return false;
    }
    return true;
  }
  int64_t count_phases() const {
    int64_t n = 0;
    for (int64_t t = 0; t < taps; ++t) n += is_first_of_phase(t);
    return n;
  }
};

// How one image (of one group) is laid out: per channel a plane per phase, each of the extents of the padded
// grid.
struct TapLayout {
  TapAxis axis[kConvDims];
  int64_t channels;
  int64_t extent[kConvDims], plane, channel, taps;

  void derive() {
    plane = 1, channel = 1, taps = 1;
    for (int d = 0; d < kConvDims; ++d) {
      axis[d].derive();
      extent[d] = axis[d].extent();
      plane *= extent[d];
      channel *= axis[d].phases;
      taps *= axis[d].taps;
    }
    channel *= plane;
  }
  int64_t depth() const { return channels * taps; }    // length of the sum
  int64_t size() const { return channels * channel; }  // elements of a laid-out image
  int64_t points() const { return axis[0].grid * axis[1].grid * axis[2].grid; }
  int64_t sheet() const {
    return extent[1] * extent[2];
  }  // of the grid: points with the same first coordinate
  // The coordinates of a point of the grid, and where it lies in a plane.
  CT_INLINE void coordinates(int64_t point, int64_t* q) const {
    q[0] = point / (axis[1].grid * axis[2].grid);
    q[1] = point / axis[2].grid % axis[1].grid;
    q[2] = point % axis[2].grid;
  }
  CT_INLINE int64_t place(const int64_t* q) const { return q[0] * sheet() + q[1] * extent[2] + q[2]; }
  int64_t columns() const {
    return (axis[1].grid - 1) * extent[2] + axis[2].grid;
  }  // of a sheet, gaps included
  // A tile that begins in the last column may read so many elements past the image.
  static constexpr int64_t kSlack = 256;

  // Where row k = (channel, tap) of the product begins, and where its weight stands; the order is that of a
  // filter (c, d, h, w).
  void offsets(int64_t* image, int64_t* filter, const int64_t* w_strides) const {
    if (channels == 0) return;
    int64_t k = 0;
    for (int64_t i = 0; i < axis[0].taps; ++i) {
      for (int64_t j = 0; j < axis[1].taps; ++j) {
        for (int64_t l = 0; l < axis[2].taps; ++l, ++k) {
          const int64_t t[kConvDims] = {i, j, l};
          int64_t slot = 0, at = 0;
          for (int d = 0; d < kConvDims; ++d) {
            slot = slot * axis[d].phases + axis[d].slot(t[d]);
            at = at * extent[d] + (axis[d].shift[t[d]] - axis[d].first) / axis[d].step;
          }
          image[k] = slot * plane + at;
          filter[k] = axis[0].index[i] * w_strides[1] + axis[1].index[j] * w_strides[2] +
                      axis[2].index[l] * w_strides[3];
        }
      }
    }
    for (; k < depth(); ++k) {
      image[k] = image[k - taps] + channel;
      filter[k] = filter[k - taps] + w_strides[0];
    }
  }
};

// The reverse of load_evens(): stores `count` lanes, leaving out every second element of `to`.
template <class S>
CT_INLINE void store_evens(S* to, typename Simd<S>::Vector v, int64_t count) {
#if defined(__AVX512F__)
  if constexpr (sizeof(S) == 4) {
    using Lane = std::make_integer_sequence<int, 16>;
    const auto mask = static_cast<uint32_t>(0x55555555u & ((uint64_t{1} << 2 * count) - 1));
    const auto low = reinterpret_cast<__m512i>(interleave<S, false>(v, v, Lane()));
    const auto high = reinterpret_cast<__m512i>(interleave<S, true>(v, v, Lane()));
    _mm512_mask_storeu_epi32(to, static_cast<__mmask16>(mask), low);
    _mm512_mask_storeu_epi32(to + 16, static_cast<__mmask16>(mask >> 16), high);
    return;
  }
#endif
  for (int64_t l = 0; l < count; ++l) to[2 * l] = v[l];
}

// Writes zeros where an image has no points.
struct ClearPoints {
  template <class E>
  CT_INLINE void operator()(E* to, int64_t count) const {
    for (int64_t i = 0; i < count; ++i) to[i] = E(0);
  }
};

// One padded row of a plane, the points step * i + start of a row of `size` elements: copy(to, first, count)
// writes those that exist, from point `first` on.
template <class E, class Copy, class Clear = ClearPoints>
CT_INLINE void padded_row(E* to, int64_t extent, int64_t size, int64_t step, int64_t start, Copy&& copy,
                          Clear&& clear = {}) {
  const int64_t low = std::clamp<int64_t>(start >= 0 ? 0 : ceil_div(-start, step), 0, extent);
  const int64_t high = std::clamp<int64_t>(size > start ? ceil_div(size - start, step) : 0, low, extent);
  clear(to, low);
  copy(to + low, start + low * step, high - low);
  clear(to + high, extent - high);
}

// `count` elements of x, `pitch` apart.
template <class S>
CT_INLINE void copy_points(S* to, const S* x, int64_t pitch, int64_t count) {
  constexpr int64_t lanes = kLanes<S>;
  int64_t i = 0;
  if (pitch == 1) {
    for (; i + lanes <= count; i += lanes) store_vector(to + i, load_vector(x + i));
  }
  if constexpr (std::is_floating_point_v<S>) {
    if (pitch == 1) {
      if (i < count) store_partial(to + i, load_partial(x + i, count - i), count - i);
      i = count;
    } else if (pitch == 2) {
      for (; i + lanes < count; i += lanes) store_vector(to + i, load_evens(x + 2 * i, count - i));
      if (i < count) store_partial(to + i, load_evens(x + 2 * i, count - i), count - i);
      i = count;
    }
  }
  for (; i < count; ++i) to[i] = x[i * pitch];
}

// A padded row from a row of x, whose elements are `stride` apart.
template <class S>
CT_INLINE void lay_out_row(S* to, int64_t extent, const S* x, int64_t size, int64_t stride, int64_t step,
                           int64_t start) {
  padded_row(to, extent, size, step, start, [&](S* row, int64_t first, int64_t count) {
    copy_points(row, x + first * stride, step * stride, count);
  });
}

// Calls write(row, at, start) for the rows of a channel that hold points of the image, at the offset `at`,
// and fills the others with zeros.
template <class E, class Write, class Clear = ClearPoints>
CT_INLINE void lay_out_channel(const TapLayout& l, E* row, const int64_t* x_strides, Write&& write,
                               Clear&& clear = {}) {
  const TapAxis *a = l.axis, &b = l.axis[1], &w = l.axis[2];
  for (int64_t pd = 0; pd < a->phases; ++pd) {
    for (int64_t ph = 0; ph < b.phases; ++ph) {
      for (int64_t pw = 0; pw < w.phases; ++pw) {
        const int64_t d0 = a->first + a->phase_of_slot(pd), h0 = b.first + b.phase_of_slot(ph),
                      w0 = w.first + w.phase_of_slot(pw);
        for (int64_t i = 0; i < l.extent[0]; ++i) {
          const int64_t xd = a->step * i + d0;
          for (int64_t j = 0; j < l.extent[1]; ++j, row += l.extent[2]) {
            const int64_t xh = b.step * j + h0;
            if (xd < 0 || xd >= a->x_size || xh < 0 || xh >= b.x_size) {
              clear(row, l.extent[2]);
            } else {
              write(row, xd * x_strides[0] + xh * x_strides[1], w0);
            }
          }
        }
      }
    }
  }
}

// Both phases of a padded row whose step is 2, at once: points 2 * i + start go to even[i], those after them
// to odd[i].
template <class S>
CT_INLINE void lay_out_two_phases(S* even, S* odd, int64_t extent, const S* x, int64_t size, int64_t start) {
  constexpr int64_t lanes = kLanes<S>;
  const auto point = [&](int64_t at) { return at >= 0 && at < size ? x[at] : S(0); };
  const auto one_by_one = [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) even[i] = point(2 * i + start), odd[i] = point(2 * i + 1 + start);
  };
  const auto vector = [&](int64_t i) __attribute__((always_inline)) {
    const auto low = load_vector(x + 2 * i + start), high = load_vector(x + 2 * i + start + lanes);
    store_vector(even + i, even_lanes<S>(low, high));
    store_vector(odd + i, odd_lanes<S>(low, high));
  };
  // Pairs [low, high) lie in the row; those of the last vector may be copied twice.
  const int64_t low = std::clamp<int64_t>(start >= 0 ? 0 : ceil_div(-start, 2), 0, extent);
  const int64_t high = std::clamp<int64_t>(size - start >= 2 ? (size - start) / 2 : 0, low, extent);
  if (high - low < lanes) return one_by_one(0, extent);
  one_by_one(0, low);
  for (int64_t i = low; i + lanes < high; i += lanes) vector(i);
  vector(high - lanes);
  one_by_one(high, extent);
}

// Channels [from, to) of an image.
template <class S>
void lay_out(const TapLayout& l, S* to, const S* x, int64_t x_channel, const int64_t* x_strides, int64_t from,
             int64_t end) {
  const TapAxis& w = l.axis[2];
  if constexpr (std::is_floating_point_v<S>) {
    if (w.step == 2 && w.phases == 2 && x_strides[2] == 1) {
      for (int64_t c = from; c < end; ++c) {
        lay_out_channel(l, to + c * l.channel, x_strides, [&](S* row, int64_t at, int64_t start) {
          if (start != w.first) return;  // the second phase is written with the first
          lay_out_two_phases(row, row + l.plane, l.extent[2], x + c * x_channel + at, w.x_size, start);
        });
      }
      return;
    }
  }
  for (int64_t c = from; c < end; ++c) {
    lay_out_channel(l, to + c * l.channel, x_strides, [&](S* row, int64_t at, int64_t start) {
      lay_out_row(row, l.extent[2], x + c * x_channel + at, w.x_size, x_strides[2], w.step, start);
    });
  }
}

// Whether the weights of a row lie one after the other.
inline bool is_dense(const int64_t* offset, int64_t depth) {
  if (depth == 0 || offset[depth - 1] != depth - 1) return false;
  bool dense = true;
  for (int64_t k = 0; k < depth; ++k) dense = dense && offset[k] == k;
  return dense;
}

}  // namespace
}  // namespace ctorch::CT_ISA
