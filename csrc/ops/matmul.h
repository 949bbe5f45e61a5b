// Products of matrices and vectors, in batches.
#pragma once

#include "core/tensor.h"
#include "kernels/gemm.h"

namespace ctorch::ops {

Tensor mm(const Tensor& input, const Tensor& mat2, Out out = {});
Tensor bmm(const Tensor& input, const Tensor& mat2, Out out = {});
Tensor mv(const Tensor& input, const Tensor& vec, Out out = {});
Tensor dot(const Tensor& input, const Tensor& tensor, Out out = {});
Tensor vdot(const Tensor& input, const Tensor& other, Out out = {});  // dot() with the conjugate of input
// Any of the above by the numbers of dims, with broadcast batches.
Tensor matmul(const Tensor& input, const Tensor& other, Out out = {});
Tensor inner(const Tensor& input, const Tensor& other, Out out = {});

// beta * input + alpha * product, input broadcast to the product. With beta == 0 input is not read.
Tensor addmm(const Tensor& input, const Tensor& mat1, const Tensor& mat2, const Scalar& beta,
             const Scalar& alpha, Out out = {});
Tensor addmv(const Tensor& input, const Tensor& mat, const Tensor& vec, const Scalar& beta,
             const Scalar& alpha, Out out = {});
Tensor baddbmm(const Tensor& input, const Tensor& batch1, const Tensor& batch2, const Scalar& beta,
               const Scalar& alpha, Out out = {});
// The products of the batch are summed.
Tensor addbmm(const Tensor& input, const Tensor& batch1, const Tensor& batch2, const Scalar& beta,
              const Scalar& alpha, Out out = {});

Tensor outer(const Tensor& input, const Tensor& vec2, Out out = {});
Tensor addr(const Tensor& input, const Tensor& vec1, const Tensor& vec2, const Scalar& beta,
            const Scalar& alpha, Out out = {});

// What every product of float32 matrices may lose from now on, in every thread; see GemmPrecision.
void set_matmul_precision(GemmPrecision precision);

// input weight^T + bias over the last dim; weight is (out, in) or (in).
Tensor linear(const Tensor& input, const Tensor& weight, const OptionalTensor& bias, Out out = {});

}  // namespace ctorch::ops
