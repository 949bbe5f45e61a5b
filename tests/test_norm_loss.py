"""Normalisations and losses against PyTorch: values, gradients, statistics, errors; second derivatives."""

from __future__ import annotations

import functools

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
