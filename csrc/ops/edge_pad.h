// Padding by elements of the tensor itself.
#pragma once

#include <string>

#include "core/tensor.h"

namespace ctorch::ops {

// input with elements around it: pad names their number, at least 0, before and after the last dim, then the
// one before, and so on. mode: "reflect" (the mirror image without the end element), "replicate" (the end
// element) or "circular" (the other end).
Tensor edge_pad(const Tensor& input, IntList pad, const std::string& mode);
// Its transpose: the gradient with respect to the input.
Tensor edge_pad_backward(const Tensor& grad_output, IntList pad, const std::string& mode);

}  // namespace ctorch::ops
