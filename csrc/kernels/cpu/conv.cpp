// Convolution: each of image, filter and result from the other two, brought into the form of a sum over taps
// (conv_taps.h).
#include "kernels/conv.h"

#include "kernels/cpu/conv_depthwise.h"
#include "kernels/cpu/conv_filter.h"
#include "kernels/cpu/conv_products.h"
#include "kernels/cpu/conv_winograd.h"
#include "kernels/cpu/conv_winograd_filter.h"

namespace ctorch::CT_ISA {
namespace {

// Calls visit(method) with the method that computes a sum over taps fastest; `exact` leaves Winograd's out.
template <class S, class Visit>
auto with_method(const TapProduct<S>& p, bool exact, Visit&& visit) {
  if constexpr (std::is_same_v<S, float>) {
    WinogradConvolution fast(p);
    if (!exact && fast.wins()) return visit(fast);
  }
  TapConvolution<PlainTaps<S>> taps(p);
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
  auto run = [&](auto& method) { return run_with_filter(method, prepared); };
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
void sum_over_points(const FilterProduct<S>& p) {
  if constexpr (std::is_same_v<S, float>) {
    WinogradFilterGradient fast(p);
    if (fast.wins() && fast.run()) return;
  }
  if constexpr (std::is_floating_point_v<S>) {
    if (DepthwiseFilterGradient<S>::fits(p)) return DepthwiseFilterGradient<S>(p).run();
  }
  FilterGradient<PlainFilter<S>>(p).run();
}

template <class S>
void backward_w(const ConvArgs& g, const Parts& parts) {
  with_filter_product<S>(g, parts, [](const FilterProduct<S>& p) { sum_over_points(p); });
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

bool takes_backward_w(const ConvArgs& g) { return g.dtype != DType::bfloat16 && g.dtype != DType::float16; }
bool takes(const ConvArgs& g, bool /* backward */) { return takes_backward_w(g); }
ConvForm form(const ConvArgs& g, bool backward) {
  if (g.dtype != DType::float32) return {};
  return total_form<float>(g, backward, [](const TapProduct<float>& p) { return form_of(p); });
}
bool prefers_planes(const ConvArgs& g, bool backward) {
  if (g.dtype != DType::float32) return true;
  bool pixels = true;
  for_each_product<float>(g, backward,
                          [&](const TapProduct<float>& p) { pixels = pixels && takes_pixels(p); });
  return !pixels;
}
void prepare(const ConvArgs& g, bool backward, void* to) {
  FlushDenormals flush;
  for_each_product<float>(g, backward, [at = static_cast<float*>(to)](const TapProduct<float>& p) mutable {
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
           .takes = takes,
           .takes_backward_w = takes_backward_w,
           .form = form,
           .prepare = prepare,
           .prefers_planes = prefers_planes,
           .joins_points = [](const ConvArgs&, bool) { return false; }};
}

}  // namespace ctorch::CT_ISA
