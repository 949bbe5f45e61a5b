#include "core/dtype.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace ctorch {
namespace {

std::vector<DType> all_dtypes() {
  std::vector<DType> all;
  for (int i = 0; i < kNumDTypes; ++i) all.push_back(static_cast<DType>(i));
  return all;
}

TEST(DType, VisitGivesTheTypeOfEachDType) {
  for (DType dt : all_dtypes()) {
    bool visited = false;
    visit_dtype<AllTypes>(dt, "test", [&]<class T>() {
      visited = true;
      EXPECT_EQ(dtype_of<T>, dt);
      EXPECT_EQ(sizeof(T), static_cast<size_t>(item_size(dt)));
      EXPECT_EQ(is_complex_v<T>, is_complex(dt));
      EXPECT_EQ(is_float_v<T>, is_floating(dt));
    });
    EXPECT_TRUE(visited) << dt;
  }
}

TEST(DType, VisitOfADTypeOutsideTheListIsAnErrorThatNamesBoth) {
  try {
    visit_dtype<Floats>(DType::int64, "softmax", []<class T>() {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::not_implemented);
    EXPECT_NE(std::string(error.what()).find("softmax"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("int64"), std::string::npos);
  }
}

TEST(DType, CategoriesDoNotOverlap) {
  for (DType dt : all_dtypes()) {
    EXPECT_EQ(is_bool(dt) + is_integral(dt) + is_floating(dt) + is_complex(dt), 1) << dt;
  }
}

// The error of a pair as a value, so that tables can be compared.
int promoted(DType a, DType b) {
  try {
    return static_cast<int>(promote_types(a, b));
  } catch (const Error&) {
    return -1;
  }
}

TEST(DType, PromotionIsCommutativeAndIdempotent) {
  for (DType a : all_dtypes()) {
    EXPECT_EQ(promote_types(a, a), a);
    for (DType b : all_dtypes()) EXPECT_EQ(promoted(a, b), promoted(b, a)) << a << " " << b;
  }
}

TEST(DType, PromotionFollowsPyTorch) {
  EXPECT_EQ(promote_types(DType::uint8, DType::int8), DType::int16);
  EXPECT_EQ(promote_types(DType::uint8, DType::int32), DType::int32);
  EXPECT_EQ(promote_types(DType::boolean, DType::uint8), DType::uint8);
  EXPECT_EQ(promote_types(DType::int64, DType::float16), DType::float16);
  EXPECT_EQ(promote_types(DType::float16, DType::bfloat16), DType::float32);
  EXPECT_EQ(promote_types(DType::float64, DType::complex64), DType::complex128);
  EXPECT_EQ(promote_types(DType::float32, DType::complex64), DType::complex64);
  EXPECT_EQ(promote_types(DType::int64, DType::complex64), DType::complex64);
  EXPECT_THROW(promote_types(DType::int32, DType::uint32), Error);
}

TEST(DType, ResultsMayBeCastWithinOrUpTheCategories) {
  EXPECT_TRUE(can_cast(DType::float64, DType::float16));
  EXPECT_TRUE(can_cast(DType::int64, DType::float32));
  EXPECT_TRUE(can_cast(DType::boolean, DType::uint8));
  EXPECT_FALSE(can_cast(DType::float32, DType::int64));
  EXPECT_FALSE(can_cast(DType::complex64, DType::float64));
  EXPECT_FALSE(can_cast(DType::int64, DType::boolean));
}

TEST(DType, PartsOfComplexNumbers) {
  EXPECT_EQ(to_real(DType::complex64), DType::float32);
  EXPECT_EQ(to_real(DType::complex128), DType::float64);
  EXPECT_EQ(to_real(DType::int32), DType::int32);
  EXPECT_EQ(to_complex(DType::float64), DType::complex128);
  EXPECT_EQ(to_complex(DType::complex64), DType::complex64);
}

TEST(DType, DefaultMustBeFloating) {
  EXPECT_EQ(default_dtype(), DType::float32);
  EXPECT_THROW(set_default_dtype(DType::int64), Error);
  set_default_dtype(DType::float64);
  EXPECT_EQ(default_dtype(), DType::float64);
  set_default_dtype(DType::float32);
}

}  // namespace
}  // namespace ctorch
