// Operations whose result shares the storage of their argument, and the few that take apart what a view did.
#pragma once

#include "core/tensor.h"

namespace ctorch::ops {

Tensor view(const Tensor& input, IntList size);
Tensor view_dtype(const Tensor& input, DType dtype);  // the bytes read as another dtype
Tensor reshape(const Tensor& input, IntList shape);   // a view if possible, else a copy
Tensor transpose(const Tensor& input, int64_t dim0, int64_t dim1);
Tensor permute(const Tensor& input, IntList dims);
Tensor t(const Tensor& input);
Tensor numpy_T(const Tensor& input);
Tensor matrix_T(const Tensor& input);
Tensor movedim(const Tensor& input, IntList source, IntList destination);
Tensor expand(const Tensor& input, IntList size);
Tensor squeeze(const Tensor& input);
Tensor squeeze_dims(const Tensor& input, IntList dims);
Tensor unsqueeze(const Tensor& input, int64_t dim);
Tensor narrow(const Tensor& input, int64_t dim, int64_t start, int64_t length);
Tensor select(const Tensor& input, int64_t dim, int64_t index);
// start and stop as in Python; a negative step walks backwards.
Tensor slice(const Tensor& input, int64_t dim, std::optional<int64_t> start, std::optional<int64_t> stop,
             int64_t step);
std::vector<Tensor> split(const Tensor& input, int64_t split_size, int64_t dim);
std::vector<Tensor> split_with_sizes(const Tensor& input, IntList split_sizes, int64_t dim);
std::vector<Tensor> chunk(const Tensor& input, int64_t chunks, int64_t dim);
std::vector<Tensor> tensor_split(const Tensor& input, int64_t sections, int64_t dim);
std::vector<Tensor> tensor_split_at(const Tensor& input, IntList indices, int64_t dim);
std::vector<Tensor> unbind(const Tensor& input, int64_t dim);
Tensor diagonal(const Tensor& input, int64_t offset, int64_t dim1, int64_t dim2);
Tensor unfold(const Tensor& input, int64_t dim, int64_t size, int64_t step);
Tensor as_strided(const Tensor& input, IntList size, IntList stride, std::optional<int64_t> storage_offset);
Tensor flatten(const Tensor& input, int64_t start_dim, int64_t end_dim);
Tensor unflatten(const Tensor& input, int64_t dim, IntList sizes);
Tensor real(const Tensor& input);
Tensor imag(const Tensor& input);
Tensor view_as_real(const Tensor& input);
Tensor view_as_complex(const Tensor& input);

// Gradients: zeros of the input's shape with the gradient where the view was.
Tensor select_backward(const Tensor& grad, IntList input_size, int64_t dim, int64_t index);
Tensor slice_backward(const Tensor& grad, IntList input_size, int64_t dim, std::optional<int64_t> start,
                      std::optional<int64_t> stop, int64_t step);
Tensor diagonal_backward(const Tensor& grad, IntList input_size, int64_t offset, int64_t dim1, int64_t dim2);
Tensor unfold_backward(const Tensor& grad, IntList input_size, int64_t dim, int64_t size, int64_t step);
Tensor as_strided_backward(const Tensor& grad, IntList input_size, IntList input_stride, int64_t input_offset,
                           IntList size, IntList stride, std::optional<int64_t> storage_offset);

// For a write through a view, seen from its base. `grad` has the base's shape; base and view are given by
// their geometry in the common storage.
Tensor view_gather(const Tensor& grad, IntList base_size, IntList base_stride, int64_t base_offset,
                   IntList size, IntList stride, int64_t offset);
// grad with the view's part replaced by src, or by zeros.
Tensor view_scatter(const Tensor& grad, const OptionalTensor& src, IntList base_size, IntList base_stride,
                    int64_t base_offset, IntList size, IntList stride, int64_t offset);

}  // namespace ctorch::ops
