// sort and what is picked from an ordered line: topk, kthvalue, median, mode.
#include "ops/sort.h"

#include <algorithm>

#include "kernels/table.h"
#include "ops/index_target.h"

namespace ctorch::ops {
namespace {

Tensor swapped(const Tensor& t, int64_t a, int64_t b) {
  if (a == b) return t;
  Dims sizes = t.sizes(), strides = t.strides();
  std::swap(sizes[a], sizes[b]);
  std::swap(strides[a], strides[b]);
  return t.view_as(std::move(sizes), std::move(strides), t.offset());
}

// A tensor with the lines along one of its dims contiguous and last, as the kernels want them.
struct Lines {
  Tensor data;
  int64_t dim, last, length, count;

  Lines(const Tensor& t, int64_t d, const char* op)
      : dim(wrap_dim(d, t.dim(), op)), last(std::max<int64_t>(t.dim() - 1, 0)) {
    data = t.dim() ? contiguous(swapped(t, dim, last)) : t;
    length = t.dim() ? t.sizes()[dim] : 1;
    count = length ? t.numel() / length : 0;
  }
  // A result with `n` elements per line, in the layout of the kernels.
  Tensor result(int64_t n, DType dtype) const {
    Dims sizes = data.sizes();
    if (sizes.size()) sizes[last] = n;
    return empty(sizes, dtype, data.device());
  }
  // That result with the dims of the operation's input.
  Tensor restore(const Tensor& t) const { return contiguous(swapped(t, dim, last)); }
};

template <class Kernel>
Kernel found(Kernel kernel, const char* op, DType dt) {
  check_implemented(kernel, op, ": not implemented for dtype ", dt);
  return kernel;
}

struct Sorted {
  Tensor values, indices;  // in the layout of Lines
};

Sorted sort_lines(const Lines& lines, bool descending, bool want_values, const char* op) {
  const DType dt = lines.data.dtype();
  Sorted s{want_values ? lines.result(lines.length, dt) : Tensor(), lines.result(lines.length, DType::int64)};
  found(cpu_kernels().sort.sort[static_cast<int>(dt)], op,
        dt)({.lines = lines.count,
             .length = lines.length,
             .descending = descending,
             .in = lines.data.data(),
             .values = want_values ? s.values.data() : nullptr,
             .indices = s.indices.data<int64_t>()});
  return s;
}

// A result in the order of dims of `like`, as PyTorch's sort has it.
Tensor laid_out_as(const Tensor& like, const Lines& lines, const Tensor& t) {
  if (lines.dim == lines.last && like.is_contiguous()) return t;
  Tensor result = is_dense(like.sizes(), like.strides()) ? empty_like(like, t.dtype())
                                                         : empty(like.sizes(), t.dtype(), like.device());
  copy_(result, swapped(t, lines.dim, lines.last));
  return result;
}

// The values at `indices`, one for each line, and the indices, in the shape of a reduction.
std::tuple<Tensor, Tensor> picked(const Tensor& self, const Lines& lines, const Tensor& indices,
                                  bool keepdim) {
  Tensor values = lines.result(1, self.dtype());
  const int64_t bytes = self.item_size();
  for (int64_t i = 0; i < lines.count; ++i) {
    const int64_t at = indices.data<const int64_t>()[i];
    std::memcpy(values.data() + i * bytes, lines.data.data() + (i * lines.length + at) * bytes,
                static_cast<size_t>(bytes));
  }
  auto shape = [&](const Tensor& t) {
    if (self.dim() == 0) return t;
    Tensor r = lines.restore(t);
    if (keepdim) return r;
    Dims sizes = r.sizes();
    sizes.erase(lines.dim);
    Dims strides = contiguous_strides(sizes);
    return r.view_as(std::move(sizes), std::move(strides), r.offset());
  };
  return {shape(values), shape(indices)};
}

// What a sort would put at `position` of every line.
std::tuple<Tensor, Tensor> select_at(const Tensor& self, const Lines& lines, const int64_t* position,
                                     bool keepdim, const char* op) {
  Tensor indices = lines.result(1, DType::int64);
  found(cpu_kernels().sort.select[static_cast<int>(self.dtype())], op,
        self.dtype())({.lines = lines.count,
                       .length = lines.length,
                       .in = lines.data.data(),
                       .position = position,
                       .indices = indices.data<int64_t>()});
  return picked(self, lines, indices, keepdim);
}

void check_not_empty(const Tensor& self, const Lines& lines, const char* op) {
  check_index(lines.length > 0 || self.numel() > 0, op, "(): Expected reduction dim ", lines.dim,
              " to have non-zero size.");
}

std::tuple<Tensor, Tensor> median_of(const Tensor& self, int64_t dim, bool keepdim, bool ignore_nan,
                                     const char* op) {
  Lines lines(self, dim, op);
  check_not_empty(self, lines, op);
  Tensor position = empty(Dims{lines.count}, DType::int64);
  int64_t* p = position.data<int64_t>();
  found(cpu_kernels().sort.count_nan[static_cast<int>(self.dtype())], op, self.dtype())(
      lines.data.data(), lines.count, lines.length, p);
  for (int64_t i = 0; i < lines.count; ++i) {
    const int64_t numbers = lines.length - p[i];
    p[i] = !ignore_nan && p[i] > 0 ? numbers : std::max<int64_t>(numbers - 1, 0) / 2;
  }
  return select_at(self, lines, p, keepdim, op);
}

Tensor median_of_all(const Tensor& self, bool ignore_nan, const char* op) {
  if (self.numel() == 0) {
    return scalar_tensor(Scalar(std::numeric_limits<double>::quiet_NaN()), self.dtype(), self.device());
  }
  Tensor flat = contiguous(self);
  return std::get<0>(median_of(flat.view_as({flat.numel()}, {1}, flat.offset()), 0, false, ignore_nan, op));
}

}  // namespace

std::tuple<Tensor, Tensor> sort(const Tensor& self, int64_t dim, bool descending, bool) {
  Lines lines(self, dim, "sort");
  Sorted s = sort_lines(lines, descending, true, "sort");
  return {laid_out_as(self, lines, s.values), laid_out_as(self, lines, s.indices)};
}

Tensor argsort(const Tensor& self, int64_t dim, bool descending, bool) {
  Lines lines(self, dim, "argsort");
  return laid_out_as(self, lines, sort_lines(lines, descending, false, "argsort").indices);
}

std::tuple<Tensor, Tensor> topk(const Tensor& self, int64_t k, int64_t dim, bool largest, bool) {
  Lines lines(self, dim, "topk");
  check(k >= 0 && k <= lines.length, "topk: selected index k out of range: got k=", k,
        " for a dimension of size ", lines.length);
  Tensor values = lines.result(k, self.dtype()), indices = lines.result(k, DType::int64);
  if (self.dim() == 0 && k == 0) return {empty(Dims{0}, self.dtype()), empty(Dims{0}, DType::int64)};
  found(cpu_kernels().sort.topk[static_cast<int>(self.dtype())], "topk",
        self.dtype())({.lines = lines.count,
                       .length = lines.length,
                       .k = k,
                       .largest = largest,
                       .in = lines.data.data(),
                       .values = values.data(),
                       .indices = indices.data<int64_t>()});
  return {lines.restore(values), lines.restore(indices)};
}

std::tuple<Tensor, Tensor> kthvalue(const Tensor& self, int64_t k, int64_t dim, bool keepdim) {
  Lines lines(self, dim, "kthvalue");
  check_not_empty(self, lines, "kthvalue");
  check(k >= 1 && k <= lines.length, "kthvalue(): selected number k out of range for dimension ", lines.dim,
        ": got k=", k);
  Tensor position = empty(Dims{lines.count}, DType::int64);
  fill_(position, Scalar(k - 1));
  return select_at(self, lines, position.data<int64_t>(), keepdim, "kthvalue");
}

std::tuple<Tensor, Tensor> median_dim(const Tensor& self, int64_t dim, bool keepdim) {
  return median_of(self, dim, keepdim, false, "median");
}
std::tuple<Tensor, Tensor> nanmedian_dim(const Tensor& self, int64_t dim, bool keepdim) {
  return median_of(self, dim, keepdim, true, "nanmedian");
}
Tensor median(const Tensor& self) { return median_of_all(self, false, "median"); }
Tensor nanmedian(const Tensor& self) { return median_of_all(self, true, "nanmedian"); }

std::tuple<Tensor, Tensor> mode(const Tensor& self, int64_t dim, bool keepdim) {
  Lines lines(self, dim, "mode");
  check_not_empty(self, lines, "mode");
  Sorted s = sort_lines(lines, false, true, "mode");
  Tensor position = empty(Dims{lines.count}, DType::int64);
  if (lines.count) {
    cpu_kernels().sort.mode[static_cast<int>(self.dtype())](s.values.data(), lines.count, lines.length,
                                                            position.data<int64_t>());
  }
  Tensor indices = lines.result(1, DType::int64);
  for (int64_t i = 0; i < lines.count; ++i) {
    indices.data<int64_t>()[i] =
        s.indices.data<const int64_t>()[i * lines.length + position.data<const int64_t>()[i]];
  }
  return picked(self, lines, indices, keepdim);
}

}  // namespace ctorch::ops
