"""Draws the pictures of docs/products.md: python docs/figures/make.py (matplotlib; `pip install '.[bench]'`).

The precision picture shows the points of precision.json, which benchmarks/precision.py has measured, and nothing else.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

HERE = pathlib.Path(__file__).parent
INK, GREY, LIGHT = "#1f2933", "#7b8794", "#eef1f4"
RED, BLUE, GREEN = "#c8553d", "#2f6f9f", "#4f8a5b"
plt.rcParams.update(
    {
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "text.color": INK,
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "svg.hashsalt": "ctorch",  # the same file every time
        "savefig.facecolor": "white",  # for readers with a dark page
    }
)


def save(name: str) -> None:
    plt.savefig(HERE / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight", pad_inches=0.15)
    plt.close()


# ---- the blocks of a product ---------------------------------------------------------------------------------


def box(ax: Axes, x: float, y: float, w: float, h: float, color: str = LIGHT, **more: Any) -> None:
    ax.add_patch(
        Rectangle((x, y), w, h, facecolor=color, edgecolor=more.pop("edge", INK), linewidth=1.0, **more)
    )


def note(ax: Axes, x: float, y: float, text: str, **more: Any) -> None:
    ax.text(x, y, text, **({"ha": "center", "va": "center", "fontsize": 9} | more))


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color=GREY, linewidth=1.2))


def blocking() -> None:
    """Three levels, from the whole product in memory to the tile in registers."""
    _, ax = plt.subplots(figsize=(11.5, 7.6))
    ax.set_xlim(0, 115)
    ax.set_ylim(0, 76)
    ax.set_aspect("equal")
    ax.axis("off")
    left = {"ha": "left", "fontsize": 10.5, "fontweight": "bold"}

    # 1: slabs of the operands.
    note(ax, 0, 74, "1  Memory: slabs of the operands are packed, by all threads", **left)
    box(ax, 2, 50, 20, 18)
    box(ax, 8, 53, 5, 15, RED, alpha=0.75)
    note(ax, 12, 48, "A   (m, k), any strides")
    note(ax, 26, 59, "×", fontsize=16)
    box(ax, 30, 50, 24, 18)
    box(ax, 30, 58, 18, 4.5, BLUE, alpha=0.75)
    note(ax, 42, 48, "B   (k, n), any strides")
    note(ax, 58, 59, "=", fontsize=16)
    box(ax, 62, 50, 24, 18)
    box(ax, 62, 53, 18, 15, GREEN, alpha=0.35)
    for i in range(1, 3):
        ax.plot([62, 80], [53 + 5 * i, 53 + 5 * i], color="white", linewidth=1.2)
        ax.plot([62 + 6 * i, 62 + 6 * i], [53, 68], color="white", linewidth=1.2)
    box(ax, 68, 58, 6, 5, GREEN)
    note(ax, 74, 48, "C   (m, n)")
    note(ax, 89, 65.5, "slab of A: 4096 rows × 512,\n8 MB", ha="left", color=RED)
    note(
        ax, 89, 59.5, "slab of B: 512 × 4096 columns,\n8 MB, packed once for all of A", ha="left", color=BLUE
    )
    note(ax, 89, 53, "one task: 24 × 16 panels;\ncut by size, never by thread", ha="left", color=GREEN)

    # 2: the panels of one task.
    note(ax, 0, 43, "2  L2 and L1: one task walks panels", **left)
    for i in range(5):
        box(ax, 2, 20 + 3.4 * i, 24, 3, RED if i == 2 else LIGHT, alpha=0.75 if i == 2 else 1)
    note(ax, 13, 16.6, "packed A: panels of 14 rows × 512;\n24 of them (688 KB) stay in the L2")
    for j in range(4):
        box(ax, 36 + 4.6 * j, 20, 4, 16.6, BLUE if j == 1 else LIGHT, alpha=0.75 if j == 1 else 1)
    note(ax, 45, 16.6, "packed B: panels of 512 × 32;\none (64 KB) goes through the L1")
    arrow(ax, (31, 37.5), (31, 21))
    note(ax, 31, 39.4, "inner loop", color=GREY, fontsize=9)
    arrow(ax, (39, 38.2), (54, 38.2))
    note(ax, 46.5, 39.9, "outer loop", color=GREY, fontsize=9)

    # 3: the register tile.
    note(ax, 64, 43, "3  Registers: one panel of A, one of B", **left)
    for i in range(14):
        for j in range(2):
            box(ax, 72 + 9 * j, 20 + 1.1 * i, 8.6, 0.9, GREEN, alpha=0.45)
        box(ax, 66.6, 20 + 1.1 * i, 2, 0.9, RED, alpha=0.75)
    for j in range(2):
        box(ax, 72 + 9 * j, 36.6, 8.6, 1.9, BLUE, alpha=0.75)
    note(ax, 81, 40.4, "step p of k: 2 vectors of 16 floats of B", color=BLUE, fontsize=9)
    note(ax, 67.6, 37.6, "A[i, p]", color=RED, fontsize=9)
    note(ax, 92, 31.5, "14 × 2 vectors of sums:", ha="left", color=GREEN)
    note(ax, 92, 28.6, "28 multiply-adds for\n2 loads, 14 broadcasts", ha="left", va="top")
    note(ax, 84, 16.6, "28 + 2 + 1 of 32 registers\n(AVX2: 12 + 2 + 1 of 16, 8 floats each)")

    # The way of an element to the result.
    note(ax, 0, 10.5, "4  Write-out", **left)
    for x, text in (
        (2, "sums of a\nblock of k"),
        (24, "× alpha"),
        (46, "+ beta × addend\nor bias"),
        (68, "activation"),
    ):
        box(ax, x, 2, 18, 6)
        note(ax, x + 9, 5, text)
        arrow(ax, (x + 18.2, 5), (x + 21.8, 5))
    box(ax, 90, 2, 20, 6, GREEN, alpha=0.35)
    note(ax, 100, 5, "C, any strides,\nin its dtype")
    save("blocking")


# ---- error against speed ---------------------------------------------------------------------------------------

LOOKS = {  # mode: marker, words
    "float64": ("D", "float64"),
    "highest": ("o", 'float32 "highest"'),
    "high": ("^", 'float32 "high"'),
    "medium": ("s", 'float32 "medium"'),
    "bfloat16": ("P", "bfloat16"),
}
SIDES = {  # module, level: color
    ("torch", ""): GREY,
    ("ctorch", "generic"): "#d9a441",
    ("ctorch", "avx2"): GREEN,
    ("ctorch", "avx512"): BLUE,
    ("ctorch", "avx512_bf16"): RED,
    ("ctorch", "amx"): "#7a4f9a",
}


# Higher levels are drawn later, and smaller, so that equal points are seen.
SIZES = {"avx2": 16, "avx512": 11.5, "avx512_bf16": 7}
# A level that has no kernel of its own for a precision computes it at "highest": the same point.
DRAWN = {"amx": tuple(LOOKS), "avx512_bf16": ("float64", "highest", "medium", "bfloat16")}


def precision() -> None:
    """A panel per machine: speed to the right, digits upward."""
    runs = json.loads((HERE / "precision.json").read_text())
    _, axes = plt.subplots(len(runs), 1, figsize=(9.5, 5.6 * len(runs)), squeeze=False)
    for ax, run in zip(axes[:, 0], runs):
        drawn = set()
        for point in run["points"]:
            if point["mode"] not in DRAWN.get(point["level"], ("float64", "highest", "bfloat16")):
                continue
            drawn.add(point["mode"])
            color, (marker, _) = SIDES[point["module"], point["level"]], LOOKS[point["mode"]]
            hollow = point["module"] == "torch"
            ax.plot(
                *(point["gflops"], point["error"], marker),
                color=color,
                markersize=SIZES.get(point["level"], 11),
                markeredgewidth=1.8,
                markerfacecolor="none" if hollow else color,
                markeredgecolor=color,
            )
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.invert_yaxis()
        low, high = (f(p["gflops"] for p in run["points"]) for f in (min, max))
        ax.set_xlim(low / 1.25, high * 1.25)
        ticks = [t for t in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if low / 1.25 <= t <= high * 1.25]
        ax.set_xticks(ticks, [str(t) for t in ticks])
        ax.minorticks_off()
        ax.set_ylim(3e-2, 5e-18)
        for height, words in ((2.0**-53, "2⁻⁵³"), (2.0**-24, "2⁻²⁴"), (2.0**-8, "2⁻⁸")):
            ax.axhline(height, color=GREY, linewidth=0.8, linestyle=":")
            ax.text(low / 1.22, height, words, va="bottom", ha="left", color=GREY, fontsize=9)
        ax.set_xlabel("GFLOP/s (log scale)")
        ax.set_ylabel("greatest error / greatest value (smaller is higher)")
        flags = run["instructions"].split()
        kind = "AMX" if "amx_bf16" in flags else "AVX-512 BF16" if "avx512_bf16" in flags else "no BF16"
        ax.set_title(
            f"{run['cpu']} ({kind}), {run['threads']} threads, n = {run['size']}", fontsize=11, color=INK
        )
        met = {(p["module"], p["level"]) for p in run["points"]}
        colors = [
            plt.Line2D([], [], marker="o", linestyle="", color=c, markersize=8, label=" ".join(side).strip(),
                       markerfacecolor="none" if side[0] == "torch" else c, markeredgewidth=1.8)
            for side, c in SIDES.items()
            if side in met
        ]  # fmt: skip
        shapes = [
            plt.Line2D([], [], marker=m, linestyle="", color=INK, markersize=8, label=words)
            for mode, (m, words) in LOOKS.items()
            if mode in drawn
        ]
        first = ax.legend(handles=colors, loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
        ax.add_artist(first)
        ax.legend(handles=shapes, loc="upper left", bbox_to_anchor=(1.01, 0.55), frameon=False)
    save("precision")


if __name__ == "__main__":
    blocking()
    precision()
