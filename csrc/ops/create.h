// Fresh tensors with known contents.
#pragma once

#include "core/tensor.h"

namespace ctorch::ops {

Tensor full(IntList size, const Scalar& value, DType dtype, Device device = {});
// [start, end) in steps.
Tensor arange(const Scalar& start, const Scalar& end, const Scalar& step, std::optional<DType> dtype,
              Device device = {});
// `steps` evenly spaced values from start to end, both included.
Tensor linspace(const Scalar& start, const Scalar& end, int64_t steps, std::optional<DType> dtype,
                Device device = {});
Tensor logspace(const Scalar& start, const Scalar& end, int64_t steps, double base,
                std::optional<DType> dtype, Device device = {});
Tensor eye(int64_t n, int64_t m, DType dtype, Device device = {});
Tensor complex(const Tensor& real, const Tensor& imag);

}  // namespace ctorch::ops
