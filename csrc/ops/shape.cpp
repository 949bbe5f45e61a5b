#include "ops/shape.h"

#include <algorithm>

#include "kernels/table.h"
#include "ops/index_target.h"

namespace ctorch::ops {

Tensor repeat(const Tensor& self, IntList repeats) {
  const int64_t n = static_cast<int64_t>(repeats.size()), lead = n - self.dim();
  check(lead >= 0,
        "repeat: Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor, "
        "got ",
        ShapeText{repeats}, " for shape ", self.sizes());
  Dims sizes(n), from_strides, to_strides, pairs;
  for (int64_t d = 0; d < n; ++d) {
    check(repeats[d] >= 0, "repeat: Trying to create tensor with negative dimension ", repeats[d]);
    check(!__builtin_mul_overflow(repeats[d], d < lead ? 1 : self.sizes()[d - lead], &sizes[d]),
          "repeat: the size of dimension ", d, " overflows");
  }
  Tensor result = empty(sizes, self.dtype(), self.device());
  if (result.numel() == 0) return result;
  // Both as (repeats, size) per dim; the input stands still along the first.
  for (int64_t d = 0; d < n; ++d) {
    const int64_t size = d < lead ? 1 : self.sizes()[d - lead], step = result.strides()[d];
    pairs.push_back(repeats[d]);
    from_strides.push_back(0);
    to_strides.push_back(step * size);
    pairs.push_back(size);
    from_strides.push_back(d < lead ? 0 : self.strides()[d - lead]);
    to_strides.push_back(step);
  }
  copy_(result.view_as(pairs, to_strides, 0), self.view_as(pairs, from_strides, self.offset()));
  return result;
}

Tensor flip(const Tensor& self, IntList dims) {
  Dims wrapped = wrap_dims(dims, self.dim(), "flip", false);
  Tensor result = empty_like(self);
  if (self.numel() == 0) return result;
  Dims strides = self.strides();
  int64_t offset = self.offset();
  const int64_t last = self.dim() - 1;
  const bool rows = last >= 0 && std::find(wrapped.begin(), wrapped.end(), last) != wrapped.end() &&
                    strides[last] == 1 && result.strides()[last] == 1 && self.sizes()[last] >= 16 &&
                    last <= kMaxIndexedDims;
  for (int64_t d : wrapped) {
    if (self.dim() == 0 || (rows && d == last)) continue;
    offset += (self.sizes()[d] - 1) * strides[d];
    strides[d] = -strides[d];
  }
  if (!rows) {
    copy_(result, self.view_as(self.sizes(), strides, offset));
    return result;
  }
  cpu_kernels().index.reverse[move_size(self.dtype())](
      {.ndim = last,
       .length = self.sizes()[last],
       .sizes = self.sizes().data(),
       .in_strides = strides.data(),
       .out_strides = result.strides().data(),
       .in = self.data() + (offset - self.offset()) * self.item_size(),
       .out = result.data()});
  return result;
}

namespace {

Tensor narrowed(const Tensor& t, int64_t dim, int64_t start, int64_t length) {
  Dims sizes = t.sizes();
  sizes[dim] = length;
  return t.view_as(std::move(sizes), t.strides(), t.offset() + (length ? start * t.strides()[dim] : 0));
}

// Each dim in turn is cut where its end wraps round.
void roll_parts(const Tensor& from, const Tensor& to, IntList shifts, IntList dims) {
  if (from.numel() == 0) return;
  if (dims.empty()) {
    copy_(to, from);
    return;
  }
  const int64_t d = dims[0], size = from.sizes()[d], shift = ((shifts[0] % size) + size) % size;
  IntList rest_shifts = shifts.subspan(1), rest = dims.subspan(1);
  roll_parts(narrowed(from, d, 0, size - shift), narrowed(to, d, shift, size - shift), rest_shifts, rest);
  if (shift) roll_parts(narrowed(from, d, size - shift, shift), narrowed(to, d, 0, shift), rest_shifts, rest);
}

}  // namespace

Tensor roll(const Tensor& self, IntList shifts, IntList dims) {
  check(!shifts.empty(), "roll: `shifts` required");
  if (dims.empty()) {
    check(shifts.size() == 1, "roll: shifts and dimensions must align. shifts: ", shifts.size(), ", dims:0");
    Tensor flat = contiguous(self), result = empty(self.sizes(), self.dtype(), self.device());
    const Dims line{flat.numel()}, zero{0};
    roll_parts(flat.view_as(line, {1}, flat.offset()), result.view_as(line, {1}, 0), shifts, zero);
    return result;
  }
  check(shifts.size() == dims.size(), "roll: shifts and dimensions must align. shifts: ", shifts.size(),
        ", dims:", dims.size());
  Tensor result = empty(self.sizes(), self.dtype(), self.device());
  // A dim that is named twice is shifted by the sum.
  Dims once, sums;
  for (size_t i = 0; i < dims.size(); ++i) {
    check_index(self.dim() > 0, "roll: Dimension specified as ", dims[i], " but tensor has no dimensions");
    const int64_t d = wrap_dim(dims[i], self.dim(), "roll");
    auto at = std::find(once.begin(), once.end(), d);
    const int64_t size = std::max<int64_t>(self.sizes()[d], 1);
    if (at == once.end()) {
      once.push_back(d);
      sums.push_back(shifts[i] % size);
    } else {
      sums[at - once.begin()] = (sums[at - once.begin()] + shifts[i] % size) % size;
    }
  }
  roll_parts(self, result, sums, once);
  return result;
}

namespace {

Tensor triangle(const Tensor& self, int64_t diagonal, bool upper, Out out, const char* op) {
  check(self.dim() >= 2, op, ": input tensor must have at least 2 dimensions, got shape ", self.sizes());
  check(self.dim() - 2 <= kMaxIndexedDims, op, ": more than ", kMaxIndexedDims, " dimensions");
  Tensor result;
  if (out.inplace) {
    result = start_from(self, out, op);
  } else if (out) {
    result = make_result(self.sizes(), self.dtype(), self.device(), out, op);
  } else {
    result = empty_like(self);
  }
  const int64_t n = self.dim() - 2;
  const Dims &from = self.strides(), &to = result.strides();
  cpu_kernels().index.triangle[move_size(self.dtype())]({.batch_ndim = n,
                                                         .batch_sizes = self.sizes().data(),
                                                         .in_batch_strides = from.data(),
                                                         .out_batch_strides = to.data(),
                                                         .rows = self.sizes()[n],
                                                         .cols = self.sizes()[n + 1],
                                                         .diagonal = diagonal,
                                                         .in_row_stride = from[n],
                                                         .in_col_stride = from[n + 1],
                                                         .out_row_stride = to[n],
                                                         .out_col_stride = to[n + 1],
                                                         .upper = upper,
                                                         .in = self.data(),
                                                         .out = result.data()});
  return out.inplace ? result : finish_result(result, out);
}

Tensor triangle_indices(int64_t rows, int64_t cols, int64_t offset, DType dtype, bool upper, const char* op) {
  check(rows >= 0 && cols >= 0, op, ": row and col must be non-negative, got ", rows, " and ", cols);
  check(dtype == DType::int64 || dtype == DType::int32, op, ": not implemented for dtype ", dtype);
  // Rows before `first` have no column below the diagonal, those from `whole` on have all. In 128 bits, as
  // sizes and offset may be as large as they like, and without walking over rows that are empty.
  const __int128 edge =
      static_cast<__int128>(offset) + (upper ? 0 : 1);  // of row 0: where its upper part begins
  const auto first = static_cast<int64_t>(std::clamp<__int128>(1 - edge, 0, rows));
  const auto whole = static_cast<int64_t>(std::clamp<__int128>(cols - edge, first, rows));
  const __int128 partial = static_cast<__int128>(whole - first) * (first + whole - 1 + 2 * edge) / 2;
  const __int128 below = partial + static_cast<__int128>(rows - whole) * cols;
  const __int128 elements = upper ? static_cast<__int128>(rows) * cols - below : below;
  check(elements <= INT64_MAX / 32, op, ": (", rows, ", ", cols, ") has more indices than memory can hold");
  const auto count = static_cast<int64_t>(elements);
  Tensor result = empty(Dims{2, count}, DType::int64);
  int64_t *row = result.data<int64_t>(), *col = row + count;
  const int64_t from = upper || cols == 0 ? 0 : first, to = cols == 0 ? 0 : upper ? whole : rows;
  for (int64_t r = from; r < to; ++r) {
    const auto start = static_cast<int64_t>(std::clamp<__int128>(r + edge, 0, cols));
    for (int64_t c = upper ? start : 0; c < (upper ? cols : start); ++c) {
      *row++ = r;
      *col++ = c;
    }
  }
  return dtype == DType::int64 ? result : to_dtype(result, dtype);
}

}  // namespace

Tensor tril(const Tensor& self, int64_t diagonal, Out out) {
  return triangle(self, diagonal, false, out, "tril");
}
Tensor triu(const Tensor& self, int64_t diagonal, Out out) {
  return triangle(self, diagonal, true, out, "triu");
}
Tensor tril_indices(int64_t row, int64_t col, int64_t offset, DType dtype) {
  return triangle_indices(row, col, offset, dtype, false, "tril_indices");
}
Tensor triu_indices(int64_t row, int64_t col, int64_t offset, DType dtype) {
  return triangle_indices(row, col, offset, dtype, true, "triu_indices");
}

Tensor diag_embed(const Tensor& self, int64_t offset, int64_t dim1, int64_t dim2) {
  const int64_t n = self.dim() + 1;
  const int64_t d1 = wrap_dim(dim1, n, "diag_embed"), d2 = wrap_dim(dim2, n, "diag_embed");
  check(d1 != d2, "diag_embed: diagonal dimensions cannot be identical ", dim1, ", ", dim2);
  check_index(self.dim() > 0, "diag_embed: Dimension specified as -1 but tensor has no dimensions");
  const int64_t length = self.sizes()[self.dim() - 1], side = length + std::abs(offset);
  Dims sizes(self.sizes());
  sizes.pop_back();
  sizes.insert(std::min(d1, d2), side);
  sizes.insert(std::max(d1, d2), side);
  Tensor result = empty(sizes, self.dtype(), self.device());
  zero_(result);
  Dims diagonal_sizes, diagonal_strides;
  for (int64_t d = 0; d < n; ++d) {
    if (d == d1 || d == d2) continue;
    diagonal_sizes.push_back(sizes[d]);
    diagonal_strides.push_back(result.strides()[d]);
  }
  diagonal_sizes.push_back(length);
  diagonal_strides.push_back(result.strides()[d1] + result.strides()[d2]);
  const int64_t start = length == 0   ? 0
                        : offset >= 0 ? offset * result.strides()[d2]
                                      : -offset * result.strides()[d1];
  copy_(result.view_as(diagonal_sizes, diagonal_strides, start), self);
  return result;
}

Tensor constant_pad_nd(const Tensor& self, IntList pad, const Scalar& value) {
  const int64_t n = self.dim(), pairs = static_cast<int64_t>(pad.size()) / 2;
  check(pad.size() % 2 == 0, "constant_pad_nd: Length of pad must be even but instead it equals ",
        pad.size());
  check(pairs <= n,
        "constant_pad_nd: Length of pad should be no more than twice the number of dimensions of the input. "
        "Pad length is ",
        pad.size(), " while the input has ", n, " dimensions.");
  Dims sizes = self.sizes(), inner_sizes = self.sizes(), from_start(n), to_start(n);
  for (int64_t i = 0; i < pairs; ++i) {
    const int64_t d = n - 1 - i, before = pad[static_cast<size_t>(2 * i)],
                  after = pad[static_cast<size_t>(2 * i + 1)];
    check(!__builtin_add_overflow(sizes[d], before, &sizes[d]) &&
              !__builtin_add_overflow(sizes[d], after, &sizes[d]),
          "constant_pad_nd: the size of dimension ", d, " overflows");
    check(sizes[d] >= 0, "constant_pad_nd: The input size ", self.sizes()[d], ", plus negative padding ",
          before, " and ", after, " resulted in a negative output size, which is invalid. Check dimension ",
          d, " of your input.");
    from_start[d] = std::max<int64_t>(-before, 0);
    to_start[d] = std::max<int64_t>(before, 0);
    inner_sizes[d] = std::max<int64_t>(std::min(sizes[d] - to_start[d], self.sizes()[d] - from_start[d]), 0);
  }
  const bool channels_last = !self.is_contiguous() && is_channels_last(self.sizes(), self.strides());
  Tensor result = channels_last
                      ? empty_strided(sizes, channels_last_strides(sizes), self.dtype(), self.device())
                      : empty(sizes, self.dtype(), self.device());
  fill_(result, value);
  int64_t from = self.offset(), to = 0, numel = 1;
  for (int64_t d = 0; d < n; ++d) {
    from += from_start[d] * self.strides()[d];
    to += to_start[d] * result.strides()[d];
    numel *= inner_sizes[d];
  }
  if (numel > 0)
    copy_(result.view_as(inner_sizes, result.strides(), to), self.view_as(inner_sizes, self.strides(), from));
  return result;
}

}  // namespace ctorch::ops
