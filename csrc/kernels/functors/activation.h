// Activation functions of neural networks and their gradients. In a backward formula g is the gradient of the
// result.
#pragma once

#include "kernels/functors/complex.h"
#include "kernels/functors/meta.h"

namespace ctorch::functors {

using Activation = Unary;
struct Backward : Binary {
  static constexpr unsigned masks[] = {0};
};
template <int n>
inline constexpr unsigned kParamMask1 = ((1u << n) - 1) << 1;  // n parameters behind one input
template <int n>
inline constexpr unsigned kParamMask2 = ((1u << n) - 1) << 2;

struct Relu : Activation {
  static constexpr auto name = "relu";
  static constexpr Halves halves = Halves::chosen;
  static constexpr auto doc = "max(input, 0).";
  using Types = RealTypes;
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return x < T(0) ? T(0) : x;
  }
};
struct ThresholdBackward : Backward {  // of relu and threshold
  static constexpr auto name = "threshold_backward";
  static constexpr Halves halves = Halves::chosen;
  static constexpr int params = 1;
  static constexpr unsigned masks[] = {4};
  using Types = RealTypes;
  template <class T>
  CT_FORMULA T operator()(T g, T x, T threshold) const {
    return x <= threshold ? T(0) : g;
  }
};
struct Threshold : Activation {
  static constexpr auto name = "threshold";
  static constexpr int params = 2;
  static constexpr unsigned masks[] = {kParamMask1<2>};
  using Types = RealTypes;
  template <class T>
  CT_FORMULA T operator()(T x, T threshold, T value) const {
    return x <= threshold ? value : x;
  }
};
struct LeakyRelu : Activation {
  static constexpr auto name = "leaky_relu";
  static constexpr Halves halves = Halves::direct;
  static constexpr int params = 1;
  static constexpr unsigned masks[] = {kParamMask1<1>};
  template <class T>
  CT_FORMULA T operator()(T x, T slope) const {
    return x > T(0) ? x : x * slope;
  }
};
struct LeakyReluBackward : Backward {
  static constexpr auto name = "leaky_relu_backward";
  static constexpr int params = 1;
  static constexpr unsigned masks[] = {4};
  template <class T>
  CT_FORMULA T operator()(T g, T x, T slope) const {
    return x > T(0) ? g : g * slope;
  }
};

struct Gelu : Activation {
  static constexpr auto name = "gelu";
  static constexpr Halves halves = Halves::direct;
  template <class T>
  static constexpr bool scalar = std::is_same_v<T, double>;
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return x * math::normal_cdf(x);
  }
  CT_FORMULA static float coarse(float x) { return x * math::normal_cdf_coarse(x); }
};
struct GeluBackward : Backward {
  static constexpr auto name = "gelu_backward";
  static constexpr Halves halves = Halves::direct;
  template <class T>
  static constexpr bool scalar = std::is_same_v<T, double>;
  template <class T>
  CT_FORMULA T operator()(T g, T x) const {
    T density = math::exp(x * x * T(-0.5)) * static_cast<T>(0.39894228040143267794);
    return g * (math::normal_cdf(x) + x * density);
  }
  CT_FORMULA static float coarse(float g, float x) {
    float density = math::exp(x * x * -0.5f) * 0.398942280f;
    return g * (math::normal_cdf_coarse(x) + x * density);
  }
};
// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
struct GeluTanh : Activation {
  static constexpr auto name = "gelu";
  template <class T>
  CT_FORMULA T operator()(T x) const {
    T inner = static_cast<T>(0.79788456080286535588) * (x + static_cast<T>(0.044715) * x * x * x);
    return T(0.5) * x * (T(1) + math::tanh(inner));
  }
};
struct GeluTanhBackward : Backward {
  static constexpr auto name = "gelu_backward";
  template <class T>
  CT_FORMULA T operator()(T g, T x) const {
    constexpr T beta = static_cast<T>(0.79788456080286535588), kappa = static_cast<T>(0.044715);
    T t = math::tanh(beta * (x + kappa * x * x * x));
    T left = T(0.5) * (T(1) + t);
    T right = T(0.5) * x * (T(1) - t * t) * beta * (T(1) + T(3) * kappa * x * x);
    return g * (left + right);
  }
};
struct Silu : Activation {
  static constexpr auto name = "silu";
  static constexpr Halves halves = Halves::direct;
  static constexpr auto doc = "input * sigmoid(input).";
  using ComplexTypes = Complexes;
  template <class T>
  CT_FORMULA T operator()(T x) const {
    if constexpr (is_complex_v<T>)
      return cx::div(x, T(1) + cx::exp(-x));
    else
      return x / (T(1) + math::exp(-x));
  }
};
struct SiluBackward : Backward {
  static constexpr auto name = "silu_backward";
  template <class T>
  CT_FORMULA T operator()(T g, T x) const {
    T s = math::sigmoid(x);
    return g * s * (T(1) + x * (T(1) - s));
  }
};
struct Elu : Activation {  // negative part: alpha scale (e^(input_scale x) - 1)
  static constexpr auto name = "elu";
  static constexpr int params = 3;
  static constexpr unsigned masks[] = {kParamMask1<3>};
  template <class T>
  CT_FORMULA T operator()(T x, T negative, T scale, T input_scale) const {
    return x < T(0) ? negative * math::expm1(x * input_scale) : x * scale;
  }
};
struct EluBackward : Backward {  // negative = alpha * scale; y is the result if is_result, else the input
  static constexpr auto name = "elu_backward";
  static constexpr int params = 4;
  static constexpr unsigned masks[] = {kParamMask2<4>};
  template <class T>
  CT_FORMULA T operator()(T g, T y, T negative, T scale, T input_scale, T is_result) const {
    T curve = is_result != T(0) ? y + negative : negative * math::exp(y * input_scale);
    return y <= T(0) ? g * input_scale * curve : g * scale;
  }
};
struct Softplus : Activation {
  static constexpr auto name = "softplus";
  static constexpr int params = 2;
  static constexpr unsigned masks[] = {kParamMask1<2>};
  template <class T>
  CT_FORMULA T operator()(T x, T beta, T threshold) const {
    T bx = x * beta;
    return bx > threshold ? x : math::log1p(math::exp(bx)) / beta;
  }
};
struct SoftplusBackward : Backward {
  static constexpr auto name = "softplus_backward";
  static constexpr int params = 2;
  static constexpr unsigned masks[] = {kParamMask2<2>};
  template <class T>
  CT_FORMULA T operator()(T g, T x, T beta, T threshold) const {
    T bx = x * beta;
    return bx > threshold ? g : g * math::sigmoid(bx);
  }
};
struct HardtanhBackward : Backward {
  static constexpr auto name = "hardtanh_backward";
  static constexpr int params = 2;
  static constexpr unsigned masks[] = {kParamMask2<2>};
  template <class T>
  CT_FORMULA T operator()(T g, T x, T low, T high) const {
    return x <= low || x >= high ? T(0) : g;
  }
};
template <class T>
CT_FORMULA T relu6(T x) {
  x = x < T(0) ? T(0) : x;
  return x > T(6) ? T(6) : x;
}
struct Hardsigmoid : Activation {
  static constexpr auto name = "hardsigmoid";
  static constexpr auto doc = "min(max(input + 3, 0), 6) / 6.";
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return relu6(x + T(3)) / T(6);
  }
};
struct HardsigmoidBackward : Backward {
  static constexpr auto name = "hardsigmoid_backward";
  template <class T>
  CT_FORMULA T operator()(T g, T x) const {
    return x > T(-3) && x < T(3) ? g / T(6) : T(0);
  }
};
struct Hardswish : Activation {
  static constexpr auto name = "hardswish";
  static constexpr auto doc = "input * hardsigmoid(input).";
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return x * relu6(x + T(3)) / T(6);
  }
};
struct HardswishBackward : Backward {
  static constexpr auto name = "hardswish_backward";
  template <class T>
  CT_FORMULA T operator()(T g, T x) const {
    T inside = g * (x / T(3) + T(0.5));
    T y = x >= T(3) ? g : inside;
    return x <= T(-3) ? T(0) : y;
  }
};
struct Mish : Activation {
  static constexpr auto name = "mish";
  static constexpr auto doc = "input * tanh(softplus(input)).";
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return x * math::tanh(x > T(40) ? x : math::log1p(math::exp(x)));
  }
};
struct MishBackward : Backward {
  static constexpr auto name = "mish_backward";
  template <class T>
  CT_FORMULA T operator()(T g, T x) const {
    T t = math::tanh(x > T(40) ? x : math::log1p(math::exp(x)));
    return g * (t + x * math::sigmoid(x) * (T(1) - t * t));
  }
};
struct LogSigmoid : Activation {
  static constexpr auto name = "log_sigmoid";
  static constexpr auto doc = "log(sigmoid(input)).";
  template <class T>
  CT_FORMULA T operator()(T x) const {
    return (x < T(0) ? x : T(0)) - math::log1p(math::exp(-math::abs(x)));
  }
};
struct LogSigmoidBackward : Backward {
  static constexpr auto name = "log_sigmoid_backward";
  template <class T>
  CT_FORMULA T operator()(T g, T x) const {
    return g * math::sigmoid(-x);
  }
};
struct SigmoidBackward : Backward {
  static constexpr auto name = "sigmoid_backward";
  template <class T>
  CT_FORMULA T operator()(T g, T y) const {
    return g * y * (T(1) - y);
  }
};
struct TanhBackward : Backward {
  static constexpr auto name = "tanh_backward";
  template <class T>
  CT_FORMULA T operator()(T g, T y) const {
    return g * (T(1) - y * y);
  }
};
struct Hardshrink : Activation {
  static constexpr auto name = "hardshrink";
  static constexpr int params = 1;
  static constexpr unsigned masks[] = {kParamMask1<1>};
  template <class T>
  CT_FORMULA T operator()(T x, T lambd) const {
    return math::abs(x) <= lambd ? T(0) : x;
  }
};
struct Softshrink : Activation {
  static constexpr auto name = "softshrink";
  static constexpr int params = 1;
  static constexpr unsigned masks[] = {kParamMask1<1>};
  template <class T>
  CT_FORMULA T operator()(T x, T lambd) const {
    T y = x > lambd ? x - lambd : x < -lambd ? x + lambd : T(0);
    return x != x ? x : y;
  }
};
struct ShrinkBackward : Backward {  // of hardshrink and softshrink
  static constexpr auto name = "shrink_backward";
  static constexpr int params = 1;
  static constexpr unsigned masks[] = {4};
  template <class T>
  CT_FORMULA T operator()(T g, T x, T lambd) const {
    return math::abs(x) <= lambd ? T(0) : g;
  }
};

using PlainActivations = TypeList<Relu, Silu, Hardsigmoid, Hardswish, Mish, LogSigmoid>;
using PlainBackwards = TypeList<SiluBackward, HardsigmoidBackward, HardswishBackward, MishBackward,
                                LogSigmoidBackward, SigmoidBackward, TanhBackward>;
using OtherActivations = TypeList<ThresholdBackward, Threshold, LeakyRelu, LeakyReluBackward, Gelu,
                                  GeluBackward, GeluTanh, GeluTanhBackward, Elu, EluBackward, Softplus,
                                  SoftplusBackward, HardtanhBackward, Hardshrink, Softshrink, ShrinkBackward>;

}  // namespace ctorch::functors
