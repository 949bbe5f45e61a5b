"""Files that PyTorch reads and writes too; damaged and hostile ones are refused."""

from __future__ import annotations

import contextlib
import datetime
import io
import itertools
import os
import pathlib
import pickle
import random
import stat
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from enum import Enum

import numpy as np
import pytest

import ctorch
from ctorch import nn

DTYPES = [
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "complex128",
    "complex64",
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint16",
    "uint32",
    "uint64",
]


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="the oracle of this test")


def storage_of(t):
    return ctorch._C._storage_key(t)


def sample(lib):
    """An object with one of everything that a file may hold."""
    x = lib.arange(12.0).reshape(3, 4)
    ordered = OrderedDict(a=x, b=2)
    ordered._metadata = OrderedDict(version=1)
    return {
        "x": x,
        "transposed": x.t(),
        "part": x[1:, ::2],
        "expanded": x[:1].expand(3, 4),
        "scalar": lib.tensor(3),
        "empty": lib.empty(0, 4),
        "parameter": lib.nn.Parameter(x[0]),
        "frozen": lib.nn.Parameter(x[1], requires_grad=False),
        "grad": lib.ones(2, requires_grad=True),
        "ordered": ordered,
        "list": [1, -1, 255, 256, 65536, -(2**31), 2**40, -(2**70), 1.5, float("inf"), None, True, False],
        "tuple": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "text": "ein Täxt \U0001f642",
        "bytes": bytes(range(256)),
        "set": {1, "a"},
        "complex": 1 - 2j,
        "counter": Counter("abca"),
        "size": x.shape,
        "dtype": lib.float16,
        "device": x.device,
        3: "an int as key",
        (1, "a"): "a tuple as key",
    }


def same(a, b):
    """Whether two loaded objects, of either library, hold the same."""
    if hasattr(a, "dtype") and hasattr(a, "shape"):
        return (
            str(a.dtype).split(".")[-1] == str(b.dtype).split(".")[-1]
            and tuple(a.shape) == tuple(b.shape)
            and tuple(a.stride()) == tuple(b.stride())
            and a.requires_grad == b.requires_grad
            and type(a).__name__ == type(b).__name__
            and a.tolist() == b.tolist()
        )
    if isinstance(a, dict):
        extra = same(a.__dict__, b.__dict__) if type(a) is OrderedDict else True
        return extra and type(a) is type(b) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if type(a) in (list, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if type(a).__name__ in ("dtype", "device", "Size"):
        return str(a).split(".")[-1] == str(b).split(".")[-1]
    return type(a) is type(b) and a == b


def test_round_trip(tmp_path):
    ctorch.save(sample(ctorch), tmp_path / "x.pt")
    assert same(ctorch.load(tmp_path / "x.pt"), sample(ctorch))


def test_pytorch_reads_ours(torch, tmp_path):
    ctorch.save(sample(ctorch), tmp_path / "x.pt")
    assert same(torch.load(tmp_path / "x.pt", weights_only=True), sample(torch))
    mapped = torch.load(tmp_path / "x.pt", weights_only=True, mmap=True)
    assert same(mapped["x"], sample(torch)["x"])


def test_ours_reads_pytorchs(torch, tmp_path):
    torch.save(sample(torch), tmp_path / "x.pt")
    assert same(ctorch.load(tmp_path / "x.pt"), sample(ctorch))


@pytest.mark.parametrize("name", DTYPES)
def test_dtypes_go_both_ways(torch, tmp_path, name):
    values = [0, 1, 1] if name in ("bool",) else [0, 1, 100]
    x = ctorch.tensor(values).to(getattr(ctorch, name))
    ctorch.save(x, tmp_path / "a.pt")
    y = torch.load(tmp_path / "a.pt", weights_only=True)
    assert y.dtype == getattr(torch, name) and y.tolist() == x.tolist()
    torch.save(y, tmp_path / "b.pt")
    z = ctorch.load(tmp_path / "b.pt")
    assert z.dtype == x.dtype and z.tolist() == x.tolist()


def test_shared_memory_stays_shared(tmp_path):
    x = ctorch.zeros(2, 3)
    ctorch.save([x, x.t(), x[0], ctorch.zeros(2, 3)], tmp_path / "x.pt")
    a, b, c, other = ctorch.load(tmp_path / "x.pt")
    a[0, 1] = 5
    assert b[1, 0] == 5 and c[1] == 5 and other[0, 1] == 0
    assert storage_of(a) == storage_of(b) == storage_of(c) != storage_of(other)


def test_the_same_tensor_is_loaded_once(tmp_path):
    x = ctorch.zeros(2)
    ctorch.save([x, x], tmp_path / "x.pt")
    a, b = ctorch.load(tmp_path / "x.pt")
    assert a is b


def test_an_object_that_contains_itself(tmp_path):
    x: list = [1]
    x.append(x)
    ctorch.save(x, tmp_path / "x.pt")
    y = ctorch.load(tmp_path / "x.pt")
    assert y[1] is y


def make_model(lib):
    lib.manual_seed(0)
    return lib.nn.Sequential(
        lib.nn.Conv2d(1, 3, 3), lib.nn.BatchNorm2d(3), lib.nn.Flatten(), lib.nn.Linear(12, 2)
    )


def test_checkpoint_of_model_and_optimizer_goes_both_ways(torch, tmp_path):
    for writer, reader in ((ctorch, torch), (torch, ctorch)):
        model = make_model(writer)
        optimizer = writer.optim.Adam(model.parameters(), lr=0.5)
        model(writer.ones(2, 1, 4, 4)).sum().backward()
        optimizer.step()
        checkpoint = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
        writer.save(checkpoint, tmp_path / "c.pt")
        loaded = reader.load(tmp_path / "c.pt", weights_only=True)
        other = make_model(reader)
        other_optimizer = reader.optim.Adam(other.parameters())
        assert repr(other.load_state_dict(loaded["model"])) == "<All keys matched successfully>"
        other_optimizer.load_state_dict(loaded["optimizer"])
        assert loaded["epoch"] == 3
        for p, q in zip(model.state_dict().values(), other.state_dict().values()):
            assert p.tolist() == q.tolist()
        mine, theirs = optimizer.state_dict(), other_optimizer.state_dict()
        assert mine["param_groups"] == theirs["param_groups"]
        for key, state in mine["state"].items():
            for name, value in state.items():
                assert value.tolist() == theirs["state"][key][name].tolist()


def test_file_objects(torch):
    buffer = io.BytesIO()
    ctorch.save({"x": ctorch.ones(3)}, buffer)
    buffer.seek(0)
    assert ctorch.load(buffer)["x"].tolist() == [1, 1, 1]
    buffer.seek(0)
    assert torch.load(buffer, weights_only=True)["x"].tolist() == [1, 1, 1]


def test_what_is_written_depends_on_the_content_alone():
    files = []
    for _ in range(2):
        files.append(io.BytesIO())
        ctorch.save({"x": ctorch.arange(100)}, files[-1])
    assert files[0].getvalue() == files[1].getvalue()


def test_records_are_aligned_for_mapping(tmp_path):
    ctorch.save([ctorch.ones(3), ctorch.ones(5)], tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as z:
        assert z.testzip() is None
        content = (tmp_path / "x.pt").read_bytes()
        for info in z.infolist():
            name, extra = np.frombuffer(content[info.header_offset + 26 : info.header_offset + 30], "<u2")
            assert (info.header_offset + 30 + int(name) + int(extra)) % 64 == 0


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.pt"
    ctorch.save(1, path)

    class Broken:
        pass

    with pytest.raises(pickle.PicklingError, match="Broken"):
        ctorch.save([ctorch.ones(3), Broken()], path)
    assert ctorch.load(path) == 1
    assert os.listdir(tmp_path) == ["x.pt"]


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    from ctorch import serialization

    path = tmp_path / "x.pt"
    ctorch.save(1, path)

    def fail(*args):
        raise OSError("no space left")

    monkeypatch.setattr(serialization, "_write_archive", fail)
    with pytest.raises(OSError, match="no space"):
        ctorch.save(2, path)
    assert ctorch.load(path) == 1
    assert os.listdir(tmp_path) == ["x.pt"]


def test_mode_and_links_of_an_existing_file_stay(tmp_path):
    path, link = tmp_path / "x.pt", tmp_path / "link.pt"
    ctorch.save(1, path)
    path.chmod(0o600)
    link.symlink_to(path)
    ctorch.save(2, link)
    assert link.is_symlink() and ctorch.load(path) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_map_location(torch, tmp_path):
    path = tmp_path / "x.pt"
    ctorch.save(ctorch.ones(2), path)
    for where in ("cpu", ctorch.device("cpu"), {"cuda:0": "cpu"}, lambda storage, location: storage):
        assert ctorch.load(path, map_location=where).tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="cuda"):
        ctorch.load(path, map_location="cuda")


@pytest.mark.parametrize(
    "value",
    [lambda: 0, (i for i in ()), os, dict.fromkeys, 1 << 3000],
    ids=["function", "generator", "module", "method", "long int"],
)
def test_what_cannot_be_pickled_is_not_saved(value, tmp_path):
    with pytest.raises(pickle.PicklingError, match="save: "):
        ctorch.save(value, tmp_path / "x.pt")
    assert os.listdir(tmp_path) == []


def test_two_dtypes_of_one_storage_are_refused(tmp_path):
    x = ctorch.ones(4)
    with pytest.raises(RuntimeError, match="different types"):
        ctorch.save([x, x.view(ctorch.int32)], tmp_path / "x.pt")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        ctorch.load(tmp_path / "none.pt")
    with pytest.raises(FileNotFoundError):
        ctorch.save(1, tmp_path / "none" / "x.pt")
    with pytest.raises(IsADirectoryError):
        ctorch.save(1, tmp_path)


@pytest.mark.parametrize(
    "content", [b"hello", b"\x80\x02K\x01.", b"PK\x03\x04", b"\x00" * 1000, b"PK" + b"x" * 600]
)
def test_a_file_of_another_kind(content, tmp_path):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(RuntimeError, match="load: "):
        ctorch.load(tmp_path / "x.pt")


def test_an_empty_file(tmp_path):
    (tmp_path / "x.pt").touch()
    with pytest.raises(EOFError, match="empty"):
        ctorch.load(tmp_path / "x.pt")


def test_old_formats_and_programs(torch, tmp_path):
    torch.save(torch.ones(2), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(RuntimeError, match=r"before 1\.6"):
        ctorch.load(tmp_path / "old.pt")
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as z:
        z.writestr("a/b.txt", "x")
    with pytest.raises(RuntimeError, match=r"no data\.pkl"):
        ctorch.load(tmp_path / "zip.pt")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as z:
        z.writestr("a/data.pkl", "x")
        z.writestr("a/constants.pkl", "x")
    with pytest.raises(RuntimeError, match="TorchScript"):
        ctorch.load(tmp_path / "script.pt")


def archive_of(pickled, records=(), compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as z:
        z.writestr("a/data.pkl", pickled)
        z.writestr("a/version", "3\n")
        for name, content in records:
            z.writestr(f"a/{name}", content)
    buffer.seek(0)
    return buffer


class Command:
    def __reduce__(self):
        return os.system, ("echo this must not run",)


class Evaluated:
    def __reduce__(self):
        return eval, ("1/0",)


@pytest.mark.parametrize("value", [Command(), [Evaluated()], os.system, pickle.Unpickler])
@pytest.mark.parametrize("protocol", [2, 4])
def test_code_is_not_run(value, protocol):
    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        ctorch.load(archive_of(pickle.dumps(value, protocol)))
    with pytest.raises(pickle.UnpicklingError, match="not allowed"):
        ctorch.load(archive_of(pickle.dumps(value, protocol)), weights_only=True)


HOSTILE = {
    "call of data": b"\x80\x02X\x01\x00\x00\x00a)R.",
    "memo": b"\x80\x02h\x05.",
    "cut off text": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "no stop": b"\x80\x02K\x01",
    "no value": b"\x80\x02.",
    "two values": b"\x80\x02K\x01K\x02.",
    "stray mark": b"\x80\x02(K\x01.",
    "no mark": b"\x80\x02K\x01t.",
    "append to number": b"\x80\x02K\x01K\x02a.",
    "odd items": b"\x80\x02}(K\x01u.",
    "unhashable key": b"\x80\x02}]K\x01s.",
    "attributes of a dict": b"\x80\x02}}b.",
    "protocol": b"\x80\x09K\x01.",
    "shadowed method": b"\x80\x02ccollections\nOrderedDict\n)R}X\x04\x00\x00\x00keysK\x01sb.",
    "codec": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
    "persistent id": b"\x80\x02K\x01Q.",
    "deep key": b"\x80\x02}" + b")" + b"\x85" * 100000 + b"K\x01s.",
    "size": b"\x80\x02ctorch\nSize\nJ\xff\xff\xff\xff\x85\x85R.",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_damaged_pickle(name):
    with pytest.raises((RuntimeError, pickle.UnpicklingError), match="load: "):
        ctorch.load(archive_of(HOSTILE[name]))


def tensor_pickle(length=4, offset=0, sizes=(4,), strides=(1,), key="0", storage="torch\nFloatStorage"):
    """The pickle of one tensor with the given parts."""
    from ctorch._data_pickle import Call, Global, PersistentId, dumps

    place = Global(*storage.split("\n"))
    id = PersistentId(("storage", place, key, "cpu", length))
    call = Call(
        Global("torch._utils", "_rebuild_tensor_v2"), id, offset, sizes, strides, False, OrderedDict()
    )
    return dumps(object(), lambda value: call)


@pytest.mark.parametrize(
    "parts",
    [
        {"length": 5},
        {"length": -1},
        {"length": 2**62},
        {"offset": 1},
        {"offset": -1},
        {"sizes": (5,)},
        {"sizes": (-1,)},
        {"sizes": (2, 2)},
        {"sizes": (2**40, 2**40), "strides": (0, 0)},
        {"sizes": (2**70,), "strides": (0,)},
        {"strides": (2,)},
        {"strides": (-1,), "offset": 3},
        {"sizes": (0,), "offset": 5},
        {"sizes": "ab", "strides": "ab"},
        {"key": "1"},
        {"key": "../0"},
        {"storage": "torch\nfloat32"},
    ],
    ids=str,
)
def test_a_tensor_outside_its_storage(parts):
    assert ctorch.load(archive_of(tensor_pickle(), [("data/0", bytes(16))])).tolist() == [0, 0, 0, 0]
    with pytest.raises(RuntimeError):
        ctorch.load(archive_of(tensor_pickle(**parts), [("data/0", bytes(16))]))


def test_a_compressed_record_is_refused():
    with pytest.raises(RuntimeError, match="compressed"):
        ctorch.load(archive_of(b"\x80\x02K\x01.", compression=zipfile.ZIP_DEFLATED))


def test_a_cut_off_file_never_loads():
    buffer = io.BytesIO()
    ctorch.save(sample(ctorch), buffer)
    content = buffer.getvalue()
    for length in [*range(1, len(content), 97), len(content) - 1]:
        with pytest.raises(RuntimeError, match="load: "):
            ctorch.load(io.BytesIO(content[:length]))


def test_a_file_with_changed_bytes_loads_or_is_refused():
    buffer = io.BytesIO()
    ctorch.save(sample(ctorch), buffer)
    rng = random.Random(0)
    for _ in range(400):
        content = bytearray(buffer.getvalue())
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        with contextlib.suppress(RuntimeError, pickle.UnpicklingError):
            ctorch.load(io.BytesIO(bytes(content)))


def test_a_pickle_with_changed_bytes_loads_or_is_refused():
    """As above, but with a right checksum, so that the damage reaches the pickle."""
    x = ctorch.arange(12.0).reshape(3, 4)
    buffer = io.BytesIO()
    ctorch.save({"x": x, "t": x.t(), "p": nn.Parameter(x), "n": [1, 2.5, "a"]}, buffer)
    with zipfile.ZipFile(buffer) as z:
        pickled, data = z.read("archive/data.pkl"), z.read("archive/data/0")
    rng = random.Random(0)
    for _ in range(3000):
        changed = bytearray(pickled)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        with contextlib.suppress(RuntimeError, pickle.UnpicklingError, MemoryError):
            ctorch.load(archive_of(bytes(changed), [("data/0", data)]))


def test_pickling_of_parameters():
    p = nn.Parameter(ctorch.ones(2))
    q = pickle.loads(pickle.dumps(p))
    assert type(q) is nn.Parameter and q.requires_grad and q.tolist() == [1, 1]


# Whole objects and attributes ---------------------------------------------------------------------------------


def with_attributes(lib):
    x = lib.ones(2)
    x.note = {"a": 3}
    parameter = lib.nn.Parameter(lib.zeros(2))
    parameter.note = [x]
    buffer = lib.nn.Buffer(lib.zeros(1), persistent=False)
    buffer.note = "text"
    return {"x": x, "parameter": parameter, "buffer": buffer}


@pytest.mark.parametrize("data_only", [True, False])
@pytest.mark.parametrize("writer, reader", list(itertools.product(["ctorch", "torch"], repeat=2)))
def test_attributes_of_tensors(torch, writer, reader, data_only, tmp_path):
    libs = {"ctorch": ctorch, "torch": torch}
    libs[writer].save(with_attributes(libs[writer]), tmp_path / "x.pt")
    loaded = libs[reader].load(tmp_path / "x.pt", weights_only=data_only)
    x, parameter, buffer = loaded.values()
    assert x.note == {"a": 3} and parameter.note[0] is x and buffer.note == "text"
    assert isinstance(parameter, libs[reader].nn.Parameter)
    assert isinstance(buffer, libs[reader].nn.Buffer) and buffer.persistent is False


def test_attributes_that_are_no_names_are_refused(tmp_path):
    x = ctorch.ones(2)
    x.__dict__[3] = 4
    ctorch.save(x, tmp_path / "x.pt")
    with pytest.raises(RuntimeError, match=r"load: .*attributes"):
        ctorch.load(tmp_path / "x.pt")


class Marked(ctorch.Tensor):
    pass


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU())
        self.weights = nn.ParameterList([nn.Parameter(ctorch.ones(1))])
        self.activation = nn.functional.relu
        self.cycle = [self]

    def forward(self, x):
        return self.activation(self.body(x))


Pair = namedtuple("Pair", "a b")


class Colour(Enum):
    RED = 1


class Outer:
    class Inner:
        pass


WHOLE = {
    "defaultdict": defaultdict(list, a=[1]),
    "deque": deque([1, 2], 5),
    "frozenset": frozenset([1, 2]),
    "numpy number": np.float32(2.5),
    "numpy dtype": np.dtype("<i2"),
    "range": range(3),
    "slice": slice(1, None),
    "namedtuple": Pair(1, [2]),
    "enum": Colour.RED,
    "class": Net,
    "class of ours": nn.Linear,
    "inner class": Outer.Inner,
    "function": os.path.join,
    "built-in function": len,
    "function of ours": nn.functional.relu,
    "date": datetime.date(2020, 2, 3),
    "path": pathlib.PurePosixPath("a/b"),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", WHOLE)
def test_whole_objects(name, protocol, tmp_path):
    ctorch.save([WHOLE[name], WHOLE[name]], tmp_path / "x.pt", pickle_protocol=protocol)
    a, b = ctorch.load(tmp_path / "x.pt", weights_only=False)
    assert a == WHOLE[name] and type(a) is type(WHOLE[name]) and (a is b or name in ("numpy number",))
    with pytest.raises(pickle.UnpicklingError, match="weights_only=False"):
        ctorch.load(tmp_path / "x.pt")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_data_has_every_protocol(torch, protocol, tmp_path):
    ctorch.save(sample(ctorch), tmp_path / "x.pt", pickle_protocol=protocol)
    assert same(ctorch.load(tmp_path / "x.pt"), sample(ctorch))
    assert same(ctorch.load(tmp_path / "x.pt", weights_only=False), sample(ctorch))
    assert same(torch.load(tmp_path / "x.pt", weights_only=False), sample(torch))
    pickled = zipfile.ZipFile(tmp_path / "x.pt").read("x/data.pkl")
    assert pickled[1] == protocol
    for wrong in (1, 6):
        with pytest.raises(ValueError, match=f"pickle_protocol .* got {wrong}"):
            ctorch.save(1, tmp_path / "x.pt", pickle_protocol=wrong)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3)[:, ::2],
        np.array(["a", "bc"]),
        np.array([None, [1]], object),
        np.zeros(0, "?"),
    ],
    ids=["strided", "text", "objects", "empty"],
)
def test_numpy_arrays(torch, array, tmp_path):
    ctorch.save({"a": array}, tmp_path / "x.pt")
    for lib in (ctorch, torch):
        loaded = lib.load(tmp_path / "x.pt", weights_only=False)["a"]
        assert loaded.dtype == array.dtype and loaded.tolist() == array.tolist()


def test_bytearrays_are_data(torch, tmp_path):
    values = [bytearray(b"ab\xff"), bytearray()]
    for writer, reader in itertools.product((ctorch, torch), repeat=2):
        writer.save(values, tmp_path / "x.pt")
        assert reader.load(tmp_path / "x.pt", weights_only=True) == values


def test_a_whole_module(tmp_path):
    net = Net().eval()
    ctorch.save(net, tmp_path / "x.pt")
    loaded = ctorch.load(tmp_path / "x.pt", weights_only=False)
    x = ctorch.randn(4, 2)
    assert ctorch.equal(loaded(x), net(x)) and loaded.cycle[0] is loaded and not loaded.training
    assert [n for n, _ in loaded.named_parameters()] == [n for n, _ in net.named_parameters()]
    with pytest.raises(pickle.UnpicklingError, match="weights_only=False"):
        ctorch.load(tmp_path / "x.pt")


def test_whole_modules_go_to_pytorch_and_back(torch, tmp_path):
    def make(lib):
        m = lib.nn
        return m.Sequential(m.Linear(2, 3), m.BatchNorm1d(3), m.ReLU(), m.Dropout(0.5), m.Linear(3, 1)).eval()

    x = np.random.default_rng(0).standard_normal((4, 2)).astype("float32")
    for writer, reader in ((ctorch, torch), (torch, ctorch)):
        net = make(writer)
        writer.save(net, tmp_path / "x.pt")
        loaded = reader.load(tmp_path / "x.pt", weights_only=False)
        assert type(loaded).__module__.startswith(reader.__name__ + ".nn.modules")
        ours, theirs = net(writer.tensor(x)), loaded(reader.tensor(x))
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-5)


def test_a_subclass_of_tensor(tmp_path):
    x = ctorch.ones(2).as_subclass(Marked)
    x.note = 1
    ctorch.save(x, tmp_path / "x.pt")
    y = ctorch.load(tmp_path / "x.pt", weights_only=False)
    assert type(y) is Marked and y.note == 1 and y.tolist() == [1, 1]
    with pytest.raises(pickle.UnpicklingError, match="Marked"):
        ctorch.load(tmp_path / "x.pt")
