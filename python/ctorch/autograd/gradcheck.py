"""Analytical derivatives against numerical ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ctorch import _C
from ctorch._C import Tensor
from ctorch.autograd.grad_mode import enable_grad, no_grad


class GradcheckError(RuntimeError):
    """A derivative is wrong."""


def _tensors(x: Any) -> tuple:
    if isinstance(x, Tensor):
        return (x,)
    return tuple(t for part in x for t in _tensors(part)) if isinstance(x, (tuple, list)) else ()


def _outputs(fn: Callable, inputs: Sequence) -> tuple:
    return tuple(o for o in _tensors(fn(*inputs)) if o.dtype.is_floating_point or o.dtype.is_complex)


def _numerical(fn: Callable, inputs: Sequence, x: Tensor, eps: float) -> list[list[Tensor]]:
    """For each element of x the central difference of each output; for a complex x first in its real, then imaginary part."""
    rows = []
    with no_grad():
        flat = x.data.reshape(-1) if x.is_contiguous() else None
        for k in range(x.numel()):
            steps = [eps, 1j * eps] if x.dtype.is_complex else [eps]
            for step in steps:
                at = flat if flat is not None else None
                if at is None:
                    index, rest = [], k
                    for n in reversed(x.shape):
                        index.insert(0, rest % n)
                        rest //= n
                    target = x.data[tuple(index)]
                else:
                    target = at[k]
                kept = target.item()
                target.fill_(kept + step)
                high = [o.detach().clone() for o in _outputs(fn, inputs)]
                target.fill_(kept - step)
                low = [o.detach().clone() for o in _outputs(fn, inputs)]
                target.fill_(kept)
                rows.append([(h - lo) / (2 * eps) for h, lo in zip(high, low)])
    return rows


def _real_inner(a: Tensor, b: Tensor) -> float:
    """Re <conj(a), b>: the change of a real loss whose gradient is a, along b."""
    if b.dtype.is_complex:
        a = a.to(b.dtype)
        return (a.real * b.real + a.imag * b.imag).sum().item()
    return (a * b).sum().item()


def _change_of_repeated_pass(out: Tensor, x: Tensor) -> float:
    """How much the gradient of x differs between two passes that begin alike."""
    from ctorch.autograd import grad

    seed = _C.arange(1, out.numel() + 1).to(out.dtype).reshape(out.shape)
    first, again = (grad(out, x, seed, retain_graph=True, allow_unused=True)[0] for _ in range(2))
    if first is None or again is None or x.numel() == 0:
        return 0.0 if first is again or x.numel() == 0 else math.inf
    apart = (first - again).abs()
    return apart.masked_fill(apart != apart, 0.0).max().item()


def gradcheck(
    func: Callable,
    inputs: Tensor | Sequence,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False,
    check_forward_ad: bool = False,
    check_backward_ad: bool = True,
    fast_mode: bool = False,
    masked: bool | None = None,
) -> bool:
    """Compare the gradients of func with central differences of step eps, for each input that requires grad.

    Inputs should be float64 or complex128. An element agrees when |analytical - numerical| <= atol + rtol * |numerical|.
    A pass that is repeated may change its gradients by nondet_tol.
    Every element of the Jacobian is checked; fast_mode is accepted and checks the same. Forward-mode and batched checks
    are not available: asking for them raises.
    Raises: GradcheckError, naming input and output, unless raise_exception is False (then: returns False).
    """
    if check_forward_ad or check_batched_grad or check_batched_forward_grad:
        raise NotImplementedError("gradcheck: forward-mode and batched gradients are not available")
    from ctorch.autograd import grad

    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    wanted = [t for t in _tensors(inputs) if t.requires_grad]
    if not wanted:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, but none of the them have requires_grad=True."
        )
    outputs = _outputs(func, inputs)

    def fail(message: str) -> bool:
        if raise_exception:
            raise GradcheckError(message)
        return False

    for number, x in enumerate(wanted):
        numerical = _numerical(func, inputs, x, eps)
        for out_number, out in enumerate(outputs):
            change = _change_of_repeated_pass(out, x) if out.requires_grad else 0.0
            if not change <= nondet_tol:
                return fail(
                    f"Backward is not reentrant, i.e., running backward with same input and grad_output multiple times gives "
                    f"different values: those of input {number} for output {out_number} change by {change}, more than "
                    f"nondet_tol={nondet_tol}"
                )
            units = (1, 1j) if out.dtype.is_complex else (1,)
            for k in range(out.numel()):
                for unit in units:
                    seed = _C.zeros_like(out).reshape(-1)
                    seed[k] = unit
                    seed = seed.reshape(out.shape)
                    got = None
                    if out.requires_grad:
                        got = grad(out, x, seed, retain_graph=True, allow_unused=True)[0]
                    if got is not None and (got.shape != x.shape or got.dtype is not x.dtype):
                        return fail(
                            f"gradient of input {number} has shape {tuple(got.shape)} and dtype {got.dtype}, expected {tuple(x.shape)} and {x.dtype}"
                        )
                    flat = (
                        _C.zeros_like(x).reshape(-1).tolist()
                        if got is None
                        else got.detach().reshape(-1).tolist()
                    )
                    analytical = [
                        part for v in flat for part in ((v.real, v.imag) if x.dtype.is_complex else (v,))
                    ]
                    expected = [_real_inner(seed, row[out_number]) for row in numerical]
                    for element, (a, n) in enumerate(zip(analytical, expected)):
                        if not abs(a - n) <= atol + rtol * abs(n) and not (a != a and n != n):
                            return fail(
                                f"Jacobian mismatch for output {out_number} with respect to input {number}: element {k} of the "
                                f"output in element {element} of the input: numerical {n!r}, analytical {a!r}"
                            )
    return True


def gradgradcheck(
    func: Callable,
    inputs: Tensor | Sequence,
    grad_outputs: Tensor | Sequence | None = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_undefined_grad: bool = True,
    check_grad_dtypes: bool = False,
    check_batched_grad: bool = False,
    check_fwd_over_rev: bool = False,
    check_rev_over_rev: bool = True,
    fast_mode: bool = False,
    masked: bool = False,
) -> bool:
    """gradcheck() of the gradients of func, as functions of the inputs and of grad_outputs (random if not given)."""
    from ctorch.autograd import grad

    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    outputs = [o for o in _outputs(func, inputs) if o.requires_grad]
    if grad_outputs is None:
        seeds = tuple(_C.randn(o.shape, dtype=o.dtype).requires_grad_() for o in outputs)
    else:
        seeds = (grad_outputs,) if isinstance(grad_outputs, Tensor) else tuple(grad_outputs)
    count = len(inputs)

    def first(*args: Any) -> tuple:
        ins, weights = args[:count], args[count:]
        with enable_grad():  # numerical differences are taken without recording
            outs = [o for o in _outputs(func, ins) if o.requires_grad]
            wanted = [t for t in _tensors(ins) if t.requires_grad]
            grads = grad(outs, wanted, weights, create_graph=True, allow_unused=True)
        return tuple(g for g in grads if g is not None)

    return gradcheck(
        first,
        (*inputs, *seeds),
        eps=eps,
        atol=atol,
        rtol=rtol,
        raise_exception=raise_exception,
        nondet_tol=nondet_tol,
    )
