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
    assert node.next_functions[0][0].name() == "AccumulateGrad"
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
