"""Module hooks: their registration, and the calling of a module that has some."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from .._C import Tensor
from ..utils.hooks import RemovableHandle, add_hook

Hook = Callable[..., Any]

# Hooks that apply to every module, by kind.
global_hooks: dict[str, OrderedDict[int, Hook]] = {
    kind: OrderedDict() for kind in ("forward_pre", "forward", "backward_pre", "backward")
}
_global_with_kwargs: dict[int, bool] = {}
_global_always_called: dict[int, bool] = {}


def register_module_forward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, args)`` before the forward of every module; a result replaces the arguments."""
    return add_hook(global_hooks["forward_pre"], hook)


def register_module_forward_hook(
    hook: Hook, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call ``hook(module, args, output)`` after the forward of every module; a result replaces the output."""
    remarks = ((_global_with_kwargs, with_kwargs), (_global_always_called, always_call))
    return add_hook(global_hooks["forward"], hook, remarks=remarks)


def register_module_full_backward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, grad_output)`` before the backward of every module."""
    return add_hook(global_hooks["backward_pre"], hook)


def register_module_full_backward_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` after the backward of every module."""
    return add_hook(global_hooks["backward"], hook)


class HooksMixin:
    """The part of Module that registers hooks and runs them around ``forward``."""

    forward: Hook
    _forward_hooks: OrderedDict[int, Hook]
    _forward_hooks_with_kwargs: OrderedDict[int, bool]
    _forward_hooks_always_called: OrderedDict[int, bool]
    _forward_pre_hooks: OrderedDict[int, Hook]
    _forward_pre_hooks_with_kwargs: OrderedDict[int, bool]
    _backward_hooks: OrderedDict[int, Hook]
    _backward_pre_hooks: OrderedDict[int, Hook]
    _is_full_backward_hook: bool | None

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before ``forward``.

        Args:
            hook: its result, if not None, replaces the positional arguments.
            prepend: run it before the hooks that are there already.
            with_kwargs: call ``hook(module, args, kwargs)``; a result is then a pair (args, kwargs).
        Returns: a handle whose ``remove()`` takes the hook away.
        """
        remarks = ((self._forward_pre_hooks_with_kwargs, with_kwargs),)
        return add_hook(self._forward_pre_hooks, hook, prepend=prepend, remarks=remarks)

    def register_forward_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after ``forward``.

        Args:
            hook: its result, if not None, replaces the output.
            prepend: run it before the hooks that are there already.
            with_kwargs: call ``hook(module, args, kwargs, output)``.
            always_call: call it also when the forward raises.
        Returns: a handle whose ``remove()`` takes the hook away.
        """
        remarks = (
            (self._forward_hooks_with_kwargs, with_kwargs),
            (self._forward_hooks_always_called, always_call),
        )
        return add_hook(self._forward_hooks, hook, prepend=prepend, remarks=remarks)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` before the module's backward; a result replaces them."""
        return add_hook(self._backward_pre_hooks, hook, prepend=prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` once the gradients of the inputs are known.

        A result replaces ``grad_input``. Inputs and outputs that are not tensors show as None.
        """
        self._set_backward_kind(full=True)
        return add_hook(self._backward_hooks, hook, prepend=prepend)

    def register_backward_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` with the gradients of the module's last operation.

        Kept for old programs; ``register_full_backward_hook`` gives those of the module's own inputs.
        """
        self._set_backward_kind(full=False)
        return add_hook(self._backward_hooks, hook)

    def _set_backward_kind(self, full: bool) -> None:
        if self._is_full_backward_hook is (not full):
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a "
                "single Module. Please use only one of them."
            )
        self._is_full_backward_hook = full

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``forward`` with every hook around it: the slow path of ``Module.__call__``."""
        called: set[int] = set()
        state: list[Any] = [args, kwargs, None]  # kept outside, so that it is known when an exception passes
        try:
            return self._run_with_hooks(state, called)
        except Exception:
            self._call_remaining_hooks(state, called)
            raise

    def _run_with_hooks(self, state: list[Any], called: set[int]) -> Any:
        args, kwargs = state[0], state[1] = self._run_forward_pre_hooks(state[0], state[1])
        pre = [*global_hooks["backward_pre"].values(), *self._backward_pre_hooks.values()]
        full = [*global_hooks["backward"].values()]
        if self._is_full_backward_hook:
            full += self._backward_hooks.values()
        tap = None
        if pre or full:
            from .backward_hooks import BackwardTap

            tap = BackwardTap(self, full, pre)
            args = state[0] = tap.watch_inputs(args)

        result = state[2] = self.forward(*args, **kwargs)

        for hook_id, hook, with_kwargs, always in self._all_forward_hooks():
            if always:
                called.add(hook_id)
            new = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
            if new is not None:
                result = state[2] = new
        if tap is not None:
            if not isinstance(result, (Tensor, tuple)):
                warnings.warn(
                    "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors"
                    f" but received {type(result)}",
                    stacklevel=5,
                )
            result = tap.watch_outputs(result)
        if self._is_full_backward_hook is False and self._backward_hooks:
            self._hook_last_node(result)
        return result

    def _run_forward_pre_hooks(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        for hook_id, hook in (*global_hooks["forward_pre"].items(), *self._forward_pre_hooks.items()):
            if hook_id in self._forward_pre_hooks_with_kwargs:
                new = hook(self, args, kwargs)
                if new is None:
                    continue
                if not (isinstance(new, tuple) and len(new) == 2):
                    raise RuntimeError(
                        "forward pre-hook must return None or a tuple "
                        f"of (new_args, new_kwargs), but got {new}."
                    )
                args, kwargs = new
            else:
                new = hook(self, args)
                if new is not None:
                    args = new if isinstance(new, tuple) else (new,)
        return args, kwargs

    def _all_forward_hooks(self) -> list[tuple[int, Hook, bool, bool]]:
        """(id, hook, takes keyword arguments, is called after an exception) of each forward hook in order."""
        hooks = [
            (i, hook, i in _global_with_kwargs, i in _global_always_called)
            for i, hook in global_hooks["forward"].items()
        ]
        hooks += [
            (i, hook, i in self._forward_hooks_with_kwargs, i in self._forward_hooks_always_called)
            for i, hook in self._forward_hooks.items()
        ]
        return hooks

    def _call_remaining_hooks(self, state: list[Any], called: set[int]) -> None:
        """After an exception: the hooks that are to be called always and were not reached."""
        args, kwargs, result = state
        for hook_id, hook, with_kwargs, always in self._all_forward_hooks():
            if not always or hook_id in called:
                continue
            try:
                new = hook(self, args, kwargs, result) if with_kwargs else hook(self, args, result)
                if new is not None:
                    result = new
            except Exception as error:
                warnings.warn(
                    "module forward hook with ``always_call=True`` raised an exception "
                    f"that was silenced as another error was raised in forward: {error}",
                    stacklevel=4,
                )

    def _hook_last_node(self, result: Any) -> None:
        """Attach the old kind of backward hook to the operation that made the first tensor of ``result``."""
        first = result
        while not isinstance(first, Tensor):
            first = (
                next(v for v in first.values() if isinstance(v, Tensor))
                if isinstance(first, dict)
                else first[0]
            )
        if first.grad_fn is None:
            return
        for hook in self._backward_hooks.values():
            first.grad_fn.register_hook(
                lambda grad_input, grad_output, hook=hook: hook(self, grad_input, grad_output)
            )
