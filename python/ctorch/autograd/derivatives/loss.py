"""Derivatives of losses. A plain backward pass runs the fused kernels; one that is itself recorded
(create_graph=True) runs the same formulas as operations that have derivatives.
"""

from __future__ import annotations

import ctorch
from ctorch import _C
from ctorch.autograd.registry import define, not_differentiable

_MEAN = 1


def _per_element(g, reduction, count):
    """The gradient that each element's loss receives."""
    return g / count if reduction == _MEAN else g


def _zeros(x):
    return ctorch.zeros(x.shape, dtype=x.dtype)


def _pair_shape(input, target):
    return ctorch.broadcast_shapes(input.shape, target.shape)


def _recorded(slope):
    """The gradient of a loss of pairs, from its slope with respect to input."""

    def grad(g, input, target, reduction, *args):
        s = slope(input, target, *args)
        return s * _per_element(g, reduction, s.numel())

    return grad


def _smooth_l1_slope(input, target, beta):
    d = input - target
    return ctorch.where(d.abs() < beta, d / beta, d.sign()) if beta else d.sign()


_mse = _recorded(lambda input, target: 2 * (input - target))
_l1 = _recorded(lambda input, target: (input - target).sgn())
_smooth_l1 = _recorded(_smooth_l1_slope)
_huber = _recorded(lambda input, target, delta: (input - target).clamp(-delta, delta))


def _choose(recorded, fused, g, input, *args):
    recording = ctorch.is_grad_enabled() or input.is_complex()
    return recorded(g, input, *args) if recording else fused(g, input, *args)


define(
    "mse_loss",
    input=lambda g, input, target, reduction: _choose(
        _mse, _C.mse_loss_backward, g, input, target, reduction
    ),
    target=lambda g, input, target, reduction: (
        -_choose(_mse, _C.mse_loss_backward, g, input, target, reduction)
    ),
)
define(
    "l1_loss",
    input=lambda g, input, target, reduction: _choose(_l1, _C.l1_loss_backward, g, input, target, reduction),
    target=lambda g, input, target, reduction: (
        -_choose(_l1, _C.l1_loss_backward, g, input, target, reduction)
    ),
)
define(
    "smooth_l1_loss",
    input=lambda g, input, target, reduction, beta: _choose(
        _smooth_l1, _C.smooth_l1_loss_backward, g, input, target, reduction, beta
    ),
    target=lambda g, input, target, reduction, beta: (
        -_choose(_smooth_l1, _C.smooth_l1_loss_backward, g, input, target, reduction, beta)
    ),
)
define(
    "huber_loss",
    input=lambda g, input, target, reduction, delta: _choose(
        _huber, _C.huber_loss_backward, g, input, target, reduction, delta
    ),
    target=lambda g, input, target, reduction, delta: (
        -_choose(_huber, _C.huber_loss_backward, g, input, target, reduction, delta)
    ),
)


# ---- cross entropy of two outcomes ----


def _times(t, weight):
    return t if weight is None else t * weight


def _bce_input(g, input, target, weight, reduction):
    if not ctorch.is_grad_enabled():
        return _C.binary_cross_entropy_backward(g, input, target, weight, reduction)
    slope = (input - target) / ((1 - input) * input).clamp(min=1e-12)
    return _times(slope, weight) * _per_element(g, reduction, slope.numel())


def _bce_target(g, input, target, weight, reduction):
    slope = (-input).log1p().clamp(min=-100) - input.log().clamp(min=-100)
    return _times(slope, weight) * _per_element(g, reduction, slope.numel())


define("binary_cross_entropy", input=_bce_input, target=_bce_target, weight=None)


def _softplus_of_minus(x):
    return (-x.abs()).exp().log1p() + (-x).clamp(min=0)


def _logits_input(g, input, target, weight, pos_weight, reduction):
    if not ctorch.is_grad_enabled():
        return _C.binary_cross_entropy_with_logits_backward(g, input, target, weight, pos_weight, reduction)
    factor = 1 if pos_weight is None else (pos_weight - 1) * target + 1
    slope = _times((1 - target) - factor * (-input).sigmoid(), weight)
    return slope * _per_element(g, reduction, slope.numel())


def _logits_target(g, input, target, weight, pos_weight, reduction):
    slope = -input if pos_weight is None else (pos_weight - 1) * _softplus_of_minus(input) - input
    slope = _times(slope + _zeros(target), weight)
    return slope * _per_element(g, reduction, slope.numel())


def _logits_weight(g, input, target, weight, pos_weight, reduction):
    losses = _C.binary_cross_entropy_with_logits(input, target, None, pos_weight, 0) + ctorch.zeros_like(
        weight
    )
    return losses * _per_element(g, reduction, losses.numel())


def _logits_pos_weight(g, input, target, weight, pos_weight, reduction):
    slope = _times(target * _softplus_of_minus(input), weight) + _zeros(pos_weight)
    return slope * _per_element(g, reduction, slope.numel())


define(
    "binary_cross_entropy_with_logits",
    input=_logits_input,
    target=_logits_target,
    weight=_logits_weight,
    pos_weight=_logits_pos_weight,
)


def _kl_input(g, input, target, reduction, log_target):
    # A target that is broadcast has a slope for each element of the pair.
    slope = -(target.exp() if log_target else target).expand(_pair_shape(input, target))
    return slope * _per_element(g, reduction, slope.numel())


def _kl_target(g, input, target, reduction, log_target):
    if log_target:
        slope = target.exp() * (target - input + 1)
    else:
        slope = (target.log() + 1).masked_fill(target == 0, 0) - input
    return slope * _per_element(g, reduction, slope.numel())


define("kl_div", input=_kl_input, target=_kl_target)


# ---- classes ----

# nll_loss is linear: the gradient with respect to the gradient is the loss of what comes in its place.
define(
    "nll_loss",
    input=lambda g, input, target, weight, reduction, ignore_index: _C.nll_loss_backward(
        g, input, target, weight, reduction, ignore_index
    ),
    weight=None,
)
define(
    "nll_loss_backward",
    grad_output=lambda g, target, weight, reduction, ignore_index: _C.nll_loss(
        g, target, weight, reduction, ignore_index
    ),
    input=lambda g, input: _zeros(input),
    weight=None,
)


def _channel(input):
    return 0 if input.dim() == 1 else 1


def _along_classes(weight, input):
    """A value per class in a shape that is broadcast against input."""
    return weight.reshape([-1 if d == _channel(input) else 1 for d in range(input.dim())])


def _probabilities(g, input, target, weight, reduction, label_smoothing):
    """(gradient per element, shares of the classes), for targets that are probabilities."""
    dim, classes = _channel(input), input.shape[_channel(input)]
    if reduction == 0:
        g = g.unsqueeze(dim)
    elif reduction == _MEAN:
        g = g / (input.numel() / classes)
    shares = target * (1 - label_smoothing) + label_smoothing / classes if label_smoothing else target
    return g, _times(shares, None if weight is None else _along_classes(weight, input))


def _log_probability_grad(g, input, target, weight, reduction, ignore_index, label_smoothing):
    """The gradient of the loss with respect to log_softmax(input), for targets that are class numbers."""
    grad = _C.nll_loss_backward(g * (1 - label_smoothing), input, target, weight, reduction, ignore_index)
    if not label_smoothing:
        return grad
    dim = _channel(input)
    counts = (target != ignore_index).to(input.dtype).reshape(input.select(dim, 0).shape)
    if reduction == _MEAN:
        each = (
            counts
            if weight is None
            else counts * weight[target.masked_fill(target == ignore_index, 0)].reshape(counts.shape)
        )
        g = g / each.sum()
    smooth = (
        (g.reshape(counts.shape) if reduction == 0 else g) * counts * (label_smoothing / input.shape[dim])
    )
    smooth = smooth.unsqueeze(dim).expand(input.shape)
    return grad - _times(smooth, None if weight is None else _along_classes(weight, input))


def _cross_entropy_input(g, input, target, weight, reduction, ignore_index, label_smoothing):
    dim = _channel(input)
    if target.is_floating_point():
        g, shares = _probabilities(g, input, target, weight, reduction, label_smoothing)
        return _C._log_softmax_backward_data(-g * shares, input.log_softmax(dim), dim, input.dtype)
    if not ctorch.is_grad_enabled():
        return _C.cross_entropy_backward(g, input, target, weight, reduction, ignore_index, label_smoothing)
    grad = _log_probability_grad(g, input, target, weight, reduction, ignore_index, label_smoothing)
    return _C._log_softmax_backward_data(grad, input.log_softmax(dim), dim, input.dtype)


def _cross_entropy_target(g, input, target, weight, reduction, label_smoothing):
    g, _ = _probabilities(g, input, target, weight, reduction, label_smoothing)
    slope = -g * input.log_softmax(_channel(input)) * (1 - label_smoothing)
    return _times(slope, None if weight is None else _along_classes(weight, input))


def _cross_entropy_weight(g, input, target, weight, reduction, label_smoothing):
    if not target.is_floating_point():
        raise NotImplementedError(
            "the derivative for 'weight' of cross_entropy_loss with class numbers is not implemented"
        )
    g, shares = _probabilities(g, input, target, None, reduction, label_smoothing)
    dims = [d for d in range(input.dim()) if d != _channel(input)]
    terms = -g * shares * input.log_softmax(_channel(input))
    return terms.sum(dims) if dims else terms


define(
    "cross_entropy_loss",
    input=_cross_entropy_input,
    target=_cross_entropy_target,
    weight=_cross_entropy_weight,
    node="NllLossBackward0",
)
not_differentiable(
    "mse_loss_backward",
    "l1_loss_backward",
    "smooth_l1_loss_backward",
    "huber_loss_backward",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_with_logits_backward",
    "cross_entropy_backward",
)
