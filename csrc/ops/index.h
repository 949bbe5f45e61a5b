// Reading and writing elements chosen by indices: x[...] and the operations index_*, gather, scatter, take,
// embedding.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace ctorch::ops {

// ---- basic indexing: views ----

// What x[...] does to the dims of x, as a flat list of kBasicItem ints per item: an item keeps a dim from
// `start` in steps of `step` for `length` elements, drops it at `start`, or puts in a new one of size 1. Dims
// that no item names are kept whole.
enum class BasicIndex : int64_t { select, slice, new_dim };
inline constexpr int64_t kBasicItem = 4;  // kind, start, step, length

Tensor basic_index(const Tensor& self, IntList items);
// The gradient of basic_index: zeros of shape `sizes` with grad at the place of the view.
Tensor basic_index_backward(const Tensor& grad, IntList sizes, IntList items);

// ---- index tensors ----

// Index tensor i (integers, or a mask, which stands for as many dims as it has) indexes the dims of self from
// dims[i] on. The broadcast shape of the indices stands where the indexed dims were, if those are neighbours,
// else in front.
Tensor index(const Tensor& self, TensorList indices, IntList dims);
Tensor index_put(const Tensor& self, TensorList indices, IntList dims, const Tensor& values, bool accumulate,
                 Out out);

Tensor index_select(const Tensor& self, int64_t dim, const Tensor& index, Out out);
Tensor index_add(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& source,
                 const Scalar& alpha, Out out);
Tensor index_copy(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& source, Out out);
Tensor index_fill(const Tensor& self, int64_t dim, const Tensor& index, const Operand& value, Out out);
Tensor index_reduce(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& source,
                    const std::string& reduce, bool include_self, Out out);

// ---- along a dim ----

Tensor gather(const Tensor& self, int64_t dim, const Tensor& index, bool sparse_grad, Out out);
// index with `size` added to negative elements; index itself if there are none.
Tensor wrap_indices(const Tensor& index, int64_t size);
Tensor scatter(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& src, Out out);
Tensor scatter_value(const Tensor& self, int64_t dim, const Tensor& index, const Scalar& value, Out out);
Tensor scatter_with_reduce(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& src,
                           const std::string& reduce, Out out);
Tensor scatter_value_with_reduce(const Tensor& self, int64_t dim, const Tensor& index, const Scalar& value,
                                 const std::string& reduce, Out out);
Tensor scatter_add(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& src, Out out);
Tensor scatter_reduce(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& src,
                      const std::string& reduce, bool include_self, Out out);

// ---- the tensor as a flat list ----

Tensor take(const Tensor& self, const Tensor& index, Out out);
Tensor put(const Tensor& self, const Tensor& index, const Tensor& source, bool accumulate, Out out);

// ---- masks ----

Tensor masked_select(const Tensor& self, const Tensor& mask, Out out);
Tensor masked_scatter(const Tensor& self, const Tensor& mask, const Tensor& source, Out out);
// self[mask] = values for a mask of self's shape and a list of as many values as it has true elements.
void masked_assign(const Tensor& self, const Tensor& mask, const Tensor& values);
// The gradient of the source of masked_scatter.
Tensor masked_scatter_backward(const Tensor& grad, const Tensor& mask, IntList sizes);
Tensor nonzero(const Tensor& self);
std::vector<Tensor> nonzero_tuple(const Tensor& self);

// ---- rows of a table ----

Tensor embedding(const Tensor& weight, const Tensor& indices, int64_t padding_idx, bool scale_grad_by_freq,
                 bool sparse);
Tensor embedding_dense_backward(const Tensor& grad, const Tensor& indices, int64_t num_weights,
                                int64_t padding_idx, bool scale_grad_by_freq);
// Scales the rows that `indices` names to a norm of at most max_norm, in place.
Tensor embedding_renorm(const Tensor& weight, const Tensor& indices, double max_norm, double norm_type,
                        Out out);
Tensor one_hot(const Tensor& self, int64_t num_classes);
// The index of an input element for each element of repeat_interleave's result: i, repeats[i] times.
Tensor repeat_interleave_indices(const Tensor& repeats, std::optional<int64_t> output_size);

}  // namespace ctorch::ops
