// Running sums, products and extremes along a dim.
#pragma once

#include <optional>
#include <tuple>

#include "core/tensor.h"

namespace ctorch::ops {

Tensor cumsum(const Tensor& input, int64_t dim, std::optional<DType> dtype, Out out = {});
Tensor cumprod(const Tensor& input, int64_t dim, std::optional<DType> dtype, Out out = {});
Tensor logcumsumexp(const Tensor& input, int64_t dim, Out out = {});
std::tuple<Tensor, Tensor> cummax(const Tensor& input, int64_t dim);
std::tuple<Tensor, Tensor> cummin(const Tensor& input, int64_t dim);

}  // namespace ctorch::ops
