"""Adam."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ctorch

from .. import _C
from .._C import Tensor
from .optimizer import Optimizer, check_implementation, check_option, check_unsupported, run_closure

__all__ = ["Adam"]


class Adam(Optimizer):
    """Steps scaled by running means of the gradient and of its square (Kingma and Ba, arXiv:1412.6980).

    Args:
        betas: how much of the two running means is kept at each step.
        eps: added to the root of the second mean.
        weight_decay: times the parameter, added to the gradient, or, with ``decoupled_weight_decay``, taken
            off the parameter itself.
        amsgrad: divide by the largest second mean so far (Reddi et al., arXiv:1904.09237).
        maximize: follow the gradient upwards.
        foreach: has no effect; nor has ``fused``: every step is one call over all parameters.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        check_option(bool(lr >= 0.0), "learning rate", lr)
        check_option(eps >= 0.0, "epsilon value", eps)
        check_option(0.0 <= betas[0] < 1.0, "beta parameter at index 0", betas[0])
        check_option(0.0 <= betas[1] < 1.0, "beta parameter at index 1", betas[1])
        check_option(weight_decay >= 0.0, "weight_decay value", weight_decay)
        check_unsupported(capturable=capturable, differentiable=differentiable)
        check_implementation(foreach, fused)
        defaults = {
            "lr": lr,
            "betas": (float(betas[0]), float(betas[1])),
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for name in ("amsgrad", "maximize", "capturable", "differentiable", "decoupled_weight_decay"):
                group.setdefault(name, False)
            group.setdefault("foreach", None)
            group.setdefault("fused", None)
            for p in group["params"]:
                own = self.state.get(p)
                if own and not isinstance(own["step"], Tensor):  # how old checkpoints hold it
                    own["step"] = ctorch.tensor(float(own["step"]), dtype=ctorch.float32)

    def _state_of(self, p: Tensor, amsgrad: bool) -> dict[str, Any]:
        state = self.state[p]
        if not state:
            state["step"] = ctorch.zeros((), dtype=ctorch.float32)
            state["exp_avg"] = ctorch.zeros_like(p)
            state["exp_avg_sq"] = ctorch.zeros_like(p)
            if amsgrad:
                state["max_exp_avg_sq"] = ctorch.zeros_like(p)
        return state

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = run_closure(closure)
        with ctorch.no_grad():
            for group in self.param_groups:
                self._update(group)
        return loss

    def _update(self, group: dict[str, Any]) -> None:
        params, grads = [], []
        exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps = [], [], [], []
        amsgrad = group["amsgrad"]
        for p in group["params"]:
            grad = p.grad
            if grad is None:
                continue
            state = self._state_of(p, amsgrad)
            params.append(p)
            grads.append(grad)
            exp_avgs.append(state["exp_avg"])
            exp_avg_sqs.append(state["exp_avg_sq"])
            steps.append(state["step"])
            if amsgrad:
                max_exp_avg_sqs.append(state["max_exp_avg_sq"])
        if not params:
            return
        beta1, beta2 = group["betas"]
        _C._adam_step(
            params,
            grads,
            exp_avgs,
            exp_avg_sqs,
            max_exp_avg_sqs,
            steps,  # counted up by the call
            float(group["lr"]),
            beta1,
            beta2,
            group["eps"],
            group["weight_decay"],
            amsgrad,
            group["maximize"],
            group["decoupled_weight_decay"],
        )
