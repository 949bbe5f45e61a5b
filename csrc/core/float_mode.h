// The calling thread's floating-point mode: whether subnormal numbers count as zero. parallel_for() carries
// the mode of its caller into every thread of the loop.
#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace ctorch {

// The control register as it is (MXCSR, FPCR); 0 where there is none.
inline uint64_t float_mode() {
#if defined(__SSE2__)
  return _mm_getcsr();
#elif defined(__aarch64__)
  uint64_t mode;
  __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
#else
  return 0;
#endif
}

inline void set_float_mode([[maybe_unused]] uint64_t mode) {
#if defined(__SSE2__)
  _mm_setcsr(static_cast<uint32_t>(mode));
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#endif
}

// The bits that turn subnormal results and operands into zero: FTZ and DAZ, or FZ; 0 where the processor has
// none.
#if defined(__SSE2__)
inline constexpr uint64_t kFlushDenormalBits = 0x8040;
#elif defined(__aarch64__)
inline constexpr uint64_t kFlushDenormalBits = 1u << 24;
#else
inline constexpr uint64_t kFlushDenormalBits = 0;
#endif

inline bool flush_denormal() { return kFlushDenormalBits != 0 && (float_mode() & kFlushDenormalBits) != 0; }

// Returns false where the processor cannot.
inline bool set_flush_denormal(bool on) {
  set_float_mode(on ? float_mode() | kFlushDenormalBits : float_mode() & ~kFlushDenormalBits);
  return kFlushDenormalBits != 0;
}

// Subnormals are zero while the object lives; then the mode is what it was.
class FlushDenormalGuard {
 public:
  FlushDenormalGuard() : mode_(float_mode()) { set_float_mode(mode_ | kFlushDenormalBits); }
  ~FlushDenormalGuard() { set_float_mode(mode_); }
  FlushDenormalGuard(const FlushDenormalGuard&) = delete;
  FlushDenormalGuard& operator=(const FlushDenormalGuard&) = delete;

 private:
  uint64_t mode_;
};

}  // namespace ctorch
