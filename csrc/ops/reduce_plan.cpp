#include "ops/reduce_plan.h"

#include <algorithm>

#include "kernels/table.h"

namespace ctorch::ops {
namespace {

struct Line {
  int64_t size, in, out;
};

// A small vector of the dims of one side.
struct Lines {
  Line line[kMaxReduceDims];
  int64_t n = 0;

  void add(int64_t size, int64_t in, int64_t out) { line[n++] = {size, in, out}; }
  // Largest input stride first, so that memory is walked forwards.
  void sort() {
    if (n < 2) return;
    std::stable_sort(line, line + n,
                     [](const Line& a, const Line& b) { return std::abs(a.in) > std::abs(b.in); });
  }
  // Neighbours that are walked as one dim become one.
  void merge() {
    int64_t m = 0;
    for (int64_t i = 0; i < n; ++i) {
      Line& last = line[m - (m > 0)];
      const Line& next = line[i];
      if (m > 0 && last.in == next.in * next.size && last.out == next.out * next.size) {
        last = {last.size * next.size, next.in, next.out};
      } else {
        line[m++] = next;
      }
    }
    n = m;
  }
};

bool is_indexed(Reduce kind) {
  return kind == Reduce::argmax || kind == Reduce::argmin || kind == Reduce::max_index ||
         kind == Reduce::min_index;
}

}  // namespace

DimSet DimSet::of(const Tensor& t, std::optional<IntList> dims, const char* op, bool empty_means_all) {
  check(t.dim() <= kMaxReduceDims, op, ": only tensors with up to ", kMaxReduceDims,
        " dims are supported, got one with ", t.dim());
  if (!dims || (dims->empty() && empty_means_all)) return all(t.dim());
  uint64_t bits = 0;
  for (int64_t d : *dims) {
    const int64_t at = wrap_dim(d, t.dim(), op);
    check(!(bits >> at & 1), op, ": dim ", at, " appears multiple times in the list of dims");
    bits |= uint64_t{1} << at;
  }
  return DimSet(bits);
}

Dims reduced_sizes(const Tensor& input, DimSet dims, bool keepdim) {
  Dims sizes;
  for (int64_t d = 0; d < input.dim(); ++d) {
    if (!dims.has(d)) {
      sizes.push_back(input.sizes()[d]);
    } else if (keepdim) {
      sizes.push_back(1);
    }
  }
  return sizes;
}

int64_t reduced_count(const Tensor& input, DimSet dims) {
  int64_t count = 1;
  for (int64_t d = 0; d < input.dim(); ++d) count *= dims.has(d) ? input.sizes()[d] : 1;
  return count;
}

void run_reduction(const ReduceCall& call, const Tensor& input, DimSet dims, const Tensor& out0,
                   const Tensor& out1) {
  const auto& table = cpu_kernels().reduce;
  Reducer reducer = table.get(call.kind, input.dtype());
  check_implemented(reducer.in_size != 0, call.op, ": not implemented for dtype ", input.dtype());
  // Totals of half types are those of floats, and can be written as such.
  if (is_half(input.dtype()) && out0 && out0.dtype() == DType::float32)
    reducer.write = table.get(call.kind, DType::float32).write;
  ReduceArgs args{.in = input.data(),
                  .out = {out0 ? out0.data() : nullptr, out1 ? out1.data() : nullptr},
                  .kept_dims = 0,
                  .kept_sizes = nullptr,
                  .kept_in = nullptr,
                  .kept_out = nullptr,
                  .reduced_dims = 1,
                  .reduced_sizes = nullptr,
                  .reduced_in = nullptr,
                  .outputs = 1,
                  .count = input.numel(),
                  .param = call.param};
  const int64_t one = 1, numel = input.numel(), results = out0 ? out0.numel() : out1.numel();
  if (results == 1 && input.is_contiguous()) {
    args.reduced_sizes = &numel;
    args.reduced_in = &one;
    return table.run(reducer, args);
  }
  Lines kept, reduced;
  int64_t out_stride = results;
  const bool indexed = is_indexed(call.kind);
  const char* start = input.data();
  for (int64_t d = 0; d < input.dim(); ++d) {
    const int64_t size = input.sizes()[d], stride = input.strides()[d];
    if (!dims.has(d)) {
      out_stride /= size;
      if (size != 1) kept.add(size, stride, out_stride);
    } else if (size != 1) {
      // The order within a sum is free: walk every reduced dim forwards.
      if (stride < 0 && !indexed) start += stride * (size - 1) * input.item_size();
      reduced.add(size, indexed ? stride : std::abs(stride), 0);
    }
  }
  kept.sort();
  kept.merge();
  if (!indexed) reduced.sort();
  reduced.merge();
  if (reduced.n == 0) reduced.add(1, 1, 0);

  int64_t kept_sizes[kMaxReduceDims], kept_in[kMaxReduceDims], kept_out[kMaxReduceDims];
  int64_t reduced_sizes[kMaxReduceDims], reduced_in[kMaxReduceDims];
  for (int64_t i = 0; i < kept.n; ++i) {
    kept_sizes[i] = kept.line[i].size;
    kept_in[i] = kept.line[i].in;
    kept_out[i] = kept.line[i].out;
  }
  for (int64_t i = 0; i < reduced.n; ++i) {
    reduced_sizes[i] = reduced.line[i].size;
    reduced_in[i] = reduced.line[i].in;
  }
  args.in = start;
  args.kept_dims = kept.n;
  args.kept_sizes = kept_sizes;
  args.kept_in = kept_in;
  args.kept_out = kept_out;
  args.reduced_dims = reduced.n;
  args.reduced_sizes = reduced_sizes;
  args.reduced_in = reduced_in;
  args.outputs = results;
  args.count = numel / results;
  table.run(reducer, args);
}

}  // namespace ctorch::ops
