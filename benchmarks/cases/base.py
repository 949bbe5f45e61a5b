"""The register of cases, and what they share: seeded inputs, models with given weights, training steps.

A case is a function setup(T, threads) over a module T with PyTorch's API. It builds the inputs from seeded
numpy arrays and returns a callable, or (callable, err) where err(output) is the numerical error against a
float64 reference.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np


@dataclasses.dataclass
class Case:
    """`meta`: flops | bytes | items per call, dtype (which peak the flops are held against), bw ("bw_read"
    for traffic that only reads), rtol (agreement of the two sides' first outputs), check=False (outputs
    random or not unique)."""

    name: str
    setup: Callable[[Any, int], Any]
    threads: tuple[int, ...]
    meta: dict[str, Any]

    @property
    def group(self) -> str:
        return self.name.split("/")[0]


CASES: dict[str, Case] = {}
M = 1 << 20


def case(name: str, setup: Any = None, threads: tuple[int, ...] = (1, 2), **meta: Any) -> Any:
    """Register a case; without `setup` it decorates one."""
    if setup is None:
        return lambda f: case(name, f, threads, **meta)
    if name in CASES:
        raise ValueError(f"two benchmark cases are called {name}")
    CASES[name] = Case(name, setup, threads, meta)
    return setup


def rand(T, *shape, seed=0, scale=1.0, pos=False, grad=False, dtype=None):
    rng = np.random.default_rng([seed, *shape])
    draw = (
        rng.random(shape, dtype=np.float32) + 0.1
        if pos
        else rng.standard_normal(shape, dtype=np.float32) * scale
    )
    t = T.tensor(np.asarray(draw, dtype=np.float32))
    if dtype is not None:
        t = t.to(dtype)
    return t.requires_grad_() if grad else t


def ints(T, high, *shape, seed=0):
    return T.tensor(np.random.default_rng([seed, *shape]).integers(0, high, shape))


def f64(t):
    return t.detach().double().numpy()


def distance(out, ref):
    """The greatest error of a result, over its greatest value; of several results, that of the worst."""
    if isinstance(out, (tuple, list)):
        return max(map(distance, out, ref))
    return float(np.abs(out - ref).max() / np.abs(ref).max())


def against_f64(work, *inputs):
    """err(output) for a case that computes work(*inputs): the same in float64 is the reference."""

    def arrays(out):
        return [f64(t) for t in (out if isinstance(out, (tuple, list)) else (out,))]

    def err(out):
        return distance(arrays(out), arrays(work(*(x.detach().double() for x in inputs))))

    return err


def backward(work, *inputs, grad=None):
    """The gradients of the inputs of work(*inputs), and its result, which is its own gradient if none is
    given."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    y = work(*leaves)
    y.backward(y.detach() if grad is None else grad)
    return [*(x.grad for x in leaves), y.detach()]


def sub(T, name):
    return importlib.import_module(f"{T.__name__}.{name}")


def on(T, shape, fn, **kw):
    """The callable that applies fn to one random tensor."""
    x = rand(T, *shape, **kw)
    return lambda: fn(x)


def unroll(stmt, no_grad=False, n=16, **env):
    """A function that runs a statement n times, so that the call itself does not count."""
    pad = "  " if no_grad else " "
    head = f"def f({', '.join(f'{k}={k}' for k in env)}):\n" + (" with T.no_grad():\n" if no_grad else "")
    exec(head + f"{pad}{stmt}\n" * (n - 1) + f"{pad}return {stmt}\n", env)
    env["f"].per = n
    return env["f"]


def fill(T, model):
    """Give a model the same weights on both sides; vectors (biases, norm scales) become zeros or stay
    ones."""
    with T.no_grad():
        for i, p in enumerate(model.parameters()):
            if p.dim() > 1:
                p.copy_(rand(T, *p.shape, seed=i, scale=math.prod(p.shape[1:]) ** -0.5))
            elif not bool((p == 1).all()):
                p.zero_()
    return model


OPTIMIZERS = {
    "sgd": lambda T, p: T.optim.SGD(p, lr=1e-3),
    "momentum": lambda T, p: T.optim.SGD(p, lr=1e-3, momentum=0.9),
    "adam": lambda T, p: T.optim.Adam(p, lr=1e-4),
    "adamw": lambda T, p: T.optim.AdamW(p, lr=1e-4),
}


def trainer(T, model, loss, opt):
    """A full step: zero_grad, forward, backward, optimizer step; returns the loss."""
    optimizer = OPTIMIZERS[opt](T, fill(T, model).parameters())

    def step():
        optimizer.zero_grad()
        value = loss(model)
        value.backward()
        optimizer.step()
        return value

    return step


def mlp(T, *dims, act=None):
    layers = []
    for i, o in itertools.pairwise(dims):
        layers += [T.nn.Linear(i, o), (act or T.nn.ReLU)()]
    return T.nn.Sequential(*layers[:-1])


def mlp_step(T, dims, batch, opt):
    x, y = rand(T, batch, dims[0]), ints(T, dims[-1], batch)
    return trainer(T, mlp(T, *dims), lambda m: T.nn.functional.cross_entropy(m(x), y), opt)
