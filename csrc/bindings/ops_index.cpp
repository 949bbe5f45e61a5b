#include "bindings/def_op.h"
#include "ops/copy.h"
#include "ops/index.h"

namespace ctorch::py {
namespace {

// Index tensors for the first dims, one after the other; a mask stands for as many dims as it has.
Tensor index_put(const Tensor& input, TensorList indices, const Tensor& values, bool accumulate, Out out) {
  Dims dims;
  int64_t dim = 0;
  for (const Tensor& t : indices) {
    dims.push_back(dim);
    dim += t.dtype() == DType::boolean || t.dtype() == DType::uint8 ? t.dim() : 1;
  }
  check_index(dim <= input.dim(), "too many indices for tensor of dimension ", input.dim());
  return ops::index_put(input, indices, dims, values, accumulate, out);
}

PyObject* nonzero(const Tensor& input, bool as_tuple, Out out) {
  if (!as_tuple) {
    Tensor rows = ops::nonzero(input);
    if (!out) return wrap(rows);
    check(out.target->dtype() == DType::int64, "nonzero: Expected object of scalar type Long as output, got ",
          out.target->dtype());
    ops::resize_output(*out.target, rows.sizes(), "nonzero");
    return wrap(ops::copy_(*out.target, rows));
  }
  std::vector<Tensor> columns = ops::nonzero_tuple(input);
  PyObject* tuple = checked(PyTuple_New(static_cast<Py_ssize_t>(columns.size())));
  for (size_t i = 0; i < columns.size(); ++i)
    PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), wrap(columns[i]));
  return tuple;
}

}  // namespace

void init_ops_index() {
  def_op<&index_put>(
      "index_put(Tensor input, Tensor[] indices, Tensor values, bool accumulate=False) -> Tensor",
      "A copy of input with values at index tensors: input[indices] = values, or += if accumulate, where "
      "repeated indices add up.",
      kAll);
  def_op<&ops::index_select>("index_select(Tensor input, int dim, Tensor index, *, Out out=None) -> Tensor",
                             "The slices of input along dim that index, a list of integers, names.", kBoth);
  def_op<&ops::index_add>(
      "index_add(Tensor input, int dim, Tensor index, Tensor source, *, Scalar alpha=1, Out out=None) -> "
      "Tensor",
      "A copy of input with alpha * source added to the slices along dim that index names, in its order.",
      kAll);
  def_op<&ops::index_copy>(
      "index_copy(Tensor input, int dim, Tensor index, Tensor source, *, Out out=None) -> Tensor",
      "A copy of input with source in the slices along dim that index names.", kAll);
  def_op<&ops::index_fill>("index_fill(Tensor input, int dim, Tensor index, Operand value) -> Tensor",
                           "A copy of input with value in the slices along dim that index names.", kAll);
  def_op<&ops::index_reduce>(
      "index_reduce(Tensor input, int dim, Tensor index, Tensor source, str reduce, *, bool "
      "include_self=True, Out out=None) -> Tensor",
      "A copy of input with the slices along dim that index names reduced with those of source: prod, mean, "
      "amax or amin.",
      kAll);

  def_op<&ops::gather>(
      "gather(Tensor input, int dim, Tensor index, *, bool sparse_grad=False, Out out=None) -> Tensor",
      "out[i][j][k] = input[i][index[i][j][k]][k] for dim 1, and so on: an element of input along dim for "
      "each element of index.",
      kBoth);
  const char* scatter =
      "A copy of input with src (or value) at index along dim: out[i][index[i][j][k]][k] = src[i][j][k] for "
      "dim 1. Of several "
      "for one place the last one stays; with reduce='add' or 'multiply' they are combined.";
  def_op<&ops::wrap_indices>("_wrap_indices(Tensor input, int size) -> Tensor",
                             "input, with size added to negative elements; input itself if there are none.",
                             kInternal);
  def_op<&ops::scatter>(
      "scatter.src(Tensor input, int dim, Tensor index, Tensor src, *, Out out=None) -> Tensor", scatter,
      kAll);
  def_op<&ops::scatter_value>(
      "scatter.value(Tensor input, int dim, Tensor index, Scalar value, *, Out out=None) -> Tensor", "",
      kAll);
  def_op<&ops::scatter_with_reduce>(
      "scatter.reduce(Tensor input, int dim, Tensor index, Tensor src, *, str reduce, Out out=None) -> "
      "Tensor",
      "", kAll);
  def_op<&ops::scatter_value_with_reduce>(
      "scatter.value_reduce(Tensor input, int dim, Tensor index, Scalar value, *, str reduce, Out out=None) "
      "-> Tensor",
      "", kAll);
  def_op<&ops::scatter_add>(
      "scatter_add(Tensor input, int dim, Tensor index, Tensor src, *, Out out=None) -> Tensor",
      "A copy of input with src added at index along dim; see scatter().", kAll);
  def_op<&ops::scatter_reduce>(
      "scatter_reduce(Tensor input, int dim, Tensor index, Tensor src, str reduce, *, bool "
      "include_self=True, Out out=None) -> Tensor",
      "A copy of input reduced with src at index along dim (see scatter()): sum, prod, mean, amax or amin, "
      "with or without input's own values.",
      kAll);

  def_op<&ops::take>("take(Tensor input, Tensor index, *, Out out=None) -> Tensor",
                     "Elements of input, seen as a flat list, at index.", kBoth);
  def_op<&ops::put>(
      "put(Tensor input, Tensor index, Tensor source, bool accumulate=False) -> Tensor",
      "A copy of input, seen as a flat list, with source at index, or added there if accumulate.", kAll);

  def_op<&ops::masked_select>("masked_select(Tensor input, Tensor mask, *, Out out=None) -> Tensor",
                              "The elements of input where mask is true, in a list.", kBoth);
  def_op<&ops::masked_scatter>(
      "masked_scatter(Tensor input, Tensor mask, Tensor source) -> Tensor",
      "A copy of input where the true elements of mask take the elements of source, one after the other.",
      kAll);
  def_op<&ops::masked_scatter_backward>(
      "_masked_scatter_backward(Tensor grad, Tensor mask, int[] sizes) -> Tensor",
      "Gradient of masked_scatter() for its source.", kInternal);
  def_op<&nonzero>("nonzero(Tensor input, *, bool as_tuple=False, Out out=None) -> Tensor",
                   "The indices of the elements that are not 0: a row for each; with as_tuple=True a tuple "
                   "with a list for each dim.",
                   kBoth);
  def_op<&ops::nonzero>("argwhere(Tensor input) -> Tensor",
                        "The indices of the elements that are not 0: a row for each.", kBoth);
  def_op<&ops::nonzero_tuple>("where.condition(Tensor condition) -> Tensor[]",
                              "With condition alone: nonzero(condition, as_tuple=True).", kFunction);

  def_op<&ops::embedding>(
      "embedding(Tensor weight, Tensor indices, int padding_idx=-1, bool scale_grad_by_freq=False, bool "
      "sparse=False) -> Tensor",
      "The rows of weight that indices names. The row padding_idx gets no gradient; scale_grad_by_freq "
      "divides each row's by its number of uses.",
      kFunction);
  def_op<&ops::embedding_dense_backward>(
      "embedding_dense_backward(Tensor grad, Tensor indices, int num_weights, int padding_idx, bool "
      "scale_grad_by_freq) -> Tensor",
      "Gradient of embedding() for its weight.", kInternal);
  def_op<&ops::embedding_renorm>(
      "embedding_renorm_(Tensor weight, Tensor indices, float max_norm, float norm_type) -> Tensor",
      "Scales the rows of weight that indices names to a norm of at most max_norm.", kFunction | kMutates);
  def_op<&ops::one_hot>("one_hot(Tensor input, int num_classes=-1) -> Tensor",
                        "For each class number a row of zeros with a 1 at that place; num_classes is the "
                        "largest number plus 1 unless given.",
                        kInternal);
  def_op<&ops::repeat_interleave_indices>(
      "_repeat_interleave_indices(Tensor repeats, *, int? output_size=None) -> Tensor",
      "Each i repeated repeats[i] times.", kInternal);
}

}  // namespace ctorch::py
