// From a tensor and the dims to reduce to what the reduction kernels take. For the sources of ops/ only.
#pragma once

#include "core/tensor.h"
#include "kernels/reduce.h"

namespace ctorch::ops {

// A set of dims of one tensor.
class DimSet {
 public:
  static DimSet all(int64_t ndim) { return DimSet(ndim >= 64 ? ~uint64_t{0} : (uint64_t{1} << ndim) - 1); }
  // IndexError for a dim out of range, RuntimeError for one given twice. Absent, and unless said otherwise
  // empty, means all.
  static DimSet of(const Tensor& t, std::optional<IntList> dims, const char* op, bool empty_means_all = true);
  bool has(int64_t d) const { return bits_ >> d & 1; }

 private:
  explicit DimSet(uint64_t bits) : bits_(bits) {}
  uint64_t bits_;
};

// The sizes of the result: reduced dims have size 1, or are left out.
Dims reduced_sizes(const Tensor& input, DimSet dims, bool keepdim);
// How many elements make one of the result.
int64_t reduced_count(const Tensor& input, DimSet dims);

struct ReduceCall {
  Reduce kind;
  const char* op;
  double param = 0;
};

// Reduce the elements of input, which has some, into results of the sizes above, laid out row-major. The
// second may be undefined; for var and std either may.
void run_reduction(const ReduceCall& call, const Tensor& input, DimSet dims, const Tensor& out0,
                   const Tensor& out1 = {});

}  // namespace ctorch::ops
