#include "ops/pool.h"

#include "bindings/def_op.h"

namespace ctorch::py {
namespace {

using Stride = std::optional<IntList>;  // None: the kernel's size

template <int kDims>
Tensor max_pool(const Tensor& input, IntList kernel_size, Stride stride, IntList padding, IntList dilation,
                bool ceil_mode) {
  return ops::max_pool(input, {kDims, kernel_size, stride.value_or(IntList()), padding, dilation, ceil_mode});
}
template <int kDims>
std::tuple<Tensor, Tensor> max_pool_with_indices(const Tensor& input, IntList kernel_size, Stride stride,
                                                 IntList padding, IntList dilation, bool ceil_mode) {
  return ops::max_pool_with_indices(
      input, {kDims, kernel_size, stride.value_or(IntList()), padding, dilation, ceil_mode});
}
template <int kDims>
Tensor max_pool_backward(const Tensor& grad_output, const Tensor& input, IntList kernel_size, Stride stride,
                         IntList padding, IntList dilation, bool ceil_mode) {
  return ops::max_pool_backward(
      grad_output, input, {kDims, kernel_size, stride.value_or(IntList()), padding, dilation, ceil_mode});
}

constexpr int64_t kNoDilation[] = {1};

template <int kDims>
Tensor avg_pool(const Tensor& input, IntList kernel_size, Stride stride, IntList padding, bool ceil_mode,
                bool count_include_pad, std::optional<int64_t> divisor_override) {
  return ops::avg_pool(input,
                       {kDims, kernel_size, stride.value_or(IntList()), padding, kNoDilation, ceil_mode},
                       {count_include_pad, divisor_override});
}
Tensor avg_pool1d(const Tensor& input, IntList kernel_size, Stride stride, IntList padding, bool ceil_mode,
                  bool count_include_pad) {
  return avg_pool<1>(input, kernel_size, stride, padding, ceil_mode, count_include_pad, std::nullopt);
}
template <int kDims>
Tensor avg_pool_backward(const Tensor& grad_output, const Tensor& input, IntList kernel_size, Stride stride,
                         IntList padding, bool ceil_mode, bool count_include_pad,
                         std::optional<int64_t> divisor_override) {
  return ops::avg_pool_backward(
      grad_output, input.sizes(),
      {kDims, kernel_size, stride.value_or(IntList()), padding, kNoDilation, ceil_mode},
      {count_include_pad, divisor_override});
}

template <int kDims>
Tensor adaptive_avg_pool(const Tensor& input, IntList output_size) {
  return ops::adaptive_avg_pool(input, kDims, output_size);
}
template <int kDims>
std::tuple<Tensor, Tensor> adaptive_max_pool(const Tensor& input, IntList output_size) {
  return ops::adaptive_max_pool(input, kDims, output_size);
}

#define CT_MAX \
  "int[] kernel_size, int[]? stride=None, int[] padding=0, int[] dilation=1, bool ceil_mode=False"
#define CT_MEAN                                                                         \
  "int[] kernel_size, int[]? stride=None, int[] padding=0, bool ceil_mode=False, bool " \
  "count_include_pad=True"

template <int kDims>
void def_pools(unsigned max_forms, unsigned adaptive_max_forms) {
  // Schemas are parsed at once: the text need not outlive the call.
  const std::string d = std::to_string(kDims) + "d";
  auto text = [&](const char* name, const char* rest) { return name + d + rest; };
  def_op<&max_pool<kDims>>(
      text("max_pool", "(Tensor input, " CT_MAX ") -> Tensor").c_str(),
      "The largest element of each window over the last dims. stride: the kernel's size if None.", max_forms);
  def_op<&max_pool_with_indices<kDims>>(
      text("max_pool", "_with_indices(Tensor input, " CT_MAX ") -> (Tensor, Tensor)").c_str(),
      "max_pool and where in its plane each maximum stands.", kDims == 1 ? kFunction : kInternal);
  def_op<&max_pool_backward<kDims>>(
      text("_max_pool", "_backward(Tensor grad_output, Tensor input, " CT_MAX ") -> Tensor").c_str(),
      "The gradient of max_pool.", kInternal);
  def_op<&avg_pool_backward<kDims>>(text("_avg_pool", "_backward(Tensor grad_output, Tensor input, " CT_MEAN
                                                      ", int? divisor_override=None) -> Tensor")
                                        .c_str(),
                                    "The gradient of avg_pool.", kInternal);
  def_op<&adaptive_avg_pool<kDims>>(
      text("adaptive_avg_pool", "(Tensor input, int[] output_size) -> Tensor").c_str(),
      "The means over windows chosen so that the result has output_size.",
      kDims == 1 ? kFunction : kInternal);
  def_op<&adaptive_max_pool<kDims>>(
      text("adaptive_max_pool", "(Tensor input, int[] output_size) -> (Tensor, Tensor)").c_str(),
      "The maxima, and where they stand, over windows chosen so that the result has output_size.",
      adaptive_max_forms);
}

Tensor adaptive_avg_pool_backward(const Tensor& grad_output, const Tensor& input, int64_t dims) {
  return ops::adaptive_avg_pool_backward(grad_output, input.sizes(), dims);
}

}  // namespace

void init_ops_pool() {
  def_pools<1>(kFunction, kFunction);
  def_pools<2>(kFunction, kInternal);
  def_pools<3>(kFunction, kInternal);
  const char* doc =
      "The mean of each window over the last dims. divisor_override: divide by this, not by the number of "
      "elements.";
  def_op<&avg_pool1d>("avg_pool1d(Tensor input, " CT_MEAN ") -> Tensor", doc, kFunction);
  def_op<&avg_pool<2>>("avg_pool2d(Tensor input, " CT_MEAN
                       ", int? divisor_override=None, *, Out out=None) -> Tensor",
                       doc, kInternal);
  def_op<&avg_pool<3>>("avg_pool3d(Tensor input, " CT_MEAN
                       ", int? divisor_override=None, *, Out out=None) -> Tensor",
                       doc, kInternal);
  def_op<&adaptive_avg_pool_backward>(
      "_adaptive_avg_pool_backward(Tensor grad_output, Tensor input, int dims) -> Tensor",
      "The gradient of adaptive_avg_pool over the last `dims` dims.", kInternal);
}

}  // namespace ctorch::py
