// float16 and bfloat16 as storage types. Arithmetic is done in float; only conversions are here.
#pragma once

#include <cstdint>
#include <cstring>
#ifdef __F16C__
#include <immintrin.h>
#endif

#include "core/macros.h"

namespace ctorch {

template <class To, class From>
CT_FORMULA To bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, from);
}

// bfloat16: the upper half of a float32; conversion rounds to nearest even.
CT_FORMULA float bfloat16_to_float(uint16_t bits) {
  return bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

CT_FORMULA uint16_t float_to_bfloat16(float value) {
  uint32_t bits = bit_cast<uint32_t>(value);
  uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>(value != value ? 0x7fc0u : rounded);
}

// float16 without F16C, after Giesen, "float->half variants" (2012): exact, including subnormals.
// Branch-free, so that a loop over it is vectorised.
CT_FORMULA float float16_to_float_soft(uint16_t bits) {
  uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fffu) << 13;
  // Multiplying by 2^112 moves the exponent bias from 15 to 127, and normalises subnormals on the way.
  float scaled = bit_cast<float>(magnitude) * bit_cast<float>(uint32_t{(254 - 15) << 23});
  uint32_t value = bit_cast<uint32_t>(scaled);
  uint32_t special = magnitude >= (0x7c00u << 13) ? 0x7f800000u : 0u;
  return bit_cast<float>(sign | value | special);
}

CT_FORMULA uint16_t float_to_float16_soft(float value) {
  uint32_t bits = bit_cast<uint32_t>(value);
  uint32_t sign = bits & 0x80000000u;
  uint32_t magnitude = bits ^ sign;
  uint32_t odd = (magnitude >> 13) & 1u;
  uint32_t normal = (magnitude + (uint32_t(15 - 127) << 23) + 0xfffu + odd) >> 13;
  // Adding 0.5 lets the float adder do the shift and rounding of a subnormal result.
  uint32_t subnormal = bit_cast<uint32_t>(bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  uint32_t infinite_or_nan = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  uint32_t half = magnitude < (113u << 23) ? subnormal : normal;
  half = magnitude >= (143u << 23) ? infinite_or_nan : half;
  return static_cast<uint16_t>(half | (sign >> 16));
}

CT_FORMULA float float16_to_float(uint16_t bits) {
#ifdef __F16C__
  return _cvtsh_ss(bits);
#else
  return float16_to_float_soft(bits);
#endif
}

CT_FORMULA uint16_t float_to_float16(float value) {
#ifdef __F16C__
  return static_cast<uint16_t>(_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT));
#else
  return float_to_float16_soft(value);
#endif
}

struct Half {
  uint16_t bits;
  Half() = default;
  CT_FORMULA explicit Half(float value) : bits(float_to_float16(value)) {}
  CT_FORMULA operator float() const { return float16_to_float(bits); }
};

struct BFloat16 {
  uint16_t bits;
  BFloat16() = default;
  CT_FORMULA explicit BFloat16(float value) : bits(float_to_bfloat16(value)) {}
  CT_FORMULA operator float() const { return bfloat16_to_float(bits); }
};

}  // namespace ctorch
