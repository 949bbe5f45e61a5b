// Conversions between dtypes, strided and transposed moves, fills.
#include "kernels/copy.h"

#include <utility>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "kernels/cpu/rows.h"
#include "kernels/cpu/stream.h"
#include "kernels/cpu/vec_math.h"

namespace ctorch::CT_ISA {
namespace {

// ---- conversions
// -------------------------------------------------------------------------------------------------------

template <class To, class From>
CT_INLINE To convert_one(From x) {
  if constexpr (std::is_same_v<To, bool>)
    return x != From(0);
  else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To> && sizeof(To) <= 2)
    return static_cast<To>(static_cast<int32_t>(x));
  else if constexpr (std::is_floating_point_v<From> && std::is_same_v<To, uint32_t>)
    return static_cast<To>(static_cast<int64_t>(x));
  else
    return static_cast<To>(x);
}

template <class To, class From>
void convert_loop(void* to_bytes, const void* from_bytes, int64_t n) {
  auto* to = static_cast<To*>(to_bytes);
  auto* from = static_cast<const From*>(from_bytes);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) to[i] = convert_one<To>(from[i]);
}

template <int kSize>
void copy_bytes(void* to, const void* from, int64_t n) {
  __builtin_memmove(to, from, static_cast<size_t>(n * kSize));
}

void half_to_float(void* to_bytes, const void* from_bytes, int64_t n) {
  auto* to = static_cast<float*>(to_bytes);
  auto* from = static_cast<const uint16_t*>(from_bytes);
  int64_t i = 0;
#if defined(__AVX512F__)
  for (; i + 16 <= n; i += 16)
    _mm512_storeu_ps(to + i, _mm512_maskz_cvtph_ps(
                                 0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i))));
  if (const auto rest = static_cast<__mmask16>((1u << (n - i)) - 1))
    _mm512_mask_storeu_ps(to + i, rest,
                          _mm512_maskz_cvtph_ps(rest, _mm256_maskz_loadu_epi16(rest, from + i)));
#else
#if defined(__F16C__)
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
#endif
  for (; i < n; ++i) to[i] = float16_to_float(from[i]);
#endif
}

void float_to_half(void* to_bytes, const void* from_bytes, int64_t n) {
  auto* to = static_cast<uint16_t*>(to_bytes);
  auto* from = static_cast<const float*>(from_bytes);
  int64_t i = 0;
#if defined(__AVX512F__)
  for (; i + 16 <= n; i += 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i),
                        _mm512_maskz_cvtps_ph(0xffff, _mm512_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
  if (const auto rest = static_cast<__mmask16>((1u << (n - i)) - 1))
    _mm256_mask_storeu_epi16(
        to + i, rest,
        _mm512_maskz_cvtps_ph(rest, _mm512_maskz_loadu_ps(rest, from + i), _MM_FROUND_TO_NEAREST_INT));
#else
#if defined(__F16C__)
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
#endif
  for (; i < n; ++i) to[i] = float_to_float16(from[i]);
#endif
}

void bfloat_to_float(void* to_bytes, const void* from_bytes, int64_t n) {
  auto* to = static_cast<float*>(to_bytes);
  auto* from = static_cast<const uint16_t*>(from_bytes);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) to[i] = bfloat16_to_float(from[i]);
}

void float_to_bfloat(void* to_bytes, const void* from_bytes, int64_t n) {
  auto* to = static_cast<uint16_t*>(to_bytes);
  auto* from = static_cast<const float*>(from_bytes);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) to[i] = float_to_bfloat16(from[i]);
}

// Complex numbers as pairs of R.
template <class R>
void real_to_complex(void* to_bytes, const void* from_bytes, int64_t n) {
  auto* to = static_cast<R*>(to_bytes);
  auto* from = static_cast<const R*>(from_bytes);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    to[2 * i] = from[i];
    to[2 * i + 1] = R(0);
  }
}
template <class R>
void complex_to_real(void* to_bytes, const void* from_bytes, int64_t n) {
  auto* to = static_cast<R*>(to_bytes);
  auto* from = static_cast<const R*>(from_bytes);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) to[i] = from[2 * i];
}
template <class R>
void complex_to_bool(void* to_bytes, const void* from_bytes, int64_t n) {
  auto* to = static_cast<uint8_t*>(to_bytes);
  auto* from = static_cast<const R*>(from_bytes);
  for (int64_t i = 0; i < n; ++i) to[i] = (from[2 * i] != R(0)) | (from[2 * i + 1] != R(0));
}
template <class To, class From>
void complex_to_complex(void* to, const void* from, int64_t n) {
  convert_loop<To, From>(to, from, 2 * n);
}

constexpr int at(DType dt) { return static_cast<int>(dt); }

template <class From>
void fill_from(ConvertFn* row) {
  auto set = [&](DType to, ConvertFn fn) { row[at(to)] = fn; };
  auto set_size = [&](DType u, DType s, ConvertFn fn) {
    set(u, fn);
    set(s, fn);
  };
  set_size(DType::uint8, DType::int8, &convert_loop<uint8_t, From>);
  set_size(DType::uint16, DType::int16, &convert_loop<uint16_t, From>);
  set_size(DType::uint32, DType::int32, &convert_loop<uint32_t, From>);
  set_size(DType::uint64, DType::int64, &convert_loop<uint64_t, From>);
  if constexpr (std::is_floating_point_v<From>) {  // negative numbers need the signed conversion
    set_size(DType::uint8, DType::int8, &convert_loop<int8_t, From>);
    set_size(DType::uint16, DType::int16, &convert_loop<int16_t, From>);
    set(DType::int32, &convert_loop<int32_t, From>);
    set(DType::int64, &convert_loop<int64_t, From>);
  }
  set(DType::float32, &convert_loop<float, From>);
  set(DType::float64, &convert_loop<double, From>);
  set(DType::boolean, &convert_loop<bool, From>);
}

void fill_conversions(ConvertFn (&table)[kNumDTypes][kNumDTypes]) {
  fill_from<uint8_t>(table[at(DType::uint8)]);
  fill_from<int8_t>(table[at(DType::int8)]);
  fill_from<int16_t>(table[at(DType::int16)]);
  fill_from<int32_t>(table[at(DType::int32)]);
  fill_from<int64_t>(table[at(DType::int64)]);
  fill_from<uint16_t>(table[at(DType::uint16)]);
  fill_from<uint32_t>(table[at(DType::uint32)]);
  fill_from<uint64_t>(table[at(DType::uint64)]);
  fill_from<float>(table[at(DType::float32)]);
  fill_from<double>(table[at(DType::float64)]);
  // bool is a byte; a byte other than 0 and 1, which a view may have made, becomes 1 on the way.
  for (int to = 0; to < kNumDTypes; ++to) table[at(DType::boolean)][to] = table[at(DType::uint8)][to];
  table[at(DType::float16)][at(DType::float32)] = &half_to_float;
  table[at(DType::float32)][at(DType::float16)] = &float_to_half;
  table[at(DType::bfloat16)][at(DType::float32)] = &bfloat_to_float;
  table[at(DType::float32)][at(DType::bfloat16)] = &float_to_bfloat;
  table[at(DType::float32)][at(DType::complex64)] = &real_to_complex<float>;
  table[at(DType::float64)][at(DType::complex128)] = &real_to_complex<double>;
  table[at(DType::complex64)][at(DType::float32)] = &complex_to_real<float>;
  table[at(DType::complex128)][at(DType::float64)] = &complex_to_real<double>;
  table[at(DType::complex64)][at(DType::boolean)] = &complex_to_bool<float>;
  table[at(DType::complex128)][at(DType::boolean)] = &complex_to_bool<double>;
  table[at(DType::complex64)][at(DType::complex128)] = &complex_to_complex<double, float>;
  table[at(DType::complex128)][at(DType::complex64)] = &complex_to_complex<float, double>;
  constexpr ConvertFn copies[] = {&copy_bytes<1>, &copy_bytes<2>, &copy_bytes<4>, &copy_bytes<8>,
                                  &copy_bytes<16>};
  for (int dt = 0; dt < kNumDTypes; ++dt)
    table[dt][dt] = copies[__builtin_ctzll(static_cast<unsigned long long>(kItemSize[dt]))];
}

// ---- moves
// -------------------------------------------------------------------------------------------------------------

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

struct Bits128 {
  uint64_t low, high;
};

// Square transposes in registers, kSide x kSide elements: log2(kSide) rounds in each of which rows i and i +
// kSide/2 are interleaved, each round a perfect shuffle of the rows.
template <class T>
struct Transposer {
  // More than 16 rows would not fit into the registers.
  static constexpr int kSide =
      kVectorBytes / static_cast<int>(sizeof(T)) > 16 ? 16 : kVectorBytes / static_cast<int>(sizeof(T));
  typedef T Vector __attribute__((vector_size(kSide * sizeof(T))));
  static constexpr bool kWholeLines = kSide * sizeof(T) == 64;

  template <int kHalf, size_t... I>
  CT_INLINE static Vector interleave(Vector a, Vector b, std::index_sequence<I...>) {
    return __builtin_shufflevector(a, b,
                                   (static_cast<int>(I) / 2 + (I % 2 ? kSide : 0) + kHalf * kSide / 2)...);
  }
  CT_INLINE static void run(char* to, int64_t to_row, const char* from, int64_t from_row, bool stream) {
    constexpr auto all = std::make_index_sequence<kSide>();
    Vector a[kSide], b[kSide];
#pragma GCC unroll 16
    for (int i = 0; i < kSide; ++i) __builtin_memcpy(&a[i], from + i * from_row, sizeof(Vector));
#pragma GCC unroll 4
    for (int round = 1; round < kSide; round *= 2) {
#pragma GCC unroll 8
      for (int i = 0; i < kSide / 2; ++i) {
        b[2 * i] = interleave<0>(a[i], a[i + kSide / 2], all);
        b[2 * i + 1] = interleave<1>(a[i], a[i + kSide / 2], all);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kSide; ++i) a[i] = b[i];
    }
#if defined(__AVX512F__)
    if (kWholeLines && stream) {
#pragma GCC unroll 16
      for (int i = 0; i < kSide; ++i)
        _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i * to_row),
                            bit_cast<__m512i>(resize_to_line(a[i])));
      return;
    }
#endif
    (void)stream;
#pragma GCC unroll 16
    for (int i = 0; i < kSide; ++i) __builtin_memcpy(to + i * to_row, &a[i], sizeof(Vector));
  }
#if defined(__AVX512F__)
  CT_INLINE static auto resize_to_line(Vector v) {
    if constexpr (kWholeLines)
      return v;
    else
      return __m512i{};
  }
#endif
};

template <class T>
void move_transposed_scalar(const BlockArgs& a, int64_t r0, int64_t r1, int64_t j0, int64_t j1) {
  for (int64_t r = r0; r < r1; ++r)
    for (int64_t j = j0; j < j1; ++j)
      *reinterpret_cast<T*>(a.to + r * a.to_row + j * a.to_stride) =
          *reinterpret_cast<const T*>(a.from + r * a.from_row + j * a.from_stride);
}

// to[r][j] = from[j][r]: rows of `to` and columns of `from` are contiguous. Tiles run along j within bands of
// 64 bytes times four of r, so that whole cache lines of `from` are read and few pages are open at a time.
template <class T>
void move_transposed(const BlockArgs& a) {
  if constexpr (sizeof(T) == 16) {
    constexpr int64_t kBand = 8;
    for (int64_t r = 0; r < a.rows; r += kBand)
      for (int64_t j = 0; j < a.n; j += kBand)
        move_transposed_scalar<T>(a, r, r + kBand < a.rows ? r + kBand : a.rows, j,
                                  j + kBand < a.n ? j + kBand : a.n);
  } else {
    using Tile = Transposer<T>;
    constexpr int64_t kSide = Tile::kSide, kBand = 256 / sizeof(T);
    // Streams need aligned rows; a few first columns bring them there.
    int64_t j_begin = 0;
    bool stream = a.stream && Tile::kWholeLines && a.to_row % 64 == 0;
    if (stream) j_begin = static_cast<int64_t>((-reinterpret_cast<uintptr_t>(a.to) & 63) / sizeof(T));
    if (j_begin > a.n) j_begin = a.n;
    int64_t j_end = j_begin + (a.n - j_begin) / kSide * kSide, r_end = a.rows / kSide * kSide;
    for (int64_t band = 0; band < r_end; band += kBand) {
      int64_t band_end = band + kBand < r_end ? band + kBand : r_end;
      for (int64_t j = j_begin; j < j_end; j += kSide)
        for (int64_t r = band; r < band_end; r += kSide)
          Tile::run(a.to + r * a.to_row + j * static_cast<int64_t>(sizeof(T)), a.to_row,
                    a.from + r * static_cast<int64_t>(sizeof(T)) + j * a.from_stride, a.from_stride, stream);
    }
    move_transposed_scalar<T>(a, 0, r_end, 0, j_begin);
    move_transposed_scalar<T>(a, 0, r_end, j_end, a.n);
    move_transposed_scalar<T>(a, r_end, a.rows, 0, a.n);
    if (stream) stream_end();
  }
}

template <class T>
void fill(void* to_bytes, const void* value, int64_t n) {
  auto* to = static_cast<T*>(to_bytes);
  T v = *static_cast<const T*>(value);
  for (int64_t i = 0; i < n; ++i) to[i] = v;
}

template <class T>
void move(const BlockArgs& a) {
  constexpr int64_t kSize = sizeof(T);
  if (a.to_stride == kSize && a.from_row == kSize && a.from_stride != kSize && a.from_stride != 0 &&
      a.rows > 1 && a.n > 1) {
    move_transposed<T>(a);
    return;
  }
  for (int64_t r = 0; r < a.rows; ++r) {
    char* to = a.to + r * a.to_row;
    const char* from = a.from + r * a.from_row;
    if (a.to_stride == kSize && a.from_stride == kSize) {
      if (a.stream)
        stream(to, from, a.n * kSize);
      else
        __builtin_memcpy(to, from, static_cast<size_t>(a.n * kSize));
    } else if (a.to_stride == kSize && a.from_stride == 0) {
      fill<T>(to, from, a.n);
    } else if (a.to_stride == kSize) {
      auto* t = reinterpret_cast<T*>(to);
      for (int64_t j = 0; j < a.n; ++j) t[j] = *reinterpret_cast<const T*>(from + j * a.from_stride);
    } else {
      for (int64_t j = 0; j < a.n; ++j)
        *reinterpret_cast<T*>(to + j * a.to_stride) = *reinterpret_cast<const T*>(from + j * a.from_stride);
    }
  }
  if (a.stream) stream_end();
}

}  // namespace

void widen_row(const Half* from, float* to, int64_t n) { half_to_float(to, from, n); }
void widen_row(const BFloat16* from, float* to, int64_t n) { bfloat_to_float(to, from, n); }
void narrow_row(const float* from, Half* to, int64_t n) { float_to_half(to, from, n); }
void narrow_row(const float* from, BFloat16* to, int64_t n) { float_to_bfloat(to, from, n); }

void fill_copy(CopyTable& table) {
  fill_conversions(table.convert);
  table.move[0] = &move<uint8_t>;
  table.move[1] = &move<uint16_t>;
  table.move[2] = &move<uint32_t>;
  table.move[3] = &move<uint64_t>;
  table.move[4] = &move<Bits128>;
  table.stream = &stream;
  table.stream_end = &stream_end;
  table.fill[0] = &fill<uint8_t>;
  table.fill[1] = &fill<uint16_t>;
  table.fill[2] = &fill<uint32_t>;
  table.fill[3] = &fill<uint64_t>;
  table.fill[4] = &fill<Bits128>;
}

}  // namespace ctorch::CT_ISA
