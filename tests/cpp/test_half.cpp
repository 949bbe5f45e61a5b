#include "core/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

namespace ctorch {
namespace {

// The value of a float16, from its definition.
double float16_value(uint16_t bits) {
  int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == 31) return fraction ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  return sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}

double bfloat16_value(uint16_t bits) { return bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

TEST(Half, EveryFloat16IsRead) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    auto half = static_cast<uint16_t>(bits);
    double expected = float16_value(half);
    for (float got : {float16_to_float_soft(half), float16_to_float(half)}) {
      if (std::isnan(expected)) {
        EXPECT_TRUE(std::isnan(got)) << bits;
      } else {
        EXPECT_EQ(got, expected) << bits;
        EXPECT_EQ(std::signbit(got), std::signbit(expected)) << bits;
      }
    }
  }
}

TEST(Half, EveryValueSurvivesTheTripThroughFloat) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    auto half = static_cast<uint16_t>(bits);
    if (!std::isnan(float16_value(half))) {
      EXPECT_EQ(float_to_float16_soft(float16_to_float_soft(half)), half);
      EXPECT_EQ(float_to_float16(float16_to_float(half)), half);
    }
    if (!std::isnan(bfloat16_value(half))) {
      EXPECT_EQ(float_to_bfloat16(bfloat16_to_float(half)), half);
    }
  }
}

// x lies between two neighbours: the nearer one wins, and of equals the one with an even last bit.
template <class Convert, class Value>
void expect_nearest_even(uint16_t low, Convert convert, Value value) {
  auto high = static_cast<uint16_t>(low + 1);
  double a = value(low), b = value(high), middle = (a + b) / 2;
  auto tie = static_cast<float>(middle);
  ASSERT_EQ(tie, middle);
  EXPECT_EQ(convert(tie), low % 2 == 0 ? low : high) << low;
  EXPECT_EQ(convert(std::nextafter(tie, static_cast<float>(a))), low) << low;
  EXPECT_EQ(convert(std::nextafter(tie, static_cast<float>(b))), high) << low;
}

TEST(Half, RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {  // up to the largest finite float16, subnormals included
    for (uint32_t sign : {0u, 0x8000u}) {
      auto low = static_cast<uint16_t>(bits | sign);
      expect_nearest_even(low, float_to_float16_soft, float16_value);
      expect_nearest_even(low, float_to_float16, float16_value);
    }
  }
}

TEST(BFloat16, RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7f7f; ++bits) {
    expect_nearest_even(static_cast<uint16_t>(bits), float_to_bfloat16, bfloat16_value);
  }
}

TEST(Half, OverflowIsInfinityAndNanStaysNan) {
  float inf = std::numeric_limits<float>::infinity();
  for (auto convert : {float_to_float16_soft, float_to_float16}) {
    EXPECT_EQ(convert(65504.f), 0x7bff);
    EXPECT_EQ(convert(65519.f), 0x7bff);
    EXPECT_EQ(convert(65520.f), 0x7c00);
    EXPECT_EQ(convert(1e30f), 0x7c00);
    EXPECT_EQ(convert(-inf), 0xfc00);
    EXPECT_EQ(convert(0.f), 0);
    EXPECT_EQ(convert(-0.f), 0x8000);
    EXPECT_TRUE(std::isnan(float16_value(convert(std::nanf("")))));
  }
  EXPECT_EQ(float_to_bfloat16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(float_to_bfloat16(-inf), 0xff80);
  EXPECT_TRUE(std::isnan(bfloat16_value(float_to_bfloat16(std::nanf("")))));
  // A NaN whose payload lies in the lower half alone must not become infinity.
  EXPECT_TRUE(std::isnan(bfloat16_value(float_to_bfloat16(bit_cast<float>(0x7f800001u)))));
}

}  // namespace
}  // namespace ctorch
