"""Error against speed of a product of square matrices, in every precision and at every kernel level of the machine.

    python benchmarks/precision.py --doc docs/products.md     measure, and write the table and the data of the picture

Speed is the best of some seconds, of ctorch's levels and of torch; the error is the greatest, over the greatest
value, against a float64 product of the same numbers (normally distributed; for bfloat16 rounded to it
first). docs/figures/make.py draws what is kept in docs/figures/precision.json, where a run replaces an earlier one on
the same CPU.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import machine
import report

DATA = pathlib.Path(__file__).parents[1] / "docs" / "figures" / "precision.json"
LEVELS = ("generic", "avx2", "avx512", "avx512_bf16", "amx")
MODES = ("float64", "highest", "high", "medium", "bfloat16")  # the middle ones are precisions of float32
WORDS = {mode: f'float32, "{mode}"' for mode in MODES[1:4]}
SIZE, SECONDS = 2048, 1.5

Point = dict[str, Any]  # module, level, mode, gflops, error


def measure(module: str, threads: int, size: int) -> list[Point]:
    """All modes of one side, in this process."""
    import numpy as np

    T = importlib.import_module(module)
    T.set_num_threads(threads)
    level = T._C._isa() if module == "ctorch" else ""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size)).astype(np.float32) for _ in range(2))
    rows = np.linspace(0, size - 1, 64).astype(int)
    points = []
    for mode in MODES:
        if mode in WORDS:
            T.set_float32_matmul_precision(mode)
        dtype = getattr(T, mode) if mode not in WORDS else T.float32
        x, y = T.tensor(a).to(dtype), T.tensor(b).to(dtype)
        wide = np.longdouble if mode == "float64" else np.float64
        some = rows[:4] if mode == "float64" else rows
        left, right = (t.double().numpy().astype(wide) for t in (x, y))
        exact = left[some] @ right
        error = np.abs((x @ y).double().numpy()[some] - exact).max() / np.abs(exact).max()
        best, begin = float("inf"), time.perf_counter()
        while time.perf_counter() < begin + SECONDS:
            start = time.perf_counter()
            x @ y
            best = min(best, time.perf_counter() - start)
        points.append({"module": module, "level": level, "mode": mode, "error": float(error)})
        points[-1]["gflops"] = 2 * size**3 / best / 1e9
    return points


def all_sides(threads: int, size: int) -> list[Point]:
    """Each side and level in a process of its own; levels that the machine has not are left out."""
    points: list[Point] = []
    for module, level in [("torch", None), *(("ctorch", level) for level in LEVELS)]:
        env = {k: v for k, v in os.environ.items() if k != "CTORCH_ISA"}
        command = [sys.executable, __file__, "--side", module, "--threads", str(threads), "--size", str(size)]
        done = subprocess.run(
            command, env=env | ({"CTORCH_ISA": level} if level else {}), capture_output=True, text=True
        )
        if done.returncode == 0:
            points += json.loads(done.stdout.splitlines()[-1])
        else:
            print(
                f"{module} {level}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}", file=sys.stderr
            )
    return points


def table(points: list[Point]) -> tuple[list[str], list[list[str]]]:
    """A line per mode, a column per side and level."""
    sides = list(dict.fromkeys((p["module"], p["level"]) for p in points))
    found = {(p["module"], p["level"], p["mode"]): p for p in points}
    head = ["GFLOP/s, error", *(f"{module} {level}".strip() for module, level in sides)]
    body = []
    for mode in MODES:
        mine = [found.get((*side, mode)) for side in sides]
        body.append(
            [WORDS.get(mode, mode), *(f"{p['gflops']:.0f}, {p['error']:.1e}" if p else "" for p in mine)]
        )
    return head, body


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--size", type=int, default=SIZE)
    p.add_argument("--doc", metavar="FILE", help="put the table into this document and keep the data")
    p.add_argument("--side", help=argparse.SUPPRESS)
    opts = p.parse_args()
    if opts.side:
        print(json.dumps(measure(opts.side, opts.threads, opts.size)))
        return
    about = machine.describe()
    run = {"date": str(datetime.date.today()), "cpu": about["cpu"], "instructions": about["instructions"]}
    run |= {"threads": opts.threads, "size": opts.size, "points": all_sides(opts.threads, opts.size)}
    print(report.text_table(*table(run["points"])))
    if opts.doc:
        kept = json.loads(DATA.read_text()) if DATA.exists() else []
        same = ("cpu", "instructions")
        runs = [r for r in kept if any(r[key] != run[key] for key in same)] + [run]
        DATA.write_text(json.dumps(runs, indent=1) + "\n")
        tables = [
            f"{r['cpu']} ({r['instructions']}), {r['threads']} threads, n = {r['size']}, {r['date']}:\n\n"
            + report.markdown_table(*table(r["points"]))
            for r in runs
        ]
        document = pathlib.Path(opts.doc)
        document.write_text(report.between(document.read_text(), "precision", "\n\n".join(tables)))


if __name__ == "__main__":
    main()
