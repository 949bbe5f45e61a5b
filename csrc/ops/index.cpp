// x[...]: basic indices make views, index tensors choose slices; and the operations with one index tensor for
// one dim.
#include "ops/index.h"

#include <algorithm>
#include <cstring>

#include "kernels/table.h"
#include "ops/elementwise.h"
#include "ops/index_target.h"
#include "ops/indexed.h"

namespace ctorch::ops {

// ---- basic indexing ----

Tensor basic_index(const Tensor& self, IntList items) {
  Dims sizes, strides;
  int64_t offset = self.offset(), dim = 0;
  const Dims &old_sizes = self.sizes(), &old_strides = self.strides();
  for (size_t i = 0; i + kBasicItem <= items.size(); i += kBasicItem) {
    const int64_t start = items[i + 1], step = items[i + 2], length = items[i + 3];
    const auto kind = static_cast<BasicIndex>(items[i]);
    if (kind == BasicIndex::new_dim) {
      sizes.push_back(1);
      strides.push_back(0);
      continue;
    }
    check_index(dim < self.dim(), "too many indices for tensor of dimension ", self.dim());
    const int64_t last = start + (length - 1) * step;
    check_index(length == 0 || (start >= 0 && start < old_sizes[dim] && last >= 0 && last < old_sizes[dim]),
                "index ", start, " is out of bounds for dimension ", dim, " with size ", old_sizes[dim]);
    if (length > 0) offset += start * old_strides[dim];
    if (kind == BasicIndex::slice) {
      sizes.push_back(length);
      strides.push_back(old_strides[dim] * step);
    }
    ++dim;
  }
  for (; dim < self.dim(); ++dim) {
    sizes.push_back(old_sizes[dim]);
    strides.push_back(old_strides[dim]);
  }
  // The stride of a new dim never matters; PyTorch gives it that of a row-major tensor.
  for (int64_t d = sizes.size() - 1, inner = 1; d >= 0; --d) {
    if (sizes[d] == 1 && strides[d] == 0) strides[d] = inner;
    inner = std::max<int64_t>(sizes[d], 1) * strides[d];
  }
  return self.view_as(std::move(sizes), std::move(strides), offset);
}

Tensor basic_index_backward(const Tensor& grad, IntList sizes, IntList items) {
  Tensor full = empty(sizes, grad.dtype(), grad.device());
  zero_(full);
  copy_(basic_index(full, items), grad);
  return full;
}

// ---- index tensors ----

namespace {

struct Indexed {
  std::vector<Tensor> indices;  // int64, one per indexed dim
  Dims dims;
  Dims positions;     // their broadcast shape
  int64_t place = 0;  // the dim of the result at which the positions stand
  Dims slice;         // the dims of self that are not indexed
};

bool is_mask(const Tensor& t) { return t.dtype() == DType::boolean || t.dtype() == DType::uint8; }

Indexed resolve(const Tensor& self, TensorList indices, IntList dims) {
  Indexed r;
  check(indices.size() == dims.size(), "index: expected as many dims as index tensors, got ", dims.size(),
        " and ", indices.size());
  for (size_t i = 0; i < indices.size(); ++i) {
    const Tensor& t = indices[i];
    if (is_mask(t)) {
      check_index(dims[i] + t.dim() <= self.dim(), "too many indices for tensor of dimension ", self.dim());
      for (int64_t d = 0; d < t.dim(); ++d) {
        check_index(t.sizes()[d] == self.sizes()[dims[i] + d], "The shape of the mask ", t.sizes(),
                    " at index ", d, " does not match the shape of the indexed tensor ", self.sizes(),
                    " at index ", dims[i] + d);
      }
      std::vector<Tensor> columns = nonzero_tuple(t);
      for (int64_t d = 0; d < t.dim(); ++d) {
        r.indices.push_back(columns[static_cast<size_t>(d)]);
        r.dims.push_back(dims[i] + d);
      }
    } else {
      check_index(is_integral(t.dtype()),
                  "tensors used as indices must be long, int, byte or bool tensors, got ", t.dtype());
      check_index(dims[i] < self.dim(), "too many indices for tensor of dimension ", self.dim());
      r.indices.push_back(to_int64(t));
      r.dims.push_back(dims[i]);
    }
  }
  for (const Tensor& t : r.indices) {
    try {
      r.positions = broadcast_shapes(r.positions, t.sizes(), "index");
    } catch (const Error&) {
      std::ostringstream shapes;
      for (size_t i = 0; i < r.indices.size(); ++i) shapes << (i ? ", " : "") << r.indices[i].sizes();
      fail(ErrorKind::index, "shape mismatch: indexing tensors could not be broadcast together with shapes ",
           shapes.str());
    }
  }
  bool neighbours = true;
  for (int64_t i = 1; i < r.dims.size(); ++i) neighbours &= r.dims[i] == r.dims[i - 1] + 1;
  r.place = neighbours && r.dims.size() > 0 ? r.dims[0] : 0;
  for (int64_t d = 0; d < self.dim(); ++d) {
    if (std::find(r.dims.begin(), r.dims.end(), d) == r.dims.end()) r.slice.push_back(d);
  }
  return r;
}

// The mask, if one that covers all dims is the only index: elements then need no list of their coordinates.
const Tensor* whole_mask(const Tensor& self, TensorList indices) {
  return indices.size() == 1 && is_mask(indices[0]) && indices[0].sizes() == self.sizes() && self.dim() > 0
             ? &indices[0]
             : nullptr;
}

Dims result_sizes(const Tensor& self, const Indexed& r) {
  Dims sizes;
  for (int64_t i = 0; i < r.place; ++i) sizes.push_back(self.sizes()[r.slice[i]]);
  for (int64_t n : r.positions) sizes.push_back(n);
  for (int64_t i = r.place; i < r.slice.size(); ++i) sizes.push_back(self.sizes()[r.slice[i]]);
  return sizes;
}

// Arguments for pairing `table` with `value`, which has the strides given, in the result's shape.
IndexedCall call_for(const Tensor& table, const Indexed& r, char* value, IntList value_strides,
                     const char* op) {
  IndexedCall call(op, table, value);
  const int64_t np = r.positions.size();
  call.wrap = true;
  call.positions(r.positions, value_strides.subspan(static_cast<size_t>(r.place), static_cast<size_t>(np)));
  for (size_t k = 0; k < r.indices.size(); ++k) {
    call.index(r.indices[k], expand_strides(r.indices[k].sizes(), r.indices[k].strides(), r.positions, op),
               r.dims[static_cast<int64_t>(k)]);
  }
  for (int64_t i = 0; i < r.slice.size(); ++i) {
    call.slice(r.slice[i], value_strides[static_cast<size_t>(i < r.place ? i : i + np)]);
  }
  return call;
}

}  // namespace

Tensor index(const Tensor& self, TensorList indices, IntList dims) {
  if (const Tensor* mask = whole_mask(self, indices)) return masked_select(self, *mask, {});
  Indexed r = resolve(self, indices, dims);
  Tensor result = empty(result_sizes(self, r), self.dtype(), self.device());
  if (r.indices.empty()) {
    copy_(result, self);
    return result;
  }
  call_for(self, r, result.data(), result.strides(), "index")
      .run(cpu_kernels().index.read[move_size(self.dtype())]);
  return result;
}

Tensor index_put(const Tensor& self, TensorList indices, IntList dims, const Tensor& values, bool accumulate,
                 Out out) {
  check(self.dtype() == values.dtype(), "Index put requires the source and destination dtypes match, got ",
        dtype_scalar_name(self.dtype()), " for the destination and ", dtype_scalar_name(values.dtype()),
        " for the source.");
  // Several sums into one element would race; of several values any may stay.
  Tensor result = start_from(self, out, "index_put", !accumulate);
  const Tensor* mask = whole_mask(result, indices);
  if (mask && !accumulate && values.dim() == 1 && values.numel() > 1) {
    masked_assign(result, apart_from(result, *mask), values);
    return result;
  }
  Indexed r = resolve(result, indices, dims);
  Dims sizes = result_sizes(result, r);
  // As in an assignment, leading dims of size 1 of the values may be too many.
  Tensor source = apart_from(result, values);
  Dims have = source.sizes(), strides = source.strides();
  while (have.size() > sizes.size() && have[0] == 1) {
    have.erase(0);
    strides.erase(0);
  }
  bool fits = have.size() <= sizes.size();
  for (int64_t i = 0; fits && i < have.size(); ++i)
    fits = have[i] == 1 || have[i] == sizes[sizes.size() - have.size() + i];
  check(fits, "shape mismatch: value tensor of shape ", values.sizes(),
        " cannot be broadcast to indexing result of shape ", sizes);
  if (r.indices.empty()) {
    check(!accumulate, "index_put: accumulate needs an index tensor");
    copy_(result, source);
    return result;
  }
  for (Tensor& t : r.indices) t = apart_from(result, t);
  const auto& kernels = cpu_kernels().index;
  Dims value_strides = expand_strides(have, strides, sizes, "index_put");
  call_for(result, r, source.data(), value_strides, "index_put")
      .run(accumulate ? kernels.add[static_cast<int>(result.dtype())]
                      : kernels.write[move_size(result.dtype())]);
  return result;
}

// ---- one index tensor for one dim ----

namespace {

// The index as a list of int64, checked.
Tensor index_list(const Tensor& index, const char* op) {
  check_index(index.dim() <= 1, op, "(): Index is supposed to be a vector, got shape ", index.sizes());
  check(index.dtype() == DType::int64 || index.dtype() == DType::int32, op,
        "(): Expected dtype int32/int64 for index, got ", index.dtype());
  return to_int64(index);
}

// A 0-dim tensor seen as a list of one element.
Tensor at_least_1d(const Tensor& t) { return t.dim() ? t : t.view_as({1}, {1}, t.offset()); }

IndexedCall call_along(const Tensor& table, int64_t dim, const Tensor& index, char* value,
                       IntList value_strides, const char* op) {
  IndexedCall call(op, table, value);
  call.wrap = false;
  const int64_t count = index.numel();
  call.positions({&count, 1}, value_strides.subspan(static_cast<size_t>(dim), 1));
  call.index(index, Dims{index.dim() ? index.strides()[0] : 0}, dim);
  for (int64_t d = 0; d < table.dim(); ++d) {
    if (d != dim) call.slice(d, value_strides[static_cast<size_t>(d)]);
  }
  return call;
}

void check_source(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& source,
                  const char* op) {
  check(self.dtype() == source.dtype(), op, "(): self (", self.dtype(), ") and source (", source.dtype(),
        ") must have the same dtype");
  const bool add = std::strcmp(op, "index_copy") != 0;  // PyTorch's classes of errors differ
  auto require = [&](bool cond, const auto&... parts) {
    add ? check(cond, parts...) : check_index(cond, parts...);
  };
  require(self.dim() == source.dim() || source.dim() == 0 || self.dim() == 0, op, "(): source of shape ",
          source.sizes(), " and self of shape ", self.sizes(), " must have the same number of dimensions");
  const int64_t given = source.dim() ? source.sizes()[dim] : 1;
  require(given == index.numel(), op, "(): Number of indices (", index.numel(),
          ") should be equal to source.size(dim): (", given, "), for dim: ", dim);
  for (int64_t d = 0; d < self.dim() && d < source.dim(); ++d) {
    check(d == dim || self.sizes()[d] == source.sizes()[d], op, "(): The size of tensor self (", self.sizes(),
          ") must match the size of source tensor (", source.sizes(), ") in dimension ", d);
  }
}

// The common course of index_add and index_copy.
Tensor write_along(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& source, bool add,
                   Out out, const char* op) {
  dim = wrap_dim(dim, self.dim(), op);
  Tensor list = index_list(index, op);
  check_source(self, dim, list, source, op);
  Tensor result = start_from(self, out, op);
  Tensor to = at_least_1d(result), from = at_least_1d(apart_from(result, source));
  if (from.dim() != to.dim()) from = from.view_as(Dims(to.dim(), 1), Dims(to.dim(), 0), from.offset());
  list = apart_from(result, list);
  const auto& kernels = cpu_kernels().index;
  call_along(to, dim, list, from.data(), from.strides(), op)
      .run(add ? kernels.add[static_cast<int>(to.dtype())] : kernels.write[move_size(to.dtype())]);
  return result;
}

}  // namespace

Tensor index_select(const Tensor& self, int64_t dim, const Tensor& index, Out out) {
  dim = wrap_dim(dim, self.dim(), "index_select");
  Tensor list = index_list(index, "index_select");
  check_index(self.dim() > 0 || list.numel() == 1,
              "index_select(): Index to scalar can have only 1 value, got ", list.numel(), " value(s)");
  check_apart(out, {&self, &index}, "index_select");
  Dims sizes = self.sizes();
  if (self.dim()) sizes[dim] = list.numel();
  check(!out || out.target->dtype() == self.dtype(),
        "index_select(): self and result must have the same scalar type");
  Tensor result = make_result(sizes, self.dtype(), self.device(), out, "index_select");
  Tensor from = at_least_1d(self), to = at_least_1d(result);
  call_along(from, dim, list, to.data(), to.strides(), "index_select")
      .run(cpu_kernels().index.read[move_size(self.dtype())]);
  return finish_result(result, out);
}

Tensor index_add(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& source,
                 const Scalar& alpha, Out out) {
  const bool scaled = alpha.is_complex() || alpha.to_double() != 1;
  return write_along(self, dim, index, scaled ? mul(source, alpha, {}) : source, true, out, "index_add");
}

Tensor index_copy(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& source, Out out) {
  check(index.dtype() == DType::int64, "index_copy_(): Expected a long tensor for index, but got ",
        index.dtype());
  return write_along(self, dim, index, source, false, out, "index_copy");
}

Tensor index_fill(const Tensor& self, int64_t dim, const Tensor& index, const Operand& value, Out out) {
  dim = wrap_dim(dim, self.dim(), "index_fill");
  check_index(index.dtype() == DType::int64, "index_fill_(): Expected dtype int64 for index.");
  check(!value.is_tensor() || value.tensor().dim() == 0,
        "index_fill_ only supports a 0-dimensional value tensor, but got tensor with ",
        value.is_tensor() ? value.tensor().dim() : 0, " dimension(s).");
  Scalar number = value.is_tensor() ? item(value.tensor(), "index_fill") : value.scalar();
  check(is_complex(self.dtype()) || !number.is_complex(),
        "index_fill_(): Converting complex Scalar to non-complex type is not supported");
  Tensor result = start_from(self, out, "index_fill", true);
  Tensor list = apart_from(result, index_list(index, "index_fill"));
  Tensor to = at_least_1d(result), from = scalar_tensor(number, self.dtype(), self.device());
  IndexedCall call = call_along(to, dim, list, from.data(), Dims(to.dim(), 0), "index_fill");
  call.wrap = true;
  call.run(cpu_kernels().index.write[move_size(to.dtype())]);
  return result;
}

Tensor index_reduce(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& source,
                    const std::string& reduce, bool include_self, Out out) {
  dim = wrap_dim(dim, self.dim(), "index_reduce");
  check(reduce == "prod" || reduce == "mean" || reduce == "amax" || reduce == "amin",
        "index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got ", reduce, ".");
  Tensor list = index_list(index, "index_reduce");
  check_source(self, dim, list, source, "index_reduce");
  Dims strides(source.dim(), 0);
  if (source.dim()) strides[dim] = list.dim() ? list.strides()[0] : 0;
  return scatter_reduce(self, dim, list.view_as(source.sizes(), strides, list.offset()), source, reduce,
                        include_self, out);
}

}  // namespace ctorch::ops
