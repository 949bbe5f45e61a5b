// Reductions over some or all dims. `dim` absent means all; an empty list means all too, but where PyTorch
// has it otherwise.
#pragma once

#include <optional>
#include <string>
#include <tuple>

#include "core/tensor.h"

namespace ctorch::ops {

using OptionalDims = std::optional<IntList>;
using OptionalDType = std::optional<DType>;

Tensor sum(const Tensor& input, OptionalDims dim, bool keepdim, OptionalDType dtype, Out out = {});
Tensor mean(const Tensor& input, OptionalDims dim, bool keepdim, OptionalDType dtype, Out out = {});
Tensor nansum(const Tensor& input, OptionalDims dim, bool keepdim, OptionalDType dtype, Out out = {});
Tensor prod(const Tensor& input, OptionalDType dtype, Out out = {});
Tensor prod_dim(const Tensor& input, int64_t dim, bool keepdim, OptionalDType dtype, Out out = {});
Tensor count_nonzero(const Tensor& input, OptionalDims dim);
Tensor all(const Tensor& input, OptionalDims dim, bool keepdim, Out out = {});
Tensor any(const Tensor& input, OptionalDims dim, bool keepdim, Out out = {});

Tensor max(const Tensor& input, Out out = {});
Tensor min(const Tensor& input, Out out = {});
std::tuple<Tensor, Tensor> max_dim(const Tensor& input, int64_t dim, bool keepdim);
std::tuple<Tensor, Tensor> min_dim(const Tensor& input, int64_t dim, bool keepdim);
Tensor amax(const Tensor& input, OptionalDims dim, bool keepdim, Out out = {});
Tensor amin(const Tensor& input, OptionalDims dim, bool keepdim, Out out = {});
std::tuple<Tensor, Tensor> aminmax(const Tensor& input, std::optional<int64_t> dim, bool keepdim);
Tensor argmax(const Tensor& input, std::optional<int64_t> dim, bool keepdim, Out out = {});
Tensor argmin(const Tensor& input, std::optional<int64_t> dim, bool keepdim, Out out = {});

// correction: what is taken from the number of elements that divides the squares; 1 unless given.
Tensor var(const Tensor& input, OptionalDims dim, const std::optional<Scalar>& correction, bool keepdim,
           Out out = {});
Tensor std(const Tensor& input, OptionalDims dim, const std::optional<Scalar>& correction, bool keepdim,
           Out out = {});
std::tuple<Tensor, Tensor> var_mean(const Tensor& input, OptionalDims dim,
                                    const std::optional<Scalar>& correction, bool keepdim);
std::tuple<Tensor, Tensor> std_mean(const Tensor& input, OptionalDims dim,
                                    const std::optional<Scalar>& correction, bool keepdim);

Tensor logsumexp(const Tensor& input, IntList dim, bool keepdim, Out out = {});
Tensor vector_norm(const Tensor& input, const Scalar& ord, OptionalDims dim, bool keepdim,
                   OptionalDType dtype, Out out = {});
Tensor trace(const Tensor& input);
// Mean of the elements that are not NaN.
Tensor nanmean(const Tensor& input, OptionalDims dim, bool keepdim, OptionalDType dtype, Out out = {});
// The p-norm of input - other.
Tensor dist(const Tensor& input, const Tensor& other, const Scalar& p);

// The gradient of prod() over a dim, right also where elements are 0: g times the product of the other
// elements.
Tensor prod_others(const Tensor& input, int64_t dim);

}  // namespace ctorch::ops
