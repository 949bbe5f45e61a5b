// Bytes on a device, shared by the tensors that are views of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "core/device.h"
#include "core/ref.h"

namespace ctorch {

struct PreparedForms;

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
  // Every write counts in writes(), `for_autograd` or not (through .data, or in inference mode).
  void count_write(bool for_autograd) {
    writes_.fetch_add(1, std::memory_order_relaxed);
    if (for_autograd) version_.fetch_add(1, std::memory_order_relaxed);
  }
  int64_t writes() const { return writes_.load(std::memory_order_relaxed); }

  // While others hold the address (NumPy, DLPack), or somebody has ever asked for it (data_ptr()), there may
  // be writes that nobody counts.
  void lend() { lent_.fetch_add(1, std::memory_order_relaxed); }
  void take_back() {
    count_write(false);
    lent_.fetch_sub(1, std::memory_order_relaxed);
  }
  bool counts_all_writes() const { return !release_ && lent_.load(std::memory_order_relaxed) == 0; }

  // What is kept of these bytes in other forms; see core/prepared.h.
  std::unique_ptr<PreparedForms> prepared;

 private:
  char* data_;
  int64_t bytes_;
  Device device_;
  std::atomic<int64_t> version_{0}, writes_{0};
  std::atomic<int64_t> lent_{0};
  void (*release_)(void*) = nullptr;
  void* context_ = nullptr;
};

}  // namespace ctorch
