"""Convolution and pooling against PyTorch: geometry, layouts, dtypes, gradients, errors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import ctorch

torch = pytest.importorskip("torch")
F, TF = ctorch.nn.functional, torch.nn.functional

TOLERANCE = {
    "float32": 1e-5,
    "float64": 1e-13,
    "float16": 2e-2,
    "bfloat16": 1e-1,
    "complex64": 1e-5,
    "complex128": 1e-13,
    "int64": 0,
}


def pair(shape, dtype="float32", seed=0):
    """The same values as a ctorch and a torch tensor."""
    rng = np.random.default_rng(seed)
    a = rng.integers(-8, 9, shape) / (1 if "int" in dtype else 8)
    if dtype.startswith("complex"):
        a = a + 1j * rng.integers(-8, 9, shape) / 8
    a = np.asarray(a).astype({"float16": "float32", "bfloat16": "float32"}.get(dtype, dtype))
    return ctorch.from_numpy(a.copy()).to(getattr(ctorch, dtype)), torch.from_numpy(a.copy()).to(
        getattr(torch, dtype)
    )


def same(ours, theirs, tolerance=None):
    kind = str(theirs.dtype).split(".")[-1]
    assert str(ours.dtype).split(".")[-1] == kind
    assert tuple(ours.shape) == tuple(theirs.shape)
    if kind in ("float16", "bfloat16"):
        ours, theirs = ours.float(), theirs.float()
    a, b = ours.detach().numpy(), theirs.detach().numpy()
    tolerance = TOLERANCE[kind] if tolerance is None else tolerance
    scale = max(1.0, float(np.abs(b[np.isfinite(b)]).max(initial=0)))
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale)


def compare(ours, theirs, shapes, dtype="float64", **options):
    """Results and gradients of both sides."""
    pairs = [pair(s, dtype, i) for i, s in enumerate(shapes)]
    x = [p[0].clone().requires_grad_() for p in pairs]
    y = [p[1].clone().requires_grad_() for p in pairs]
    a, b = ours(*x, **options), theirs(*y, **options)
    same(a, b)
    g, h = pair(tuple(b.shape), dtype, 99)
    a.backward(g)
    b.backward(h)
    for left, right in zip(x, y):
        same(left.grad, right.grad)


GEOMETRY = [
    {},
    {"stride": 2},
    {"padding": 1},
    {"padding": (2, 1), "stride": (1, 3)},
    {"dilation": 2},
    {"stride": 3, "padding": 2, "dilation": (1, 2)},
    {"padding": "same"},
    {"padding": "same", "dilation": (2, 1)},
    {"padding": "valid", "stride": 2},
]


@pytest.mark.parametrize("options", GEOMETRY, ids=str)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 3), (5, 4)])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_conv2d_and_its_gradients(options, kernel, groups):
    shapes = [(2, 4, 9, 11), (8, 4 // groups, *kernel), (8,)]
    compare(F.conv2d, TF.conv2d, shapes, groups=groups, **options)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_conv_of_every_number_of_dims(n):
    size, kernel = (5, 7, 6)[:n], (3, 2, 2)[:n]
    ours, theirs = getattr(F, f"conv{n}d"), getattr(TF, f"conv{n}d")
    compare(ours, theirs, [(2, 3, *size), (5, 3, *kernel), (5,)], stride=2, padding=1)
    compare(ours, theirs, [(3, *size), (5, 3, *kernel), (5,)], padding=1)  # without a batch
    ours, theirs = getattr(F, f"conv_transpose{n}d"), getattr(TF, f"conv_transpose{n}d")
    compare(ours, theirs, [(2, 3, *size), (3, 5, *kernel), (5,)])
    compare(
        ours,
        theirs,
        [(2, 4, *size), (4, 3, *kernel), (6,)],
        stride=3,
        padding=1,
        output_padding=2,
        groups=2,
        dilation=1,
    )


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "complex64"])
def test_conv2d_dtypes(dtype):
    compare(F.conv2d, TF.conv2d, [(2, 3, 6, 7), (4, 3, 3, 3), (4,)], dtype=dtype, padding=1)
    compare(F.conv2d, TF.conv2d, [(2, 3, 6, 7), (4, 3, 1, 1), (4,)], dtype=dtype)


def test_conv2d_of_integers():
    (x, y), (v, w) = pair((1, 2, 5, 5), "int64"), pair((3, 2, 3, 3), "int64", 1)
    same(F.conv2d(x, v), TF.conv2d(y, w))


def test_shapes_around_the_tiles():
    for batch, channels, out, size, kernel, padding in [
        (1, 1, 32, 28, 3, 0),
        (3, 33, 35, 5, 3, 1),
        (20, 3, 17, 8, 5, 2),
        (1, 64, 64, 14, 3, 1),
        (2, 3, 64, 31, 7, 3),
    ]:
        shapes = [(batch, channels, size, size), (out, channels, kernel, kernel), (out,)]
        compare(F.conv2d, TF.conv2d, shapes, dtype="float32", padding=padding)


def test_layouts_of_the_operands():
    (x, y), (v, w) = pair((2, 6, 7, 8)), pair((4, 6, 3, 3), seed=1)
    want = TF.conv2d(y, w)
    same(F.conv2d(x.transpose(2, 3).contiguous().transpose(2, 3), v), want)
    same(F.conv2d(x, v.transpose(0, 1).contiguous().transpose(0, 1)), want)
    same(F.conv2d(x[:, ::-1], v[:, ::-1]), want)
    same(F.conv2d(x[:1].expand(3, 6, 7, 8), v), TF.conv2d(y[:1].expand(3, 6, 7, 8), w))
    last = F.conv2d(x.contiguous(memory_format=ctorch.channels_last), v)
    same(last, want)
    assert last.is_contiguous(memory_format=ctorch.channels_last)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_second_derivatives(dtype):
    x, w, b = (
        pair(s, dtype, i)[0].requires_grad_() for i, s in enumerate([(2, 2, 5, 4), (4, 1, 3, 2), (4,)])
    )
    for function in (
        lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1, groups=2),
        lambda x, w, b: F.conv_transpose2d(x, w[:2], b[:2], stride=2, padding=1, groups=2),
        lambda x, w, b: F.conv2d(x, w, b, padding="same", groups=2),
    ):
        assert ctorch.autograd.gradcheck(function, (x, w, b))
        assert ctorch.autograd.gradgradcheck(function, (x, w, b))


def test_infinities_reach_only_the_windows_over_them():
    (x, y), (v, w) = pair((1, 2, 9, 9)), pair((3, 2, 3, 3), seed=1)
    x[0, 1, 0, 0] = float("inf")
    y[0, 1, 0, 0] = float("inf")
    np.testing.assert_array_equal(np.isfinite(F.conv2d(x, v).numpy()), np.isfinite(TF.conv2d(y, w).numpy()))
    x.requires_grad_()
    v.requires_grad_()
    F.conv2d(x, v).sum().backward()
    finite = np.isfinite(v.grad.numpy())
    assert not finite[:, 1, 0, 0].any()
    assert finite.sum() == finite.size - 3  # the other taps never meet the corner


def test_empty_batch():
    x = ctorch.empty(0, 3, 5, 5, requires_grad=True)
    w = ctorch.ones(4, 3, 3, 3, requires_grad=True)
    y = F.conv2d(x, w)
    assert y.shape == (0, 4, 3, 3)
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert not w.grad.any()


def test_the_same_bits_for_every_number_of_threads():
    before = ctorch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            ctorch.set_num_threads(threads)
            x = (pair((20, 3, 20, 20))[0] / 3).requires_grad_()
            w = (pair((16, 3, 3, 3), seed=1)[0] / 7).requires_grad_()
            y = F.conv2d(x, w, padding=1)
            (y * y).sum().backward()
            results.append((y.detach(), x.grad, w.grad))
    finally:
        ctorch.set_num_threads(before)
    for other in results[1:]:
        assert all(a.equal(b) for a, b in zip(results[0], other))


@pytest.mark.parametrize(
    "shapes, options, message",
    [
        (
            ((1, 4, 8, 8), (8, 3, 3, 3)),
            {"groups": 2},
            r"conv2d: groups=2 and weight \(8, 3, 3, 3\) need 6 input",
        ),
        (((1, 3, 2, 2), (4, 3, 3, 3)), {}, "Kernel size can't be greater than actual input size"),
        (((1, 3, 8, 8), (4, 3, 3, 3)), {"stride": 0}, "positive strides"),
        (((1, 3, 8, 8), (4, 3, 3, 3)), {"padding": -1}, "padding that is not negative"),
        (((1, 3, 8, 8), (4, 3, 3, 3)), {"padding": "same", "stride": 2}, "not supported for strided"),
        (((1, 3, 8, 8), (4, 3, 3, 3)), {"padding": "full"}, "Invalid padding string"),
        (((1, 3, 8, 8), (4, 3, 3, 3)), {"groups": 0}, "positive number of groups"),
        (((1, 3, 8, 8), (4, 3, 3, 3)), {"stride": (1, 2, 3)}, "expected stride to be"),
        (((3, 8), (4, 3, 3, 3)), {}, "expected 3D .* or 4D"),
        (((1, 3, 8, 8), (4, 3, 3)), {}, "expected weight of 4 dimensions"),
    ],
)
def test_conv2d_errors(shapes, options, message):
    x, w = (ctorch.ones(s) for s in shapes)
    with pytest.raises(RuntimeError, match=message):
        F.conv2d(x, w, **options)


def test_conv2d_dtypes_must_agree():
    with pytest.raises(RuntimeError, match="input and weight should have the same dtype"):
        F.conv2d(ctorch.ones(1, 1, 3, 3), ctorch.ones(1, 1, 3, 3).double())
    with pytest.raises(RuntimeError, match=r"expected bias of shape \(1\), got \(2,\)"):
        F.conv2d(ctorch.ones(1, 1, 3, 3), ctorch.ones(1, 1, 3, 3), ctorch.ones(2))


# ---- pooling ---------------------------------------------------------------------------------------------


POOLS = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": (2, 3), "stride": (2, 1)},
    {"kernel_size": 3, "stride": 2, "ceil_mode": True},
    {"kernel_size": 4, "stride": 3, "padding": 2, "ceil_mode": True},
]


@pytest.mark.parametrize("options", POOLS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_pools_and_their_gradients(options, dtype):
    compare(F.max_pool2d, TF.max_pool2d, [(2, 3, 9, 11)], dtype, **options)
    compare(F.avg_pool2d, TF.avg_pool2d, [(2, 3, 9, 11)], dtype, **options)


def test_max_pool_options():
    compare(F.max_pool2d, TF.max_pool2d, [(3, 9, 11)], kernel_size=3, dilation=2, padding=1)
    compare(F.max_pool1d, TF.max_pool1d, [(2, 3, 11)], kernel_size=3, stride=2)
    compare(F.max_pool3d, TF.max_pool3d, [(2, 3, 5, 6, 7)], kernel_size=2, padding=1)
    (x, y) = pair((2, 3, 9, 11))
    ours, theirs = (
        F.max_pool2d(x, 3, 2, 1, return_indices=True),
        TF.max_pool2d(y, 3, 2, 1, return_indices=True),
    )
    same(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1].numpy(), theirs[1].numpy())
    last = F.max_pool2d(x.contiguous(memory_format=ctorch.channels_last), 3, 2, 1)
    assert last.is_contiguous(memory_format=ctorch.channels_last)
    same(last, theirs[0])


@pytest.mark.parametrize("special", [float("nan"), float("-inf"), float("inf")])
def test_max_pool_of_special_values(special):
    x, y = pair((1, 2, 6, 6))
    for t in (x, y):
        t[0, 0] = special
        t[0, 1, 2:4, 2:5] = special
    ours, theirs = F.max_pool2d(x, 2, 1, return_indices=True), TF.max_pool2d(y, 2, 1, return_indices=True)
    np.testing.assert_array_equal(ours[0].numpy(), theirs[0].numpy())
    np.testing.assert_array_equal(ours[1].numpy(), theirs[1].numpy())


def test_avg_pool_divisors():
    for pad, divisor in itertools.product([True, False], [None, 3, -2]):
        options = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "count_include_pad": pad}
        compare(F.avg_pool2d, TF.avg_pool2d, [(2, 3, 8, 9)], divisor_override=divisor, **options)
        compare(F.avg_pool3d, TF.avg_pool3d, [(3, 4, 8, 9)], divisor_override=divisor, **options)
    compare(F.avg_pool1d, TF.avg_pool1d, [(2, 3, 9)], kernel_size=3, padding=1, count_include_pad=False)


@pytest.mark.parametrize("size", [1, (3, 5), (None, 2), (9, 12)])
def test_adaptive_avg_pool(size):
    compare(F.adaptive_avg_pool2d, TF.adaptive_avg_pool2d, [(2, 3, 7, 9)], output_size=size)


def test_pool_second_derivatives():
    x = pair((1, 2, 6, 6), "float64")[0]
    x = (x + ctorch.arange(72).reshape(1, 2, 6, 6) / 1000).requires_grad_()  # no two elements alike
    for function in (
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.avg_pool2d(x, 3, 2, 1),
        lambda x: F.adaptive_avg_pool2d(x, (4, 3)),
    ):
        assert ctorch.autograd.gradcheck(function, (x,))
        assert ctorch.autograd.gradgradcheck(function, (x,))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: F.max_pool2d(x, 0), "kernel size should be greater than zero"),
        (lambda x: F.max_pool2d(x, 2, padding=2), "pad should be at most half"),
        (lambda x: F.max_pool2d(x, 9), "output size is too small"),
        (lambda x: F.max_pool2d(x[0, 0], 2), "expected 3D or 4D input"),
        (lambda x: F.max_pool2d(x, (1, 2, 3)), "expected kernel_size"),
        (lambda x: F.avg_pool2d(x, 2, stride=-1), "stride should be greater than zero"),
        (lambda x: F.avg_pool2d(x, 2, divisor_override=0), "divisor must be not zero"),
        (lambda x: F.avg_pool2d(x.bool(), 2), "not implemented for dtype bool"),
        (lambda x: F.adaptive_avg_pool2d(x, (-1, 2)), "greater than or equal to 0"),
    ],
)
def test_pool_errors(call, message):
    with pytest.raises(RuntimeError, match=message):
        call(ctorch.ones(1, 2, 5, 5))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 6])
@pytest.mark.parametrize("shared", [(2, 6, 9, 9), (6, 9, 9), (9, 9), (9, 1), (1, 9), ()], ids=str)
def test_expanded_images_and_gradients(dtype, kernel, stride, groups, shared):
    """Tensors whose elements are one and the same in memory along some dims: the gradient of a sum is one."""
    shape = (2, 6, 9, 9)
    options = {"stride": stride, "padding": kernel // 2, "groups": groups}
    image = pair(shared or (1,), dtype, 1)
    x = [t.expand(shape) for t in image]
    w = [t.requires_grad_() for t in pair((6, 6 // groups, kernel, kernel), dtype, 2)]
    for ours, theirs in [(F.conv2d, TF.conv2d), (F.conv_transpose2d, TF.conv_transpose2d)]:
        got, want = ours(x[0], w[0], **options), theirs(x[1].contiguous(), w[1], **options)
        same(got, want)
        leaf = [t.detach().contiguous().requires_grad_() for t in x]
        grads = [
            torch_.autograd.grad(f(y, v, **options).sum(), (y, v))
            for torch_, f, y, v in zip((ctorch, torch), (ours, theirs), leaf, w)
        ]
        for left, right in zip(*grads):
            same(left, right)
