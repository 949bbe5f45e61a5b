"""Images: IDX files, the MNIST dataset, transforms."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys

import numpy as np
import pytest

import ctorch
from ctorch.vision import datasets, transforms

TYPES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}


def idx_bytes(array):
    head = struct.pack(">HBB", 0, TYPES[str(array.dtype)], array.ndim) + struct.pack(
        f">{array.ndim}I", *array.shape
    )
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_mnist(folder, count=5, part="train", suffix=""):
    """Small files of the form of MNIST's. Returns the arrays."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, 10, count, dtype=np.uint8)
    pack = gzip.compress if suffix else bytes
    (folder / f"{part}-images-idx3-ubyte{suffix}").write_bytes(pack(idx_bytes(images)))
    (folder / f"{part}-labels-idx1-ubyte{suffix}").write_bytes(pack(idx_bytes(labels)))
    return images, labels


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_read_idx(tmp_path, name, suffix):
    array = np.arange(24).reshape(2, 3, 4).astype(name)
    path = tmp_path / f"x{suffix}"
    path.write_bytes(gzip.compress(idx_bytes(array)) if suffix else idx_bytes(array))
    result = datasets.read_idx(path)
    assert str(result.dtype).endswith(name)
    np.testing.assert_array_equal(result.numpy(), array)


GOOD = idx_bytes(np.zeros((2, 3), np.uint8))
DAMAGED = {
    "empty": (b"", "not an IDX file"),
    "magic": (b"\x01" + GOOD[1:], "not an IDX file"),
    "type": (b"\0\0\x07" + GOOD[3:], "not an IDX file"),
    "header": (GOOD[:9], "header"),
    "cut off": (GOOD[:-1], "expected 6 bytes for shape .2, 3., got 5"),
    "too long": (GOOD + b"\0", "expected 6 bytes"),
    "huge": (b"\0\0\x08\x03" + b"\xff" * 12, "expected 79228162458924105385300197375 bytes"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file(tmp_path, name):
    content, text = DAMAGED[name]
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match=text):
        datasets.read_idx(tmp_path / "x")


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(GOOD)[:-9], gzip.compress(GOOD)[:12] + b"\xff" * 20]
)
def test_damaged_compression(tmp_path, content):
    (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(ValueError, match="read_idx"):
        datasets.read_idx(tmp_path / "x.gz")


def test_a_missing_file(tmp_path):
    for name in ("x", "x.gz"):
        with pytest.raises(FileNotFoundError):
            datasets.read_idx(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        datasets.MNIST(tmp_path)
    with pytest.raises(FileNotFoundError, match="nothing is downloaded"):
        datasets.MNIST(tmp_path, download=True)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("below", [".", "MNIST/raw"])
def test_mnist(tmp_path, suffix, below):
    folder = tmp_path / below
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = write_mnist(folder, suffix=suffix)
    write_mnist(folder, count=3, part="t10k", suffix=suffix)
    dataset = datasets.MNIST(tmp_path)
    assert len(dataset) == 5 and len(datasets.MNIST(tmp_path, train=False)) == 3
    image, label = dataset[2]
    np.testing.assert_array_equal(image, images[2])
    assert label == labels[2]
    assert dataset.targets.tolist() == labels.tolist() and tuple(dataset.data.shape) == (5, 28, 28)


def test_mnist_with_transforms_in_a_loader(tmp_path):
    images, labels = write_mnist(tmp_path)
    prepare = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.25,))])
    dataset = datasets.MNIST(tmp_path, transform=prepare, target_transform=lambda label: label + 1)
    batches = list(ctorch.utils.data.DataLoader(dataset, batch_size=3))
    assert [tuple(x.shape) for x, _ in batches] == [(3, 1, 28, 28), (2, 1, 28, 28)]
    assert batches[0][1].tolist() == [int(n) + 1 for n in labels[:3]]
    np.testing.assert_allclose(
        batches[0][0].numpy(), (images[:3, None].astype(np.float32) / 255 - 0.5) / 0.25, atol=1e-6
    )


def test_mnist_with_files_that_do_not_fit(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(4, np.uint8)))
    with pytest.raises(ValueError, match="expected 5 labels"):
        datasets.MNIST(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((5, 28), np.uint8)))
    with pytest.raises(ValueError, match="to hold bytes"):
        datasets.MNIST(tmp_path)


def test_to_tensor():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    result = transforms.ToTensor()(grey)
    assert result.dtype == ctorch.float32 and tuple(result.shape) == (1, 2, 3)
    np.testing.assert_allclose(result.numpy()[0], grey.astype(np.float32) / 255, rtol=1e-6)
    colour = np.random.default_rng(0).random((2, 3, 3))
    result = transforms.ToTensor()(colour)
    assert result.dtype == ctorch.float64
    np.testing.assert_array_equal(result.numpy(), colour.transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "I", "F"])
def test_to_tensor_of_pillow_images(mode):
    image = pytest.importorskip("PIL.Image", reason="Pillow's images").new(mode, (3, 2), 1)
    result = transforms.ToTensor()(image)
    assert tuple(result.shape) == (len(image.getbands()), 2, 3)
    assert result.dtype == {"I": ctorch.int32}.get(mode, ctorch.float32)


def test_normalize():
    x = ctorch.ones(2, 3, 4, 4)
    y = transforms.Normalize([0.5, 1.0, 2.0], [0.5, 2.0, 1.0])(x)
    assert y[:, :, 0, 0].tolist() == [[1.0, 0.0, -1.0]] * 2
    assert x[0, 0, 0, 0] == 1
    transforms.Normalize([0.5], [0.5], inplace=True)(x)
    assert ctorch.equal(x, ctorch.ones(2, 3, 4, 4))


def test_bad_input():
    with pytest.raises(TypeError, match="PIL Image or ndarray"):
        transforms.ToTensor()([1])
    with pytest.raises(ValueError, match="2/3 dimensional"):
        transforms.ToTensor()(np.zeros(3))
    with pytest.raises(TypeError, match="float tensor"):
        transforms.Normalize([0], [1])(ctorch.ones(1, 2, 2, dtype=ctorch.int64))
    with pytest.raises(TypeError, match="Tensor Image"):
        transforms.Normalize([0], [1])(np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="C, H, W"):
        transforms.Normalize([0], [1])(ctorch.ones(2, 2))
    with pytest.raises(ValueError, match="std evaluated to zero"):
        transforms.Normalize([0], [0])(ctorch.ones(1, 2, 2))
    with pytest.raises(TypeError, match="callable"):
        transforms.Lambda(3)


def test_text():
    text = repr(transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.25,))]))
    assert text == "Compose(\n    ToTensor()\n    Normalize(mean=(0.5,), std=(0.25,))\n)"
    assert transforms.Lambda(abs)(-1) == 1


def test_mnist_checks_its_labels(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.array([1, 2, 77, 3, 4], np.uint8)))
    with pytest.raises(ValueError, match=r"labels from 0 to 9 .* got 77"):
        datasets.MNIST(tmp_path)


def test_mnist_describes_itself(tmp_path):
    write_mnist(tmp_path)
    head = f"Dataset MNIST\n    Number of datapoints: 5\n    Root location: {tmp_path}\n    Split: Train"
    assert repr(datasets.MNIST(tmp_path)) == head
    both = datasets.MNIST(tmp_path, transform=transforms.ToTensor(), target_transform=transforms.ToTensor())
    lines = "\n    StandardTransform\nTransform: ToTensor()\nTarget transform: ToTensor()"
    assert repr(both) == head + lines
    assert both.class_to_idx["3 - three"] == 3 and len(both.class_to_idx) == 10


def test_vision_is_loaded_when_asked_for():
    code = (
        "import sys, ctorch; before = 'ctorch.vision' in sys.modules; ctorch.vision.transforms; print(before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    with pytest.raises(AttributeError, match="no attribute 'visions'"):
        _ = ctorch.visions
