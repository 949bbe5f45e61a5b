// What autograd attaches to a tensor: its gradient, the node that made it, hooks, and of which tensor it is a
// view.
#pragma once

#include <memory>
#include <vector>

#include "autograd/node.h"
#include "core/tensor.h"

namespace ctorch {

// How a view came to be, as far as writing into it later is concerned.
enum class ViewOrigin : int8_t { tracked, no_grad, inference, multi_output };

struct ViewInfo {
  Tensor base;      // not itself a view
  int64_t version;  // of the storage when grad_fn was valid
  ViewOrigin origin;
};

struct AutogradMeta final : TensorExtra {
  Tensor grad;
  Edge grad_fn;                 // of a result
  Node* accumulator = nullptr;  // of a leaf; the graph owns it
  std::vector<Ref<GradHook>> hooks;
  std::vector<Ref<GradHook>> accumulate_hooks;  // get a leaf after its .grad was added to
  std::unique_ptr<ViewInfo> view;
  Ref<GradHook> retain_hook;  // set by retain_grad()
  ~AutogradMeta() override;
};

inline AutogradMeta* meta(const Tensor& t) { return static_cast<AutogradMeta*>(t.impl()->extra.get()); }
AutogradMeta& make_meta(const Tensor& t);

// The node that made t, after regenerating it if t is a view whose base has been written to since. Null for a
// leaf.
Ref<Node> grad_fn(const Tensor& t);
inline bool is_leaf(const Tensor& t) { return !t.requires_grad() || !grad_fn(t); }
// Where t's gradient goes: to its grad_fn, or, for a leaf that requires a gradient, to its accumulator.
Edge gradient_edge(const Tensor& t);

// Make t the result `number` of node.
void set_history(const Tensor& t, const Ref<Node>& node, int number);
// Note that t was made as a view of `of`, perhaps as one of several of one operation.
void note_view(const Tensor& t, const Tensor& of, bool one_of_several);

// Throws unless t may be written in place now: PyTorch's rules for leaves, views and inference tensors.
void check_inplace(const Tensor& t, const char* op, bool recorded);
// t was written by an operation recorded as node, whose first edge is t's old history: give t, and its base,
// the new one.
void rebase_history(const Tensor& t, const Ref<Node>& node);

// Register a hook on t's gradient.
void add_hook(const Tensor& t, Ref<GradHook> hook);
void remove_hook(const Tensor& t, const GradHook* hook);
void retain_grad(const Tensor& t);
// Register a hook that gets the leaf t each time that its .grad was added to.
void add_accumulate_hook(const Tensor& t, Ref<GradHook> hook);

// Operations on gradients that must themselves be recorded when a graph of the backward pass is asked for,
// and the node of a view in terms of its base. The layer that records (bindings) provides them.
struct RecordedOps {
  Tensor (*add)(const Tensor& a, const Tensor& b);
  void (*add_inplace)(const Tensor& into, const Tensor& b);  // not recorded
  Tensor (*sum_to_size)(const Tensor& t, IntList sizes);
  Tensor (*to_dtype)(const Tensor& t, DType dtype);
  Tensor (*clone)(const Tensor& t);
  Tensor (*clone_strided)(const Tensor& t, IntList strides);  // a dense copy in this order
  bool (*has_nan)(const Tensor& t);
  void (*warn_of_error)(Node& node);  // anomaly mode: shows where node's forward call was made
  Tensor (*view_gather)(const Tensor& base_grad, const Tensor& base, const Tensor& view);
  Tensor (*view_scatter)(const Tensor& base_grad, const Tensor& view_grad, const Tensor& base,
                         const Tensor& view);
  Ref<Node> (*as_strided_node)(const Tensor& base, const Tensor& view);
};
extern RecordedOps g_recorded_ops;

}  // namespace ctorch
