#include "bindings/def_op.h"
#include "ops/norm.h"

namespace ctorch::py {
namespace {

// cudnn_enable stands in PyTorch's signatures; there is nothing to enable.
Tensor layer_norm(const Tensor& input, IntList normalized_shape, const OptionalTensor& weight,
                  const OptionalTensor& bias, double eps, bool) {
  return ops::layer_norm(input, normalized_shape, weight, bias, eps);
}
Tensor group_norm(const Tensor& input, int64_t num_groups, const OptionalTensor& weight,
                  const OptionalTensor& bias, double eps, bool) {
  return ops::group_norm(input, num_groups, weight, bias, eps);
}
Tensor batch_norm(const Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
                  const OptionalTensor& running_mean, const OptionalTensor& running_var, bool training,
                  double momentum, double eps, bool) {
  return std::get<0>(
      ops::native_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps));
}

}  // namespace

void init_ops_norm() {
  def_op<&layer_norm>(
      "layer_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, Tensor? bias=None, float "
      "eps=1e-05, bool cudnn_enable=True) -> Tensor",
      "The last dims (of normalized_shape) brought to mean 0 and variance 1, times weight, plus bias.",
      kFunction);
  def_op<&ops::native_layer_norm>(
      "native_layer_norm(Tensor input, int[] normalized_shape, Tensor? weight, Tensor? bias, float eps) -> "
      "(Tensor, Tensor, Tensor)",
      "layer_norm(), and the mean and 1 / sqrt(variance + eps) of every row.", kFunction);
  def_op<&ops::layer_norm_backward>(
      "layer_norm_backward(Tensor grad, Tensor input, int[] normalized_shape, Tensor? mean, Tensor? rstd, "
      "Tensor? weight, float eps) -> (Tensor, Tensor, Tensor)",
      "Gradients of layer_norm() with respect to input, weight and bias.", kInternal);
  def_op<&ops::rms_norm>(
      "rms_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, float? eps=None) -> Tensor",
      "The last dims (of normalized_shape) divided by their root mean square, times weight.", kFunction);
  def_op<&ops::rms_norm_backward>(
      "rms_norm_backward(Tensor grad, Tensor input, int[] normalized_shape, Tensor? weight, float? eps) -> "
      "(Tensor, Tensor)",
      "Gradients of rms_norm() with respect to input and weight.", kInternal);
  def_op<&batch_norm>(
      "batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, "
      "bool training, float momentum, float eps, "
      "bool cudnn_enabled) -> Tensor",
      "Every channel (dim 1) brought to mean 0 and variance 1, times weight, plus bias. In training the "
      "statistics are the batch's, and "
      "running_mean and running_var are moved towards them.",
      kFunction);
  def_op<&ops::native_batch_norm>(
      "native_batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? "
      "running_var, bool training, float momentum, "
      "float eps, *, Out out=None) -> (Tensor, Tensor, Tensor)",
      "batch_norm(), and the mean and 1 / sqrt(variance + eps) of every channel (empty unless training).",
      kFunction);
  def_op<&ops::batch_norm_backward>(
      "batch_norm_backward(Tensor grad, Tensor input, Tensor? weight, Tensor? running_mean, Tensor? "
      "running_var, Tensor? save_mean, "
      "Tensor? save_invstd, bool training, float eps) -> (Tensor, Tensor, Tensor)",
      "Gradients of batch_norm() with respect to input, weight and bias.", kInternal);
  def_op<&group_norm>(
      "group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None, float eps=1e-05, "
      "bool cudnn_enabled=True) -> Tensor",
      "Every group of channels (dim 1) brought to mean 0 and variance 1, times weight, plus bias.",
      kFunction);
  def_op<&ops::native_group_norm>(
      "native_group_norm(Tensor input, Tensor? weight, Tensor? bias, int N, int C, int HxW, int group, float "
      "eps) -> (Tensor, Tensor, Tensor)",
      "group_norm(), and the mean and 1 / sqrt(variance + eps) of every group.", kFunction);
  def_op<&ops::group_norm_backward>(
      "group_norm_backward(Tensor grad, Tensor input, Tensor? mean, Tensor? rstd, Tensor? weight, int group, "
      "float eps) -> (Tensor, Tensor, Tensor)",
      "Gradients of group_norm() with respect to input, weight and bias.", kInternal);
}

}  // namespace ctorch::py
