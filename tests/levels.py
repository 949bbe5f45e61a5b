"""Tests of a file at the kernel levels below the machine's best one, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import ctorch

LEVELS = ["generic", "avx2", "avx512", "avx512_bf16", "amx"]

# For the test that calls run_at_level(): else the process that it starts would start others.
not_at_a_forced_level = pytest.mark.skipif(
    "CTORCH_ISA" in os.environ, reason="this is a run at a forced level"
)


def run_at_level(file: str, level: str, **environment: str) -> None:
    """Run all tests of ``file`` at a level; skipped where it is the machine's best, which runs anyway, or above it."""
    best = LEVELS.index(ctorch._C._best_isa())
    if LEVELS.index(level) > best:
        pytest.skip(f"this machine's best level is {LEVELS[best]}")
    if LEVELS.index(level) == best:
        pytest.skip("the level of this run")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file]
    env = {**os.environ, "CTORCH_ISA": level, **environment}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
