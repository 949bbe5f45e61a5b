#include "bindings/def_op.h"
#include "ops/loss.h"

namespace ctorch::py {

// reduction: 0 none, 1 mean, 2 sum, as in PyTorch's functions of these names.
void init_ops_loss() {
  def_op<&ops::mse_loss>("mse_loss(Tensor input, Tensor target, int reduction=1) -> Tensor",
                         "Squared distance.", kFunction);
  def_op<&ops::l1_loss>("l1_loss(Tensor input, Tensor target, int reduction=1) -> Tensor",
                        "Absolute distance.", kFunction);
  def_op<&ops::smooth_l1_loss>(
      "smooth_l1_loss(Tensor input, Tensor target, int reduction=1, float beta=1.0) -> Tensor",
      "Absolute distance, rounded to a parabola below beta.", kFunction);
  def_op<&ops::huber_loss>(
      "huber_loss(Tensor input, Tensor target, int reduction=1, float delta=1.0) -> Tensor",
      "Half the squared distance, continued as a line from delta on.", kFunction);
  def_op<&ops::binary_cross_entropy>(
      "binary_cross_entropy(Tensor input, Tensor target, Tensor? weight=None, int reduction=1) -> Tensor",
      "Cross entropy of probabilities. RuntimeError if one is outside [0, 1].", kFunction);
  def_op<&ops::binary_cross_entropy_with_logits>(
      "binary_cross_entropy_with_logits(Tensor input, Tensor target, Tensor? weight=None, Tensor? "
      "pos_weight=None, int reduction=1) -> Tensor",
      "Cross entropy of sigmoid(input), without the sigmoid's overflow.", kFunction);
  def_op<&ops::kl_div>(
      "kl_div(Tensor input, Tensor target, int reduction=1, *, bool log_target=False) -> Tensor",
      "Kullback-Leibler divergence of the log-probabilities input from target.", kFunction);
  def_op<&ops::nll_loss>(
      "nll_loss(Tensor input, Tensor target, Tensor? weight=None, int reduction=1, int ignore_index=-100) -> "
      "Tensor",
      "Minus the log-probability of the class that target names.", kFunction);
  def_op<&ops::cross_entropy_loss>(
      "cross_entropy_loss(Tensor input, Tensor target, Tensor? weight=None, int reduction=1, int "
      "ignore_index=-100, float label_smoothing=0.0) -> Tensor",
      "Cross entropy of softmax(input) over the classes (dim 1) and target: class numbers or probabilities.",
      kFunction);

  def_op<&ops::mse_loss_backward>(
      "mse_loss_backward(Tensor grad_output, Tensor input, Tensor target, int reduction) -> Tensor",
      "Gradient of mse_loss().", kInternal);
  def_op<&ops::l1_loss_backward>(
      "l1_loss_backward(Tensor grad_output, Tensor input, Tensor target, int reduction) -> Tensor",
      "Gradient of l1_loss().", kInternal);
  def_op<&ops::smooth_l1_loss_backward>(
      "smooth_l1_loss_backward(Tensor grad_output, Tensor input, Tensor target, int reduction, float beta) "
      "-> Tensor",
      "Gradient of smooth_l1_loss().", kInternal);
  def_op<&ops::huber_loss_backward>(
      "huber_loss_backward(Tensor grad_output, Tensor input, Tensor target, int reduction, float delta) -> "
      "Tensor",
      "Gradient of huber_loss().", kInternal);
  def_op<&ops::binary_cross_entropy_backward>(
      "binary_cross_entropy_backward(Tensor grad_output, Tensor input, Tensor target, Tensor? weight, int "
      "reduction) -> Tensor",
      "Gradient of binary_cross_entropy().", kInternal);
  def_op<&ops::binary_cross_entropy_with_logits_backward>(
      "binary_cross_entropy_with_logits_backward(Tensor grad_output, Tensor input, Tensor target, Tensor? "
      "weight, Tensor? pos_weight, "
      "int reduction) -> Tensor",
      "Gradient of binary_cross_entropy_with_logits().", kInternal);
  def_op<&ops::nll_loss_backward>(
      "nll_loss_backward(Tensor grad_output, Tensor input, Tensor target, Tensor? weight, int reduction, int "
      "ignore_index) -> Tensor",
      "Gradient of nll_loss().", kInternal);
  def_op<&ops::cross_entropy_classes_backward>(
      "cross_entropy_backward(Tensor grad_output, Tensor input, Tensor target, Tensor? weight, int "
      "reduction, int ignore_index, "
      "float label_smoothing) -> Tensor",
      "Gradient of cross_entropy_loss() for class numbers.", kInternal);
}

}  // namespace ctorch::py
