// Ordering, searching in order, and counting.
#pragma once

#include <optional>
#include <string>
#include <tuple>

#include "core/tensor.h"

namespace ctorch::ops {

std::tuple<Tensor, Tensor> sort(const Tensor& self, int64_t dim, bool descending, bool stable);
Tensor argsort(const Tensor& self, int64_t dim, bool descending, bool stable);
std::tuple<Tensor, Tensor> topk(const Tensor& self, int64_t k, int64_t dim, bool largest, bool sorted);
std::tuple<Tensor, Tensor> kthvalue(const Tensor& self, int64_t k, int64_t dim, bool keepdim);
// The lower of the two middle elements; a NaN wins, or counts as not there if ignore_nan.
std::tuple<Tensor, Tensor> median_dim(const Tensor& self, int64_t dim, bool keepdim);
std::tuple<Tensor, Tensor> nanmedian_dim(const Tensor& self, int64_t dim, bool keepdim);
Tensor median(const Tensor& self);
Tensor nanmedian(const Tensor& self);
std::tuple<Tensor, Tensor> mode(const Tensor& self, int64_t dim, bool keepdim);

// Distinct elements, or distinct slices along a dim; the inverse and the counts are empty unless asked for.
std::tuple<Tensor, Tensor, Tensor> unique(const Tensor& self, bool return_inverse, bool return_counts);
std::tuple<Tensor, Tensor, Tensor> unique_dim(const Tensor& self, int64_t dim, bool return_inverse,
                                              bool return_counts);
std::tuple<Tensor, Tensor, Tensor> unique_consecutive(const Tensor& self, bool return_inverse,
                                                      bool return_counts, std::optional<int64_t> dim);

Tensor searchsorted(const Tensor& sorted_sequence, const Operand& values, bool out_int32, bool right,
                    const std::optional<std::string>& side, const OptionalTensor& sorter);
Tensor bucketize(const Operand& values, const Tensor& boundaries, bool out_int32, bool right);
Tensor isin(const Operand& elements, const Operand& test_elements, bool assume_unique, bool invert);
Tensor bincount(const Tensor& self, const OptionalTensor& weights, int64_t minlength);
Tensor histc(const Tensor& self, int64_t bins, const Scalar& low, const Scalar& high);

}  // namespace ctorch::ops
