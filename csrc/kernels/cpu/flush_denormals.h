// The floating-point mode of kernels that multiply and add. (core/float_mode.h has its own functions for it,
// which are not forced inline: what a level compiles must leave no symbol that another level could pick up.)
#pragma once

#include <cstdint>
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#include "core/macros.h"

namespace ctorch::CT_ISA {
namespace {

// Denormal numbers are zero while an object lives: a multiply-add on one takes a microcode assist of about
// 150 cycles. parallel_for() carries the mode into its threads.
class FlushDenormals {
 public:
#if defined(__SSE2__)
  CT_INLINE FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040u); }
  CT_INLINE ~FlushDenormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  CT_INLINE FlushDenormals() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
    __asm__ volatile("msr fpcr, %0" : : "r"(saved_ | (uint64_t{1} << 24)));
  }
  CT_INLINE ~FlushDenormals() { __asm__ volatile("msr fpcr, %0" : : "r"(saved_)); }

 private:
  uint64_t saved_;
#else
  CT_INLINE FlushDenormals() {}
  CT_INLINE ~FlushDenormals() {}
#endif
};

}  // namespace
}  // namespace ctorch::CT_ISA
