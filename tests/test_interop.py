"""Memory shared with NumPy and other libraries, pickles and copies."""

import copy
import operator
import pickle

import numpy as np
import pytest

import ctorch as ct

DTYPES = [
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "uint16",
    "uint32",
    "uint64",
]


@pytest.mark.parametrize("name", DTYPES)
def test_numpy_both_ways_without_a_copy(name):
    a = np.array([[0, 1, 2], [3, 4, 5]]).astype(name)
    t = ct.from_numpy(a)
    assert t.dtype is getattr(ct, name) and t.tolist() == a.tolist()
    assert np.shares_memory(t.numpy(), a) and t.numpy().dtype == a.dtype
    t[0, 0] = 1
    assert a[0, 0] == 1


def test_odd_layouts_of_arrays():
    a = np.arange(24).reshape(2, 3, 4)
    for view in (a.T, a[:, ::-1], a[1, ::2, 1:3], a[..., :0], a.reshape(24)[5]):
        view = np.asarray(view)
        assert ct.from_numpy(view).tolist() == view.tolist()
    with pytest.raises(TypeError, match="byte order"):
        ct.from_numpy(np.arange(3, dtype=">i4"))
    record = np.zeros(3, dtype=[("a", "i1"), ("b", "f4")])
    with pytest.raises(ValueError, match="not a multiple of the item size"):
        ct.from_numpy(record["b"])
    with pytest.raises(TypeError, match=r"expected np\.ndarray"):
        ct.from_numpy([1, 2])
    with pytest.raises(TypeError):
        ct.from_numpy(np.array(["a"]))
    with pytest.raises(TypeError):
        ct.from_numpy(np.array([object()]))


def test_numpy_of_a_tensor_with_history():
    x = ct.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="requires grad"):
        x.numpy()
    assert x.detach().numpy().tolist() == [1.0, 1.0]
    assert np.asarray(x.detach()).dtype == np.float32
    with pytest.raises(TypeError, match="BFloat16"):
        ct.ones(2, dtype=ct.bfloat16).numpy()


def test_an_array_outlives_its_tensor_and_back():
    a = ct.arange(5).numpy()
    assert a.tolist() == [0, 1, 2, 3, 4]
    t = ct.from_numpy(np.arange(5))
    assert t.tolist() == [0, 1, 2, 3, 4]


def test_dlpack_with_numpy():
    x = ct.arange(6.0).view(2, 3)
    a = np.from_dlpack(x)
    assert np.shares_memory(a, x.numpy())
    y = ct.from_dlpack(x.numpy()[:, ::-1])
    assert y.tolist() == [[2.0, 1.0, 0.0], [5.0, 4.0, 3.0]]
    x[0, 2] = 9
    assert y[0, 0].item() == 9.0
    capsule = x.__dlpack__()
    assert ct.from_dlpack(capsule).tolist() == x.tolist()
    with pytest.raises(TypeError, match="unused DLPack capsule"):
        ct.from_dlpack(capsule)
    with pytest.raises(BufferError, match="require gradient"):
        ct.ones(2, requires_grad=True).__dlpack__()


def test_dlpack_with_torch():
    torch = pytest.importorskip("torch")
    t = torch.arange(6.0).view(2, 3).t()
    x = ct.from_dlpack(t)
    assert x.tolist() == t.tolist() and x.stride() == t.stride()
    x[0, 0] = 5
    assert t[0, 0].item() == 5.0
    b = torch.from_dlpack(ct.ones(2, 2, dtype=ct.bfloat16))
    assert b.dtype is torch.bfloat16 and b.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_buffer_protocol():
    x = ct.arange(6, dtype=ct.int16).view(2, 3)
    m = memoryview(x)
    assert m.shape == (2, 3) and m.format == "h" and m.tolist() == x.tolist()
    assert bytes(m) == x.numpy().tobytes()
    with pytest.raises(BufferError, match="bfloat16"):
        memoryview(ct.ones(1, dtype=ct.bfloat16))


def test_frombuffer():
    data = bytearray(b"\x01\x00\x02\x00\x03\x00")
    t = ct.frombuffer(data, dtype=ct.int16)
    assert t.tolist() == [1, 2, 3]
    t[0] = 7
    assert data[0] == 7
    assert ct.frombuffer(data, dtype=ct.int16, count=1, offset=2).tolist() == [2]
    with pytest.raises(ValueError, match="multiple of element size"):
        ct.frombuffer(data, dtype=ct.int32)


@pytest.mark.parametrize("dtype", [ct.float32, ct.bfloat16, ct.bool, ct.complex64, ct.int8])
def test_pickle_and_copies(dtype):
    x = ct.tensor([[0, 1], [1, 0]]).to(dtype)
    for y in (pickle.loads(pickle.dumps(x)), copy.copy(x), copy.deepcopy(x)):
        assert y.dtype is dtype and y.tolist() == x.tolist()
    p = ct.nn.Parameter(ct.ones(2))
    p.tag = "kept"
    for q in (pickle.loads(pickle.dumps(p)), copy.deepcopy(p)):
        assert type(q) is ct.nn.Parameter and q.requires_grad and q is not p
    assert pickle.loads(pickle.dumps(p)).tag == "kept"
    assert pickle.loads(pickle.dumps([ct.float16, ct.strided, ct.channels_last, ct.device("cpu"), ct.Size([2, 3]), ct.relu])) == [
        ct.float16, ct.strided, ct.channels_last, ct.device("cpu"), ct.Size([2, 3]), ct.relu,
    ]  # fmt: skip


def test_deepcopy_shares_what_was_shared():
    p = ct.nn.Parameter(ct.ones(2))
    a, b = copy.deepcopy([p, p])
    assert a is b
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(p * 2)


OPERATORS = "add sub mul truediv floordiv mod pow matmul eq lt ge"


@pytest.mark.parametrize("reflected", [False, True])
@pytest.mark.parametrize("name", OPERATORS.split())
def test_an_array_in_an_operator_is_a_tensor(name, reflected):
    call = getattr(operator, name)
    t, a = ct.tensor([1.0, 2.0, 3.0]), np.array([3, 2, 1], np.float32)
    b = ct.from_numpy(a)
    got, want = (call(a, t), call(b, t)) if reflected else (call(t, a), call(t, b))
    assert isinstance(got, ct.Tensor) and ct.equal(got, want)


def test_an_array_in_place_and_in_the_graph():
    t = ct.ones(3)
    before = t
    t += np.arange(3)
    assert t is before and t.tolist() == [1, 2, 3]
    x = ct.ones(3, requires_grad=True)
    (np.arange(3.0) * x).sum().backward()
    assert x.grad.tolist() == [0, 1, 2]


def test_functions_of_numpy_give_tensors():
    t = ct.tensor([0.0, 1.0])
    for got, want in ((np.exp(t), t.exp()), (np.add(t, 1), t + 1), (np.isfinite(t), t.isfinite())):
        assert isinstance(got, ct.Tensor) and got.dtype is want.dtype and ct.allclose(got, want)


def test_numpy_does_not_go_behind_autograds_back():
    x = ct.ones(2, requires_grad=True)
    for call in (lambda: np.asarray(x), lambda: np.exp(x), lambda: memoryview(x)):
        with pytest.raises((RuntimeError, BufferError), match="grad"):
            call()


def test_deepcopy_copies_a_storage_once():
    x = ct.arange(6.0).reshape(2, 3)
    a, b, c = copy.deepcopy([x, x[1:], x.t()])
    a[1, 0] = 99
    assert b[0, 0] == 99 and c[0, 1] == 99 and x[1, 0] == 3
    for view in (x[::-1], x.expand(2, 2, 3), x[:, ::2], ct.zeros(0, 3), ct.tensor(5)):
        made = copy.deepcopy(view)
        assert ct.equal(made, view) and made.stride() == view.stride()


def test_pickle_keeps_the_order_of_memory():
    x = ct.arange(24.0).reshape(2, 3, 4)
    for view in (x.permute(2, 0, 1), x.t() if x.dim() == 2 else x[0].t(), x[::-1], x[:, ::2]):
        made = pickle.loads(pickle.dumps(view))
        assert ct.equal(made, view)
    assert pickle.loads(pickle.dumps(x.permute(2, 0, 1))).stride() == (1, 12, 4)
    assert pickle.loads(pickle.dumps(ct.ones(2, requires_grad=True) * 2)).requires_grad


def test_copy_is_another_object_over_the_same_memory():
    x = ct.zeros(2)
    y = copy.copy(x)
    y[0] = 1
    assert y is not x and x.tolist() == [1, 0]
