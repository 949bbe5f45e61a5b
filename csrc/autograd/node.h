// The backward graph: a node for each recorded operation, edges from it to the nodes that made its inputs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/ref.h"
#include "core/tensor.h"

namespace ctorch {

class Node;

// Where a gradient goes: result number `result` of the operation recorded as `node`. No node: nobody wants
// it.
struct Edge {
  Ref<Node> node;
  int result = 0;
  explicit operator bool() const { return static_cast<bool>(node); }
};

// Changes or watches a gradient on its way; the Python side implements it.
class GradHook : public RefCounted {
 public:
  // The gradient to go on with; an undefined tensor keeps `grad`.
  virtual Tensor operator()(const Tensor& grad) = 0;
};

// Runs before a node, and may change the gradients that it gets.
class NodePreHook : public RefCounted {
 public:
  virtual void operator()(std::vector<Tensor>& got) = 0;
};

// Runs after a node, with the gradients that it made and those that it got.
class NodeHook : public RefCounted {
 public:
  virtual void operator()(std::vector<Tensor>& made, const std::vector<Tensor>& got) = 0;
};

// Shape and dtype of a forward result, which its gradient must have.
struct ResultInfo {
  Dims sizes;
  DType dtype = DType::float32;
};

// What few nodes have.
struct NodeExtra {
  struct ResultHook {
    int result;
    Ref<GradHook> hook;
  };
  std::vector<ResultHook> result_hooks;
  std::vector<ResultHook> retainers;  // of retain_grad(): they see what the hooks made of a gradient
  std::vector<Ref<NodePreHook>> pre_hooks;
  std::vector<Ref<NodeHook>> post_hooks;
  Ref<RefCounted> metadata;  // the Python side's
};

class Node : public RefCounted {
 public:
  Node();

  // PyTorch's name of the node: "MulBackward0", "torch::autograd::CopySlices".
  virtual std::string name() const = 0;
  // From the gradients of the results (undefined where none came) those of the inputs, one per edge. Entries
  // whose `wanted` is false may be left undefined.
  virtual std::vector<Tensor> apply(std::vector<Tensor>& grads, const std::vector<char>& wanted) = 0;
  // Forget what was saved for apply().
  virtual void release_saved() {}
  // The leaf whose .grad this node adds to; null for all other nodes.
  virtual const Tensor* variable() const { return nullptr; }
  NodeExtra& make_extra() {
    if (!extra) extra = std::make_unique<NodeExtra>();
    return *extra;
  }

  // Nodes are numbered as they are made, so that the inputs of a node have smaller numbers: descending order
  // is a topological order.
  int64_t sequence;
  std::vector<Edge> edges;
  std::vector<ResultInfo> results;
  std::unique_ptr<NodeExtra> extra;
  void* python = nullptr;  // the Python object that wraps this, if there is one (not owned)

 protected:
  // Chains of 100,000 nodes must not be destroyed by recursion.
  void dispose() noexcept override;
};

}  // namespace ctorch
