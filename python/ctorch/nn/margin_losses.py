"""Losses of nn.functional that compositions serve: margins, distances, and likelihoods of given distributions."""

from __future__ import annotations

import math
from collections.abc import Callable

import ctorch

from .. import _C
from .._C import Tensor
from .losses import _enum, legacy_reduction, reduce_loss


def _reduced(op: str, loss: Tensor, size_average: bool | None, reduce: bool | None, reduction: str) -> Tensor:
    if size_average is not None or reduce is not None:
        reduction = legacy_reduction(size_average, reduce, reduction)
    return reduce_loss(op, loss, reduction)


# Likelihoods ------------------------------------------------------------------------------------------------


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return minus the log-likelihood of the counts ``target`` under Poisson distributions, reduced.

    Args:
        input: the logarithm of the expectation, or, without ``log_input``, the expectation itself.
        full: add Stirling's approximation of log(target!), where target > 1.
        eps: added to the expectation before its logarithm is taken, without ``log_input``.
    """
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()
        loss = loss + stirling.masked_fill(target <= 1, 0)
    return _reduced("poisson_nll_loss", loss, size_average, reduce, reduction)


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Return minus the log-likelihood of ``target`` under normal distributions, reduced.

    Args:
        input: the expectations.
        var: the variances: a number, of the shape of ``input``, or of one that has 1 in, or lacks, one dim.
            Below ``eps`` they count as eps, which their gradient ignores.
        full: add the constant log(2 pi) / 2.
    Raises: ValueError for negative variances or a shape that does not fit.
    """
    if not isinstance(var, Tensor):
        var = _C.full_like(input, var)
    if bool((var < 0).any()):
        raise ValueError("gaussian_nll_loss: var has negative entry/entries")
    if var.shape != input.shape:
        if input.shape[:-1] == var.shape:
            var = var.unsqueeze(-1)
        elif input.dim() != var.dim() or sum(b for a, b in zip(input.shape, var.shape) if a != b) != 1:
            raise ValueError(
                f"gaussian_nll_loss: var is of incorrect size {tuple(var.shape)} for input {tuple(input.shape)}"
            )
    var = var.clone()
    with ctorch.no_grad():
        var.clamp_(min=eps)
    loss = 0.5 * (var.log() + (input - target) ** 2 / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduce_loss("gaussian_nll_loss", loss, reduction)


# Pairs and triplets -----------------------------------------------------------------------------------------


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return ``max(0, margin - target * (input1 - input2))``, reduced; ``target`` is 1 or -1."""
    if not input1.dim() == input2.dim() == target.dim():
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
            f"{input1.size()}, input2: {input2.size()}, target: {target.size()}"
        )
    loss = (-target * (input1 - input2) + float(margin)).clamp(min=0)  # a float also of integers
    return _reduced("margin_ranking_loss", loss, size_average, reduce, reduction)


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return the distances ``input`` where ``target`` is 1, ``max(0, margin - input)`` where it is -1, reduced."""
    zero = input.new_zeros(())
    far = _C.where(target != 1, (margin - input).clamp(min=0), zero)
    near = _C.where(target != -1, input, zero)
    return _reduced("hinge_embedding_loss", far + near, size_average, reduce, reduction)


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return ``1 - cos`` where ``target`` is 1, ``max(0, cos - margin)`` where it is -1, reduced.

    Args:
        input1, input2: (N, D) or (D,).
        target: (N,) or ().
    """
    if target.dim() not in (0, 1) or input1.dim() != target.dim() + 1 or input2.dim() != target.dim() + 1:
        raise RuntimeError(
            "cosine_embedding_loss: expected inputs (N, D) and target (N,), or (D,) and (), got "
            f"{tuple(input1.shape)}, {tuple(input2.shape)} and {tuple(target.shape)}"
        )
    dot, square1, square2 = (
        (a * b).sum(-1) for a, b in ((input1, input2), (input1, input1), (input2, input2))
    )
    cosine = dot / ((square1 + 1e-12) * (square2 + 1e-12)).sqrt()
    zero = cosine.new_zeros(())
    loss = _C.where(target == 1, 1 - cosine, zero)
    loss = loss + _C.where(target == -1, (cosine - margin).clamp(min=0), zero)
    return _reduced("cosine_embedding_loss", loss, size_average, reduce, reduction)


def _triplet(
    op: str,
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    distance: Callable[[Tensor, Tensor], Tensor],
    margin: float,
    swap: bool,
) -> Tensor:
    if margin <= 0:
        raise ValueError(f"{op}: margin must be greater than 0, got {margin}")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError(
            f"{op}: expected inputs of as many dims, got anchor {tuple(anchor.shape)}, positive "
            f"{tuple(positive.shape)} and negative {tuple(negative.shape)}"
        )
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = _C.minimum(far, distance(positive, negative))
    return (margin + near - far).clamp(min=0)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return ``max(0, margin + d(anchor, positive) - d(anchor, negative))``, d the p-norm distance, reduced.

    Args:
        anchor, positive, negative: (N, D) or (D,).
        eps: added to the differences.
        swap: take the positive example in place of the anchor where it is nearer to the negative one.
    """

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return (a - b + eps).norm(p, -1)

    loss = _triplet("triplet_margin_loss", anchor, positive, negative, distance, margin, swap)
    return _reduced("triplet_margin_loss", loss, size_average, reduce, reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """``triplet_margin_loss`` with a distance of one's own; ``nn.functional.pairwise_distance`` if None."""

    def usual(a: Tensor, b: Tensor) -> Tensor:
        return (a - b + 1e-6).norm(2, -1)

    op = "triplet_margin_with_distance_loss"
    loss = _triplet(op, anchor, positive, negative, distance_function or usual, margin, swap)
    return reduce_loss(op, loss, reduction)


# Several classes --------------------------------------------------------------------------------------------


def _check_classes(op: str, input: Tensor) -> None:
    if input.dim() not in (0, 1, 2) or (input.dim() > 0 and input.size(-1) == 0):
        raise RuntimeError(
            f"{op}: Expected non-empty vector or matrix with optional 0-dim batch size, got shape "
            f"{tuple(input.shape)}"
        )
    if not input.is_floating_point():
        raise NotImplementedError(f"{op}: not implemented for dtype {input.dtype}")


def _check_targets(op: str, target: Tensor, least: int, classes: int) -> None:
    if target.dtype is not _C.int64:
        raise RuntimeError(f"{op}: expected target of dtype int64, got {target.dtype}")
    if bool(((target < least) | (target >= classes)).any()):
        raise RuntimeError(f"{op}: target out of range: expected class numbers below {classes}")


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return the mean over the classes i of ``max(0, margin - input[target] + input[i]) ** p``, reduced.

    The class that is the target adds nothing.

    Args:
        input: (N, C) or (C,).
        target: (N,) or (), class numbers.
        p: 1 or 2.
        weight: (C,), a factor for each target class.
    """
    op = "multi_margin_loss"
    _enum(op, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("weight must be one-dimensional")
    _check_classes(op, input)
    rows = input.reshape(1, -1) if input.dim() < 2 else input
    n, classes = rows.shape
    if target.dim() > 1 or target.numel() != n:
        raise RuntimeError(f"{op}: inconsistent target size, expected {n} but got {tuple(target.shape)}")
    if weight is not None and weight.numel() != classes:
        raise RuntimeError(
            f"{op}: inconsistent weight size, expected {classes} but got {tuple(weight.shape)}"
        )
    _check_targets(op, target, 0, classes)
    column = target.reshape(n, 1)
    excess = (margin - rows.gather(1, column) + rows).relu()
    excess = excess if p == 1 else excess * excess
    excess = excess.scatter(1, column, 0.0)
    if weight is not None:
        excess = excess * weight[column]
    loss = excess.sum(1) / classes
    return _reduced(op, loss.squeeze(0) if target.dim() == 0 else loss, size_average, reduce, reduction)


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return the sum over targets j and other classes i of ``max(0, 1 - input[j] + input[i]) / C``, reduced.

    Args:
        input: (N, C) or (C,).
        target: of the same shape: in each row class numbers, up to the first -1.
    """
    op = "multilabel_margin_loss"
    _enum(op, reduction)
    _check_classes(op, input)
    if target.shape != input.shape:
        raise RuntimeError(
            f"{op}: inconsistent target size: {tuple(target.shape)} for input of size: {tuple(input.shape)}"
        )
    rows = input.reshape(1, -1) if input.dim() < 2 else input
    labels = target.reshape(rows.shape)
    classes = rows.size(1)
    _check_targets(op, labels, -1, classes)
    used = (labels >= 0).to(_C.int64).cumprod(1)
    # Only as many columns as the longest list of targets: the terms are (N, targets, C).
    most = int(used.sum(1).max()) if used.numel() else 0
    labels, used = labels[:, :most] * used[:, :most], used[:, :most].bool()
    is_target = _C.zeros_like(rows).scatter_add(1, labels, used.to(rows.dtype)).bool()
    excess = (1 - rows.gather(1, labels).unsqueeze(2) + rows.unsqueeze(1)).relu()
    counts = used.unsqueeze(2) & ~is_target.unsqueeze(1)
    loss = _C.where(counts, excess, excess.new_zeros(())).sum((1, 2)) / classes
    return _reduced(op, loss.squeeze(0) if input.dim() < 2 else loss, size_average, reduce, reduction)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return the mean over the classes (the last dim) of the logits' binary cross entropies, reduced.

    Args:
        target: of the shape of ``input``, 0 or 1.
        weight: a factor for each class.
    """
    loss = -(target * _C.log_sigmoid(input) + (1 - target) * _C.log_sigmoid(-input))
    if weight is not None:
        loss = loss * weight
    loss = loss.sum(-1) / input.size(-1)
    return _reduced("multilabel_soft_margin_loss", loss, size_average, reduce, reduction)
