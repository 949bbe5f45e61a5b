// Convolution: each of image, filter and result from the other two, brought into the form of a sum over taps
// (conv_taps.h).
#include "kernels/conv.h"

#include "kernels/cpu/conv_depthwise.h"
#include "kernels/cpu/conv_filter.h"
#include "kernels/cpu/conv_forward.h"
#include "kernels/cpu/conv_winograd.h"
#include "kernels/cpu/conv_winograd_filter.h"

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

// Calls visit(method) with the method that computes a sum over taps fastest; `exact` leaves Winograd's out.
template <class S, class Visit>
auto with_method(const TapProduct<S>& p, bool exact, Visit&& visit) {
  if constexpr (std::is_same_v<S, float>) {
    WinogradConvolution fast(p);
    if (!exact && fast.wins()) return visit(fast);
  }
  TapConvolution<S> taps(p);
  return visit(taps);
}

template <class S>
ConvForm form_of(const TapProduct<S>& p) {
  if (DepthwiseConvolution<S>::fits(p)) return {};
  return with_method(p, false, [](auto& method) -> ConvForm {
    return {method.prepared_elements() * static_cast<int64_t>(sizeof(S)), method.kind()};
  });
}
template <class S>
int64_t prepared_elements(const TapProduct<S>& p) {
  return form_of(p).bytes / static_cast<int64_t>(sizeof(S));
}

// With the filter prepared already, or null.
template <class S>
void sum_over_taps(const TapProduct<S>& p, const S* prepared) {
  if constexpr (std::is_floating_point_v<S>) {
    if (DepthwisePixels<S>::fits(p)) return DepthwisePixels<S>(p).run();
    if (DepthwiseConvolution<S>::fits(p)) return DepthwiseConvolution<S>(p).run();
  }
  auto run = [&](auto& method) -> bool {
    if (prepared || method.reads_in_place()) return method.run(prepared);
    Scratch filter(static_cast<size_t>(method.prepared_elements()) * sizeof(S));
    method.prepare(filter.as<S>());
    return method.run(filter.as<S>());
  };
  if (with_method(p, false, run)) return;
  prepared = nullptr;
  with_method(p, true, run);
}

// Whether a sum over taps takes images with the channels innermost as readily as planes.
template <class S>
bool takes_pixels(const TapProduct<S>& p) {
  if constexpr (std::is_same_v<S, float>) {
    if (WinogradConvolution(p).wins()) return true;
  }
  return DepthwisePixels<S>::fits(p);
}

bool is_empty(const int64_t* size) { return size[0] <= 0 || size[1] <= 0 || size[2] <= 0; }

// Calls visit(product) for the sums over taps that make up a direction: one forward, one per phase of the
// stride backward.
template <class S, class Visit>
void forward_products(const ConvArgs& g, const Parts& parts, Visit&& visit) {
  if (g.batch == 0 || g.y_channels == 0 || is_empty(g.y_size)) return;
  Scratch memory(TapTable::bytes(g.w_size));
  const TapTable table(memory.as<int64_t>(), g.w_size);
  const int64_t scale = parts.scale, x_group = g.x_channels / g.groups, y_group = g.y_channels / g.groups;
  TapProduct<S> p{};
  p.layout = forward_layout(g, table);
  p.batch = g.batch, p.groups = g.groups, p.rows = y_group;
  p.x = part<S>(g.x, parts.x), p.w = part<S>(g.w, parts.w), p.y = part<S>(g.y, parts.y);
  p.x_image = scale * g.x_strides[0], p.x_channel = scale * g.x_strides[1], p.x_group = x_group * p.x_channel;
  p.y_image = scale * g.y_strides[0], p.y_row = scale * g.y_strides[1], p.y_group = y_group * p.y_row;
  p.w_row = scale * g.w_strides[0], p.w_group = y_group * p.w_row;
  for (int d = 0; d < 1 + kConvDims; ++d) p.w_strides[d] = scale * g.w_strides[1 + d];
  for (int d = 0; d < kConvDims; ++d)
    p.x_strides[d] = scale * g.x_strides[2 + d], p.y_strides[d] = scale * g.y_strides[2 + d];
  p.bias = bias_part<S>(g, parts, parts.y), p.bias_stride = scale * g.bias_stride;
  p.alpha = static_cast<S>(parts.sign), p.accumulate = parts.accumulate;
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

// Runs products one after the other, each with its part of the prepared filter.
template <class S>
struct Runner {
  const S* prepared;
  void operator()(const TapProduct<S>& p) {
    sum_over_taps(p, prepared);
    if (prepared) prepared += prepared_elements(p);
  }
};
template <class S>
void forward(const ConvArgs& g, const Parts& parts) {
  forward_products<S>(g, parts, Runner<S>{static_cast<const S*>(g.prepared)});
}
template <class S>
void backward_x(const ConvArgs& g, const Parts& parts) {
  backward_products<S>(g, parts, Runner<S>{static_cast<const S*>(g.prepared)});
}

template <class S>
void backward_w(const ConvArgs& g, const Parts& parts) {
  Scratch memory(TapTable::bytes(g.w_size));
  const TapTable table(memory.as<int64_t>(), g.w_size);
  const int64_t scale = parts.scale, x_group = g.x_channels / g.groups, y_group = g.y_channels / g.groups;
  FilterProduct<S> p{};
  p.layout = forward_layout(g, table);
  p.batch = g.batch, p.groups = g.groups, p.cols = y_group;
  p.x = part<S>(g.x, parts.x), p.w = part<S>(g.w, parts.w), p.y = part<S>(g.y, parts.y);
  p.x_image = scale * g.x_strides[0], p.x_channel = scale * g.x_strides[1], p.x_group = x_group * p.x_channel;
  p.y_image = scale * g.y_strides[0], p.y_channel = scale * g.y_strides[1], p.y_group = y_group * p.y_channel;
  p.w_col = scale * g.w_strides[0], p.w_group = y_group * p.w_col;
  for (int d = 0; d < 1 + kConvDims; ++d) p.w_strides[d] = scale * g.w_strides[1 + d];
  for (int d = 0; d < kConvDims; ++d)
    p.x_strides[d] = scale * g.x_strides[2 + d], p.y_strides[d] = scale * g.y_strides[2 + d];
  p.alpha = static_cast<S>(parts.sign), p.accumulate = parts.accumulate;
  if constexpr (std::is_same_v<S, float>) {
    WinogradFilterGradient fast(p);
    if (fast.wins() && fast.run()) return;
  }
  if constexpr (std::is_floating_point_v<S>) {
    if (DepthwiseFilterGradient<S>::fits(p)) return DepthwiseFilterGradient<S>(p).run();
  }
  FilterGradient<S>(p).run();
}

// A complex convolution as four real ones over real and imaginary parts in place. `result` names the part of
// Parts that is written.
template <class Run>
void complex_parts(int Parts::* first, int Parts::* second, int Parts::* result, Run&& run) {
  for (int i = 0; i < 4; ++i) {
    Parts parts{.scale = 2};
    const int a = i & 1, b = i < 2 ? a : 1 - a;  // re re, im im, re im, im re
    parts.*first = a;
    parts.*second = b;
    parts.*result = i < 2 ? 0 : 1;
    parts.sign = i == 1 ? -1 : 1;
    parts.accumulate = i % 2 == 1;
    run(parts);
  }
}

#define CT_CONV_REAL_TYPES(fn)                     \
  switch (g.dtype) {                               \
    case DType::float32: return fn<float>(g, {});  \
    case DType::float64: return fn<double>(g, {}); \
    case DType::int64: return fn<uint64_t>(g, {}); \
    default: return;                               \
  }
#define CT_CONV_TYPES(fn, first, second, result)                             \
  if (g.dtype == DType::complex64) {                                         \
    return complex_parts(&Parts::first, &Parts::second, &Parts::result,      \
                         [&](const Parts& parts) { fn<float>(g, parts); });  \
  }                                                                          \
  if (g.dtype == DType::complex128) {                                        \
    return complex_parts(&Parts::first, &Parts::second, &Parts::result,      \
                         [&](const Parts& parts) { fn<double>(g, parts); }); \
  }                                                                          \
  CT_CONV_REAL_TYPES(fn)

void conv_forward(const ConvArgs& g) {
  FlushDenormals flush;
  CT_CONV_TYPES(forward, x, w, y)
}
void conv_backward_x(const ConvArgs& g) {
  FlushDenormals flush;
  CT_CONV_TYPES(backward_x, w, y, x)
}
void conv_backward_w(const ConvArgs& g) {
  FlushDenormals flush;
  CT_CONV_TYPES(backward_w, x, y, w)
}
#undef CT_CONV_TYPES
#undef CT_CONV_REAL_TYPES

template <class Visit>
void float_products(const ConvArgs& g, bool backward, Visit&& visit) {
  backward ? backward_products<float>(g, {}, visit) : forward_products<float>(g, {}, visit);
}
ConvForm form(const ConvArgs& g, bool backward) {
  ConvForm total;
  if (g.dtype != DType::float32) return total;
  float_products(g, backward, [&](const TapProduct<float>& p) {
    const ConvForm one = form_of(p);
    total.bytes += one.bytes;
    total.kind = total.kind * 4 + one.kind;
  });
  return total;
}
bool prefers_planes(const ConvArgs& g, bool backward) {
  if (g.dtype != DType::float32) return true;
  bool pixels = true;
  float_products(g, backward, [&](const TapProduct<float>& p) { pixels = pixels && takes_pixels(p); });
  return !pixels;
}
void prepare(const ConvArgs& g, bool backward, void* to) {
  FlushDenormals flush;
  float_products(g, backward, [at = static_cast<float*>(to)](const TapProduct<float>& p) mutable {
    if (const int64_t elements = prepared_elements(p); elements > 0) {
      with_method(p, false, [&](auto& method) { method.prepare(at); });
      at += elements;
    }
  });
}

}  // namespace

void fill_conv(ConvTable& table) {
  table = {.forward = conv_forward,
           .backward_x = conv_backward_x,
           .backward_w = conv_backward_w,
           .form = form,
           .prepare = prepare,
           .prefers_planes = prefers_planes};
}

}  // namespace ctorch::CT_ISA
