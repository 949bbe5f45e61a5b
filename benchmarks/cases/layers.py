"""Attention and recurrent layers, forward and with their gradients."""

from .base import against_f64, backward, case, fill, rand

HEADS, TOKENS, WIDTH = 8, 1024, 64


def attention(T, causal, both_ways):
    q, k, v = (rand(T, 1, HEADS, TOKENS, WIDTH, seed=i) for i in range(3))

    def forward(q, k, v):
        return T.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def work(q, k, v):
        return backward(forward, q, k, v) if both_ways else forward(q, k, v)

    return (lambda: work(q, k, v)), against_f64(work, q, k, v)


_FLOPS = 4 * HEADS * TOKENS * TOKENS * WIDTH
for _suffix, _causal in (("", False), ("_causal", True)):
    _useful = _FLOPS // 2 if _causal else _FLOPS
    case(f"layers/attention{_suffix}", lambda T, th, c=_causal: attention(T, c, False), flops=_useful)
    case(
        f"layers/attention{_suffix}_fwd_bwd",
        lambda T, th, c=_causal: attention(T, c, True),
        flops=7 * _useful // 2,
    )


def lstm(T, both_ways):
    def model():
        return fill(T, T.nn.LSTM(256, 256, num_layers=2))

    x, m = rand(T, 64, 32, 256), model()

    def forward(m, x):
        with T.no_grad():
            return m(x)[0]

    def step(m, x):
        m.zero_grad()
        dx, y = backward(lambda x: m(x)[0], x)
        return [dx, *(p.grad for p in m.parameters()), y]

    work = step if both_ways else forward
    return (lambda: work(m, x)), against_f64(lambda x: work(model().double(), x), x)


_FLOPS = 2 * 64 * 32 * 2 * 4 * 256 * 512
case("layers/lstm", lambda T, th: lstm(T, False), flops=_FLOPS)
case("layers/lstm_fwd_bwd", lambda T, th: lstm(T, True), flops=3 * _FLOPS)
