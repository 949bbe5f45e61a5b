"""Datasets of images from files."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any, ClassVar

import ctorch

from .._C import Tensor
from ..utils.data import Dataset

__all__ = ["MNIST", "read_idx"]

# The third byte of an IDX file: the type of its elements, all big-endian.
_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> Tensor:
    """Read an IDX file, plain or, if its name ends in .gz, compressed.

    Returns: a tensor of the file's shape and dtype.
    Raises: FileNotFoundError; ValueError for a file that is damaged, cut off or of another kind.
    """
    import numpy

    content = _content(os.fspath(path))
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX_TYPES:
        shown = content[:4].hex(" ") or "nothing"
        raise ValueError(
            f"read_idx: {path} is not an IDX file: expected it to start with 00 00 and a type, got {shown}"
        )
    dims = content[3]
    start = 4 + 4 * dims
    if len(content) < start:
        raise ValueError(f"read_idx: {path} is cut off in its header of {start} bytes, after {len(content)}")
    shape = struct.unpack(f">{dims}I", content[4:start])
    dtype = numpy.dtype(_IDX_TYPES[content[2]])
    size = dtype.itemsize
    for n in shape:
        size *= n
    if len(content) - start != size:
        raise ValueError(
            f"read_idx: {path}: expected {size} bytes for shape {shape}, got {len(content) - start}"
        )
    array = numpy.frombuffer(content, dtype, offset=start).reshape(shape)
    return ctorch.from_numpy(array.astype(dtype.newbyteorder("=")))


def _content(path: str) -> bytes:
    if not path.endswith(".gz"):
        with open(path, "rb") as file:
            return file.read()
    import gzip
    import zlib

    with open(path, "rb") as file:  # so that a missing file is no damaged one
        try:
            return gzip.decompress(file.read())
        except (OSError, EOFError, zlib.error, struct.error) as error:
            raise ValueError(f"read_idx: {path} is damaged or cut off ({error})") from error


class MNIST(Dataset[tuple[Any, Any]]):
    """Handwritten digits (LeCun, Cortes, Burges): 60,000 to train with, 10,000 to test with.

    Sample i is the pair of an image, as a NumPy array (28, 28) of bytes, and its label.

    Args:
        root: the folder of the four IDX files, plain or with .gz; or one with them in ``MNIST/raw``.
        train: the images to train with, else those to test with.
        transform: applied to each image.
        target_transform: applied to each label.
        download: nothing is ever downloaded; True is accepted where the files are there.
    Raises: FileNotFoundError, or ValueError for damaged files.
    """

    classes: ClassVar[list[str]] = [
        "0 - zero",
        "1 - one",
        "2 - two",
        "3 - three",
        "4 - four",
        "5 - five",
        "6 - six",
        "7 - seven",
        "8 - eight",
        "9 - nine",
    ]

    def __init__(
        self,
        root: str | os.PathLike[str],
        train: bool = True,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
        download: bool = False,
    ) -> None:
        self.root = os.fspath(root)
        self.train = train
        self.transform = transform
        self.target_transform = target_transform
        part = "train" if train else "t10k"
        images = self._find(f"{part}-images", "idx3-ubyte", download)
        labels = self._find(f"{part}-labels", "idx1-ubyte", download)
        self.data = read_idx(images)
        self.targets = read_idx(labels).to(ctorch.int64)
        if self.data.dtype != ctorch.uint8 or self.data.dim() != 3:
            raise ValueError(f"MNIST: expected {images} to hold bytes (N, H, W), got {_kind(self.data)}")
        if tuple(self.targets.shape) != tuple(self.data.shape[:1]):
            raise ValueError(
                f"MNIST: expected {self.data.shape[0]} labels in {labels}, got {_kind(self.targets)}"
            )
        if self.targets.numel() and int(self.targets.max()) >= len(self.classes):
            raise ValueError(
                f"MNIST: expected labels from 0 to {len(self.classes) - 1} in {labels}, got "
                f"{int(self.targets.max())}"
            )
        self._images = self.data.numpy()
        self._labels = self.targets.tolist()

    def _find(self, name: str, kind: str, download: bool) -> str:
        for folder in (self.root, os.path.join(self.root, "MNIST", "raw")):
            for file in (f"{name}-{kind}", f"{name}.{kind}"):
                for path in (os.path.join(folder, file), os.path.join(folder, file + ".gz")):
                    if os.path.isfile(path):
                        return path
        hint = "; nothing is downloaded, put the file there" if download else ""
        raise FileNotFoundError(
            f"MNIST: no file {name}-{kind} or {name}-{kind}.gz in {self.root} or its MNIST/raw{hint}"
        )

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = self._images[index], self._labels[index]
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            label = self.target_transform(label)
        return image, label

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The labels by the names of the classes."""
        return {name: i for i, name in enumerate(self.classes)}

    def __repr__(self) -> str:
        lines = [
            f"Dataset {type(self).__name__}",
            f"    Number of datapoints: {len(self)}",
            f"    Root location: {self.root}",
            f"    Split: {'Train' if self.train else 'Test'}",
        ]
        if self.transform is not None or self.target_transform is not None:
            lines.append("    StandardTransform")  # what follows is not indented in torchvision either
            lines += _described("Transform: ", self.transform)
            lines += _described("Target transform: ", self.target_transform)
        return "\n".join(lines)


def _described(head: str, transform: Any) -> list[str]:
    """The lines of a transform's text after ``head``; none if there is no transform."""
    if transform is None:
        return []
    first, *rest = repr(transform).splitlines()
    return [head + first, *(" " * len(head) + line for line in rest)]


def _kind(t: Tensor) -> str:
    return f"{t.dtype} {tuple(t.shape)}"
