#include "core/scratch.h"

#include "core/allocator.h"

namespace ctorch {

Scratch::Scratch(size_t bytes) : data_(allocate(bytes)), bytes_(bytes) {}
Scratch::~Scratch() { deallocate(data_, bytes_); }

}  // namespace ctorch
