#include "bindings/def_op.h"
#include "ops/copy.h"
#include "ops/join.h"
#include "ops/shape.h"
#include "ops/view.h"

namespace ctorch::py {
namespace {

Tensor diag(const Tensor& input, int64_t diagonal) {
  check(input.dim() == 1 || input.dim() == 2, "diag(): Supports 1D or 2D tensors. Got ", input.dim(), "D");
  return input.dim() == 1 ? ops::diag_embed(input, diagonal, 0, 1)
                          : ops::clone_contiguous(ops::diagonal(input, diagonal, 0, 1));
}

Tensor tril_indices(int64_t row, int64_t col, int64_t offset, std::optional<DType> dtype, PyObject*,
                    std::optional<Device>, bool) {
  return ops::tril_indices(row, col, offset, dtype.value_or(DType::int64));
}
Tensor triu_indices(int64_t row, int64_t col, int64_t offset, std::optional<DType> dtype, PyObject*,
                    std::optional<Device>, bool) {
  return ops::triu_indices(row, col, offset, dtype.value_or(DType::int64));
}

Tensor roll(const Tensor& input, IntList shifts, std::optional<IntList> dims) {
  return ops::roll(input, shifts, dims.value_or(IntList()));
}

}  // namespace

void init_ops_join() {
  def_op<&ops::cat>("cat(Tensor[] tensors, int dim=0, *, Out out=None) -> Tensor",
                    "Tensors one after the other along a dim that they have.", kFunction);
  def_alias("concat", "cat");
  def_alias("concatenate", "cat");
  def_op<&ops::stack>("stack(Tensor[] tensors, int dim=0, *, Out out=None) -> Tensor",
                      "Tensors of one shape one after the other along a new dim.", kFunction);

  def_op<&ops::repeat>("repeat(Tensor input, int... repeats) -> Tensor",
                       "input repeated along each dim (new ones in front); a copy.", kMethod);
  def_op<&ops::flip>("flip(Tensor input, int... dims) -> Tensor",
                     "A copy with the order of the elements along dims reversed.", kBoth);
  def_op<&roll>("roll(Tensor input, int[] shifts, int[]? dims=[]) -> Tensor",
                "Elements shifted along dims (the flat list of all if none is given); what leaves at "
                "the end comes in at the start.",
                kBoth);
  def_op<&ops::tril>("tril(Tensor input, int diagonal=0, *, Out out=None) -> Tensor",
                     "The lower triangles of matrices, zeros elsewhere.", kAll);
  def_op<&ops::triu>("triu(Tensor input, int diagonal=0, *, Out out=None) -> Tensor",
                     "The upper triangles of matrices, zeros elsewhere.", kAll);
  const char* options =
      "dtype? dtype=None, layout? layout=None, device? device=None, bool pin_memory=False) -> Tensor";
  def_op<&tril_indices>((std::string("tril_indices(int row, int col, int offset=0, *, ") + options).c_str(),
                        "Row and column numbers of the lower triangle of a matrix: (2, count).", kFunction);
  def_op<&triu_indices>((std::string("triu_indices(int row, int col, int offset=0, *, ") + options).c_str(),
                        "Row and column numbers of the upper triangle of a matrix: (2, count).", kFunction);
  def_op<&diag>("diag(Tensor input, int diagonal=0, *, Out out=None) -> Tensor",
                "Of a list, the matrix with it on a diagonal; of a matrix, a copy of its diagonal.", kBoth);
  def_op<&ops::diag_embed>("diag_embed(Tensor input, int offset=0, int dim1=-2, int dim2=-1) -> Tensor",
                           "Matrices with the last dim of input on a diagonal.", kBoth);
  def_op<&ops::constant_pad_nd>("constant_pad_nd(Tensor input, int[] pad, Scalar value=0) -> Tensor",
                                "input with value around it: pad names elements before and after the last "
                                "dim, then the one before, and so on; "
                                "negative numbers cut off.",
                                kFunction);
}

}  // namespace ctorch::py
