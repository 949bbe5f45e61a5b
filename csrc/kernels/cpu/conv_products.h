// The sums over taps that make up a convolution, or the gradient of its image: one forward, one per phase of
// the stride backward. And the sum over points that is the gradient of its filter.
#pragma once

#include "kernels/cpu/conv_filter.h"
#include "kernels/cpu/conv_forward.h"
#include "kernels/cpu/flush_denormals.h"

namespace ctorch::CT_ISA {
namespace {

// Which part of complex tensors a real convolution works on (0: real, 1: imaginary), and how the result is
// used.
struct Parts {
  int x = 0, w = 0, y = 0;
  double sign = 1;
  bool accumulate = false;
  int64_t scale = 1;  // reals per element
};

// Room for the taps of all three dims.
struct TapTable {
  int64_t* shift[kConvDims];
  int64_t* index[kConvDims];
  explicit TapTable(int64_t* memory, const int64_t* w_size) {
    for (int d = 0; d < kConvDims; ++d) {
      shift[d] = memory;
      index[d] = memory + w_size[d];
      memory += 2 * w_size[d];
    }
  }
  static size_t bytes(const int64_t* w_size) {
    return static_cast<size_t>(2 * (w_size[0] + w_size[1] + w_size[2])) * sizeof(int64_t);
  }
};

// Taps of the forward direction: shift = dilation * r - padding.
TapLayout forward_layout(const ConvArgs& g, const TapTable& table) {
  TapLayout l{};
  l.channels = g.x_channels / g.groups;
  for (int d = 0; d < kConvDims; ++d) {
    for (int64_t r = 0; r < g.w_size[d]; ++r) {
      table.shift[d][r] = g.dilation[d] * r - g.padding[d];
      table.index[d][r] = r;
    }
    l.axis[d] = {.x_size = g.x_size[d],
                 .grid = g.y_size[d],
                 .step = g.stride[d],
                 .taps = g.w_size[d],
                 .shift = table.shift[d],
                 .index = table.index[d]};
  }
  l.derive();
  return l;
}

// Points phase + stride * q of x: the taps r that reach them from points of y, at y[q + (phase + padding -
// dilation * r) / stride].
TapLayout backward_layout(const ConvArgs& g, const TapTable& table, const int64_t* phase) {
  TapLayout l{};
  l.channels = g.y_channels / g.groups;
  for (int d = 0; d < kConvDims; ++d) {
    int64_t taps = 0;
    for (int64_t r = 0; r < g.w_size[d]; ++r) {
      const int64_t reach = phase[d] + g.padding[d] - g.dilation[d] * r;
      if (reach % g.stride[d] != 0) continue;
      table.shift[d][taps] = reach / g.stride[d];
      table.index[d][taps] = r;
      ++taps;
    }
    l.axis[d] = {.x_size = g.y_size[d],
                 .grid = ceil_div(g.x_size[d] - phase[d], g.stride[d]),
                 .step = 1,
                 .taps = taps,
                 .shift = table.shift[d],
                 .index = table.index[d]};
  }
  l.derive();
  return l;
}

template <class S>
S* part(void* data, int which) {
  return static_cast<S*>(data) + which;
}

// The bias goes with the first of the real convolutions that make up a part of a complex result.
template <class S>
const S* bias_part(const ConvArgs& g, const Parts& parts, int which) {
  return g.bias && !parts.accumulate ? static_cast<const S*>(g.bias) + which : nullptr;
}

// Where the tensors lie for a sum over the taps of the forward direction: that of the result, or of the
// gradient of the filter.
template <class S, class Product>
void place_forward(Product& p, const ConvArgs& g, const Parts& parts, const TapTable& table) {
  const int64_t scale = parts.scale, x_group = g.x_channels / g.groups, y_group = g.y_channels / g.groups;
  p.layout = forward_layout(g, table);
  p.batch = g.batch, p.groups = g.groups;
  p.x = part<S>(g.x, parts.x), p.w = part<S>(g.w, parts.w), p.y = part<S>(g.y, parts.y);
  p.x_image = scale * g.x_strides[0], p.x_channel = scale * g.x_strides[1], p.x_group = x_group * p.x_channel;
  p.y_image = scale * g.y_strides[0], p.y_group = y_group * scale * g.y_strides[1];
  p.w_group = y_group * scale * g.w_strides[0];
  for (int d = 0; d < 1 + kConvDims; ++d) p.w_strides[d] = scale * g.w_strides[1 + d];
  for (int d = 0; d < kConvDims; ++d)
    p.x_strides[d] = scale * g.x_strides[2 + d], p.y_strides[d] = scale * g.y_strides[2 + d];
  p.alpha = static_cast<S>(parts.sign), p.accumulate = parts.accumulate;
}

bool is_empty(const int64_t* size) { return size[0] <= 0 || size[1] <= 0 || size[2] <= 0; }

// Calls visit(product) for the sums over taps that make up a direction: one forward, one per phase of the
// stride backward.
template <class S, class Visit>
void forward_products(const ConvArgs& g, const Parts& parts, Visit&& visit) {
  if (g.batch == 0 || g.y_channels == 0 || is_empty(g.y_size)) return;
  Scratch memory(TapTable::bytes(g.w_size));
  TapProduct<S> p{};
  place_forward<S>(p, g, parts, TapTable(memory.as<int64_t>(), g.w_size));
  p.rows = g.y_channels / g.groups;
  p.y_row = parts.scale * g.y_strides[1], p.w_row = parts.scale * g.w_strides[0];
  p.bias = bias_part<S>(g, parts, parts.y), p.bias_stride = parts.scale * g.bias_stride;
  visit(p);
}

template <class S, class Visit>
void backward_products(const ConvArgs& g, const Parts& parts, Visit&& visit) {
  if (g.batch == 0 || g.x_channels == 0) return;
  Scratch memory(TapTable::bytes(g.w_size));
  const TapTable table(memory.as<int64_t>(), g.w_size);
  const int64_t scale = parts.scale, x_group = g.x_channels / g.groups, y_group = g.y_channels / g.groups;
  TapProduct<S> p{};
  p.batch = g.batch, p.groups = g.groups, p.rows = x_group;
  p.w = part<S>(g.w, parts.w), p.x = part<S>(g.y, parts.y);
  p.x_image = scale * g.y_strides[0], p.x_channel = scale * g.y_strides[1], p.x_group = y_group * p.x_channel;
  p.y_image = scale * g.x_strides[0], p.y_row = scale * g.x_strides[1], p.y_group = x_group * p.y_row;
  p.w_row = scale * g.w_strides[1], p.w_group = y_group * scale * g.w_strides[0];
  p.w_strides[0] = scale * g.w_strides[0];
  p.bias = bias_part<S>(g, parts, parts.x), p.bias_stride = scale * g.bias_stride;
  p.alpha = static_cast<S>(parts.sign), p.accumulate = parts.accumulate;
  for (int d = 0; d < kConvDims; ++d) {
    p.w_strides[1 + d] = scale * g.w_strides[2 + d];
    p.x_strides[d] = scale * g.y_strides[2 + d];
    p.y_strides[d] = scale * g.stride[d] * g.x_strides[2 + d];
  }
  int64_t phase[kConvDims];
  for (phase[0] = 0; phase[0] < std::min(g.stride[0], g.x_size[0]); ++phase[0]) {
    for (phase[1] = 0; phase[1] < std::min(g.stride[1], g.x_size[1]); ++phase[1]) {
      for (phase[2] = 0; phase[2] < std::min(g.stride[2], g.x_size[2]); ++phase[2]) {
        p.layout = backward_layout(g, table, phase);
        p.y = part<S>(g.x, parts.x);
        for (int d = 0; d < kConvDims; ++d) p.y += phase[d] * scale * g.x_strides[2 + d];
        visit(p);
      }
    }
  }
}

// Calls visit(product) with the sum over points that is the gradient of the filter.
template <class S, class Visit>
auto with_filter_product(const ConvArgs& g, const Parts& parts, Visit&& visit) {
  Scratch memory(TapTable::bytes(g.w_size));
  FilterProduct<S> p{};
  place_forward<S>(p, g, parts, TapTable(memory.as<int64_t>(), g.w_size));
  p.cols = g.y_channels / g.groups;
  p.y_channel = parts.scale * g.y_strides[1], p.w_col = parts.scale * g.w_strides[0];
  return visit(p);
}

template <class T, class Visit>
void for_each_product(const ConvArgs& g, bool backward, Visit&& visit) {
  backward ? backward_products<T>(g, {}, visit) : forward_products<T>(g, {}, visit);
}

// The form of a filter that holds those of all products, of which form_of(product) tells one.
template <class T, class FormOf>
ConvForm total_form(const ConvArgs& g, bool backward, FormOf&& form_of) {
  ConvForm total;
  for_each_product<T>(g, backward, [&](const TapProduct<T>& p) {
    const ConvForm one = form_of(p);
    total.bytes += one.bytes;
    total.kind = total.kind * 4 + one.kind;
  });
  return total;
}

// A direction by one method, of which there is an object per product; their prepared filters follow one
// another.
template <class T, class Method>
bool run_by(const ConvArgs& g, bool backward) {
  FlushDenormals flush;
  const auto* prepared = static_cast<const typename Method::Element*>(g.prepared);
  bool done = true;
  for_each_product<T>(g, backward, [&](const TapProduct<T>& p) {
    Method method(p);
    done = done && run_with_filter(method, prepared);
    if (prepared) prepared += method.prepared_elements();
  });
  return done;
}
template <class T, class Method>
ConvForm form_by(const ConvArgs& g, bool backward) {
  return total_form<T>(g, backward, [](const TapProduct<T>& p) -> ConvForm {
    const Method method(p);
    return {method.prepared_elements() * static_cast<int64_t>(sizeof(typename Method::Element)),
            method.kind()};
  });
}
template <class T, class Method>
void prepare_by(const ConvArgs& g, bool backward, void* to) {
  FlushDenormals flush;
  auto* at = static_cast<typename Method::Element*>(to);
  for_each_product<T>(g, backward, [&](const TapProduct<T>& p) {
    const Method method(p);
    method.prepare(at);
    at += method.prepared_elements();
  });
}

}  // namespace
}  // namespace ctorch::CT_ISA
