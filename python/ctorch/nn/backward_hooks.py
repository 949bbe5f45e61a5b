"""Full backward hooks: identity operations on a module's inputs and outputs that see the gradients pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import ctorch

from .._C import Tensor
from ..autograd import Function

Grads = tuple[Any, ...]


class _Tap(Function):
    """The identity on some tensors; its backward hands all their gradients to a callback at once."""

    @staticmethod
    def forward(ctx: Any, callback: Callable[[Grads], Grads], *tensors: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        ctx.callback = callback
        results = tuple(t.detach() for t in tensors)
        ctx.mark_non_differentiable(*(r for r, t in zip(results, tensors) if not t.requires_grad))
        return results

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return (None, *ctx.callback(grads))


class BackwardTap:
    """Runs the backward hooks of one call of a module.

    Gradients of the outputs arrive first: the pre-hooks see them and may replace them. When the gradients of
    the inputs are there, the hooks see both and may replace the latter. Without an input that needs a
    gradient the hooks run at the outputs.
    """

    def __init__(
        self, module: Any, hooks: list[Callable[..., Any]], pre_hooks: list[Callable[..., Any]]
    ) -> None:
        self.module = module
        self.hooks = hooks
        self.pre_hooks = pre_hooks
        self.grad_outputs: Grads | None = None
        self.inputs: tuple[int, list[int]] | None = None  # how many arguments, and which of them are tensors
        self.outputs: tuple[int, list[int]] = (0, [])

    def watch_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return ``args`` with each tensor replaced by its tapped alias."""
        tensors = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        if not ctorch.is_grad_enabled() or not any(args[i].requires_grad for i in tensors):
            return args
        self.inputs = (len(args), tensors)
        return self._tap(args, tensors, self._at_inputs)

    def watch_outputs(self, result: Any) -> Any:
        """Return ``result``, a tensor or a tuple, with each tensor replaced by its tapped alias."""
        if isinstance(result, Tensor):
            return self.watch_outputs((result,))[0]
        if not isinstance(result, tuple):
            return result
        tensors = [i for i, r in enumerate(result) if isinstance(r, Tensor)]
        if not ctorch.is_grad_enabled() or not any(result[i].requires_grad for i in tensors):
            return result
        self.outputs = (len(result), tensors)
        return self._tap(result, tensors, self._at_outputs)

    @staticmethod
    def _tap(
        values: tuple[Any, ...], where: list[int], callback: Callable[[Grads], Grads]
    ) -> tuple[Any, ...]:
        tapped = _Tap.apply(callback, *(values[i] for i in where))
        result = list(values)
        for i, tensor in zip(where, tapped):
            result[i] = tensor
        if type(values) is tuple:
            return tuple(result)
        return type(values)(*result)  # a named tuple

    def _at_outputs(self, grads: Grads) -> Grads:
        self.grad_outputs = _spread(grads, *self.outputs)
        for hook in self.pre_hooks:
            new = hook(self.module, self.grad_outputs)
            if new is not None:
                self.grad_outputs = _checked(new, self.grad_outputs, "Backward pre hook", "grad_output")
        if self.inputs is None and self.hooks:
            for hook in self.hooks:
                if hook(self.module, (None,), self.grad_outputs) is not None:
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return "
                        "None or None"
                        " for all gradients."
                    )
        kept = tuple(self.grad_outputs[i] for i in self.outputs[1])
        if self.inputs is None:
            self.grad_outputs = None
        return kept

    def _at_inputs(self, grads: Grads) -> Grads:
        assert self.inputs is not None
        grad_inputs = _spread(grads, *self.inputs)
        if self.grad_outputs is None:
            warnings.warn(
                "a backward hook was reached before the gradients of the module's outputs", stacklevel=2
            )
            return grads
        for hook in self.hooks:
            new = hook(self.module, grad_inputs, self.grad_outputs)
            if new is not None:
                grad_inputs = _checked(new, grad_inputs, "Backward hook", "grad_input")
        self.grad_outputs = None
        return tuple(grad_inputs[i] for i in self.inputs[1])


def _spread(grads: Grads, length: int, where: list[int]) -> Grads:
    """``grads`` at the places ``where`` of a tuple of ``length``; None elsewhere."""
    result: list[Any] = [None] * length
    for i, grad in zip(where, grads):
        result[i] = grad
    return tuple(result)


def _checked(new: Any, old: Grads, who: str, what: str) -> Grads:
    new = new if isinstance(new, tuple) else (new,)
    if len(new) != len(old):
        raise RuntimeError(
            f"{who} returned an invalid number of {what}, got {len(new)}, but expected {len(old)}"
        )
    return new
