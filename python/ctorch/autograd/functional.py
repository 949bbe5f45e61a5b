"""Jacobians, Hessians and their products with vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ctorch import _C
from ctorch._C import Tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _tuple(x: Any) -> tuple:
    return x if isinstance(x, tuple) else tuple(x) if isinstance(x, list) else (x,)


def _prepare(inputs: Any, create_graph: bool) -> tuple:
    made = []
    for x in _tuple(inputs):
        x = x.view_as(x) if create_graph and x.requires_grad else x.detach().requires_grad_()
        made.append(x)
    return tuple(made)


def _grad(outputs: Any, inputs: Any, seeds: Any, create_graph: bool) -> tuple:
    from ctorch.autograd import grad

    given = [(o, s) for o, s in zip(outputs, seeds) if o.requires_grad]
    if not given:
        return (None,) * len(inputs)
    outs, weights = zip(*given)
    return grad(outs, inputs, weights, retain_graph=True, create_graph=create_graph, allow_unused=True)


def _zeros_for(grads: tuple, inputs: tuple) -> tuple:
    return tuple(_C.zeros_like(x) if g is None else g for g, x in zip(grads, inputs))


def _finish(result: Any, create_graph: bool) -> Any:
    if isinstance(result, tuple):
        return tuple(_finish(r, create_graph) for r in result)
    return result if create_graph else result.detach()


def _call(func: Callable, inputs: tuple) -> tuple[tuple, bool]:
    from ctorch.autograd import enable_grad

    with enable_grad():
        out = func(*inputs)
    single = isinstance(out, Tensor)
    return ((out,) if single else tuple(out)), single


def vjp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple:
    """(func(*inputs), v^T J): the product of a vector with the Jacobian of func."""
    ins = _prepare(inputs, create_graph)
    outs, single = _call(func, ins)
    if v is None:
        if len(outs) != 1 or outs[0].numel() != 1:
            raise RuntimeError(
                "The vector v can only be None if the user-provided function returns a single Tensor with a single element."
            )
        v = _C.ones_like(outs[0])
    grads = _zeros_for(_grad(outs, ins, _tuple(v), create_graph), ins)
    out, result = (outs[0] if single else outs), (grads if isinstance(inputs, (tuple, list)) else grads[0])
    return _finish(out, create_graph), _finish(result, create_graph)


def jvp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple:
    """(func(*inputs), J v): the product of the Jacobian of func with a vector, by differentiating v^T J in
    its vector.
    """
    ins = _prepare(inputs, create_graph)
    outs, single = _call(func, ins)
    if v is None:
        if len(ins) != 1 or ins[0].numel() != 1:
            raise RuntimeError(
                "The vector v can only be None if the input to the user-provided function is a single Tensor with a single element."
            )
        v = _C.ones_like(ins[0])
    weights = tuple(_C.zeros_like(o).requires_grad_() for o in outs)
    grads = _grad(outs, ins, weights, True)
    pairs = [(g, x) for g, x in zip(grads, _tuple(v)) if g is not None]
    result = (
        _grad([g for g, _ in pairs], weights, [x for _, x in pairs], create_graph)
        if pairs
        else (None,) * len(outs)
    )
    result = _zeros_for(result, outs)
    return _finish(outs[0] if single else outs, create_graph), _finish(
        result[0] if single else result, create_graph
    )


def jacobian(func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
             strategy: str = "reverse-mode") -> Any:  # fmt: skip
    """The derivative of each element of func's result in each element of its inputs: shape result.shape +
    input.shape.
    """
    ins = _prepare(inputs, create_graph)
    outs, single = _call(func, ins)
    rows = []
    for out in outs:
        parts: list[list] = [[] for _ in ins]
        flat = out.reshape(-1)
        for k in range(flat.numel()):
            grads = _zeros_for(_grad((flat[k],), ins, (_C.ones_like(flat[k]),), create_graph), ins)
            for part, g in zip(parts, grads):
                part.append(g)
        row = tuple(
            (_C.stack(part) if part else x.new_zeros((0, *x.shape))).reshape((*out.shape, *x.shape))
            for part, x in zip(parts, ins)
        )
        rows.append(_finish(row if isinstance(inputs, (tuple, list)) else row[0], create_graph))
    return rows[0] if single else tuple(rows)


def hessian(func: Callable, inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
            outer_jacobian_strategy: str = "reverse-mode") -> Any:  # fmt: skip
    """The second derivatives of a func with one element as result: shape input.shape + input.shape."""

    def first(*xs: Tensor) -> Any:
        result = jacobian(func, xs if isinstance(inputs, (tuple, list)) else xs[0], create_graph=True)
        return result

    return jacobian(first, inputs, create_graph=create_graph)


def hvp(
    func: Callable, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple:
    """(func(*inputs), H v)."""
    ins = _prepare(inputs, create_graph)
    outs, _ = _call(func, ins)
    first = _zeros_for(_grad(outs, ins, [_C.ones_like(o) for o in outs], True), ins)
    result = _zeros_for(_grad(first, ins, _tuple(v), create_graph), ins)
    return _finish(outs[0], create_graph), _finish(
        result if isinstance(inputs, (tuple, list)) else result[0], create_graph
    )


vhp = hvp  # the Hessian is symmetric
