#include "bindings/def_op.h"
#include "ops/copy.h"
#include "ops/reduce.h"
#include "ops/view.h"

namespace ctorch::py {
namespace {

Tensor unsafe_view(const Tensor& input, IntList size) { return ops::view(input, size); }
Tensor expand_as(const Tensor& input, const Tensor& other) { return ops::expand(input, other.sizes()); }
Tensor view_as(const Tensor& input, const Tensor& other) { return ops::view(input, other.sizes()); }
Tensor reshape_as(const Tensor& input, const Tensor& other) { return ops::reshape(input, other.sizes()); }
Tensor broadcast_to(const Tensor& input, IntList size) { return ops::expand(input, size); }
// The inverse of expand(): sums over the dims that a shape was broadcast along; integers as int64, like
// sum().
Tensor sum_to_size(const Tensor& input, IntList size) {
  int64_t lead = input.dim() - static_cast<int64_t>(size.size());
  check(lead >= 0, "sum_to_size: size ", ShapeText{size}, " is not expandable to size ", input.sizes());
  Dims summed;
  for (int64_t i = 0; i < input.dim(); ++i) {
    bool broadcast = i < lead || size[i - lead] != input.sizes()[i];
    check(i < lead || !broadcast || size[i - lead] == 1, "sum_to_size: size ", ShapeText{size},
          " is not expandable to size ", input.sizes());
    if (broadcast) summed.push_back(i);
  }
  if (summed.empty() && !size.empty()) return input;
  Tensor sum = ops::sum(input, IntList(summed), true, std::nullopt);
  return lead ? ops::view(sum, size) : sum;
}
Tensor narrow_from(const Tensor& input, int64_t dim, const Tensor& start, int64_t length) {
  check(start.dim() == 0 && is_integral(start.dtype()), "narrow: start must be a 0-dim integral Tensor, got ",
        start);
  return ops::narrow(input, dim, item(start).to_int64(), length);
}
Tensor ravel(const Tensor& input) { return ops::reshape(ops::contiguous(input), Dims{-1}); }
std::vector<Tensor> tensor_split_tensor(const Tensor& input, const Tensor& where, int64_t dim) {
  check(where.dim() <= 1 && where.dtype() == DType::int64,
        "tensor_split: expected tensor_indices_or_sections to be a 0- or 1-d int64 tensor, got ", where);
  if (where.dim() == 0) return ops::tensor_split(input, item(where).to_int64(), dim);
  Tensor list = ops::contiguous(where);
  return ops::tensor_split_at(input, IntList(list.data<int64_t>(), static_cast<size_t>(list.numel())), dim);
}

}  // namespace

void init_ops_view() {
  constexpr unsigned view = kBoth | kView, method = kMethod | kView;
  def_op<&unsafe_view>("view(Tensor input, int... size) -> Tensor",
                       "The same elements in another shape, without a copy. One size may be -1. RuntimeError "
                       "if the strides do not allow it.",
                       method);
  def_op<&ops::view_dtype>("view.dtype(Tensor input, dtype dtype) -> Tensor",
                           "The same bytes as elements of another dtype.", method);
  def_op<&view_as>("view_as(Tensor input, Tensor other) -> Tensor", "view() in the shape of other.", method);
  def_op<&ops::reshape>(
      "reshape(Tensor input, int... shape) -> Tensor",
      "The same elements in another shape: a view if possible, else a copy. One size may be -1.", view);
  def_op<&reshape_as>("reshape_as(Tensor input, Tensor other) -> Tensor", "reshape() to the shape of other.",
                      method);
  def_op<&ravel>("ravel(Tensor input) -> Tensor",
                 "The elements in one contiguous dimension: a view if input is contiguous.", view);
  def_op<&ops::transpose>("transpose(Tensor input, int dim0, int dim1) -> Tensor",
                          "A view with two dims exchanged.", view);
  def_op<&ops::permute>("permute(Tensor input, int... dims) -> Tensor",
                        "A view with the dims in another order.", view);
  def_op<&ops::t>("t(Tensor input) -> Tensor",
                  "A view of a matrix with its dims exchanged; vectors and scalars as they are.", view);
  def_op<&ops::numpy_T>("numpy_T(Tensor input) -> Tensor", "A view with the dims in reverse order.", method);
  def_op<&ops::matrix_T>("matrix_T(Tensor input) -> Tensor", "A view with the last two dims exchanged.",
                         method);
  def_op<&ops::movedim>("movedim(Tensor input, int[] source, int[] destination) -> Tensor",
                        "A view with dims moved to other places.", view);
  def_op<&ops::expand>("expand(Tensor input, int... size) -> Tensor",
                       "A view in which dims of size 1 are repeated without a copy; -1 keeps a size.",
                       method);
  def_op<&broadcast_to>("broadcast_to(Tensor input, int... size) -> Tensor", "expand() to a shape.", view);
  def_op<&expand_as>("expand_as(Tensor input, Tensor other) -> Tensor", "expand() to the shape of other.",
                     method);
  def_op<&ops::squeeze>("squeeze(Tensor input) -> Tensor",
                        "A view without the dims of size 1; with dim (an int or a tuple) without those.",
                        view);
  def_op<&ops::squeeze_dims>("squeeze.dim(Tensor input, int... dim) -> Tensor", "", view);
  def_op<&ops::unsqueeze>("unsqueeze(Tensor input, int dim) -> Tensor",
                          "A view with a new dim of size 1 at dim.", view);
  def_op<&ops::narrow>("narrow(Tensor input, int dim, int start, int length) -> Tensor",
                       "A view of `length` elements of dim from start on.", view);
  def_op<&narrow_from>("narrow.tensor(Tensor input, int dim, Tensor start, int length) -> Tensor", "", view);
  def_op<&ops::select>("select(Tensor input, int dim, int index) -> Tensor",
                       "A view of one element of dim, which goes away.", view);
  def_op<&ops::slice>("_slice(Tensor input, int dim, int? start, int? stop, int step) -> Tensor",
                      "input[..., start:stop:step, ...] at dim; the step may be negative.",
                      kInternal | kView);
  def_op<&ops::split>("split(Tensor input, int split_size_or_sections, int dim=0) -> Tensor[]",
                      "Views of pieces of dim: of one size, or of the given sizes.", view);
  def_op<&ops::split_with_sizes>(
      "split.sizes(Tensor input, int[] split_size_or_sections, int dim=0) -> Tensor[]", "", view);
  def_op<&ops::split_with_sizes>("split_with_sizes(Tensor input, int[] split_sizes, int dim=0) -> Tensor[]",
                                 "Views of pieces of dim of the given sizes.", view);
  def_op<&ops::chunk>("chunk(Tensor input, int chunks, int dim=0) -> Tensor[]",
                      "Views of up to `chunks` pieces of dim of one size (the last may be smaller).", view);
  def_op<&ops::tensor_split>("tensor_split(Tensor input, int sections, int dim=0) -> Tensor[]",
                             "Views of `sections` pieces of dim, whose sizes differ by one at most; or of "
                             "pieces that end at `indices`.",
                             view);
  def_op<&ops::tensor_split_at>("tensor_split.indices(Tensor input, int[] indices, int dim=0) -> Tensor[]",
                                "", view);
  def_op<&tensor_split_tensor>(
      "tensor_split.tensor(Tensor input, Tensor tensor_indices_or_sections, int dim=0) -> Tensor[]", "",
      view);
  def_op<&ops::unbind>("unbind(Tensor input, int dim=0) -> Tensor[]",
                       "A tuple of views: the elements of dim.", view);
  def_op<&ops::diagonal>("diagonal(Tensor input, int offset=0, int dim1=0, int dim2=1) -> Tensor",
                         "A view of the diagonal of two dims, as a new last dim.", view);
  def_op<&ops::unfold>("unfold(Tensor input, int dimension, int size, int step) -> Tensor",
                       "A view with windows of `size` elements along a dim, as a new last dim.", method);
  def_op<&ops::as_strided>(
      "as_strided(Tensor input, int[] size, int[] stride, int? storage_offset=None) -> Tensor",
      "A view of the storage with given sizes and strides (in elements). RuntimeError if it would leave the "
      "storage.",
      view);
  def_op<&ops::flatten>("flatten(Tensor input, int start_dim=0, int end_dim=-1) -> Tensor",
                        "The dims from start_dim to end_dim joined into one; a view if possible.", view);
  def_op<&ops::unflatten>("unflatten(Tensor input, int dim, int[] sizes) -> Tensor",
                          "A view with dim taken apart into several.", view);
  def_op<&ops::real>("real(Tensor input) -> Tensor",
                     "The real parts, as a view; input itself if it is not complex.", view);
  def_op<&ops::imag>("imag(Tensor input) -> Tensor",
                     "The imaginary parts, as a view. RuntimeError if input is not complex.", view);
  def_op<&ops::view_as_real>("view_as_real(Tensor input) -> Tensor",
                             "A complex tensor as a real one with a last dim of 2.", kFunction | kView);
  def_op<&ops::view_as_complex>("view_as_complex(Tensor input) -> Tensor",
                                "A real tensor with a last dim of 2 as a complex one.", kFunction | kView);
  def_op<&sum_to_size>("sum_to_size(Tensor input, int... size) -> Tensor",
                       "The sum over the dims along which `size` was expanded to the shape of input.",
                       kMethod);
  def_alias("swapaxes", "transpose");
  def_alias("swapdims", "transpose");
  def_alias("moveaxis", "movedim");

  def_op<&ops::select_backward>(
      "_select_backward(Tensor grad, int[] input_size, int dim, int index) -> Tensor",
      "Gradient of select().", kInternal);
  def_op<&ops::slice_backward>(
      "_slice_backward(Tensor grad, int[] input_size, int dim, int? start, int? stop, int step) -> Tensor",
      "Gradient of _slice().", kInternal);
  def_op<&ops::diagonal_backward>(
      "_diagonal_backward(Tensor grad, int[] input_size, int offset, int dim1, int dim2) -> Tensor",
      "Gradient of diagonal().", kInternal);
  def_op<&ops::unfold_backward>(
      "_unfold_backward(Tensor grad, int[] input_size, int dim, int size, int step) -> Tensor",
      "Gradient of unfold().", kInternal);
  def_op<&ops::as_strided_backward>(
      "_as_strided_backward(Tensor grad, int[] input_size, int[] input_stride, int input_offset, int[] size, "
      "int[] stride, int? storage_offset) -> Tensor",
      "Gradient of as_strided().", kInternal);
  def_op<&ops::view_gather>(
      "_view_gather(Tensor grad, int[] base_size, int[] base_stride, int base_offset, int[] size, int[] "
      "stride, int offset) -> Tensor",
      "The part of a base's gradient that a view covers.", kInternal);
  def_op<&ops::view_scatter>(
      "_view_scatter(Tensor grad, Tensor? src, int[] base_size, int[] base_stride, int base_offset, int[] "
      "size, int[] stride, int offset) -> Tensor",
      "A base's gradient with the part that a view covers replaced.", kInternal);
}

}  // namespace ctorch::py
