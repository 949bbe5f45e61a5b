// Searching in order, membership, and counting.
#include <cmath>
#include <limits>

#include "kernels/table.h"
#include "ops/index_target.h"
#include "ops/promote.h"
#include "ops/sort.h"

namespace ctorch::ops {
namespace {

Tensor as_tensor(const Operand& x) {
  return x.is_tensor() ? x.tensor() : scalar_tensor(x.scalar(), x.scalar().dtype());
}

Tensor in_dtype(const Tensor& t, DType dt) { return contiguous(t.dtype() == dt ? t : to_dtype(t, dt)); }

Tensor search(const Tensor& sequence, const Operand& values, bool out_int32, bool right,
              const OptionalTensor& sorter, const char* op) {
  Tensor v = as_tensor(values);
  check(sequence.dim() > 0, op, "(): boundaries tensor should have positive dimension, but got 0 dimension");
  check(sequence.dim() == 1 || v.dim() > 0, op,
        "(): input value can be a scalar only when boundaries tensor dimension is 1, but we got boundaries "
        "tensor dim(",
        sequence.dim(), ") and input value's dim(", v.dim(), ") numel(", v.numel(), ")");
  if (sequence.dim() > 1) {
    bool match = sequence.dim() == v.dim();
    for (int64_t d = 0; match && d + 1 < v.dim(); ++d) match = sequence.sizes()[d] == v.sizes()[d];
    check(match, op,
          "(): boundaries tensor should be 1 dimension or the first N-1 dimensions of boundaries tensor and "
          "input value tensor must "
          "match, but we got boundaries tensor ",
          sequence.sizes(), " and input value tensor ", v.sizes());
  }
  const DType dt = result_type(Operand(sequence), values);
  const int64_t length = sequence.sizes()[sequence.dim() - 1];
  Tensor order;
  if (sorter) {
    check(sorter->sizes() == sequence.sizes(), op,
          "(): boundary and sorter must have the same size, but got boundary tensor ", sequence.sizes(),
          "and got sorter tensor ", sorter->sizes());
    check(sorter->dtype() == DType::int64, op, "(): sorter must be a tensor of long dtype but got dtype ",
          sorter->dtype());
    order = contiguous(*sorter);
    for (int64_t i = 0; i < order.numel(); ++i) {
      const int64_t at = order.data<const int64_t>()[i];
      check_index(at >= 0 && at < length, op, "(): sorter index out of range: ", at, " for ", length,
                  " boundaries");
    }
  }
  auto kernel = cpu_kernels().sort.search[static_cast<int>(dt)];
  check_implemented(kernel, op, ": not implemented for dtype ", dt);
  check(!out_int32 || length <= 0x7fffffff, op,
        "(): the size of boundaries' last dimension should be less than 2^31, but we got ", length);
  Tensor lines = in_dtype(sequence, dt), x = in_dtype(v, dt);
  Tensor result = empty(v.sizes(), DType::int64);
  const int64_t count = sequence.dim() > 1 ? v.sizes()[v.dim() - 1] : v.numel();
  if (v.numel() > 0) {
    kernel({.lines = v.numel() / count,
            .length = length,
            .count = count,
            .one_sequence = sequence.dim() == 1,
            .right = right,
            .sequence = lines.data(),
            .sorter = sorter ? order.data<const int64_t>() : nullptr,
            .values = x.data(),
            .out = result.data<int64_t>()});
  }
  return out_int32 ? to_dtype(result, DType::int32) : result;
}

}  // namespace

Tensor searchsorted(const Tensor& sorted_sequence, const Operand& values, bool out_int32, bool right,
                    const std::optional<std::string>& side, const OptionalTensor& sorter) {
  if (side) {
    check(*side == "left" || *side == "right", "searchsorted(): side can only be 'left' or 'right' but got ",
          *side);
    check(!right || *side == "right",
          "searchsorted(): side and right can't be set to opposites, got side of ", *side,
          " while right was True");
  }
  return search(sorted_sequence, values, out_int32, right || (side && *side == "right"), sorter,
                "searchsorted");
}

Tensor bucketize(const Operand& values, const Tensor& boundaries, bool out_int32, bool right) {
  check(boundaries.dim() == 1, "bucketize(): boundaries tensor must be 1 dimension, but got dim(",
        boundaries.dim(), ")");
  return search(boundaries, values, out_int32, right, std::nullopt, "bucketize");
}

Tensor isin(const Operand& elements, const Operand& test_elements, bool, bool invert) {
  check(elements.is_tensor() || test_elements.is_tensor(),
        "isin: expected a tensor among elements and test_elements");
  const DType dt = result_type(elements, test_elements);
  check_implemented(!is_complex(dt), "isin: not implemented for dtype ", dt);
  Tensor x = in_dtype(as_tensor(elements), dt), tests = in_dtype(as_tensor(test_elements), dt);
  const int64_t n = tests.numel();
  Tensor ordered = n ? std::get<0>(sort(tests.view_as({n}, {1}, tests.offset()), 0, false, false)) : tests;
  Tensor place = search(n ? ordered : empty(Dims{0}, dt), Operand(x), false, false, std::nullopt, "isin");
  Tensor result = empty(x.sizes(), DType::boolean);
  visit_dtype<OrderedTypes>(dt, "isin", [&]<class T>() {
    for (int64_t i = 0; i < x.numel(); ++i) {
      const int64_t at = place.data<const int64_t>()[i];
      const bool in = at < n && static_cast<acc_t<T>>(ordered.data<const T>()[at]) ==
                                    static_cast<acc_t<T>>(x.data<const T>()[i]);
      result.data<bool>()[i] = in != invert;
    }
  });
  return result;
}

Tensor bincount(const Tensor& self, const OptionalTensor& weights, int64_t minlength) {
  check(minlength >= 0, "bincount: minlength should be >= 0, got ", minlength);
  check_implemented(is_integral(self.dtype()), "bincount: expected an integral dtype, got ", self.dtype());
  check(self.dim() == 1 || self.numel() == 0, "bincount only supports 1-d non-negative integral inputs, got ",
        self);
  check(!weights || (weights->dim() == 1 && weights->numel() == self.numel()),
        "bincount: weights should be 1-d and have the same length as input, got ",
        weights ? weights->sizes() : Dims(), " and ", self.sizes());
  Tensor bins = contiguous(self.dtype() == DType::int64 ? self : to_dtype(self, DType::int64));
  const int64_t n = bins.numel();
  int64_t low = 0, high = -1;
  const auto& kernels = cpu_kernels().sort;
  if (n) kernels.integer_range[static_cast<int>(DType::int64)](bins.data(), n, &low, &high);
  check(low >= 0, "bincount only supports 1-d non-negative integral inputs, got the value ", low);
  check(high < std::numeric_limits<int64_t>::max(), "bincount: the greatest value should be below ",
        std::numeric_limits<int64_t>::max(), ", got ", high);
  const Dims sizes{std::max(high + 1, minlength)};
  if (!weights) {
    Tensor counts = empty(sizes, DType::int64);
    zero_(counts);
    kernels.count_integers[static_cast<int>(DType::int64)](bins.data(), n, 0, counts.data<int64_t>());
    return counts;
  }
  Tensor w = in_dtype(*weights, DType::float64), counts = empty(sizes, DType::float64);
  zero_(counts);
  kernels.weighted_count(bins.data<const int64_t>(), w.data<const double>(), n, counts.data<double>());
  return weights->dtype() == DType::float32 ? to_dtype(counts, DType::float32) : counts;
}

Tensor histc(const Tensor& self, int64_t bins, const Scalar& low, const Scalar& high) {
  check(bins > 0, "histc(): bins must be > 0, but got ", bins);
  check_implemented(is_floating(self.dtype()), "histc: not implemented for dtype ", self.dtype());
  Tensor line = contiguous(self);
  double from = low.to_double(), to = high.to_double();
  if (from == to && line.numel() > 0) {
    visit_dtype<Floats>(self.dtype(), "histc", [&]<class T>() {
      const T* x = line.data<const T>();
      from = to = static_cast<double>(x[0]);
      for (int64_t i = 0; i < line.numel(); ++i) {
        const double v = static_cast<double>(x[i]);
        if (std::isnan(v)) from = to = v;
        from = std::min(from, v);
        to = std::max(to, v);
      }
    });
  }
  if (from == to) {
    from -= 1;
    to += 1;
  }
  check(std::isfinite(from) && std::isfinite(to), "histc(): range of [", from, ", ", to, "] is not finite");
  check(from < to, "histc(): max must be larger than min, got ", from, " and ", to);
  Tensor counts = empty(Dims{bins}, DType::int64);
  zero_(counts);
  cpu_kernels().sort.histogram[static_cast<int>(self.dtype())](line.data(), line.numel(), from, to, bins,
                                                               counts.data<int64_t>());
  return to_dtype(counts, self.dtype());
}

}  // namespace ctorch::ops
