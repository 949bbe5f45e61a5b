// masked_select, masked_scatter, nonzero.
#include "kernels/table.h"
#include "ops/index.h"
#include "ops/index_target.h"

namespace ctorch::ops {
namespace {

// A row-major mask, one byte per element, and how many true elements lie before each of its blocks.
struct CountedMask {
  Tensor bytes, starts;
  int64_t n_true;
  const uint8_t* data() const { return bytes.data<const uint8_t>(); }
  const int64_t* block_starts() const { return starts.data<const int64_t>(); }
};

CountedMask counted(const Tensor& mask) {
  CountedMask m{
      contiguous(is_bool(mask.dtype()) || mask.dtype() == DType::uint8 ? mask
                                                                       : to_dtype(mask, DType::boolean)),
      {},
      0};
  m.starts = empty(Dims{mask_blocks(m.bytes.numel())}, DType::int64);
  m.n_true = cpu_kernels().index.count_mask(m.data(), m.bytes.numel(), m.starts.data<int64_t>());
  return m;
}

void check_mask(const Tensor& mask, const char* op) {
  check(is_bool(mask.dtype()) || mask.dtype() == DType::uint8, op, ": expected BoolTensor for mask, got ",
        mask.dtype());
}

Tensor expanded(const Tensor& t, IntList sizes, const char* op) {
  if (same(t.sizes(), sizes)) return t;
  return t.view_as(sizes, expand_strides(t.sizes(), t.strides(), sizes, op), t.offset());
}

// The coordinates of the true elements: (ndim, n_true).
Tensor coordinates(const Tensor& self) {
  CountedMask m = counted(self);
  Tensor columns = empty(Dims{self.dim(), m.n_true}, DType::int64, self.device());
  cpu_kernels().index.nonzero(m.data(), self.numel(), m.block_starts(), self.dim(), self.sizes().data(),
                              columns.data<int64_t>(), m.n_true);
  return columns;
}

// The elements of source, one after the other, to where the mask is true.
void scatter_at(const Tensor& self, const CountedMask& m, const Tensor& source) {
  Tensor from = contiguous(apart_from(self, source)), to = contiguous(self);
  cpu_kernels().index.masked_scatter[move_size(self.dtype())](to.data(), m.data(), to.numel(),
                                                              m.block_starts(), from.data());
  if (!to.is_same(self)) copy_(self, to);
}

}  // namespace

Tensor masked_select(const Tensor& self, const Tensor& mask, Out out) {
  check_mask(mask, "masked_select");
  check(!out || out.target->dtype() == self.dtype(),
        "masked_select(): self and result must have the same scalar type");
  check_apart(out, {&self, &mask}, "masked_select");
  Dims sizes = broadcast_shapes(self.sizes(), mask.sizes(), "masked_select");
  CountedMask m = counted(expanded(mask, sizes, "masked_select"));
  Tensor from = contiguous(expanded(self, sizes, "masked_select"));
  Tensor result = make_result(Dims{m.n_true}, self.dtype(), self.device(), out, "masked_select");
  cpu_kernels().index.masked_select[move_size(self.dtype())](from.data(), m.data(), from.numel(),
                                                             m.block_starts(), result.data());
  return finish_result(result, out);
}

Tensor masked_scatter(const Tensor& self, const Tensor& mask, const Tensor& source, Out out) {
  check(is_bool(mask.dtype()), "masked_scatter_ only supports boolean masks, but got mask with dtype ",
        mask.dtype());
  check(self.dtype() == source.dtype(),
        "masked_scatter: expected self and source to have same dtypes but got ", self.dtype(), " and ",
        source.dtype());
  Dims sizes = broadcast_shapes(self.sizes(), mask.sizes(), "masked_scatter");
  check(!out.inplace || same(sizes, self.sizes()),
        "masked_scatter_: expected a mask that broadcasts to shape ", self.sizes(), ", got ", mask.sizes());
  CountedMask m = counted(expanded(mask, sizes, "masked_scatter"));
  check(
      m.n_true <= source.numel(),
      "masked_scatter: expected number of elements in source to be at least the number of ones in the mask (",
      m.n_true, "), got ", source.numel());
  Tensor result = start_from(expanded(self, sizes, "masked_scatter"), out, "masked_scatter");
  scatter_at(result, m, source);
  return result;
}

void masked_assign(const Tensor& self, const Tensor& mask, const Tensor& values) {
  CountedMask m = counted(mask);
  check(m.n_true == values.numel(), "shape mismatch: value tensor of shape ", values.sizes(),
        " cannot be broadcast to indexing result of shape ", Dims{m.n_true});
  scatter_at(self, m, values);
}

Tensor masked_scatter_backward(const Tensor& grad, const Tensor& mask, IntList sizes) {
  Tensor taken = masked_select(grad, mask, {});
  Tensor full = empty(sizes, grad.dtype(), grad.device());
  zero_(full);
  copy_(full.view_as({taken.numel()}, {1}, full.offset()), taken);
  return full;
}

Tensor nonzero(const Tensor& self) {
  Tensor columns = coordinates(self);
  return columns.view_as({columns.sizes()[1], self.dim()}, {1, columns.strides()[0]}, columns.offset());
}

std::vector<Tensor> nonzero_tuple(const Tensor& self) {
  if (self.dim() == 0) return nonzero_tuple(self.view_as({1}, {1}, self.offset()));
  Tensor columns = coordinates(self);
  const int64_t n = columns.sizes()[1];
  std::vector<Tensor> out;
  for (int64_t d = 0; d < self.dim(); ++d) out.push_back(columns.view_as({n}, {1}, columns.offset() + d * n));
  return out;
}

}  // namespace ctorch::ops
