// Where an operation that changes a few elements of its first argument puts its result. For the sources of ops/ only.
#pragma once

#include "core/tensor.h"
#include "ops/copy.h"

namespace ctorch::ops {

// A tensor that holds the elements of self, to be changed: self itself when in place, else a copy, in `out` if there is one.
inline Tensor start_from(const Tensor& self, Out out, const char* op) {
  if (out.inplace) {
    for (int64_t d = 0; d < self.dim(); ++d) {
      check(self.strides()[d] != 0 || self.sizes()[d] <= 1, op,
            ": unsupported operation: more than one element of the written-to tensor refers to a single memory location. Please "
            "clone() the tensor before performing the operation.");
    }
    return *out.target;
  }
  if (!out) return clone(self);
  check(out.target->dtype() == self.dtype(), op, ": expected out to have dtype ", self.dtype(), ", got ", out.target->dtype());
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
  resize_output(*out.target, sizes, op);
  return out.target->dtype() == dtype && out.target->is_contiguous() ? *out.target : empty(sizes, dtype, device);
}
inline Tensor finish_result(const Tensor& result, Out out) {
  if (!out || out.target->is_same(result)) return result;
  copy_(*out.target, result);
  return *out.target;
}

// `t`, or a copy of it if it shares memory with what is about to be written.
inline Tensor apart_from(const Tensor& written, const Tensor& t) { return t.storage() == written.storage() ? clone(t) : t; }

}  // namespace ctorch::ops
