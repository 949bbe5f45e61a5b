"""Attention and recurrent layers, forward and with their gradients."""

from .base import against_f64, backward, case, fill, rand

HEADS, TOKENS, WIDTH = 8, 1024, 64


def attention(T, causal, both_ways, dtype=None):
    q, k, v = (rand(T, 1, HEADS, TOKENS, WIDTH, seed=i, dtype=dtype) for i in range(3))

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
for _suffix, _both, _useful in (("", False, _FLOPS), ("_fwd_bwd", True, 7 * _FLOPS // 2)):
    case(
        f"layers/attention_bf16{_suffix}",
        lambda T, th, b=_both: attention(T, False, b, T.bfloat16),
        flops=_useful,
        dtype="bf16",
        rtol=0.05,
    )


def next_token(T, dtype):
    """One query of each of 32 heads, 128 wide, by the 512 keys that are kept."""
    q, k, v = (rand(T, 1, 32, rows, 128, seed=rows + i, dtype=dtype) for i, rows in enumerate((1, 512, 512)))
    work = T.nn.functional.scaled_dot_product_attention
    return (lambda: work(q, k, v)), against_f64(work, q, k, v)


case("layers/attention_next_token", lambda T, th: next_token(T, T.float32), bytes=4 * 2 * 32 * 512 * 128)
case(
    "layers/attention_next_token_bf16",
    lambda T, th: next_token(T, T.bfloat16),
    bytes=2 * 2 * 32 * 512 * 128,
    rtol=0.05,
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
