#include "ops/matmul.h"

#include "bindings/def_op.h"

namespace ctorch::py {

void init_ops_matmul() {
  def_op<&ops::mm>("mm(Tensor input, Tensor mat2, *, Out out=None) -> Tensor",
                   "The product of two matrices.");
  def_op<&ops::bmm>("bmm(Tensor input, Tensor mat2, *, Out out=None) -> Tensor",
                    "The products of two batches of matrices, (b, n, m) and (b, m, p).");
  def_op<&ops::mv>("mv(Tensor input, Tensor vec, *, Out out=None) -> Tensor",
                   "The product of a matrix and a vector.");
  def_op<&ops::dot>("dot(Tensor input, Tensor tensor, *, Out out=None) -> Tensor",
                    "The sum of the products of the elements of two vectors.");
  def_op<&ops::vdot>("vdot(Tensor input, Tensor other, *, Out out=None) -> Tensor",
                     "dot() with the conjugate of input.");
  def_op<&ops::matmul>("matmul(Tensor input, Tensor other, *, Out out=None) -> Tensor",
                       "The product of vectors, matrices, or batches of matrices, whose dims before the last "
                       "two are broadcast.");
  def_op<&ops::inner>("inner(Tensor input, Tensor other, *, Out out=None) -> Tensor",
                      "Sums of products over the last dims of both tensors.");
  def_op<&ops::outer>("outer(Tensor input, Tensor vec2, *, Out out=None) -> Tensor",
                      "The products of all pairs of elements of two vectors.");
  def_alias("ger", "outer");
  def_op<&ops::addmm>(
      "addmm(Tensor input, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar alpha=1, Out out=None) -> "
      "Tensor",
      "beta * input + alpha * mm(mat1, mat2); with beta=0 input is not read.", kAll);
  def_op<&ops::addmv>(
      "addmv(Tensor input, Tensor mat, Tensor vec, *, Scalar beta=1, Scalar alpha=1, Out out=None) -> Tensor",
      "beta * input + alpha * mv(mat, vec).", kAll);
  def_op<&ops::addr>(
      "addr(Tensor input, Tensor vec1, Tensor vec2, *, Scalar beta=1, Scalar alpha=1, Out out=None) -> "
      "Tensor",
      "beta * input + alpha * outer(vec1, vec2).", kAll);
  def_op<&ops::baddbmm>(
      "baddbmm(Tensor input, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1, Out out=None) "
      "-> Tensor",
      "beta * input + alpha * bmm(batch1, batch2).", kAll);
  def_op<&ops::addbmm>(
      "addbmm(Tensor input, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1, Out out=None) -> "
      "Tensor",
      "beta * input + alpha * the sum of bmm(batch1, batch2) over the batch.", kAll);
  def_op<&ops::linear>("linear(Tensor input, Tensor weight, Tensor? bias=None, *, Out out=None) -> Tensor",
                       "input weight^T + bias over the last dim of input.", kInternal);
}

}  // namespace ctorch::py
