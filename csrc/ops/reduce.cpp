#include "ops/reduce.h"

#include <cmath>
#include <limits>

#include "ops/copy.h"
#include "ops/elementwise.h"
#include "ops/index_target.h"
#include "ops/promote.h"
#include "ops/reduce_plan.h"
#include "ops/view.h"

namespace ctorch::ops {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// The result of a reduction of `input` to `dtype`, which the kernel writes as it is. `identity` stands where
// there is nothing to reduce.
Tensor reduce_to(const ReduceCall& call, const Tensor& input, DimSet dims, bool keepdim, DType dtype,
                 const Scalar& identity, Out out) {
  Tensor source = out && out.target->storage() == input.storage() ? clone(input) : input;
  Tensor result = make_result(reduced_sizes(source, dims, keepdim), dtype, source.device(), out, call.op);
  if (result.numel() == 0) return finish_result(result, out);
  if (source.numel() == 0) {
    fill_(result, identity);
  } else {
    run_reduction(call, source, dims, result);
  }
  return finish_result(result, out);
}

// Bring a result to the dtype asked for, and to `out`.
Tensor deliver(const Tensor& result, DType dtype, Out out, const char* op) {
  Tensor converted = to_dtype(result, dtype);
  if (!out) return converted;
  Tensor target = make_result(converted.sizes(), dtype, converted.device(), out, op);
  if (target.is_same(*out.target)) copy_(target, converted);
  return target.is_same(*out.target) ? target : finish_result(converted, out);
}

bool floating(DType dt) { return is_floating(dt) || is_complex(dt); }

// Integers that the sum and product kernels do not take are widened first; uint64 has the bits of int64.
Tensor widened(const Tensor& t, bool for_sum) {
  const DType dt = t.dtype();
  if (floating(dt) || dt == DType::int64) return t;
  if (dt == DType::uint64) return view_dtype(t, DType::int64);
  if (for_sum && (dt == DType::boolean || dt == DType::uint8 || dt == DType::int32)) return t;
  return to_dtype(t, DType::int64);
}

// What to reduce where elements are to be taken as of `dtype`: half types as they are, if their totals, which
// are of floats anyway, are only to be written as such.
Tensor taken_as(const Tensor& input, DType dtype) {
  return is_half(input.dtype()) && dtype == DType::float32 ? input : to_dtype(input, dtype);
}

// sum and prod: integers give int64 unless a dtype is asked for; a floating or bool dtype is that of the
// computation.
Tensor total(Reduce kind, const char* op, const Tensor& input, DimSet dims, bool keepdim, OptionalDType dtype,
             Out out) {
  const DType wanted = dtype                     ? *dtype
                       : out                     ? out.target->dtype()
                       : floating(input.dtype()) ? input.dtype()
                                                 : DType::int64;
  const Scalar identity = kind == Reduce::prod ? 1 : 0;
  if (wanted == DType::boolean) {
    const Reduce logical = kind == Reduce::prod ? Reduce::all : Reduce::any;
    return reduce_to({logical, op}, input, dims, keepdim, wanted, identity, out);
  }
  if (floating(wanted))
    return reduce_to({kind, op}, taken_as(input, wanted), dims, keepdim, wanted, identity, out);
  Tensor source = widened(floating(input.dtype()) ? to_dtype(input, wanted) : input, kind == Reduce::sum);
  if (wanted == DType::int64) return reduce_to({kind, op}, source, dims, keepdim, wanted, identity, out);
  return deliver(reduce_to({kind, op}, source, dims, keepdim, DType::int64, identity, {}), wanted, out, op);
}

Tensor logical(Reduce kind, const char* op, const Tensor& input, OptionalDims dim, bool keepdim, Out out) {
  const DimSet dims = DimSet::of(input, dim, op);
  // PyTorch's exception: uint8 stays uint8.
  const DType dtype = input.dtype() == DType::uint8 ? DType::uint8 : DType::boolean;
  if (!out) return reduce_to({kind, op}, input, dims, keepdim, dtype, kind == Reduce::all, out);
  check(out.target->dtype() == DType::boolean || out.target->dtype() == DType::uint8, op,
        ": expected out to have dtype bool or uint8, got ", out.target->dtype());
  return reduce_to({kind, op}, input, dims, keepdim, out.target->dtype(), kind == Reduce::all, out);
}

void check_ordered(const Tensor& input, const char* op) {
  check_implemented(!is_complex(input.dtype()), op, ": not implemented for dtype ", input.dtype());
}

void check_not_empty(const Tensor& input, DimSet dims, const char* op) {
  for (int64_t d = 0; d < input.dim(); ++d) {
    check_index(!dims.has(d) || input.sizes()[d] != 0, op, "(): Expected reduction dim ", d,
                " to have non-zero size.");
  }
}

Tensor extreme_of_all(Reduce kind, const char* op, const Tensor& input, Out out) {
  check_ordered(input, op);
  check(input.numel() > 0, op,
        "(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with "
        "the 'dim' argument.");
  return reduce_to({kind, op}, input, DimSet::all(input.dim()), false, input.dtype(), 0, out);
}

Tensor extreme(Reduce kind, const char* op, const Tensor& input, OptionalDims dim, bool keepdim, Out out) {
  check_ordered(input, op);
  const DimSet dims = DimSet::of(input, dim, op);
  check(!out || out.target->dtype() == input.dtype(),
        "Expected the dtype for input and out to match, but got ", dtype_scalar_name(input.dtype()),
        " for input's dtype and ", out ? dtype_scalar_name(out.target->dtype()) : "", " for out's dtype.");
  if (!dim || dim->empty()) {
    check(input.numel() > 0, op,
          "(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with "
          "the 'dim' argument.");
  } else {
    check_not_empty(input, dims, op);
  }
  return reduce_to({kind, op}, input, dims, keepdim, input.dtype(), 0, out);
}

std::tuple<Tensor, Tensor> extreme_with_index(Reduce kind, const char* op, const Tensor& input, int64_t dim,
                                              bool keepdim) {
  check_ordered(input, op);
  const int64_t one[] = {dim};
  const DimSet dims = DimSet::of(input, IntList(one), op);
  check_not_empty(input, dims, op);
  Dims sizes = reduced_sizes(input, dims, keepdim);
  Tensor values = empty(sizes, input.dtype(), input.device()),
         indices = empty(sizes, DType::int64, input.device());
  if (values.numel()) run_reduction({kind, op}, input, dims, values, indices);
  return {values, indices};
}

Tensor arg_extreme(Reduce kind, const char* op, const Tensor& input, std::optional<int64_t> dim, bool keepdim,
                   Out out) {
  check_ordered(input, op);
  check_implemented(!is_bool(input.dtype()), op, ": not implemented for dtype ", input.dtype());
  const int64_t one[] = {dim.value_or(0)};
  const DimSet dims = dim ? DimSet::of(input, IntList(one), op) : DimSet::all(input.dim());
  if (dim) {
    check_not_empty(input, dims, op);
  } else {
    check_index(input.numel() > 0, op,
                "(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction "
                "dim with the 'dim' argument.");
  }
  check(!out || out.target->dtype() == DType::int64, op, ": expected out to have dtype int64, got ",
        out ? out.target->dtype() : DType::int64);
  return reduce_to({kind, op}, input, dims, keepdim, DType::int64, 0, out);
}

// ---- variance
// ------------------------------------------------------------------------------------------------------------

struct Spread {
  Tensor spread, mean;
};

Spread real_spread(Reduce kind, const char* op, const Tensor& input, DimSet dims, double correction,
                   bool keepdim, bool want_mean) {
  Dims sizes = reduced_sizes(input, dims, keepdim);
  Spread s{empty(sizes, input.dtype(), input.device()),
           want_mean ? empty(sizes, input.dtype(), input.device()) : Tensor()};
  if (s.spread.numel() == 0) return s;
  if (input.numel() == 0) {
    fill_(s.spread, kNaN);
    if (want_mean) fill_(s.mean, kNaN);
  } else {
    run_reduction({kind, op, correction}, input, dims, s.spread, s.mean);
  }
  return s;
}

// In double: complex results are rare and small.
template <class Fn>
void for_elements(const Tensor& a, const Tensor& b, const Tensor& result, Fn fn) {
  visit_dtype<FullFloats>(a.dtype(), "var", [&]<class T>() {
    for (int64_t i = 0; i < a.numel(); ++i)
      result.data<T>()[i] = static_cast<T>(fn(a.data<T>()[i], b.data<T>()[i]));
  });
}

Spread spread(Reduce kind, const char* op, const Tensor& input, OptionalDims dim,
              const std::optional<Scalar>& correction, bool keepdim, bool want_mean) {
  check(floating(input.dtype()), op, ": only support floating point and complex dtypes, got ", input.dtype());
  const DimSet dims = DimSet::of(input, dim, op);
  const double c = correction ? correction->to_double() : 1.0;
  if (!is_complex(input.dtype())) return real_spread(kind, op, input, dims, c, keepdim, want_mean);
  // The variance of a complex value is that of its real part plus that of its imaginary part.
  Spread re = real_spread(Reduce::var, op, real(input), dims, c, keepdim, want_mean);
  Spread im = real_spread(Reduce::var, op, imag(input), dims, c, keepdim, want_mean);
  const bool root = kind == Reduce::std;
  for_elements(re.spread, im.spread, re.spread,
               [&](double a, double b) { return root ? std::sqrt(a + b) : a + b; });
  if (!want_mean) return re;
  Tensor mean = empty(re.mean.sizes(), input.dtype(), input.device());
  copy_(real(mean), re.mean);
  copy_(imag(mean), im.mean);
  return {re.spread, mean};
}

}  // namespace

Tensor sum(const Tensor& input, OptionalDims dim, bool keepdim, OptionalDType dtype, Out out) {
  return total(Reduce::sum, "sum", input, DimSet::of(input, dim, "sum"), keepdim, dtype, out);
}

Tensor mean(const Tensor& input, OptionalDims dim, bool keepdim, OptionalDType dtype, Out out) {
  const DType dt = dtype.value_or(input.dtype());
  check(floating(dt), "mean(): could not infer output dtype. ", dtype ? "Optional" : "Input",
        " dtype must be either a floating point or complex dtype. Got: ", dtype_scalar_name(dt));
  // As with sum(), a result given is computed in its own dtype.
  if (out && !dtype && can_cast(dt, out.target->dtype()))
    return mean(input, dim, keepdim, out.target->dtype(), out);
  return reduce_to({Reduce::mean, "mean"}, taken_as(input, dt), DimSet::of(input, dim, "mean"), keepdim, dt,
                   kNaN, out);
}

Tensor nansum(const Tensor& input, OptionalDims dim, bool keepdim, OptionalDType dtype, Out out) {
  check(!is_complex(input.dtype()), "nansum does not support complex inputs");
  const DType dt = dtype.value_or(input.dtype());
  if (!is_floating(input.dtype()))
    return total(Reduce::sum, "nansum", input, DimSet::of(input, dim, "nansum"), keepdim, dtype, out);
  Tensor result = reduce_to({Reduce::nansum, "nansum"}, is_floating(dt) ? to_dtype(input, dt) : input,
                            DimSet::of(input, dim, "nansum"), keepdim, is_floating(dt) ? dt : input.dtype(),
                            0, is_floating(dt) ? out : Out{});
  return is_floating(dt) ? result : deliver(result, dt, out, "nansum");
}

Tensor prod(const Tensor& input, OptionalDType dtype, Out out) {
  return total(Reduce::prod, "prod", input, DimSet::all(input.dim()), false, dtype, out);
}

Tensor prod_dim(const Tensor& input, int64_t dim, bool keepdim, OptionalDType dtype, Out out) {
  const int64_t one[] = {dim};
  return total(Reduce::prod, "prod", input, DimSet::of(input, IntList(one), "prod"), keepdim, dtype, out);
}

Tensor count_nonzero(const Tensor& input, OptionalDims dim) {
  return reduce_to({Reduce::count_nonzero, "count_nonzero"}, input, DimSet::of(input, dim, "count_nonzero"),
                   false, DType::int64, 0, {});
}

Tensor all(const Tensor& input, OptionalDims dim, bool keepdim, Out out) {
  return logical(Reduce::all, "all", input, dim, keepdim, out);
}
Tensor any(const Tensor& input, OptionalDims dim, bool keepdim, Out out) {
  return logical(Reduce::any, "any", input, dim, keepdim, out);
}

Tensor max(const Tensor& input, Out out) { return extreme_of_all(Reduce::max, "max", input, out); }
Tensor min(const Tensor& input, Out out) { return extreme_of_all(Reduce::min, "min", input, out); }
std::tuple<Tensor, Tensor> max_dim(const Tensor& input, int64_t dim, bool keepdim) {
  return extreme_with_index(Reduce::max_index, "max", input, dim, keepdim);
}
std::tuple<Tensor, Tensor> min_dim(const Tensor& input, int64_t dim, bool keepdim) {
  return extreme_with_index(Reduce::min_index, "min", input, dim, keepdim);
}
Tensor amax(const Tensor& input, OptionalDims dim, bool keepdim, Out out) {
  return extreme(Reduce::max, "amax", input, dim, keepdim, out);
}
Tensor amin(const Tensor& input, OptionalDims dim, bool keepdim, Out out) {
  return extreme(Reduce::min, "amin", input, dim, keepdim, out);
}

std::tuple<Tensor, Tensor> aminmax(const Tensor& input, std::optional<int64_t> dim, bool keepdim) {
  const int64_t one[] = {dim.value_or(0)};
  const OptionalDims dims = dim ? OptionalDims(IntList(one)) : std::nullopt;
  check(dim || input.numel() > 0,
        "aminmax(): cannot compute aminmax over an empty dimension as the operation has no identity.");
  return {extreme(Reduce::min, "aminmax", input, dims, keepdim, {}),
          extreme(Reduce::max, "aminmax", input, dims, keepdim, {})};
}

Tensor argmax(const Tensor& input, std::optional<int64_t> dim, bool keepdim, Out out) {
  return arg_extreme(Reduce::argmax, "argmax", input, dim, keepdim, out);
}
Tensor argmin(const Tensor& input, std::optional<int64_t> dim, bool keepdim, Out out) {
  return arg_extreme(Reduce::argmin, "argmin", input, dim, keepdim, out);
}

Tensor var(const Tensor& input, OptionalDims dim, const std::optional<Scalar>& correction, bool keepdim,
           Out out) {
  Tensor result = spread(Reduce::var, "var", input, dim, correction, keepdim, false).spread;
  return deliver(result, result.dtype(), out, "var");
}
Tensor std(const Tensor& input, OptionalDims dim, const std::optional<Scalar>& correction, bool keepdim,
           Out out) {
  Tensor result = spread(Reduce::std, "std", input, dim, correction, keepdim, false).spread;
  return deliver(result, result.dtype(), out, "std");
}
std::tuple<Tensor, Tensor> var_mean(const Tensor& input, OptionalDims dim,
                                    const std::optional<Scalar>& correction, bool keepdim) {
  Spread s = spread(Reduce::var, "var_mean", input, dim, correction, keepdim, true);
  return {s.spread, s.mean};
}
std::tuple<Tensor, Tensor> std_mean(const Tensor& input, OptionalDims dim,
                                    const std::optional<Scalar>& correction, bool keepdim) {
  Spread s = spread(Reduce::std, "std_mean", input, dim, correction, keepdim, true);
  return {s.spread, s.mean};
}

Tensor logsumexp(const Tensor& input, IntList dim, bool keepdim, Out out) {
  if (is_complex(input.dtype())) {
    // In separate steps: e^(x - m) with m the greatest real part.
    const DimSet dims = DimSet::of(input, dim, "logsumexp");
    if (reduced_count(input, dims) == 0) {
      Tensor result = empty(reduced_sizes(input, dims, keepdim), input.dtype(), input.device());
      return deliver(fill_(result, -kInf), input.dtype(), out, "logsumexp");
    }
    Tensor high = amax(real(input), dim, true);
    Tensor total = sum(unary<fn::Exp>(sub(input, high, 1, {}), {}), dim, keepdim, std::nullopt);
    return add(unary<fn::Log>(total, {}), keepdim ? high : reshape(high, total.sizes()), 1, out);
  }
  const DType dt = to_float_dtype(input.dtype());
  return reduce_to({Reduce::logsumexp, "logsumexp"}, to_dtype(input, dt), DimSet::of(input, dim, "logsumexp"),
                   keepdim, dt, -kInf, out);
}

Tensor vector_norm(const Tensor& input, const Scalar& ord, OptionalDims dim, bool keepdim,
                   OptionalDType dtype, Out out) {
  const char* op = "linalg_vector_norm";
  check(floating(input.dtype()),
        "linalg.vector_norm: Expected a floating point or complex tensor as input. Got ",
        dtype_scalar_name(input.dtype()));
  if (dtype) {
    check(floating(*dtype), "linalg.vector_norm: dtype should be floating point or complex, but got ",
          dtype_scalar_name(*dtype));
    check(is_complex(*dtype) == is_complex(input.dtype()), "linalg.vector_norm: dtype should be ",
          is_complex(input.dtype()) ? "complex" : "floating point", " for ",
          is_complex(input.dtype()) ? "complex" : "real", " inputs, but got ", dtype_scalar_name(*dtype));
    check(promote_types(input.dtype(), *dtype) == *dtype, "linalg.vector_norm: the dtype of the input ", "(",
          dtype_scalar_name(input.dtype()),
          ") should be convertible without narrowing to the specified dtype (", dtype_scalar_name(*dtype),
          ")");
  }
  const double p = ord.to_double();
  Tensor source = to_dtype(input, dtype.value_or(input.dtype()));
  const DimSet dims = DimSet::of(input, dim, op);
  if (p < 0 || p == kInf) {
    check(!(input.numel() == 0 && (!dim || dim->empty())), "linalg.vector_norm cannot compute the ", p,
          " norm on an empty tensor because the operation does not have an identity");
    for (int64_t d = 0; d < input.dim(); ++d) {
      check(!dims.has(d) || input.sizes()[d] != 0, "linalg.vector_norm cannot compute the ", p,
            " norm on the dimension ", d,
            "because this dimension is empty and the operation does not have an identity");
    }
  }
  const DType result_dtype = to_real(source.dtype());
  if (p == 0) {
    Tensor count = reduce_to({Reduce::count_nonzero, op}, source, dims, keepdim, DType::int64, 0, {});
    return deliver(count, result_dtype, out, op);
  }
  const Reduce kind = p == 1       ? Reduce::norm1
                      : p == 2     ? Reduce::norm2
                      : p == kInf  ? Reduce::norm_inf
                      : p == -kInf ? Reduce::norm_minus_inf
                                   : Reduce::norm_p;
  return reduce_to({kind, op, p}, source, dims, keepdim, result_dtype, 0, out);
}

Tensor trace(const Tensor& input) {
  check(input.dim() == 2, "trace: expected a matrix, but got tensor with dim ", input.dim());
  return sum(diagonal(input, 0, 0, 1), std::nullopt, false, std::nullopt);
}

Tensor nanmean(const Tensor& input, OptionalDims dim, bool keepdim, OptionalDType dtype, Out out) {
  check(is_floating(input.dtype()), "nanmean(): expected input to have floating point dtype but got ",
        dtype_scalar_name(input.dtype()));
  Tensor numbers = sum(apply<fn::Eq>({input, input}, {}, input.dtype(), {}), dim, keepdim, std::nullopt);
  return div(nansum(input, dim, keepdim, dtype), numbers, out);
}

Tensor dist(const Tensor& input, const Tensor& other, const Scalar& p) {
  return vector_norm(sub(input, other, 1, {}), p, std::nullopt, false, std::nullopt);
}

Tensor prod_others(const Tensor& input, int64_t dim) {
  const int64_t d = wrap_dim(dim, input.dim(), "prod");
  Tensor source = contiguous(input), result = empty(source.sizes(), source.dtype(), source.device());
  const int64_t n = source.dim() ? source.sizes()[d] : 1;
  int64_t inner = 1;
  for (int64_t k = d + 1; k < source.dim(); ++k) inner *= source.sizes()[k];
  if (source.numel() == 0) return result;
  visit_dtype<FloatsAndComplexes>(source.dtype(), "prod", [&]<class T>() {
    using V = acc_t<T>;
    const T* x = source.data<const T>();
    T* y = result.data<T>();
    // What comes before an element, then what comes after it.
    for (int64_t l = 0; l < source.numel() / n; ++l) {
      const int64_t at = l / inner * n * inner + l % inner;
      V before(1), after(1);
      for (int64_t i = 0; i < n; ++i) {
        y[at + i * inner] = static_cast<T>(before);
        before = before * static_cast<V>(x[at + i * inner]);
      }
      for (int64_t i = n - 1; i >= 0; --i) {
        y[at + i * inner] = static_cast<T>(static_cast<V>(y[at + i * inner]) * after);
        after = after * static_cast<V>(x[at + i * inner]);
      }
    }
  });
  return result;
}

}  // namespace ctorch::ops
