// Keys: unsigned integers in the order of the elements, with -0 equal to 0 and all NaN equal, above infinity.
#pragma once

#include <type_traits>

#include "core/dtype.h"
#include "core/macros.h"

namespace ctorch::CT_ISA {
namespace {

template <int bytes>
struct UnsignedOf;
template <>
struct UnsignedOf<1> {
  using type = uint8_t;
};
template <>
struct UnsignedOf<2> {
  using type = uint16_t;
};
template <>
struct UnsignedOf<4> {
  using type = uint32_t;
};
template <>
struct UnsignedOf<8> {
  using type = uint64_t;
};

// The bits of a floating value read as sign and magnitude: positive ones move above, negative ones are
// mirrored below.
template <class K, K infinity>
CT_INLINE K float_key(K bits) {
  constexpr K sign = static_cast<K>(K{1} << (8 * sizeof(K) - 1));
  const K magnitude = static_cast<K>(bits & static_cast<K>(~sign));
  const K key = bits & sign ? static_cast<K>(sign - magnitude) : static_cast<K>(sign + magnitude);
  return magnitude > infinity ? static_cast<K>(~K{0}) : key;
}

template <class T>
struct Key {
  using type = typename UnsignedOf<sizeof(T)>::type;
  static CT_INLINE type of(const T& x) {
    if constexpr (std::is_same_v<T, bool>) {
      return reinterpret_cast<const uint8_t&>(x) != 0;
    } else if constexpr (std::is_same_v<T, Half>) {
      return float_key<uint16_t, 0x7c00u>(x.bits);
    } else if constexpr (std::is_same_v<T, BFloat16>) {
      return float_key<uint16_t, 0x7f80u>(x.bits);
    } else if constexpr (std::is_same_v<T, float>) {
      return float_key<uint32_t, 0x7f800000u>(bit_cast<uint32_t>(x));
    } else if constexpr (std::is_same_v<T, double>) {
      return float_key<uint64_t, 0x7ff0000000000000u>(bit_cast<uint64_t>(x));
    } else if constexpr (std::is_signed_v<T>) {
      return static_cast<type>(static_cast<type>(x) ^ static_cast<type>(type{1} << (8 * sizeof(T) - 1)));
    } else {
      return x;
    }
  }
};

}  // namespace
}  // namespace ctorch::CT_ISA
