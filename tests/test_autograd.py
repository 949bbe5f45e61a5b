"""Recording and the backward pass. PyTorch, where it is installed, is the oracle of random programs."""

import gc
import weakref

import pytest

import ctorch as ct
from ctorch import autograd


def leaf(*values):
    return ct.tensor(values, dtype=ct.float64, requires_grad=True)


def test_gradients_of_a_product_and_a_sum():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (x * w + x).sum().backward()
    assert x.grad.tolist() == [4.0, 5.0]
    assert w.grad.tolist() == [1.0, 2.0]


def test_gradients_add_up_over_passes():
    x = leaf(1.0)
    for _ in range(3):
        (x * 2).sum().backward()
    assert x.grad.tolist() == [6.0]


def test_a_tensor_used_twice_gets_both_gradients():
    x = leaf(3.0)
    (x * x).sum().backward()
    assert x.grad.tolist() == [6.0]


def test_broadcast_inputs_get_gradients_of_their_shape():
    x, b = ct.ones(3, 4, requires_grad=True), ct.ones(4, requires_grad=True)
    c = ct.tensor(2.0, requires_grad=True)
    ((x + b) * c).sum().backward()
    assert b.grad.shape == (4,) and b.grad.tolist() == [6.0] * 4
    assert c.grad.shape == () and c.grad.item() == 24.0


def test_backward_needs_one_element_or_a_gradient():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match="grad can be implicitly created only for scalar outputs"):
        (x * 2).backward()
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        (x * 2).backward(ct.ones(3, dtype=ct.float64))
    (x * 2).backward(ct.tensor([1.0, 10.0], dtype=ct.float64))
    assert x.grad.tolist() == [2.0, 20.0]


def test_backward_without_history_is_an_error():
    with pytest.raises(RuntimeError, match="does not require grad and does not have a grad_fn"):
        ct.ones(1).sum().backward()


def test_a_second_pass_needs_retain_graph():
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8.0]
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.backward()


def test_grad_returns_gradients_and_leaves_grad_alone():
    x, y = leaf(1.0), leaf(2.0)
    gx, gy = autograd.grad((x * y).sum(), (x, y))
    assert (gx.item(), gy.item()) == (2.0, 1.0)
    assert x.grad is None and y.grad is None


def test_grad_of_an_unused_input():
    x, y = leaf(1.0), leaf(2.0)
    with pytest.raises(RuntimeError, match="not have been used in the graph"):
        autograd.grad((x * 2).sum(), (x, y))
    assert autograd.grad((x * 2).sum(), (x, y), allow_unused=True)[1] is None
    assert autograd.grad((x * 2).sum(), (x, y), materialize_grads=True)[1].tolist() == [0.0]


def test_grad_with_respect_to_a_result():
    x = leaf(3.0)
    y = x * x
    (gy,) = autograd.grad((y * y).sum(), y)
    assert gy.item() == 18.0


def test_higher_derivatives():
    x = leaf(2.0)
    y = (x**4).sum()
    (g,) = autograd.grad(y, x, create_graph=True)
    (h,) = autograd.grad(g.sum(), x, create_graph=True)
    (k,) = autograd.grad(h.sum(), x)
    assert (g.item(), h.item(), k.item()) == (32.0, 48.0, 48.0)


def test_backward_to_chosen_inputs_only():
    x, y = leaf(1.0), leaf(2.0)
    (x * y).sum().backward(inputs=[x])
    assert x.grad.item() == 2.0 and y.grad is None


def test_no_grad_and_its_relatives():
    x = leaf(1.0)
    with ct.no_grad():
        assert not (x * 2).requires_grad
        with ct.enable_grad():
            assert (x * 2).requires_grad
        assert not ct.is_grad_enabled()

    @ct.no_grad()
    def f():
        return x * 2

    @ct.no_grad
    def g():
        return x * 2

    assert not f().requires_grad and not g().requires_grad and (x * 2).requires_grad
    with ct.set_grad_enabled(False):
        assert not ct.is_grad_enabled()
    assert ct.is_grad_enabled()
    with ct.inference_mode():
        y = x * 2
    assert y.is_inference() and not y.requires_grad
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
        y.add_(1)


def test_leaves_detach_and_requires_grad():
    x = leaf(1.0)
    y = x * 2
    assert x.is_leaf and not y.is_leaf and y.detach().is_leaf and not y.detach().requires_grad
    assert y.detach().data_ptr() == y.data_ptr()
    with pytest.raises(RuntimeError, match="you can only change requires_grad flags of leaf"):
        y.requires_grad = False
    with pytest.raises(RuntimeError, match="floating point and complex dtype can require gradients"):
        ct.ones(2, dtype=ct.int64).requires_grad_()


def test_names_of_nodes():
    x = leaf(1.0, 2.0)
    y = (x * 2).exp()
    assert type(y.grad_fn).__name__ == "ExpBackward0" and y.grad_fn.name() == "ExpBackward0"
    node, number = y.grad_fn.next_functions[0]
    assert node.name() == "MulBackward0" and number == 0
    assert node.next_functions[0][0].name() == "torch::autograd::AccumulateGrad"
    assert "grad_fn=<ExpBackward0>" in repr(y)


def test_retain_grad_keeps_the_gradient_of_a_result():
    x = leaf(3.0)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    assert y.grad.item() == 12.0 and y.retains_grad


def test_hooks_see_and_change_gradients():
    x = leaf(1.0)
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append(g.item()))
    handle = x.register_hook(lambda g: g * 10)
    (y * 3).sum().backward()
    assert seen == [3.0] and x.grad.item() == 60.0
    handle.remove()
    (x * 2).sum().backward()
    assert x.grad.item() == 62.0


def test_hooks_of_nodes_and_after_accumulation():
    x = leaf(1.0)
    y = x * 2
    calls = []
    y.grad_fn.register_hook(lambda made, got: calls.append((made[0].item(), got[0].item())))
    x.register_post_accumulate_grad_hook(lambda p: calls.append(p.grad.item()))
    y.sum().backward()
    assert calls == [(2.0, 1.0), 2.0]


# ---- in-place ---------------------------------------------------------------------------------------------------------


def test_inplace_on_a_result_rewrites_its_history():
    x = leaf(2.0)
    y = x * 3
    y.mul_(x)
    y.sum().backward()
    assert x.grad.item() == 12.0


def test_inplace_on_a_leaf_is_an_error():
    x = leaf(2.0)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="a view of a leaf Variable that requires grad"):
        x[0:1].add_(1)
    with ct.no_grad():
        x.add_(1)
    assert x.item() == 3.0


def test_a_saved_value_that_was_changed_is_an_error_with_both_versions():
    x = leaf(2.0)
    y = x * 3
    z = y * y
    y.add_(1)
    with pytest.raises(
        RuntimeError,
        match=r"MulBackward0.*modified by an inplace operation.*is at version 1; expected version 0",
    ):
        z.sum().backward()


def test_data_is_not_seen_by_autograd():
    x = leaf(2.0)
    y = x * x
    x.data.add_(1)
    y.sum().backward()
    assert x._version == 0 and x.grad.item() == 6.0
    x.data = ct.tensor([7.0], dtype=ct.float64)
    assert x.item() == 7.0 and x.requires_grad


def test_writing_through_a_view_changes_the_history_of_its_base():
    x = leaf(1.0, 2.0, 3.0)
    y = x * 2
    y[0:2].mul_(10)
    y.sum().backward()
    assert x.grad.tolist() == [20.0, 20.0, 2.0]


def test_writing_a_tracked_value_into_a_plain_tensor():
    x = leaf(5.0)
    base = ct.zeros(3, dtype=ct.float64)
    base[1] = x[0] * 2
    assert base.requires_grad
    (base * ct.tensor([1.0, 2.0, 3.0], dtype=ct.float64)).sum().backward()
    assert x.grad.item() == 4.0


def test_a_view_made_before_a_write_to_its_base_sees_the_write():
    x = leaf(1.0, 2.0)
    y = x * 1
    v = y[1:]
    y.mul_(ct.tensor([3.0, 5.0], dtype=ct.float64))
    v.sum().backward()
    assert v.item() == 10.0 and x.grad.tolist() == [0.0, 5.0]


def test_writing_to_one_of_several_views_is_an_error():
    x = leaf(1.0, 2.0)
    a, _ = (x * 1).unbind()
    with pytest.raises(RuntimeError, match="multiple views"):
        a.mul_(2)


def test_views_of_views_and_nested_writes():
    torch = pytest.importorskip("torch")

    def program(T):
        x = T.arange(12.0, dtype=T.float64).requires_grad_()
        y = (x * 1).view(3, 4)
        v = y[1:].t()[1]
        v.mul_(3)
        y[:, 2] *= y[:, 0].clone()
        v.add_(y[0, :2])
        (y * y).sum().backward()
        return y.tolist(), x.grad.tolist()

    assert program(ct) == program(torch)


# ---- Function ---------------------------------------------------------------------------------------------------------


class Square(autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * g


class Exp(autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        (y,) = ctx.saved_tensors
        return g * y


def test_function_first_and_second_derivative():
    x = leaf(3.0)
    y = Square.apply(x)
    assert y.grad_fn.name() == "SquareBackward"
    (g,) = autograd.grad(y.sum(), x, create_graph=True)
    (h,) = autograd.grad(g.sum(), x)
    assert (g.item(), h.item()) == (6.0, 2.0)


def test_function_that_saves_its_result_differentiates_twice():
    x = ct.rand(3, dtype=ct.float64).requires_grad_()
    assert autograd.gradcheck(Exp.apply, (x,)) and autograd.gradgradcheck(Exp.apply, (x,))


def test_function_with_other_arguments_and_several_results():
    class Both(autograd.Function):
        @staticmethod
        def forward(ctx, x, factor, y):
            ctx.factor = factor
            return x * factor, y + 1

        @staticmethod
        def backward(ctx, gx, gy):
            return gx * ctx.factor, None, gy

    x, y = leaf(1.0), leaf(2.0)
    a, b = Both.apply(x, 5.0, y)
    (a * b).sum().backward()
    assert (x.grad.item(), y.grad.item()) == (15.0, 5.0)


def test_function_with_setup_context():
    class Cube(autograd.Function):
        @staticmethod
        def forward(x):
            return x**3

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, g):
            return 3 * ctx.saved_tensors[0] ** 2 * g

    x = leaf(2.0)
    Cube.apply(x).sum().backward()
    assert x.grad.item() == 12.0


def test_function_errors():
    class Wrong(autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x + y

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(RuntimeError, match=r"incorrect number of gradients \(expected 2, got 1\)"):
        Wrong.apply(leaf(1.0), leaf(1.0)).sum().backward()
    with pytest.raises(ZeroDivisionError):  # an exception of a hook comes through

        def hook(g):
            return 1 / 0

        x = leaf(1.0)
        x.register_hook(hook)
        (x * 2).sum().backward()


# ---- size and life ----------------------------------------------------------------------------------------------------


def test_graph_of_100000_nodes():
    x = ct.ones(1, requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + 1
    y.sum().backward()
    assert x.grad.item() == 1.0
    del y
    gc.collect()


def test_a_dropped_graph_is_freed():
    class Canary:
        pass

    canary = Canary()
    gone = weakref.ref(canary)
    x = ct.ones(3, requires_grad=True)
    y = (x * 2).exp()
    y.register_hook(lambda g, canary=canary: None)
    del canary
    z = y.sum()
    del y, z
    gc.collect()
    assert gone() is None


def test_a_dropped_graph_gives_its_memory_back():
    def train():
        x = ct.ones(1000, requires_grad=True)
        y = x
        for _ in range(50):
            y = (y * 1.01).tanh()
        return y.sum()

    train()
    before = ct.memory_stats()["allocated_bytes"]
    for _ in range(5):
        train()
    gc.collect()
    assert ct.memory_stats()["allocated_bytes"] <= before


def test_identity_survives_the_trip_through_the_graph():
    p = ct.nn.Parameter(ct.ones(2))
    (p * 2).sum().backward()
    assert p.grad is p.grad
    node = (p * 2).grad_fn
    assert node.next_functions[0][0] is node.next_functions[0][0]
    assert isinstance(p, ct.nn.Parameter)


def test_gradcheck_finds_a_wrong_formula():
    class Bad(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 3

    x = ct.rand(2, dtype=ct.float64).requires_grad_()
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        autograd.gradcheck(Bad.apply, (x,))
    assert not autograd.gradcheck(Bad.apply, (x,), raise_exception=False)


def test_every_formula_fits_its_operation():
    assert ct._C._check_derivatives() == []


def test_jacobian_and_hessian():
    x = ct.tensor([1.0, 2.0], dtype=ct.float64)
    j = autograd.functional.jacobian(lambda v: v * v, x)
    assert j.tolist() == [[2.0, 0.0], [0.0, 4.0]]
    h = autograd.functional.hessian(lambda v: (v**3).sum(), x)
    assert h.tolist() == [[6.0, 0.0], [0.0, 12.0]]


# ---- hooks, in PyTorch's order and with its checks --------------------------------------------------------------------


def test_a_hook_may_not_change_shape_or_dtype():
    def longer(g):
        return ct.ones(5)

    def wider(g):
        return g.double()

    for hook, what in ((longer, "size"), (wider, "type")):
        x = ct.ones(3, requires_grad=True)
        x.register_hook(hook)
        with pytest.raises(RuntimeError, match=f"hook '{hook.__name__}' has changed the {what} of value"):
            x.sum().backward()
        assert x.grad is None
        x = ct.ones(3, requires_grad=True)
        y = x * 2
        y.register_hook(hook)
        with pytest.raises(RuntimeError, match=f"hook '{hook.__name__}' has changed the {what} of value"):
            y.sum().backward()


def test_retain_grad_sees_what_hooks_made():
    y = leaf(1.0) * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 10)
    y.sum().backward()
    assert y.grad.tolist() == [10.0]


def test_retain_grad_is_of_the_tensor_as_it_is_now():
    x = leaf(1.0, 2.0)
    y = x * 2
    y.retain_grad()
    y.mul_(3)
    y.sum().backward()
    assert y.grad.tolist() == [1.0, 1.0] and x.grad.tolist() == [6.0, 6.0]
    base = leaf(1.0, 2.0) * 1
    view = base[:1]
    base.retain_grad()
    view.retain_grad()
    view.mul_(3)
    base.sum().backward()
    assert base.grad.tolist() == [1.0, 1.0] and view.grad is None


def test_hooks_of_a_leaf_change_what_grad_returns():
    x = leaf(1.0)
    x.register_hook(lambda g: g * 10)
    assert autograd.grad((x * 2).sum(), x)[0].tolist() == [20.0]


def test_a_hook_after_accumulation_needs_no_handle():
    x = leaf(1.0)
    seen = []
    handle = x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.item()))
    gc.collect()
    (x * 2).sum().backward()
    (x * 2).sum().backward()
    handle.remove()
    (x * 2).sum().backward()
    assert seen == [2.0, 4.0]


def test_a_frozen_leaf_gets_no_gradient():
    x = leaf(1.0)
    y = (x * 2).sum()
    x.requires_grad_(False)
    y.backward()
    assert x.grad is None


def test_a_hook_handle_is_a_context():
    x = leaf(1.0)
    with x.register_hook(lambda g: g * 10):
        (x * 2).sum().backward()
    (x * 2).sum().backward()
    assert x.grad.tolist() == [22.0]


def test_prehooks_and_metadata_of_nodes():
    x = leaf(1.0)
    y = x * 2
    node = y.grad_fn
    node.metadata["note"] = 5
    calls = []
    node.register_hook(lambda made, got: calls.append((made[0].item(), got[0].item())))
    with node.register_prehook(lambda got: (got[0] * 3,)):
        y.sum().backward(retain_graph=True)
    y.sum().backward()
    assert calls == [(6.0, 3.0), (2.0, 1.0)]
    assert y.grad_fn.metadata == {"note": 5}
    assert node.next_functions[0][0].variable is x
    for result, error, text in (
        (3.0, TypeError, "must return None or a tuple, got float"),
        ((None, None), RuntimeError, "incorrect number of values"),
        ((ct.ones(5, dtype=ct.float64),), RuntimeError, "changed the size"),
    ):
        y = x * 2
        y.grad_fn.register_prehook(lambda got, result=result: result)
        with pytest.raises(error, match=text):
            y.sum().backward()
    y = x * 2
    y.grad_fn.register_hook(lambda made, got: (None, None, None))
    with pytest.raises(RuntimeError, match=r"incorrect number of values \(got 3, but expected 1\)"):
        y.sum().backward()


def test_names_of_nodes_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    programs = [
        "x.log1p()", "x ** t", "x ** 2", "1 - x", "T.rsub(t, x)", "x.fmod(2)", "x.fmod(t)", "x % 2", "x % t",
        "x.clamp(0.0)", "x.clamp(t)", "x.clamp(max=1.0)", "x.clone().fill_(2.0)", "T.nn.functional.linear(x, t)",
        "T.nn.functional.linear(x, t, t[0, :3])", "T.xlogy(x, 2.0)", "T.xlogy(2.0, x)", "T.xlogy(x, t)", "x.lerp(t, t)",
        "x.lerp(t, 0.5)", "x.masked_fill(t > 0, t[0, 0])", "x.masked_fill(t > 0, 1.0)", "x.clamp_min(t)", "x.clamp_min(0)",
        "x.clamp_max(t)", "x.clamp_max(0)", "x.median(1)[0]", "x.median()", "x.scatter(0, t[:1].long(), 2.0)",
        "x.index_fill(0, t[0, :1].long(), t[0, 0])", "x.index_fill(0, t[0, :1].long(), 1.0)", "x.copysign(2.0)",
        "x.copysign(t)", "x.t().contiguous()", "x.double().float_power(2)",
    ]  # fmt: skip

    def names(T):
        x, t = T.ones(3, 4, requires_grad=True), T.ones(3, 4)
        results = [eval(p, {"T": T, "x": x, "t": t}) for p in programs]
        return [f"{p}: {r.grad_fn.name()}" for p, r in zip(programs, results)]

    assert names(ct) == names(torch)
    x = ct.ones(3, requires_grad=True)
    y = x * 1
    y[:1].mul_(2)
    assert y.grad_fn.name() == "torch::autograd::CopySlices" and type(y.grad_fn).__name__ == "CopySlices"
    assert repr(y.grad_fn).startswith("<CopySlices object at 0x")


# ---- views, inference mode --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [ct.no_grad, ct.inference_mode])
@pytest.mark.parametrize("view", [lambda y: y[:2], lambda y: y.view(3, 1), lambda y: y.split(2)[0]])
def test_a_view_made_without_recording_is_not_written_to_with_it(mode, view):
    y = leaf(1.0, 2.0, 3.0) * 1
    with mode():
        v = view(y)
        v.add_(1)
    with pytest.raises(RuntimeError, match=r"A view was created in .* mode and is being modified inplace"):
        v.mul_(2)
    assert y.tolist()[2] in (3.0, 4.0) and y.tolist()[0] == 2.0


def test_inference_tensors():
    x = leaf(1.0, 2.0)
    with ct.inference_mode():
        y = ct.ones(2, dtype=ct.float64)
        v = x[:1]
        assert not v.is_inference() and not x.view(2, 1).is_inference() and not x.detach().is_inference()
        with ct.enable_grad():
            z = x * 2
        assert z.is_inference() and not z.requires_grad
        y.add_(1)
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        x * y
    assert (x + y).requires_grad
    assert y[:1].is_inference() and y.view(2, 1).is_inference() and y.detach().is_inference()
    assert not y.clone().is_inference()
    with pytest.raises(RuntimeError, match="Inference tensors do not track version counter"):
        y._version  # noqa: B018


def test_is_view():
    x = ct.ones(3)
    assert x[:2]._is_view() and not x._is_view()


@pytest.mark.parametrize("mode", [ct.no_grad(), ct.enable_grad(), ct.inference_mode()])
def test_a_decorated_generator_gets_exceptions_and_close(mode):
    closed = []

    @mode
    def numbers():
        try:
            try:
                yield 1
            except ValueError:
                yield 7
            sent = yield 8
            yield sent, ct.is_grad_enabled()
        finally:
            closed.append(ct.is_grad_enabled())

    inside = isinstance(mode, ct.enable_grad)
    with ct.set_grad_enabled(not inside):
        g = numbers()
        assert next(g) == 1 and g.throw(ValueError()) == 7 and next(g) == 8
        assert g.send("s") == ("s", inside)
        g.close()
        assert closed == [inside] and ct.is_grad_enabled() is not inside
        g = numbers()
        next(g)
        with pytest.raises(KeyError):
            g.throw(KeyError())


# ---- Function, checked ------------------------------------------------------------------------------------------------


def function(forward, backward):
    return type(
        "F", (autograd.Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    )


def test_function_gradient_of_what_is_no_tensor():
    F = function(lambda ctx, x, n: x * n, lambda ctx, g: (g, g))
    with pytest.raises(RuntimeError, match="a gradient different than None at position 2"):
        F.apply(leaf(1.0), 2).sum().backward()
    F = function(lambda ctx, x: x * 2, lambda ctx, g: 1.5)
    with pytest.raises(RuntimeError, match="FBackward returned float at position 1: expected Tensor or None"):
        F.apply(leaf(1.0)).sum().backward()


def test_function_must_return_what_it_marked_dirty():
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x.add_(1) * 2

    F = function(forward, lambda ctx, g: g)
    for x in (leaf(1.0) * 1, ct.ones(1)):
        with pytest.raises(RuntimeError, match="marked as dirty during the forward method were not returned"):
            F.apply(x)


def test_function_gets_zeros_for_what_is_not_differentiable():
    got = []

    def forward(ctx, x):
        index = ct.tensor([1, 2])
        ctx.mark_non_differentiable(index)
        return x * 2, index, "text"

    def backward(ctx, g, gi, gt):
        got.extend((gi.tolist(), gi.dtype, gt))
        return g

    F = function(forward, backward)
    F.apply(leaf(1.0))[0].sum().backward()
    assert got == [[0, 0], ct.int64, None]


def test_function_context_is_the_node():
    def forward(ctx, x):
        ctx.factor = 3
        assert ctx.name() == "FBackward"
        return x * 3

    seen = []

    def backward(ctx, g):
        seen.extend((ctx.name(), ctx.next_functions[0][0].variable, ctx.metadata))
        return g * ctx.factor

    F = function(forward, backward)
    x = leaf(1.0)
    y = F.apply(x)
    assert y.grad_fn.factor == 3 and y.grad_fn.needs_input_grad == (True,)
    y.grad_fn.factor = 5
    y.grad_fn.metadata["k"] = 1
    y.sum().backward()
    assert x.grad.item() == 5.0 and seen[0] == "FBackward" and seen[1] is x and seen[2] == {"k": 1}
    with pytest.raises(AttributeError, match="missing"):
        y.grad_fn.missing  # noqa: B018


def test_function_that_keeps_its_result_is_collected():
    def forward(ctx, x):
        ctx.y = x * 2
        return ctx.y

    F = function(forward, lambda ctx, g: g * 2)
    x = leaf(1.0, 2.0)
    y = F.apply(x)
    gone = weakref.ref(y)
    gc.collect()
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0] and y.grad_fn.y is y
    del y
    gc.collect()
    assert gone() is None


# ---- the pass ---------------------------------------------------------------------------------------------------------


def test_backward_to_a_result():
    x = leaf(1.0)
    y = x * 2
    (y * 3).sum().backward(inputs=[y])
    assert y.grad.tolist() == [3.0] and y.retains_grad and x.grad is None
    y = x * 2
    (y * 3).sum().backward(inputs=[y, x])
    assert y.grad.tolist() == [3.0] and x.grad.tolist() == [6.0]


def test_a_graph_that_saved_nothing_can_be_gone_through_again():
    x = leaf(1.0, 2.0)
    y = x.sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [2.0, 2.0]
    x = leaf(1.0, 2.0)
    loss = (x + 1).mean()
    loss.backward()
    (loss * 2).backward()
    assert x.grad.tolist() == [1.5, 1.5]
    F = function(lambda ctx, x: x * 2, lambda ctx, g: -g)
    x = leaf(1.0)
    y = F.apply(x).sum()
    y.backward()
    y.backward()
    assert x.grad.tolist() == [-2.0]
    y = Square.apply(x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="a second time"):
        y.backward()


@pytest.mark.filterwarnings("ignore:Using backward")
def test_gradients_lie_in_memory_as_their_leaves():
    torch = pytest.importorskip("torch")

    def strides(T):
        found = []
        for make in (
            lambda: T.ones(3, 4).t(),
            lambda: T.ones(3, 4),
            lambda: T.ones(2, 3, 4, 5).permute(0, 3, 1, 2),
            lambda: T.ones(3, 8)[:, ::2],
        ):
            for use in (
                lambda x: x * 2,
                lambda x: x.sum(),
                lambda x: x.transpose(0, 1) * T.ones(x.transpose(0, 1).shape),
                lambda x: x.T.contiguous() if x.dim() == 2 else x + x,
            ):
                for again in (False, True):
                    x = make().detach().requires_grad_()
                    use(x).sum().backward(create_graph=again)
                    found.append((tuple(x.grad.stride()), x.grad.sum().item()))
        return found

    assert strides(ct) == strides(torch)


def test_passes_within_passes():
    class Deep(autograd.Function):
        @staticmethod
        def forward(ctx, x, depth):
            ctx.depth = depth
            return x * 2

        @staticmethod
        def backward(ctx, g):
            if not ctx.depth:
                assert not ct.is_grad_enabled()
                raise KeyError("the deepest")
            with ct.enable_grad():
                x = leaf(1.0)
                try:
                    Deep.apply(x, ctx.depth - 1).sum().backward()
                except KeyError:
                    if ctx.depth == 500:
                        return g * 3, None
                    raise
            return g, None

    x = leaf(1.0)
    Deep.apply(x, 500).sum().backward()
    assert x.grad.tolist() == [3.0]


def test_gradcheck_finds_a_backward_that_varies():
    calls = []

    def backward(ctx, g):
        calls.append(1)
        return g * (2 + 1e-6 * len(calls))

    F = function(lambda ctx, x: x * 2, backward)
    x = ct.rand(2, dtype=ct.float64).requires_grad_()
    with pytest.raises(RuntimeError, match="Backward is not reentrant"):
        autograd.gradcheck(F.apply, (x,))
    assert autograd.gradcheck(F.apply, (x,), nondet_tol=1e-3)


def test_classes_of_errors():
    x = leaf(1.0, 2.0)
    y = x * 2
    with pytest.raises(TypeError, match="gradients can be either Tensors or None, but got float"):
        y.backward([1.0, 1.0])
    with pytest.raises(RuntimeError, match=r"`inputs` argument to `grad\(\)` cannot be empty"):
        autograd.grad(y.sum(), [])
    with pytest.raises(RuntimeError, match="requires_grad must be a bool"):
        x.requires_grad = "a"
    with pytest.raises(RuntimeError, match="you can only change requires_grad flags of leaf variables"):
        y.requires_grad = True
    assert y.requires_grad_() is y


# ---- anomaly mode, saved tensors in another form, Variable ------------------------------------------------------------


def test_anomaly_mode_names_the_node_that_made_nan():
    x = ct.zeros(2, requires_grad=True)
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"):
        context = autograd.detect_anomaly()
    with context:
        assert ct._C.is_anomaly_enabled()
        y = x.sqrt() * 0
        with (
            pytest.warns(
                UserWarning, match=r"Error detected in SqrtBackward0. Traceback of forward(.|\n)*x\.sqrt\(\)"
            ),
            pytest.raises(
                RuntimeError, match="Function 'SqrtBackward0' returned nan values in its 0th output"
            ),
        ):
            y.sum().backward()
        (x + 1).sum().backward()
    assert not ct._C.is_anomaly_enabled()
    with autograd.set_detect_anomaly(True, check_nan=False):
        (x.sqrt() * 0).sum().backward()
    assert x.grad.isnan().all()

    def fails(ctx, g):
        raise ZeroDivisionError

    F = function(lambda ctx, x: x * 2, fails)
    with (
        autograd.set_detect_anomaly(True),
        pytest.warns(UserWarning, match="Error detected in FBackward"),
        pytest.raises(ZeroDivisionError),
    ):
        F.apply(x).sum().backward()


def test_saved_tensors_hooks():
    packed = []

    def pack(t):
        packed.append(t.tolist())
        return t.numpy(force=True).copy(), t.dtype

    def unpack(kept):
        return ct.from_numpy(kept[0])

    def run(x):
        y = (x * 1).exp()
        z = Exp.apply(y * x)
        (g,) = autograd.grad(z.sum(), x, create_graph=True)
        return z, g, autograd.grad(g.sum(), x)[0]

    x = leaf(0.5, 0.25)
    want = run(x)
    with autograd.graph.saved_tensors_hooks(pack, unpack):
        got = run(x)
    assert packed and [t.tolist() for t in got] == [t.tolist() for t in want]
    count = len(packed)
    run(x)
    assert len(packed) == count
    with autograd.graph.saved_tensors_hooks(lambda t: 7, lambda kept: kept):
        y = x * x
    with pytest.raises(TypeError, match="expected to be a Tensor but got result of type int"):
        y.sum().backward()
    with autograd.graph.save_on_cpu():
        y = (x * x).sum()
    y.backward()
    assert x.grad.tolist() == [1.0, 0.5]


def test_variable():
    x = ct.ones(2)
    v = autograd.Variable(x, requires_grad=True)
    assert v.requires_grad and not x.requires_grad and v.data_ptr() == x.data_ptr() and type(v) is ct.Tensor
    assert isinstance(x, autograd.Variable) and not isinstance(3, autograd.Variable)
    assert autograd.Variable().shape == (0,)
    with pytest.raises(TypeError, match="Variable data has to be a tensor, but got list"):
        autograd.Variable([1.0])
