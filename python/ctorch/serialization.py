"""save and load: files that PyTorch reads and writes too.

A file is a zip archive: ``data.pkl`` holds the object, a pickle in which a tensor stands as (storage, offset,
shape, strides), and ``data/<n>`` the bytes of each storage. Loading reads data only, so that no file can make
it run code, unless ``weights_only=False`` asks for whole objects. Things of ours have PyTorch's names in the
files: ``ctorch.nn.Linear`` is ``torch.nn.modules.linear.Linear`` there.
"""

from __future__ import annotations

import os
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import ctorch

from . import _C
from ._archive import ArchiveReader, ArchiveWriter
from ._C import Tensor
from ._data_pickle import Call, Constructor, Global, PersistentId, dumps, loads

__all__ = ["load", "save"]

# The storage classes by whose names PyTorch's files tell the dtype. Other dtypes are stored as bytes.
_STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
}
_STORAGE_OF_DTYPE = {dtype: name for name, dtype in _STORAGES.items()}
_DTYPES = (*_STORAGE_OF_DTYPE, "uint16", "uint32", "uint64")

_LEGACY_MAGIC = (
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number that starts PyTorch's files before 1.6
)


def save(
    obj: Any,
    f: Any,
    pickle_module: Any = None,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Write an object to a file.

    Tensors, numbers, text and containers of them (a ``state_dict()``, say) are read by ``load`` as it is.
    Other objects that can be pickled, whole modules among them, need ``load(..., weights_only=False)``.

    A file given by its path is written beside its place and then moved there, so that it is there whole or
    not at all. Tensors that share memory share it after loading.

    Args:
        f: a path, or an object with ``write``.
        pickle_module: has no effect.
        pickle_protocol: the protocol that the file names, from 2 to 5.
    Raises: pickle.PicklingError for objects that cannot be pickled.
    """
    if not _use_new_zipfile_serialization:
        raise ValueError("save: files of the kind before PyTorch 1.6 are not written")
    if not 2 <= pickle_protocol <= 5:
        raise ValueError(f"save: expected pickle_protocol from 2 to 5, got {pickle_protocol}")
    storages = _StorageWriter()
    pickled = dumps(obj, storages.convert, pickle_protocol)
    if isinstance(f, (str, os.PathLike)):
        path = os.fspath(f)
        root = os.path.splitext(os.path.basename(path))[0] or "archive"
        with _replacing(path) as file:
            _write_archive(file, root, pickled, storages)
    elif hasattr(f, "write"):
        _write_archive(f, "archive", pickled, storages)
    else:
        raise TypeError(f"save: expected a path or an object with write(), got {type(f).__name__}")


def load(
    f: Any,
    map_location: Any = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what ``save``, or PyTorch's, has written.

    Args:
        f: a path, or an object with ``read`` and ``seek``.
        map_location: where the tensors go: a device, a dictionary from device names to such, or a function of
            a tensor and the name of its device. Only the CPU is there.
        weights_only: load data alone, as is the default. False loads any object, by running what the file
            says: only for files from a source that you trust.
        mmap: has no effect. Nor have the other arguments.
    Raises: RuntimeError for a file that is damaged, cut off or of another kind; pickle.UnpicklingError for
        one that names something that is not data.
    """
    data_only = weights_only is not False
    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return _read_archive(file, repr(os.fspath(f)), map_location, data_only)
    if not (hasattr(f, "read") and hasattr(f, "seek")):
        raise TypeError(f"load: expected a path or an object with read() and seek(), got {type(f).__name__}")
    return _read_archive(f, "the file", map_location, data_only)


# Saving -----------------------------------------------------------------------------------------------------


def _dtype_name(dtype: Any) -> str:
    return str(dtype).rpartition(".")[2]


# Where PyTorch has what is in modules of other names here.
_RENAMED = {
    "ctorch.nn.module": "torch.nn.modules.module",
    "ctorch.nn.losses": "torch.nn.functional",
    "ctorch.nn.modules.parameter_containers": "torch.nn.modules.container",
}


def _pytorchs_module(value: Any) -> str | None:
    """The module in which PyTorch has a class or function of ours; None for those of others."""
    module = value.__module__ or ""
    if not (module == "ctorch" or module.startswith("ctorch.")) or "." in value.__qualname__:
        return None
    return _RENAMED.get(module, module[1:])


def _our_module(module: str) -> str:
    """The module that stands for one of PyTorch's; others as they are."""
    return "c" + module if module == "torch" or module.startswith("torch.") else module


class _StorageWriter:
    """Turns tensors into what stands for them in the pickle, and collects their storages."""

    def __init__(self) -> None:
        self.tensors: list[Any] = []  # one for each storage, by number
        self._numbers: dict[int, tuple[int, str]] = {}  # storage to its number, and the dtype it is seen as

    def convert(self, value: Any) -> Any:
        """What is written for ``value``; None for what is not known here."""
        from .nn.parameter import Parameter

        if isinstance(value, Parameter):
            parts = (value.detach(), value.requires_grad, OrderedDict())
            if value.__dict__:
                make = Global("torch._utils", "_rebuild_parameter_with_state")
                return Call(make, *parts, dict(value.__dict__))
            return Call(Global("torch._utils", "_rebuild_parameter"), *parts)
        if isinstance(value, Tensor):
            return self._tensor_of_kind(value)
        if isinstance(value, ctorch.Size):
            return Call(Global("torch", "Size"), tuple(value))
        if isinstance(value, ctorch.dtype):
            return Global("torch", _dtype_name(value))
        if isinstance(value, ctorch.device):
            return Call(Global("torch", "device"), str(value))
        if isinstance(value, (type, FunctionType)):
            module = _pytorchs_module(value)
            return Global(module, value.__qualname__) if module else None
        return None

    def _tensor_of_kind(self, t: Any) -> Call:
        """A tensor with its attributes and its class, where it has any."""
        state: Any = dict(t.__dict__) or None
        cls: Any = Global("torch", "Tensor")
        if isinstance(t, ctorch.nn.Buffer):
            state = {**t.__dict__, "_is_buffer": True}  # PyTorch's Buffer is a tensor with this mark
        elif type(t) is not Tensor:
            cls = type(t)
        elif state is None:
            return self._tensor(t)
        plain = self._tensor(t)
        return Call(Global("torch._tensor", "_rebuild_from_type_v2"), plain.function, cls, plain.args, state)

    def _tensor(self, t: Any) -> Call:
        if any(step < 0 for step in t.stride()):
            t = t.clone()  # no such view can be written
        name = _dtype_name(t.dtype)
        key = _C._storage_key(t)
        number, seen_as = self._numbers.setdefault(key, (len(self.tensors), name))
        if number == len(self.tensors):
            self.tensors.append(t)
        if seen_as != name:
            raise RuntimeError(
                "Cannot save multiple tensors or storages that view the same data as different types "
                f"({seen_as} and {name})"
            )
        size = len(_C._storage_bytes(t))
        storage = _STORAGE_OF_DTYPE.get(name)
        where = Global("torch", storage) if storage else Global("torch.storage", "UntypedStorage")
        length = size // t.element_size() if storage else size
        id = PersistentId(("storage", where, str(number), "cpu", length))
        args: tuple[Any, ...] = (
            id,
            t.storage_offset(),
            tuple(t.size()),
            tuple(t.stride()),
            t.requires_grad,
            OrderedDict(),
        )
        if storage:
            return Call(Global("torch._utils", "_rebuild_tensor_v2"), *args)
        return Call(Global("torch._utils", "_rebuild_tensor_v3"), *args, Global("torch", name))


def _write_archive(file: Any, root: str, pickled: bytes, storages: _StorageWriter) -> None:
    archive = ArchiveWriter(file, root)
    archive.add("data.pkl", pickled)
    archive.add(".format_version", b"1")
    archive.add(".storage_alignment", b"64")
    archive.add("byteorder", sys.byteorder.encode())
    for number, t in enumerate(storages.tensors):
        archive.add(f"data/{number}", _C._storage_bytes(t))
    archive.add("version", b"3\n")
    archive.finish()


@contextmanager
def _replacing(path: str) -> Iterator[Any]:
    """A new file that takes the place of ``path`` once it is complete and on the disk."""
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        if os.path.isdir(path):
            raise IsADirectoryError(f"save: {path!r} is a directory")
        with open(path, "wb") as file:  # a device or a pipe
            yield file
        return
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name[:100]}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(path):
            os.chmod(temporary, os.stat(path).st_mode & 0o7777)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """Bring the folder's entry to the disk too, where the system can do that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


# Loading ----------------------------------------------------------------------------------------------------


def _read_archive(file: Any, what: str, map_location: Any, data_only: bool) -> Any:
    start = file.tell()
    head = file.read(512)
    file.seek(start)
    if not head:
        raise EOFError(f"load: {what} is empty")
    if head.startswith(_LEGACY_MAGIC) or head[257:262] == b"ustar":
        raise RuntimeError(
            f"load: {what} has the format of PyTorch before 1.6, which is not supported; "
            "load it in PyTorch and save it again"
        )
    if not head.startswith(b"PK"):
        raise RuntimeError(f"load: {what} is not a checkpoint: it is no zip archive")
    archive = ArchiveReader(file, what)
    if "constants.pkl" in archive:
        raise RuntimeError(f"load: {what} is a TorchScript program, not a checkpoint")
    if "byteorder" in archive and archive.read("byteorder").decode("latin1") != sys.byteorder:
        raise RuntimeError(
            f"load: {what} was written on a machine with another byte order than {sys.byteorder}"
        )
    storages = _StorageReader(archive, map_location)
    pickled = archive.read("data.pkl")
    return loads(pickled, _find_global, storages.find) if data_only else _load_objects(pickled, storages.find)


def _load_objects(pickled: bytes, find_persistent: Callable[[Any], Any]) -> Any:
    """Load any object, with the standard library's reader."""
    import io
    import pickle

    class Reader(pickle.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            return find_persistent(pid)

        def find_class(self, module: str, name: str) -> Any:
            known = _known_global(module, name)
            if name == "_rebuild_from_type_v2":
                return lambda make, *rest: _rebuild_from_type(Constructor(make), *rest)
            if known is not None:
                return known.function if isinstance(known, Constructor) else known
            return super().find_class(_our_module(module), name)

    return Reader(io.BytesIO(pickled)).load()


class _StorageType:
    """The class of a storage in the pickle: the dtype of its elements."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype


class _StorageReader:
    """Reads storages as one-dimensional tensors, each once."""

    def __init__(self, archive: ArchiveReader, map_location: Any) -> None:
        self._archive = archive
        self._place = _placement(map_location)
        self._read: dict[str, Any] = {}

    def find(self, id: Any) -> Any:
        """The storage of a persistent id ("storage", type, key, location, number of elements)."""
        if not (
            isinstance(id, tuple) and len(id) == 5 and id[0] == "storage" and isinstance(id[1], _StorageType)
        ):
            raise ValueError("a persistent id is not that of a storage")
        _, kind, key, location, length = id
        if type(key) is not str or type(location) is not str or type(length) is not int or length < 0:
            raise ValueError("a storage's key, place or length is wrong")
        known = self._read.get(key)
        if known is None:
            size = length * ctorch.empty(0, dtype=kind.dtype).element_size()
            data = self._archive.read(f"data/{key}", size)
            known = self._read[key] = self._place(_C._tensor_from_buffer(data, kind.dtype), location)
        elif known.dtype != kind.dtype or known.numel() != length:
            raise ValueError(f"storage {key} is named with two types or lengths")
        return known


def _placement(map_location: Any) -> Callable[[Any, str], Any]:
    """A function of a storage and its device's name in the file: the storage where it is to be."""

    def on(storage: Any, device: Any) -> Any:
        if ctorch.device(device).type != "cpu":
            raise RuntimeError(f"load: map_location asks for {device}, but only the CPU is there")
        return storage

    def as_saved(storage: Any, location: str) -> Any:
        if location != "cpu":
            raise RuntimeError(
                f"load: a tensor was saved on {location!r}, which is not there; "
                "load it with map_location='cpu' to put it on the CPU"
            )
        return storage

    if map_location is None:
        return as_saved
    if isinstance(map_location, dict):
        return lambda storage, location: as_saved(storage, str(map_location.get(location, location)))
    if isinstance(map_location, (str, ctorch.device)):
        return lambda storage, location: on(storage, map_location)
    if callable(map_location):

        def chosen(storage: Any, location: str) -> Any:
            result = map_location(storage, location)
            return as_saved(storage, location) if result is None else result

        return chosen
    raise TypeError(
        f"load: expected map_location to be a device, dict or function, got {type(map_location).__name__}"
    )


def _find_global(module: str, name: str) -> Any:
    """What a name in a checkpoint means. Raises pickle.UnpicklingError for all that is not data."""
    known = _known_global(module, name)
    if known is not None:
        return known
    import pickle

    raise pickle.UnpicklingError(
        f"load: the file names {module}.{name}, which is not allowed: only tensors, numbers, text and "
        "containers of them are loaded; weights_only=False loads any object, by running what the file says"
    )


def _known_global(module: str, name: str) -> Any:
    """What a name of PyTorch's that is data means, or None."""
    if module == "torch":
        if name in _STORAGES:
            return _StorageType(getattr(ctorch, _STORAGES[name]))
        if name in _DTYPES:
            return getattr(ctorch, name)
        if name == "Size":
            return Constructor(_make_size)
        if name == "device":
            return Constructor(_make_device)
        if name == "Tensor":
            return Tensor
    elif module == "torch.nn.parameter" and name in ("Buffer", "Parameter"):
        return getattr(ctorch.nn, name)
    elif (module, name) == ("torch._tensor", "_rebuild_from_type_v2"):
        return Constructor(_rebuild_from_type)
    elif (module, name) == ("torch.storage", "UntypedStorage"):
        return _StorageType(ctorch.uint8)
    elif module == "torch._utils" and name in _REBUILD:
        return _REBUILD[name]
    return None


def _make_size(sizes: Any = ()) -> Any:
    return ctorch.Size(_ints(sizes))


def _make_device(*args: Any) -> Any:
    return ctorch.device(*args)


def _ints(values: Any) -> tuple[int, ...]:
    if type(values) is not tuple or any(type(v) is not int or v < 0 for v in values):
        raise ValueError("a shape or strides are not a tuple of numbers from 0 on")
    return values


def _rebuild_tensor(
    storage: Any,
    offset: Any,
    sizes: Any,
    strides: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    _: Any = None,
) -> Any:
    sizes, strides = _ints(sizes), _ints(strides)
    if not isinstance(storage, Tensor) or type(offset) is not int or offset < 0 or len(sizes) != len(strides):
        raise ValueError("a tensor's parts do not fit together")
    if 0 not in sizes:
        last = offset + sum((size - 1) * step for size, step in zip(sizes, strides))
        if last >= storage.numel():
            raise ValueError(f"a tensor reaches element {last} of a storage of {storage.numel()}")
    elif offset > storage.numel():
        raise ValueError(f"a tensor starts at element {offset} of a storage of {storage.numel()}")
    # Detached, so that it is a tensor of its own and not a view of the storage's to autograd.
    return storage.as_strided(sizes, strides, offset).detach().requires_grad_(bool(requires_grad))


def _rebuild_untyped(
    storage: Any,
    offset: Any,
    sizes: Any,
    strides: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> Any:
    if not isinstance(storage, Tensor) or not isinstance(dtype, ctorch.dtype):
        raise ValueError("a tensor's parts do not fit together")
    return _rebuild_tensor(storage.view(dtype), offset, sizes, strides, requires_grad)


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any, state: Any = None) -> Any:
    from .nn.parameter import Parameter

    return _with_attributes(Parameter(data, bool(requires_grad)), state)


def _rebuild_from_type(make: Any, cls: Any, args: Any, state: Any) -> Any:
    """A tensor with attributes, or of a subclass."""
    if not isinstance(make, Constructor) or not (isinstance(cls, type) and issubclass(cls, Tensor)):
        raise ValueError("a tensor's parts do not fit together")
    result = make.function(*args)
    if isinstance(state, dict) and state.get("_is_buffer") is True:  # how PyTorch marks a Buffer
        cls = ctorch.nn.Buffer
        state = {name: value for name, value in state.items() if name != "_is_buffer"}
    if type(result) is not cls:
        result = Tensor._make_subclass(cls, result, result.requires_grad)
    return _with_attributes(result, state)


def _with_attributes(t: Tensor, state: Any) -> Tensor:
    """Give a tensor its attributes: a dict; or a pair of it and those that have slots."""
    plain, slots = state if type(state) is tuple and len(state) == 2 else (state, None)
    if slots or not (plain is None or (type(plain) is dict and all(type(name) is str for name in plain))):
        raise ValueError("a tensor's attributes are not a dict of names and values")
    # Not setattr(): a file is not to run the setters of properties.
    t.__dict__.update(plain or {})
    return t


_REBUILD = {
    "_rebuild_tensor": Constructor(_rebuild_tensor),
    "_rebuild_tensor_v2": Constructor(_rebuild_tensor),
    "_rebuild_tensor_v3": Constructor(_rebuild_untyped),
    "_rebuild_parameter": Constructor(_rebuild_parameter),
    "_rebuild_parameter_with_state": Constructor(_rebuild_parameter),
}
