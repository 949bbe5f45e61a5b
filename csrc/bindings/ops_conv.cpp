#include "ops/conv.h"

#include "bindings/def_op.h"

namespace ctorch::py {
namespace {

constexpr const char* kNames[] = {"conv1d", "conv2d", "conv3d"};
constexpr const char* kTransposedNames[] = {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"};

// conv1d, conv2d, conv3d: convolution() with a filter of so many dims.
template <int kDims>
Tensor conv(const Tensor& input, const Tensor& weight, const OptionalTensor& bias, IntList stride,
            IntList padding, IntList dilation, int64_t groups) {
  check(weight.dim() == kDims + 2, kNames[kDims - 1], ": expected weight of ", kDims + 2,
        " dimensions, got shape ", weight.sizes());
  const int64_t none[] = {0};
  return ops::convolution(input, weight, bias, {stride, padding, dilation, false, none, groups});
}
template <int kDims>
Tensor conv_named(const Tensor& input, const Tensor& weight, const OptionalTensor& bias, IntList stride,
                  std::string padding, IntList dilation, int64_t groups) {
  const Dims amounts = ops::named_padding(padding, weight, stride, dilation, kNames[kDims - 1]);
  return conv<kDims>(input, weight, bias, stride, amounts, dilation, groups);
}
template <int kDims>
Tensor conv_transpose(const Tensor& input, const Tensor& weight, const OptionalTensor& bias, IntList stride,
                      IntList padding, IntList output_padding, int64_t groups, IntList dilation) {
  check(weight.dim() == kDims + 2, kTransposedNames[kDims - 1], ": expected weight of ", kDims + 2,
        " dimensions, got shape ", weight.sizes());
  return ops::convolution(input, weight, bias, {stride, padding, dilation, true, output_padding, groups});
}

Tensor convolution(const Tensor& input, const Tensor& weight, const OptionalTensor& bias, IntList stride,
                   IntList padding, IntList dilation, bool transposed, IntList output_padding,
                   int64_t groups) {
  return ops::convolution(input, weight, bias,
                          {stride, padding, dilation, transposed, output_padding, groups});
}
Tensor backward_input(const Tensor& grad_output, const Tensor& weight, IntList input_size, IntList stride,
                      IntList padding, IntList dilation, bool transposed, IntList output_padding,
                      int64_t groups) {
  return ops::convolution_backward_input(grad_output, weight, input_size,
                                         {stride, padding, dilation, transposed, output_padding, groups});
}
Tensor backward_weight(const Tensor& grad_output, const Tensor& input, IntList weight_size, IntList stride,
                       IntList padding, IntList dilation, bool transposed, IntList output_padding,
                       int64_t groups) {
  return ops::convolution_backward_weight(grad_output, input, weight_size,
                                          {stride, padding, dilation, transposed, output_padding, groups});
}

template <int kDims>
void def_conv(const char* schema, const char* named_schema, const char* transposed_schema) {
  def_op<&conv<kDims>>(schema,
                       "Cross-correlate input (N, C, ...) or (C, ...) with weight (O, C / groups, ...). "
                       "padding: elements of 0 added on each side, or "
                       "'same' or 'valid'.",
                       kFunction);
  def_op<&conv_named<kDims>>(named_schema, "", kFunction);
  def_op<&conv_transpose<kDims>>(
      transposed_schema,
      "The transpose of a convolution with weight (C, O / groups, ...): what its gradient does.", kFunction);
}

}  // namespace

#define CT_CONV(name, padding)                                                     \
  name "(Tensor input, Tensor weight, Tensor? bias=None, int[] stride=1, " padding \
       ", int[] dilation=1, int groups=1) -> Tensor"
#define CT_TRANSPOSE(name)                                                                        \
  name "(Tensor input, Tensor weight, Tensor? bias=None, int[] stride=1, int[] padding=0, int[] " \
       "output_padding=0, int groups=1, int[] "                                                   \
       "dilation=1) -> Tensor"
#define CT_OPTIONS                                                                                      \
  "int[] stride, int[] padding, int[] dilation, bool transposed, int[] output_padding, int groups) -> " \
  "Tensor"

void init_ops_conv() {
  def_conv<1>(CT_CONV("conv1d", "int[] padding=0"), CT_CONV("conv1d.padding", "str padding='valid'"),
              CT_TRANSPOSE("conv_transpose1d"));
  def_conv<2>(CT_CONV("conv2d", "int[] padding=0"), CT_CONV("conv2d.padding", "str padding='valid'"),
              CT_TRANSPOSE("conv_transpose2d"));
  def_conv<3>(CT_CONV("conv3d", "int[] padding=0"), CT_CONV("conv3d.padding", "str padding='valid'"),
              CT_TRANSPOSE("conv_transpose3d"));
  def_op<&convolution>("convolution(Tensor input, Tensor weight, Tensor? bias, " CT_OPTIONS,
                       "Convolution or its transpose over one to three dims. padding may give the beginnings "
                       "and then the ends.",
                       kFunction);
  def_op<&backward_input>(
      "_convolution_backward_input(Tensor grad_output, Tensor weight, int[] input_size, " CT_OPTIONS,
      "The gradient of convolution() with respect to input.", kInternal);
  def_op<&backward_weight>(
      "_convolution_backward_weight(Tensor grad_output, Tensor input, int[] weight_size, " CT_OPTIONS,
      "The gradient of convolution() with respect to weight.", kInternal);
}

}  // namespace ctorch::py
