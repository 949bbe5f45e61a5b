"""Modules, parameters, functionals, initialisers and losses, with PyTorch as oracle."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections import OrderedDict

import numpy as np
import pytest

import ctorch

torch = pytest.importorskip("torch", reason="the oracle of these tests")

LIBRARIES = (ctorch, torch)


def numpy_of(t):
    return t.detach().numpy()


def arrays(*shapes, seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def assert_close(a, b, rtol=1e-5, atol=1e-6):
    if isinstance(a, (tuple, list)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            assert_close(x, y, rtol, atol)
        return
    assert str(a.dtype).split(".")[-1] == str(b.dtype).split(".")[-1]
    np.testing.assert_allclose(numpy_of(a), numpy_of(b), rtol=rtol, atol=atol)


def forward_backward(lib, function, inputs):
    """The result of a function, and the gradients of its inputs for a fixed gradient of the result."""
    tensors = [
        lib.tensor(x, requires_grad=x.dtype.kind == "f") if isinstance(x, np.ndarray) else x for x in inputs
    ]
    lib.manual_seed(0)
    result = function(*tensors)
    first = result[0] if isinstance(result, tuple) else result
    rng = np.random.default_rng(99)
    first.backward(lib.tensor(rng.standard_normal(tuple(first.shape)).astype("float32")))
    return result, [t.grad for t in tensors if hasattr(t, "grad") and t.requires_grad]


def compare(make, inputs, rtol=1e-5, atol=2e-6):
    """``make(library)`` returns a function; it and its gradients agree for the same arrays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, our_grads = forward_backward(ctorch, make(ctorch), inputs)
        theirs, their_grads = forward_backward(torch, make(torch), inputs)
    assert_close(ours, theirs, rtol, atol)
    for a, b in zip(our_grads, their_grads):
        assert (a is None) == (b is None)
        if a is not None:
            assert_close(a, b, rtol, atol)


# Module -----------------------------------------------------------------------------------------------------


def make_net(lib, seed=0):
    class Net(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = lib.nn.Conv2d(1, 2, 3)
            self.block = lib.nn.Sequential(lib.nn.BatchNorm2d(2), lib.nn.ReLU())
            self.list = lib.nn.ModuleList([lib.nn.Linear(8, 3), lib.nn.Linear(8, 3)])
            self.shared = self.list[0]
            self.scale = lib.nn.Parameter(lib.ones(3))
            self.register_parameter("nothing", None)
            self.register_buffer("offset", lib.zeros(3))
            self.register_buffer("scratch", lib.zeros(1), persistent=False)
            self.none = None

        def forward(self, x):
            x = self.block(self.conv(x)).flatten(1)
            return (self.list[0](x) + self.list[1](x)) * self.scale + self.offset

    lib.manual_seed(seed)
    return Net()


def test_members_have_the_names_and_order_of_pytorch():
    a, b = make_net(ctorch), make_net(torch)
    for method in ("named_parameters", "named_buffers", "named_modules", "named_children"):
        assert [name for name, _ in getattr(a, method)()] == [name for name, _ in getattr(b, method)()]
    for kwargs in ({"prefix": "p"}, {"recurse": False}, {"remove_duplicate": False}):
        assert [n for n, _ in a.named_parameters(**kwargs)] == [n for n, _ in b.named_parameters(**kwargs)]
    assert len(list(a.parameters())) == len(list(b.parameters()))
    assert list(a.state_dict()) == list(b.state_dict())
    assert dict(a.state_dict()._metadata) == dict(b.state_dict()._metadata)
    assert repr(a) == repr(b)
    assert set(dir(b)) - set(dir(a)) <= set(dir(torch.nn.Module))
    assert {"conv", "scale", "offset"} <= set(dir(a))


def test_initial_values_and_results_agree():
    a, b = make_net(ctorch), make_net(torch)
    for (name, p), q in zip(a.state_dict().items(), b.state_dict().values()):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-6, err_msg=name)
    (x,) = arrays((5, 1, 4, 4))
    assert_close(a(ctorch.tensor(x)), b(torch.tensor(x)))
    a.eval(), b.eval()
    assert_close(a(ctorch.tensor(x)), b(torch.tensor(x)))


def test_attributes():
    net = ctorch.nn.Module()
    net.p = ctorch.nn.Parameter(ctorch.ones(2))
    assert "p" in net._parameters
    net.p = None
    assert net.p is None and "p" in net._parameters
    net.m = ctorch.nn.Linear(1, 1)
    net.m = None
    assert net.m is None and "m" in net._modules
    net.x = ctorch.ones(1)
    assert "x" in net.__dict__
    net.x = ctorch.nn.Parameter(ctorch.ones(1))
    assert "x" not in net.__dict__ and "x" in net._parameters
    net.b = ctorch.nn.Buffer(ctorch.ones(1), persistent=False)
    assert "b" in net._buffers and "b" in net._non_persistent_buffers_set
    net.b = ctorch.zeros(1)
    assert "b" in net._buffers and "b" not in net.state_dict()
    del net.x, net.b, net.m
    assert not hasattr(net, "x") and not hasattr(net, "b") and not hasattr(net, "m")
    with pytest.raises(AttributeError, match="'Module' object has no attribute 'x'"):
        getattr(net, "x")  # noqa: B009


ATTRIBUTE_ERRORS = {
    "parameter before init": lambda lib: setattr(uninitialised(lib), "p", lib.nn.Parameter(lib.ones(1))),
    "module before init": lambda lib: setattr(uninitialised(lib), "m", lib.nn.ReLU()),
    "register before init": lambda lib: uninitialised(lib).register_parameter("p", None),
    "buffer before init": lambda lib: uninitialised(lib).register_buffer("p", None),
    "tensor as parameter": lambda lib: setattr(make_net(lib), "scale", lib.ones(3)),
    "number as module": lambda lib: setattr(make_net(lib), "conv", 3),
    "number as buffer": lambda lib: setattr(make_net(lib), "offset", 3),
    "no parameter": lambda lib: make_net(lib).register_parameter("p", lib.ones(3)),
    "non-leaf": lambda lib: make_net(lib).register_parameter("p", parameter_with_history(lib)),
    "dot": lambda lib: make_net(lib).register_parameter("a.b", None),
    "empty": lambda lib: make_net(lib).register_parameter("", None),
    "number as name": lambda lib: make_net(lib).register_parameter(3, None),
    "taken": lambda lib: make_net(lib).register_parameter("conv", None),
    "buffer dot": lambda lib: make_net(lib).register_buffer("a.b", None),
    "buffer taken": lambda lib: make_net(lib).register_buffer("conv", None),
    "buffer kind": lambda lib: make_net(lib).register_buffer("new", 3),
    "module kind": lambda lib: make_net(lib).add_module("new", 3),
    "module name": lambda lib: make_net(lib).add_module(3, None),
    "module dot": lambda lib: make_net(lib).add_module("a.b", None),
    "module empty": lambda lib: make_net(lib).add_module("", None),
    "module taken": lambda lib: make_net(lib).add_module("scale", None),
    "unknown": lambda lib: make_net(lib).unknown,
    "unknown module": lambda lib: make_net(lib).get_submodule("block.x"),
    "no module": lambda lib: make_net(lib).get_submodule("scale"),
    "unknown parameter": lambda lib: make_net(lib).get_parameter("conv.x"),
    "no parameter there": lambda lib: make_net(lib).get_parameter("offset"),
    "unknown buffer": lambda lib: make_net(lib).get_buffer("x"),
    "no buffer": lambda lib: make_net(lib).get_buffer("scale"),
    "no forward": lambda lib: lib.nn.Module()(1),
    "arguments": lambda lib: lib.nn.Module(1),
    "keyword": lambda lib: lib.nn.Module(a=1),
    "mode": lambda lib: make_net(lib).train(1),
    "to int": lambda lib: make_net(lib).to(lib.int64),
    "state kind": lambda lib: make_net(lib).load_state_dict([1]),
    "both hooks": lambda lib: both_hooks(lib),
}


def uninitialised(lib):
    return lib.nn.Module.__new__(lib.nn.Module)


def parameter_with_history(lib):
    """A parameter that an operation has changed in place."""
    p = lib.nn.Parameter(lib.ones(1), requires_grad=False)
    return p.mul_(lib.ones(1, requires_grad=True))


def both_hooks(lib):
    net = make_net(lib)
    net.register_backward_hook(print)
    net.register_full_backward_hook(print)


@pytest.mark.parametrize("name", ATTRIBUTE_ERRORS)
def test_attribute_errors_are_those_of_pytorch(name):
    with pytest.raises(Exception) as theirs:
        ATTRIBUTE_ERRORS[name](torch)
    with pytest.raises(theirs.type) as ours:
        ATTRIBUTE_ERRORS[name](ctorch)
    assert str(ours.value).replace("ctorch", "torch") == str(theirs.value)


def test_train_eval_apply_requires_grad_zero_grad():
    net = make_net(ctorch)
    assert net.eval() is net and not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())
    seen = []
    net.apply(lambda m: seen.append(type(m).__name__))
    seen_by_torch = []
    make_net(torch).apply(lambda m: seen_by_torch.append(type(m).__name__))
    assert seen == seen_by_torch
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    p = net.requires_grad_().scale
    p.grad = ctorch.ones(3)
    net.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0, 0]
    net.zero_grad()
    assert p.grad is None


@pytest.mark.parametrize(
    "convert",
    [
        lambda lib, m: m.double(),
        lambda lib, m: m.half(),
        lambda lib, m: m.bfloat16(),
        lambda lib, m: m.to(lib.float64),
        lambda lib, m: m.to("cpu", lib.float64),
        lambda lib, m: m.to(device="cpu"),
        lambda lib, m: m.to(lib.ones(1, dtype=lib.float64)),
        lambda lib, m: m.to(dtype=lib.float16).float(),
        lambda lib, m: m.type(lib.float64),
        lambda lib, m: m.cpu(),
    ],
)
def test_conversion(convert):
    results = []
    for lib in LIBRARIES:
        net = lib.nn.BatchNorm1d(3)
        before = net.weight
        before.grad = lib.ones(3)
        assert convert(lib, net) is net
        assert net.weight is before and isinstance(net.weight, lib.nn.Parameter)
        assert net.weight.grad.dtype == net.weight.dtype
        results.append([str(v.dtype).split(".")[-1] for v in net.state_dict().values()])
    assert results[0] == results[1]


def test_conversion_to_a_memory_format_leaves_vectors_alone():
    net = ctorch.nn.Conv2d(3, 4, 2).to(memory_format=ctorch.channels_last)
    assert net.weight.stride() == (12, 1, 6, 3) and net.bias.stride() == (1,)


def test_converted_parameters_are_trained():
    net = ctorch.nn.Linear(2, 1).double()
    net(ctorch.ones(1, 2, dtype=ctorch.float64)).sum().backward()
    assert net.weight.grad.dtype == ctorch.float64


def test_load_state_dict():
    a, b = make_net(ctorch, 0), make_net(ctorch, 1)
    result = b.load_state_dict(a.state_dict())
    assert repr(result) == "<All keys matched successfully>"
    for p, q in zip(a.state_dict().values(), b.state_dict().values()):
        assert ctorch.equal(p, q)
    state = {k: v.clone() for k, v in a.state_dict().items()}
    b.load_state_dict(state, assign=True)
    assert b.conv.weight.data_ptr() == state["conv.weight"].data_ptr()
    assert isinstance(b.conv.weight, ctorch.nn.Parameter)


def broken_states(lib):
    good = make_net(lib).state_dict()
    without = OrderedDict((k, v) for k, v in good.items() if "conv" not in k)
    return {
        "missing": without,
        "unexpected": OrderedDict(good, extra=lib.ones(1), **{"conv.a.b": lib.ones(1)}),
        "both": OrderedDict(without, extra=lib.ones(1)),
        "size": OrderedDict(good, scale=lib.ones(4), offset=lib.ones(2, 2)),
        "kind": OrderedDict(good, scale=3),
        "all": OrderedDict(without, extra=lib.ones(1), scale=lib.ones(4)),
        "empty": {},
    }


@pytest.mark.parametrize("name", broken_states(torch))
@pytest.mark.parametrize("strict", [True, False])
def test_load_state_dict_errors_are_those_of_pytorch(name, strict):
    results = []
    for lib in LIBRARIES:
        try:
            results.append(repr(make_net(lib).load_state_dict(broken_states(lib)[name], strict=strict)))
        except RuntimeError as error:
            results.append(str(error))
    assert results[0] == results[1]


def test_old_batch_norm_states_are_taken():
    state = OrderedDict((k, v) for k, v in ctorch.nn.BatchNorm1d(2).state_dict().items() if "num" not in k)
    ctorch.nn.BatchNorm1d(2).load_state_dict(state)


def test_extra_state():
    def make(lib):
        class Extra(lib.nn.Module):
            value = 1

            def get_extra_state(self):
                return self.value

            def set_extra_state(self, state):
                self.value = state

        return lib.nn.Sequential(Extra())

    a, b = make(ctorch), make(ctorch)
    a[0].value = 5
    assert list(a.state_dict()) == list(make(torch).state_dict()) == ["0._extra_state"]
    b.load_state_dict(a.state_dict())
    assert b[0].value == 5
    with pytest.raises(RuntimeError, match=r"Missing key.*_extra_state"):
        b.load_state_dict({})


def test_state_dict_hooks():
    seen = []
    net = ctorch.nn.Linear(1, 1)
    net.register_state_dict_pre_hook(lambda m, prefix, keep: seen.append("pre"))
    net.register_state_dict_post_hook(lambda m, state, prefix, meta: state.update(x=1))
    state = net.state_dict()
    assert state.pop("x") == 1
    net.register_load_state_dict_pre_hook(lambda m, *args: seen.append(type(m).__name__))
    net.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    net.load_state_dict({"weight": state["weight"]})
    assert seen == ["pre", "Linear"]


def test_forward_hooks():
    def make(lib):
        log = []
        net = lib.nn.Linear(2, 2)
        net.register_forward_pre_hook(lambda m, args: log.append("pre 1"))
        net.register_forward_pre_hook(lambda m, args: (args[0] * 2,), prepend=True)
        net.register_forward_pre_hook(lambda m, args, kwargs: (args, kwargs), with_kwargs=True)
        handle = net.register_forward_hook(lambda m, args, out: log.append(len(args)))
        net.register_forward_hook(lambda m, args, kwargs, out: out + 1, with_kwargs=True)
        lib.nn.init.ones_(net.weight)
        lib.nn.init.zeros_(net.bias)
        results = [net(lib.ones(1, 2)).tolist()]
        handle.remove()
        results.append(net(lib.ones(1, 2)).tolist())
        return results, log

    assert make(ctorch) == make(torch)


def test_a_hook_that_is_always_called():
    seen = []

    class Fails(ctorch.nn.Module):
        def forward(self, x):
            raise ValueError("no")

    net = Fails()
    net.register_forward_hook(lambda m, args, out: seen.append(out), always_call=True)
    with pytest.raises(ValueError, match="no"):
        net(1)
    assert seen == [None]


def test_global_hooks():
    from ctorch.nn.hooks import register_module_forward_hook

    seen = []
    with register_module_forward_hook(lambda m, args, out: seen.append(type(m).__name__)):
        ctorch.nn.Sequential(ctorch.nn.Identity())(1)
    ctorch.nn.Identity()(1)
    assert seen == ["Identity", "Sequential"]


def test_full_backward_hooks():
    def make(lib):
        log = []
        net = lib.nn.Sequential(lib.nn.Linear(2, 3, bias=False), lib.nn.Tanh())
        with lib.no_grad():
            net[0].weight.copy_(lib.arange(6.0).reshape(3, 2) / 6)
        net[1].register_full_backward_pre_hook(lambda m, grads: (grads[0] * 2,))
        net[1].register_full_backward_hook(
            lambda m, grad_in, grad_out: log.append((grad_in[0].tolist(), grad_out[0].tolist()))
        )
        net[0].register_full_backward_hook(lambda m, grad_in, grad_out: (grad_in[0] * 10,))
        x = lib.ones(1, 2, requires_grad=True)
        net(x).sum().backward()
        return [*log[0], x.grad.tolist(), net[0].weight.grad.tolist()]

    for a, b in zip(make(ctorch), make(torch)):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_full_backward_hook_without_a_gradient_of_the_input():
    seen = []
    net = ctorch.nn.Linear(2, 1)
    net.register_full_backward_hook(lambda m, grad_in, grad_out: seen.append((grad_in, grad_out[0].tolist())))
    net(ctorch.ones(1, 2)).sum().backward()
    assert seen == [((None,), [[1.0]])]
    assert net.weight.grad is not None


def test_copies_and_pickles():
    net = ctorch.nn.Sequential(ctorch.nn.Linear(2, 3), ctorch.nn.BatchNorm1d(3), ctorch.nn.ReLU())
    net[0].weight.requires_grad_(False)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert repr(other) == repr(net)
        assert other[0].weight is not net[0].weight and not other[0].weight.requires_grad
        assert other[0].bias.requires_grad and isinstance(other[0].bias, ctorch.nn.Parameter)
        for p, q in zip(net.state_dict().values(), other.state_dict().values()):
            assert ctorch.equal(p, q) and p.data_ptr() != q.data_ptr()
    tied = ctorch.nn.Module()
    tied.a = tied.b = ctorch.nn.Parameter(ctorch.ones(1))
    other = copy.deepcopy(tied)
    assert other.a is other.b


def test_parameters():
    p = ctorch.nn.Parameter(ctorch.ones(2))
    assert p.requires_grad and p.is_leaf and isinstance(p, ctorch.Tensor)
    assert repr(p) == repr(torch.nn.Parameter(torch.ones(2)))
    assert type(p * 2) is ctorch.Tensor and type(p.detach()) is ctorch.Tensor
    assert not ctorch.nn.Parameter(ctorch.ones(2), requires_grad=False).requires_grad
    assert ctorch.nn.Parameter().shape == (0,)
    x = ctorch.ones(2)
    q = ctorch.nn.Parameter(x)
    x[0] = 5
    assert q[0].item() == 5
    with pytest.raises(TypeError, match="expected data to be a Tensor, got list"):
        ctorch.nn.Parameter([1.0])
    with pytest.raises(RuntimeError):
        ctorch.nn.Parameter(ctorch.ones(2, dtype=ctorch.int64))


# Containers -------------------------------------------------------------------------------------------------


def sequential_story(nn):
    a = nn.Sequential(OrderedDict(first=nn.Linear(1, 2), second=nn.ReLU()))
    b = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Tanh(), nn.Sigmoid())
    story = [repr(a), repr(b), repr(a + b), repr(a * 2), len(b), repr(b[1:3]), repr(b[-1]), repr(a[:1])]
    b[1] = nn.GELU()
    del b[0]
    story.append(repr(b))
    del b[:2]
    b.append(nn.ELU()).insert(0, nn.SiLU())
    b.insert(-1, nn.SELU())
    b.extend([nn.Identity()])
    story += [repr(b), repr(b.pop(0)), repr(b), [type(m).__name__ for m in b]]
    b += nn.Sequential(nn.ReLU())
    b *= 2
    return [*story, repr(b)]


def list_story(nn):
    a = nn.ModuleList([nn.Linear(1, 2), nn.Linear(1, 2), nn.ReLU()])
    story = [repr(a), len(a), repr(a[-1]), repr(a[:2]), repr(a + [nn.Tanh()]), repr(nn.ModuleList())]
    a.insert(1, nn.GELU())
    a.append(nn.Tanh())
    a.extend([nn.Tanh(), nn.Tanh()])
    a[0] = nn.Identity()
    del a[2]
    story += [repr(a), repr(a.pop(-1)), repr(a), [type(m).__name__ for m in a]]
    del a[1:3]
    a += [nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU())]
    return [*story, repr(a)]


def dict_story(nn):
    a = nn.ModuleDict({"x": nn.Linear(1, 2), "a": nn.ReLU()})
    a["b"] = nn.Tanh()
    a.update([["c", nn.GELU()], ("d", nn.ELU())])
    story = [repr(a), list(a), "a" in a, len(a), list(a.keys()), repr(a.pop("a")), repr(a["x"])]
    del a["x"]
    story += [repr(a), [k for k, _ in a.items()], [repr(v) for v in a.values()]]
    a.clear()
    return [*story, repr(a)]


def parameter_list_story(nn):
    lib = ctorch if nn is ctorch.nn else torch
    a = nn.ParameterList([lib.ones(2, 3), nn.Parameter(lib.zeros(1)), "text"])
    a.append(lib.ones(4))
    a.extend([lib.ones(())])
    story = [repr(a), len(a), [n for n, _ in a.named_parameters()], a[-1].item(), repr(a[1:3]), a[2]]
    a[0] = lib.zeros(2)
    a += [lib.ones(1)]
    return [*story, repr(a), list(a.state_dict())]


def parameter_dict_story(nn):
    lib = ctorch if nn is ctorch.nn else torch
    a = nn.ParameterDict({"b": lib.ones(2), "a": lib.ones(3, 1), "n": 3})
    a["x"] = nn.Parameter(lib.zeros(1))
    a.update(OrderedDict(z=lib.ones(1), y=lib.ones(1)))
    story = [repr(a), list(a), "a" in a, len(a), list(a.keys()), a.get("q", 5), a.pop("a").tolist()]
    del a["b"]
    story += [repr(a), a.setdefault("new", lib.ones(1)).tolist(), a.popitem()[0], list(a.state_dict())]
    story += [repr(a | nn.ParameterDict({"k": lib.ones(1)})), list(reversed(a)), repr(a.copy())]
    story.append(repr(a.fromkeys(["e"], lib.ones(1))))
    a.clear()
    return [*story, repr(a)]


@pytest.mark.parametrize(
    "story", [sequential_story, list_story, dict_story, parameter_list_story, parameter_dict_story]
)
def test_containers(story):
    for ours, theirs in zip(story(ctorch.nn), story(torch.nn)):
        assert ours == theirs


CONTAINER_ERRORS = {
    "index": lambda nn: nn.Sequential(nn.ReLU())[1],
    "list index": lambda nn: nn.ModuleList([nn.ReLU()])[-2],
    "insert": lambda nn: nn.Sequential(nn.ReLU()).insert(5, nn.ReLU()),
    "add": lambda nn: nn.Sequential() + [1],
    "times": lambda nn: nn.Sequential(nn.ReLU()) * 1.5,
    "extend": lambda nn: nn.ModuleList().extend(3),
    "update": lambda nn: nn.ModuleDict().update(3),
    "pairs": lambda nn: nn.ModuleDict().update([[1, 2, 3]]),
    "no pair": lambda nn: nn.ModuleDict().update([3]),
    "not a module": lambda nn: nn.Sequential(3),
    "no such key": lambda nn: nn.ModuleDict()["a"],
    "parameter index": lambda nn: nn.ParameterList()[0],
    "parameter extend": lambda nn: nn.ParameterList().extend(3),
    "called": lambda nn: nn.ParameterList()(3),
    "dict called": lambda nn: nn.ParameterDict()(3),
    "list called": lambda nn: nn.ModuleList()(3),
}


@pytest.mark.parametrize("name", CONTAINER_ERRORS)
def test_container_errors_are_those_of_pytorch(name):
    with pytest.raises(Exception) as theirs:
        CONTAINER_ERRORS[name](torch.nn)
    with pytest.raises(theirs.type) as ours:
        CONTAINER_ERRORS[name](ctorch.nn)
    assert str(ours.value).replace("ctorch.nn", "torch.nn") == str(theirs.value)


# Layers -----------------------------------------------------------------------------------------------------

IMAGE = (2, 4, 9, 8)
SIGNAL = (2, 4, 9)
TABLE = (6, 4)

LAYERS = {
    "Identity": (lambda nn: nn.Identity(3, a=1), TABLE),
    "Linear": (lambda nn: nn.Linear(4, 3), TABLE),
    "Linear 1d": (lambda nn: nn.Linear(4, 3), (4,)),
    "Linear 3d no bias": (lambda nn: nn.Linear(9, 3, bias=False), SIGNAL),
    "Conv1d": (lambda nn: nn.Conv1d(4, 6, 3), SIGNAL),
    "Conv1d options": (lambda nn: nn.Conv1d(4, 6, 3, 2, padding=1, dilation=2, groups=2, bias=False), SIGNAL),
    "Conv1d same": (lambda nn: nn.Conv1d(4, 6, 4, padding="same"), SIGNAL),
    "Conv2d": (lambda nn: nn.Conv2d(4, 6, 3), IMAGE),
    "Conv2d unbatched": (lambda nn: nn.Conv2d(4, 6, 3), IMAGE[1:]),
    "Conv2d options": (lambda nn: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2, False), IMAGE),
    "Conv2d depthwise": (lambda nn: nn.Conv2d(4, 4, 3, groups=4, padding=1), IMAGE),
    "Conv2d same": (lambda nn: nn.Conv2d(4, 6, (3, 4), padding="same", dilation=2), IMAGE),
    "Conv2d valid": (lambda nn: nn.Conv2d(4, 6, 3, padding="valid"), IMAGE),
    "Conv2d reflect": (lambda nn: nn.Conv2d(4, 6, 3, padding=(1, 2), padding_mode="reflect"), IMAGE),
    "Conv2d replicate": (lambda nn: nn.Conv2d(4, 6, 3, padding=2, padding_mode="replicate"), IMAGE),
    "Conv2d circular": (lambda nn: nn.Conv2d(4, 6, 4, padding="same", padding_mode="circular"), IMAGE),
    "MaxPool1d": (lambda nn: nn.MaxPool1d(3, 2, 1), SIGNAL),
    "MaxPool1d indices": (lambda nn: nn.MaxPool1d(2, return_indices=True), SIGNAL),
    "MaxPool2d": (lambda nn: nn.MaxPool2d(2), IMAGE),
    "MaxPool2d options": (lambda nn: nn.MaxPool2d((3, 2), (2, 1), (1, 0), (1, 2), ceil_mode=True), IMAGE),
    "MaxPool2d indices": (lambda nn: nn.MaxPool2d(2, return_indices=True), IMAGE),
    "AvgPool1d": (lambda nn: nn.AvgPool1d(3, 2, 1, count_include_pad=False), SIGNAL),
    "AvgPool2d": (lambda nn: nn.AvgPool2d(2), IMAGE),
    "AvgPool2d options": (lambda nn: nn.AvgPool2d((3, 2), 2, (1, 0), True, False), IMAGE),
    "AvgPool2d divisor": (lambda nn: nn.AvgPool2d(2, divisor_override=3), IMAGE),
    "AdaptiveAvgPool1d": (lambda nn: nn.AdaptiveAvgPool1d(4), SIGNAL),
    "AdaptiveAvgPool2d": (lambda nn: nn.AdaptiveAvgPool2d((5, None)), IMAGE),
    "AdaptiveAvgPool2d int": (lambda nn: nn.AdaptiveAvgPool2d(3), IMAGE),
    "BatchNorm1d": (lambda nn: nn.BatchNorm1d(4), TABLE),
    "BatchNorm1d signal": (lambda nn: nn.BatchNorm1d(4, eps=1e-3, momentum=0.3), SIGNAL),
    "BatchNorm2d": (lambda nn: nn.BatchNorm2d(4), IMAGE),
    "BatchNorm2d mean over time": (lambda nn: nn.BatchNorm2d(4, momentum=None), IMAGE),
    "BatchNorm2d plain": (lambda nn: nn.BatchNorm2d(4, affine=False, track_running_stats=False), IMAGE),
    "BatchNorm2d no bias": (lambda nn: nn.BatchNorm2d(4, bias=False), IMAGE),
    "LayerNorm": (lambda nn: nn.LayerNorm(9), SIGNAL),
    "LayerNorm 2d": (lambda nn: nn.LayerNorm((9, 8), eps=1e-3, bias=False), IMAGE),
    "LayerNorm plain": (lambda nn: nn.LayerNorm([8], elementwise_affine=False), IMAGE),
    "GroupNorm": (lambda nn: nn.GroupNorm(2, 4), IMAGE),
    "GroupNorm plain": (lambda nn: nn.GroupNorm(4, 4, affine=False), SIGNAL),
    "RMSNorm": (lambda nn: nn.RMSNorm((9, 8), eps=1e-5), IMAGE),
    "Flatten": (lambda nn: nn.Flatten(), IMAGE),
    "Flatten part": (lambda nn: nn.Flatten(0, 2), IMAGE),
    "Unflatten": (lambda nn: nn.Unflatten(1, (2, 2)), IMAGE),
    "Dropout eval": (lambda nn: nn.Dropout(0.3).eval(), IMAGE),
    "Dropout": (lambda nn: nn.Dropout(0.3), IMAGE),
    "Dropout1d": (lambda nn: nn.Dropout1d(0.3), SIGNAL),
    "Dropout2d": (lambda nn: nn.Dropout2d(0.3), IMAGE),
    "Dropout all": (lambda nn: nn.Dropout(1.0), IMAGE),
    "CELU": (lambda nn: nn.CELU(1.3), IMAGE),
    "ELU": (lambda nn: nn.ELU(1.3), IMAGE),
    "GELU": (lambda nn: nn.GELU(), IMAGE),
    "GELU tanh": (lambda nn: nn.GELU("tanh"), IMAGE),
    "GLU": (lambda nn: nn.GLU(1), IMAGE),
    "Hardshrink": (lambda nn: nn.Hardshrink(), IMAGE),
    "Hardsigmoid": (lambda nn: nn.Hardsigmoid(), IMAGE),
    "Hardswish": (lambda nn: nn.Hardswish(), IMAGE),
    "Hardtanh": (lambda nn: nn.Hardtanh(-0.5, 0.7), IMAGE),
    "LeakyReLU": (lambda nn: nn.LeakyReLU(0.2), IMAGE),
    "LogSigmoid": (lambda nn: nn.LogSigmoid(), IMAGE),
    "LogSoftmax": (lambda nn: nn.LogSoftmax(1), IMAGE),
    "Mish": (lambda nn: nn.Mish(), IMAGE),
    "PReLU": (lambda nn: nn.PReLU(), IMAGE),
    "PReLU channels": (lambda nn: nn.PReLU(4, init=0.1), IMAGE),
    "ReLU": (lambda nn: nn.ReLU(), IMAGE),
    "ReLU6": (lambda nn: nn.ReLU6(), IMAGE),
    "SELU": (lambda nn: nn.SELU(), IMAGE),
    "SiLU": (lambda nn: nn.SiLU(), IMAGE),
    "Sigmoid": (lambda nn: nn.Sigmoid(), IMAGE),
    "Softmax": (lambda nn: nn.Softmax(-1), IMAGE),
    "Softmax implicit": (lambda nn: nn.Softmax(), SIGNAL),
    "Softmax2d": (lambda nn: nn.Softmax2d(), IMAGE),
    "Softmin": (lambda nn: nn.Softmin(0), IMAGE),
    "Softplus": (lambda nn: nn.Softplus(2.0, 1.0), IMAGE),
    "Softshrink": (lambda nn: nn.Softshrink(0.3), IMAGE),
    "Softsign": (lambda nn: nn.Softsign(), IMAGE),
    "Tanh": (lambda nn: nn.Tanh(), IMAGE),
    "Tanhshrink": (lambda nn: nn.Tanhshrink(), IMAGE),
    "Threshold": (lambda nn: nn.Threshold(0.1, 3.0), IMAGE),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name):
    """Text, starting values, results, gradients of input and parameters, and the buffers afterwards."""
    make, shape = LAYERS[name]
    nets = []
    for lib in LIBRARIES:
        lib.manual_seed(3)
        nets.append(make(lib.nn))
    ours, theirs = nets
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for p, q in zip(ours.state_dict().values(), theirs.state_dict().values()):
        np.testing.assert_allclose(numpy_of(p), numpy_of(q), rtol=1e-6)
    compare(lambda lib: ours if lib is ctorch else theirs, arrays(shape), rtol=1e-4, atol=1e-5)
    for p, q in zip(ours.parameters(), theirs.parameters()):
        assert_close(p.grad, q.grad, rtol=1e-4, atol=2e-5)
    for p, q in zip(ours.buffers(), theirs.buffers()):
        assert_close(p, q)
    ours.eval(), theirs.eval()
    compare(lambda lib: ours if lib is ctorch else theirs, arrays(shape), rtol=1e-4, atol=1e-5)
    assert repr(pickle.loads(pickle.dumps(ours))) == repr(theirs)


INPLACE = [
    "CELU",
    "ELU",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "LeakyReLU",
    "Mish",
    "ReLU",
    "ReLU6",
    "SELU",
    "SiLU",
]


@pytest.mark.parametrize("name", INPLACE)
def test_activation_in_place(name):
    assert repr(getattr(ctorch.nn, name)(inplace=True)) == repr(getattr(torch.nn, name)(inplace=True))

    def make(lib):
        def function(x):
            y = x * 2
            result = getattr(lib.nn, name)(inplace=True)(y)
            assert result is y
            return result

        return function

    compare(make, arrays((3, 5)))


def test_bilinear():
    def make(lib):
        lib.manual_seed(0)
        return lib.nn.Bilinear(3, 4, 5)

    assert repr(make(ctorch)) == repr(make(torch))
    compare(make, arrays((2, 6, 3), (2, 6, 4)))


def test_embedding():
    index = np.array([[0, 2, 2], [4, 1, 0]])
    for options in (
        {},
        {"padding_idx": 2},
        {"padding_idx": -1},
        {"max_norm": 1.0},
        {"scale_grad_by_freq": True},
    ):
        nets, results = [], []
        for lib in LIBRARIES:
            lib.manual_seed(0)
            net = lib.nn.Embedding(5, 3, **options)
            result = net(lib.tensor(index))
            (result * result).sum().backward()
            nets.append(net)
            results.append([result, net.weight, net.weight.grad])
        assert repr(nets[0]) == repr(nets[1])
        assert_close(*results)


def test_embedding_from_pretrained():
    vectors = ctorch.arange(6.0).reshape(3, 2)
    net = ctorch.nn.Embedding.from_pretrained(vectors)
    assert not net.weight.requires_grad and net(ctorch.tensor([2])).tolist() == [[4.0, 5.0]]
    assert net.weight.data_ptr() == vectors.data_ptr()
    with pytest.raises(AssertionError, match="2-dimensional"):
        ctorch.nn.Embedding.from_pretrained(ctorch.ones(3))


def test_distances():
    compare(lambda lib: lib.nn.CosineSimilarity(), arrays((4, 5), (4, 5)))
    compare(lambda lib: lib.nn.PairwiseDistance(p=3, keepdim=True), arrays((4, 5), (4, 5)))


LAYER_ERRORS = {
    "groups": lambda lib: lib.nn.Conv2d(4, 6, 3, groups=0),
    "in_channels": lambda lib: lib.nn.Conv2d(3, 6, 3, groups=2),
    "out_channels": lambda lib: lib.nn.Conv2d(4, 5, 3, groups=2),
    "same stride": lambda lib: lib.nn.Conv2d(4, 6, 3, 2, padding="same"),
    "dropout": lambda lib: lib.nn.Dropout(1.5),
    "dropout function": lambda lib: lib.nn.functional.dropout(lib.ones(2), -0.1),
    "batch norm dims": lambda lib: lib.nn.BatchNorm2d(3)(lib.ones(2, 3)),
    "batch norm 1d dims": lambda lib: lib.nn.BatchNorm1d(3)(lib.ones(3)),
    "batch norm one": lambda lib: lib.nn.BatchNorm1d(3)(lib.ones(1, 3)),
    "group norm": lambda lib: lib.nn.GroupNorm(3, 4),
    "padding_idx": lambda lib: lib.nn.Embedding(3, 2, padding_idx=3),
    "embedding weight": lambda lib: lib.nn.Embedding(3, 2, _weight=lib.ones(2, 2)),
    "unflatten": lambda lib: lib.nn.Unflatten(1, 3),
    "unflatten element": lambda lib: lib.nn.Unflatten(1, (2, "a")),
    "bilinear": lambda lib: lib.nn.Bilinear(0, 2, 3),
    "hardtanh": lambda lib: lib.nn.Hardtanh(1, 0),
    "softmax2d": lambda lib: lib.nn.Softmax2d()(lib.ones(2)),
    "reduction": lambda lib: lib.nn.functional.mse_loss(lib.ones(2), lib.ones(2), reduction="all"),
    "bce shapes": lambda lib: lib.nn.BCELoss()(lib.ones(2), lib.ones(3)),
    "bce logits shapes": lambda lib: lib.nn.BCEWithLogitsLoss()(lib.ones(2), lib.ones(3)),
    "pad odd": lambda lib: lib.nn.functional.pad(lib.ones(2), (1,)),
    "fan": lambda lib: lib.nn.init.kaiming_uniform_(lib.ones(2)),
    "mode": lambda lib: lib.nn.init.kaiming_normal_(lib.ones(2, 2), mode="fan"),
    "gain": lambda lib: lib.nn.init.calculate_gain("unknown"),
    "gain slope": lambda lib: lib.nn.init.calculate_gain("leaky_relu", "a"),
    "eye": lambda lib: lib.nn.init.eye_(lib.ones(2)),
    "dirac": lambda lib: lib.nn.init.dirac_(lib.ones(2)),
    "dirac groups": lambda lib: lib.nn.init.dirac_(lib.ones(3, 2, 1), groups=2),
    "orthogonal": lambda lib: lib.nn.init.orthogonal_(lib.ones(2)),
    "sparse": lambda lib: lib.nn.init.sparse_(lib.ones(2), 0.5),
}


@pytest.mark.parametrize("name", LAYER_ERRORS)
def test_layer_errors_are_those_of_pytorch(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Exception) as theirs:
            LAYER_ERRORS[name](torch)
        with pytest.raises(theirs.type) as ours:
            LAYER_ERRORS[name](ctorch)
    assert str(theirs.value) in str(ours.value)  # which names the operation too


WRONG_SHAPES = {
    "linear": lambda lib: lib.nn.Linear(4, 3)(lib.ones(2, 5)),
    "conv channels": lambda lib: lib.nn.Conv2d(4, 3, 3)(lib.ones(1, 3, 8, 8)),
    "conv small": lambda lib: lib.nn.Conv2d(1, 3, 3)(lib.ones(1, 1, 2, 2)),
    "conv dims": lambda lib: lib.nn.Conv2d(1, 3, 3)(lib.ones(2, 2)),
    "pool small": lambda lib: lib.nn.MaxPool2d(3)(lib.ones(1, 1, 2, 2)),
    "pool padding": lambda lib: lib.nn.MaxPool2d(2, padding=2)(lib.ones(1, 1, 4, 4)),
    "layer norm": lambda lib: lib.nn.LayerNorm(3)(lib.ones(2, 4)),
    "embedding": lambda lib: lib.nn.Embedding(3, 2)(lib.tensor([3])),
    "target": lambda lib: lib.nn.CrossEntropyLoss()(lib.ones(2, 3), lib.tensor([0, 3])),
    "target size": lambda lib: lib.nn.CrossEntropyLoss()(lib.ones(2, 3), lib.tensor([0])),
    "glu": lambda lib: lib.nn.GLU()(lib.ones(3)),
    "reflect": lambda lib: lib.nn.functional.pad(lib.ones(1, 1, 3), (3, 0), "reflect"),
}


@pytest.mark.parametrize("name", WRONG_SHAPES)
def test_wrong_shapes_are_errors_of_the_same_class(name):
    with pytest.raises(Exception) as theirs:
        WRONG_SHAPES[name](torch)
    with pytest.raises(theirs.type):
        WRONG_SHAPES[name](ctorch)


# Functionals and losses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pad, options",
    [
        ((1, 2), {}),
        ((1, 0, 2, 3), {"value": 1.5}),
        ((-1, 2, 0, -1), {}),
        ((1, 2, 0, 3), {"mode": "reflect"}),
        ((3, 1, 0, 2), {"mode": "replicate"}),
        ((2, 3, 1, 0), {"mode": "circular"}),
    ],
)
def test_pad(pad, options):
    compare(lambda lib: lambda x: lib.nn.functional.pad(x, pad, **options), arrays((2, 3, 5, 6)))


@pytest.mark.parametrize("p, dim", [(2, 1), (1, 0), (3, -1)])
def test_normalize(p, dim):
    compare(lambda lib: lambda x: lib.nn.functional.normalize(x, p, dim), arrays((3, 4, 5)))


def test_softmax_in_another_dtype():
    x = ctorch.tensor([1, 2], dtype=ctorch.int64)
    assert ctorch.nn.functional.softmax(x, 0, dtype=ctorch.float64).dtype == ctorch.float64
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
        ctorch.nn.functional.softmax(ctorch.ones(2))


def test_gumbel_softmax_draws_the_same():
    results = []
    for lib in LIBRARIES:
        lib.manual_seed(0)
        results.append(lib.nn.functional.gumbel_softmax(lib.ones(20, 3), hard=True))
    assert_close(*results)


def test_one_hot():
    x = ctorch.tensor([[0, 2], [1, 0]])
    assert (
        ctorch.nn.functional.one_hot(x).tolist()
        == torch.nn.functional.one_hot(torch.tensor(x.tolist())).tolist()
    )


PROBABILITIES = (np.random.default_rng(5).random((6, 4)) * 0.8 + 0.1).astype("float32")
SUMS_TO_ONE = PROBABILITIES / PROBABILITIES.sum(1, keepdims=True)
CLASSES = np.array([0, 3, 1, -100, 2, 2])
LOGITS, OTHER = arrays((6, 4), (6, 4), seed=4)
CLASS_WEIGHTS = np.array([1.0, 0.5, 2.0, 0.0], "float32")
MAPS, MAP_CLASSES = arrays((2, 4, 3, 2), seed=6)[0], np.random.default_rng(1).integers(0, 4, (2, 3, 2))
WEIGHTS = np.abs(OTHER)

LOSSES = {
    "cross_entropy": (LOGITS, CLASSES, {}),
    "cross_entropy weights": (LOGITS, CLASSES, {"weight": CLASS_WEIGHTS}),
    "cross_entropy ignore": (LOGITS, np.abs(CLASSES) % 4, {"ignore_index": 2}),
    "cross_entropy smoothing": (LOGITS, CLASSES, {"label_smoothing": 0.1, "weight": CLASS_WEIGHTS}),
    "cross_entropy probabilities": (LOGITS, SUMS_TO_ONE, {}),
    "cross_entropy probabilities weights": (
        LOGITS,
        SUMS_TO_ONE,
        {"weight": CLASS_WEIGHTS, "label_smoothing": 0.2},
    ),
    "cross_entropy maps": (MAPS, MAP_CLASSES, {"weight": CLASS_WEIGHTS}),
    "cross_entropy one": (LOGITS[0], np.array(2), {}),
    "nll_loss": (LOGITS, CLASSES, {}),
    "nll_loss weights": (LOGITS, CLASSES, {"weight": CLASS_WEIGHTS}),
    "nll_loss maps": (MAPS, MAP_CLASSES, {}),
    "mse_loss": (LOGITS, OTHER, {}),
    "mse_loss weights": (LOGITS, OTHER, {"weight": WEIGHTS}),
    "mse_loss broadcast": (LOGITS, OTHER[:1], {}),
    "l1_loss": (LOGITS, OTHER, {}),
    "l1_loss weights": (LOGITS, OTHER, {"weight": WEIGHTS}),
    "smooth_l1_loss": (LOGITS, OTHER, {"beta": 0.7}),
    "smooth_l1_loss beta 0": (LOGITS, OTHER, {"beta": 0.0}),
    "huber_loss": (LOGITS, OTHER, {"delta": 0.7}),
    "huber_loss weights": (LOGITS, OTHER, {"weight": WEIGHTS}),
    "binary_cross_entropy": (PROBABILITIES, SUMS_TO_ONE, {}),
    "binary_cross_entropy weights": (PROBABILITIES, SUMS_TO_ONE, {"weight": CLASS_WEIGHTS}),
    "binary_cross_entropy_with_logits": (LOGITS, SUMS_TO_ONE, {}),
    "binary_cross_entropy_with_logits weights": (
        LOGITS,
        SUMS_TO_ONE,
        {"weight": WEIGHTS, "pos_weight": CLASS_WEIGHTS},
    ),
    "kl_div": (np.log(PROBABILITIES), SUMS_TO_ONE, {}),
    "kl_div log_target": (np.log(PROBABILITIES), np.log(SUMS_TO_ONE), {"log_target": True}),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", LOSSES)
def test_loss(name, reduction):
    x, target, options = LOSSES[name]

    def make(lib):
        function = getattr(lib.nn.functional, name.split()[0])
        converted = {k: lib.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        return lambda x: function(x, lib.tensor(target), reduction=reduction, **converted)

    compare(make, [x])


def test_kl_div_over_the_batch():
    compare(
        lambda lib: lambda x: lib.nn.functional.kl_div(x, lib.tensor(SUMS_TO_ONE), reduction="batchmean"),
        [np.log(PROBABILITIES)],
    )


LOSS_MODULES = {
    "CrossEntropyLoss": {"weight": CLASS_WEIGHTS, "label_smoothing": 0.1},
    "NLLLoss": {"weight": CLASS_WEIGHTS},
    "MSELoss": {"reduction": "sum"},
    "L1Loss": {},
    "SmoothL1Loss": {"beta": 0.5},
    "HuberLoss": {"delta": 0.5},
    "BCELoss": {"weight": CLASS_WEIGHTS},
    "BCEWithLogitsLoss": {"pos_weight": CLASS_WEIGHTS},
    "KLDivLoss": {"reduction": "batchmean"},
}


@pytest.mark.parametrize("name", LOSS_MODULES)
def test_loss_module(name):
    def make(lib):
        options = {
            k: lib.tensor(v) if isinstance(v, np.ndarray) else v for k, v in LOSS_MODULES[name].items()
        }
        return getattr(lib.nn, name)(**options)

    assert repr(make(ctorch)) == repr(make(torch))
    assert list(make(ctorch).state_dict()) == list(make(torch).state_dict())
    target = CLASSES if name in ("CrossEntropyLoss", "NLLLoss") else SUMS_TO_ONE
    x = PROBABILITIES if name == "BCELoss" else LOGITS
    compare(lambda lib: lambda x: make(lib)(x, lib.tensor(target)), [x])


def test_old_reduction_arguments():
    with pytest.warns(UserWarning, match="reduction='sum'"):
        assert ctorch.nn.MSELoss(size_average=False).reduction == "sum"
    with pytest.warns(UserWarning, match="reduction='none'"):
        assert ctorch.nn.MSELoss(reduce=False).reduction == "none"


# Initial values and utilities -------------------------------------------------------------------------------

INITS = {
    "uniform_": ((5, 7), {"a": -1.0, "b": 2.0}),
    "normal_": ((5, 7), {"mean": 1.0, "std": 2.0}),
    "trunc_normal_": ((5, 7), {}),
    "trunc_normal_ narrow": ((50, 7), {"a": 2.0, "b": 2.5}),
    "trunc_normal_ shifted": ((50, 7), {"mean": 1.0, "std": 0.5, "a": 0.9, "b": 1.1}),
    "constant_": ((3,), {"val": 0.5}),
    "ones_": ((3,), {}),
    "zeros_": ((3,), {}),
    "eye_": ((3, 4), {}),
    "dirac_": ((4, 3, 3), {}),
    "dirac_ groups": ((6, 2, 3, 5), {"groups": 2}),
    "xavier_uniform_": ((5, 7, 2), {"gain": 2.0}),
    "xavier_normal_": ((5, 7), {}),
    "kaiming_uniform_": ((5, 7), {"a": 0.3}),
    "kaiming_normal_": ((5, 7, 3), {"mode": "fan_out", "nonlinearity": "relu"}),
    "orthogonal_": ((5, 7), {}),
    "orthogonal_ tall": ((8, 2, 3), {"gain": 2.0}),
    "sparse_": ((8, 5), {"sparsity": 0.4}),
}


@pytest.mark.parametrize("name", INITS)
def test_init(name):
    shape, options = INITS[name]
    results = []
    for lib in LIBRARIES:
        lib.manual_seed(11)
        tensor = lib.nn.Parameter(lib.empty(shape))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = getattr(lib.nn.init, name.split()[0])(tensor, **options)
        assert result is tensor and result.is_leaf and result.requires_grad
        results.append([result, lib.rand(3)])
    assert_close(*results, rtol=1e-4 if "orthogonal" in name else 1e-6)


def test_gain():
    for name in ("linear", "conv2d", "conv_transpose1d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"):
        assert ctorch.nn.init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert ctorch.nn.init.calculate_gain("leaky_relu", 0.2) == torch.nn.init.calculate_gain("leaky_relu", 0.2)


def test_init_with_a_generator_and_old_names():
    a = ctorch.nn.init.uniform_(ctorch.empty(3), generator=ctorch.Generator().manual_seed(1))
    b = torch.nn.init.uniform_(torch.empty(3), generator=torch.Generator().manual_seed(1))
    assert_close(a, b)
    with pytest.warns(FutureWarning, match="uniform_"):
        ctorch.nn.init.uniform(ctorch.empty(3))


def test_clip_grad():
    for call in (
        lambda lib, p: lib.nn.utils.clip_grad_norm_(p, 1.0),
        lambda lib, p: lib.nn.utils.clip_grad_norm_(p, 1.0, norm_type=float("inf")),
        lambda lib, p: lib.nn.utils.clip_grad_norm_(p[0], 100.0, norm_type=1),
        lambda lib, p: lib.nn.utils.clip_grad_value_(p, 0.5),
    ):
        results = []
        for lib in LIBRARIES:
            params = [lib.nn.Parameter(lib.tensor(x)) for x in arrays((3, 4), (5,))]
            unused = lib.nn.Parameter(lib.ones(1))
            for p, g in zip(params, arrays((3, 4), (5,), seed=1)):
                p.grad = lib.tensor(g)
            total = call(lib, [*params, unused])
            results.append([*([total] if total is not None else []), *(p.grad for p in params)])
        assert_close(*results)
    p = ctorch.nn.Parameter(ctorch.ones(1))
    p.grad = ctorch.tensor([float("nan")])
    with pytest.raises(RuntimeError, match="non-finite"):
        ctorch.nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)


def test_parameters_as_a_vector():
    net = ctorch.nn.Linear(2, 3)
    vector = ctorch.nn.utils.parameters_to_vector(net.parameters())
    assert tuple(vector.shape) == (9,)
    ctorch.nn.utils.vector_to_parameters(ctorch.arange(9.0), net.parameters())
    assert net.bias.tolist() == [6, 7, 8] and net.weight.tolist()[0] == [0, 1]
    with pytest.raises(TypeError, match=r"expected torch\.Tensor"):
        ctorch.nn.utils.vector_to_parameters([1.0], net.parameters())


@pytest.mark.parametrize("name, options", [("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {"lr": 0.01})])
def test_a_small_net_takes_the_path_of_pytorch(name, options):
    paths = []
    for lib in LIBRARIES:
        lib.manual_seed(0)
        net = lib.nn.Sequential(
            lib.nn.Conv2d(1, 4, 3),
            lib.nn.BatchNorm2d(4),
            lib.nn.ReLU(),
            lib.nn.MaxPool2d(2),
            lib.nn.Dropout(0.2),
            lib.nn.Flatten(),
            lib.nn.Linear(36, 3),
        )
        optimizer = getattr(lib.optim, name)(net.parameters(), **options)
        losses = []
        for step in range(20):
            (x,) = arrays((8, 1, 8, 8), seed=step)
            y = np.random.default_rng(step).integers(0, 3, 8)
            optimizer.zero_grad()
            loss = lib.nn.functional.cross_entropy(net(lib.tensor(x)), lib.tensor(y))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        paths.append(losses)
    np.testing.assert_allclose(*paths, rtol=1e-3)


def test_a_module_without_the_base_classes_init():
    for lib in LIBRARIES:

        class Bare(lib.nn.Module):
            def __init__(self):
                pass

            def forward(self, x):
                return x

        with pytest.raises(AttributeError, match="'Bare' object has no attribute '_"):
            Bare()(1)
        with pytest.raises(AttributeError):
            list(Bare().parameters())


def test_a_device_that_is_not_there():
    if torch.cuda.is_available():
        pytest.skip("PyTorch has a GPU here")
    for lib in LIBRARIES:
        for case in (
            lambda: lib.nn.Linear(1, 1).to("cuda"),
            lambda: lib.ones(1).to("cuda:0"),
            lambda: lib.ones(1, device="cuda"),
            lambda: lib.nn.Linear(1, 1).cuda(),
        ):
            with pytest.raises(AssertionError, match="Torch not compiled with CUDA enabled"):
                case()
    with pytest.raises(AssertionError, match="device cuda:0 is not available"):
        ctorch.ones(1).to("cuda:0")


def test_compile_leaves_a_module_as_it_is():
    net = ctorch.nn.Linear(2, 1)
    assert net.compile() is None and net.compile(mode="default") is None
    assert net(ctorch.ones(2)).shape == (1,) and net.dump_patches is False


def test_import_paths_of_pytorch():
    from ctorch.nn.common_types import _size_2_t  # noqa: F401
    from ctorch.nn.modules.batchnorm import BatchNorm2d, _BatchNorm
    from ctorch.nn.modules.container import ParameterList, Sequential
    from ctorch.nn.modules.module import Module, T_destination, _IncompatibleKeys  # noqa: F401
    from ctorch.nn.modules.normalization import GroupNorm, LayerNorm, RMSNorm  # noqa: F401
    from ctorch.nn.modules.sparse import Embedding
    from ctorch.nn.modules.utils import _pair, _quadruple, _reverse_repeat_tuple, _single, _triple
    from ctorch.types import Device, Number, _size  # noqa: F401

    nn = ctorch.nn
    assert issubclass(BatchNorm2d, _BatchNorm) and isinstance(nn.BatchNorm1d(2), _BatchNorm)
    assert (Module, Sequential, ParameterList) == (nn.Module, nn.Sequential, nn.ParameterList)
    assert LayerNorm is nn.LayerNorm and Embedding is nn.Embedding
    assert (_single(3), _pair(3), _triple(3), _quadruple([1, 2])) == ((3,), (3, 3), (3, 3, 3), (1, 2))
    assert _reverse_repeat_tuple((1, 2), 2) == torch.nn.modules.utils._reverse_repeat_tuple((1, 2), 2)


def test_as_subclass():
    for lib in LIBRARIES:

        class Marked(lib.Tensor):
            pass

        x = lib.ones(2, requires_grad=True)
        y = x.as_subclass(Marked)
        assert type(y) is Marked and y.data_ptr() == x.data_ptr() and not y.is_leaf
        (y * 3).sum().backward()
        assert x.grad.tolist() == [3, 3]
        assert isinstance(lib.ones(2).as_subclass(lib.nn.Parameter), lib.nn.Parameter)
        for wrong in (int, 3):
            with pytest.raises(TypeError):
                x.as_subclass(wrong)


def test_storage():
    for lib in LIBRARIES:
        x = lib.arange(4.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch's, that typed storages may go away
            storage = x[1:].storage()
            assert (
                storage.tolist() == [0, 1, 2, 3] and storage[2] == 2 and len(storage) == storage.size() == 4
            )
            assert storage.dtype == lib.float32 and storage.nbytes() == 16 and storage.element_size() == 4
            assert storage.data_ptr() == x.data_ptr() == x[1:].untyped_storage().data_ptr()
            assert repr(storage).splitlines()[1:] == [
                " 1.0",
                " 2.0",
                " 3.0",
                "[torch.storage.TypedStorage(dtype=torch.float32, device=cpu) of size 4]",
            ]
            storage[0] = 9
            assert lib.is_storage(storage) and lib.is_storage(storage.untyped())
        assert x[0] == 9 and isinstance(x.untyped_storage(), lib.UntypedStorage)
        assert len(x.untyped_storage()) == 16 and len(lib.UntypedStorage(3)) == 3
