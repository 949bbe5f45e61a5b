#include "core/dtype.h"

#include <atomic>

namespace ctorch {
namespace {

constexpr const char* kNames[kNumDTypes] = {"uint8",   "int8",     "int16",   "int32",     "int64",
                                            "float16", "float32",  "float64", "complex64", "complex128",
                                            "bool",    "bfloat16", "uint16",  "uint32",    "uint64"};
constexpr const char* kScalarNames[kNumDTypes] = {
    "Byte",         "Char",          "Short", "Int",      "Long",   "Half",   "Float", "Double",
    "ComplexFloat", "ComplexDouble", "Bool",  "BFloat16", "UInt16", "UInt32", "UInt64"};
std::atomic<DType> g_default_dtype{DType::float32};

// bool < integer < floating < complex.
int category(DType dt) { return is_bool(dt) ? 0 : is_integral(dt) ? 1 : is_floating(dt) ? 2 : 3; }

// The unsigned 16 to 64 bit types were added to PyTorch late and without a full promotion table.
bool is_barebones_unsigned(DType dt) {
  return dt == DType::uint16 || dt == DType::uint32 || dt == DType::uint64;
}

DType promote_integers(DType a, DType b) {
  if (is_barebones_unsigned(a) || is_barebones_unsigned(b)) {
    // PyTorch has rules for unsigned with unsigned only (uint8 among them); it refuses signed with unsigned.
    bool both_unsigned = !is_signed(a) && !is_signed(b);
    check(both_unsigned, "promotion for uint16, uint32, uint64 types is not supported, attempted to promote ",
          dtype_scalar_name(a), " and ", dtype_scalar_name(b));
    return item_size(a) >= item_size(b) ? a : b;
  }
  if (is_signed(a) == is_signed(b)) return item_size(a) >= item_size(b) ? a : b;
  DType s = is_signed(a) ? a : b;  // the other is uint8
  return item_size(s) > 1 ? s : DType::int16;
}

DType promote_floats(DType a, DType b) {
  if (item_size(a) == 2 && item_size(b) == 2) return DType::float32;  // float16 with bfloat16
  return item_size(a) >= item_size(b) ? a : b;
}

}  // namespace

const char* dtype_name(DType dt) { return kNames[static_cast<int>(dt)]; }
const char* dtype_scalar_name(DType dt) { return kScalarNames[static_cast<int>(dt)]; }
std::ostream& operator<<(std::ostream& out, DType dt) { return out << dtype_name(dt); }

DType promote_types(DType a, DType b) {
  if (a == b) return a;
  int ca = category(a), cb = category(b);
  if (ca != cb) {
    DType high = ca > cb ? a : b, low = ca > cb ? b : a;
    bool low_is_double = low == DType::float64;
    return high == DType::complex64 && low_is_double ? DType::complex128 : high;
  }
  if (ca == 1) return promote_integers(a, b);
  if (ca == 2) return promote_floats(a, b);
  return DType::complex128;  // two different complex dtypes
}

DType to_real(DType dt) {
  return dt == DType::complex64 ? DType::float32 : dt == DType::complex128 ? DType::float64 : dt;
}

DType to_complex(DType dt) {
  if (is_complex(dt)) return dt;
  return dt == DType::float64 ? DType::complex128 : DType::complex64;
}

bool can_cast(DType from, DType to) {
  int cf = category(from), ct = category(to);
  if (from == to) return true;
  if (cf == 3 && ct < 3) return false;
  if (cf == 2 && ct < 2) return false;
  return !(cf != 0 && ct == 0);
}

DType default_dtype() { return g_default_dtype.load(std::memory_order_relaxed); }

void set_default_dtype(DType dt) {
  check_type(is_floating(dt), "set_default_dtype: expected a floating dtype, got ", dt);
  g_default_dtype = dt;
}

}  // namespace ctorch
