"""Judges an engine's operators against PyTorch's by the inputs of its OpInfo database, on the CPU.

Columns: one per dtype (values, dtype, shape, changes to inputs; of the first six all reference inputs, of the
others the sample inputs), then, with the first dtype that the operator takes: nonctg (noncontiguous inputs),
strides, alias, method, operator (Python's, in place too), inplace, out (also with an empty out), errors (must
raise, and PyTorch's class of exception); and in float64 grad, inplace_grad and gradgrad.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy
import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import BinaryUfuncInfo, UnaryUfuncInfo

from . import compare as cmp
from .bridge import Bridge, Missing, leaves
from .determined import determined, is_open
from .outcome import Record, Tally

REFERENCE_DTYPES = {
    "f32": torch.float32,
    "f64": torch.float64,
    "i64": torch.int64,
    "bool": torch.bool,
    "c64": torch.complex64,
    "bf16": torch.bfloat16,
}
OTHER_DTYPES = {
    "f16": torch.float16,
    "c128": torch.complex128,
    "i32": torch.int32,
    "i16": torch.int16,
    "i8": torch.int8,
    "u8": torch.uint8,
}
DTYPES = REFERENCE_DTYPES | OTHER_DTYPES
FORMS = ("nonctg", "strides", "alias", "method", "operator", "inplace", "out")
GRADS = ("grad", "inplace_grad", "gradgrad")
COLUMNS = (*DTYPES, *FORMS, *GRADS, "errors")

TORCH = Bridge(torch)
OTHER_SEED = Bridge(torch, seed=43)
BY_NAME = {op.name + (f".{op.variant_test_name}" if op.variant_test_name else ""): op for op in op_db}
GRADGRAD_SAMPLES = 6
NO_REPEAT_TRIES = 3


def columns(name: str) -> list[str]:
    """The columns that an operator has."""
    op = BY_NAME[name]
    dtypes = op.supported_dtypes("cpu")
    if name.startswith("jiterator") or main_dtype(op) is None:
        return []
    has = {
        **{column: dtype in dtypes for column, dtype in DTYPES.items()},
        "nonctg": True,
        "strides": True,
        "alias": bool(op.aliases),
        "method": op.method_variant is not None,
        "operator": op.operator_variant is not None,
        "inplace": op.inplace_variant is not None,
        "out": op.supports_out,
        "errors": op.error_inputs_func is not None,
    }
    if op.supports_autograd and torch.float64 in op.supported_backward_dtypes("cpu") & dtypes:
        has |= {"grad": True, "gradgrad": op.supports_gradgrad}
        has["inplace_grad"] = op.inplace_variant is not None and op.supports_inplace_autograd
    return [column for column in COLUMNS if has.get(column)]


def main_dtype(op: Any) -> torch.dtype | None:
    dtypes = op.supported_dtypes("cpu")
    return next((d for d in REFERENCE_DTYPES.values() if d in dtypes), None)


def entry(op: Any) -> Callable[[Bridge], Any]:
    """The function under test, by engine: by its public name where it has one, else the database's own
    function."""
    name = op.name.removeprefix("torch.")
    try:
        same = functools.reduce(getattr, name.split("."), torch) is op.op
    except AttributeError:
        same = False
    return (lambda bridge: bridge.resolve(name)) if same else (lambda bridge: bridge.transplant(op.op))


def thin(samples: Iterable[Any], limit: int | None) -> list[Any]:
    """At most `limit` samples, spread over all."""
    samples = list(samples)
    return samples[:: -(-len(samples) // limit)] if limit and len(samples) > limit else samples


def size_of(sample: Any) -> int:
    return sum(t.numel() for t in leaves([sample.input, sample.args, sample.kwargs], torch.Tensor))


def check(bridge: Bridge, name: str, column: str, limit: int | None = None) -> Record | None:
    """The record of one operator's column, or None where PyTorch itself ran no sample."""
    # The database draws its samples as they are asked for: the same ones in every run, whatever ran before.
    torch.manual_seed(0)
    random.seed(0)
    numpy.random.seed(0)  # noqa: NPY002  (what the database draws from)
    return Check(bridge, BY_NAME[name], column, limit).record()


def raises_alike(bridge: Bridge, theirs: Callable[[], Any], ours: Callable[[], Any]) -> Any:
    """The verdict on two calls that must raise: None if both do, of one class; False where PyTorch does not
    raise."""
    try:
        theirs()
        return False
    except Exception as error:
        due = type(error).__name__
    try:
        ours()
        return "wrong", f"no exception, torch {due}"
    except Exception as error:
        status, text = bridge.classify(error)
        if status == "missing":
            return status, text
        kinds = [kind.__name__ for kind in type(error).__mro__]
        alike = due == kinds[0] or (due in kinds and kinds[0] != "NotImplementedError")
        return None if alike else ("meta", f"{text}, torch {due}")


class Check:
    """One column of one operator."""

    def __init__(self, bridge: Bridge, op: Any, column: str, limit: int | None) -> None:
        self.bridge, self.op, self.column, self.limit = bridge, op, column, limit
        self.tally, self.tolerance, self.entry = Tally(), cmp.tolerance_of(op), entry(op)
        self.dtype = DTYPES.get(column) or (torch.float64 if column in GRADS else main_dtype(op))

    def record(self) -> Record | None:
        try:
            self.entry(self.bridge)
        except Missing as missing:
            self.tally.add(("missing", f"no {missing}"))
            return self.tally.record()
        if self.column in DTYPES or self.column in ("nonctg", "method", "inplace"):
            self.check_values()
        elif self.column in GRADS:
            self.check_gradients()
        else:
            getattr(self, f"check_{self.column}")()
        return self.tally.record()

    def samples(self, reference: bool = False, **kwargs: Any) -> list[Any]:
        make = self.op.reference_inputs if reference else self.op.sample_inputs
        return thin(filter(self.sensible, make("cpu", self.dtype, **kwargs)), self.limit)

    def sensible(self, sample: Any) -> bool:
        """Not a reflected operator called on a number, which only an accident of PyTorch's takes, nor another
        device."""
        if not isinstance(sample.input, torch.Tensor) and self.op.name.startswith("__"):
            return False
        tensors = leaves([sample.input, sample.args, sample.kwargs], torch.Tensor)
        return all(t.device.type == "cpu" for t in tensors)

    # One sample

    def both(self, sample: Any, fn: Callable[[Bridge], Any]) -> Any:
        """(PyTorch's result and inputs after the call), (the engine's, as torch tensors), the engine's as it
        came; None where PyTorch refuses, or where the engine failed, which is then in the tally. fn(bridge)
        gives what to call."""
        call = (sample.input, sample.args, sample.kwargs)
        theirs = TORCH.to(call)
        torch.manual_seed(0)
        try:
            want = fn(TORCH)(theirs[0], *theirs[1], **theirs[2])
        except Exception:
            return None
        try:
            ours = self.bridge.to(call)
            self.bridge.seed(0)
            raw = fn(self.bridge)(ours[0], *ours[1], **ours[2])
            return (want, theirs), (self.bridge.back(raw), self.bridge.back(ours)), raw
        except Exception as error:
            self.tally.add(self.bridge.classify(error), sample.summary())
            return None

    def judge(
        self, sample: Any, want: Any, got: Any, fn: Callable[[Bridge], Any], inputs: Any = None
    ) -> None:
        """Tally the verdict on a result, allowing for what the operator leaves open, for rounding and for
        randomness; `inputs`: PyTorch's and the engine's after the call, if it changed any."""
        verdict = cmp.compare(want, got, self.tolerance, not self.op.has_nondeterministic_output)
        if verdict is None and inputs:
            verdict = cmp.compare(*inputs, self.tolerance)
            verdict = verdict and ("wrong", f"input after the call: {verdict[1]}")
        elif verdict and verdict[0] == "wrong":
            if self.tolerable(sample, want, got, fn) or self.another_of_its_own(sample, got, fn):
                verdict = None
            elif any(self.again(sample, want, fn(TORCH), 0) for _ in range(NO_REPEAT_TRIES)):
                return  # PyTorch itself does not repeat its result, as where it reads memory past an end
            elif self.again(sample, want, fn(OTHER_SEED), 1):
                verdict = ("rng", verdict[1])
        self.tally.add(verdict, sample.summary())

    def tolerable(self, sample: Any, want: Any, got: Any, fn: Callable[[Bridge], Any]) -> bool:
        """Whether a result that differs is right in what the operator determines, or as accurate as
        PyTorch's."""
        name = self.op.name

        def exactly(x: Any) -> Any:
            return x.double() if self.dtype == torch.int64 and isinstance(x, torch.Tensor) else cmp.doubled(x)

        def widely(dtype: torch.dtype) -> tuple[float, float]:
            rtol, atol = self.tolerance(dtype)
            return 10 * rtol, 10 * atol

        try:
            want, got = (determined(name, sample, result) for result in (want, got))
            if is_open(name) and not cmp.compare(want, got, widely):
                return True
            if self.dtype not in (*cmp.LOW, torch.int64):
                return False
            s = sample.transform(exactly)
            exact = determined(name, s, fn(TORCH)(s.input, *s.args, **s.kwargs))
            return cmp.as_accurate(want, got, exact, isinstance(self.op, (UnaryUfuncInfo, BinaryUfuncInfo)))
        except Exception:
            return False

    def another_of_its_own(self, sample: Any, got: Any, fn: Callable[[Bridge], Any]) -> bool:
        """Whether a complex result is the one that PyTorch gives for contiguous inputs: its vector and its scalar
        code treat infinities differently."""
        if self.dtype not in (torch.complex64, torch.complex128):
            return False
        same = sample.transform(lambda x: x.contiguous() if isinstance(x, torch.Tensor) else x)
        call = TORCH.to((same.input, same.args, same.kwargs))
        return cmp.compare(fn(TORCH)(call[0], *call[1], **call[2]), got, self.tolerance) is None

    def again(self, sample: Any, want: Any, call: Callable[..., Any], seed: int) -> bool:
        """Whether PyTorch gives another result when it is run again."""
        args = TORCH.to((sample.input, sample.args, sample.kwargs))
        torch.manual_seed(seed)
        return cmp.compare(want, call(args[0], *args[1], **args[2]), self.tolerance) is not None

    # Columns

    def check_values(self) -> None:
        """The dtype columns, nonctg, method and inplace."""
        fn = self.entry
        if self.column in ("method", "inplace"):
            variant = getattr(self.op, f"{self.column}_variant")
            fn = lambda bridge: bridge.transplant(variant)  # noqa: E731
        for sample in self.samples(reference=self.column in REFERENCE_DTYPES):
            if self.column == "nonctg":
                if any(
                    t.layout is not torch.strided for t in leaves([sample.input, sample.args], torch.Tensor)
                ):
                    continue
                sample = sample.noncontiguous()
            if self.column in ("method", "inplace") and not isinstance(sample.input, torch.Tensor):
                continue
            if self.column == "inplace" and sample.broadcasts_input:
                continue
            results = self.both(sample, fn)
            if results:
                (want, theirs), (got, ours), _ = results
                changed = any(t._version for t in leaves(theirs, torch.Tensor))
                self.judge(sample, want, got, fn, (theirs, ours) if changed else None)

    def check_strides(self) -> None:
        for sample in self.samples():
            results = self.both(sample, self.entry)
            if not results:
                continue
            want, got = leaves(results[0][0], torch.Tensor), leaves(results[2], self.bridge.engine.Tensor)
            for w, g in zip(want, got, strict=False):
                if w.layout is torch.strided and w.numel():
                    a, b = ([s for s, n in zip(t.stride(), w.shape, strict=False) if n > 1] for t in (w, g))
                    self.tally.add(None if a == b else ("wrong", f"strides {b}, torch {a}"), sample.summary())

    def check_alias(self) -> None:
        for alias in self.op.aliases:
            path = alias.name.removeprefix("torch.")
            for sample in self.samples()[:5]:
                results = self.both(sample, lambda bridge, path=path: bridge.resolve(path))
                if results:
                    self.judge(
                        sample, results[0][0], results[1][0], lambda bridge, path=path: bridge.resolve(path)
                    )

    def check_operator(self) -> None:
        in_place = self.op.inplace_operator_variant
        for operator in filter(None, (self.op.operator_variant, in_place)):
            for sample in self.samples():
                if not isinstance(sample.input, torch.Tensor) or sample.kwargs:
                    continue
                if sample.broadcasts_input and operator is in_place:
                    continue
                results = self.both(sample, lambda bridge, operator=operator: operator)
                if results:
                    self.judge(
                        sample, results[0][0], results[1][0], lambda bridge, operator=operator: operator
                    )

    def check_out(self) -> None:
        for sample in self.samples():
            results = self.both(sample, self.entry)
            if not results:
                continue
            want = results[0][0]
            wanted = (
                1 if isinstance(want, torch.Tensor) else len(want) if isinstance(want, (tuple, list)) else 0
            )
            if not wanted or len(leaves(want, torch.Tensor)) != wanted:
                continue
            self.check_out_given(sample, want, torch.zeros_like)
            self.check_out_given(sample, want, lambda t: torch.empty(0, dtype=t.dtype))

    def check_out_given(self, sample: Any, want: Any, make: Callable[[Any], Any]) -> None:
        fresh = make(want) if isinstance(want, torch.Tensor) else tuple(make(t) for t in want)
        returns_it = {}

        def fn(bridge: Bridge) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                out = bridge.to(fresh)
                returned = self.entry(bridge)(*args, **kwargs, out=out)
                pairs = zip(*(leaves(x, bridge.engine.Tensor) for x in (out, returned)), strict=False)
                returns_it[bridge] = all(
                    a is b or getattr(a, "is_sparse_csr", False) or a.data_ptr() == b.data_ptr()
                    for a, b in pairs
                )
                return out

            return call

        results = self.both(sample, fn)
        if results and returns_it[TORCH] and not returns_it[self.bridge]:
            self.tally.add(("wrong", "does not return out"), sample.summary())
        elif results:
            self.judge(sample, results[0][0], results[1][0], fn)

    def check_errors(self) -> None:
        for bad in self.op.error_inputs("cpu"):
            s = bad.sample_input
            if not self.sensible(s):
                continue
            try:
                theirs, ours = (bridge.to((s.input, s.args, s.kwargs)) for bridge in (TORCH, self.bridge))
            except Exception as error:
                self.tally.add(self.bridge.classify(error), s.summary())
                continue
            verdict = raises_alike(
                self.bridge,
                functools.partial(self.entry(TORCH), theirs[0], *theirs[1], **theirs[2]),
                functools.partial(self.entry(self.bridge), ours[0], *ours[1], **ours[2]),
            )
            if verdict is not False:
                self.tally.add(verdict, s.summary())

    # Gradients

    def check_gradients(self) -> None:
        samples = self.samples(requires_grad=True)
        if self.column == "gradgrad":
            samples = thin((s for s in samples if size_of(s)), GRADGRAD_SAMPLES)
        elif self.column == "inplace_grad":
            samples = [s for s in samples if isinstance(s.input, torch.Tensor) and not s.broadcasts_input]
        for sample in samples:
            try:
                want = self.gradients(TORCH, sample)
            except Exception:
                continue
            if want is None:
                continue
            try:
                got = self.gradients(self.bridge, sample)
            except Exception as error:
                self.tally.add(self.bridge.classify(error), sample.summary())
                continue
            if got is None:
                self.tally.add(("wrong", "no result requires a gradient"), sample.summary())
                continue
            verdict = cmp.compare(want, got, self.tolerance)
            if verdict and cmp.compare(want, self.gradients(OTHER_SEED, sample), self.tolerance):
                verdict = ("rng", verdict[1])
            self.tally.add(verdict, sample.summary())

    def gradients(self, bridge: Bridge, sample: Any) -> list[torch.Tensor] | None:
        """Gradients of the inputs for fixed weights on the results, as torch tensors, None if nothing is
        differentiable. Of gradgrad those of the first gradients, for fixed weights on them, to the inputs and
        to the first weights."""
        x, args, kwargs = bridge.to((sample.input, sample.args, sample.kwargs))
        inputs = [t for t in leaves([x, args, kwargs], bridge.engine.Tensor) if t.requires_grad]
        bridge.seed()
        result = bridge.transplant(sample.output_process_fn_grad)(self.call(bridge, x, args, kwargs))
        results = [t for t in leaves(result, bridge.engine.Tensor) if t.requires_grad]
        if not results or not inputs:
            return None
        twice = self.column == "gradgrad"
        weights = [weight_for(bridge, t, i, twice) for i, t in enumerate(results)]
        grads = bridge.engine.autograd.grad(results, inputs, weights, allow_unused=True, create_graph=twice)
        if twice:
            numbered = [(i, g) for i, g in enumerate(grads) if g is not None and g.requires_grad]
            if not numbered:
                return None
            inputs += weights
            results, weights = (
                [g for _, g in numbered],
                [weight_for(bridge, g, 100 + i, False) for i, g in numbered],
            )
            grads = bridge.engine.autograd.grad(results, inputs, weights, allow_unused=True)
        return [
            torch.zeros_like(bridge.back(t)) if g is None else bridge.back(g)
            for g, t in zip(grads, inputs, strict=True)
        ]

    def call(self, bridge: Bridge, x: Any, args: Any, kwargs: Any) -> Any:
        if self.column == "inplace_grad":
            return bridge.transplant(self.op.inplace_variant)(x.clone(), *args, **kwargs)
        wrapper = self.op.gradcheck_wrapper
        if "masked" in getattr(wrapper, "__name__", ""):  # that wrapper only serves numerical differentiation
            return self.entry(bridge)(x, *args, **kwargs)
        return bridge.transplant(wrapper)(self.entry(bridge), x, *args, **kwargs)


def weight_for(bridge: Bridge, t: Any, seed: int, requires_grad: bool) -> Any:
    """Fixed random numbers of the shape and dtype of an engine's tensor, the same for every engine."""
    like = bridge.back(t)
    weight = torch.randn(like.shape, dtype=like.dtype, generator=torch.Generator().manual_seed(seed))
    return bridge.to(weight.requires_grad_(requires_grad))
