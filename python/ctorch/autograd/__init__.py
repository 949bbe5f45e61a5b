"""Automatic differentiation: backward passes, grad mode, custom functions, numerical checks."""

from __future__ import annotations

from collections.abc import Sequence

from ctorch import _C
from ctorch._C import Node, Tensor
from ctorch.autograd import (
    derivatives,  # noqa: F401  (registers the formulas)
    functional,
    graph,
)
from ctorch.autograd.function import Function
from ctorch.autograd.grad_mode import (
    enable_grad,
    inference_mode,
    no_grad,
    set_grad_enabled,
    set_multithreading_enabled,
)
from ctorch.autograd.gradcheck import gradcheck, gradgradcheck

Variable = Tensor  # PyTorch's old name

__all__ = [
    "Function", "Node", "Variable", "backward", "enable_grad", "functional", "grad", "gradcheck", "gradgradcheck", "graph",
    "inference_mode", "no_grad", "set_detect_anomaly", "detect_anomaly", "set_grad_enabled", "set_multithreading_enabled",
]  # fmt: skip


def _as_tuple(x) -> tuple:
    return (x,) if isinstance(x, Tensor) or x is None else tuple(x)


def _seeds(outputs: tuple, grads) -> tuple:
    grads = (None,) * len(outputs) if grads is None else _as_tuple(grads)
    if len(grads) != len(outputs):
        raise RuntimeError(f"got {len(outputs)} tensors and {len(grads)} gradients")
    return grads


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradients of tensors with respect to the leaves of their graph to the leaves' ``.grad``.

    Args:
        tensors: where to begin.
        grad_tensors: their gradients; None for a tensor of one element means 1.
        retain_graph: keep saved values for another pass; default: the value of create_graph.
        create_graph: record the pass, so that it can be differentiated again.
        inputs: the leaves that get gradients; default: all.
    Raises: RuntimeError if a tensor has no history, shapes do not fit, or a saved value was changed in place.
    """
    outputs = _as_tuple(tensors)
    leaves = () if inputs is None else _as_tuple(inputs)
    if inputs is not None and not leaves:
        raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    keep = create_graph if retain_graph is None else retain_graph
    _C._backward(outputs, _seeds(outputs, grad_tensors), keep, create_graph, leaves, False, True)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """The gradients of outputs with respect to inputs, as a tuple; no ``.grad`` changes.

    Args:
        grad_outputs: gradients of the outputs; None for one of one element means 1.
        retain_graph, create_graph: as for backward().
        allow_unused: give None for an input that the outputs do not depend on, instead of raising.
        is_grads_batched: grad_outputs have a leading batch dim, and the pass is made for each of the batch.
        materialize_grads: give zeros instead of None.
    """
    outs, ins = _as_tuple(outputs), _as_tuple(inputs)
    if not ins:
        raise ValueError("grad requires non-empty inputs.")
    if allow_unused is False and materialize_grads:
        raise ValueError(
            "Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused=False."
        )
    unused = materialize_grads if allow_unused is None else allow_unused
    keep = create_graph if retain_graph is None else retain_graph
    seeds = _seeds(outs, grad_outputs)
    if is_grads_batched:
        rows = [
            grad(
                outs,
                ins,
                [None if s is None else s[i] for s in seeds],
                True,
                create_graph,
                True,
                unused,
                False,
                materialize_grads,
            )
            for i in range(next(len(s) for s in seeds if s is not None))
        ]
        return tuple(None if column[0] is None else _C.stack(column) for column in zip(*rows))
    result = _C._backward(outs, seeds, keep, create_graph, ins, True, bool(unused))
    if materialize_grads:
        result = tuple(_C.zeros_like(x) if g is None else g for g, x in zip(result, ins))
    return result


class set_detect_anomaly:
    """Accepted for portability; checking every gradient for NaN is not available, and turning it on says
    so.
    """

    def __init__(self, mode: bool, check_nan: bool = True):
        if mode:
            raise NotImplementedError("set_detect_anomaly: anomaly detection is not available")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def detect_anomaly(check_nan: bool = True) -> set_detect_anomaly:
    return set_detect_anomaly(True, check_nan)
