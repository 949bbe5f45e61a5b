#include "core/storage.h"

#include <algorithm>
#include <cstring>

#include "core/allocator.h"
#include "core/error.h"
#include "core/prepared.h"

namespace ctorch {

Storage::Storage(int64_t bytes, Device device) : bytes_(bytes), device_(device) {
  check(device.kind == DeviceKind::cpu, "this build has no ", device_kind_name(device.kind), " device");
  data_ = static_cast<char*>(allocate(static_cast<size_t>(bytes)));
}

Storage::Storage(void* data, int64_t bytes, Device device, void (*release)(void*), void* context)
    : data_(static_cast<char*>(data)), bytes_(bytes), device_(device), release_(release), context_(context) {}

Storage::~Storage() {
  if (release_) {
    release_(context_);
  } else {
    deallocate(data_, static_cast<size_t>(bytes_));
  }
}

void Storage::grow(int64_t bytes) {
  if (bytes <= bytes_) return;
  check(!release_, "cannot resize storage of ", bytes_, " bytes to ", bytes,
        ": the memory belongs to another library");
  auto* fresh = static_cast<char*>(allocate(static_cast<size_t>(bytes)));
  std::memcpy(fresh, data_, static_cast<size_t>(bytes_));
  deallocate(data_, static_cast<size_t>(bytes_));
  data_ = fresh;
  bytes_ = bytes;
}

}  // namespace ctorch
