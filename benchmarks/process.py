"""Figures of whole processes: time to import, time to a first training step, size of the wheel, peak memory.

Times are less those of `python -c pass` with the same interpreter. Memory is the child's ru_maxrss, which
includes that of its parent at the fork: the process that measures must stay small, so nothing here imports
numpy.
"""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

MNIST = pathlib.Path(__file__).parents[1] / "examples" / "mnist.py"

FIRST_STEP = """
import MODULE as T
nn = T.nn
m = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10))
o = T.optim.SGD(m.parameters(), lr=0.1)
loss = nn.functional.cross_entropy(m(T.randn(8, 16)), T.zeros(8, dtype=T.int64))
loss.backward()
o.step()
assert loss.item() > 0
"""

# What an operation's first call takes over its tenth, in a process that has only made the operands. Written
# through once, their memory and the CPU's clock are what they are for the tenth.
FIRST_CALL = """
import time
import MODULE as T
F = T.nn.functional
T.set_num_threads(THREADS)
SETUP
took = []
for _ in range(10):
    start = time.perf_counter()
    CALL
    took.append(time.perf_counter() - start)
print(took[0] / took[9])
"""

FIRST_CALLS = {  # name: what makes the operands, the call
    "product, n = 1024": ("a, b = T.randn(1024, 1024), T.randn(1024, 1024)", "y = a @ b"),
    "bfloat16 product, n = 1024": (
        "a, b = T.randn(1024, 1024).bfloat16(), T.randn(1024, 1024).bfloat16()",
        "y = a @ b",
    ),
    "linear 128 x 1024 x 1024": (
        "x, w, b = T.randn(128, 1024), T.randn(1024, 1024), T.randn(1024)",
        "y = F.linear(x, w, b)",
    ),
    "convolution 3 x 3, 64 to 64, 56 x 56, batch 16": (
        "x, w = T.randn(16, 64, 56, 56), T.randn(64, 64, 3, 3)",
        "y = F.conv2d(x, w, padding=1)",
    ),
    "attention 8 heads, 1024 x 64": (
        "q, k, v = (T.randn(1, 8, 1024, 64) for _ in range(3))",
        "y = F.scaled_dot_product_attention(q, k, v)",
    ),
}

# The bytes that the package's files come to when deflated, as a wheel has them; bytecode stays out.
WHEEL = """
import importlib.util, pathlib, sys, zlib
home = pathlib.Path(list(importlib.util.find_spec("MODULE").submodule_search_locations)[0])
files = [p for p in home.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
files += home.parent.glob("MODULE.libs/*")
print(sum(len(zlib.compress(p.read_bytes())) for p in files))
"""

IMPORT_MS, WHEEL_MB, MNIST_MEMORY, FIRST_OVER_TENTH = 60, 5, 0.5, 1.1  # the targets


def child(command: list[str], path: pathlib.Path | None = None) -> tuple[float, float, str, str | None]:
    """(seconds, peak MB, stdout, error) of a command run to its end; `path` goes before PYTHONPATH.

    An installed package has its bytecode; the first run writes that of one in a source tree.
    """
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if path:
        env["PYTHONPATH"] = str(path) + os.pathsep + env.get("PYTHONPATH", "")
    start = time.perf_counter()
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    out = p.stdout.read()
    _, status, usage = os.wait4(p.pid, 0)
    took = time.perf_counter() - start
    p.returncode = os.waitstatus_to_exitcode(status)
    last = (out.strip().splitlines() or [""])[-1]
    error = None if p.returncode == 0 else f"exit {p.returncode}: {last}"[:200]
    return took, usage.ru_maxrss / 1024, out, error


Side = tuple[str, str]  # interpreter, module
Figure = dict[str, Any]  # name, unit, a, b (values), ratio, target, met, note


def figure(
    name: str, unit: str, values: dict[str, float], errors: dict[str, str], target: str = ""
) -> Figure:
    ratio = values["a"] / values["b"] if len(values) == 2 and values["b"] else None
    note = "; ".join(f"{s.upper()}: {e}" for s, e in errors.items() if e)
    return {"name": name, "unit": unit, **values, "ratio": ratio, "target": target, "note": note}


def start_times(sides: dict[str, Side], rounds: int) -> list[Figure]:
    """Time to import and to the first training step, over that of a bare interpreter, in turns."""
    scripts = {"pass": "pass", "import": "import MODULE", "first training step": FIRST_STEP}
    took: dict[tuple[str, str], list[float]] = {(s, k): [] for s in sides for k in scripts}
    errors: dict[str, dict[str, str]] = {k: {} for k in scripts}
    for r in range(rounds + 1):
        for s in "ab" if r % 2 else "ba":
            python, module = sides[s]
            for name, code in scripts.items():
                seconds, _, _, error = child([python, "-c", code.replace("MODULE", module)])
                if error:
                    errors[name][s] = error
                elif r:  # the first round only warms the page cache
                    took[s, name].append(seconds)
    figures = []
    for name in ("import", "first training step"):
        over = {}
        for s in sides:
            if not errors[name].get(s):
                pairs = zip(took[s, name], took[s, "pass"])
                over[s] = 1e3 * statistics.median(with_it - bare for with_it, bare in pairs)
        figures.append(figure(f"{name}, over a bare interpreter", "ms", over, errors[name]))
    figures[0] |= {"target": f"at most {IMPORT_MS} ms", "met": figures[0].get("b", 1e9) <= IMPORT_MS}
    return figures


def wheel_size(side: Side) -> Figure:
    """The size of B's wheel."""
    python, module = side
    _, _, out, error = child([python, "-c", WHEEL.replace("MODULE", module)])
    size = {} if error else {"b": int(out) / 1e6}
    result = figure("wheel", "MB", size, {"b": error or ""}, f"at most {WHEEL_MB} MB")
    return result | {"met": size.get("b", 1e9) <= WHEEL_MB}


def mnist_memory(sides: dict[str, Side]) -> Figure:
    """Peak memory of one epoch of examples/mnist.py, with `import torch` in place of `import ctorch` for
    torch."""
    peaks, errors = (
        {},
        {} if MNIST.exists() else dict.fromkeys(sides, "no examples/mnist.py beside benchmarks/"),
    )
    for s, (python, module) in sides.items() if MNIST.exists() else ():
        with tempfile.TemporaryDirectory() as folder:
            script = pathlib.Path(folder) / "mnist.py"
            script.write_text(
                MNIST.read_text().replace("import ctorch as torch", f"import {module} as torch")
            )
            command = [python, str(script), "--epochs", "1", "--out", folder]
            _, megabytes, _, error = child(command, MNIST.parent)
        if error:
            errors[s] = error
        else:
            peaks[s] = megabytes
    result = figure("MNIST job, peak memory", "MB", peaks, errors, f"at most {MNIST_MEMORY} of torch's")
    return result | {"met": len(peaks) == 2 and peaks["b"] <= MNIST_MEMORY * peaks["a"]}


def first_calls(sides: dict[str, Side], rounds: int, threads: int = 2) -> list[Figure]:
    """The time of a first call over that of the tenth: the median over fresh processes of both sides in turn."""
    figures = []
    for name, (setup, call) in FIRST_CALLS.items():
        code = FIRST_CALL.replace("SETUP", setup).replace("CALL", call).replace("THREADS", str(threads))
        ratios: dict[str, list[float]] = {s: [] for s in sides}
        errors: dict[str, str] = {}
        for r in range(rounds):
            for s in "ab" if r % 2 else "ba":
                python, module = sides[s]
                _, _, out, error = child([python, "-c", code.replace("MODULE", module)])
                if error:
                    errors[s] = error
                else:
                    ratios[s].append(float(out.split()[-1]))
        values = {s: statistics.median(found) for s, found in ratios.items() if found}
        aim = f"at most {FIRST_OVER_TENTH} x the tenth"
        result = figure(f"first call: {name}", "x", values, errors, aim)
        met = values.get("b", 1e9) <= FIRST_OVER_TENTH
        figures.append(result | {"threads": threads, "met": met})
    return figures


def measure(sides: dict[str, Side], rounds: int) -> list[Figure]:
    return [*start_times(sides, rounds), wheel_size(sides["b"]), mnist_memory(sides)]


# The figures of each list of targets.
OF_LIST = {"targets": measure, "products": first_calls}


if __name__ == "__main__":
    both = {"a": (sys.executable, "torch"), "b": (sys.executable, "ctorch")}
    print(json.dumps(measure(both, 5), indent=1))
