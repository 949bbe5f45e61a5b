"""Normalisations and losses against PyTorch: values, gradients, statistics, errors; second derivatives."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

import ctorch
import ctorch.nn.functional as F

torch = pytest.importorskip("torch")
TF = torch.nn.functional

TOLERANCE = {"float32": 2e-5, "float64": 1e-11, "bfloat16": 3e-2, "float16": 4e-3}


def both(*arrays, dtype="float32"):
    ours, theirs = [], []
    for a in arrays:
        x, y = ctorch.from_numpy(np.array(a)), torch.from_numpy(np.array(a))
        if a.dtype.kind == "f":
            x, y = x.to(getattr(ctorch, dtype)), y.to(getattr(torch, dtype))
        ours.append(x)
        theirs.append(y)
    return ours, theirs


def close(ours, theirs, dtype, what=""):
    a, b = ours.detach().to(ctorch.float64).numpy(), theirs.detach().to(torch.float64).numpy()
    assert a.shape == b.shape, what
    scale = max(1.0, float(np.max(np.abs(b), initial=0.0)))
    np.testing.assert_allclose(a, b, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale, err_msg=what)


def compare(fn, arrays, dtype="float32", differentiable=None):
    """fn(functional, *tensors) on both sides: the result, and the gradients of the floating inputs."""
    ours, theirs = both(*arrays, dtype=dtype)
    for i, a in enumerate(arrays):
        if a.dtype.kind == "f" and (differentiable is None or i in differentiable):
            ours[i].requires_grad_()
            theirs[i].requires_grad_()
    x, y = fn(F, *ours), fn(TF, *theirs)
    close(x, y, dtype, "result")
    g = np.random.default_rng(9).standard_normal(tuple(x.shape)).astype(np.float32)
    x.backward(ctorch.from_numpy(np.array(g)).to(x.dtype))
    y.backward(torch.from_numpy(np.array(g)).to(y.dtype))
    for i, (a, b) in enumerate(zip(ours, theirs)):
        if b.grad is not None:
            close(a.grad, b.grad, dtype, f"gradient of argument {i}")


def randn(*shape, seed=0):
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("shape", [(4, 10), (2, 3, 33), (7, 1000), (3, 4, 5), (2, 9000)])
def test_layer_norm(shape, dtype):
    n = shape[-1]
    compare(
        lambda f, x, w, b: f.layer_norm(x, (n,), w, b), (randn(*shape), randn(n), randn(n, seed=1)), dtype
    )
    compare(lambda f, x: f.layer_norm(x, shape[1:]), (randn(*shape),), dtype)
    compare(lambda f, x, w: f.layer_norm(x, (n,), w), (randn(*shape), randn(n)), dtype)
    compare(lambda f, x, w: f.rms_norm(x, (n,), w), (randn(*shape), randn(n)), dtype)


def test_layer_norm_far_from_zero():
    x = randn(4, 2000) + np.float32(1e4)
    exact = torch.nn.functional.layer_norm(torch.from_numpy(x).double(), (2000,)).numpy()
    np.testing.assert_allclose(F.layer_norm(ctorch.from_numpy(x), (2000,)).numpy(), exact, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("shape", [(8, 3), (4, 3, 17), (2, 5, 6, 7), (2, 3, 2, 4, 4), (64, 300)])
def test_batch_norm(shape, dtype):
    c = shape[1]
    for training in (True, False):
        running = [np.linspace(-1, 1, c, dtype=np.float32), np.linspace(0.5, 2, c, dtype=np.float32)]
        ours, theirs = both(*running, dtype=dtype)

        def run(f, x, w, b, training=training, ours=ours, theirs=theirs):
            mean, var = ours if f is F else theirs
            return f.batch_norm(x, mean, var, w, b, training, 0.1, 1e-5)

        compare(run, (randn(*shape), randn(c), randn(c, seed=2)), dtype)
        for a, b in zip(ours, theirs):
            close(a, b, dtype, "running statistics")
    compare(lambda f, x: f.batch_norm(x, None, None, training=True), (randn(*shape),), dtype)


def test_batch_norm_keeps_channels_last():
    x = ctorch.from_numpy(randn(2, 3, 4, 5)).to(memory_format=ctorch.channels_last)
    y = F.batch_norm(x, None, None, training=True)
    assert y.stride() == x.stride()
    close(y, TF.batch_norm(torch.from_numpy(x.numpy()), None, None, training=True), "float32")


@pytest.mark.parametrize("shape", [(2, 6), (3, 6, 10), (2, 6, 4, 5)])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm(shape, groups):
    if shape[1] // groups * int(np.prod(shape[2:])) == 1:
        pytest.skip("one value per group has no variance")
    compare(lambda f, x, w, b: f.group_norm(x, groups, w, b), (randn(*shape), randn(6), randn(6, seed=3)))
    compare(lambda f, x: f.group_norm(x, groups), (randn(*shape),), "float64")


def double(a):
    return ctorch.from_numpy(a).double().requires_grad_()


def test_second_derivatives_of_norms():
    x, w, b = double(randn(3, 4, 2)), double(randn(2)), double(randn(2, seed=1))
    c, d = double(randn(4)), double(randn(4, seed=1))
    mean, var = ctorch.zeros(4).double(), ctorch.ones(4).double()
    for fn, args in [
        (lambda x, w, b: F.layer_norm(x, (2,), w, b, 0.1), (x, w, b)),
        (lambda x, w: F.rms_norm(x, (2,), w, 0.1), (x, w)),
        (lambda x, w, b: F.batch_norm(x, None, None, w, b, True, 0.1, 0.1), (x, c, d)),
        (lambda x, w, b: F.batch_norm(x, mean, var, w, b, False, 0.1, 0.1), (x, c, d)),
        (lambda x, w, b: F.group_norm(x, 2, w, b, 0.1), (x, c, d)),
    ]:
        assert ctorch.autograd.gradcheck(fn, args)
        assert ctorch.autograd.gradgradcheck(fn, args)


def test_norm_errors():
    with pytest.raises(RuntimeError, match="normalized_shape"):
        F.layer_norm(ctorch.zeros(2, 3), (4,))
    with pytest.raises(RuntimeError, match="weight"):
        F.layer_norm(ctorch.zeros(2, 3), (3,), ctorch.zeros(2))
    with pytest.raises(RuntimeError, match="running_mean"):
        F.batch_norm(ctorch.zeros(2, 3), ctorch.zeros(2), ctorch.ones(3))
    with pytest.raises(RuntimeError, match="num_groups"):
        F.group_norm(ctorch.zeros(2, 3), 2)
    with pytest.raises(RuntimeError, match="dtype"):
        F.layer_norm(ctorch.zeros(2, 3, dtype=ctorch.int64), (3,))


REDUCTIONS = ["mean", "sum", "none"]
PAIRS = {
    "mse": lambda f, x, t, r: f.mse_loss(x, t, reduction=r),
    "l1": lambda f, x, t, r: f.l1_loss(x, t, reduction=r),
    "smooth_l1": lambda f, x, t, r: f.smooth_l1_loss(x, t, reduction=r, beta=0.7),
    "huber": lambda f, x, t, r: f.huber_loss(x, t, reduction=r, delta=0.8),
    "bce": lambda f, x, t, r: f.binary_cross_entropy(x.sigmoid(), t.sigmoid(), reduction=r),
    "bce_logits": lambda f, x, t, r: f.binary_cross_entropy_with_logits(x, t.sigmoid(), reduction=r),
    "kl_div": lambda f, x, t, r: f.kl_div(f.log_softmax(x, -1), f.softmax(t, -1), reduction=r),
    "kl_div log": lambda f, x, t, r: f.kl_div(
        f.log_softmax(x, -1), f.log_softmax(t, -1), reduction=r, log_target=True
    ),
}


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("loss", PAIRS)
def test_losses_of_pairs(loss, reduction, dtype):
    for shape in ((3, 5), (2, 3, 700), (70_000,)):
        if dtype == "bfloat16" and shape == (70_000,):
            continue
        compare(
            lambda f, x, t: PAIRS[loss](f, x, t, reduction), (randn(*shape), randn(*shape, seed=5)), dtype
        )
    compare(
        lambda f, x, t: PAIRS[loss](f, x.transpose(0, 1), t.transpose(0, 1), reduction),
        (randn(3, 5), randn(3, 5, seed=5)),
        dtype,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_weights_of_binary_cross_entropy(reduction):
    x, t, w = randn(4, 6), 1 / (1 + np.exp(-randn(4, 6, seed=1))), np.abs(randn(4, 6, seed=2))
    p = np.abs(randn(6))
    compare(
        lambda f, x, t: f.binary_cross_entropy(x.sigmoid(), t, (x * 0 + 2).detach(), reduction=reduction),
        (x, t),
    )
    for fn, args in [
        (lambda f, x, t, w: f.binary_cross_entropy_with_logits(x, t, w, reduction=reduction), (x, t, w)),
        (
            lambda f, x, t, p: f.binary_cross_entropy_with_logits(x, t, pos_weight=p, reduction=reduction),
            (x, t, p),
        ),
        (
            lambda f, x, t, w, p: f.binary_cross_entropy_with_logits(
                x, t, w, pos_weight=p, reduction=reduction
            ),
            (x, t, w, p),
        ),
    ]:
        compare(fn, args, differentiable=[0, 1])
        ours = [double(a) for a in args]
        assert ctorch.autograd.gradcheck(lambda *a, fn=fn: fn(F, *a), ours)
        assert ctorch.autograd.gradgradcheck(lambda *a, fn=fn: fn(F, *a), ours)


def classes(shape, seed=0):
    return np.random.default_rng(seed).integers(
        0, shape[1] if len(shape) > 1 else shape[0], shape[:1] + shape[2:] if len(shape) > 1 else ()
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(7,), (5, 7), (4, 40), (3, 5, 300), (2, 3, 4, 5)])
def test_cross_entropy_and_nll(shape, reduction, dtype):
    x, t = randn(*shape), np.asarray(classes(shape))
    c = shape[1] if len(shape) > 1 else shape[0]
    dim = 1 if len(shape) > 1 else 0
    w = np.abs(randn(c)) + 0.1
    p = np.abs(randn(*shape, seed=4))
    p /= p.sum(dim, keepdims=True)
    for smoothing in (0.0, 0.2):
        for weight in (None, w):
            extra = () if weight is None else (weight,)
            compare(
                lambda f, x, t, *w, s=smoothing: f.cross_entropy(
                    x, t, *w, reduction=reduction, label_smoothing=s
                ),
                (x, t, *extra),
                dtype,
                differentiable=[0],
            )
            compare(
                lambda f, x, p, *w, s=smoothing: f.cross_entropy(
                    x, p, *w, reduction=reduction, label_smoothing=s
                ),
                (x, p, *extra),
                dtype,
                differentiable=[0, 1],
            )
    if t.ndim:
        for smoothing in (0.0, 0.3):
            compare(
                lambda f, x, t, w, s=smoothing: f.cross_entropy(
                    x, t, w, reduction=reduction, ignore_index=2, label_smoothing=s
                ),
                (x, t, w),
                dtype,
                differentiable=[0],
            )
    compare(lambda f, x, t: f.nll_loss(f.log_softmax(x, dim), t, reduction=reduction), (x, t), dtype)
    compare(
        lambda f, x, t, w: f.nll_loss(f.log_softmax(x, dim), t, w, reduction=reduction, ignore_index=1),
        (x, t, w),
        dtype,
        differentiable=[0],
    )


@pytest.mark.filterwarnings("ignore:reduction")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_second_derivatives_of_losses(reduction):
    x, t = double(randn(3, 4)), double(randn(3, 4, seed=8))
    target = ctorch.tensor([1, 3, 0])
    weight = ctorch.tensor([0.5, 1.0, 2.0, 0.1]).double()
    for loss in PAIRS:
        fn = functools.partial(PAIRS[loss], F)
        assert ctorch.autograd.gradcheck(lambda x, t, fn=fn: fn(x, t, reduction), (x, t)), loss
        assert ctorch.autograd.gradgradcheck(lambda x, t, fn=fn: fn(x, t, reduction), (x, t)), loss
    for fn in [
        lambda x: F.cross_entropy(
            x, target, weight, reduction=reduction, label_smoothing=0.1, ignore_index=3
        ),
        lambda x: F.cross_entropy(x, target, reduction=reduction),
        lambda x: F.cross_entropy(x, t.detach().softmax(1), weight, reduction=reduction, label_smoothing=0.1),
        lambda x: F.nll_loss(x, target, weight, reduction=reduction),
    ]:
        assert ctorch.autograd.gradcheck(fn, (x,))
        assert ctorch.autograd.gradgradcheck(fn, (x,))


def test_extreme_logits():
    x = np.array([[1e4, 0, -1e4], [-np.inf, 0, 1], [0, -100, 100]], np.float32)
    t = np.array([2, 1, 0])
    compare(lambda f, x, t: f.cross_entropy(x, t, reduction="none"), (x, t))
    y = np.array([-200, -30, 0, 30, 200], np.float32)
    compare(
        lambda f, x, t: f.binary_cross_entropy_with_logits(x, t, reduction="none"),
        (y, np.abs(y) * 0 + np.float32(0.3)),
    )


def test_loss_errors():
    x = ctorch.zeros(3, 4)
    with pytest.raises(IndexError, match="Target 4 is out of bounds"):
        F.cross_entropy(x, ctorch.tensor([0, 1, 4]))
    with pytest.raises(IndexError, match="Target -1 is out of bounds"):
        F.nll_loss(x, ctorch.tensor([0, -1, 0]))
    with pytest.raises(ValueError, match="batch_size"):
        F.cross_entropy(x, ctorch.tensor([0, 1]))
    with pytest.raises(RuntimeError, match="weight"):
        F.cross_entropy(x, ctorch.tensor([0, 1, 2]), ctorch.zeros(3))
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        F.binary_cross_entropy(x + 2, x)
    with pytest.raises(ValueError, match="not a valid value for reduction"):
        F.mse_loss(x, x, reduction="other")
    assert bool(ctorch.isnan(F.cross_entropy(x, ctorch.full((3,), -100))))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum", "batchmean"])
@pytest.mark.parametrize("log_target", [False, True])
@pytest.mark.parametrize("shapes", [((4, 3), (3,)), ((3,), (4, 3)), ((4, 1), (1, 3))])
@pytest.mark.filterwarnings("ignore:reduction:UserWarning")
def test_kl_div_of_shapes_that_broadcast(shapes, log_target, reduction):
    p, q = np.log(np.abs(randn(*shapes[0])) + 0.1), np.abs(randn(*shapes[1])) + 0.1
    q = np.log(q) if log_target else q
    compare(lambda f, x, t: f.kl_div(x, t, reduction=reduction, log_target=log_target), (p, q))


def raises_alike(case, text):
    """case(library, functional) fails in both, with one class; ours says the text."""
    with pytest.raises(Exception) as theirs:
        case(torch, TF)
    with pytest.raises(theirs.type, match=text):
        case(ctorch, F)


def full(lib, value, *shape, dtype="float32"):
    return lib.full(shape, value, dtype=getattr(lib, dtype))


MIXED_LOSSES = {
    "bce int": (lambda l, f: f.binary_cross_entropy(full(l, 0.5, 3), full(l, 1, 3, dtype="int64")), "int64"),
    "bce double": (
        lambda l, f: f.binary_cross_entropy(full(l, 0.5, 3), full(l, 1, 3, dtype="float64")),
        "binary_cross_entropy: .* float32, got float64",
    ),
    "bce ints": (
        lambda l, f: f.binary_cross_entropy(full(l, 1, 3, dtype="int64"), full(l, 1, 3, dtype="int64")),
        "floating",
    ),
    "bce nan": (
        lambda l, f: f.binary_cross_entropy(full(l, float("nan"), 3), full(l, 1, 3)),
        "between 0 and 1, got one of nan",
    ),
    "bce target": (
        lambda l, f: f.binary_cross_entropy(full(l, 0.5, 3), full(l, 3, 3)),
        "elements of target .* got one of 3",
    ),
    "logits int": (
        lambda l, f: f.binary_cross_entropy_with_logits(full(l, 0, 3), full(l, 1, 3, dtype="int64")),
        "binary_cross_entropy_with_logits: .* got int64",
    ),
    "logits bool": (
        lambda l, f: f.binary_cross_entropy_with_logits(full(l, 0, 3), full(l, 1, 3, dtype="bool")),
        "got bool",
    ),
    "logits of ints": (
        lambda l, f: f.binary_cross_entropy_with_logits(full(l, 0, 3, dtype="int64"), full(l, 1, 3)),
        "input of a floating dtype, got int64",
    ),
    "mse of ints": (
        lambda l, f: f.mse_loss(full(l, 0, 3, dtype="int64"), full(l, 1, 3, dtype="int64")),
        "mse_loss: .* int64",
    ),
    "mse shapes": (lambda l, f: f.mse_loss(full(l, 0, 2), full(l, 0, 3)), r"mse_loss: .*\(2,\) and \(3,\)"),
    "nll weight": (
        lambda l, f: f.nll_loss(full(l, 0, 2, 3), l.tensor([0, 1]), full(l, 1, 3, dtype="float64")),
        "nll_loss: .* float32, got float64",
    ),
    "cross entropy weight": (
        lambda l, f: f.cross_entropy(full(l, 0, 2, 3), l.tensor([0, 1]), full(l, 1, 3, dtype="float64")),
        "cross_entropy_loss: .* float32, got float64",
    ),
    "target dtype": (
        lambda l, f: f.nll_loss(full(l, 0, 2, 3), l.tensor([0, 1], dtype=l.int32)),
        "nll_loss: .* int32",
    ),
    "nll of ints": (
        lambda l, f: f.nll_loss(full(l, 0, 2, 3, dtype="int64"), l.tensor([0, 1])),
        "nll_loss: .* int64",
    ),
    "nll 0-dim": (lambda l, f: f.nll_loss(l.tensor(1.0), l.tensor(0)), "1 or more dimensions"),
    "prelu": (lambda l, f: f.prelu(full(l, 0, 3), full(l, 1, 3, dtype="float64")), "prelu: .*float64"),
}


@pytest.mark.parametrize("name", MIXED_LOSSES)
@pytest.mark.filterwarnings("ignore:.*target size:UserWarning")
def test_losses_refuse_dtypes_that_do_not_fit(name):
    raises_alike(*MIXED_LOSSES[name])


def test_losses_of_two_floating_dtypes_have_pytorchs_dtype():
    for loss, a, b in (
        ("binary_cross_entropy_with_logits", "float64", "float32"),
        ("binary_cross_entropy_with_logits", "float32", "bfloat16"),
        ("mse_loss", "float32", "float64"),
        ("l1_loss", "float32", "int64"),
    ):
        values = []
        for lib, f in ((ctorch, F), (torch, TF)):
            x = full(lib, 0.25, 3, dtype=a).requires_grad_()
            y = getattr(f, loss)(x, full(lib, 1, 3, dtype=b))
            y.backward()
            values.append((str(y.dtype), round(y.item(), 2), str(x.grad.dtype)))
        assert values[0] == values[1], loss
    ints = [lib.tensor([3, 5]) for lib in (ctorch, torch)]
    assert F.l1_loss(ints[0], ints[0] * 2, reduction="sum").item() == 8
    assert TF.l1_loss(ints[1], ints[1] * 2, reduction="sum").item() == 8


NORMS = {
    "layer_norm": lambda l, f, x, w, b: f.layer_norm(x, [4], w, b),
    "group_norm": lambda l, f, x, w, b: f.group_norm(x, 2, w, b),
    "batch_norm": lambda l, f, x, w, b: f.batch_norm(x, None, None, w, b, training=True),
    "running": lambda l, f, x, w, b: f.batch_norm(x, w, b),
    "rms_norm": lambda l, f, x, w, b: f.rms_norm(x, [4], w),
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.filterwarnings("ignore:Mismatch dtype:UserWarning")  # of PyTorch's rms_norm
def test_norms_take_parameters_of_the_dtypes_of_pytorch(name):
    dtypes = ("float32", "float64", "bfloat16")
    for x, w, b in itertools.product(dtypes, dtypes, dtypes):
        outcomes = []
        for lib, f in ((ctorch, F), (torch, TF)):
            inputs = [full(lib, 1, 3, 4, dtype=x), full(lib, 1, 4, dtype=w), full(lib, 1, 4, dtype=b)]
            try:
                outcomes.append(str(NORMS[name](lib, f, *inputs).dtype))
            except RuntimeError as error:
                outcomes.append("error")
                assert lib is torch or (w in str(error) or b in str(error))
        assert outcomes[0] == outcomes[1], (x, w, b)


def test_instance_norm_takes_any_statistics():
    for dtype in ("float32", "float64", "bfloat16"):
        x, mean, var = randn(2, 3, 5), full(ctorch, 0, 3, dtype=dtype), full(ctorch, 1, 3, dtype=dtype)
        F.instance_norm(ctorch.tensor(x), mean, var)
        theirs = full(torch, 0, 3, dtype=dtype), full(torch, 1, 3, dtype=dtype)
        TF.instance_norm(torch.tensor(x), *theirs)
        assert mean.dtype == getattr(ctorch, dtype)
        np.testing.assert_allclose(mean.float().numpy(), theirs[0].float().numpy(), atol=2e-3)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_soft_margin_loss(reduction):
    x, y = randn(4, 5), np.sign(randn(4, 5, seed=1))
    compare(lambda f, x, t: f.soft_margin_loss(x, t, reduction=reduction), (x, y), differentiable=(0,))
    loss = ctorch.nn.SoftMarginLoss(reduction=reduction)
    assert loss(ctorch.tensor(x), ctorch.tensor(y)).shape == (x.shape if reduction == "none" else ())


def test_loss_messages_name_the_operation_and_the_value():
    x, t = ctorch.zeros(2, 3), ctorch.tensor([0, 1])
    for case, text in (
        (lambda: F.cross_entropy(x, t + 5), "cross_entropy_loss: Target 5 is out of bounds for 3 classes"),
        (lambda: F.cross_entropy(x, t, label_smoothing=2), "cross_entropy_loss: label_smoothing .* got 2"),
        (lambda: F.nll_loss(x, t, ctorch.ones(2)), r"nll_loss: weight .* \(2,\)"),
        (lambda: F.kl_div(x, x, reduction="x"), "kl_div: x is not a valid value"),
        (lambda: F.smooth_l1_loss(x, x, beta=-1), "smooth_l1_loss .* got -1"),
        (lambda: F.huber_loss(x, x, delta=-2), "huber_loss .* got -2"),
        (lambda: F.gelu(x, approximate="foo"), "gelu: .* foo"),
        (lambda: F.embedding(t + 3, x), "embedding: index 3"),
    ):
        with pytest.raises((IndexError, RuntimeError, ValueError), match=text):
            case()
