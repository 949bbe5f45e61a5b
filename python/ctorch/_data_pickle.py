"""Pickles: a writer, and a reader of those that hold data only, which runs no code.

The writer emits protocol 2 opcodes as PyTorch's own files have them. It is not the standard library's because
that one cannot be told to write PyTorch's names for things of ours. The reader is a small interpreter of its
own, as the standard library's may call whatever a file names: here a name means something only if the
caller's table has it.
"""

from __future__ import annotations

import copyreg
import struct
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from types import BuiltinFunctionType, FunctionType
from typing import Any

_MAX_KEY_DEPTH = 20  # of tuples in a dictionary's key: hashing is recursive, in C, without a check of its own


class Global:
    """A name ``module.name`` in a pickle."""

    __slots__ = ("module", "name")

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name


class Call:
    """A value to be written as the call of a global."""

    __slots__ = ("args", "function")

    def __init__(self, function: Global, *args: Any) -> None:
        self.function = function
        self.args = args


class PersistentId:
    """An argument to be written as a persistent id."""

    __slots__ = ("id",)

    def __init__(self, id: tuple[Any, ...]) -> None:
        self.id = id


class Constructor:
    """What a global means to the reader: a function from arguments to a value."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function


_ORDERED_DICT = Global("collections", "OrderedDict")
_COUNTER = Global("collections", "Counter")
_ENCODE = Global("_codecs", "encode")
_SET = Global("builtins", "set")
_COMPLEX = Global("builtins", "complex")
_BYTEARRAY = Global("builtins", "bytearray")
_GETATTR = Global("builtins", "getattr")


def dumps(value: Any, convert: Callable[[Any], Any], protocol: int = 2) -> bytes:
    """Write ``value``.

    Args:
        convert: called with what is no plain data; returns a Global or a Call for it, or None. A PersistentId
            may stand among the call's arguments.
        protocol: the number that the pickle bears, from 2 on; the opcodes are those of 2, which all have.
    Raises: pickle.PicklingError for what cannot be written.
    """
    writer = _Writer(convert, protocol)
    try:
        writer.write(value)
    except RecursionError:
        raise _pickling_error("the object is nested too deeply, or contains itself through a tuple") from None
    return b"\x80" + bytes([protocol]) + b"".join(writer.parts) + b"."


def _pickling_error(text: str) -> Exception:
    import pickle

    return pickle.PicklingError(f"save: {text}")


class _Writer:
    def __init__(self, convert: Callable[[Any], Any], protocol: int) -> None:
        self.protocol = protocol
        self.parts: list[bytes] = []
        self.convert = convert
        self.memo: dict[Any, int] = {}  # by id, and by text for strings and names
        self.kept: list[Any] = []  # keeps the ids taken

    def remember(self, key: Any, value: Any = None) -> None:
        number = self.memo[key] = len(self.memo)
        self.kept.append(value)
        self.parts.append(b"q" + bytes([number]) if number < 256 else b"r" + struct.pack("<I", number))

    def recall(self, key: Any) -> bool:
        number = self.memo.get(key)
        if number is None:
            return False
        self.parts.append(b"h" + bytes([number]) if number < 256 else b"j" + struct.pack("<I", number))
        return True

    def write(self, value: Any) -> None:
        kind = type(value)
        if value is None:
            self.parts.append(b"N")
        elif kind is bool:
            self.parts.append(b"\x88" if value else b"\x89")
        elif kind is int:
            self.write_int(value)
        elif kind is float:
            self.parts.append(b"G" + struct.pack(">d", value))
        elif kind is str:
            self.write_text(value)
        elif kind is Global:
            self.write_global(value)
        elif not self.recall(id(value)):
            self.write_object(kind, value)

    def write_object(self, kind: type, value: Any) -> None:
        if kind is tuple:
            self.write_tuple(value)
            self.remember(id(value), value)
        elif kind is list:
            self.parts.append(b"]")
            self.remember(id(value), value)
            self.write_items(value)
        elif kind is dict:
            self.parts.append(b"}")
            self.remember(id(value), value)
            self.write_pairs(value.items())
        elif kind is OrderedDict:
            self.write_call(Call(_ORDERED_DICT), value)
            self.write_pairs(value.items())
            if value.__dict__:
                self.write(value.__dict__)
                self.parts.append(b"b")
        elif kind is Counter:
            self.write_call(Call(_COUNTER, dict(value)), value)
        elif kind is set:
            self.write_call(Call(_SET, list(value)), value)
        elif kind is complex:
            self.write_call(Call(_COMPLEX, value.real, value.imag), value)
        elif kind is bytes:
            self.write_call(Call(_ENCODE, value.decode("latin1"), "latin1"), value)
        elif kind is bytearray:
            self.write_call(Call(_BYTEARRAY, bytes(value)), value)
        elif kind is PersistentId:
            self.write(value.id)
            self.parts.append(b"Q")
        else:
            self.write_converted(kind, value)

    def write_converted(self, kind: type, value: Any) -> None:
        new = self.convert(value)
        if isinstance(new, Global):
            self.write_global(new)
        elif isinstance(new, Call):
            self.write_call(new, value)
        elif isinstance(value, (type, FunctionType, BuiltinFunctionType)):
            self.write_named(value, value.__qualname__)
        else:
            self.write_reduced(kind, value)

    def write_named(self, value: Any, name: str) -> None:
        """A class, a function or another thing that its module has under a name."""
        module = getattr(value, "__module__", None) or "builtins"
        owner: Any = sys.modules.get(module)
        path = name.split(".")
        try:
            for part in path[:-1]:
                owner = getattr(owner, part)
            found = getattr(owner, path[-1])
        except AttributeError:
            found = None
        if found is not value:
            raise _pickling_error(f"{value!r} cannot be written: it is not what {module}.{name} is")
        if len(path) == 1:
            self.write_global(Global(module, name))
        else:  # protocol 2 has names without dots only
            self.write_call(Call(_GETATTR, owner, path[-1]), value)

    def write_reduced(self, kind: type, value: Any) -> None:
        """Any other object, by what its class says that it is made of."""
        reduce = copyreg.dispatch_table.get(kind)
        try:
            reduced = reduce(value) if reduce else value.__reduce_ex__(2)
        except TypeError as error:
            raise _pickling_error(f"{kind.__module__}.{kind.__qualname__}: {error}") from error
        if isinstance(reduced, str):
            self.write_named(value, reduced)
            return
        function, args, state, items, pairs, setter = (*reduced, None, None, None, None)[:6]
        if setter is not None:
            raise _pickling_error(f"{kind.__module__}.{kind.__qualname__} has a state setter of its own")
        if getattr(function, "__name__", "") == "__newobj__":
            function, *args = args
            self.write(function)
            self.write_tuple(tuple(args))
            self.parts.append(b"\x81")
        else:
            self.write(function)
            self.write_tuple(args)
            self.parts.append(b"R")
        self.remember(id(value), value)
        self.write_items(list(items or ()))
        self.write_pairs(pairs or ())
        if state is not None:
            self.write(state)
            self.parts.append(b"b")

    def write_int(self, value: int) -> None:
        if 0 <= value < 256:
            self.parts.append(b"K" + bytes([value]))
        elif 0 <= value < 65536:
            self.parts.append(b"M" + struct.pack("<H", value))
        elif -(2**31) <= value < 2**31:
            self.parts.append(b"J" + struct.pack("<i", value))
        else:
            length = (value.bit_length() >> 3) + 1
            if length > 255:
                raise _pickling_error(f"an int of {value.bit_length()} bits is too long")
            self.parts.append(b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True))

    def write_text(self, value: str) -> None:
        if self.recall(value):
            return
        encoded = value.encode("utf-8", "surrogatepass")
        if len(encoded) >= 2**32:
            raise _pickling_error("a text of 4 GiB or more is too long")
        self.parts.append(b"X" + struct.pack("<I", len(encoded)) + encoded)
        self.remember(value)

    def write_global(self, value: Global) -> None:
        module = value.module
        if module == "builtins" and self.protocol < 3:
            module = "__builtin__"  # protocol 2 is that of Python 2, and readers expect its name
        key = (module, value.name)
        if not self.recall(key):
            self.parts.append(f"c{module}\n{value.name}\n".encode())
            self.remember(key)

    def write_call(self, call: Call, value: Any) -> None:
        self.write_global(call.function)
        self.write_tuple(call.args)
        self.parts.append(b"R")
        self.remember(id(value), value)

    def write_tuple(self, value: tuple[Any, ...]) -> None:
        short = {0: b")", 1: b"\x85", 2: b"\x86", 3: b"\x87"}.get(len(value))
        if short is None:
            self.parts.append(b"(")
        for item in value:
            self.write(item)
        self.parts.append(short or b"t")

    def write_items(self, items: list[Any]) -> None:
        if items:
            self.parts.append(b"(")
            for item in items:
                self.write(item)
            self.parts.append(b"e")

    def write_pairs(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        pairs = list(pairs)
        if pairs:
            self.parts.append(b"(")
            for key, item in pairs:
                self.write(key)
                self.write(item)
            self.parts.append(b"u")


def loads(
    data: bytes,
    find_global: Callable[[str, str], Any],
    find_persistent: Callable[[Any], Any],
) -> Any:
    """Read a value.

    Args:
        find_global: called with a module and a name; returns a Constructor or a plain value, or raises.
        find_persistent: called with a persistent id; returns its value.
    Raises: pickle.UnpicklingError for names that are not data, RuntimeError for a damaged pickle.
    """
    import pickle

    reader = _Reader(data, find_global, find_persistent)
    try:
        return reader.run()
    except pickle.UnpicklingError:
        raise
    except (
        IndexError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
        EOFError,
        struct.error,
    ) as error:
        what = f"{type(error).__name__}: {error}"
        raise RuntimeError(f"load: the pickled part is damaged at byte {reader.at} ({what})") from error


def _standard_global(module: str, name: str) -> Any:
    """The globals that mean plain data, or None."""
    return {
        ("collections", "OrderedDict"): _MAKE_ORDERED_DICT,
        ("collections", "Counter"): Constructor(_make_counter),
        ("_codecs", "encode"): Constructor(_encode),
        ("__builtin__", "set"): Constructor(_make_set),
        ("builtins", "set"): Constructor(_make_set),
        ("__builtin__", "complex"): Constructor(complex),
        ("builtins", "complex"): Constructor(complex),
        ("__builtin__", "bytearray"): Constructor(_make_bytearray),
        ("builtins", "bytearray"): Constructor(_make_bytearray),
    }.get((module, name))


def _make_ordered_dict(pairs: Any = ()) -> Any:
    return OrderedDict((_key(k), v) for k, v in pairs)


def _make_counter(counts: Any = None) -> Any:
    if counts is not None and type(counts) is not dict:
        raise ValueError("a Counter is made of a dict")
    return Counter(counts)


def _make_set(items: Any = ()) -> Any:
    return {_key(item) for item in items}


def _make_bytearray(content: Any = b"", *encoding: str) -> bytearray:
    if not isinstance(content, (bytes, str)):  # a number would be a length
        raise ValueError(f"a bytearray is made of bytes, not of {type(content).__name__}")
    return bytearray(_encode(content, *encoding) if isinstance(content, str) else content)


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes are encoded in latin1, not in {encoding!r}")
    return text.encode("latin1")


_MAKE_ORDERED_DICT = Constructor(_make_ordered_dict)


def _key(value: Any, depth: int = 0) -> Any:
    """``value``, checked to be a key that can be hashed without harm."""
    if isinstance(value, tuple):
        if depth > _MAX_KEY_DEPTH:
            raise ValueError("a key is nested too deeply")
        for item in value:
            _key(item, depth + 1)
    elif value is not None and not isinstance(value, (str, int, float, bool, bytes, complex)):
        hash(value)
    return value


class _Reader:
    """The stack machine. ``at`` is where it reads; a mark saves the stack below it."""

    def __init__(self, data: bytes, find_global: Any, find_persistent: Any) -> None:
        self.data = data
        self.at = 0
        self.find_global = find_global
        self.find_persistent = find_persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            opcode = self.take(1)
            if opcode == b".":
                if len(self.stack) != 1 or self.below:
                    raise ValueError("the stack does not end with one value")
                return self.stack[0]
            action = _ACTIONS.get(opcode)
            if action is None:
                import pickle

                raise pickle.UnpicklingError(
                    f"load: opcode {opcode!r} at byte {self.at - 1} is not one of plain data"
                )
            action(self)

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise EOFError(f"{count} bytes are wanted, {len(self.data) - self.at} are left")
        self.at, start = end, self.at
        return self.data[start:end]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        end = self.data.index(b"\n", self.at)
        text = self.data[self.at : end].decode("utf-8")
        self.at = end + 1
        return text

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    # Actions of several steps

    def proto(self) -> None:
        version = self.number("<B")
        if not 2 <= version <= 5:
            raise ValueError(f"pickle protocol {version} is not supported")

    def global_(self, module: str, name: str) -> None:
        value = _standard_global(module, name)
        self.push(self.find_global(module, name) if value is None else value)

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise ValueError("a name is not text")
        self.global_(module, name)

    def reduce(self) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        if type(args) is not tuple or not isinstance(function, Constructor):
            raise ValueError(f"{type(function).__name__} is called, which is no constructor")
        self.push(function.function(*args))

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is not OrderedDict or type(state) is not dict:
            raise ValueError(f"{type(target).__name__} is given attributes, which only an OrderedDict takes")
        for name, value in state.items():
            if type(name) is not str or hasattr(OrderedDict, name):
                raise ValueError(f"an OrderedDict is given the attribute {name!r}")
            setattr(target, name, value)

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise ValueError(f"items are appended to {type(target).__name__}")
        target.extend(items)

    def add(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not set:
            raise ValueError(f"items are added to {type(target).__name__}")
        target.update(_key(item) for item in items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, OrderedDict) or len(items) % 2:
            raise ValueError(f"items are set in {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2]):
            target[_key(key)] = value

    def tuple_(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError("the stack is too short")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.push(items)

    def memoize(self, number: int) -> None:
        self.memo[number] = self.stack[-1]

    def long(self, length: int) -> None:
        self.push(int.from_bytes(self.take(length), "little", signed=True))

    def text(self, length: int) -> None:
        self.push(self.take(length).decode("utf-8", "surrogatepass"))


_ACTIONS: dict[bytes, Callable[[_Reader], Any]] = {
    b"\x80": lambda r: r.proto(),
    b"\x95": lambda r: r.take(8),  # FRAME: a hint for readers of streams
    b"N": lambda r: r.push(None),
    b"\x88": lambda r: r.push(True),
    b"\x89": lambda r: r.push(False),
    b"K": lambda r: r.push(r.number("<B")),
    b"M": lambda r: r.push(r.number("<H")),
    b"J": lambda r: r.push(r.number("<i")),
    b"\x8a": lambda r: r.long(r.number("<B")),
    b"\x8b": lambda r: r.long(r.number("<I")),
    b"G": lambda r: r.push(r.number(">d")),
    b"X": lambda r: r.text(r.number("<I")),
    b"\x8c": lambda r: r.text(r.number("<B")),
    b"\x8d": lambda r: r.text(r.number("<Q")),
    b"C": lambda r: r.push(r.take(r.number("<B"))),
    b"B": lambda r: r.push(r.take(r.number("<I"))),
    b"\x8e": lambda r: r.push(r.take(r.number("<Q"))),
    b"(": lambda r: r.mark(),
    b"0": lambda r: r.stack.pop(),
    b"1": lambda r: r.pop_mark(),
    b")": lambda r: r.push(()),
    b"\x85": lambda r: r.tuple_(1),
    b"\x86": lambda r: r.tuple_(2),
    b"\x87": lambda r: r.tuple_(3),
    b"t": lambda r: r.push(tuple(r.pop_mark())),
    b"]": lambda r: r.push([]),
    b"}": lambda r: r.push({}),
    b"\x8f": lambda r: r.push(set()),
    b"a": lambda r: r.append([r.stack.pop()]),
    b"e": lambda r: r.append(r.pop_mark()),
    b"s": lambda r: r.set_items([r.stack.pop(), r.stack.pop()][::-1]),
    b"u": lambda r: r.set_items(r.pop_mark()),
    b"\x90": lambda r: r.add(r.pop_mark()),
    b"q": lambda r: r.memoize(r.number("<B")),
    b"r": lambda r: r.memoize(r.number("<I")),
    b"\x94": lambda r: r.memoize(len(r.memo)),
    b"h": lambda r: r.push(r.memo[r.number("<B")]),
    b"j": lambda r: r.push(r.memo[r.number("<I")]),
    b"c": lambda r: r.global_(r.line(), r.line()),
    b"\x93": lambda r: r.stack_global(),
    b"R": lambda r: r.reduce(),
    b"\x81": lambda r: r.reduce(),  # NEWOBJ: the same for what can be constructed here
    b"b": lambda r: r.build(),
    b"Q": lambda r: r.push(r.find_persistent(r.stack.pop())),
}
