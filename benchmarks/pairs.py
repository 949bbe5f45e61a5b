"""Times one case on both sides in turns, so that a drifting machine cancels out.

Ratio = time of A / time of B: above 1, B is faster. It is the median over rounds of neighbouring
measurements. A case that raises on a side is missing there; a case is "disturbed" when fewer than two rounds
ran without its threads queueing for a core behind other jobs.
"""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import select
import signal
import statistics
import subprocess
import tempfile
import time
from typing import Any

HERE = pathlib.Path(__file__).parent
LIBC = ctypes.CDLL(None)
ADDR_NO_RANDOMIZE = 0x0040000
QUIET = 0.03  # share of its time that an undisturbed measurement may have waited for a core
CHEAP_SETUP = 0.4  # seconds

Row = dict[str, Any]  # a case's meta with missing, time, error, ratio, disturbed, rounds


class WorkerFailed(Exception):
    """A side cannot be started."""


class Worker:
    """The process of one side."""

    def __init__(self, python: str, module: str, threads: int) -> None:
        self.python, self.module, self.threads = python, module, threads
        self.hello = self._launch()

    def _launch(self) -> dict[str, Any]:
        env = dict(os.environ, PYTHONPATH=str(HERE) + os.pathsep + os.environ.get("PYTHONPATH", ""))
        env["PYTHONHASHSEED"] = (
            "0"  # with the addresses not randomized: heaps of the same layout on both sides
        )
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            env[name] = str(self.threads)
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it lives as long as the worker)
        self.proc = subprocess.Popen(
            [self.python, str(HERE / "worker.py"), self.module, str(self.threads)],
            text=True,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            start_new_session=True,
            preexec_fn=lambda: LIBC.personality(ADDR_NO_RANDOMIZE),
        )
        hello = self.receive(180)
        if "module" not in hello:
            raise WorkerFailed(f"{self.module}: {hello.get('failed') or hello.get('missing')}")
        return hello

    def send(self, cmd: str, **kw: Any) -> None:
        try:
            self.proc.stdin.write(json.dumps({**kw, "cmd": cmd}) + "\n")
            self.proc.stdin.flush()
        except BrokenPipeError:
            pass  # the next receive() tells that the worker has died

    def receive(self, timeout: float = 300) -> dict[str, Any]:
        """The worker's answer; a hang counts as missing (the next begin() starts a new worker)."""
        if not select.select([self.proc.stdout], [], [], timeout)[0]:
            self.stop()
            return {"missing": f"timeout: {timeout} s"}
        line = self.proc.stdout.readline()
        if line:
            return json.loads(line)
        self.log.seek(0)
        last = (self.log.read().strip().splitlines() or [""])[-1]
        return {"missing": f"worker died (exit {self.proc.wait()}) {last}"[:200]}

    def ask(self, cmd: str, **kw: Any) -> dict[str, Any]:
        self.send(cmd, **kw)
        return self.receive()

    def begin(self, case: str) -> None:
        """Start a case; its first answer is to be received."""
        self.drop()
        if self.proc.poll() is not None:
            self._launch()
        self.send("setup", case=case)

    def drop(self) -> None:
        if self.proc.poll() is None:
            self.ask("drop")

    def stop(self) -> None:
        os.killpg(self.proc.pid, signal.SIGKILL)
        self.proc.wait()


Sides = dict[str, Worker]  # "a" and "b"


def run_case(case: dict[str, Any], sides: Sides, rounds: int, seconds: float, allowance: float) -> Row:
    """Set both sides up together, then time them in turn: A B, B A, A B, ... for at most about `allowance`
    seconds."""
    row = dict(case, missing={}, time={}, error={})
    started = time.time()
    made = _set_up(case, sides)
    setup_seconds = time.time() - started
    row["missing"] = {s: m["missing"] for s, m in made.items() if "missing" in m}
    alive = [s for s in sides if s not in row["missing"]]
    if len(alive) == 2:
        row["differs"] = _differ(case, made["a"]["ok"], made["b"]["ok"])
        if row["differs"]:
            row["outputs"] = {s: made[s]["ok"] for s in sides}
    row["error"] = {s: sides[s].ask("error").get("error") for s in alive}

    done: list[dict[str, Any]] = []
    begin = time.time()
    # At least two rounds; then until enough of them were undisturbed, or the case's share of the time is used
    # up.
    while alive and (
        len(done) < 2
        or (
            len(_undisturbed(done)) < rounds
            and len(done) < 4 * rounds
            and (time.time() - begin) * (1 + 1 / len(done)) < allowance
        )
    ):
        # Fresh processes every other round: where their memory happens to lie makes up to some ten percent.
        if done and len(done) % 2 == 0 and setup_seconds < CHEAP_SETUP:
            _set_up(case, {s: sides[s] for s in alive})
        done.append(_round(sides, alive if len(done) % 2 == 0 else alive[::-1], seconds, row))
        alive = [s for s in alive if s not in row["missing"]]
    for w in sides.values():
        w.drop()

    used = _undisturbed(done) if len(_undisturbed(done)) > 1 else done
    row["time"] = {s: min(r[s]["min"] for r in used) for s in alive}
    if len(alive) == 2:
        row["ratio"] = statistics.median(r["a"]["min"] / r["b"]["min"] for r in used)
    row["disturbed"] = bool(done) and len(_undisturbed(done)) < 2
    row["rounds"] = [[r.get(s, {}).get(k) for s in "ab" for k in ("min", "wait")] for r in done]
    return row


def _set_up(case: dict[str, Any], sides: Sides) -> dict[str, dict[str, Any]]:
    for w in sides.values():
        w.begin(case["name"])
    return {s: w.receive() for s, w in sides.items()}


def _round(sides: Sides, order: list[str], seconds: float, row: Row) -> dict[str, Any]:
    got = {}
    for s in order:
        answer = sides[s].ask("run", seconds=seconds)
        if "missing" in answer:
            row["missing"][s] = answer["missing"]
        else:
            got[s] = answer
    return got


def _undisturbed(done: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [r for r in done if all(side["wait"] < QUIET for side in r.values())]


def _differ(case: dict[str, Any], a: Any, b: Any) -> bool:
    """Whether the two first outputs disagree, by their signatures."""
    if not case.get("check", True) or not a or not b:
        return False
    if a[0] != b[0]:
        return True
    tolerance = case.get("rtol", 2e-3) * max(abs(a[1]), abs(b[1])) + 1e-6
    return not all(abs(x - y) <= tolerance for x, y in zip(a[1:], b[1:]))
