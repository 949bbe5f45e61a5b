"""Where derivative formulas are declared.

A formula is a plain function of the gradient ``g`` of the result and of whatever else its parameters name::

    define("mul", input=lambda g, other: g * other.conj(), other=lambda g, input: g * input.conj())

Parameter names after ``g`` say what is saved for the backward pass: arguments of the operation by name,
``out`` (the result; ``out0``, ``out1``, ... of several), and ``<argument>_shape``, ``_dtype``, ``_strides``,
``_offset`` where that is enough. A first parameter called ``gs`` gets the gradients of all results as a
tuple, with None where none came. Formulas are made of ctorch operations only, so that higher derivatives
exist; they ignore broadcasting and dtypes: the engine brings a gradient to its input's shape and dtype. For a
list of tensors (``cat``) a formula gives a list. One function given for several inputs runs once and returns
a tuple with the gradient of each, in the order of the inputs in define(), or one gradient for all of them.
"""

from __future__ import annotations

from collections.abc import Callable

from ctorch import _C


def define(name: str, *, node: str | dict[str, str] = "", **formulas: Callable | None) -> None:
    """Declare the derivative of an operation, or with "name.overload" of one of its overloads.

    Args:
        name: the operation's name at the door, such as "mul" or "max.dim".
        node: the name of its graph nodes; "MulBackward0" for "mul" unless given. PyTorch has other names where
            numbers stand for tensors: {"": "PowBackward1", "exponent": "PowBackward0"}, the keys being
            parameters, separated by spaces, none of which holds a tensor.
        formulas: for each differentiable argument the formula of its gradient; None for an argument that is a
            tensor but has no derivative.
    """
    if isinstance(node, str):
        _C._define(name, formulas, node)
    else:
        numbers = [(params.split(), text) for params, text in node.items() if params]
        _C._define(name, formulas, node.get("", ""), True, numbers)


def not_differentiable(*names: str) -> None:
    """Declare operations whose results never require a gradient."""
    for name in names:
        _C._define(name, {}, "", False)
