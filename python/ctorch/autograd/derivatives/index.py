"""Derivatives of reading and writing through indices and masks."""

from __future__ import annotations

from ctorch import _C
from ctorch.autograd.registry import define, not_differentiable
from ctorch.runtime import broadcast_shapes


def _zeros(g, shape):
    return g.new_zeros(shape)


def _to_shape(g, shape):
    """g without what broadcasting by leading dims of size 1 took away, for values of shape ``shape``."""
    return g if len(shape) <= g.dim() else g.reshape((1,) * (len(shape) - g.dim()) + tuple(g.shape))


def _leading_dims(indices):
    """The dims of a tensor at which index tensors stand that follow one another."""
    dims, dim = [], 0
    for index in indices:
        dims.append(dim)
        dim += index.dim() if index.dtype in (_C.bool, _C.uint8) else 1
    return dims


def _is_mask_alone(indices):
    """Then no element is named twice, and adding up is not needed."""
    return len(indices) == 1 and indices[0].dtype == _C.bool


# ---- x[...] ----


def _basic_index(g, input_shape, items):
    return _C._basic_index_backward(g, input_shape, items)


for _name in ("select", "slice", "unsqueeze", "alias"):
    define(f"_basic_index.{_name}", node=f"{_name.title()}Backward0", input=_basic_index)
define("_basic_index_backward", grad=lambda g, items: _C._basic_index(g, items))

define(
    "_index",
    node="IndexBackward0",
    input=lambda g, input_shape, indices, dims: _C._index_put(
        _zeros(g, input_shape), indices, dims, g, not _is_mask_alone(indices)
    ),
)
define(
    "_index_put",
    node="IndexPutBackward0",
    input=lambda g, indices, dims, accumulate: (
        g if accumulate else _C._index_put(g, indices, dims, _zeros(g, ()), False)
    ),
    values=lambda g, indices, dims, values_shape: _to_shape(_C._index(g, indices, dims), values_shape),
)
define(
    "index_put",
    input=lambda g, indices, accumulate: g if accumulate else g.index_put(indices, _zeros(g, ()), False),
    values=lambda g, indices, values_shape: _to_shape(
        _C._index(g, indices, _leading_dims(indices)), values_shape
    ),
)

# ---- a list of slices ----

define(
    "index_select",
    input=lambda g, input_shape, dim, index: _zeros(g, input_shape).index_add(dim, index, g),
)
define(
    "index_add",
    input=lambda g: g,
    source=lambda g, dim, index, alpha: g.index_select(dim, index) * alpha,
)
define(
    "index_copy",
    input=lambda g, dim, index: g.index_fill(dim, index, 0),
    source=lambda g, dim, index: g.index_select(dim, index),
)
define(
    "index_fill",
    input=lambda g, dim, index: g.index_fill(dim, index, 0),
    value=lambda g, dim, index: g.index_select(dim, _C._unique(index.reshape(-1), False, False)[0]).sum(),
    node={"": "IndexFillBackward1", "value": "IndexFillBackward0"},
)

# ---- along a dim ----


def _src_grad(g, dim, index, src_shape):
    """The gradient of a scatter's source, of which the part that ``index`` covers was used."""
    used = g.gather(dim, index)
    missing = [n - u for n, u in zip(src_shape, used.shape)]
    if not any(missing):
        return used
    return _C.constant_pad_nd(used, [p for m in reversed(missing) for p in (0, m)])


define(
    "gather",
    input=lambda g, input_shape, dim, index: _zeros(g, input_shape).scatter_add(dim, index, g),
)
define(
    "scatter.src",
    input=lambda g, dim, index: g.scatter(dim, index, 0),
    src=lambda g, dim, index, src_shape: _src_grad(g, dim, index, src_shape),
)
define("scatter.value", input=lambda g, dim, index: g.scatter(dim, index, 0), node="ScatterBackward1")
define("scatter_add", input=lambda g: g, src=_src_grad)


def _cover(src, index):
    """The part of ``src`` that pairs with ``index``."""
    for d, n in enumerate(index.shape):
        if src.shape[d] != n:
            src = src.narrow(d, 0, n)
    return src


def _reduced(input, dim, index, src, reduce, include_self):
    return input.scatter_reduce(dim, index, src, reduce, include_self=include_self)


def _scatter_reduce_input(g, out, input, dim, index, src, reduce, include_self):
    if reduce == "sum":
        grad = g
    elif reduce == "prod":
        safe = input.masked_fill(input == 0, 1)
        grad = g * _reduced(safe, dim, index, src, "prod", include_self) / safe
    elif reduce == "mean":
        grad = g / _counts(input, dim, index, include_self)
    else:
        grad = (input == out) * _shares(g, out, input, dim, index, src, include_self)
    return grad if include_self else grad.scatter(dim, index, 0)


def _scatter_reduce_src(g, out, input, dim, index, src, reduce, include_self):
    src_shape = src.shape
    if reduce == "sum":
        return _src_grad(g, dim, index, src_shape)
    if reduce == "mean":
        return _src_grad(g / _counts(input, dim, index, include_self), dim, index, src_shape)
    used = _cover(src, index)
    if reduce in ("amax", "amin"):
        share = _shares(g, out, input, dim, index, src, include_self).gather(dim, index)
        grad = (used == out.gather(dim, index)) * share
    else:
        # A zero hides the product of the others: that is found with the zero left out, and is 0 if there is another.
        zero = used == 0
        zeros = _C.zeros_like(input).scatter_add(dim, index, zero.to(input.dtype))
        alone = (zeros == 1).gather(dim, index)
        others = _reduced(input, dim, index, used.masked_fill(zero, 1), "prod", include_self)
        grad = _C.where(
            zero,
            _C.where(alone, (g * others).gather(dim, index), 0),
            (g * out).gather(dim, index) / used.masked_fill(zero, 1),
        )
    if tuple(grad.shape) == tuple(src_shape):
        return grad
    return _C.constant_pad_nd(
        grad, [p for n, u in zip(reversed(src_shape), reversed(grad.shape)) for p in (0, n - u)]
    )


def _counts(input, dim, index, include_self):
    """Number of values in each mean, at least 1."""
    start = _C.ones_like(input) if include_self else _C.zeros_like(input)
    counts = start.scatter_add(dim, index, input.new_ones(index.shape))
    return counts.masked_fill(counts < 1, 1)


def _shares(g, out, input, dim, index, src, include_self):
    """g shared out evenly among the values that equal the extreme one."""
    hits = (_cover(src, index) == out.gather(dim, index)).to(g.dtype)
    own = (input == out).to(g.dtype)
    if not include_self:
        own = own.scatter(dim, index, 0)
    return g / own.scatter_add(dim, index, hits)


define("scatter_reduce", input=_scatter_reduce_input, src=_scatter_reduce_src)


def _old_reduce(reduce):
    return {"add": "sum", "multiply": "prod"}[reduce]


define(
    "scatter.reduce",
    input=lambda g, out, input, dim, index, src, reduce: _scatter_reduce_input(
        g, out, input, dim, index, src, _old_reduce(reduce), True
    ),
    src=lambda g, out, input, dim, index, src, reduce: _scatter_reduce_src(
        g, out, input, dim, index, src, _old_reduce(reduce), True
    ),
)
define(
    "scatter.value_reduce",
    input=lambda g, input_shape, dim, index, value, reduce: (
        g if reduce == "add" else g * g.new_ones(input_shape).scatter(dim, index, value, reduce="multiply")
    ),
)


def _slices_index(index, dim, source):
    """``index``, which names slices along dim, as an index for each element of ``source``."""
    if source.dim() == 0:
        return index.reshape(())
    shape = [1] * source.dim()
    shape[dim] = -1
    return index.reshape(shape).expand(source.shape)


define(
    "index_reduce",
    input=lambda g, out, input, dim, index, source, reduce, include_self: _scatter_reduce_input(
        g, out, input, dim, _slices_index(index, dim, source), source, reduce, include_self
    ),
    source=lambda g, out, input, dim, index, source, reduce, include_self: _scatter_reduce_src(
        g, out, input, dim, _slices_index(index, dim, source), source, reduce, include_self
    ),
)

# ---- the tensor as a flat list ----

define("take", input=lambda g, input_shape, index: _zeros(g, input_shape).put(index, g, True))
define(
    "put",
    input=lambda g, index, accumulate: g if accumulate else g.put(index, _zeros(g, index.shape)),
    source=lambda g, index, source_shape: g.take(index).reshape(source_shape),
)

# ---- masks ----


def _masked_select(g, input_shape, mask):
    shape = (
        broadcast_shapes(input_shape, mask.shape) if tuple(input_shape) != tuple(mask.shape) else input_shape
    )
    return _zeros(g, shape).masked_scatter(mask.to(_C.bool), g)


define("masked_select", input=_masked_select)
define(
    "masked_scatter",
    input=lambda g, mask: g.masked_fill(mask, 0),
    source=lambda g, mask, source_shape: _C._masked_scatter_backward(g, mask, source_shape),
)
define(
    "_masked_scatter_backward",
    grad=lambda g, mask, grad_shape: _zeros(g, grad_shape).masked_scatter(mask, g),
)

# ---- rows of a table ----


def _embedding_again(g, indices, padding_idx, scale_grad_by_freq, grad_shape):
    if scale_grad_by_freq:
        raise NotImplementedError("embedding: no second derivative with scale_grad_by_freq")
    rows = g.index_select(0, indices.reshape(-1)).reshape(grad_shape)
    return rows.masked_fill((indices == padding_idx).unsqueeze(-1), 0) if padding_idx >= 0 else rows


define(
    "embedding",
    weight=lambda g, weight_shape, indices, padding_idx, scale_grad_by_freq: _C.embedding_dense_backward(
        g, indices, weight_shape[0], padding_idx, scale_grad_by_freq
    ),
)
define("embedding_dense_backward", grad=_embedding_again)
not_differentiable(
    "nonzero", "argwhere", "where.condition", "one_hot", "_repeat_interleave_indices", "_wrap_indices"
)
