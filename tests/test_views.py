"""Views: geometry, sharing, gradients. The oracle is PyTorch, or NumPy for negative strides."""

import numpy as np
import pytest

import ctorch as ct
from ctorch import autograd

VIEWS = {
    "view": lambda x: x.view(4, -1),
    "reshape": lambda x: x.reshape(2, 12),
    "transpose": lambda x: x.transpose(0, 2),
    "permute": lambda x: x.permute(2, 0, 1),
    "mT": lambda x: x.mT,
    "expand": lambda x: x[:, :1].expand(2, 5, 4),
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "unsqueeze": lambda x: x.unsqueeze(-2),
    "narrow": lambda x: x.narrow(1, 1, 2),
    "select": lambda x: x.select(2, -1),
    "slice": lambda x: x[:, ::2, 1:],
    "diagonal": lambda x: x.diagonal(1, 1, 2),
    "unfold": lambda x: x.unfold(2, 2, 1),
    "as_strided": lambda x: x.as_strided((3, 2), (5, 2), 3),
    "flatten": lambda x: x.flatten(1),
    "unflatten": lambda x: x.unflatten(2, (2, -1)),
    "movedim": lambda x: x.movedim(0, -1),
    "split": lambda x: x.split(2, 1)[1],
    "chunk": lambda x: x.chunk(3, 2)[1],
    "unbind": lambda x: x.unbind(1)[2],
    "tensor_split": lambda x: x.tensor_split(3, 2)[0],
    "ravel": lambda x: x.ravel(),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_share_memory_and_match_torch(name):
    torch = pytest.importorskip("torch")
    data = np.arange(24.0).reshape(2, 3, 4)
    x, t = ct.from_numpy(data.copy()), torch.from_numpy(data.copy())
    v, w = VIEWS[name](x), VIEWS[name](t)
    assert v.tolist() == w.tolist()
    assert (
        v.stride() == w.stride()
        and v.storage_offset() == w.storage_offset()
        and v.is_contiguous() == w.is_contiguous()
    )
    assert v.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    if name != "expand":
        v.fill_(-1)
        w.fill_(-1)
        assert x.tolist() == t.tolist()


@pytest.mark.parametrize("name", VIEWS)
def test_views_have_gradients(name):
    x = ct.rand(2, 3, 4, dtype=ct.float64).requires_grad_()
    assert autograd.gradcheck(VIEWS[name], (x,))
    assert autograd.gradgradcheck(VIEWS[name], (x,))


def test_negative_strides_are_views():
    a = np.arange(12.0).reshape(3, 4)
    x = ct.from_numpy(a)
    v = x[::-1, ::-2]
    assert v.stride() == (-4, -2) and v.tolist() == a[::-1, ::-2].tolist()
    v.mul_(2)
    assert a[2, 3] == 22.0
    w = ct.from_numpy(a[::-1])
    w[0, 0] = 100
    assert a[2, 0] == 100.0
    assert (v + 1).tolist() == (a[::-1, ::-2] + 1).tolist()
    assert np.shares_memory(v.numpy(), a)


def test_reshape_copies_only_if_it_must():
    x = ct.arange(6).view(2, 3)
    assert x.reshape(3, 2).data_ptr() == x.data_ptr()
    y = x.t().reshape(6)
    assert y.data_ptr() != x.data_ptr() and y.tolist() == [0, 3, 1, 4, 2, 5]


def test_view_as_another_dtype():
    x = ct.tensor([1.0, -2.0])
    assert x.view(ct.int32).tolist() == [1065353216, -1073741824]
    assert x.view(ct.uint8).shape == (8,)
    assert x.view(ct.uint8).view(ct.float32).tolist() == [1.0, -2.0]
    with pytest.raises(RuntimeError, match="must be divisible"):
        ct.zeros(3, dtype=ct.uint8).view(ct.float32)


def test_many_dimensions():
    x = ct.ones([1] * 50 + [3])
    assert x.dim() == 51 and x.sum().item() == 3.0 and (x + x).shape == x.shape


@pytest.mark.parametrize(
    "call, kind, text",
    [
        (lambda x: x.view(5, 5), RuntimeError, r"shape '\(5, 5\)' is invalid for input of size 24"),
        (lambda x: x.transpose(0, 1).view(24), RuntimeError, "view size is not compatible"),
        (lambda x: x.view(-1, -1), RuntimeError, "only one dimension can be inferred"),
        (
            lambda x: x.transpose(0, 3),
            IndexError,
            r"Dimension out of range \(expected to be in range of \[-3, 2\], but got 3\)",
        ),
        (lambda x: x.permute(0, 1), RuntimeError, "number of dimensions"),
        (lambda x: x.permute(0, 0, 1), RuntimeError, "multiple times"),
        (lambda x: x.expand(2, 3), RuntimeError, "must be greater or equal"),
        (
            lambda x: x.expand(2, 5, 4),
            RuntimeError,
            r"expanded size of the tensor \(5\) must match the existing size \(3\)",
        ),
        (lambda x: x.narrow(0, 1, 5), RuntimeError, "exceeds dimension size"),
        (lambda x: x.select(0, 7), IndexError, "index 7 out of range"),
        (lambda x: x.as_strided((100,), (1,)), RuntimeError, "out of bounds for storage"),
        (lambda x: x.as_strided((2,), (2**62,)), RuntimeError, "as_strided|out of bounds"),
        (lambda x: x.split([1, 1], 1), RuntimeError, "sum exactly to 3"),
        (lambda x: x.unflatten(2, (3, 2)), RuntimeError, "don't multiply up"),
        (lambda x: x.unfold(2, 9, 1), RuntimeError, "maximum size"),
        (lambda x: x.reshape(2**40, 2**40), RuntimeError, "overflow"),
    ],
)
def test_bad_arguments(call, kind, text):
    with pytest.raises(kind, match=text):
        call(ct.arange(24.0).view(2, 3, 4))


def test_conjugate_transposes() -> None:
    z = ct.tensor([[1 + 2j, 3], [4, 5 - 1j]])
    assert z.H.tolist() == z.mH.tolist() == z.adjoint().tolist() == [[1 - 2j, 4], [3, 5 + 1j]]
    assert ct.zeros(2, 3).H.shape == (3, 2)
    with pytest.raises(RuntimeError, match="2-D"):
        _ = ct.zeros(2, 3, 4).H
    with pytest.raises(RuntimeError, match="adjoint"):
        _ = ct.zeros(2).mH


def test_fill_diagonal_and_differences() -> None:
    assert ct.zeros(3, 2).fill_diagonal_(1).tolist() == [[1, 0], [0, 1], [0, 0]]
    tall = ct.zeros(7, 3).fill_diagonal_(1, wrap=True)
    assert tall[4:].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]] and tall.sum() == 6
    assert ct.zeros(2, 2, 2).fill_diagonal_(1).sum() == 2
    with pytest.raises(RuntimeError, match="fill_diagonal_"):
        ct.zeros(2, 3, 2).fill_diagonal_(1)
    x = ct.tensor([1, 4, 9, 16])
    assert x.diff().tolist() == [3, 5, 7] and x.diff(n=2).tolist() == [2, 2]
    assert x.diff(prepend=ct.tensor([0])).tolist() == [1, 3, 5, 7]
    assert ct.tensor([True, True, False]).diff().tolist() == [False, True]


def test_triangles_of_any_size() -> None:
    assert ct.tril_indices(2**62, 0, 2**63 - 1).shape == (2, 0)
    assert ct.triu_indices(5, 2**40, 2**40 - 2).tolist() == [[0, 0, 1], [2**40 - 2, 2**40 - 1, 2**40 - 1]]
    for rows, cols, offset in ((3, 4, 0), (4, 3, -1), (3, 3, 5), (3, 3, -5), (2, 5, 2)):
        ones = ct.ones(rows, cols)
        assert ct.tril_indices(rows, cols, offset).tolist() == ones.tril(offset).nonzero().t().tolist()
        assert ct.triu_indices(rows, cols, offset).tolist() == ones.triu(offset).nonzero().t().tolist()
    with pytest.raises(RuntimeError, match="more indices than memory"):
        ct.tril_indices(2**62, 3)
