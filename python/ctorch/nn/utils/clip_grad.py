"""Limits on gradients."""

from __future__ import annotations

from collections.abc import Iterable

import ctorch

from ..._C import Tensor

Tensors = Tensor | Iterable[Tensor]


def _as_list(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Return the norm of all tensors taken together as one vector.

    Args:
        error_if_nonfinite: raise a RuntimeError if it is infinite or not a number.
        foreach: has no effect.
    """
    tensors = _as_list(tensors)
    norm_type = float(norm_type)
    if not tensors:
        return ctorch.tensor(0.0)
    norms = [ctorch.norm(t, norm_type) for t in tensors]
    total = ctorch.norm(ctorch.stack(norms), norm_type)
    if error_if_nonfinite and not bool(ctorch.isfinite(total)):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it "
            "cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return total


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients, in place, by ``max_norm / total_norm`` if that is below 1."""
    grads = [p.grad for p in _as_list(parameters) if p.grad is not None]
    # Multiplying by 1 where nothing is to be clipped spares a look at the value.
    factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
    with ctorch.no_grad():
        for grad in grads:
            grad.mul_(factor.to(grad.dtype))


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients, in place, so that their norm taken together is at most ``max_norm``.

    Args:
        norm_type: the p of the norm; may be infinity.
        error_if_nonfinite: raise a RuntimeError if the norm is infinite or not a number.
        foreach: has no effect.
    Returns: the norm before.
    """
    parameters = _as_list(parameters)
    with ctorch.no_grad():
        grads = [p.grad for p in parameters if p.grad is not None]
        total = get_total_norm(grads, norm_type, error_if_nonfinite)
        clip_grads_with_norm_(parameters, max_norm, total)
    return total


def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Limit each element of the gradients, in place, to [-clip_value, clip_value]."""
    limit = float(clip_value)
    with ctorch.no_grad():
        for p in _as_list(parameters):
            if p.grad is not None:
                p.grad.clamp_(min=-limit, max=limit)
