// A tensor kept for the backward pass, which must not be written to meanwhile.
#pragma once

#include "autograd/variable.h"

namespace ctorch {

class SavedTensor {
 public:
  SavedTensor() = default;
  explicit SavedTensor(const Tensor& t) : tensor_(t), version_(t.version()) {}
  // t is result `number` of the node that saves it. Kept without its history, which would make the node own
  // itself.
  SavedTensor(const Tensor& t, int number) : tensor_(t.alias()), version_(t.version()), number_(number) {}

  // The tensor; `owner` is the node that saved it (null: a result comes without history), op its name. Throws
  // if it was written to since.
  Tensor unpack(Node* owner, const char* op) const {
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
  Tensor tensor_;
  int64_t version_ = 0;
  int number_ = -1;
};

}  // namespace ctorch
