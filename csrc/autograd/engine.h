// The backward pass.
#pragma once

#include <vector>

#include "autograd/variable.h"

namespace ctorch {

struct BackwardOptions {
  bool keep_graph = false;    // leave saved values in place for another pass
  bool create_graph = false;  // record the pass itself
};

// Propagate grads (one per root; of the root's shape) to the leaves, adding to their .grad; or, if `inputs`
// is not empty, to these alone. With capture set the gradients of `inputs` are returned (undefined where none
// came) and no .grad is touched.
std::vector<Tensor> run_backward(const std::vector<Tensor>& roots, std::vector<Tensor> grads,
                                 const std::vector<Tensor>& inputs, bool capture, BackwardOptions options);

}  // namespace ctorch
