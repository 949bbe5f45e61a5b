// Forms of a weight that kernels prepare, kept with the weight's storage while nobody writes to it: inference
// prepares a weight once.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/function_ref.h"
#include "core/scratch.h"
#include "core/tensor.h"

namespace ctorch {

// What tells one form from another: the operation, and all that its kernel's form depends on.
using PreparedKey = std::vector<int64_t>;

class PreparedBytes {
 public:
  explicit PreparedBytes(int64_t bytes);
  ~PreparedBytes();
  void* data() const { return memory_.as<void>(); }

 private:
  Scratch memory_;
  int64_t bytes_;
};
using PreparedForm = std::shared_ptr<const PreparedBytes>;

// Those of one storage.
struct PreparedForms {
  struct Entry {
    PreparedKey key;
    int64_t writes;     // of the storage when it was last asked for
    PreparedForm form;  // null: seen once
  };
  std::vector<Entry> entries;
};

// The form `key` of `weight`, of so many bytes; made by write(to) when it is asked for the second time
// without a write in between, so that weights in training are never kept. Null where it is not kept: at first
// sight, beyond the limit, or where writes go unseen (memory shared with NumPy). Any thread may call it.
PreparedForm prepared_form(const Tensor& weight, PreparedKey key, int64_t bytes,
                           FunctionRef<void(void*)> write);

// Bytes of all forms that are kept, and how many may be (0: keep none). Beyond a lowered limit a form goes
// when it is next asked for.
int64_t prepared_bytes();
int64_t prepared_limit();
void set_prepared_limit(int64_t bytes);

}  // namespace ctorch
