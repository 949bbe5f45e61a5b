"""Derivatives of derivatives, Jacobians, checkpointing."""

from .base import case, fill, mlp, rand, sub


@case("autograd/double_backward")
def _(T, th):
    m, x = fill(T, mlp(T, 32, 64, 64, 1, act=T.nn.Tanh)), rand(T, 64, 32, grad=True)

    def f():
        m.zero_grad()
        (g,) = T.autograd.grad(m(x).sum(), x, create_graph=True)
        loss = g.pow(2).sum()
        loss.backward()
        return loss

    return f


@case("autograd/jacobian_64")
def _(T, th):
    m, x = fill(T, mlp(T, 64, 64, 64, act=T.nn.Tanh)), rand(T, 64)
    jacobian = sub(T, "autograd.functional").jacobian
    return lambda: jacobian(m, x)


@case("autograd/checkpoint")
def _(T, th):
    m, x = fill(T, mlp(T, 256, 256, 256, 256, 256)), rand(T, 64, 256, grad=True)
    checkpoint = sub(T, "utils.checkpoint").checkpoint

    def f():
        m.zero_grad()
        y = checkpoint(m, x, use_reentrant=False).sum()
        y.backward()
        return y

    return f
