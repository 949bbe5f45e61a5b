"""Operations that make tensors, or answer questions about them, have no derivative."""

from __future__ import annotations

from ctorch.autograd.registry import not_differentiable

not_differentiable(
    "_unique", "_unique_consecutive", "_unique_dim", "allclose", "arange", "as_tensor", "asarray", "bincount", "can_cast",
    "embedding_renorm_", "empty", "empty_like", "empty_permuted", "empty_strided", "equal", "eye", "full", "full_like",
    "histc", "linspace", "logspace", "new_empty", "new_empty_strided", "new_full", "new_ones", "new_tensor", "new_zeros",
    "ones", "ones_like", "promote_types", "rand", "randint", "randn", "randperm", "result_type", "scalar_tensor", "tensor",
    "tril_indices", "triu_indices", "zeros", "zeros_like",
)  # fmt: skip
