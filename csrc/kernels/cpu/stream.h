// Stores past the caches, for results too large to stay in them: a line need not be read before it is
// written, and pushes nothing out.
#pragma once

#include <cstdint>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include "core/macros.h"

namespace ctorch::CT_ISA {
namespace {

#ifdef __x86_64__
inline void stream(void* to_bytes, const void* from_bytes, int64_t bytes) {
  auto* to = static_cast<char*>(to_bytes);
  auto* from = static_cast<const char*>(from_bytes);
  int64_t head = static_cast<int64_t>(-reinterpret_cast<uintptr_t>(to) & 63);
  if (head > bytes) head = bytes;
  __builtin_memcpy(to, from, static_cast<size_t>(head));
  int64_t i = head;
  for (; i + 64 <= bytes; i += 64) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to + i), _mm512_loadu_si512(from + i));
#elif defined(__AVX2__)
    for (int k = 0; k < 64; k += 32)
      _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i + k),
                          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i + k)));
#else
    for (int k = 0; k < 64; k += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + i + k),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i + k)));
#endif
  }
  __builtin_memcpy(to + i, from + i, static_cast<size_t>(bytes - i));
}
inline void stream_end() { _mm_sfence(); }
#else
inline void stream(void* to, const void* from, int64_t bytes) {
  __builtin_memcpy(to, from, static_cast<size_t>(bytes));
}
inline void stream_end() {}
#endif

}  // namespace
}  // namespace ctorch::CT_ISA
