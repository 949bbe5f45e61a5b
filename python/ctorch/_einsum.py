"""Contractions: einsum and its relatives, over matmul.

A contraction of two operands sorts their labels into batch labels (in both and kept), contracted labels (in
both and not kept) and the labels of one side alone, and becomes one batched matrix product.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from math import prod
from typing import Any

from ctorch._C import Tensor
from ctorch.runtime import broadcast_shapes

__all__ = ["chain_matmul", "cross", "einsum", "kron", "tensordot"]

Label = Hashable
Labels = list[Label]


# ---- einsum ------------------------------------------------------------------------------------------------


def _split_term(term: str) -> list[Any]:
    """The labels of one subscript: letters, and Ellipsis for "..."."""
    labels: list[Any] = []
    i = 0
    while i < len(term):
        c = term[i]
        if c == ".":
            if term[i : i + 3] != "...":
                raise RuntimeError(f"einsum: found '.' in '{term}' that is not part of an ellipsis")
            labels.append(Ellipsis)
            i += 3
            continue
        if not (c.isascii() and c.isalpha()):
            raise RuntimeError(f"einsum: subscripts must be in [a-zA-Z], got '{c}' in '{term}'")
        labels.append(c)
        i += 1
    if labels.count(Ellipsis) > 1:
        raise RuntimeError(f"einsum: '{term}' has more than one ellipsis")
    return labels


def _parse_equation(equation: str) -> tuple[list[list[Any]], list[Any] | None]:
    equation = equation.replace(" ", "")
    left, arrow, right = equation.partition("->")
    return [_split_term(t) for t in left.split(",")], _split_term(right) if arrow else None


def _parse_sublists(args: Sequence[Any]) -> tuple[list[list[Any]], list[Any] | None, list[Tensor]]:
    """einsum(a, [0, 1], b, [1, 2], [0, 2])."""

    def term(sublist: Sequence[Any]) -> list[Any]:
        for n in sublist:
            if n is not Ellipsis and not 0 <= n < 52:
                raise RuntimeError(f"einsum: subscripts must be in [0, 52), got {n}")
        return list(sublist)

    pairs = len(args) // 2
    terms = [term(args[2 * i + 1]) for i in range(pairs)]
    return terms, term(args[-1]) if len(args) % 2 else None, [args[2 * i] for i in range(pairs)]


def _expand_ellipsis(term: list[Any], dims: int, shape: Sequence[int]) -> Labels:
    """The labels of a term with one for each dim under its ellipsis, counted from the last."""
    if Ellipsis not in term:
        if len(term) != dims:
            raise RuntimeError(
                f"einsum: the number of subscripts ({len(term)}) does not match the number of dimensions of "
                f"an operand of shape {tuple(shape)}"
            )
        return term
    hidden = dims - len(term) + 1
    if hidden < 0:
        raise RuntimeError(f"einsum: more subscripts than dimensions for an operand of shape {tuple(shape)}")
    at = term.index(Ellipsis)
    return [*term[:at], *(("...", i) for i in range(hidden, 0, -1)), *term[at + 1 :]]


def _output_labels(out: list[Any] | None, inputs: list[Labels]) -> Labels:
    hidden = max((label[1] for term in inputs for label in term if isinstance(label, tuple)), default=0)
    ellipsis: Labels = [("...", i) for i in range(hidden, 0, -1)]
    everything = [label for term in inputs for label in term if not isinstance(label, tuple)]
    if out is None:
        return ellipsis + sorted(label for label in set(everything) if everything.count(label) == 1)  # type: ignore[type-var]
    if out.count(Ellipsis) > 1:
        raise RuntimeError("einsum: the output has more than one ellipsis")
    labels: Labels = []
    for label in out:
        if label is Ellipsis:
            labels += ellipsis
        elif label in labels:
            raise RuntimeError(f"einsum: output subscript {label} appears more than once in the output")
        elif label not in everything:
            raise RuntimeError(f"einsum: output subscript {label} does not appear in any input operand")
        else:
            labels.append(label)
    return labels


def _with_diagonals(t: Tensor, labels: Labels) -> tuple[Tensor, Labels]:
    """A view in which repeated labels have become the diagonal."""
    labels = list(labels)
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            if t.size(first) != t.size(second):
                raise RuntimeError(
                    f"einsum: subscript {label} is repeated for sizes {t.size(first)} and {t.size(second)}"
                )
            t = t.diagonal(0, first, second)
            labels = [x for i, x in enumerate(labels) if i not in (first, second)] + [label]
    return t, labels


def _check_sizes(operands: list[Tensor], terms: list[Labels]) -> None:
    sizes: dict[Label, int] = {}
    for i, (t, labels) in enumerate(zip(operands, terms)):
        for label, size in zip(labels, t.shape):
            seen = sizes.setdefault(label, size)
            if seen != size and 1 not in (seen, size):
                raise RuntimeError(
                    f"einsum: subscript {label} has size {size} for operand {i} which does not broadcast "
                    f"with previously seen size {seen}"
                )
            sizes[label] = max(seen, size) if seen != 0 and size != 0 else 0


def _drop(t: Tensor, labels: Labels, dims: list[int], how: str) -> tuple[Tensor, Labels]:
    if not dims:
        return t, labels
    t = t.sum(dims) if how == "sum" else t.squeeze(tuple(dims))
    return t, [x for i, x in enumerate(labels) if i not in dims]


def _arranged(t: Tensor, labels: Labels, groups: list[Labels]) -> Tensor:
    """t with its dims in the order of the groups, the last two groups joined into a dim each."""
    order = [labels.index(x) for group in groups for x in group]
    t = t.permute(order)
    batch, first, second = groups
    if len(first) == len(second) == 1:
        return t
    n = len(batch)
    shape = t.shape
    sizes = (prod(shape[n : n + len(first)]), prod(shape[n + len(first) :]))
    return t.reshape(*shape[:n], *sizes)


def _contract(a: Tensor, la: Labels, b: Tensor, lb: Labels, keep: set[Label]) -> tuple[Tensor, Labels]:
    """The product of two operands, summed over the labels that are in neither of what follows (``keep``)."""
    # A dim of size 1 meets a longer one by broadcasting: it takes no part.
    for_a = [i for i, x in enumerate(la) if x in lb and a.size(i) == 1 != b.size(lb.index(x))]
    for_b = [i for i, x in enumerate(lb) if x in la and b.size(i) == 1 != a.size(la.index(x))]
    a, la = _drop(a, la, for_a, "squeeze")
    b, lb = _drop(b, lb, for_b, "squeeze")
    a, la = _drop(a, la, [i for i, x in enumerate(la) if x not in lb and x not in keep], "sum")
    b, lb = _drop(b, lb, [i for i, x in enumerate(lb) if x not in la and x not in keep], "sum")
    batch = [x for x in la if x in lb and x in keep]
    summed = [x for x in la if x in lb and x not in keep]
    only_a = [x for x in la if x not in lb]
    only_b = [x for x in lb if x not in la]
    labels = batch + only_a + only_b
    if not summed:
        left = a.permute([la.index(x) for x in batch + only_a])
        right = b.permute([lb.index(x) for x in batch + only_b])
        left = left.reshape(*left.shape, *[1] * len(only_b))
        right = right.reshape(*right.shape[: len(batch)], *[1] * len(only_a), *right.shape[len(batch) :])
        return left * right, labels
    product = _arranged(a, la, [batch, only_a, summed]).matmul(_arranged(b, lb, [batch, summed, only_b]))
    if len(only_a) == len(only_b) == 1:
        return product, labels
    sizes = [a.size(la.index(x)) for x in batch + only_a] + [b.size(lb.index(x)) for x in only_b]
    return product.reshape(sizes), labels


def einsum(*args: Any) -> Tensor:
    """Sum products of elements as an equation over labels of dims says: ``einsum("bij,bjk->bik", a, b)``.

    Args:
        args: an equation and the operands (or a list of them), or operands each followed by a list of labels
            in [0, 52), and at the end, if wanted, the labels of the output. An ellipsis stands for more dims,
            which are broadcast; a label repeated in one operand takes the diagonal.
    Returns: a tensor with the dims that the output names; without one, those of labels that appear once.
    """
    if len(args) < 2:
        raise ValueError("einsum: expected an equation and at least one operand")
    if isinstance(args[0], Tensor):
        terms, out, operands = _parse_sublists(args)
    else:
        terms, out = _parse_equation(args[0])
        rest = args[1:]
        operands = list(rest[0]) if len(rest) == 1 and isinstance(rest[0], (list, tuple)) else list(rest)
    if len(terms) != len(operands):
        raise RuntimeError(f"einsum: the equation names {len(terms)} operands, got {len(operands)}")
    labels = [_expand_ellipsis(term, t.dim(), t.shape) for term, t in zip(terms, operands)]
    output = _output_labels(out, labels)
    operands, labels = (list(x) for x in zip(*map(_with_diagonals, operands, labels)))
    _check_sizes(operands, labels)
    result, have = operands[0], labels[0]
    for i in range(1, len(operands)):
        keep = set(output).union(*labels[i + 1 :])
        result, have = _contract(result, have, operands[i], labels[i], keep)
    result, have = _drop(result, have, [i for i, x in enumerate(have) if x not in output], "sum")
    return result.permute([have.index(x) for x in output])


# ---- relatives ---------------------------------------------------------------------------------------------


def _into(result: Tensor, out: Tensor | None) -> Tensor:
    if out is None:
        return result
    if out.dtype != result.dtype:
        raise RuntimeError(f"expected out of dtype {result.dtype}, got {out.dtype}")
    out.resize_(result.shape)
    return out.copy_(result)


def tensordot(a: Tensor, b: Tensor, dims: Any = 2, out: Tensor | None = None) -> Tensor:
    """Sum products of ``a`` and ``b`` over some dims of each.

    Args:
        dims: a number n for the last n dims of a and the first n of b; or two lists of dims.
    """
    if isinstance(dims, Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        if dims < 0 or dims > min(a.dim(), b.dim()):
            raise RuntimeError(f"tensordot: expected 0 <= dims <= {min(a.dim(), b.dim())}, got {dims}")
        dims_a, dims_b = list(range(a.dim() - dims, a.dim())), list(range(dims))
    else:
        dims_a, dims_b = (list(d) if isinstance(d, (list, tuple)) else [d] for d in dims)
    if len(dims_a) != len(dims_b):
        raise RuntimeError(
            f"tensordot: both dimension lists should have same length, got {dims_a} and {dims_b}"
        )
    dims_a = [d % max(a.dim(), 1) for d in dims_a]
    dims_b = [d % max(b.dim(), 1) for d in dims_b]
    la: Labels = [("a", i) for i in range(a.dim())]
    lb: Labels = [("b", i) for i in range(b.dim())]
    for i, j in zip(dims_a, dims_b):
        if a.size(i) != b.size(j) and 1 not in (a.size(i), b.size(j)):
            raise RuntimeError(
                f"tensordot: contracted dimensions need to match, but first has size {a.size(i)} in dim {i} "
                f"and second has size {b.size(j)} in dim {j}, got {tuple(a.shape)} and {tuple(b.shape)}"
            )
        # A dim of size 1 meets a longer one by broadcasting: that is summed here, in its own dtype.
        if a.size(i) != b.size(j):
            if a.size(i) == 1:
                b = b.sum(j, keepdim=True, dtype=b.dtype)
            else:
                a = a.sum(i, keepdim=True, dtype=a.dtype)
        lb[j] = la[i]
    shared = {la[i] for i in dims_a}
    keep = {x for x in la + lb if x not in shared}
    result, have = _contract(a, la, b, lb, keep)
    want = [x for x in la if x in keep] + [x for x in lb if x in keep]
    return _into(result.permute([have.index(x) for x in want]), out)


def multi_dot(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """The product of a chain of matrices in the order that costs least; the first and last may be vectors."""
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot: expected at least 2 tensors, got {len(tensors)}")
    if any(t.dim() != 2 for t in tensors[1:-1]) or any(
        t.dim() not in (1, 2) for t in (tensors[0], tensors[-1])
    ):
        raise RuntimeError(f"multi_dot: expected matrices, got shapes {[tuple(t.shape) for t in tensors]}")
    chain = list(tensors)
    first_is_vector, last_is_vector = chain[0].dim() == 1, chain[-1].dim() == 1
    if first_is_vector:
        chain[0] = chain[0].unsqueeze(0)
    if last_is_vector:
        chain[-1] = chain[-1].unsqueeze(1)
    for i, (left, right) in enumerate(pairwise(chain)):
        if left.size(1) != right.size(0):
            raise RuntimeError(
                f"multi_dot: tensors {i} and {i + 1} cannot be multiplied, got shapes "
                f"{[tuple(t.shape) for t in tensors]}"
            )
    result = _multiply_chain(
        chain, _best_splits([chain[0].size(0), *(t.size(1) for t in chain)]), 0, len(chain) - 1
    )
    if first_is_vector:
        result = result.squeeze(0)
    if last_is_vector:
        result = result.squeeze(-1)
    return _into(result, out)


def _best_splits(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Where to split the products [i, j] of matrices of sizes[i] x sizes[i + 1]: dynamic programming."""
    n = len(sizes) - 1
    cost = {(i, i): 0 for i in range(n)}
    split: dict[tuple[int, int], int] = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i, j], split[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )
    return split


def _multiply_chain(chain: list[Tensor], split: dict[tuple[int, int], int], i: int, j: int) -> Tensor:
    if i == j:
        return chain[i]
    k = split[i, j]
    return _multiply_chain(chain, split, i, k).mm(_multiply_chain(chain, split, k + 1, j))


def chain_matmul(*matrices: Tensor, out: Tensor | None = None) -> Tensor:
    """The product of matrices, in the order that costs least."""
    if len(matrices) == 1:
        return matrices[0]
    return multi_dot(matrices, out=out)


def kron(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The Kronecker product: input with every element replaced by that element times other."""
    dims = max(input.dim(), other.dim())
    a = [1] * (dims - input.dim()) + list(input.shape)
    b = [1] * (dims - other.dim()) + list(other.shape)
    left = input.reshape([n for size in a for n in (size, 1)])
    right = other.reshape([n for size in b for n in (1, size)])
    return _into((left * right).reshape([m * n for m, n in zip(a, b)]), out)


def cross(input: Tensor, other: Tensor, dim: int | None = None, *, out: Tensor | None = None) -> Tensor:
    """The cross products of vectors of 3 elements along ``dim``, by default the first dim of size 3."""
    if input.dim() != other.dim():
        raise RuntimeError(
            f"cross: inputs must have the same number of dimensions, got {tuple(input.shape)} and "
            f"{tuple(other.shape)}"
        )
    shape = broadcast_shapes(input.shape, other.shape)
    a, b = input.expand(shape), other.expand(shape)
    if dim is None:
        dim = next((i for i, size in enumerate(a.shape) if size == 3), None)
        if dim is None:
            raise RuntimeError(f"cross: no dimension of size 3 in input {tuple(input.shape)}")
    if input.size(dim) != 3 or other.size(dim) != 3:
        raise RuntimeError(
            f"cross: inputs dimension {dim} must have length 3, got {tuple(input.shape)} and "
            f"{tuple(other.shape)}"
        )
    return _into(_cross(a, b, dim), out)


def linalg_cross(input: Tensor, other: Tensor, *, dim: int = -1, out: Tensor | None = None) -> Tensor:
    """The cross products of vectors of 3 elements along ``dim``."""
    return cross(input, other, dim, out=out)


def _cross(a: Tensor, b: Tensor, dim: int) -> Tensor:
    return a.roll(-1, dim) * b.roll(-2, dim) - a.roll(-2, dim) * b.roll(-1, dim)


Tensor.kron = kron
Tensor.cross = cross
