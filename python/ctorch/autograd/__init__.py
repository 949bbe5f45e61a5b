"""Automatic differentiation: backward passes, grad mode, custom functions, numerical checks."""

from __future__ import annotations

from collections.abc import Sequence

from ctorch import _C
from ctorch._C import Node, Tensor
from ctorch.autograd import (
    anomaly_mode,
    derivatives,  # noqa: F401  (registers the formulas)
    functional,
    graph,
)
from ctorch.autograd.anomaly_mode import detect_anomaly, set_detect_anomaly
from ctorch.autograd.function import Function
from ctorch.autograd.grad_mode import (
    enable_grad,
    inference_mode,
    no_grad,
    set_grad_enabled,
    set_multithreading_enabled,
)
from ctorch.autograd.gradcheck import gradcheck, gradgradcheck
from ctorch.autograd.variable import Variable

__all__ = [
    "Function", "Node", "Variable", "anomaly_mode", "backward", "enable_grad", "functional", "grad", "gradcheck", "gradgradcheck", "graph",
    "inference_mode", "no_grad", "set_detect_anomaly", "detect_anomaly", "set_grad_enabled", "set_multithreading_enabled",
]  # fmt: skip


def _as_tuple(x) -> tuple:
    return (x,) if isinstance(x, Tensor) or x is None else tuple(x)


def _inputs(inputs: Tensor | Sequence[Tensor], who: str) -> tuple:
    wanted = _as_tuple(inputs)
    if not wanted:
        raise RuntimeError(f"`inputs` argument to `{who}()` cannot be empty.")
    return wanted


def _seeds(outputs: tuple, grads) -> tuple:
    if grads is None:
        return (None,) * len(outputs)
    grads = _as_tuple(grads)
    for g in grads:
        if g is not None and not isinstance(g, Tensor):
            raise TypeError(f"gradients can be either Tensors or None, but got {type(g).__name__}")
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
        inputs: the tensors that get gradients; default: all leaves.
    Raises: RuntimeError if a tensor has no history, shapes do not fit, or a saved value was changed in place.
    """
    outputs = _as_tuple(tensors)
    wanted = () if inputs is None else _inputs(inputs, "backward")
    keep = create_graph if retain_graph is None else retain_graph
    _C._backward(outputs, _seeds(outputs, grad_tensors), keep, create_graph, wanted, False, True)


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
    outs, ins = _as_tuple(outputs), _inputs(inputs, "grad")
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
