"""Convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import ctorch

from ..._C import Tensor
from .. import functional as F
from .. import init
from ..module import Module
from ..parameter import Parameter

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


def as_tuple(value: Any, length: int) -> tuple[Any, ...]:
    """``value`` for each of ``length`` dimensions; a sequence as it is."""
    return tuple(value) if isinstance(value, Sequence) else (value,) * length


class _Conv(Module):
    """What the convolutions share. ``_ndim`` is the number of dimensions that the kernel moves over."""

    _ndim: int
    transposed = False
    padding: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        output_padding: Any = 0,
    ) -> None:
        super().__init__()
        n = self._ndim
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = as_tuple(kernel_size, n)
        self.stride = as_tuple(stride, n)
        self.padding = padding if isinstance(padding, str) else as_tuple(padding, n)
        self.dilation = as_tuple(dilation, n)
        self.output_padding = as_tuple(output_padding, n)
        self.groups = groups
        self.padding_mode = padding_mode
        self._check()
        self._pad_widths = self._widths()
        channels = (out_channels, in_channels) if not self.transposed else (in_channels, out_channels)
        self.weight = Parameter(
            ctorch.empty((channels[0], channels[1] // groups, *self.kernel_size), device=device, dtype=dtype)
        )
        if bias:
            self.bias = Parameter(ctorch.empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _check(self) -> None:
        if self.groups <= 0:
            raise ValueError("groups must be a positive integer")
        if self.in_channels % self.groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if self.out_channels % self.groups != 0:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(self.padding, str):
            if self.padding not in ("same", "valid"):
                raise ValueError(
                    f"Invalid padding string {self.padding!r}, should be one of {{'same', 'valid'}}"
                )
            if self.padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        modes = ("zeros", "reflect", "replicate", "circular")
        if self.padding_mode not in modes:
            raise ValueError(
                f"padding_mode must be one of {set(modes)}, but got padding_mode='{self.padding_mode}'"
            )

    def _widths(self) -> list[int]:
        """The padding as nn.functional.pad takes it: (before, after) from the last dimension on."""
        if not isinstance(self.padding, str):
            return [width for width in reversed(self.padding) for _ in range(2)]
        widths = []
        for d, k in zip(reversed(self.dilation), reversed(self.kernel_size)):
            total = d * (k - 1) if self.padding == "same" else 0
            widths += [total // 2, total - total // 2]
        return widths

    def reset_parameters(self) -> None:
        """Draw new values."""
        # The bound 1 / sqrt(fan_in), by the way and with the rounding of PyTorch.
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan_in, _ = init._calculate_fan_in_and_fan_out(self.weight)
            if fan_in != 0:
                bound = 1 / math.sqrt(fan_in)
                init.uniform_(self.bias, -bound, bound)

    def _padded(self, input: Tensor) -> tuple[Tensor, Any]:
        """The input as the convolution shall get it, and the zeros that it still has to add."""
        if self.padding_mode == "zeros":
            return input, self.padding
        return F.pad(input, self._pad_widths, mode=self.padding_mode), 0

    def extra_repr(self) -> str:
        n = self._ndim
        parts = [
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        ]
        if self.padding != (0,) * n:
            parts.append(f"padding={self.padding}")
        if self.dilation != (1,) * n:
            parts.append(f"dilation={self.dilation}")
        if self.output_padding != (0,) * n:
            parts.append(f"output_padding={self.output_padding}")
        if self.groups != 1:
            parts.append(f"groups={self.groups}")
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)


class Conv1d(_Conv):
    """Cross-correlation over one dimension: (N, C, L) or (C, L); see ``nn.functional.conv1d``.

    Args:
        padding: elements on each side, "same" or "valid".
        padding_mode: what is added: "zeros", "reflect", "replicate" or "circular".
    Attributes:
        weight: (out_channels, in_channels / groups, k), at first uniform in +-1 / sqrt(fan in).
        bias: (out_channels,), likewise, or None.
    """

    _ndim = 1

    def forward(self, input: Tensor) -> Tensor:
        input, padding = self._padded(input)
        return F.conv1d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv2d(_Conv):
    """Cross-correlation over two dimensions: (N, C, H, W) or (C, H, W); see ``nn.functional.conv2d``.

    Args:
        padding: elements on each side, as an int or a pair, "same" or "valid".
        padding_mode: what is added: "zeros", "reflect", "replicate" or "circular".
    Attributes:
        weight: (out_channels, in_channels / groups, kH, kW), at first uniform in +-1 / sqrt(fan in).
        bias: (out_channels,), likewise, or None.
    """

    _ndim = 2

    def forward(self, input: Tensor) -> Tensor:
        input, padding = self._padded(input)
        return F.conv2d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class Conv3d(_Conv):
    """Cross-correlation over three dimensions: (N, C, D, H, W) or (C, D, H, W); see ``nn.functional.conv3d``.

    Args:
        padding: elements on each side, as an int or three, "same" or "valid".
        padding_mode: what is added: "zeros", "reflect", "replicate" or "circular".
    Attributes:
        weight: (out_channels, in_channels / groups, kD, kH, kW), at first uniform in +-1 / sqrt(fan in).
        bias: (out_channels,), likewise, or None.
    """

    _ndim = 3

    def forward(self, input: Tensor) -> Tensor:
        input, padding = self._padded(input)
        return F.conv3d(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class _ConvTranspose(_Conv):
    """What the transposed convolutions share.

    Args:
        padding: dilation * (kernel_size - 1) - padding zeros are added on each side of the input.
        output_padding: how much larger the result is at its ends; below the stride or the dilation.
    Attributes:
        weight: (in_channels, out_channels / groups, *kernel_size), at first uniform in +-1 / sqrt(fan in).
        bias: (out_channels,), likewise, or None.
    """

    transposed = True
    padding: tuple[int, ...]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        if isinstance(padding, str):
            raise TypeError(f"{type(self).__name__}: padding has to be a number or numbers, got {padding!r}")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
            output_padding=output_padding,
        )

    def _output_padding(self, input: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """What has to be added for a result of ``output_size``, given with or without the leading dims."""
        if output_size is None:
            return self.output_padding
        n = self._ndim
        leading = 2 if input.dim() == n + 2 else 1
        size = list(output_size)
        if len(size) == leading + n:
            size = size[leading:]
        if len(size) != n:
            raise ValueError(
                f"ConvTranspose{n}D: for {input.dim()}D input, output_size must have {n} or {leading + n} "
                f"elements (got {len(size)})"
            )
        smallest = [
            (length - 1) * s - 2 * p + d * (k - 1) + 1
            for length, s, p, d, k in zip(
                input.shape[leading:], self.stride, self.padding, self.dilation, self.kernel_size
            )
        ]
        largest = [low + s - 1 for low, s in zip(smallest, self.stride)]
        if any(not low <= want <= high for low, want, high in zip(smallest, size, largest)):
            raise ValueError(
                f"requested an output size of {size}, but valid sizes range from {smallest} to {largest} "
                f"(for an input of {input.size()[2:]})"
            )
        return tuple(want - low for want, low in zip(size, smallest))

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        transpose = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self._ndim - 1]
        return transpose(
            input,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self._output_padding(input, output_size),
            self.groups,
            self.dilation,
        )


class ConvTranspose1d(_ConvTranspose):
    """The transpose of Conv1d: (N, C, L) or (C, L); ``output_size`` chooses among the possible lengths."""

    _ndim = 1


class ConvTranspose2d(_ConvTranspose):
    """The transpose of Conv2d: (N, C, H, W) or (C, H, W); ``output_size`` chooses among the possible sizes."""

    _ndim = 2


class ConvTranspose3d(_ConvTranspose):
    """The transpose of Conv3d: (N, C, D, H, W) or (C, D, H, W); ``output_size`` chooses among the sizes."""

    _ndim = 3
