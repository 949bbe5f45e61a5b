"""Completes the compiled Tensor class with the methods that need no C++."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from ctorch import _C
from ctorch._C import Tensor
from ctorch.storage import TypedStorage, UntypedStorage, whole

if TYPE_CHECKING:
    import numpy


def _method(fn):
    """Make fn a method of Tensor."""
    setattr(Tensor, fn.__name__, fn)
    return fn


def _legacy_new(cls: Any, *args: Any, device: Any = None, dtype: Any = None) -> Tensor:
    """``Tensor(2, 3)``, ``Tensor([1, 2])``, ``Tensor(other)``: PyTorch's old constructor, for a subclass too."""
    if len(args) == 1 and (not isinstance(args[0], int) or isinstance(args[0], bool)):
        data = args[0]
        if isinstance(data, _C.Size):
            t = _C.empty(data)
        elif isinstance(data, Tensor):
            t = data.detach()
        elif isinstance(data, (bool, float, complex)):
            raise TypeError(
                f"Tensor(): expected sizes, a sequence or a tensor, got {data!r}: use ctorch.tensor"
            )
        else:
            t = _C.tensor(data, dtype=_C.get_default_dtype())
    else:
        t = _C.empty(args if args else (0,))
    return Tensor._make_subclass(cls, t)


# ---- printing ---------------------------------------------------------------------------------------------------------


@_method
def __repr__(self, *, tensor_contents=None):
    from ctorch._repr import tensor_repr

    return tensor_repr(self, tensor_contents=tensor_contents)


@_method
def __format__(self, spec):
    from ctorch._repr import tensor_format

    return tensor_format(self, spec)


# ---- autograd ---------------------------------------------------------------------------------------------------------


@_method
def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
    """Add the gradients of this tensor with respect to the leaves of its graph to their ``.grad``.

    Args:
        gradient: the gradient of this tensor; may be left out for one element, and is then 1.
        retain_graph: keep the graph for another pass; default: the value of create_graph.
        create_graph: record the pass, for higher derivatives.
        inputs: the leaves to get gradients; default: all.
    """
    from ctorch.autograd import backward as run

    run(self, gradient, retain_graph, create_graph, inputs=inputs)


@_method
def register_hook(self, hook):
    """Call ``hook(grad)`` when the gradient of this tensor is known; a tensor that it returns takes the gradient's place.

    Returns: a handle with ``remove()``.
    """
    return _C._register_tensor_hook(self, hook)


@_method
def register_post_accumulate_grad_hook(self, hook):
    """Call ``hook(self)`` after a gradient was added to ``.grad`` of this leaf."""
    if not self.is_leaf or not self.requires_grad:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    return _C._register_accumulate_hook(self, hook)


# ---- other libraries --------------------------------------------------------------------------------------------------


@_method
def numpy(self, *, force: bool = False) -> numpy.ndarray:
    """An array that shares this tensor's memory. With force=True a copy is made where sharing is not possible."""
    import numpy as np

    t = self.detach() if force else self
    if t.requires_grad:
        raise RuntimeError(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
        )
    if t.dtype is _C.bfloat16:
        raise TypeError("Got unsupported ScalarType BFloat16")
    if t.dim() > 64:
        raise ValueError(f"numpy: arrays have at most 64 dimensions, got {t.dim()}")
    return np.asarray(memoryview(t))


@_method
def __array__(self, dtype=None, copy=None):
    array = self.numpy()
    if dtype is not None and array.dtype != dtype:
        return array.astype(dtype)
    return array.copy() if copy else array


# NumPy lets a tensor's operators decide what `array + tensor` is; and what its functions make of tensors is a tensor.
Tensor.__array_priority__ = 1000


@_method
def __array_wrap__(self, array, context=None, return_scalar=False):
    return _C.tensor(array)


@_method
def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
    return _C._to_dlpack(self.clone() if copy else self)


@_method
def __dlpack_device__(self):
    return (1, 0)


@_method
def untyped_storage(self) -> UntypedStorage:
    """The bytes that this tensor is a view of."""
    return UntypedStorage(whole(self))


@_method
def storage(self) -> TypedStorage:
    """The memory that this tensor is a view of, as elements of its dtype."""
    return TypedStorage(whole(self))


@_method
def as_subclass(self, cls: type) -> Tensor:
    """This tensor, with its history, as an object of a subclass of Tensor."""
    if not isinstance(cls, type):
        raise TypeError(f"as_subclass: cls must be a type, got {cls!r}")
    if not issubclass(cls, Tensor):
        raise TypeError(f"as_subclass: expected a subclass of Tensor, got {cls.__name__}")
    result = self.view_as(self)
    result.__class__ = cls
    return result


# ---- copies and pickles -----------------------------------------------------------------------------------------------


def _rebuild(cls, data: bytes, dtype, size, requires_grad, state, order=None):
    t = _C._tensor_from_buffer(data, dtype).view(size)
    if order is not None:
        t = t.permute(order)
    if cls is not Tensor:
        t = Tensor._make_subclass(cls, t, requires_grad)
    else:
        t.requires_grad_(requires_grad)
    if state:
        t.__dict__.update(state)
    return t


@_method
def __reduce_ex__(self, protocol):
    # The elements in the order of memory, so that a transposed tensor comes back transposed.
    by_stride = sorted(range(self.dim()), key=lambda d: -abs(self.stride(d)))
    dense = self.detach().permute(by_stride).contiguous()
    data = bytes(_bytes_of(dense))
    order = [by_stride.index(d) for d in range(self.dim())]
    return _rebuild, (
        type(self),
        data,
        self.dtype,
        tuple(dense.shape),
        self.requires_grad,
        dict(self.__dict__),
        order,
    )


@_method
def __copy__(self):
    copied = Tensor._make_subclass(type(self), self.detach(), self.requires_grad)
    copied.__dict__.update(self.__dict__)
    return copied


def _bytes_of(t):
    return memoryview(t.reshape(-1).view(_C.uint8)) if t.numel() else b""


@_method
def __deepcopy__(self, memo):
    if id(self) in memo:
        return memo[id(self)]
    if not self.is_leaf:
        raise RuntimeError(
            "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment. "
            "If you were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage."
        )
    # One copy of each storage: tensors that share one go on sharing.
    key = ("ctorch storage", _C._storage_key(self))
    if key not in memo:
        memo[key] = _C._tensor_from_buffer(_C._storage_bytes(self), _C.uint8)
    with _no_grad():
        size = memo[key].numel() // self.element_size() * self.element_size()
        t = memo[key][:size].view(self.dtype).as_strided(self.shape, self.stride(), self.storage_offset())
    if type(self) is not Tensor:
        t = Tensor._make_subclass(type(self), t, self.requires_grad)
    else:
        t.requires_grad_(self.requires_grad)
    memo[id(self)] = t
    if self.grad is not None:
        t.grad = copy.deepcopy(self.grad, memo)
    if self.__dict__:
        t.__dict__.update(copy.deepcopy(self.__dict__, memo))
    return t


class _no_grad:
    def __enter__(self):
        self.previous = _C.is_grad_enabled()
        _C._set_grad_enabled(False)

    def __exit__(self, *_):
        _C._set_grad_enabled(self.previous)


# ---- conversions ------------------------------------------------------------------------------------------------------

_TYPE_NAMES = {
    "FloatTensor": _C.float32, "DoubleTensor": _C.float64, "HalfTensor": _C.float16, "BFloat16Tensor": _C.bfloat16,
    "ByteTensor": _C.uint8, "CharTensor": _C.int8, "ShortTensor": _C.int16, "IntTensor": _C.int32, "LongTensor": _C.int64,
    "BoolTensor": _C.bool, "ComplexFloatTensor": _C.complex64, "ComplexDoubleTensor": _C.complex128,
}  # fmt: skip


def _type(self, dtype=None, non_blocking=False):
    """The name of the tensor's type ("torch.FloatTensor"); or, given a dtype or such a name, the tensor converted."""
    if dtype is None:
        return "torch." + next((name for name, d in _TYPE_NAMES.items() if d is self.dtype), "Tensor")
    if not isinstance(dtype, _C.dtype):
        if not isinstance(dtype, (str, type)):
            raise TypeError(f"type: dtype must be a type, str, or dtype object, got {dtype!r}")
        name = (dtype if isinstance(dtype, str) else dtype.__name__).split(".")[-1]
        if name not in _TYPE_NAMES:
            raise ValueError(f"invalid type: '{dtype}'")
        dtype = _TYPE_NAMES[name]
    return self.to(dtype)


Tensor.type = _type


@_method
def type_as(self, other):
    """The tensor converted to the dtype of other."""
    return self.to(other.dtype)


@_method
def cuda(self, device=None, non_blocking=False, memory_format=None):
    raise AssertionError("Torch not compiled with CUDA enabled: this build of ctorch runs on the CPU")


@_method
def __contains__(self, element):
    if not isinstance(element, (Tensor, int, float, complex, bool)):
        raise RuntimeError(
            f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}."
        )
    return bool((self == element).any().item())


@_method
def __reversed__(self):
    return self if self.dim() == 0 else self.flip(0)


@_method
def __dir__(self):
    return sorted(set(dir(type(self))) | set(self.__dict__))


@_method
def __rdiv__(self, other):
    return self.reciprocal() * other


Tensor.__rtruediv__ = __rdiv__


@_method
def where(self, condition: Tensor, y: Any) -> Tensor:
    """``ctorch.where(condition, self, y)``."""
    return _C.where(condition, self, y)


@_method
def new(self, *args, **kwargs):
    """A tensor of this dtype made by the old constructor: ``x.new(2, 3)``, ``x.new([1, 2])``."""
    if len(args) == 1 and not isinstance(args[0], (int, _C.Size)):
        return self.new_tensor(args[0]) if not isinstance(args[0], Tensor) else args[0].detach()
    return self.new_empty(args[0] if args and not isinstance(args[0], int) else (args or (0,)))


@_method
def share_memory_(self):
    raise RuntimeError("share_memory_: tensors in shared memory are not supported")


@_method
def apply_(self, fn):
    """Replace each element by ``fn(element)``, in place. Slow: meant for small tensors."""
    with _no_grad():
        return self.copy_(
            _C.tensor([fn(v) for v in self.reshape(-1).tolist()], dtype=self.dtype).view(self.shape)
        )


@_method
def map_(self, other, fn):
    """Replace each element by ``fn(element, element of other)``, in place. Slow: meant for small tensors."""
    pairs = zip(self.reshape(-1).tolist(), other.expand_as(self).reshape(-1).tolist())
    with _no_grad():
        return self.copy_(_C.tensor([fn(a, b) for a, b in pairs], dtype=self.dtype).view(self.shape))


def _inplace_view(name):
    def method(self, *args, **kwargs):
        return _C._become(self, getattr(_C._shallow_copy(self), name)(*args, **kwargs))

    method.__name__ = name + "_"
    method.__doc__ = f"{name}() on the tensor itself, which keeps its elements."
    setattr(Tensor, method.__name__, method)


for _name in ("t", "transpose", "squeeze", "unsqueeze", "swapaxes", "swapdims", "as_strided"):
    _inplace_view(_name)

# Properties that are operations too.
Tensor.real = property(lambda self: _C.real(self), lambda self, value: _C.real(self).copy_(value))
Tensor.imag = property(lambda self: _C.imag(self), lambda self, value: _C.imag(self).copy_(value))
Tensor.names = property(lambda self: (None,) * self.dim())
Tensor._backward_hooks = None
Tensor.__module__ = "ctorch"
