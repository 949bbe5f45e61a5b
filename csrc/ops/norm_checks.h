// What the operations of norm.cpp and norm_channels.cpp share.
#pragma once

#include <initializer_list>
#include <optional>

#include "kernels/table.h"
#include "ops/norm.h"

namespace ctorch::ops::detail {

template <class Kernel>
Kernel kernel_for(Kernel const (&kernels)[kNumDTypes], const char* op, DType dt) {
  Kernel kernel = kernels[static_cast<int>(dt)];
  check_implemented(kernel, op, ": expected a floating dtype, got ", dt);
  return kernel;
}

// Scale, shift and statistics have the dtype of the input, or are all float32 for one of 16 bits.
struct NamedTensor {
  const char* name;
  const OptionalTensor& tensor;
};
inline void check_parameter_dtypes(const Tensor& input, std::initializer_list<NamedTensor> parameters,
                                   const char* op) {
  const bool half = is_half(input.dtype());
  std::optional<DType> common;
  for (const auto& [name, t] : parameters) {
    if (!t || !*t) continue;
    check(t->dtype() == input.dtype() || (half && t->dtype() == DType::float32), op, ": expected ", name,
          " of the dtype of input, ", input.dtype(), half ? ", or float32" : "", ", got ", t->dtype());
    check(!common || t->dtype() == *common, op, ": expected all parameters of one dtype, got ", name, " of ",
          t->dtype(), " and others of ", common.value_or(t->dtype()));
    common = t->dtype();
  }
}

}  // namespace ctorch::ops::detail
