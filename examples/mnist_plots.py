"""Pictures of a training run: the loss curve, test digits with their predictions, the confusion matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def save_all(
    folder: Path, history: dict, images: np.ndarray, labels: np.ndarray, predictions: np.ndarray
) -> list[Path]:
    """Draw the three pictures as PNG files.

    Args:
        history: "losses" of every step, and "accuracies" of every epoch on the test images.
        images: (N, 1, 28, 28), the test images.
    Returns: the files.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawings = {
        "loss.png": lambda: loss_curve(pyplot, history),
        "predictions.png": lambda: digit_grid(pyplot, images, labels, predictions),
        "confusion.png": lambda: confusion_matrix(pyplot, labels, predictions),
    }
    for name, draw in drawings.items():
        figure = draw()
        figure.savefig(folder / name, dpi=120, bbox_inches="tight")
        pyplot.close(figure)
    return [folder / name for name in drawings]


def loss_curve(pyplot, history: dict):
    """The loss of each step, its running mean, and the accuracy at the end of each epoch."""
    losses, accuracies = np.asarray(history["losses"]), history["accuracies"]
    figure, axes = pyplot.subplots(figsize=(7, 4))
    axes.plot(losses, color="tab:blue", alpha=0.3, linewidth=0.8, label="loss of a step")
    width = min(25, len(losses))
    if width:
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        axes.plot(np.arange(width - 1, len(losses)), smooth, color="tab:blue", label=f"mean of {width} steps")
    axes.set(xlabel="step", ylabel="cross entropy", yscale="log")
    right = axes.twinx()
    ends = np.arange(1, len(accuracies) + 1) * len(losses) / max(len(accuracies), 1)
    right.plot(ends, [100 * a for a in accuracies], "o-", color="tab:orange", label="test accuracy")
    right.set_ylabel("test accuracy, %")
    lines = axes.get_lines() + right.get_lines()
    axes.legend(
        lines, [line.get_label() for line in lines], loc="upper center", bbox_to_anchor=(0.5, -0.13), ncol=3
    )
    return figure


def digit_grid(
    pyplot, images: np.ndarray, labels: np.ndarray, predictions: np.ndarray, rows: int = 6, columns: int = 10
):
    """Test digits with their predictions: those that are wrong first, in red."""
    order = np.argsort(labels == predictions, kind="stable")[: rows * columns]
    figure, grid = pyplot.subplots(rows, columns, figsize=(columns * 0.9, rows * 1.05))
    for cell in grid.flat:
        cell.axis("off")
    for cell, i in zip(grid.flat, order):
        right = labels[i] == predictions[i]
        cell.imshow(images[i, 0], cmap="gray_r")
        text = f"{predictions[i]}" if right else f"{predictions[i]}, is {labels[i]}"
        cell.set_title(text, fontsize=8, color="black" if right else "red", pad=2)
    return figure


def confusion_matrix(pyplot, labels: np.ndarray, predictions: np.ndarray):
    """How often each digit (rows) was taken for each digit (columns)."""
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predictions), 1)
    figure, axes = pyplot.subplots(figsize=(5.5, 5))
    axes.imshow(counts / np.maximum(counts.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(counts):
        if count:
            axes.text(j, i, count, ha="center", va="center", fontsize=8, color="white" if i == j else "black")
    axes.set(xlabel="prediction", ylabel="digit", xticks=range(10), yticks=range(10))
    axes.set_title(f"{100 * np.trace(counts) / max(counts.sum(), 1):.1f} % right")
    return figure
