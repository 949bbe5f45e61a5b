"""Optimizers and schedules: trajectories, formats, texts and checks, with PyTorch as oracle."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest

import ctorch

torch = pytest.importorskip("torch", reason="the oracle of these tests")


def make_pair(shapes=((3, 4), (5,), (2, 3, 2)), dtype="float32"):
    """The same starting values as parameters of both libraries."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    ours = [ctorch.nn.Parameter(ctorch.tensor(a)) for a in arrays]
    theirs = [torch.nn.Parameter(torch.tensor(a)) for a in arrays]
    return ours, theirs


def set_grads(ours, theirs, seed):
    rng = np.random.default_rng(seed)
    for p, q in zip(ours, theirs):
        g = rng.standard_normal(tuple(p.shape)).astype(p.detach().numpy().dtype)
        p.grad = ctorch.tensor(g)
        q.grad = torch.tensor(g)


def assert_same(ours, theirs, rtol=2e-6, atol=1e-7):
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=rtol, atol=atol)


SGD_OPTIONS = [
    {"lr": 0.1},
    {"lr": 0.1, "weight_decay": 0.05},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "dampening": 0.3},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    {"lr": 0.1, "momentum": 0.9, "maximize": True, "weight_decay": 0.01},
]
ADAM_OPTIONS = [
    {},
    {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-4},
    {"lr": 0.05, "weight_decay": 0.1},
    {"lr": 0.05, "amsgrad": True},
    {"lr": 0.05, "amsgrad": True, "maximize": True, "weight_decay": 0.1},
]
CASES = (
    [("SGD", o) for o in SGD_OPTIONS]
    + [("Adam", o) for o in ADAM_OPTIONS]
    + [("AdamW", o) for o in ADAM_OPTIONS]
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name, options", CASES)
def test_trajectory_agrees(name, options, dtype):
    ours, theirs = make_pair(dtype=dtype)
    a = getattr(ctorch.optim, name)(ours, **options)
    b = getattr(torch.optim, name)(theirs, **options)
    for step in range(12):
        set_grads(ours, theirs, step)
        a.step()
        b.step()
    assert_same(
        ours, theirs, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-6 if dtype == "float32" else 1e-13
    )


@pytest.mark.parametrize("name, options", CASES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_types(name, options, dtype):
    rng = np.random.default_rng(0)
    start = rng.standard_normal((7, 9)).astype("float32")
    p = ctorch.nn.Parameter(ctorch.tensor(start).to(getattr(ctorch, dtype)))
    q = torch.nn.Parameter(torch.tensor(start).to(getattr(torch, dtype)))
    options = {"lr": 0.01, **options}
    if dtype == "float16" and "Adam" in name:
        options["eps"] = 1e-4  # 1e-8 is 0 in float16, where PyTorch's own step divides by 0
    a = getattr(ctorch.optim, name)([p], **options)
    b = getattr(torch.optim, name)([q], **options)
    for _ in range(3):
        g = rng.standard_normal((7, 9)).astype("float32")
        p.grad = ctorch.tensor(g).to(p.dtype)
        q.grad = torch.tensor(g).to(q.dtype)
        a.step()
        b.step()
    np.testing.assert_allclose(p.detach().float().numpy(), q.detach().float().numpy(), rtol=0.05, atol=0.05)


def test_parameters_that_are_not_contiguous():
    start = np.arange(12, dtype="float32").reshape(3, 4)
    p = ctorch.nn.Parameter(ctorch.tensor(start).t())
    q = torch.nn.Parameter(torch.tensor(start).t())
    a = ctorch.optim.Adam([p], lr=0.1)
    b = torch.optim.Adam([q], lr=0.1)
    for step in range(3):
        g = np.random.default_rng(step).standard_normal((4, 3)).astype("float32")
        p.grad, q.grad = ctorch.tensor(g), torch.tensor(g)
        a.step()
        b.step()
    assert_same([p], [q])


def test_parameters_without_gradient_stay():
    ours, _ = make_pair()
    before = ours[1].detach().clone()
    ours[0].grad = ctorch.ones(3, 4)
    optimizer = ctorch.optim.Adam(ours)
    optimizer.step()
    assert ctorch.equal(ours[1].detach(), before)
    assert len(optimizer.state) == 1


def test_groups_with_options_of_their_own():
    ours, theirs = make_pair()
    a = ctorch.optim.SGD([{"params": ours[:1], "lr": 0.5}, {"params": ours[1:]}], lr=0.1, momentum=0.9)
    b = torch.optim.SGD([{"params": theirs[:1], "lr": 0.5}, {"params": theirs[1:]}], lr=0.1, momentum=0.9)
    for step in range(3):
        set_grads(ours, theirs, step)
        a.step()
        b.step()
    assert_same(ours, theirs)
    assert repr(a) == repr(b)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_text(name):
    ours, theirs = make_pair()
    assert repr(getattr(ctorch.optim, name)(ours)) == repr(getattr(torch.optim, name)(theirs))


def strip(value, tensor_type):
    """A state_dict with its tensors as lists."""
    if isinstance(value, tensor_type):
        return [str(value.dtype).split(".")[-1], value.tolist()]
    if isinstance(value, dict):
        return {k: strip(v, tensor_type) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [strip(v, tensor_type) for v in value]
    return value


@pytest.mark.parametrize("name, options", CASES)
def test_state_dict_has_the_format_of_pytorch(name, options):
    ours, theirs = make_pair()
    a = getattr(ctorch.optim, name)(ours, **options)
    b = getattr(torch.optim, name)(theirs, **options)
    set_grads(ours, theirs, 1)
    a.step()
    b.step()
    mine, other = strip(a.state_dict(), ctorch.Tensor), strip(b.state_dict(), torch.Tensor)
    assert mine["param_groups"] == other["param_groups"]
    assert mine["state"].keys() == other["state"].keys()
    for key in mine["state"]:
        assert mine["state"][key].keys() == other["state"][key].keys()
        for field, (dtype, values) in mine["state"][key].items():
            assert dtype == other["state"][key][field][0]
            np.testing.assert_allclose(values, other["state"][key][field][1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_training_goes_on_from_a_state_dict(name):
    options = {"momentum": 0.9} if name == "SGD" else {}
    ours, theirs = make_pair()
    a = getattr(ctorch.optim, name)(ours, lr=0.1, **options)
    for step in range(3):
        set_grads(ours, theirs, step)
        a.step()
    copies = [ctorch.nn.Parameter(p.detach().clone()) for p in ours]
    b = getattr(ctorch.optim, name)(copies, lr=0.7, **options)
    b.load_state_dict(copy.deepcopy(a.state_dict()))
    assert b.param_groups[0]["lr"] == 0.1
    set_grads(ours, copies_as_torch(copies), 9)
    for p, q in zip(ours, copies):
        q.grad = p.grad.clone()
    a.step()
    b.step()
    for p, q in zip(ours, copies):
        assert ctorch.equal(p.detach(), q.detach())


def copies_as_torch(params):
    return [torch.nn.Parameter(torch.tensor(p.detach().numpy())) for p in params]


def test_closure_runs_with_gradients_and_its_result_is_returned():
    p = ctorch.nn.Parameter(ctorch.ones(2))
    optimizer = ctorch.optim.SGD([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with ctorch.no_grad():
        assert optimizer.step(closure).item() == 2.0
    np.testing.assert_allclose(p.detach().numpy(), [0.8, 0.8], rtol=1e-6)


def test_zero_grad():
    p = ctorch.nn.Parameter(ctorch.ones(2))
    optimizer = ctorch.optim.SGD([p], lr=0.1)
    p.grad = ctorch.ones(2)
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert p.grad is None


def test_step_hooks():
    p = ctorch.nn.Parameter(ctorch.ones(2))
    p.grad = ctorch.ones(2)
    optimizer = ctorch.optim.SGD([p], lr=0.1)
    seen = []
    before = optimizer.register_step_pre_hook(lambda opt, args, kwargs: seen.append("before"))
    optimizer.register_step_post_hook(lambda opt, args, kwargs: seen.append("after"))
    optimizer.step()
    before.remove()
    optimizer.step()
    assert seen == ["before", "after", "after"]


def test_a_step_raises_the_version_of_its_parameters():
    p = ctorch.nn.Parameter(ctorch.ones(2))
    optimizer = ctorch.optim.Adam([p])
    loss = (p * p).sum()
    p.grad = ctorch.ones(2)
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation|in-?place"):
        loss.backward()


def test_pickling_keeps_groups_and_state():
    p = ctorch.nn.Parameter(ctorch.ones(2))
    p.grad = ctorch.ones(2)
    optimizer = ctorch.optim.Adam([p], lr=0.5)
    optimizer.step()
    again = pickle.loads(pickle.dumps(optimizer))
    assert again.param_groups[0]["lr"] == 0.5
    assert len(again.state) == 1


def bad_inputs(lib):
    p = lib.nn.Parameter(lib.ones(2))
    q = lib.nn.Parameter(lib.ones(2))
    return {
        "tensor": lambda: lib.optim.SGD(p),
        "empty": lambda: lib.optim.SGD([]),
        "number": lambda: lib.optim.SGD([1]),
        "set": lambda: lib.optim.SGD([{"params": {p, q}}]),
        "non-leaf": lambda: lib.optim.SGD([p * 2]),
        "twice": lambda: lib.optim.SGD([{"params": [p]}, {"params": [p]}]),
        "lr": lambda: lib.optim.SGD([p], lr=-1),
        "momentum": lambda: lib.optim.SGD([p], momentum=-1),
        "decay": lambda: lib.optim.SGD([p], weight_decay=-1),
        "nesterov": lambda: lib.optim.SGD([p], nesterov=True),
        "betas": lambda: lib.optim.Adam([p], betas=(1.0, 0.9)),
        "betas[1]": lambda: lib.optim.Adam([p], betas=(0.9, -0.5)),
        "eps": lambda: lib.optim.Adam([p], eps=-1),
        "names": lambda: lib.optim.SGD([("a", p), q]),
        "group kind": lambda: lib.optim.SGD([p]).add_param_group([q]),
        "group number": lambda: lib.optim.SGD([p]).load_state_dict({"state": {}, "param_groups": []}),
        "group size": lambda: lib.optim.SGD([p]).load_state_dict(lib.optim.SGD([p, q]).state_dict()),
        "no optimizer": lambda: lib.optim.lr_scheduler.StepLR(p, 2),
        "resume": lambda: lib.optim.lr_scheduler.StepLR(lib.optim.SGD([p]), 2, last_epoch=3),
        "lambdas": lambda: lib.optim.lr_scheduler.LambdaLR(lib.optim.SGD([p]), [abs, abs]),
    }


@pytest.mark.parametrize("name", bad_inputs(torch))
def test_bad_input(name):
    with pytest.raises(Exception) as theirs:
        bad_inputs(torch)[name]()
    with pytest.raises(theirs.type) as ours:
        bad_inputs(ctorch)[name]()
    if name not in ("tensor", "number", "resume"):
        assert str(ours.value) == str(theirs.value)


def test_a_gradient_of_another_dtype_or_shape_is_an_error():
    with pytest.raises(RuntimeError):
        ctorch._C._sgd_step([ctorch.ones(2)], [ctorch.ones(3)], [], 0.1, 0.0, 0.0, 0.0, False, False, False)


SCHEDULES = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("LambdaLR", {"lr_lambda": lambda epoch: 0.9**epoch}),
    ("MultiStepLR", {"milestones": [2, 5, 5], "gamma": 0.3}),
    ("ExponentialLR", {"gamma": 0.8}),
    ("CosineAnnealingLR", {"T_max": 4, "eta_min": 0.01}),
]


@pytest.mark.parametrize("name, options", SCHEDULES)
def test_schedule(name, options):
    ours, theirs = make_pair()
    a = ctorch.optim.SGD([{"params": ours[:1], "lr": 0.5}, {"params": ours[1:]}], lr=0.1)
    b = torch.optim.SGD([{"params": theirs[:1], "lr": 0.5}, {"params": theirs[1:]}], lr=0.1)
    s = getattr(ctorch.optim.lr_scheduler, name)(a, **options)
    t = getattr(torch.optim.lr_scheduler, name)(b, **options)
    for _ in range(12):
        assert s.get_last_lr() == pytest.approx(t.get_last_lr(), rel=1e-14)
        assert [g["lr"] for g in a.param_groups] == s.get_last_lr()
        a.step()
        b.step()
        s.step()
        t.step()


def test_schedules_act_together():
    ours, theirs = make_pair()
    results = []
    for lib, params in ((ctorch, ours), (torch, theirs)):
        optimizer = lib.optim.SGD(params, lr=1.0)
        first = lib.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        second = lib.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        rates = []
        for _ in range(6):
            optimizer.step()
            first.step()
            second.step()
            rates.append(optimizer.param_groups[0]["lr"])
        results.append(rates)
    assert results[0] == pytest.approx(results[1], rel=1e-14)


@pytest.mark.parametrize("name, options", SCHEDULES)
def test_schedule_goes_on_from_a_state_dict(name, options):
    def make():
        p = ctorch.nn.Parameter(ctorch.ones(2))
        optimizer = ctorch.optim.SGD([p], lr=0.1)
        return optimizer, getattr(ctorch.optim.lr_scheduler, name)(optimizer, **options)

    a, s = make()
    for _ in range(5):
        a.step()
        s.step()
    b, t = make()
    b.load_state_dict(a.state_dict())
    t.load_state_dict(s.state_dict())
    for _ in range(5):
        for scheduler, optimizer in ((s, a), (t, b)):
            optimizer.step()
            scheduler.step()
        assert s.get_last_lr() == t.get_last_lr()


def test_a_schedule_before_the_first_step_warns():
    optimizer = ctorch.optim.SGD([ctorch.nn.Parameter(ctorch.ones(2))], lr=0.1)
    scheduler = ctorch.optim.lr_scheduler.StepLR(optimizer, 2)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()
    optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_two_implementations_at_once_are_refused(name):
    for lib in (ctorch, torch):
        with pytest.raises(RuntimeError, match="`fused` and `foreach` cannot be `True` together"):
            getattr(lib.optim, name)([lib.nn.Parameter(lib.ones(1))], lr=0.1, foreach=True, fused=True)
    from ctorch.optim.adamw import AdamW

    assert AdamW is ctorch.optim.AdamW
