// gather and scatter along a dim; take and put, which see a tensor as a flat list.
#include <algorithm>
#include <limits>

#include "kernels/table.h"
#include "ops/elementwise.h"
#include "ops/index.h"
#include "ops/index_target.h"
#include "ops/indexed.h"

namespace ctorch::ops {
namespace {

void check_index_dtype(const Tensor& index, const char* op) {
  check(index.numel() == 0 || index.dtype() == DType::int64 || index.dtype() == DType::int32, op,
        "(): Expected dtype int32/int64 for index, got ", index.dtype());
}

int64_t ndim_of(const Tensor& t) { return std::max<int64_t>(t.dim(), 1); }

// index, like `other`, must not be larger than it, except along dim.
void check_shape(const Tensor& index, const Tensor& other, int64_t dim, bool along_dim_too, const char* op,
                 const char* what) {
  check(ndim_of(index) == ndim_of(other), op, "(): Index tensor must have the same number of dimensions as ",
        what, " tensor, got ", index.sizes(), " and ", other.sizes());
  for (int64_t d = 0; d < index.dim(); ++d) {
    const int64_t limit = other.dim() ? other.sizes()[d] : 1;
    check((d == dim && !along_dim_too) || index.sizes()[d] <= limit, op,
          "(): Size does not match at dimension ", d, " expected index ", index.sizes(),
          " to be no larger than ", what, " ", other.sizes(), " apart from dimension ", dim);
  }
}

// Pairs table and value (a pointer and strides) at index, along dim.
void run_along(BadIndex (*kernel)(const AlongDimArgs&), const Tensor& table, const Tensor& index, char* value,
               IntList value_strides, int64_t dim, const char* op) {
  if (index.numel() == 0) return;
  Dims sizes, index_strides, table_strides, strides;
  for (int64_t d = 0; d < index.dim(); ++d) {
    const int64_t n = index.sizes()[d], last = sizes.size() - 1;
    const int64_t is = index.strides()[d], ts = table.dim() ? table.strides()[d] : 0,
                  vs = value_strides.empty() ? 0 : value_strides[static_cast<size_t>(d)];
    if (d == dim || n == 1) continue;
    if (last >= 0 && index_strides[last] == n * is && table_strides[last] == n * ts &&
        strides[last] == n * vs) {
      sizes[last] *= n;
      index_strides[last] = is;
      table_strides[last] = ts;
      strides[last] = vs;
    } else {
      sizes.push_back(n);
      index_strides.push_back(is);
      table_strides.push_back(ts);
      strides.push_back(vs);
    }
  }
  check(sizes.size() <= kMaxIndexedDims, op, ": more than ", kMaxIndexedDims, " dimensions");
  const bool scalar_index = index.dim() == 0, scalar_table = table.dim() == 0;
  const int64_t bound = scalar_table ? 1 : table.sizes()[dim];
  BadIndex bad = kernel({.ndim = sizes.size(),
                         .sizes = sizes.data(),
                         .index_strides = index_strides.data(),
                         .table_strides = table_strides.data(),
                         .value_strides = strides.data(),
                         .length = scalar_index ? 1 : index.sizes()[dim],
                         .bound = bound,
                         .index_stride = scalar_index ? 1 : index.strides()[dim],
                         .table_stride = scalar_table ? 1 : table.strides()[dim],
                         .value_stride = value_strides.empty() ? 1 : value_strides[static_cast<size_t>(dim)],
                         .index = index.data<const int64_t>(),
                         .table = table.data(),
                         .value = value});
  if (bad.tensor >= 0)
    fail(ErrorKind::runtime, "index ", bad.value, " is out of bounds for dimension ", dim, " with size ",
         bound, " (", op, ")");
}

using Kernel = BadIndex (*)(const AlongDimArgs&);

// Writes src (or one value for all, if its strides are 0) into a copy of self, by a kernel.
Tensor scatter_into(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& src, bool one_value,
                    Kernel kernel, Out out, const char* op) {
  dim = wrap_dim(dim, self.dim(), op);
  check_index_dtype(index, op);
  if (index.numel() > 0) {
    check_shape(index, self, dim, false, op, "self");
    if (!one_value) {
      check(src.dtype() == self.dtype(), op, "(): Expected self.dtype to be equal to src.dtype, got ",
            self.dtype(), " and ", src.dtype());
      check_shape(index, src, dim, true, op, "src");
    }
  }
  if (!out.inplace) check_apart(out, {&index, &src}, op);
  Tensor result = start_from(self, out, op);
  if (index.numel() == 0) return result;
  check_implemented(kernel, op, ": not implemented for dtype ", self.dtype());
  Tensor from = apart_from(result, src);
  run_along(kernel, result, apart_from(result, to_int64(index)), from.data(),
            one_value    ? Dims(index.dim(), 0)
            : from.dim() ? from.strides()
                         : Dims(index.dim(), 0),
            dim, op);
  return result;
}

Tensor number(const Scalar& value, const Tensor& like, const char* op) {
  check(is_complex(like.dtype()) || !value.is_complex(), op, "(): value cannot be converted to type ",
        like.dtype(), " without overflow");
  return scalar_tensor(value, like.dtype(), like.device());
}

Kernel reduce_kernel(ScatterOp op, DType dt) {
  return cpu_kernels().index.scatter_reduce[static_cast<int>(op)][static_cast<int>(dt)];
}
Kernel assign_kernel(DType dt) { return cpu_kernels().index.scatter[move_size(dt)]; }

Kernel old_reduce_kernel(const std::string& reduce, DType dt) {
  check(reduce == "add" || reduce == "multiply",
        "scatter(): reduce argument must be either add or multiply, got ", reduce);
  return reduce_kernel(reduce == "add" ? ScatterOp::add : ScatterOp::multiply, dt);
}

// What the reduction starts from where self does not count.
Tensor identity_of(ScatterOp op, DType dt) {
  Tensor t = empty({}, dt);
  visit_dtype<AllTypes>(dt, "scatter_reduce", [&]<class T>() {
    T value{};
    if (op == ScatterOp::multiply) value = Scalar(1).to<T>();
    if constexpr (!is_complex_v<T>) {
      const bool low = op == ScatterOp::amax;
      if (op == ScatterOp::amax || op == ScatterOp::amin) {
        if constexpr (is_float_v<T>) {
          value =
              Scalar(low ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity())
                  .to<T>();
        } else {
          value = low ? std::numeric_limits<T>::min() : std::numeric_limits<T>::max();
        }
      }
    }
    *t.data<T>() = value;
  });
  return t;
}

}  // namespace

Tensor gather(const Tensor& self, int64_t dim, const Tensor& index, bool, Out out) {
  dim = wrap_dim(dim, self.dim(), "gather");
  check_index_dtype(index, "gather");
  if (index.numel() > 0) check_shape(index, self, dim, false, "gather", "input");
  check(!out || out.target->dtype() == self.dtype(),
        "gather(): Expected self.dtype to be equal to out.dtype");
  check_apart(out, {&self, &index}, "gather");
  Tensor list = to_int64(index);
  Tensor result = make_result(index.sizes(), self.dtype(), self.device(), out, "gather");
  run_along(cpu_kernels().index.gather[move_size(self.dtype())], self, list, result.data(), result.strides(),
            dim, "gather");
  return finish_result(result, out);
}

Tensor wrap_indices(const Tensor& index, int64_t size) {
  check(index.dtype() == DType::int64, "wrap_indices: expected an int64 tensor, got ", index.dtype());
  Tensor list = contiguous(index);
  const int64_t n = list.numel(), *from = list.data<const int64_t>();
  int64_t signs = 0;
  for (int64_t i = 0; i < n; ++i) signs |= from[i];
  if (signs >= 0) return index;
  Tensor result = empty(index.sizes(), DType::int64, index.device());
  for (int64_t i = 0; i < n; ++i) result.data<int64_t>()[i] = from[i] < 0 ? from[i] + size : from[i];
  return result;
}

Tensor scatter(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& src, Out out) {
  return scatter_into(self, dim, index, src, false, assign_kernel(self.dtype()), out, "scatter");
}

Tensor scatter_value(const Tensor& self, int64_t dim, const Tensor& index, const Scalar& value, Out out) {
  return scatter_into(self, dim, index, number(value, self, "scatter"), true, assign_kernel(self.dtype()),
                      out, "scatter");
}

Tensor scatter_with_reduce(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& src,
                           const std::string& reduce, Out out) {
  return scatter_into(self, dim, index, src, false, old_reduce_kernel(reduce, self.dtype()), out, "scatter");
}

Tensor scatter_value_with_reduce(const Tensor& self, int64_t dim, const Tensor& index, const Scalar& value,
                                 const std::string& reduce, Out out) {
  return scatter_into(self, dim, index, number(value, self, "scatter"), true,
                      old_reduce_kernel(reduce, self.dtype()), out, "scatter");
}

Tensor scatter_add(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& src, Out out) {
  return scatter_into(self, dim, index, src, false, reduce_kernel(ScatterOp::add, self.dtype()), out,
                      "scatter_add");
}

Tensor scatter_reduce(const Tensor& self, int64_t dim, const Tensor& index, const Tensor& src,
                      const std::string& reduce, bool include_self, Out out) {
  struct Name {
    const char* text;
    ScatterOp op;
  };
  constexpr Name kNames[] = {{"sum", ScatterOp::add},
                             {"mean", ScatterOp::add},
                             {"prod", ScatterOp::multiply},
                             {"amax", ScatterOp::amax},
                             {"amin", ScatterOp::amin}};
  const auto* name =
      std::find_if(std::begin(kNames), std::end(kNames), [&](const Name& n) { return reduce == n.text; });
  check(name != std::end(kNames),
        "scatter_reduce(): reduce argument must be either sum, prod, mean, amax or amin, got ", reduce);
  Kernel kernel = reduce_kernel(name->op, self.dtype());
  if (include_self && reduce != "mean")
    return scatter_into(self, dim, index, src, false, kernel, out, "scatter_reduce");

  Tensor result = start_from(self, out, "scatter_reduce");
  const Out in_place{&result, true};
  Tensor list = apart_from(result, index), from = apart_from(result, src);
  if (!include_self) {
    scatter_into(result, dim, list, identity_of(name->op, self.dtype()), true, assign_kernel(self.dtype()),
                 in_place, "scatter_reduce");
  }
  scatter_into(result, dim, list, from, false, kernel, in_place, "scatter_reduce");
  if (reduce == "mean") {
    Tensor counts = empty(self.sizes(), self.dtype(), self.device());
    fill_(counts, Scalar(1));
    const Out into_counts{&counts, true};
    Tensor one = scalar_tensor(Scalar(1), self.dtype());
    if (!include_self) {  // 0 where something is written, and 1, which changes nothing, elsewhere
      scatter_into(counts, dim, list, scalar_tensor(Scalar(0), self.dtype()), true,
                   assign_kernel(self.dtype()), into_counts, "scatter_reduce");
    }
    scatter_into(counts, dim, list, one, true, reduce_kernel(ScatterOp::add, self.dtype()), into_counts,
                 "scatter_reduce");
    if (is_differentiable(self.dtype())) {
      div(result, counts, in_place);
    } else {
      floor_divide(result, counts, in_place);
    }
  }
  return result;
}

// ---- the tensor as a flat list ----

Tensor take(const Tensor& self, const Tensor& index, Out out) {
  check(index.dtype() == DType::int64, "take(): Expected a long tensor for index, but got ", index.dtype());
  check_index(self.numel() > 0 || index.numel() == 0, "take(): tried to take from an empty tensor");
  check(!out || out.target->dtype() == self.dtype(),
        "take(): self and out expected to have the same dtype, got self ", self.dtype());
  check_apart(out, {&self, &index}, "take");
  Tensor flat = contiguous(self);
  flat = flat.view_as({flat.numel()}, {1}, flat.offset());
  Tensor result = make_result(index.sizes(), self.dtype(), self.device(), out, "take");
  IndexedCall call("take", flat, result.data());
  call.wrap = true;
  call.positions(index.sizes(), result.strides());
  call.index(index, index.strides(), 0);
  call.run(cpu_kernels().index.read[move_size(self.dtype())]);
  return finish_result(result, out);
}

Tensor put(const Tensor& self, const Tensor& index, const Tensor& source, bool accumulate, Out out) {
  check(index.dtype() == DType::int64, "put_(): Expected a long tensor for index, but got ", index.dtype());
  check(self.dtype() == source.dtype(),
        "put_(): self and source expected to have the same dtype, but got self.dtype = ", self.dtype(),
        " and source.dtype = ", source.dtype());
  check(index.numel() == source.numel(),
        "put_(): Expected source and index to have the same number of elements, but got source.numel() = ",
        source.numel(), ", index.numel() = ", index.numel());
  check_index(self.numel() > 0 || index.numel() == 0, "put_(): Tried to put elements into an empty tensor");
  Tensor result = start_from(self, out, "put");
  Tensor flat = contiguous(result);  // a copy if result is not contiguous: it goes back at the end
  const bool copied = !flat.is_same(result);
  Tensor list = contiguous(apart_from(result, index)), from = contiguous(apart_from(result, source));
  Tensor line = flat.view_as({flat.numel()}, {1}, flat.offset());
  IndexedCall call("put_", line, from.data());
  call.wrap = true;
  const int64_t n = list.numel();
  call.positions({&n, 1}, Dims{1});
  call.index(list, Dims{1}, 0);
  const auto& kernels = cpu_kernels().index;
  call.run(accumulate ? kernels.add[static_cast<int>(self.dtype())] : kernels.write[move_size(self.dtype())]);
  if (copied) copy_(result, flat);
  return result;
}

}  // namespace ctorch::ops
