// A tensor kept for the backward pass, which must not be written to meanwhile.
#pragma once

#include "autograd/variable.h"

namespace ctorch {

class SavedTensor {
 public:
  SavedTensor() = default;
  // `own`: t is a result of the node that saves it, or is about to get that node as its history (in-place). Such a
  // tensor is kept without its history, which would make the node own itself.
  SavedTensor(const Tensor& t, bool own) : version_(t.version()), number_(-1) {
    if (!own) {
      tensor_ = t;
      return;
    }
    tensor_ = t.alias();
    requires_grad_ = t.requires_grad();
    if (requires_grad_ && grad_fn(t)) history_ = gradient_edge(t);
  }
  // t is result `number` of the node that saves it.
  SavedTensor(const Tensor& t, int number) : tensor_(t.alias()), version_(t.version()), number_(number), requires_grad_(true) {}

  // The tensor; `owner` is the node that saved it, op its name. Throws if it was written to since.
  Tensor unpack(Node* owner, const char* op) const {
    check(tensor_.version() == version_, op,
          ": one of the variables needed for gradient computation has been modified by an inplace operation: ", tensor_,
          " is at version ", tensor_.version(), "; expected version ", version_, " instead.");
    if (!requires_grad_ || tensor_.requires_grad()) return tensor_;
    if (number_ < 0 && !history_) return tensor_;
    if (number_ >= 0 && !owner) return tensor_;
    Tensor t = tensor_.alias();  // under a new tensor, so that what is kept stays free of history
    if (number_ >= 0) {
      set_history(t, Ref<Node>(owner), number_);
    } else {
      make_meta(t).grad_fn = history_;
      t.impl()->requires_grad = true;
    }
    return t;
  }
  explicit operator bool() const { return static_cast<bool>(tensor_); }

 private:
  Tensor tensor_;
  Edge history_;
  int64_t version_ = 0;
  int number_ = -1;
  bool requires_grad_ = false;
};

}  // namespace ctorch
