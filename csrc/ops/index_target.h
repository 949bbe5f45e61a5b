// Where an operation that changes a few elements of its first argument puts its result. For the sources of
// ops/ only.
#pragma once

#include "core/tensor.h"
#include "ops/copy.h"

namespace ctorch::ops {

// Whether the stretches of memory in which two tensors of one storage lie have bytes in common.
inline bool ranges_meet(const Tensor& a, const Tensor& b) {
  auto range = [](const Tensor& t) {
    const char *low = t.data(), *high = low + t.item_size();
    for (int64_t d = 0; d < t.dim(); ++d) {
      const int64_t span = (t.sizes()[d] - 1) * t.strides()[d] * t.item_size();
      (span < 0 ? low : high) += span;
    }
    return std::pair(low, high);
  };
  const auto [a_low, a_high] = range(a);
  const auto [b_low, b_high] = range(b);
  return a_low < b_high && b_low < a_high;
}

// A target in which several indices reach the same element (an expanded tensor, say) has no meaning as a
// result.
inline void check_no_overlap(const Tensor& target, const char* op) {
  for (int64_t d = 0; d < target.dim() && target.numel() > 0; ++d) {
    check(target.strides()[d] != 0 || target.sizes()[d] <= 1, op,
          ": unsupported operation: more than one element of the written-to tensor refers to a single memory "
          "location. Please "
          "clone() the tensor before performing the operation.");
  }
}

// A tensor that holds the elements of self, to be changed: self itself when in place, else a copy, in `out`
// if there is one. `may_overlap`: what is written has a meaning for an expanded tensor too.
inline Tensor start_from(const Tensor& self, Out out, const char* op, bool may_overlap = false) {
  if (out.inplace) {
    if (!may_overlap) check_no_overlap(self, op);
    return *out.target;
  }
  if (!out) return clone(self);
  check(out.target->dtype() == self.dtype(), op, ": expected out to have dtype ", self.dtype(), ", got ",
        out.target->dtype());
  if (!out.target->is_same(self)) {
    resize_output(*out.target, self.sizes(), op);
    copy_(*out.target, self);
  }
  return *out.target;
}

// The tensor for a fresh row-major result; finish_result() brings it to `out`.
inline Tensor make_result(IntList sizes, DType dtype, Device device, Out out, const char* op) {
  if (!out) return empty(sizes, dtype, device);
  check(can_cast(dtype, out.target->dtype()), op, ": result type ", dtype_scalar_name(dtype),
        " can't be cast to the desired output type ", dtype_scalar_name(out.target->dtype()));
  check_no_overlap(*out.target, op);
  resize_output(*out.target, sizes, op);
  return out.target->dtype() == dtype && out.target->is_contiguous() ? *out.target
                                                                     : empty(sizes, dtype, device);
}
inline Tensor finish_result(const Tensor& result, Out out) {
  if (!out || out.target->is_same(result)) return result;
  copy_(*out.target, result);
  return *out.target;
}

// PyTorch refuses an out= tensor that shares memory with an input.
inline void check_apart(Out out, std::initializer_list<const Tensor*> inputs, const char* op) {
  if (!out || out.target->numel() == 0) return;
  for (const Tensor* t : inputs) {
    check(t->storage() != out.target->storage() || t->numel() == 0 || !ranges_meet(*t, *out.target), op,
          ": unsupported operation: some elements of the input tensor and the written-to tensor refer to a "
          "single memory location. Please "
          "clone() the tensor before performing the operation.");
  }
}

// `t`, or a copy of it if it shares memory with what is about to be written.
inline Tensor apart_from(const Tensor& written, const Tensor& t) {
  return t.storage() == written.storage() ? clone(t) : t;
}

}  // namespace ctorch::ops
