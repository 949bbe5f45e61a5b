// The numbers behind a Generator: the Mersenne Twister MT19937 (Matsumoto and Nishimura, 1998) as PyTorch
// keeps it, and the second value of a Box-Muller pair that waits for the next call.
#pragma once

#include <cstdint>

#include "core/macros.h"

namespace ctorch {

struct RandomState {
  static constexpr int kWords = 624;
  static constexpr int kMiddle = 397;

  uint64_t seed;  // as given; the twister itself starts from the low 32 bits
  int32_t left;   // words[next] .. words[next + left - 2] are unused; 1 asks for a refill
  uint32_t next;
  bool has_next_normal;
  bool has_next_float;  // never produced here, carried for the sake of states that come from PyTorch
  float next_float;
  double next_normal;
  alignas(64) uint32_t words[kWords];  // untempered
};

// The next 624 untempered words from the last 624, in place. Both loops vectorise: the first reads ahead of
// what it writes, the second 227 words behind.
CT_INLINE void twist_words(uint32_t* words) {
  constexpr int n = RandomState::kWords;
  constexpr int m = RandomState::kMiddle;
  auto mix = [](uint32_t u, uint32_t v) __attribute__((always_inline)) {
    return (((u & 0x80000000u) | (v & 0x7fffffffu)) >> 1) ^ (-(v & 1u) & 0x9908b0dfu);
  };
  for (int i = 0; i < n - m; ++i) words[i] = words[i + m] ^ mix(words[i], words[i + 1]);
  for (int i = n - m; i < n - 1; ++i) words[i] = words[i + m - n] ^ mix(words[i], words[i + 1]);
  words[n - 1] = words[m - 1] ^ mix(words[n - 1], words[0]);
}

CT_INLINE uint32_t temper_word(uint32_t y) {
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

}  // namespace ctorch
