"""Derivatives of pooling."""

from __future__ import annotations

from math import prod

from ctorch import _C
from ctorch.autograd.registry import define


def _flat(x, dims):
    """The last dims of x as one."""
    return x.reshape(*x.shape[:-dims], prod(x.shape[-dims:]))


def _pick(x, indices, dims):
    """The elements of x at indices that count positions in its last dims."""
    return _flat(x, dims).gather(-1, _flat(indices, dims)).reshape(indices.shape)


def _put(g, indices, input_shape, dims):
    """Zeros with g added at indices: the transpose of _pick()."""
    zeros = g.new_zeros((*input_shape[:-dims], prod(input_shape[-dims:])))
    return zeros.scatter_add(-1, _flat(indices, dims), _flat(g, dims)).reshape(input_shape)


def _nothing(g, input):
    """The derivative of a gradient that does not change with the input: zeros as in PyTorch, not None."""
    return _C.zeros_like(input)


def _define_pools(n: int) -> None:
    max_backward = getattr(_C, f"_max_pool{n}d_backward")
    max_with_indices = getattr(_C, f"max_pool{n}d_with_indices")
    avg_pool = getattr(_C, f"avg_pool{n}d")
    avg_backward = getattr(_C, f"_avg_pool{n}d_backward")

    # The indices are found again: keeping them would cost more memory than the results.
    for name in (f"max_pool{n}d", f"max_pool{n}d_with_indices"):
        define(
            name,
            input=lambda g, input, kernel_size, stride, padding, dilation, ceil_mode: max_backward(
                g, input, kernel_size, stride, padding, dilation, ceil_mode
            ),
            node=f"MaxPool{n}DWithIndicesBackward0",
        )
    define(
        f"_max_pool{n}d_backward",
        grad_output=lambda g, input, kernel_size, stride, padding, dilation, ceil_mode: _pick(
            g, max_with_indices(input.detach(), kernel_size, stride, padding, dilation, ceil_mode)[1], n
        ),
        input=_nothing,
        node=f"MaxPool{n}DWithIndicesBackwardBackward0",
    )
    define(
        f"adaptive_max_pool{n}d",
        input=lambda g, out1, input_shape: _put(g, out1, input_shape, n),
        node=f"AdaptiveMaxPool{n}DBackward0",
    )
    define(
        f"adaptive_avg_pool{n}d",
        input=lambda g, input: _C._adaptive_avg_pool_backward(g, input, n),
        node=f"AdaptiveAvgPool{n}DBackward0",
    )

    if n == 1:

        def backward(g, input, kernel_size, stride, padding, ceil_mode, count_include_pad):
            return avg_backward(g, input, kernel_size, stride, padding, ceil_mode, count_include_pad)

        def again(g, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
            return avg_pool(g, kernel_size, stride, padding, ceil_mode, count_include_pad)

    else:

        def backward(  # type: ignore[misc]
            g, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        ):
            return avg_backward(
                g, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
            )

        def again(g, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
            return avg_pool(g, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)

    define(f"avg_pool{n}d", input=backward, node=f"AvgPool{n}DBackward0")
    define(f"_avg_pool{n}d_backward", grad_output=again, input=_nothing, node=f"AvgPool{n}DBackwardBackward0")


for _n in (1, 2, 3):
    _define_pools(_n)


def _adaptive_again(g, dims, grad_output_shape):
    return getattr(_C, f"adaptive_avg_pool{dims}d")(g, grad_output_shape[-dims:])


define(
    "_adaptive_avg_pool_backward",
    grad_output=_adaptive_again,
    input=_nothing,
    node="AdaptiveAvgPoolBackwardBackward0",
)
