// Where a tensor's bytes live.
#pragma once

#include <cstdint>
#include <ostream>

namespace ctorch {

enum class DeviceKind : int8_t { cpu, cuda };

struct Device {
  DeviceKind kind = DeviceKind::cpu;
  int8_t index = -1;  // -1: the current one of its kind
  friend bool operator==(const Device&, const Device&) = default;
};

inline const char* device_kind_name(DeviceKind kind) { return kind == DeviceKind::cpu ? "cpu" : "cuda"; }

inline std::ostream& operator<<(std::ostream& out, Device device) {
  out << device_kind_name(device.kind);
  if (device.index >= 0) out << ':' << static_cast<int>(device.index);
  return out;
}

}  // namespace ctorch
