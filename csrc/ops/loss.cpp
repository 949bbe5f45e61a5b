#include "ops/loss.h"

#include "kernels/table.h"
#include "ops/copy.h"
#include "ops/elementwise.h"
#include "ops/promote.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "ops/view.h"

namespace ctorch::ops {
namespace {

enum Reduction : int64_t { kNone = 0, kMean = 1, kSum = 2 };

void check_reduction(int64_t reduction, const char* op) {
  check_value(reduction >= kNone && reduction <= kSum, op,
              ": expected reduction 0 (none), 1 (mean) or 2 (sum), got ", reduction);
}

// ---- pairs
// -----------------------------------------------------------------------------------------------------------------

struct Extras {
  OptionalTensor weight, pos_weight;
  double param = 0;
};

// The dtype of a loss of pairs, by PyTorch's rules, which differ.
DType pair_dtype(PairLoss kind, const char* op, const Tensor& input, const Tensor& target) {
  DType dtype = input.dtype();
  if (kind == PairLoss::bce) {
    check(target.dtype() == dtype, op, ": expected target of the dtype of input, ", dtype, ", got ",
          target.dtype());
  } else if (kind == PairLoss::bce_logits) {
    // PyTorch computes it in place in a tensor of the target's dtype.
    check_implemented(is_floating(dtype), op, ": expected input of a floating dtype, got ", dtype);
    check(is_floating(target.dtype()), op, ": expected target of a floating dtype, as input, ", dtype,
          ", got ", target.dtype());
    dtype = target.dtype();
  } else {
    dtype = result_type(input, target);
  }
  check_implemented(is_floating(dtype), op, ": expected a floating dtype, got ", dtype);
  return dtype;
}

// The operands of a loss at their common shape, as the kernels want them: dense, of one dtype, which is
// float32 or float64.
struct PairOperands {
  Dims sizes;
  DType dtype, compute;
  Tensor x, target, weight, pos_weight;

  PairOperands(PairLoss kind, const char* op, const Tensor& input, const Tensor& target_,
               const Extras& extras)
      : dtype(pair_dtype(kind, op, input, target_)) {
    const bool wide =
        dtype == DType::float64 || (kind == PairLoss::bce_logits && input.dtype() == DType::float64);
    compute = wide ? DType::float64 : DType::float32;
    sizes = broadcast_shapes(input.sizes(), target_.sizes(), op);
    if (extras.weight) sizes = broadcast_shapes(sizes, extras.weight->sizes(), op);
    if (extras.pos_weight) sizes = broadcast_shapes(sizes, extras.pos_weight->sizes(), op);
    x = dense(input);
    target = dense(target_);
    if (extras.weight) weight = dense(*extras.weight);
    if (extras.pos_weight) pos_weight = dense(*extras.pos_weight);
  }
  Tensor dense(const Tensor& t) const {
    Tensor source = to_dtype(t, compute);
    return contiguous(source.sizes() == sizes ? source : expand(source, sizes));
  }
  PairLossArgs args(const Extras& extras) const {
    PairLossArgs a{};
    a.n = x.numel();
    a.x = x.data();
    a.target = target.data();
    a.weight = weight ? weight.data() : nullptr;
    a.pos_weight = pos_weight ? pos_weight.data() : nullptr;
    a.param = extras.param;
    return a;
  }
};

Tensor pair_loss(PairLoss kind, const char* op, const Tensor& input, const Tensor& target, int64_t reduction,
                 const Extras& extras = {}) {
  check_reduction(reduction, op);
  const PairOperands o(kind, op, input, target, extras);
  PairLossArgs args = o.args(extras);
  auto kernel = cpu_kernels().loss.pair[static_cast<int>(kind)][static_cast<int>(o.compute)];
  if (reduction == kNone) {
    Tensor result = empty(o.sizes, o.compute, input.device());
    args.out = result.data();
    if (args.n) kernel(args);
    return to_dtype(result, o.dtype);
  }
  double sum = 0;
  args.sum = &sum;
  if (args.n) kernel(args);
  return scalar_tensor(reduction == kMean ? sum / static_cast<double>(args.n) : sum, o.dtype, input.device());
}

Tensor pair_loss_backward(PairLoss kind, const char* op, const Tensor& grad, const Tensor& input,
                          const Tensor& target, int64_t reduction, const Extras& extras = {}) {
  check_reduction(reduction, op);
  const PairOperands o(kind, op, input, target, extras);
  PairLossArgs args = o.args(extras);
  Tensor result = empty(o.sizes, o.compute, input.device());
  args.grad_is_scalar = grad.numel() == 1;
  Tensor g = args.grad_is_scalar ? to_dtype(grad, o.compute) : o.dense(grad);
  args.grad = g.data();
  args.scale = reduction == kMean ? 1.0 / static_cast<double>(args.n) : 1.0;
  args.out = result.data();
  if (args.n) cpu_kernels().loss.pair_backward[static_cast<int>(kind)][static_cast<int>(o.compute)](args);
  return to_dtype(result, o.dtype);
}

Extras with(double param) { return {std::nullopt, std::nullopt, param}; }

// The interval [0, 1] is where the formula has a value.
void check_probabilities(const Tensor& t, const char* name, const char* op) {
  if (t.numel() == 0) return;
  Tensor low = amin(t, {}, false), high = amax(t, {}, false);  // NaN if there is one
  const double l = item(low).to_double(), h = item(high).to_double();
  check(l >= 0 && h <= 1, op, ": all elements of ", name, " should be between 0 and 1, got one of ",
        l >= 0 ? h : l);
}

// ---- class numbers
// -----------------------------------------------------------------------------------------------------

// The kernels take float32 and float64: half types are converted.
struct ClassOperands {
  DType compute;
  Tensor x, target, weight;
  Dims loss_sizes;
  ClassLossArgs args{};

  ClassOperands(const char* op, const Tensor& input, const Tensor& target_, const OptionalTensor& weight_,
                int64_t ignore_index) {
    const int64_t ndim = input.dim();
    check_value(ndim >= 1, op, ": expected input of 1 or more dimensions, got ", input);
    check_implemented(is_floating(input.dtype()), op, ": expected input of a floating dtype, got ",
                      input.dtype());
    check(target_.dtype() == DType::int64 || target_.dtype() == DType::uint8, op,
          ": expected target of dtype int64 or uint8, got ", target_.dtype());
    const int64_t channel = ndim == 1 ? 0 : 1;
    args.classes = input.sizes()[channel];
    args.samples = args.inner = 1;
    for (int64_t d = 0; d < ndim; ++d) {
      if (d == channel) continue;
      loss_sizes.push_back(input.sizes()[d]);
      (d < channel ? args.samples : args.inner) *= input.sizes()[d];
    }
    // One sample's target may have a dim of its own.
    const bool single = ndim == 1 && target_.dim() <= 1 && target_.numel() == 1;
    check_value(single || ndim < 2 || target_.dim() == 0 || target_.sizes()[0] == input.sizes()[0], op,
                ": Expected input batch_size (", input.sizes()[0], ") to match target batch_size (",
                target_.dim() ? target_.sizes()[0] : 0, ").");
    check(single || target_.sizes() == loss_sizes, op, ": expected target of size ", loss_sizes,
          " for input ", input.sizes(), ", got ", target_.sizes());
    if (single) loss_sizes = target_.sizes();
    check(!weight_ || (weight_->dim() <= 1 && weight_->numel() == args.classes), op,
          ": weight tensor should be defined either for all ", args.classes,
          " classes or no classes but got weight tensor of shape: ", weight_ ? weight_->sizes() : Dims());
    check(!weight_ || weight_->dtype() == input.dtype(), op, ": expected weight of the dtype of input, ",
          input.dtype(), ", got ", weight_ ? weight_->dtype() : input.dtype());
    compute = input.dtype() == DType::float64 ? DType::float64 : DType::float32;
    x = contiguous(to_dtype(input, compute));
    target = contiguous(to_dtype(target_, DType::int64));
    if (weight_) weight = contiguous(to_dtype(*weight_, compute));
    args.x = x.data();
    args.target = target.data<const int64_t>();
    args.weight = weight ? weight.data() : nullptr;
    args.ignore_index = ignore_index;
    for (int64_t i = 0; i < target.numel(); ++i) {
      const int64_t t = args.target[i];
      check_index((t >= 0 && t < args.classes) || t == ignore_index, op, ": Target ", t,
                  " is out of bounds for ", args.classes, " classes");
    }
  }
  // Of all targets that are not ignored.
  double total_weight() const {
    Tensor w = weight ? to_dtype(weight, DType::float64) : Tensor();
    double total = 0;
    for (int64_t i = 0; i < target.numel(); ++i) {
      const int64_t t = args.target[i];
      if (t != args.ignore_index) total += weight ? w.data<const double>()[t] : 1.0;
    }
    return total;
  }
};

using ClassKernels = void (*const (&)[kNumDTypes])(const ClassLossArgs&);

Tensor class_loss(ClassKernels kernels, const char* op, const Tensor& input, const Tensor& target,
                  const OptionalTensor& weight, int64_t reduction, int64_t ignore_index, double smoothing) {
  check_reduction(reduction, op);
  ClassOperands o(op, input, target, weight, ignore_index);
  Tensor losses = empty(o.loss_sizes, o.compute, input.device()),
         weights = empty(o.loss_sizes, o.compute, input.device());
  o.args.smoothing = smoothing;
  o.args.losses = losses.data();
  o.args.weights = weights.data();
  if (losses.numel()) kernels[static_cast<int>(o.compute)](o.args);
  if (reduction == kNone) return to_dtype(losses, input.dtype());
  const double total = item(sum(losses, std::nullopt, false, DType::float64)).to_double();
  if (reduction == kSum) return scalar_tensor(total, input.dtype(), input.device());
  return scalar_tensor(total / item(sum(weights, std::nullopt, false, DType::float64)).to_double(),
                       input.dtype(), input.device());
}

Tensor class_loss_backward(ClassKernels kernels, const char* op, const Tensor& grad, const Tensor& input,
                           const Tensor& target, const OptionalTensor& weight, int64_t reduction,
                           int64_t ignore_index, double smoothing, bool writes_all) {
  check_reduction(reduction, op);
  ClassOperands o(op, input, target, weight, ignore_index);
  Tensor dx = empty(o.x.sizes(), o.compute, input.device());
  if (!writes_all) zero_(dx);
  if (o.target.numel() == 0) return to_dtype(zero_(dx), input.dtype());
  Tensor g;
  if (reduction == kNone) {
    check(grad.numel() == o.target.numel(), op, ": expected grad_output of size ", o.loss_sizes, ", got ",
          grad.sizes());
    g = contiguous(to_dtype(grad, o.compute));
  } else {
    check(grad.numel() == 1, op, ": expected grad_output to be a single element tensor, got ", grad);
    const double scale = reduction == kMean ? 1 / o.total_weight() : 1.0;
    g = empty(o.target.sizes(), o.compute, input.device());
    fill_(g, item(grad).to_double() * scale);
  }
  o.args.smoothing = smoothing;
  o.args.grad = g.data();
  o.args.dx = dx.data();
  kernels[static_cast<int>(o.compute)](o.args);
  return to_dtype(dx, input.dtype());
}

Tensor reduced(const Tensor& losses, int64_t reduction) {
  if (reduction == kNone) return losses;
  return reduction == kMean ? mean(losses, std::nullopt, false, std::nullopt)
                            : sum(losses, std::nullopt, false, std::nullopt);
}

Tensor cross_entropy_probabilities(const char* op, const Tensor& input, const Tensor& target,
                                   const OptionalTensor& weight, int64_t reduction, int64_t ignore_index,
                                   double smoothing) {
  check_reduction(reduction, op);
  check(ignore_index < 0, op, ": ignore_index is not supported for floating point target, got ",
        ignore_index);
  check(input.dim() >= 1, op, ": expected input of at least 1 dim, got ", input);
  const int64_t channel = input.dim() == 1 ? 0 : 1, classes = input.sizes()[channel];
  check(!weight || (weight->dim() == 1 && weight->numel() == classes), op,
        ": weight tensor should be defined either for all ", classes,
        " classes or no classes but got weight tensor of shape: ", weight ? weight->sizes() : Dims());
  Tensor share = target;
  if (smoothing > 0)
    share =
        add(mul(target, Scalar(1 - smoothing), {}), Scalar(smoothing / static_cast<double>(classes)), 1, {});
  if (weight) {
    Dims shape(input.dim(), 1);
    shape[channel] = classes;
    share = mul(share, view(contiguous(*weight), shape), {});
  }
  Tensor products = mul(log_softmax(input, channel, std::nullopt), share, {});
  const int64_t dim[] = {channel};
  if (reduction == kNone) return neg(sum(products, IntList(dim), false, std::nullopt), {});
  Tensor total = neg(sum(products, std::nullopt, false, std::nullopt), {});
  if (reduction == kSum) return total;
  return div(total, Scalar(static_cast<double>(input.numel()) / static_cast<double>(classes)), {});
}

}  // namespace

Tensor mse_loss(const Tensor& input, const Tensor& target, int64_t reduction) {
  return pair_loss(PairLoss::mse, "mse_loss", input, target, reduction);
}
Tensor l1_loss(const Tensor& input, const Tensor& target, int64_t reduction) {
  // Complex numbers and integers are rare: in separate steps.
  if (!is_floating(result_type(input, target)))
    return reduced(unary<fn::Abs>(sub(input, target, 1, {}), {}), reduction);
  return pair_loss(PairLoss::l1, "l1_loss", input, target, reduction);
}
Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, int64_t reduction, double beta) {
  check(beta >= 0, "smooth_l1_loss does not support negative values for beta, got ", beta);
  if (beta == 0) return l1_loss(input, target, reduction);
  return pair_loss(PairLoss::smooth_l1, "smooth_l1_loss", input, target, reduction, with(beta));
}
Tensor huber_loss(const Tensor& input, const Tensor& target, int64_t reduction, double delta) {
  check(delta > 0, "huber_loss does not support non-positive values for delta, got ", delta);
  return pair_loss(PairLoss::huber, "huber_loss", input, target, reduction, with(delta));
}
Tensor binary_cross_entropy(const Tensor& input, const Tensor& target, const OptionalTensor& weight,
                            int64_t reduction) {
  const char* op = "binary_cross_entropy";
  pair_dtype(PairLoss::bce, op, input, target);
  check_probabilities(input, "input", op);
  check_probabilities(target, "target", op);
  return pair_loss(PairLoss::bce, op, input, target, reduction, {weight, std::nullopt});
}
Tensor binary_cross_entropy_with_logits(const Tensor& input, const Tensor& target,
                                        const OptionalTensor& weight, const OptionalTensor& pos_weight,
                                        int64_t reduction) {
  return pair_loss(PairLoss::bce_logits, "binary_cross_entropy_with_logits", input, target, reduction,
                   {weight, pos_weight});
}

Tensor mse_loss_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                         int64_t reduction) {
  return pair_loss_backward(PairLoss::mse, "mse_loss_backward", grad_output, input, target, reduction);
}
Tensor l1_loss_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                        int64_t reduction) {
  return pair_loss_backward(PairLoss::l1, "l1_loss_backward", grad_output, input, target, reduction);
}
Tensor smooth_l1_loss_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                               int64_t reduction, double beta) {
  if (beta == 0) return l1_loss_backward(grad_output, input, target, reduction);
  return pair_loss_backward(PairLoss::smooth_l1, "smooth_l1_loss_backward", grad_output, input, target,
                            reduction, with(beta));
}
Tensor huber_loss_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                           int64_t reduction, double delta) {
  return pair_loss_backward(PairLoss::huber, "huber_loss_backward", grad_output, input, target, reduction,
                            with(delta));
}
Tensor binary_cross_entropy_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                                     const OptionalTensor& weight, int64_t reduction) {
  return pair_loss_backward(PairLoss::bce, "binary_cross_entropy_backward", grad_output, input, target,
                            reduction, {weight, std::nullopt});
}
Tensor binary_cross_entropy_with_logits_backward(const Tensor& grad_output, const Tensor& input,
                                                 const Tensor& target, const OptionalTensor& weight,
                                                 const OptionalTensor& pos_weight, int64_t reduction) {
  return pair_loss_backward(PairLoss::bce_logits, "binary_cross_entropy_with_logits_backward", grad_output,
                            input, target, reduction, {weight, pos_weight});
}

Tensor nll_loss(const Tensor& input, const Tensor& target, const OptionalTensor& weight, int64_t reduction,
                int64_t ignore_index) {
  return class_loss(cpu_kernels().loss.nll, "nll_loss", input, target, weight, reduction, ignore_index, 0);
}
Tensor nll_loss_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                         const OptionalTensor& weight, int64_t reduction, int64_t ignore_index) {
  return class_loss_backward(cpu_kernels().loss.nll_backward, "nll_loss_backward", grad_output, input, target,
                             weight, reduction, ignore_index, 0, false);
}
Tensor kl_div(const Tensor& input, const Tensor& target, int64_t reduction, bool log_target) {
  check_reduction(reduction, "kl_div");
  if (log_target) return reduced(mul(unary<fn::Exp>(target, {}), sub(target, input, 1, {}), {}), reduction);
  return reduced(sub(xlogy(target, target, {}), mul(target, input, {}), 1, {}), reduction);
}

Tensor cross_entropy_loss(const Tensor& input, const Tensor& target, const OptionalTensor& weight,
                          int64_t reduction, int64_t ignore_index, double label_smoothing) {
  const char* op = "cross_entropy_loss";
  check(label_smoothing >= 0 && label_smoothing <= 1, op,
        ": label_smoothing must be between 0.0 and 1.0, got ", label_smoothing);
  if (is_floating(target.dtype()) && input.sizes() == target.sizes()) {
    return cross_entropy_probabilities(op, input, target, weight, reduction, ignore_index, label_smoothing);
  }
  check(!is_floating(target.dtype()), op, ": expected target of dtype int64, or probabilities of shape ",
        input.sizes(), ", got ", target);
  return class_loss(cpu_kernels().loss.cross_entropy, op, input, target, weight, reduction, ignore_index,
                    label_smoothing);
}
Tensor cross_entropy_classes_backward(const Tensor& grad_output, const Tensor& input, const Tensor& target,
                                      const OptionalTensor& weight, int64_t reduction, int64_t ignore_index,
                                      double label_smoothing) {
  return class_loss_backward(cpu_kernels().loss.cross_entropy_backward, "cross_entropy_backward", grad_output,
                             input, target, weight, reduction, ignore_index, label_smoothing, true);
}

}  // namespace ctorch::ops
