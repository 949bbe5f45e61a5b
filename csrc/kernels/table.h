// All kernels of one device level. A family declares its table of function pointers in kernels/<family>.h and
// fills it in kernels/cpu/<family>.cpp, which is compiled once per level; adding a family is an include and a
// line here.
#pragma once

#include "core/cpu_info.h"
#include "kernels/attention.h"
#include "kernels/conv.h"
#include "kernels/copy.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/index.h"
#include "kernels/loss.h"
#include "kernels/norm.h"
#include "kernels/pool.h"
#include "kernels/random.h"
#include "kernels/reduce.h"
#include "kernels/resample.h"
#include "kernels/rnn.h"
#include "kernels/scan.h"
#include "kernels/softmax.h"
#include "kernels/sort.h"
#include "kernels/update.h"

// X(type prefix, member name): a FooTable, the member `foo`, filled by CT_ISA::fill_foo(FooTable&).
#define CT_KERNEL_FAMILIES(X) \
  CT_AVX512_FAMILIES(X)       \
  X(Index, index)             \
  X(Resample, resample)       \
  X(Scan, scan)               \
  X(Sort, sort)

// The families with kernels of their own at a level, which else has those of the level below: at avx512 all
// but those that move and compare single elements, which wider registers do not speed up (measured; see also
// cmake/kernels.cmake); above it, kernels/cpu/<level>/<family>.cpp replaces entries in
// isa_<level>::fill_foo(FooTable&).
#define CT_AVX512_FAMILIES(X) \
  X(Attention, attention)     \
  X(Conv, conv)               \
  X(Copy, copy)               \
  X(Elementwise, elementwise) \
  X(Gemm, gemm)               \
  X(Loss, loss)               \
  X(Norm, norm)               \
  X(Pool, pool)               \
  X(Random, random)           \
  X(Reduce, reduce)           \
  X(Rnn, rnn)                 \
  X(Softmax, softmax)         \
  X(Update, update)
#define CT_AVX512_BF16_FAMILIES(X) X(Attention, attention) X(Conv, conv) X(Gemm, gemm)
#define CT_AMX_FAMILIES(X) X(Attention, attention) X(Conv, conv) X(Gemm, gemm)

namespace ctorch {

struct KernelTable {
#define CT_MEMBER(Name, name) Name##Table name;
  CT_KERNEL_FAMILIES(CT_MEMBER)
#undef CT_MEMBER
};

// The table of a level (which this machine must have), and that of active_isa().
const KernelTable& cpu_kernels(IsaLevel level);
const KernelTable& cpu_kernels();

}  // namespace ctorch
