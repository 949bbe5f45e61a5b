#include "ops/edge_pad.h"

#include <algorithm>

#include "ops/copy.h"
#include "ops/elementwise.h"

namespace ctorch::ops {
namespace {

constexpr const char* kOp = "pad";

// Where the padded tensor has the input, and which of its slices repeat which.
struct Edges {
  Dims sizes, start, inner;  // of the padded tensor; the input's first element in it, and its sizes
  int64_t first_dim;         // that is padded
  std::string mode;

  Edges(IntList input, IntList pad, const std::string& kind)
      : sizes(input), start(static_cast<int64_t>(input.size()), 0), inner(input), mode(kind) {
    const int64_t pairs = static_cast<int64_t>(pad.size()) / 2;
    check(pad.size() % 2 == 0 && pairs <= sizes.size(), kOp,
          ": expected pairs of numbers for the last dims of shape ", inner, ", got ", ShapeText{pad});
    check(mode == "reflect" || mode == "replicate" || mode == "circular", kOp, ": unknown mode ", mode);
    first_dim = sizes.size() - pairs;
    for (int64_t i = 0; i < pairs; ++i) {
      const int64_t d = sizes.size() - 1 - i, before = pad[static_cast<size_t>(2 * i)],
                    after = pad[static_cast<size_t>(2 * i + 1)];
      check(before >= 0 && after >= 0, kOp, ": expected numbers of at least 0, got ", ShapeText{pad});
      const int64_t least = mode == "reflect" ? std::max(before, after) + 1 : before + after > 0 ? 1 : 0;
      check(inner[d] >= least, kOp, ": mode ", mode, " cannot add ", before, " and ", after,
            " elements to dim ", d, " of shape ", inner);
      check(!__builtin_add_overflow(sizes[d], before, &sizes[d]) &&
                !__builtin_add_overflow(sizes[d], after, &sizes[d]),
            kOp, ": the size of dim ", d, " overflows");
      start[d] = before;
    }
  }

  // The place whose element stands k + 1 places before (after) the input along dim d.
  int64_t source_before(int64_t d, int64_t k) const {
    if (mode == "circular") return start[d] + inner[d] - 1 - k % inner[d];
    return start[d] + (mode == "reflect" ? k + 1 : 0);
  }
  int64_t source_after(int64_t d, int64_t k) const {
    if (mode == "circular") return start[d] + k % inner[d];
    return start[d] + inner[d] - 1 - (mode == "reflect" ? k + 1 : 0);
  }

  Tensor interior(const Tensor& t) const {
    int64_t offset = t.offset();
    for (int64_t d = 0; d < t.dim(); ++d) offset += start[d] * t.strides()[d];
    return t.view_as(inner, t.strides(), offset);
  }
  // One place along dim d: all of the later dims, and what the input covers of the earlier ones.
  Tensor slice(const Tensor& t, int64_t d, int64_t at) const {
    Dims part = sizes;
    int64_t offset = t.offset() + at * t.strides()[d];
    for (int64_t e = 0; e < d; ++e) {
      part[e] = inner[e];
      offset += start[e] * t.strides()[e];
    }
    part[d] = 1;
    return t.view_as(part, t.strides(), offset);
  }
  // body(slice, the slice that it repeats) for all of dim d.
  template <class Body>
  void for_each(const Tensor& t, int64_t d, Body&& body) const {
    for (int64_t k = 0; k < start[d]; ++k)
      body(slice(t, d, start[d] - 1 - k), slice(t, d, source_before(d, k)));
    const int64_t end = start[d] + inner[d];
    for (int64_t k = 0; end + k < sizes[d]; ++k) body(slice(t, d, end + k), slice(t, d, source_after(d, k)));
  }
};

}  // namespace

Tensor edge_pad(const Tensor& input, IntList pad, const std::string& mode) {
  const Edges edges(input.sizes(), pad, mode);
  const bool channels_last = !input.is_contiguous() && is_channels_last(input.sizes(), input.strides());
  const Tensor result = channels_last ? empty_strided(edges.sizes, channels_last_strides(edges.sizes),
                                                      input.dtype(), input.device())
                                      : empty(edges.sizes, input.dtype(), input.device());
  if (result.numel() == 0) return result;
  copy_(edges.interior(result), input);
  for (int64_t d = result.dim() - 1; d >= edges.first_dim; --d)
    edges.for_each(result, d, [](const Tensor& to, const Tensor& from) { copy_(to, from); });
  return result;
}

Tensor edge_pad_backward(const Tensor& grad_output, IntList pad, const std::string& mode) {
  Dims input = grad_output.sizes();
  for (size_t i = 0; i < pad.size() && static_cast<int64_t>(i / 2) < input.size(); ++i)
    input[input.size() - 1 - static_cast<int64_t>(i / 2)] -= pad[i];
  for (int64_t size : input)
    check(size >= 0, kOp, "_backward: padding ", ShapeText{pad}, " is more than grad_output ",
          grad_output.sizes(), " has");
  const Edges edges(input, pad, mode);
  const Tensor sums = clone(grad_output);
  if (sums.numel() == 0) return empty(input, sums.dtype(), sums.device());
  for (int64_t d = edges.first_dim; d < sums.dim(); ++d)
    edges.for_each(sums, d,
                   [](const Tensor& from, const Tensor& to) { add(to, from, Scalar(1), Out{&to, true}); });
  return clone(edges.interior(sums));
}

}  // namespace ctorch::ops
