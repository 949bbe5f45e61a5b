// Random fills in bulk. Words are drawn some hundred at a time into a buffer that stays in the first-level
// cache and converted there by loops that vectorise; only the order of words and the formulas are given (by
// PyTorch), see kernels/random.h.
//
// PyTorch's kernels are compiled with fused multiply-add, so where a product is added to something the two
// are fused here by name: the result must not depend on what the compiler contracts, nor on the level.
#include "kernels/random.h"

#include <cmath>

#include "core/half.h"
#include "core/parallel.h"
#include "core/scratch.h"

namespace ctorch::CT_ISA {
namespace {

// Elements converted at a time: 2 words each make 4 KiB.
constexpr int64_t kBlock = 512;

CT_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

CT_INLINE float fused(float a, float b, float c) {
#ifdef __FMA__
  return __builtin_fmaf(a, b, c);
#else
  // The product is exact in double, and with operands of similar size the sum is too.
  return static_cast<float>(static_cast<double>(a) * b + c);
#endif
}
CT_INLINE double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }

void draw(RandomState& state, uint32_t* CT_RESTRICT out, int64_t n) {
  while (n > 0) {
    if (state.left == 1) {
      twist_words(state.words);
      state.left = RandomState::kWords + 1;
      state.next = 0;
    }
    int64_t count = smaller(n, state.left - 1);
    const uint32_t* CT_RESTRICT words = state.words + state.next;
    for (int64_t i = 0; i < count; ++i) out[i] = temper_word(words[i]);
    state.left -= static_cast<int32_t>(count);
    state.next += static_cast<uint32_t>(count);
    out += count;
    n -= count;
  }
}

// Call body(words, begin, count) for blocks of the n elements, each element having kWords words.
template <int kWords, class Body>
CT_INLINE void for_blocks(RandomState& state, int64_t n, Body body) {
  alignas(64) uint32_t words[kWords * kBlock];
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    int64_t count = smaller(kBlock, n - begin);
    draw(state, words, count * kWords);
    body(words, begin, count);
  }
}

// Two words as one 64-bit integer, the first on top.
CT_INLINE uint64_t wide_word(const uint32_t* words, int64_t i) {
  return (static_cast<uint64_t>(words[2 * i]) << 32) | words[2 * i + 1];
}

constexpr uint64_t kMask53 = (uint64_t{1} << 53) - 1;

CT_INLINE float unit_float(uint32_t word) {
  return static_cast<float>(static_cast<int32_t>(word & 0xffffffu)) * 0x1p-24f;
}

// The low 53 bits over 2^53. The halves become doubles by planting them below the exponents of 2^52 and 2^84,
// as there is no conversion from 64-bit integers before AVX-512.
CT_INLINE double unit_double(uint64_t word) {
  uint64_t bits = word & kMask53;
  double low = bit_cast<double>((bits & 0xffffffffu) | 0x4330000000000000u) - 0x1p52;
  double high = bit_cast<double>((bits >> 32) | 0x4530000000000000u) - 0x1p84;
  return (high + low) * 0x1p-53;
}

template <class T>
CT_INLINE T from_float(acc_t<T> value) {
  return static_cast<T>(value);
}

template <class T>
void uniform(RandomState& state, void* out_ptr, int64_t n, double from_value, double to_value) {
  using A = acc_t<T>;
  T* out = static_cast<T*>(out_ptr);
  A from = static_cast<A>(from_value);
  A range = static_cast<A>(to_value) - from;
  // Rounding may reach the upper bound, which becomes the lower one.
  T first = from_float<T>(from);
  A last = static_cast<A>(from_float<T>(static_cast<A>(to_value)));
  constexpr int kWords = sizeof(A) == 8 ? 2 : 1;
  for_blocks<kWords>(state, n, [&](const uint32_t* words, int64_t begin, int64_t count) {
    T* CT_RESTRICT block = out + begin;
    for (int64_t i = 0; i < count; ++i) {
      if constexpr (kWords == 2) {
        T value = fused(unit_double(wide_word(words, i)), range, from);
        block[i] = value == last ? first : value;
      } else if constexpr (is_half_v<T>) {
        T value = from_float<T>(fused(unit_float(words[i]), range, from));
        block[i].bits = static_cast<float>(value) == last ? first.bits : value.bits;
      } else {
        T value = fused(unit_float(words[i]), range, from);
        block[i] = value == last ? first : value;
      }
    }
  });
}

// ln x for x in [2^-24, 1]: Cephes' logf (Moshier), error below 1 ulp; the reduction is x = 2^e (1 + f),
// sqrt(1/2) <= 1 + f.
CT_INLINE float log_unit(float x) {
  uint32_t bits = bit_cast<uint32_t>(x);
  float e = static_cast<float>(static_cast<int32_t>(bits >> 23) - 126);
  float m = bit_cast<float>((bits & 0x007fffffu) | 0x3f000000u);
  bool low = m < 0.707106781186547524f;
  e = low ? e - 1.0f : e;
  float f = (m - 1.0f) + (low ? m : 0.0f);
  float z = f * f;
  float y = 7.0376836292e-2f;
  y = fused(y, f, -1.1514610310e-1f);
  y = fused(y, f, 1.1676998740e-1f);
  y = fused(y, f, -1.2420140846e-1f);
  y = fused(y, f, 1.4249322787e-1f);
  y = fused(y, f, -1.6668057665e-1f);
  y = fused(y, f, 2.0000714765e-1f);
  y = fused(y, f, -2.4999993993e-1f);
  y = fused(y, f, 3.3333331174e-1f);
  y = y * f;
  y = fused(y, z, e * -2.12194440e-4f);
  y = fused(z, -0.5f, y);
  return fused(e, 0.693359375f, f + y);
}

// sin x and cos x for x in [0, 2 pi]: Cephes' sinf and cosf, with pi/4 subtracted in three parts.
CT_INLINE void sin_cos(float x, float& sin_x, float& cos_x) {
  int32_t octant = (static_cast<int32_t>(x * 1.27323954473516f) + 1) & ~1;
  float y = static_cast<float>(octant);
  x = fused(y, -0.78515625f, x);
  x = fused(y, -2.4187564849853515625e-4f, x);
  x = fused(y, -3.77489497744594108e-8f, x);
  float z = x * x;
  float c = 2.443315711809948e-5f;
  c = fused(c, z, -1.388731625493765e-3f);
  c = fused(c, z, 4.166664568298827e-2f);
  c = fused(c * z, z, -0.5f * z) + 1.0f;
  float s = -1.9515295891e-4f;
  s = fused(s, z, 8.3321608736e-3f);
  s = fused(s, z, -1.6666654611e-1f);
  s = fused(s * z, x, x);
  bool swap = (octant & 2) != 0;
  uint32_t sin_sign = static_cast<uint32_t>(octant & 4) << 29;
  uint32_t cos_sign = static_cast<uint32_t>(~(octant - 2) & 4) << 29;
  sin_x = bit_cast<float>(bit_cast<uint32_t>(swap ? c : s) ^ sin_sign);
  cos_x = bit_cast<float>(bit_cast<uint32_t>(swap ? s : c) ^ cos_sign);
}

// Box-Muller on n / 16 groups of 16 uniforms in place: element j of a group is paired with element j + 8.
void box_muller(float* data, int64_t n, float mean, float std) {
  constexpr int64_t kPairs = 256;
  constexpr float two_pi = 6.283185307179586f;
  alignas(64) float a[kPairs];
  alignas(64) float b[kPairs];
  for (int64_t begin = 0; begin < n; begin += 2 * kPairs) {
    int64_t pairs = smaller(kPairs, (n - begin) / 2);
    float* group = data + begin;
    for (int64_t i = 0; i < pairs; i += 8) {
      for (int64_t j = 0; j < 8; ++j) a[i + j] = group[2 * i + j];
      for (int64_t j = 0; j < 8; ++j) b[i + j] = group[2 * i + 8 + j];
    }
    for (int64_t i = 0; i < pairs; ++i) {
      float radius = __builtin_sqrtf(-2.0f * log_unit(1.0f - a[i]));
      float s, c;
      sin_cos(two_pi * b[i], s, c);
      a[i] = fused(radius * c, std, mean);
      b[i] = fused(radius * s, std, mean);
    }
    for (int64_t i = 0; i < pairs; i += 8) {
      for (int64_t j = 0; j < 8; ++j) group[2 * i + j] = a[i + j];
      for (int64_t j = 0; j < 8; ++j) group[2 * i + 8 + j] = b[i + j];
    }
  }
}

void box_muller(double* data, int64_t n, double mean, double std) {
  for (int64_t begin = 0; begin < n; begin += 16) {
    double* group = data + begin;
    for (int64_t j = 0; j < 8; ++j) {
      double radius = __builtin_sqrt(-2.0 * __builtin_log(1.0 - group[j]));
      double theta = 2.0 * M_PI * group[j + 8];
      group[j] = fused(radius * __builtin_cos(theta), std, mean);
      group[j + 8] = fused(radius * __builtin_sin(theta), std, mean);
    }
  }
}

// All n uniforms are drawn first, then whole groups are transformed; what is left over at the end belongs to
// a last group of 16 that is drawn again.
template <class T>
void normal(RandomState& state, void* out_ptr, int64_t n, double mean, double std) {
  // Enough for several threads to share the transform of a segment, which stays in the second-level cache.
  constexpr int64_t kSegment = 1 << 16;
  constexpr int64_t kGrain = sizeof(T) == 4 ? 8192 : 1024;
  T* out = static_cast<T*>(out_ptr);
  T m = static_cast<T>(mean);
  T s = static_cast<T>(std);
  for (int64_t begin = 0; begin < n; begin += kSegment) {
    int64_t count = smaller(kSegment, n - begin);
    uniform<T>(state, out + begin, count, 0.0, 1.0);
    T* segment = out + begin;
    parallel_for(0, count / 16, kGrain / 16, [=](int64_t first, int64_t last) {
      box_muller(segment + 16 * first, 16 * (last - first), m, s);
    });
  }
  if (n % 16 != 0) {
    uniform<T>(state, out + n - 16, 16, 0.0, 1.0);
    box_muller(out + n - 16, 16, m, s);
  }
}

// Half types draw whole groups only, and the last one as above.
template <class T>
void normal_half(RandomState& state, void* out_ptr, int64_t n, double mean, double std) {
  constexpr int64_t kSegment = 2048;
  T* out = static_cast<T*>(out_ptr);
  alignas(64) float buffer[kSegment];
  auto fill = [&](T* CT_RESTRICT target, int64_t count) {
    uniform<float>(state, buffer, count, 0.0, 1.0);
    box_muller(buffer, count, static_cast<float>(mean), static_cast<float>(std));
    for (int64_t i = 0; i < count; ++i) target[i] = from_float<T>(buffer[i]);
  };
  int64_t whole = n - n % 16;
  for (int64_t begin = 0; begin < whole; begin += kSegment)
    fill(out + begin, smaller(kSegment, whole - begin));
  if (whole != n) fill(out + n - 16, 16);
}

template <class T, class V>
CT_INLINE T from_integer(V value) {
  if constexpr (is_half_v<T>) {
    return T(static_cast<float>(value));
  } else {
    return static_cast<T>(value);
  }
}

template <class T>
void bernoulli(RandomState& state, void* out_ptr, int64_t n, double p) {
  T* out = static_cast<T*>(out_ptr);
  // u < p for u = k / 2^53 says k < p 2^53, and scaling p by a power of two is exact.
  int64_t limit = static_cast<int64_t>(std::ceil(p * 0x1p53));
  T one = from_integer<T>(1);
  T zero = from_integer<T>(0);
  for_blocks<2>(state, n, [&](const uint32_t* words, int64_t begin, int64_t count) {
    T* CT_RESTRICT block = out + begin;
    alignas(64) int64_t hit[kBlock];
    for (int64_t i = 0; i < count; ++i) hit[i] = static_cast<int64_t>(wide_word(words, i) & kMask53) < limit;
    for (int64_t i = 0; i < count; ++i) block[i] = hit[i] != 0 ? one : zero;
  });
}

// words[i] % range in place, range > 1: the quotient in double, of a reciprocal rounded down so that it is
// never too large and at most one too small.
CT_INLINE void reduce_words(uint32_t* words, int64_t n, uint32_t range) {
  if ((range & (range - 1)) == 0) {
    for (int64_t i = 0; i < n; ++i) words[i] &= range - 1;
    return;
  }
  double inverse = (1.0 / range) * (1.0 - 0x1p-51);
  for (int64_t i = 0; i < n; ++i) {
    // Only signed integers convert at every level.
    double w = static_cast<double>(static_cast<int32_t>(words[i] ^ 0x80000000u)) + 0x1p31;
    uint32_t rest = words[i] - static_cast<uint32_t>(static_cast<int32_t>(w * inverse)) * range;
    uint32_t less = rest - range;
    words[i] = less < rest ? less : rest;
  }
}

template <class T>
void integers(RandomState& state, void* out_ptr, int64_t n, uint64_t range, int64_t base, bool wide) {
  T* out = static_cast<T*>(out_ptr);
  uint64_t offset = static_cast<uint64_t>(base);
  if (!wide) {
    for_blocks<1>(state, n, [&](uint32_t* words, int64_t begin, int64_t count) {
      T* CT_RESTRICT block = out + begin;
      if (range == 1) {
        for (int64_t i = 0; i < count; ++i) words[i] = 0;
      } else {
        reduce_words(words, count, static_cast<uint32_t>(range));
      }
      for (int64_t i = 0; i < count; ++i) block[i] = from_integer<T>(static_cast<int64_t>(words[i] + offset));
    });
    return;
  }
  bool power_of_two = (range & (range - 1)) == 0;  // 2^64, too
  for_blocks<2>(state, n, [&](const uint32_t* words, int64_t begin, int64_t count) {
    T* CT_RESTRICT block = out + begin;
    alignas(64) uint64_t values[kBlock];
    if (power_of_two) {
      for (int64_t i = 0; i < count; ++i) values[i] = wide_word(words, i) & (range - 1);
    } else {
      // A division each, which measured faster than a multiplication by the reciprocal and its corrections.
      for (int64_t i = 0; i < count; ++i) values[i] = wide_word(words, i) % range;
    }
    for (int64_t i = 0; i < count; ++i) block[i] = from_integer<T>(static_cast<int64_t>(values[i] + offset));
  });
}

template <class T>
void masked_scale(void* out_ptr, const void* x_ptr, const bool* mask, int64_t n, double scale_value) {
  using A = acc_t<T>;
  parallel_for(0, n, 1 << 15, [=](int64_t begin, int64_t end) {
    T* out = static_cast<T*>(out_ptr);
    const T* x = static_cast<const T*>(x_ptr);
    const uint8_t* kept = reinterpret_cast<const uint8_t*>(mask);
    A scale = static_cast<A>(scale_value);
#pragma GCC ivdep
    for (int64_t i = begin; i < end; ++i) {
      A factor = kept[i] ? scale : A(0);
      if constexpr (std::is_same_v<T, BFloat16>) {
        out[i].bits = float_to_bfloat16(bfloat16_to_float(x[i].bits) * factor);
      } else {
        out[i] = from_float<T>(static_cast<A>(x[i]) * factor);
      }
    }
  });
}

template <class T>
void fill_integers(RandomTable& table) {
  table.integers[static_cast<int>(dtype_of<T>)] = integers<T>;
}
template <class T>
void fill_integers_and_bernoulli(RandomTable& table) {
  fill_integers<T>(table);
  table.bernoulli[static_cast<int>(dtype_of<T>)] = bernoulli<T>;
}
template <class T>
void fill_floats(RandomTable& table) {
  fill_integers_and_bernoulli<T>(table);
  table.uniform[static_cast<int>(dtype_of<T>)] = uniform<T>;
  table.masked_scale[static_cast<int>(dtype_of<T>)] = masked_scale<T>;
  if constexpr (is_half_v<T>) {
    table.normal[static_cast<int>(dtype_of<T>)] = normal_half<T>;
  } else {
    table.normal[static_cast<int>(dtype_of<T>)] = normal<T>;
  }
}

}  // namespace

void fill_random(RandomTable& table) {
  table = {};
  table.words = draw;
  fill_integers_and_bernoulli<bool>(table);
  fill_integers_and_bernoulli<uint8_t>(table);
  fill_integers_and_bernoulli<int8_t>(table);
  fill_integers_and_bernoulli<int16_t>(table);
  fill_integers_and_bernoulli<int32_t>(table);
  fill_integers_and_bernoulli<int64_t>(table);
  fill_integers<uint16_t>(table);
  fill_integers<uint32_t>(table);
  fill_integers<uint64_t>(table);
  fill_floats<Half>(table);
  fill_floats<BFloat16>(table);
  fill_floats<float>(table);
  fill_floats<double>(table);
}

}  // namespace ctorch::CT_ISA
