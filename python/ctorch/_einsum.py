"""Contractions: einsum and its relatives, over matmul.

A contraction of two operands sorts their labels into batch labels (in both and kept), contracted labels (in
both and not kept) and the labels of one side alone, and becomes one batched matrix product.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from itertools import combinations, pairwise
from math import prod
from typing import Any

from ctorch import _C
from ctorch._C import Tensor
from ctorch.runtime import broadcast_shapes

__all__ = ["bilinear", "chain_matmul", "cross", "einsum", "kron", "tensordot"]

Label = Hashable
Labels = list[Label]

_HALF = (_C.float16, _C.bfloat16)


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


@lru_cache(1024)
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


def _by_stride(t: Tensor, labels: Labels) -> Labels:
    return [labels[i] for i in sorted(range(len(labels)), key=lambda i: -t.stride(i))]


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
    # Dims that are joined into one come in the order of memory, where that spares a copy.
    summed = _by_stride(*((a, la) if a.numel() >= b.numel() else (b, lb)))
    summed = [x for x in summed if x in la and x in lb and x not in keep]
    only_a = [x for x in _by_stride(a, la) if x not in lb]
    only_b = [x for x in _by_stride(b, lb) if x not in la]
    labels = batch + only_a + only_b
    if labels == batch != [] and a.dtype not in _HALF:  # where products may be rounded before they are added
        left = a.permute([la.index(x) for x in batch + summed])
        right = b.permute([lb.index(x) for x in batch + summed])
        dims = list(range(len(batch), left.dim()))
        product = left * right
        return product.sum(dims, dtype=product.dtype) if dims else product, labels
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


# ---- the order of several contractions ---------------------------------------------------------------------

Tree = Any  # the number of an operand, or a pair of trees


def _contract_all(operands: list[Tensor], labels: list[Labels], output: Labels) -> tuple[Tensor, Labels]:
    """The product of three or more operands, two at a time, in the order that costs least."""
    size: dict[Label, int] = {}
    for t, term in zip(operands, labels):
        for label, n in zip(term, t.shape):
            size[label] = max(size.get(label, 0), n)

    def contract(tree: Tree) -> tuple[Tensor, Labels, set[int]]:
        if isinstance(tree, int):
            return operands[tree], labels[tree], {tree}
        (a, la, left), (b, lb, right) = map(contract, tree)
        inside = left | right
        others = (term for i, term in enumerate(labels) if i not in inside)
        return (*_contract(a, la, b, lb, set(output).union(*others)), inside)

    tree = _best_tree(tuple(map(frozenset, labels)), frozenset(output), tuple(size.items()))
    result, have, _ = contract(tree)
    return result, have


@lru_cache(1024)
def _best_tree(
    terms: tuple[frozenset[Label], ...], output: frozenset[Label], sizes: tuple[tuple[Label, int], ...]
) -> Tree:
    """The tree of contractions with the fewest products: of all trees for up to six operands, else by always
    taking the two operands whose product is cheapest."""
    size = dict(sizes)

    def work(labels: frozenset[Label]) -> int:
        return prod(size[x] for x in labels)

    def left_over(inside: int) -> frozenset[Label]:
        """The labels of a set of operands (a bit each) that others, or the output, still need."""
        own: frozenset[Label] = frozenset().union(*(t for i, t in enumerate(terms) if inside >> i & 1))
        return own & output.union(*(t for i, t in enumerate(terms) if not inside >> i & 1))

    trees: list[tuple[int, Tree]] = [(1 << i, i) for i in range(len(terms))]
    while len(trees) > 6:
        left = {bits: left_over(bits) for bits, _ in trees}
        one, two = min(combinations(trees, 2), key=lambda pair: work(left[pair[0][0]] | left[pair[1][0]]))
        trees = [t for t in trees if t is not one and t is not two] + [(one[0] | two[0], (one[1], two[1]))]

    best: dict[int, tuple[int, Tree]] = {bits: (0, tree) for bits, tree in trees}
    left = {}
    for count in range(1, len(trees) + 1):
        for chosen in combinations(trees, count):
            whole = sum(bits for bits, _ in chosen)
            left[whole] = left_over(whole)
            # The part that has the first operand, and what it leaves; the first of equally good ones.
            first, *rest = (bits for bits, _ in chosen)
            parts = (first + sum(more) for n in range(len(rest)) for more in combinations(rest, n))
            costs = [
                (best[a][0] + best[whole - a][0] + work(left[a] | left[whole - a]), i, a)
                for i, a in enumerate(parts)
            ]
            if costs:
                cost, _, a = min(costs)
                best[whole] = (cost, (best[a][1], best[whole - a][1]))
    return best[sum(bits for bits, _ in trees)][1]


def einsum(*args: Any) -> Tensor:
    """Sum products of elements as an equation over labels of dims says: ``einsum("bij,bjk->bik", a, b)``.

    Args:
        args: an equation and the operands (or a list of them), or operands each followed by a list of labels
            in [0, 52), and at the end, if wanted, the labels of the output. An ellipsis stands for more dims,
            which are broadcast; a label repeated in one operand takes the diagonal. Three or more operands are
            multiplied two at a time in the order that costs least.
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
    if len(operands) > 2:
        result, have = _contract_all(operands, labels, output)
    elif len(operands) == 2:
        result, have = _contract(operands[0], labels[0], operands[1], labels[1], set(output))
    else:
        result, have = operands[0], labels[0]
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


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``input1^T weight[o] input2 + bias[o]`` for every output o.

    Args:
        input1: (*, H1).
        input2: (*, H2).
        weight: (O, H1, H2).
    Returns: (*, O).
    """
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError(
            f"bilinear: expected inputs of equal leading shape, got {tuple(input1.shape)} and "
            f"{tuple(input2.shape)}"
        )
    if (input1.size(-1), input2.size(-1)) != tuple(weight.shape[1:]):
        raise RuntimeError(
            f"bilinear: expected last dimensions {tuple(weight.shape[1:])} for weight {tuple(weight.shape)}, "
            f"got inputs {tuple(input1.shape)} and {tuple(input2.shape)}"
        )
    result = einsum("...i,oij,...j->...o", input1, weight, input2)
    return result if bias is None else result + bias


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
