"""What a call costs when the work is tiny: single operations, short graphs, small training steps."""

from .base import case, fill, mlp_step, rand, unroll


def tiny(T, stmt, **kw):
    a, b = rand(T, 4, 4), rand(T, 4, 4, seed=1)
    env = {
        "a": a,
        "b": b,
        "v": rand(T, 4),
        "w": rand(T, 4, seed=1),
        "vg": rand(T, 4, grad=True),
        "s": a.sum(),
        "m": a > 0,
    }
    lin = fill(T, T.nn.Linear(4, 4))
    return unroll(stmt, T=T, F=T.nn.functional, g=rand(T, 4, 4, grad=True), lin=lin, **env, **kw)


STATEMENTS = {
    "add4": "v + w",
    "add4_grad": "vg + w",
    "add": "a + b",
    "T.add": "T.add(a, b)",
    "add_scalar": "a + 1.0",
    "add_grad": "g + b",
    "mul": "a * b",
    "add_": "a.add_(b)",
    "view": "a.view(16)",
    "reshape": "a.reshape(2, 8)",
    "transpose": "a.transpose(0, 1)",
    "index_int": "a[1]",
    "index_col": "a[:, 1]",
    "index_mask": "a[m]",
    "mm": "T.mm(a, b)",
    "sum": "a.sum()",
    "item": "s.item()",
    "zeros": "T.zeros(4, 4)",
    "empty": "T.empty(4, 4)",
    "tensor": "T.tensor([1.0, 2.0, 3.0, 4.0])",
    "relu": "T.relu(a)",
    "softmax": "F.softmax(a, -1)",
    "cat": "T.cat((a, b))",
    "detach": "g.detach()",
    "shape": "a.shape",
}
for _name, _stmt in STATEMENTS.items():
    case(
        f"overhead/{_name}",
        lambda T, th, stmt=_stmt: tiny(T, stmt),
        threads=(1,),
        check=_name not in ("empty", "add_"),
    )
case("overhead/linear_no_grad", lambda T, th: tiny(T, "lin(a)", no_grad=True), threads=(1,))


@case("overhead/chain5_fwd_bwd", threads=(1,))
def _(T, th):
    x, w, b = (rand(T, 4, 4, seed=i, grad=True) for i in range(3))

    def f():
        x.grad = w.grad = b.grad = None
        y = (T.relu(x * w + b) * 2.0).sum()
        y.backward()
        return w.grad

    return f


@case("overhead/linear_fwd_bwd", threads=(1,))
def _(T, th):
    lin, x = fill(T, T.nn.Linear(4, 4)), rand(T, 4, 4)

    def f():
        lin.zero_grad()
        lin(x).sum().backward()
        return lin.weight.grad

    return f


for _opt in ("sgd", "adam"):
    case(f"overhead/mlp_step_{_opt}", lambda T, th, opt=_opt: mlp_step(T, (16, 32, 10), 8, opt), threads=(1,))
