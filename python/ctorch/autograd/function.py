"""Operations with a derivative of one's own."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from ctorch import _C
from ctorch._C import Node, Tensor
from ctorch.autograd.grad_mode import no_grad


class FunctionCtx:
    """What forward() leaves for backward(). Attributes may be set freely; tensors belong in
    save_for_backward().
    """

    def __init__(self) -> None:
        self._to_save: tuple[Tensor | None, ...] = ()
        self._saved: list[Any] | None = []  # None once the graph was freed
        self._node: Any = None  # set while backward() runs
        self._name = "Function"
        self._function: type[Function] = Function
        self._inputs_are_tensors: tuple[bool, ...] = ()
        self._tracked: list[int] = []  # the outputs that have gradients
        self._like: list[tuple | None] = []  # shape and dtype of every output that is a tensor
        self._non_differentiable: tuple[Tensor, ...] = ()
        self._dirty: tuple[Tensor, ...] = ()
        self._materialize = True
        self.needs_input_grad: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs or results for backward(), which finds them in ``saved_tensors``; None is allowed."""
        for t in tensors:
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument is of type {type(t).__name__}"
                )
        self._to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Accepted for portability: forward-mode differentiation is not available."""

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What was saved. RuntimeError if one of them was changed in place since, or after the graph was
        freed.
        """
        if self._saved is None:
            raise RuntimeError(
                "Trying to backward through the graph a second time (or directly access saved tensors after they have "
                "already been freed). Specify retain_graph=True if you need to backward through the graph a second time."
            )
        return tuple(None if s is None else s.unpack(self._node, self._name) for s in self._saved)

    saved_variables = saved_tensors

    def name(self) -> str:
        """The name of the node."""
        return self._name

    def __getattr__(self, name: str) -> Any:
        # In PyTorch the context is the node of the graph; while backward() runs it has the node's attributes.
        node = self.__dict__.get("_node")
        if node is not None and hasattr(Node, name):
            return getattr(node, name)
        raise AttributeError(f"'{self.__dict__.get('_name', 'Function')}' object has no attribute '{name}'")

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Say which inputs forward() changes in place; it must return them."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say which results have no gradient."""
        self._non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """False: backward() gets None, instead of zeros, for a result that got no gradient."""
        self._materialize = value

    def _release_saved(self) -> None:
        """Forget what was saved; a context that saved nothing can go on."""
        if self._saved:
            self._saved = None

    def _run_backward(self, node: Any, grads: tuple) -> list:
        """Call backward() with a gradient for each result and pick those of the inputs that want one."""
        full: list[Tensor | None] = [None] * len(self._like)
        for i, g in zip(self._tracked, grads):
            full[i] = g
        if self._materialize:
            for i, like in enumerate(self._like):
                if full[i] is None and like is not None:
                    full[i] = _C.zeros(like[0], dtype=like[1])
        cls = self._function
        self._node = node
        try:
            made = (cls.backward if cls.backward is not Function.backward else cls.vjp)(self, *full)
        finally:
            self._node = None
        made = list(made) if isinstance(made, (tuple, list)) else [made]
        expected = len(self.needs_input_grad)
        while len(made) > expected and made[-1] is None:
            made.pop()
        if len(made) != expected:
            raise RuntimeError(
                f"function {self._name} returned an incorrect number of gradients (expected {expected}, got {len(made)})"
            )
        for i, (g, is_tensor) in enumerate(zip(made, self._inputs_are_tensors)):
            if g is not None and not isinstance(g, Tensor):
                raise RuntimeError(
                    f"function {self._name} returned {type(g).__name__} at position {i + 1}: expected Tensor or None"
                )
            if g is not None and not is_tensor:
                raise RuntimeError(
                    f"function {self._name} returned a gradient different than None at position {i + 1}, but the "
                    "corresponding forward input was not a Variable"
                )
        return [g for wanted, g in zip(self.needs_input_grad, made) if wanted]


def _among(t: Any, tensors: Sequence) -> bool:
    return any(t is x for x in tensors)


class Function:
    """Base of operations with their own backward.

    A subclass has static methods ``forward(ctx, *args)`` and ``backward(ctx, *grads)`` and is called by
    ``apply(*args)``; or ``forward(*args)`` together with ``setup_context(ctx, inputs, output)``. backward()
    returns one gradient (or None) for each argument of forward().
    """

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> Any:
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with backward mode AD."
        )

    vjp = backward

    @classmethod
    def apply(cls, *args: Any) -> Any:
        ctx = FunctionCtx()
        ctx._name = cls.__name__ + "Backward"
        ctx._function = cls
        inputs = [a for a in args if isinstance(a, Tensor)]
        ctx._inputs_are_tensors = tuple(isinstance(a, Tensor) for a in args)
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        record = _C.is_grad_enabled() and not _C.is_inference_mode_enabled() and any(ctx.needs_input_grad)
        with no_grad():
            if cls.setup_context is not Function.setup_context:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
            else:
                result = cls.forward(ctx, *args)
        single = not isinstance(result, (tuple, list))
        outputs = [result] if single else list(result)
        if not all(_among(t, outputs) for t in ctx._dirty):
            raise RuntimeError(
                f"{cls.__name__}: Some elements marked as dirty during the forward method were not returned as output. "
                "The inputs that are modified inplace must all be outputs of the Function."
            )
        if not record:
            return result
        for i, o in enumerate(outputs):
            # An input that is returned unchanged becomes a tensor of its own, so that the input keeps its
            # history.
            if isinstance(o, Tensor) and _among(o, inputs) and not _among(o, ctx._dirty):
                outputs[i] = o.detach()
        cls._record(ctx, inputs, outputs)
        return outputs[0] if single else type(result)(outputs)

    @classmethod
    def _record(cls, ctx: FunctionCtx, inputs: list, outputs: list) -> None:
        for t in ctx._dirty:
            if t.is_leaf and t.requires_grad:
                raise RuntimeError(
                    "a leaf Variable that requires grad is being used in an in-place operation."
                )
        ctx._like = [(o.shape, o.dtype) if isinstance(o, Tensor) else None for o in outputs]
        ctx._tracked = [
            i
            for i, o in enumerate(outputs)
            if isinstance(o, Tensor) and not _among(o, ctx._non_differentiable)
        ]
        tracked = [outputs[i] for i in ctx._tracked]
        dirty = [o for o in tracked if _among(o, ctx._dirty)]
        to_save = [(t, next((n for n, o in enumerate(tracked) if o is t), -1)) for t in ctx._to_save]
        _C._record_function(ctx._name, ctx, [t for t in inputs if t.requires_grad], tracked, dirty)
        ctx._saved = [None if t is None else _C._SavedTensor(t, number) for t, number in to_save]
        ctx._dirty = ctx._non_differentiable = ctx._to_save = ()


def once_differentiable(fn: Any) -> Any:
    """Decorator of a backward() whose own derivative does not exist: differentiating it again is an error."""

    @functools.wraps(fn)
    def wrapper(ctx: Any, *grads: Any) -> Any:
        with no_grad():
            made = fn(ctx, *grads)
        if not _C.is_grad_enabled() or not any(isinstance(g, Tensor) and g.requires_grad for g in grads):
            return made
        single = not isinstance(made, tuple)
        made = (made,) if single else made

        class Once(Function):
            @staticmethod
            def forward(ctx: Any, *tensors: Any) -> Any:
                return tuple(m.clone() if isinstance(m, Tensor) else m for m in made)

            @staticmethod
            def backward(ctx: Any, *_: Any) -> Any:
                raise RuntimeError(
                    "trying to differentiate twice a function that was marked with @once_differentiable"
                )

        result = Once.apply(*grads)
        return result[0] if single else result

    return wrapper
