"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ctorch

from .. import _C
from .._C import Tensor
from .optimizer import Optimizer, check_implementation, check_option, check_unsupported, run_closure

__all__ = ["SGD"]


class SGD(Optimizer):
    """Gradient descent, with momentum if so asked (Sutskever et al., 2013).

    ``d = grad + weight_decay * param``; with momentum ``buffer = momentum * buffer + (1 - dampening) * d``,
    where the first step sets ``buffer = d``; then ``param -= lr * d``, or ``lr * buffer``, or, with
    ``nesterov``, ``lr * (d + momentum * buffer)``. ``maximize`` follows the gradient upwards.

    ``foreach`` and ``fused`` have no effect: every step is one call over all parameters.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        check_option(bool(lr >= 0.0), "learning rate", lr)
        check_option(momentum >= 0.0, "momentum value", momentum)
        check_option(weight_decay >= 0.0, "weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        check_unsupported(differentiable=differentiable)
        check_implementation(foreach, fused)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in (("nesterov", False), ("maximize", False), ("foreach", None)):
                group.setdefault(name, value)
            group.setdefault("differentiable", False)
            group.setdefault("fused", None)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = run_closure(closure)
        with ctorch.no_grad():
            for group in self.param_groups:
                if group["momentum"] == 0:
                    params = [p for p in group["params"] if p.grad is not None]
                    self._update(group, params, [], False)
                else:
                    self._step_with_momentum(group)
        return loss

    def _step_with_momentum(self, group: dict[str, Any]) -> None:
        """Parameters whose buffer is new are updated apart: the buffer starts as the gradient."""
        old: tuple[list[Any], list[Any]] = ([], [])
        new: tuple[list[Any], list[Any]] = ([], [])
        for p in group["params"]:
            if p.grad is None:
                continue
            buffer = self.state[p].get("momentum_buffer")
            params, buffers = new if buffer is None else old
            if buffer is None:
                buffer = self.state[p]["momentum_buffer"] = ctorch.zeros_like(p)
            params.append(p)
            buffers.append(buffer)
        self._update(group, *old, False)
        self._update(group, *new, True)

    @staticmethod
    def _update(group: dict[str, Any], params: list[Any], buffers: list[Any], first: bool) -> None:
        if params:
            _C._sgd_step(
                params,
                [p.grad for p in params],
                buffers,
                float(group["lr"]),
                group["momentum"],
                group["dampening"],
                group["weight_decay"],
                group["nesterov"],
                group["maximize"],
                first,
            )
