"""What the tests of layers share: a module or a function of both libraries on the same numbers."""

from __future__ import annotations

import warnings

import numpy as np

import ctorch
import ctorch.testing
from ctorch.autograd import gradcheck, gradgradcheck

try:
    import torch
except ImportError:  # the tests that import this skip then
    torch = None


def array(*shape, seed=0, dtype="float32"):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def tensor(lib, value):
    """A leaf of the library; floating arrays require a gradient."""
    if not isinstance(value, np.ndarray):
        return value
    result = lib.from_numpy(value.copy())
    return result.requires_grad_() if value.dtype.kind in "fc" else result


def close(ours, theirs, tol=2e-5, what="result"):
    if isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs), what
        for a, b in zip(ours, theirs):
            close(a, b, tol, what)
        return
    if theirs is None or ours is None:
        assert theirs is None and ours is None, what
        return
    assert str(ours.dtype).split(".")[-1] == str(theirs.dtype).split(".")[-1], what
    a, b = ours.detach(), theirs.detach()
    if a.dtype in (ctorch.float16, ctorch.bfloat16):
        a, b = a.float(), b.float()
    a, b = a.numpy(), b.numpy()
    assert a.shape == b.shape, what
    scale = max(1.0, float(np.max(np.abs(b[np.isfinite(b)]), initial=0.0)))
    np.testing.assert_allclose(a, b, rtol=tol, atol=tol * scale, err_msg=what)


def backward(lib, result):
    """Gradients for a fixed gradient of every floating result."""
    results = [r for r in (result if isinstance(result, tuple) else (result,)) if r is not None]
    total = 0
    for i, r in enumerate(results):
        if r.is_floating_point() and r.requires_grad:
            total = total + (r * lib.from_numpy(array(*r.shape, seed=90 + i)).to(r.dtype)).sum()
    if not isinstance(total, int):
        total.backward()


def same_function(fn, *values, tol=2e-5):
    """``fn(lib, *tensors)`` gives the same results and gradients in both libraries, for the same seed."""
    out = []
    for lib in (ctorch, torch):
        leaves = [tensor(lib, v) for v in values]
        lib.manual_seed(7)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = fn(lib, *leaves)
        backward(lib, result)
        out.append((result, [x.grad for x in leaves if hasattr(x, "grad")]))
    close(out[0][0], out[1][0], tol)
    close(out[0][1], out[1][1], tol, "gradients")


def same_module(make, *values, tol=2e-5, train=True):
    """Modules of one seed have the same repr, state and results; the states load both ways."""
    modules, out = [], []
    for lib in (ctorch, torch):
        lib.manual_seed(3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            modules.append(make(lib.nn).train(train))
    ours, theirs = modules
    assert repr(ours) == repr(theirs)
    a, b = ours.state_dict(), theirs.state_dict()
    assert list(a) == list(b)
    for name in a:
        close(a[name], b[name], 1e-6, name)
    theirs.load_state_dict({k: torch.from_numpy(np.array(v.detach().numpy())) for k, v in a.items()})
    ours.load_state_dict({k: ctorch.from_numpy(np.array(v.detach().numpy())) for k, v in b.items()})
    for lib, module in zip((ctorch, torch), modules):
        leaves = [tensor(lib, v) for v in values]
        lib.manual_seed(7)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = module(*leaves)
        backward(lib, result)
        grads = [x.grad for x in leaves if hasattr(x, "grad")]
        out.append((result, grads, [p.grad for p in module.parameters()], list(module.buffers())))
    for i, what in enumerate(("result", "gradients", "parameter gradients", "buffers")):
        close(list(out[0][i]) if i else out[0][i], list(out[1][i]) if i else out[1][i], tol, what)


def same_error(fn):
    """Both libraries refuse, with the same class of exception."""
    classes = []
    for lib in (torch, ctorch):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fn(lib)
        except Exception as e:
            classes.append(type(e))
            assert str(e)
        else:
            classes.append(None)
    assert classes[0] is not None, "torch accepts it"
    assert classes[0] is classes[1], classes


def derivatives(fn, *values):
    """First and second derivatives against differences, in float64."""
    leaves = [tensor(ctorch, v.astype("float64") if v.dtype.kind == "f" else v) for v in values]
    assert gradcheck(fn, leaves)
    assert gradgradcheck(fn, leaves)
