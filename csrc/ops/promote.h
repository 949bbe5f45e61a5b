// PyTorch's type promotion: the dtype of a result from its operands, which count by category: tensors with
// dimensions before 0-dim tensors before Python numbers.
#pragma once

#include "core/tensor.h"

namespace ctorch::ops {

class Promotion {
 public:
  void add(const Tensor& t) { join(t.dim() ? dims_ : zeros_, t.dtype()); }
  void add(const Scalar& s) { join(numbers_, s.dtype()); }
  void add(const Operand& o) { o.is_tensor() ? add(o.tensor()) : add(o.scalar()); }
  DType result() const;

 private:
  static void join(std::optional<DType>& to, DType dt) { to = to ? promote_types(*to, dt) : dt; }
  std::optional<DType> dims_, zeros_, numbers_;
};

DType result_type(const Operand& a, const Operand& b);
DType result_type(TensorList tensors);
// The dtype of a function that makes floats of integers: floats and complexes stay, the rest becomes the
// default dtype.
inline DType to_float_dtype(DType dt) { return is_differentiable(dt) ? dt : default_dtype(); }

}  // namespace ctorch::ops
