"""Carries values, names and test functions from PyTorch to an engine with PyTorch's API, and results back.

A Bridge never hands the engine an object of PyTorch's: tensors cross as numpy arrays, dtypes, devices,
classes and functions by their public name, and the small Python functions of PyTorch's test databases are
rebuilt with every reference to torch replaced by the engine (`transplant`). Bridge(torch) works as well and
checks the harness itself.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
import types
from typing import Any

import numpy as np
import torch

# Dtypes that numpy lacks, and the wider one that carries their values exactly.
CARRIER = {
    torch.bfloat16: torch.float32,
    torch.complex32: torch.complex64,
    **{getattr(torch, name): torch.float32 for name in dir(torch) if name.startswith("float8_e")},
}
AREAS = (
    *("", "Tensor", "nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.rnn", "linalg", "fft", "special"),
    *("masked", "signal.windows", "sparse", "optim", "optim.lr_scheduler", "autograd", "autograd.functional"),
    *("func", "functional"),
)
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), np.generic, np.ndarray)
NUMPY_MAX_DIMS = 64


class Missing(Exception):
    """The engine has no such public name."""


def _record_constructor(cls: type, *args: Any, **kwargs: Any) -> Any:
    self = object.__new__(cls)
    self.__dict__["_ctor"] = (args, kwargs)
    return self


torch.nn.Module.__new__ = staticmethod(
    _record_constructor
)  # lets a sample's Module be built again in the engine


@functools.cache
def public_names() -> dict[int, tuple[str, Any]]:
    """id of a public object of torch -> (path below torch, the object, kept so that the id stays its own)."""
    names: dict[int, tuple[str, Any]] = {}
    for area in AREAS:
        space = functools.reduce(getattr, filter(None, area.split(".")), torch)
        for name in dir(space):
            value = getattr(space, name, None)
            owner = str(getattr(value, "__module__", None) or "torch").split(".")[0]
            if not isinstance(value, (*PLAIN, types.ModuleType)) and owner == "torch":
                names.setdefault(id(value), (f"{area}.{name}".strip("."), value))
    return names


def leaves(tree: Any, kind: Any) -> list[Any]:
    """The objects of a kind in nested lists, tuples and dicts, in order."""
    if isinstance(tree, kind):
        return [tree]
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (list, tuple)):
        return []
    return [leaf for part in tree for leaf in leaves(part, kind)]


class Bridge:
    """The way to one engine, a module with PyTorch's API, and back."""

    def __init__(self, engine: Any, seed: int = 42) -> None:
        self.engine = engine
        self.default_seed = seed
        self.root = os.path.dirname(getattr(engine, "__file__", None) or "?")
        self._moved: dict[
            int, tuple[Any, Any]
        ] = {}  # id of a transplanted function -> (the function, its twin)

    def seed(self, seed: int | None = None) -> None:
        getattr(self.engine, "manual_seed", id)(self.default_seed if seed is None else seed)

    # Names

    def resolve(self, path: str) -> Any:
        """The engine's object at a path below torch, such as 'nn.functional.conv2d'."""
        here, done = self.engine, []
        for part in filter(None, path.split(".")):
            done.append(part)
            try:
                here = getattr(here, part)
            except AttributeError:
                try:
                    here = importlib.import_module(".".join([self.engine.__name__, *done]))
                except Exception:
                    raise Missing(path) from None
        return here

    @staticmethod
    def path_of(obj: Any) -> str | None:
        """The path below torch by which users reach an object, or None if it is not one of torch's."""
        if id(obj) in public_names():
            return public_names()[id(obj)][0]
        if isinstance(obj, types.ModuleType):
            ours = obj.__name__.split(".")[0] == "torch" and "testing" not in obj.__name__
            return obj.__name__.removeprefix("torch").strip(".") if ours else None
        if isinstance(obj, (torch._ops.OpOverload, torch._ops.OpOverloadPacket)):
            return f"ops.{obj}"
        if getattr(obj, "__objclass__", None) in torch.Tensor.__mro__[:-1]:
            return f"Tensor.{obj.__name__}"
        module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", "<")
        if (
            isinstance(module, str)
            and module.split(".")[0] == "torch"
            and "testing" not in module
            and "<" not in name
        ):
            return f"{module}.{name}".removeprefix("torch.")
        return None

    def transplant(self, fn: Any) -> Any:
        """The engine's counterpart of a function, class or module that PyTorch's test databases refer to."""
        path = self.path_of(fn)
        if path is not None:
            return self.resolve(path)
        if isinstance(fn, functools.partial):
            return functools.partial(self.transplant(fn.func), *self.to(fn.args), **self.to(fn.keywords))
        if not isinstance(fn, types.FunctionType):
            return fn
        if fn.__name__ == "wrapper_set_seed":
            return self._seeded
        if id(fn) not in self._moved:
            self._moved[id(fn)] = (fn, self._twin(fn))
            self._furnish(fn, self._moved[id(fn)][1])
        return self._moved[id(fn)][1]

    @staticmethod
    def _twin(fn: types.FunctionType) -> types.FunctionType:
        """The same code with globals and closure of its own, still empty: functions may refer to each
        other."""
        scope = {"__builtins__": __builtins__, "__name__": fn.__module__}
        cells = tuple(types.CellType() for _ in fn.__closure__ or ())
        return types.FunctionType(fn.__code__, scope, fn.__name__, None, cells)

    def _furnish(self, fn: types.FunctionType, twin: types.FunctionType) -> None:
        for name in _global_names(fn.__code__) & fn.__globals__.keys():
            twin.__globals__[name] = self._to_or_absent(fn.__globals__[name])
        for cell, source in zip(twin.__closure__ or (), fn.__closure__ or (), strict=True):
            cell.cell_contents = self._to_or_absent(source.cell_contents)
        twin.__defaults__, twin.__kwdefaults__ = self.to(fn.__defaults__), self.to(fn.__kwdefaults__)

    def _seeded(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        self.seed()
        return fn(*args, **kwargs)

    def _to_or_absent(self, value: Any) -> Any:
        try:
            return self.to(value)
        except Missing as missing:
            return _Absent(missing)

    # Values, to the engine

    def to(self, value: Any, memo: dict[int, Any] | None = None) -> Any:
        """A value of torch's, however nested, as the engine's; a tensor met twice stays one tensor."""
        memo = {} if memo is None else memo
        if isinstance(value, PLAIN):
            return value
        if isinstance(value, torch.Tensor):
            if id(value) not in memo:
                memo[id(value)] = (self._tensor(value), value)
            return memo[id(value)][0]
        if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
            return self.resolve(str(value).removeprefix("torch."))
        if isinstance(value, torch.device):
            return self.resolve("device")(str(value))
        if isinstance(value, torch.Size):
            return self.resolve("Size")(tuple(value))
        if isinstance(value, torch.Generator):
            return self.resolve("Generator")()
        if isinstance(value, slice):
            return slice(*(self.to(part, memo) for part in (value.start, value.stop, value.step)))
        if isinstance(value, (list, set)):
            return type(value)(self.to(part, memo) for part in value)
        if isinstance(value, tuple):
            parts = [self.to(part, memo) for part in value]
            return self.transplant(type(value))(*parts) if hasattr(value, "_fields") else tuple(parts)
        if isinstance(value, dict):
            return {key: self.to(part, memo) for key, part in value.items()}
        if isinstance(value, torch.nn.Module):
            args, kwargs = value._ctor
            twin = self.resolve(self.path_of(type(value)) or "?")(
                *self.to(args, memo), **self.to(kwargs, memo)
            )
            twin.load_state_dict(self.to(dict(value.state_dict())))
            return twin
        if dataclasses.is_dataclass(value) and not isinstance(value, type) and self.path_of(type(value)):
            parts = {
                f.name: self.to(getattr(value, f.name), memo) for f in dataclasses.fields(value) if f.init
            }
            return self.transplant(type(value))(**parts)
        return self.transplant(value)

    def _tensor(self, t: torch.Tensor) -> Any:
        if t.layout is torch.sparse_coo:
            c = t.detach().coalesce()
            made = self.resolve("sparse_coo_tensor")(
                self.to(c.indices()), self.to(c.values()), tuple(t.shape)
            )
            return made.requires_grad_(t.requires_grad)
        if t.layout is torch.sparse_csr:
            parts = (t.crow_indices(), t.col_indices(), t.detach().values())
            return self.resolve("sparse_csr_tensor")(*self.to(parts), tuple(t.shape)).requires_grad_(
                t.requires_grad
            )
        if t.is_conj() and hasattr(self.engine.Tensor, "conj"):
            return self._tensor(t.detach().conj()).conj().requires_grad_(t.requires_grad)
        out = self._strided(t.detach().resolve_conj().resolve_neg())
        if isinstance(t, torch.nn.Parameter):
            return self.resolve("nn.Parameter")(out, requires_grad=t.requires_grad)
        return out.requires_grad_(True) if t.requires_grad else out

    def _strided(self, t: torch.Tensor) -> Any:
        """The engine's tensor over a copy of the storage of t, of the same strides and offset."""
        if not hasattr(self.engine, "as_strided"):
            t = t.clone(memory_format=torch.contiguous_format)
        storage = t.untyped_storage()
        flat = torch.empty(0, dtype=t.dtype).set_(storage, 0, (storage.nbytes() // t.element_size(),), (1,))
        array = flat.to(CARRIER.get(t.dtype, t.dtype), copy=True).numpy()
        whole = t.is_contiguous() and t.numel() == flat.numel() and t.dim() <= NUMPY_MAX_DIMS
        make = self.resolve("from_numpy" if hasattr(self.engine, "from_numpy") else "tensor")
        out = make(array.reshape(tuple(t.shape)) if whole else array)
        if t.dtype in CARRIER:
            out = out.to(self.to(t.dtype))
        return (
            out if whole else self.resolve("as_strided")(out, tuple(t.shape), t.stride(), t.storage_offset())
        )

    # Values, back

    def back(self, value: Any) -> Any:
        """An engine's result as torch's: tensors become torch tensors, dtypes and sizes too, the rest
        stays."""
        if isinstance(value, PLAIN):
            return value
        if isinstance(value, self.engine.Tensor):
            return self._tensor_back(value)
        if isinstance(value, dict):
            return {key: self.back(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self.back(part) for part in value]
        if isinstance(value, tuple):
            size = getattr(self.engine, "Size", None)
            return torch.Size(value) if size and isinstance(value, size) else tuple(map(self.back, value))
        dtype = getattr(torch, str(value).split(".")[-1], None)
        return dtype if isinstance(dtype, torch.dtype) else value

    def _tensor_back(self, x: Any) -> torch.Tensor:
        dtype = getattr(torch, str(x.dtype).split(".")[-1])
        x = x.detach()
        if str(getattr(x, "layout", "strided")).split(".")[-1] != "strided":
            x = x.to_dense()
        for lazy in ("conj", "neg"):
            x = getattr(x, f"resolve_{lazy}")() if getattr(x, f"is_{lazy}", bool)() else x
        if dtype in CARRIER:
            x = x.to(self.to(CARRIER[dtype]))
        return torch.from_numpy(np.array(x.numpy())).to(dtype)

    def classify(self, error: BaseException) -> tuple[str, str]:
        """(status, message) of an exception that a call of the engine raised."""
        text = f"{type(error).__name__}: {error}".split("\n")[0][:200]
        if isinstance(error, Missing):
            return "missing", f"no {error}"
        if isinstance(error, AttributeError) and error.obj is not None and self._asked_of_engine(error):
            return "missing", text
        return "error", text

    def _asked_of_engine(self, error: AttributeError) -> bool:
        """Whether an attribute was asked of an object of the engine's, and not by the engine's own code."""
        trace = error.__traceback__
        while trace.tb_next:
            trace = trace.tb_next
        code, obj = trace.tb_frame.f_code, error.obj
        owner = obj if isinstance(obj, (type, types.ModuleType)) else type(obj)
        module = getattr(owner, "__module__", None) or owner.__name__
        inside = code.co_filename.startswith(self.root + os.sep) and code.co_name != "__getattr__"
        return str(module).split(".")[0] == self.engine.__name__.split(".")[0] and not inside


class _Absent:
    """Stands for a global name of a transplanted function that the engine lacks; using it says so."""

    def __init__(self, missing: Missing) -> None:
        self.__dict__["missing"] = missing

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise self.missing

    __getattr__ = __call__


@functools.cache
def _global_names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            names |= _global_names(const)
    return names
