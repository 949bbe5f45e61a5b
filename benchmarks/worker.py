"""One side of the comparison: worker.py MODULE THREADS, then JSON commands on stdin, JSON lines back.

  {"cmd": "list"}                -> names, groups, threads and meta of all cases
  {"cmd": "setup", "case": NAME} -> {"ok": signature of the first output} | {"missing": error}
  {"cmd": "run", "seconds": S}   -> {"min", "median", "n"}: seconds per iteration; "wait": share of the time
                                    that the threads stood in the run queue (a busy machine)
  {"cmd": "error"}               -> {"error": numerical error against float64 | null}
  {"cmd": "drop"}                -> {}: ends the case

Every case runs in a fork of a process that has only imported the module. So it starts from the same allocator
state on both sides (which large outputs page-fault depends on what was freed before), and a crash is the
case's own.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import os
import statistics
import sys
import time
from typing import Any

import numpy as np

import cases

SAMPLE = 0.002  # seconds: the least that one timed sample lasts
SIGNED = 100_000  # elements of an output that its signature looks at


def signature(T: Any, out: Any) -> list[Any]:
    """[shape, mean |x|, position-weighted mean] of a result, to see that both sides did the same work."""
    if isinstance(out, (tuple, list)) and out and not isinstance(out[0], int):
        out = out[0]
    if isinstance(out, T.Tensor):
        out = out.detach()
        out = (out.to(T.uint8) if out.dtype == T.bool else out.double()).numpy()
    array = np.asarray(out, np.float64)
    flat = array.reshape(-1)
    flat = flat[:: max(1, flat.size // SIGNED)]
    return [
        list(array.shape),
        float(np.abs(flat).mean()),
        float((flat * np.cos(np.arange(flat.size))).mean()),
    ]


def queued() -> float:
    """Seconds that this process's threads have been ready to run but were not running."""
    total = 0
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/schedstat") as f:
                total += int(f.read().split()[1])
        except OSError:  # the thread has ended, or the kernel keeps no such figures
            pass
    return total / 1e9


def describe(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:200]


class Side:
    """The module under test and the case at hand."""

    def __init__(self, module: str, threads: int) -> None:
        self.threads = threads
        self.T, self.f, self.err, self.out = importlib.import_module(module), None, None, None
        self.number: int | None = None  # calls per timed sample, found by the first run
        if module == "torch":
            importlib.import_module(
                "torch._dynamo"
            )  # every optimizer of torch imports it; here, not in each case
        gc.collect()
        gc.freeze()  # the modules' own objects stay out of the collections that a case triggers

    def list(self, _: Any) -> dict[str, Any]:
        found = []
        for c in cases.CASES.values():
            found.append({**c.meta, "name": c.name, "group": c.group, "threads": c.threads})
            found[-1]["subset"] = c.name in cases.SUBSET
        return {"cases": found}

    def setup(self, cmd: dict[str, Any]) -> dict[str, Any]:
        try:
            self.T.set_num_threads(self.threads)
            self.T.manual_seed(0)
            made = cases.CASES[cmd["case"]].setup(self.T, self.threads)
            self.f, self.err = made if isinstance(made, tuple) else (made, None)
            start = time.perf_counter()
            self.out = self.f()
            self.number = 1 if time.perf_counter() - start > 100 * SAMPLE else None
        except Exception as error:
            return {"missing": describe(error)}
        try:
            return {"ok": signature(self.T, self.out)}
        except Exception as error:
            return {"ok": None, "unsigned": describe(error)}

    def error(self, _: Any) -> dict[str, Any]:
        try:
            return {"error": self.err and self.err(self.out)}
        except Exception as error:
            return {"error": None, "failed": describe(error)}

    def loop(self, number: int) -> float:
        f, start = self.f, time.perf_counter()
        for _ in itertools.repeat(None, number):
            f()
        return time.perf_counter() - start

    def calibrate(self) -> int:
        number = 1
        while (took := self.loop(number)) < SAMPLE:
            number = max(number * 2, int(number * 1.2 * SAMPLE / took))
        return number

    def run(self, cmd: dict[str, Any]) -> dict[str, Any]:
        self.out = None
        try:
            self.number = self.number or self.calibrate()
            per, samples = self.number * getattr(self.f, "per", 1), []
            waited, start = queued(), time.perf_counter()
            while not samples or time.perf_counter() < start + cmd["seconds"]:
                samples.append(self.loop(self.number) / per)
            waited, took = queued() - waited, time.perf_counter() - start
        except Exception as error:
            return {"missing": describe(error)}
        samples = samples[1:] or samples  # the first one refills the caches that the other side has used
        median = statistics.median(samples)
        return {"min": min(samples), "median": median, "n": len(samples), "wait": waited / took}


def serve_case(side: Side, cmd: dict[str, Any], say: Any) -> None:
    """Answer the commands of one case, to its end; runs in a fork."""
    while cmd["cmd"] != "drop":
        say(getattr(side, cmd["cmd"])(cmd))
        cmd = json.loads(sys.stdin.readline() or '{"cmd": "drop"}')
    side.f = side.err = side.out = None  # ends a data loader's processes


def main() -> None:
    module, threads = sys.argv[1], int(sys.argv[2])
    pipe = os.fdopen(os.dup(1), "w", buffering=1)  # what a case prints must not mix with the answers
    os.dup2(2, 1)

    def say(answer: dict[str, Any]) -> None:
        pipe.write(json.dumps(answer) + "\n")

    try:
        side = Side(module, threads)
    except Exception as error:
        return say({"failed": f"cannot import {module}: {describe(error)}"})
    say(
        {
            "module": module,
            "version": str(getattr(side.T, "__version__", "?")),
            "python": sys.version.split()[0],
            "config": str(side.T.__config__.show()) if hasattr(side.T, "__config__") else "",
        }
    )
    while line := sys.stdin.readline():
        cmd = json.loads(line)
        if cmd["cmd"] != "setup":  # "drop" comes here when the case's process has died
            say(side.list(cmd) if cmd["cmd"] == "list" else {})
            continue
        child = os.fork()
        if child:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            say({"missing": f"crashed (exit {code})"} if code else {})
            continue
        serve_case(side, cmd, say)
        os._exit(0)


if __name__ == "__main__":
    main()
