#include "ops/join.h"

#include <vector>

#include "kernels/table.h"
#include "ops/index_target.h"

namespace ctorch::ops {
namespace {

// PyTorch lets an empty list of numbers pass wherever tensors are joined.
bool is_skipped(const Tensor& t) { return t.dim() == 1 && t.numel() == 0; }

Tensor narrowed(const Tensor& t, int64_t dim, int64_t start, int64_t length) {
  Dims sizes = t.sizes();
  sizes[dim] = length;
  return t.view_as(std::move(sizes), t.strides(), t.offset() + (length ? start * t.strides()[dim] : 0));
}

// The pieces one after the other in every row of the result: all contiguous and of its dtype.
void join_rows(const std::vector<Tensor>& pieces, int64_t dim, const Tensor& result) {
  int64_t outer = 1, inner = result.item_size();
  for (int64_t d = 0; d < dim; ++d) outer *= result.sizes()[d];
  for (int64_t d = dim + 1; d < result.dim(); ++d) inner *= result.sizes()[d];
  std::vector<const char*> in;
  Dims bytes;
  for (const Tensor& t : pieces) {
    in.push_back(t.data());
    bytes.push_back(t.sizes()[dim] * inner);
  }
  cpu_kernels().index.cat({.outer = outer,
                           .pieces = static_cast<int64_t>(pieces.size()),
                           .row_bytes = result.sizes()[dim] * inner,
                           .in = in.data(),
                           .piece_bytes = bytes.data(),
                           .out = result.data()});
}

Tensor cat_checked(const std::vector<Tensor>& pieces, int64_t dim, Dims sizes, DType dtype, Out out) {
  bool simple = true, channels_last = true;
  for (const Tensor& t : pieces) {
    simple &= t.is_contiguous() && t.dtype() == dtype;
    channels_last &= !t.is_contiguous() && is_channels_last(t.sizes(), t.strides());
  }
  if (!out && channels_last && !pieces.empty()) {
    Tensor result = empty_strided(sizes, channels_last_strides(sizes), dtype, pieces[0].device());
    int64_t start = 0;
    for (const Tensor& t : pieces) {
      copy_(narrowed(result, dim, start, t.sizes()[dim]), t);
      start += t.sizes()[dim];
    }
    return result;
  }
  for (const Tensor& t : pieces) {
    check(!out || t.storage() != out.target->storage(),
          "cat: unsupported operation: the input tensors cannot refer to any of the output memory "
          "locations. Found overlap in input tensor");
  }
  Tensor result = make_result(sizes, dtype, pieces.empty() ? Device{} : pieces[0].device(), out, "cat");
  if (simple && result.numel() > 0) {
    join_rows(pieces, dim, result);
  } else {
    int64_t start = 0;
    for (const Tensor& t : pieces) {
      copy_(narrowed(result, dim, start, t.sizes()[dim]), t);
      start += t.sizes()[dim];
    }
  }
  return finish_result(result, out);
}

}  // namespace

Tensor cat(TensorList tensors, int64_t dim, Out out) {
  check_value(!tensors.empty(), "cat(): expected a non-empty list of Tensors");
  DType dtype = tensors[0].dtype();
  const Tensor* first = nullptr;
  for (size_t i = 0; i < tensors.size(); ++i) {
    dtype = promote_types(dtype, tensors[i].dtype());
    check(tensors[i].dim() > 0, "cat: zero-dimensional tensor (at position ", i, ") cannot be concatenated");
    if (!first && !is_skipped(tensors[i])) first = &tensors[i];
  }
  if (!first) {
    wrap_dim(dim, 1, "cat");
    return cat_checked({}, 0, Dims{0}, dtype, out);
  }
  dim = wrap_dim(dim, first->dim(), "cat");
  Dims sizes = first->sizes();
  sizes[dim] = 0;
  std::vector<Tensor> pieces;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& t = tensors[i];
    if (is_skipped(t)) continue;
    check(t.dim() == first->dim(), "cat: Tensors must have same number of dimensions: got ", first->dim(),
          " and ", t.dim());
    for (int64_t d = 0; d < t.dim(); ++d) {
      check(d == dim || t.sizes()[d] == sizes[d], "cat: Sizes of tensors must match except in dimension ",
            dim, ". Expected size ", sizes[d], " but got size ", t.sizes()[d], " for tensor number ", i,
            " in the list.");
    }
    sizes[dim] += t.sizes()[dim];
    pieces.push_back(t);
  }
  return cat_checked(pieces, dim, std::move(sizes), dtype, out);
}

Tensor stack(TensorList tensors, int64_t dim, Out out) {
  check(!tensors.empty(), "stack expects a non-empty TensorList");
  const Dims& sizes = tensors[0].sizes();
  dim = wrap_dim(dim, tensors[0].dim() + 1, "stack");
  DType dtype = tensors[0].dtype();
  std::vector<Tensor> pieces;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& t = tensors[i];
    check(t.sizes() == sizes, "stack expects each tensor to be equal size, but got ", sizes,
          " at entry 0 and ", t.sizes(), " at entry ", i);
    dtype = promote_types(dtype, t.dtype());
    Dims s = t.sizes(), st = t.strides();
    st.insert(dim, dim < t.dim() ? s[dim] * st[dim] : 1);
    s.insert(dim, 1);
    pieces.push_back(t.view_as(std::move(s), std::move(st), t.offset()));
  }
  Dims all = sizes;
  all.insert(dim, static_cast<int64_t>(tensors.size()));
  return cat_checked(pieces, dim, std::move(all), dtype, out);
}

}  // namespace ctorch::ops
