// Running sums, products, extremes and log-sum-exps along one dim.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace ctorch {

// All operands are row-major (outer, n, inner); the scan runs over n. in may be out.
struct ScanArgs {
  int64_t outer, n, inner;
  const void* in;
  void* out;
  int64_t* indices;  // cummax and cummin: where each extreme stands; the last of equals
};

using ScanFn = void (*)(const ScanArgs&);

struct ScanTable {
  ScanFn cumsum[kNumDTypes], cumprod[kNumDTypes];  // all but bool
  ScanFn cummax[kNumDTypes], cummin[kNumDTypes];   // bool, integers, floating
  ScanFn logcumsumexp[kNumDTypes];                 // floating, complex
};

}  // namespace ctorch
