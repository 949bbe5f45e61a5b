// A tensor kept for the backward pass, which must not be written to meanwhile.
#pragma once

#include <atomic>
#include <vector>

#include "autograd/variable.h"

namespace ctorch {

// Keeps saved tensors in another form (autograd.graph.saved_tensors_hooks); the Python side implements it.
class SavedTensorHooks : public RefCounted {
 public:
  virtual Ref<RefCounted> pack(const Tensor& t) = 0;
  virtual Tensor unpack(const Ref<RefCounted>& packed) = 0;
};

// Those in force in this thread, the innermost last.
using SavedTensorHooksStack = std::vector<Ref<SavedTensorHooks>>;
SavedTensorHooksStack& saved_tensor_hooks();
// How many are in force in all threads together: asked first, as it is quicker.
inline std::atomic<int64_t> g_saved_tensor_hooks_used{0};

class SavedTensor {
 public:
  SavedTensor() = default;
  explicit SavedTensor(const Tensor& t) : SavedTensor(t, -1, t) {}
  // t is result `number` of the node that saves it. Kept without its history, which would make the node own
  // itself.
  SavedTensor(const Tensor& t, int number) : SavedTensor(t, number, t.alias()) {}

  // The tensor; `owner` is the node that saved it (null: a result comes without history), op its name. Throws
  // if it was written to since.
  Tensor unpack(Node* owner, const char* op) const {
    if (CT_UNLIKELY(static_cast<bool>(packed_))) return unpack_by_hooks(owner);
    check(
        tensor_.version() == version_, op,
        ": one of the variables needed for gradient computation has been modified by an inplace operation: ",
        tensor_, " is at version ", tensor_.version(), "; expected version ", version_, " instead.");
    if (number_ < 0 || !owner) return tensor_;
    Tensor t = tensor_.alias();  // under a new tensor, so that what is kept stays free of history
    set_history(t, Ref<Node>(owner), number_);
    return t;
  }

 private:
  // What hooks made of a tensor, and where its gradient goes.
  struct Packed final : RefCounted {
    Packed(Ref<SavedTensorHooks> hooks, Ref<RefCounted> value, Edge edge)
        : hooks(std::move(hooks)), value(std::move(value)), edge(std::move(edge)) {}
    Ref<SavedTensorHooks> hooks;
    Ref<RefCounted> value;
    Edge edge;
  };

  SavedTensor(const Tensor& t, int number, Tensor kept) : number_(number) {
    check(!t.impl()->is_inference,
          "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference "
          "mode in computation tracked by autograd. To work around this, you can make a clone to get a "
          "normal tensor and use it in autograd, or use `torch.no_grad()` instead of "
          "`torch.inference_mode()`.");
    if (CT_UNLIKELY(g_saved_tensor_hooks_used.load(std::memory_order_relaxed) != 0 &&
                    !saved_tensor_hooks().empty())) {
      pack_by_hooks(t);
    } else {
      tensor_ = std::move(kept);
      version_ = tensor_.version();
    }
  }
  void pack_by_hooks(const Tensor& t);
  Tensor unpack_by_hooks(Node* owner) const;

  Tensor tensor_;
  int64_t version_ = 0;
  int number_ = -1;
  Ref<Packed> packed_;
};

}  // namespace ctorch
