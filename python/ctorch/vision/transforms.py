"""Transforms: functions that prepare the samples of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ctorch

from .._C import Tensor

__all__ = ["Compose", "Lambda", "Normalize", "ToTensor"]

# What Pillow's modes mean, if their elements are not bytes.
_MODE_DTYPES = {"I": "int32", "I;16": "int16", "F": "float32"}


class Compose:
    """Several transforms one after the other."""

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]) -> None:
        self.transforms = transforms

    def __call__(self, img: Any) -> Any:
        for transform in self.transforms:
            img = transform(img)
        return img

    def __repr__(self) -> str:
        return f"{type(self).__name__}(" + "".join(f"\n    {t}" for t in self.transforms) + "\n)"


class Lambda:
    """A function as a transform."""

    def __init__(self, lambd: Callable[[Any], Any]) -> None:
        if not callable(lambd):
            raise TypeError(f"Argument lambd should be callable, got {type(lambd).__name__!r}")
        self.lambd = lambd

    def __call__(self, img: Any) -> Any:
        return self.lambd(img)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class ToTensor:
    """A picture as a tensor (C, H, W): bytes become float32 in [0, 1], other numbers stay as they are.

    It takes NumPy arrays (H, W) or (H, W, C), and Pillow's images.
    """

    def __call__(self, pic: Any) -> Tensor:
        import numpy

        if hasattr(pic, "getbands"):  # Pillow's
            array = numpy.array(pic, dtype=_MODE_DTYPES.get(pic.mode))
            if pic.mode == "1":
                array = array.astype(numpy.uint8) * numpy.uint8(255)
        elif isinstance(pic, numpy.ndarray):
            array = pic
        else:
            raise TypeError(f"pic should be PIL Image or ndarray. Got {type(pic)}")
        if array.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {array.ndim} dimensions.")
        array = array[:, :, None] if array.ndim == 2 else array
        planes = numpy.array(array.transpose(2, 0, 1), order="C")  # its own memory
        tensor = ctorch.from_numpy(planes)
        return tensor.to(ctorch.get_default_dtype()).div(255) if planes.dtype == numpy.uint8 else tensor

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Normalize:
    """(x - mean) / std, with numbers of their own for each channel of (..., C, H, W).

    Args:
        inplace: change the given tensor.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> None:
        self.mean = mean
        self.std = std
        self.inplace = inplace

    def __call__(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, Tensor):
            raise TypeError(f"img should be Tensor Image. Got {type(tensor)}")
        if not tensor.is_floating_point():
            raise TypeError(f"Input tensor should be a float tensor. Got {tensor.dtype}.")
        if tensor.dim() < 3:
            raise ValueError(
                "Expected tensor to be a tensor image of size (..., C, H, W). Got tensor.size() = "
                f"{tensor.size()}"
            )
        mean = ctorch.as_tensor(self.mean, dtype=tensor.dtype).reshape(-1, 1, 1)
        std = ctorch.as_tensor(self.std, dtype=tensor.dtype).reshape(-1, 1, 1)
        if bool((std == 0).any()):
            raise ValueError(
                f"std evaluated to zero after conversion to {tensor.dtype}, leading to division by zero."
            )
        return (tensor if self.inplace else tensor.clone()).sub_(mean).div_(std)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(mean={self.mean}, std={self.std})"
