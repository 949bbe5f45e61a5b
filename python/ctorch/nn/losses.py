"""The losses of nn.functional: checks and reductions over the engine's fused operations."""

from __future__ import annotations

import warnings

import ctorch

from .. import _C
from .._C import Tensor

_REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}


def _enum(op: str, reduction: str) -> int:
    """The engine's number of a reduction."""
    if reduction not in _REDUCTIONS:
        raise ValueError(f"{op}: {reduction} is not a valid value for reduction: none, mean or sum")
    return _REDUCTIONS[reduction]


def legacy_reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that PyTorch's old pair of arguments stands for; ``reduction`` if neither is given."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is False:
        new = "none"
    else:
        new = "sum" if size_average is False else "mean"
    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction='{new}' instead.",
        stacklevel=3,
    )
    return new


def reduce_loss(op: str, loss: Tensor, reduction: str) -> Tensor:
    """Reduce the losses of the elements."""
    _enum(op, reduction)
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()


def _broadcast(op: str, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both at their common shape. Two different shapes are most often a mistake: they are warned about."""
    if target.shape == input.shape:
        return input, target
    warnings.warn(
        f"{op}: Using a target size ({target.size()}) that is different to the input size ({input.size()}). "
        "This will likely lead to incorrect results due to broadcasting. "
        "Please ensure they have the same size.",
        stacklevel=3,
    )
    try:
        shape = ctorch.broadcast_shapes(input.shape, target.shape)
    except RuntimeError:
        raise RuntimeError(
            f"{op}: expected input and target of shapes that broadcast, got {tuple(input.shape)} and "
            f"{tuple(target.shape)}"
        ) from None
    return input.expand(shape), target.expand(shape)


def _check_weight(op: str, weight: Tensor, input: Tensor) -> None:
    if weight.shape != input.shape:
        raise ValueError(
            f"{op}: Weights and input must have the same size, got {tuple(weight.shape)} and "
            f"{tuple(input.shape)}"
        )


def _weighted(op: str, loss: Tensor, weight: Tensor, reduction: str) -> Tensor:
    """The weighted losses; their mean is taken over the weights."""
    _enum(op, reduction)
    loss = loss * weight
    if reduction == "none":
        return loss
    return loss.sum() / weight.sum() if reduction == "mean" else loss.sum()


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the cross entropy between the softmax of ``input`` over the classes and ``target``.

    Args:
        input: logits, (N, C), (N, C, d1, ...), or (C,) for one sample.
        target: class numbers of the shape of ``input`` without the classes, or probabilities of its shape.
        weight: a factor for each class, (C,).
        ignore_index: a class number whose samples do not count.
        reduction: "mean" (over the weights that count), "sum" or "none".
        label_smoothing: how much of each target is spread evenly over all classes, in [0, 1].
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    return _C.cross_entropy_loss(
        input, target, weight, _enum("cross_entropy", reduction), ignore_index, label_smoothing
    )


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return minus the log-probability that ``input`` gives to the class ``target``.

    Args:
        input: log-probabilities, (N, C), (N, C, d1, ...), or (C,) for one sample.
        target: class numbers, of the shape of ``input`` without the classes.
        weight: a factor for each class, (C,).
        ignore_index: a class number whose samples do not count.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    return _C.nll_loss(input, target, weight, _enum("nll_loss", reduction), ignore_index)


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Return the squared difference of ``input`` and ``target``, element by element, reduced."""
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    x, y = _broadcast("mse_loss", input, target)
    if weight is not None:
        _check_weight("mse_loss", weight, input)
        return _weighted("mse_loss", (x - y) ** 2, weight, reduction)
    return _C.mse_loss(x, y, _enum("mse_loss", reduction))


def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """Return the absolute difference of ``input`` and ``target``, element by element, reduced."""
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    x, y = _broadcast("l1_loss", input, target)
    if weight is not None:
        _check_weight("l1_loss", weight, input)
        return _weighted("l1_loss", (x - y).abs(), weight, reduction)
    return _C.l1_loss(x, y, _enum("l1_loss", reduction))


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """``d^2 / (2 beta)`` where the difference d is below ``beta``, else ``|d| - beta / 2``, reduced."""
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    x, y = _broadcast("smooth_l1_loss", input, target)
    if beta == 0.0:
        return _C.l1_loss(x, y, _enum("smooth_l1_loss", reduction))
    return _C.smooth_l1_loss(x, y, _enum("smooth_l1_loss", reduction), beta)


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """``d^2 / 2`` where the difference d is below ``delta``, else ``delta (|d| - delta / 2)``, reduced."""
    x, y = _broadcast("huber_loss", input, target)
    if weight is None:
        return _C.huber_loss(x, y, _enum("huber_loss", reduction), delta)
    _check_weight("huber_loss", weight, input)
    return reduce_loss(
        "huber_loss", _C.huber_loss(x, y, _enum("huber_loss", "none"), delta) * weight, reduction
    )


def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return the cross entropy between probabilities and ``target``, element by element, reduced."""
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    number = _enum("binary_cross_entropy", reduction)
    if target.shape != input.shape:
        raise ValueError(
            f"binary_cross_entropy: Using a target size ({target.size()}) that is different to the input size "
            f"({input.size()}) is deprecated. Please ensure they have the same size."
        )
    if weight is not None:
        weight = weight.expand(ctorch.broadcast_shapes(target.shape, weight.shape))
    return _C.binary_cross_entropy(input, target, weight, number)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Return the cross entropy between ``sigmoid(input)`` and ``target``, without the sigmoid's overflow.

    Args:
        weight: a factor for each element, broadcast.
        pos_weight: a factor for the positive part of each element, broadcast.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    number = _enum("binary_cross_entropy_with_logits", reduction)
    if target.shape != input.shape:
        raise ValueError(
            f"binary_cross_entropy_with_logits: Target size ({target.size()}) must be the same as input size "
            f"({input.size()})"
        )
    return _C.binary_cross_entropy_with_logits(input, target, weight, pos_weight, number)


def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """Return the Kullback-Leibler divergence of the log-probabilities ``input`` from ``target``.

    Args:
        reduction: "batchmean" divides the sum by the batch size, as the definition has it; "mean" by all
            elements.
        log_target: ``target`` is log-probabilities too.
    """
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    elif reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size. "
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition.",
            stacklevel=2,
        )
    if reduction != "batchmean":
        return _C.kl_div(input, target, _enum("kl_div", reduction), log_target=log_target)
    total = _C.kl_div(input, target, _enum("kl_div", "sum"), log_target=log_target)
    return total / input.size(0) if input.dim() != 0 else total


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return ``log(1 + exp(-target * input))``, element by element, reduced; ``target`` is 1 or -1."""
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    _enum("soft_margin_loss", reduction)
    return reduce_loss("soft_margin_loss", _C.softplus(-target * input), reduction)
