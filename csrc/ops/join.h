// Tensors put together.
#pragma once

#include "core/tensor.h"

namespace ctorch::ops {

Tensor cat(TensorList tensors, int64_t dim, Out out);
Tensor stack(TensorList tensors, int64_t dim, Out out);

}  // namespace ctorch::ops
