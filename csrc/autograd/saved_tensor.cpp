#include "autograd/saved_tensor.h"

#include "autograd/grad_mode.h"

namespace ctorch {

SavedTensorHooksStack& saved_tensor_hooks() {
  static thread_local SavedTensorHooksStack stack;
  return stack;
}

void SavedTensor::pack_by_hooks(const Tensor& t) {
  // What the hook computes is not recorded, and is not itself given to hooks.
  GradModeGuard off(false);
  Ref<SavedTensorHooks> hooks = saved_tensor_hooks().back();
  Edge edge = number_ < 0 ? gradient_edge(t) : Edge{};
  packed_ = make_ref<Packed>(hooks, hooks->pack(t), std::move(edge));
}

Tensor SavedTensor::unpack_by_hooks(Node* owner) const {
  Tensor t;
  {
    GradModeGuard off(false);
    t = packed_->hooks->unpack(packed_->value).alias();
  }
  if (number_ >= 0 && owner) set_history(t, Ref<Node>(owner), number_);
  if (packed_->edge) set_history(t, packed_->edge.node, packed_->edge.result);
  return t;
}

}  // namespace ctorch
