// Bytes on a device, shared by the tensors that are views of them.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/device.h"
#include "core/ref.h"

namespace ctorch {

class Storage : public RefCounted {
 public:
  // Fresh memory from the device's allocator, not initialised.
  Storage(int64_t bytes, Device device);
  // Somebody else's memory; release(context) is called when the last tensor is gone.
  Storage(void* data, int64_t bytes, Device device, void (*release)(void*), void* context);
  ~Storage() override;

  char* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  Device device() const { return device_; }
  bool is_external() const { return release_ != nullptr; }
  // Make room for `bytes`, keeping the contents. An error for memory that is not ours.
  void grow(int64_t bytes);

  // Counts writes, so that a value saved for the backward pass is known to be unchanged.
  int64_t version() const { return version_.load(std::memory_order_relaxed); }
  void bump_version() { version_.fetch_add(1, std::memory_order_relaxed); }

 private:
  char* data_;
  int64_t bytes_;
  Device device_;
  std::atomic<int64_t> version_{0};
  void (*release_)(void*) = nullptr;
  void* context_ = nullptr;
};

}  // namespace ctorch
