"""Derivatives of convolutions.

A convolution, its gradient with respect to the input and that with respect to the weight are linear in both
operands, and each is the derivative of the others: the three are closed under differentiation.
"""

from __future__ import annotations

from ctorch import _C
from ctorch.autograd.registry import define


def _bias(g, weight_shape):
    """The sum over all but the channels."""
    channel = g.dim() - len(weight_shape) + 1
    return g.sum([d for d in range(g.dim()) if d != channel])


def _named_padding(padding, weight_shape, dilation):
    """The amounts at the beginnings and the ends that "same" and "valid" stand for."""
    kernel = weight_shape[2:]
    if padding == "valid":
        return [0] * len(kernel)
    if isinstance(dilation, int):
        dilation = [dilation]
    steps = list(dilation) * len(kernel) if len(dilation) == 1 else dilation
    total = [s * (k - 1) for s, k in zip(steps, kernel, strict=True)]
    return [t // 2 for t in total] + [t - t // 2 for t in total]


def _input(g, weight, input_shape, stride, padding, dilation, groups):
    return _C._convolution_backward_input(
        g, weight.conj(), input_shape, stride, padding, dilation, False, [0], groups
    )


def _weight(g, input, weight_shape, stride, padding, dilation, groups):
    return _C._convolution_backward_weight(
        g, input.conj(), weight_shape, stride, padding, dilation, False, [0], groups
    )


def _input_named(g, weight, input_shape, stride, padding, dilation, groups):
    amounts = _named_padding(padding, weight.shape, dilation)
    return _input(g, weight, input_shape, stride, amounts, dilation, groups)


def _weight_named(g, input, weight_shape, stride, padding, dilation, groups):
    amounts = _named_padding(padding, weight_shape, dilation)
    return _weight(g, input, weight_shape, stride, amounts, dilation, groups)


def _transpose_input(g, weight, input_shape, stride, padding, output_padding, groups, dilation):
    return _C._convolution_backward_input(
        g, weight.conj(), input_shape, stride, padding, dilation, True, output_padding, groups
    )


def _transpose_weight(g, input, weight_shape, stride, padding, output_padding, groups, dilation):
    return _C._convolution_backward_weight(
        g, input.conj(), weight_shape, stride, padding, dilation, True, output_padding, groups
    )


_NODE = "ConvolutionBackward0"
for _n in (1, 2, 3):
    define(f"conv{_n}d", input=_input, weight=_weight, bias=_bias, node=_NODE)
    define(f"conv{_n}d.padding", input=_input_named, weight=_weight_named, bias=_bias, node=_NODE)
    define(f"conv_transpose{_n}d", input=_transpose_input, weight=_transpose_weight, bias=_bias, node=_NODE)


def _any_input(g, weight, input_shape, stride, padding, dilation, transposed, output_padding, groups):
    return _C._convolution_backward_input(
        g, weight.conj(), input_shape, stride, padding, dilation, transposed, output_padding, groups
    )


def _any_weight(g, input, weight_shape, stride, padding, dilation, transposed, output_padding, groups):
    return _C._convolution_backward_weight(
        g, input.conj(), weight_shape, stride, padding, dilation, transposed, output_padding, groups
    )


define("convolution", input=_any_input, weight=_any_weight, bias=_bias)


def _forward(x, weight, stride, padding, dilation, transposed, output_padding, groups):
    return _C.convolution(x, weight, None, stride, padding, dilation, transposed, output_padding, groups)


# Each of the two gradients is linear in its operands as well.


def _backward_input_grad(g, weight, stride, padding, dilation, transposed, output_padding, groups):
    return _forward(g, weight.conj(), stride, padding, dilation, transposed, output_padding, groups)


def _backward_input_weight(
    g, grad_output, weight_shape, stride, padding, dilation, transposed, output_padding, groups
):
    return _C._convolution_backward_weight(
        grad_output.conj(), g, weight_shape, stride, padding, dilation, transposed, output_padding, groups
    )


def _backward_weight_grad(g, input, stride, padding, dilation, transposed, output_padding, groups):
    return _forward(input.conj(), g, stride, padding, dilation, transposed, output_padding, groups)


def _backward_weight_input(
    g, grad_output, input_shape, stride, padding, dilation, transposed, output_padding, groups
):
    return _C._convolution_backward_input(
        grad_output.conj(), g, input_shape, stride, padding, dilation, transposed, output_padding, groups
    )


_NODE2 = "ConvolutionBackwardBackward0"
define(
    "_convolution_backward_input",
    grad_output=_backward_input_grad,
    weight=_backward_input_weight,
    node=_NODE2,
)
define(
    "_convolution_backward_weight",
    grad_output=_backward_weight_grad,
    input=_backward_weight_input,
    node=_NODE2,
)
