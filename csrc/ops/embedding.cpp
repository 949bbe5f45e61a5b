// Rows of a table chosen by index, and their gradients; one-hot rows; indices of repeated elements.
#include <cmath>

#include "kernels/table.h"
#include "ops/elementwise.h"
#include "ops/index.h"
#include "ops/index_target.h"
#include "ops/indexed.h"

namespace ctorch::ops {
namespace {

Tensor flat_indices(const Tensor& indices, const char* op) {
  check(indices.dtype() == DType::int64 || indices.dtype() == DType::int32, op,
        ": Expected tensor for argument #1 'indices' to have one of the following scalar types: Long, Int; "
        "but got ",
        indices.dtype(), " instead");
  Tensor list = contiguous(to_int64(indices));
  return list.view_as({list.numel()}, {1}, list.offset());
}

// How often each row is named.
Tensor row_counts(const Tensor& list, int64_t rows) {
  Tensor counts = empty(Dims{rows}, DType::int64);
  zero_(counts);
  for (int64_t i = 0; i < list.numel(); ++i) {
    const int64_t row = list.data<int64_t>()[i];
    if (row < 0 || row >= rows) fail_index("embedding", row, 0, rows);
    ++counts.data<int64_t>()[row];
  }
  return counts;
}

}  // namespace

Tensor embedding(const Tensor& weight, const Tensor& indices, int64_t, bool, bool) {
  check(weight.dim() == 2, "embedding: 'weight' must be 2-D, got shape ", weight.sizes());
  Tensor list = flat_indices(indices, "embedding");
  const int64_t count = weight.sizes()[0];
  check(count > 0 || list.numel() == 0, "embedding: weight of shape ", weight.sizes(), " has no rows");
  for (int64_t i = 0; i < list.numel(); ++i) {
    const int64_t row = list.data<const int64_t>()[i];
    if (row < 0 || row >= count) fail_index("embedding", row, 0, count);
  }
  Tensor rows = index_select(weight, 0, list, {});
  Dims sizes = indices.sizes();
  sizes.push_back(weight.sizes()[1]);
  Dims strides = contiguous_strides(sizes);
  return rows.view_as(std::move(sizes), std::move(strides), rows.offset());
}

Tensor embedding_dense_backward(const Tensor& grad, const Tensor& indices, int64_t num_weights,
                                int64_t padding_idx, bool scale_grad_by_freq) {
  Tensor list = flat_indices(indices, "embedding_dense_backward");
  check(grad.dim() > 0, "embedding_dense_backward: expected a gradient with dimensions, got ", grad);
  const int64_t width = grad.sizes()[grad.dim() - 1];
  check(grad.numel() == list.numel() * width, "embedding_dense_backward: gradient of shape ", grad.sizes(),
        " does not fit indices of shape ", indices.sizes());
  Tensor rows = contiguous(grad);
  rows = rows.view_as({list.numel(), width}, {width, 1}, rows.offset());
  Tensor result = empty(Dims{num_weights, width}, grad.dtype(), grad.device());
  zero_(result);
  index_add(result, 0, list, rows, Scalar(1), Out{&result, true});
  if (scale_grad_by_freq) {
    Tensor counts = row_counts(list, num_weights);
    for (int64_t i = 0; i < num_weights; ++i) {
      auto& n = counts.data<int64_t>()[i];
      if (n == 0) n = 1;
    }
    div(result, counts.view_as({num_weights, 1}, {1, 1}, 0), Out{&result, true});
  }
  if (padding_idx >= 0 && padding_idx < num_weights)
    fill_(result.view_as({width}, {1}, padding_idx * width), Scalar(0));
  return result;
}

Tensor embedding_renorm(const Tensor& weight, const Tensor& indices, double max_norm, double norm_type,
                        Out out) {
  check(weight.dim() == 2, "embedding_renorm_: 'weight' must be 2-D, got shape ", weight.sizes());
  Tensor counts = row_counts(flat_indices(indices, "embedding_renorm_"), weight.sizes()[0]);
  Tensor result = start_from(weight, out, "embedding_renorm_");
  visit_dtype<Floats>(weight.dtype(), "embedding_renorm_", [&]<class T>() {
    using A = std::conditional_t<std::is_same_v<T, double>, double, float>;
    const int64_t width = weight.sizes()[1], step = result.strides()[1];
    for (int64_t r = 0; r < weight.sizes()[0]; ++r) {
      if (counts.data<int64_t>()[r] == 0) continue;
      T* row = result.data<T>() + r * result.strides()[0];
      double norm = 0;
      for (int64_t c = 0; c < width; ++c) {
        const double x = std::abs(static_cast<double>(static_cast<A>(row[c * step])));
        norm = std::isinf(norm_type) ? std::max(norm, x)
                                     : norm + (norm_type == 2 ? x * x : std::pow(x, norm_type));
      }
      if (!std::isinf(norm_type)) norm = norm_type == 2 ? std::sqrt(norm) : std::pow(norm, 1 / norm_type);
      if (norm <= max_norm) continue;
      const A factor = static_cast<A>(max_norm / (norm + 1e-7));
      for (int64_t c = 0; c < width; ++c) row[c * step] = T(static_cast<A>(row[c * step]) * factor);
    }
  });
  return result;
}

Tensor one_hot(const Tensor& self, int64_t num_classes) {
  check(self.dtype() == DType::int64, "one_hot is only applicable to index tensor of type LongTensor, got ",
        self.dtype());
  check(num_classes != 0 || self.numel() == 0, "one_hot: num_classes must be positive, got 0");
  Tensor list = contiguous(self);
  const int64_t n = list.numel(), *x = list.data<const int64_t>();
  int64_t largest = -1;
  for (int64_t i = 0; i < n; ++i) {
    check(x[i] >= 0, "one_hot: Class values must be non-negative, got ", x[i]);
    largest = std::max(largest, x[i]);
  }
  if (num_classes < 0) {
    check(n > 0, "Can not infer total number of classes from empty tensor.");
    num_classes = largest + 1;
  }
  check(largest < num_classes, "one_hot: Class values must be smaller than num_classes, got ", largest,
        " and ", num_classes);
  Dims sizes = self.sizes();
  sizes.push_back(num_classes);
  Tensor result = empty(sizes, DType::int64, self.device());
  zero_(result);
  for (int64_t i = 0; i < n; ++i) result.data<int64_t>()[i * num_classes + x[i]] = 1;
  return result;
}

Tensor repeat_interleave_indices(const Tensor& repeats, std::optional<int64_t> output_size) {
  check(repeats.dim() == 1, "repeat_interleave only accept 1D vector as repeat, got shape ", repeats.sizes());
  check(repeats.dtype() == DType::int64 || repeats.dtype() == DType::int32,
        "repeats has to be Long or Int tensor, got ", repeats.dtype());
  Tensor counts = contiguous(to_int64(repeats));
  const int64_t* c = counts.data<const int64_t>();
  int64_t total = 0;
  for (int64_t i = 0; i < counts.numel(); ++i) {
    check(c[i] >= 0, "repeats can not be negative, got ", c[i]);
    check(!__builtin_add_overflow(total, c[i], &total),
          "repeat_interleave: the number of elements overflows");
  }
  check(!output_size || *output_size == total,
        "repeat_interleave: allocated size does not match required size: expected ", total, ", got ",
        output_size.value_or(0));
  Tensor result = empty(Dims{total}, DType::int64);
  int64_t* out = result.data<int64_t>();
  for (int64_t i = 0; i < counts.numel(); ++i) {
    for (int64_t j = 0; j < c[i]; ++j) *out++ = i;
  }
  return result;
}

}  // namespace ctorch::ops
