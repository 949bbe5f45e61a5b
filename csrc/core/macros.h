// The home of every macro.
#pragma once

#define CT_INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#define CT_NOINLINE __attribute__((noinline))
#else
#define CT_NOINLINE __attribute__((noinline, noclone))  // no copies for constant arguments, either
#endif
#define CT_RESTRICT __restrict__
#define CT_LIKELY(x) __builtin_expect(!!(x), 1)
#define CT_UNLIKELY(x) __builtin_expect(!!(x), 0)

#ifdef __CUDACC__
#define CT_HOST_DEVICE __host__ __device__
#else
#define CT_HOST_DEVICE
#endif

// A formula: callable from host and device, and never emitted as a function of its own. The last matters on
// the CPU: a copy built with wide vectors would be a weak symbol that the linker may choose for every
// machine.
#define CT_FORMULA CT_HOST_DEVICE CT_INLINE
