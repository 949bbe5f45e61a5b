#include "ops/create.h"

#include <cmath>

#include "ops/copy.h"
#include "ops/promote.h"
#include "ops/view.h"

namespace ctorch::ops {
namespace {

DType range_dtype(std::optional<DType> dtype, std::initializer_list<Scalar> numbers) {
  if (dtype) return *dtype;
  for (const Scalar& s : numbers) {
    if (s.is_floating() || s.is_complex()) return default_dtype();
  }
  return DType::int64;
}

}  // namespace

Tensor full(IntList size, const Scalar& value, DType dtype, Device device) {
  check(!value.is_complex() || is_complex(dtype), "full: value ", value, " cannot be converted to ", dtype,
        " without losing its imaginary part");
  return fill_(empty(size, dtype, device), value);
}

Tensor arange(const Scalar& start, const Scalar& end, const Scalar& step, std::optional<DType> dtype,
              Device device) {
  DType dt = range_dtype(dtype, {start, end, step});
  for (const Scalar& s : {start, end, step}) check(!s.is_complex(), "arange: expected real numbers, got ", s);
  double from = start.to_double(), to = end.to_double(), by = step.to_double();
  const bool whole = dt == DType::int64;  // the bounds of an int64 range are cut to integers first
  check_value(!whole || by == 0 || step.to_int64() != 0, "arange: step ", step, " is 0 as an int64");
  check(by != 0, "arange: step must be nonzero");
  check(std::isfinite(from) && std::isfinite(to), "arange: unsupported range: ", from, " -> ", to);
  check(by > 0 ? to >= from : to <= from,
        "arange: upper bound and lower bound inconsistent with step sign: ", start, " -> ", end, " by ",
        step);
  bool integers = whole || (!start.is_floating() && !end.is_floating() && !step.is_floating());
  double length = std::ceil((to - from) / by);
  if (int64_t span = 0; integers && !__builtin_sub_overflow(end.to_int64(), start.to_int64(), &span))
    length = std::ceil(static_cast<double>(span) / static_cast<double>(step.to_int64()));
  check(length >= 0 && length < 9e18, "arange: invalid size, possible overflow: ", length, " elements");
  Tensor out = empty(Dims{static_cast<int64_t>(length)}, dt, device);
  visit_dtype<Reals>(dt, "arange", [&]<class T>() {
    T* data = out.data<T>();
    int64_t n = out.numel();
    if constexpr (std::is_integral_v<T>) {
      int64_t first = start.to_int64(), stride = step.to_int64();
      for (int64_t i = 0; i < n; ++i) data[i] = static_cast<T>(first + i * stride);
    } else {
      for (int64_t i = 0; i < n; ++i)
        data[i] = static_cast<T>(static_cast<acc_t<T>>(from + static_cast<double>(i) * by));
    }
  });
  return out;
}

Tensor linspace(const Scalar& start, const Scalar& end, int64_t steps, std::optional<DType> dtype,
                Device device) {
  check(steps >= 0, "linspace: number of steps must be non-negative, got ", steps);
  bool complex_ends = start.is_complex() || end.is_complex();
  DType dt = dtype.value_or(complex_ends ? to_complex(default_dtype()) : default_dtype());
  check(!complex_ends || is_complex(dt), "linspace: inferred dtype ", to_complex(default_dtype()),
        " can't be safely cast to passed dtype ", dt);
  Tensor out = empty(Dims{steps}, dt, device);
  visit_dtype<Numbers>(dt, "linspace", [&]<class T>() {
    // Counted from both ends, so that the last element is `end` exactly.
    using A = std::conditional_t<std::is_integral_v<T>, double, acc_t<T>>;
    T* data = out.data<T>();
    auto first = static_cast<A>(start.to<T>()), last = static_cast<A>(end.to<T>());
    A step = A(0);
    if (steps > 1) {
      if constexpr (is_complex_v<T>) {
        step = (last - first) / static_cast<typename T::value_type>(steps - 1);
      } else {
        step = (last - first) / static_cast<A>(steps - 1);
        if constexpr (is_half_v<T>) step = static_cast<A>(T(step));
      }
    }
    for (int64_t i = 0; i < steps; ++i) {
      auto k = static_cast<double>(i < steps / 2 ? i : steps - 1 - i);
      if constexpr (is_complex_v<T>) {
        auto count = A(static_cast<typename T::value_type>(k));
        data[i] = i < steps / 2 ? first + step * count : last - step * count;
      } else if constexpr (is_half_v<T>) {  // PyTorch computes in the half type itself
        auto part = static_cast<A>(T(step * static_cast<A>(k)));
        data[i] = T(i < steps / 2 ? first + part : last - part);
      } else {  // PyTorch rounds once, too
        data[i] = static_cast<T>(i < steps / 2 ? std::fma(step, static_cast<A>(k), first)
                                               : std::fma(-step, static_cast<A>(k), last));
      }
    }
  });
  if (steps == 1) fill_(out, start);
  return out;
}

Tensor logspace(const Scalar& start, const Scalar& end, int64_t steps, double base,
                std::optional<DType> dtype, Device device) {
  check(steps >= 0, "logspace: number of steps must be non-negative, got ", steps);
  DType dt = dtype.value_or(default_dtype());
  Tensor out = empty(Dims{steps}, dt, device);
  visit_dtype<Reals>(dt, "logspace", [&]<class T>() {
    T* data = out.data<T>();
    double first = start.to_double(), last = end.to_double();
    double step = steps > 1 ? (last - first) / static_cast<double>(steps - 1) : 0;
    for (int64_t i = 0; i < steps; ++i) {
      double exponent = i < steps / 2 ? first + step * static_cast<double>(i)
                                      : last - step * static_cast<double>(steps - 1 - i);
      double value = std::pow(base, steps == 1 ? first : exponent);
      if constexpr (std::is_integral_v<T>) {
        data[i] = static_cast<T>(static_cast<int64_t>(value));
      } else {
        data[i] = static_cast<T>(static_cast<acc_t<T>>(value));
      }
    }
  });
  return out;
}

Tensor eye(int64_t n, int64_t m, DType dtype, Device device) {
  check(n >= 0, "eye: n must be greater or equal to 0, got ", n);
  check(m >= 0, "eye: m must be greater or equal to 0, got ", m);
  Tensor out = zero_(empty(Dims{n, m}, dtype, device));
  fill_(diagonal(out, 0, 0, 1), Scalar(1));
  return out;
}

Tensor complex(const Tensor& real, const Tensor& imag) {
  bool fits =
      real.dtype() == imag.dtype() &&
      (real.dtype() == DType::float32 || real.dtype() == DType::float64 || real.dtype() == DType::float16);
  check(fits, "complex: expected both inputs to be Half, Float or Double tensors of the same dtype, but got ",
        real.dtype(), " and ", imag.dtype());
  check(real.dtype() != DType::float16, "complex: complex32 is not supported");
  Tensor out =
      empty(broadcast_shapes(real.sizes(), imag.sizes(), "complex"), to_complex(real.dtype()), real.device());
  Tensor parts = view_as_real(out);
  copy_(select(parts, -1, 0), real);
  copy_(select(parts, -1, 1), imag);
  return out;
}

}  // namespace ctorch::ops
