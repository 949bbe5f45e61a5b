"""Worker processes that survive a crashing or hanging engine: such a column is the only thing lost.

Workers are forked, so that PyTorch and its databases load once; the engine is imported in them alone.
"""

from __future__ import annotations

import dataclasses
import importlib
import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from typing import Any

import torch

from .bridge import Bridge
from .outcome import Record, Rows

IMPORT_TIMEOUT = 300
LOSSES_UNTIL_GIVEN_UP = 2  # crashes and timeouts of one operator


@dataclasses.dataclass(frozen=True)
class Job:
    """What all workers do: `columns(name)` lists the columns of an operator, `check(bridge, name, column)`
    judges one."""

    engine: str
    columns: Callable[[str], list[str]]
    check: Callable[[Bridge, str, str], Record | None]
    timeout: float = 120  # seconds for one column
    log: str = os.devnull  # where the workers' stdout and stderr go


def run(job: Job, names: Sequence[str], processes: int) -> Rows:
    """Judge all operators; a row holds the columns in which PyTorch ran any sample."""
    torch.set_num_threads(1)
    rows: dict[str, dict[str, Record | None]] = {name: {} for name in names}
    todo, workers = list(names)[::-1], []

    def next_name(worker: _Worker) -> None:
        if todo:
            worker.give(todo.pop(), ())
        else:
            worker.kill()
            workers.remove(worker)

    try:
        for _ in range(min(processes, len(names))):
            workers.append(_Worker(job))
            next_name(workers[-1])
        while workers:
            wait([w.conn for w in workers], 1)
            for worker in list(workers):
                lost = worker.receive(rows, lambda worker=worker: next_name(worker))
                if lost is None:
                    continue
                worker.kill()
                fresh = _Worker(job)
                workers[workers.index(worker)] = fresh
                row = rows[worker.name]
                row[worker.column] = {"s": lost[0], "n": 1, "ok": 0, "msg": lost[1]}
                if (
                    sum(bool(r) and r["s"] in ("timeout", "crash") for r in row.values())
                    < LOSSES_UNTIL_GIVEN_UP
                ):
                    fresh.give(worker.name, row)
                else:
                    untried = {"s": lost[0], "n": 1, "ok": 0, "msg": f"not tried again after: {lost[1]}"}
                    row.update({c: untried for c in job.columns(worker.name) if c not in row})
                    next_name(fresh)
    finally:
        for worker in workers:
            worker.kill()
    return {name: {c: r for c, r in row.items() if r and c} for name, row in rows.items()}


class _Worker:
    """The parent's end of a worker process."""

    def __init__(self, job: Job) -> None:
        self.job = job
        context = multiprocessing.get_context("fork")
        self.conn, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, job), daemon=True)
        self.process.start()
        theirs.close()
        self.name = self.column = ""
        self.since = 0.0
        problem = "no answer"
        if self.conn.poll(IMPORT_TIMEOUT):
            try:
                problem = self.conn.recv()
            except EOFError:
                self.process.join()
                problem = f"exit {self.process.exitcode}"
        if problem:
            self.kill()
            raise RuntimeError(f"cannot import {job.engine}: {problem}")

    def give(self, name: str, done: Any) -> None:
        self.name, self.column, self.since = name, "", time.time()
        self.conn.send((name, set(done)))

    def receive(self, rows: Any, next_name: Callable[[], None]) -> tuple[str, str] | None:
        """Take what has come; (status, reason) if the column at hand is lost."""
        try:
            while not self.conn.closed and self.conn.poll():
                kind, what = self.conn.recv()
                if kind == "start":
                    self.column, self.since = what, time.time()
                elif kind == "end":
                    rows[self.name][self.column] = what
                else:
                    next_name()
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode or 0
            return "crash", signal.Signals(-code).name if code < 0 else f"exit {code}"
        if not self.conn.closed and time.time() - self.since > self.job.timeout:
            return "timeout", f"over {self.job.timeout:g} s"
        return None

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.conn.close()


def _work(conn: Any, job: Job) -> None:
    with open(job.log, "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    warnings.simplefilter("ignore")
    try:
        bridge = Bridge(importlib.import_module(job.engine))
    except Exception as error:
        conn.send(f"{type(error).__name__}: {error}")
        return
    for module in {torch, bridge.engine}:
        getattr(module, "set_num_threads", id)(1)
    conn.send("")
    while True:
        name, done = conn.recv()
        for column in job.columns(name):
            if column not in done:
                conn.send(("start", column))
                try:
                    record = job.check(bridge, name, column)
                except Exception as error:  # the harness's own slip: say so rather than blame the engine
                    record = {
                        "s": "error",
                        "n": 1,
                        "ok": 0,
                        "msg": f"HARNESS {type(error).__name__}: {error}"[:500],
                    }
                conn.send(("end", record))
        conn.send(("done", None))
