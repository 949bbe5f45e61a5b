"""What the figures were measured on: the machine in words, and its limits, measured (`peak.cpp`)."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pathlib
import platform
import shutil
import subprocess
import tempfile
from typing import Any

SOURCE = pathlib.Path(__file__).with_name("peak.cpp")
FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8")

Peaks = dict[
    str, Any
]  # {"1": figures of one thread, "2": ..., "ghz": ...}; empty where it could not be measured


def describe() -> dict[str, Any]:
    """The machine in words."""
    cpu = _proc("/proc/cpuinfo")
    flags = cpu.get("flags", "").split()
    huge = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    quota = pathlib.Path("/sys/fs/cgroup/cpu.max")
    return {
        "cpu": cpu.get("model name", platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "cgroup cpu.max": quota.read_text().strip() if quota.exists() else "",
        "instructions": " ".join(flag for flag in FLAGS if flag in flags),
        "memory": _proc("/proc/meminfo").get("MemTotal", ""),
        "kernel": platform.release(),
        "transparent huge pages": huge.read_text().strip() if huge.exists() else "",
        "load average": " ".join(f"{x:.2f}" for x in os.getloadavg()),
    }


def _proc(path: str) -> dict[str, str]:
    """The `name : value` lines of a file, the first of each name."""
    found: dict[str, str] = {}
    for line in pathlib.Path(path).read_text().splitlines():
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    return found


def peaks(seconds: float, threads: int) -> Peaks:
    """Measure the limits, `seconds` for each figure, merged with what earlier runs on this machine have
    reached."""
    if shutil.which("g++") is None:
        return {}
    exe = _build()
    env = dict(
        os.environ, OMP_WAIT_POLICY="passive", OMP_PROC_BIND="false"
    )  # spinning starves on a busy machine
    command = [str(exe), str(seconds), str(threads)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout)
    memo = exe.with_suffix(".json")
    if memo.exists():
        found = _higher(found, json.loads(memo.read_text()))
    memo.write_text(json.dumps(found))
    return found


def _build() -> pathlib.Path:
    tag = hashlib.sha1(SOURCE.read_bytes() + _proc("/proc/cpuinfo").get("flags", "").encode()).hexdigest()[
        :12
    ]
    exe = pathlib.Path(tempfile.gettempdir()) / f"ctorch_bench_peak_{tag}"
    if not exe.exists():
        fresh = f"{exe}.{os.getpid()}"
        subprocess.run(["g++", "-O2", "-march=native", "-fopenmp", "-o", fresh, str(SOURCE)], check=True)
        os.replace(fresh, exe)
    return exe


def _higher(a: Any, b: Any) -> Any:
    """The larger of two measurements, figure by figure: what another job took away is no limit of the
    machine."""
    if isinstance(a, dict):
        return {k: _higher(a[k], b[k]) if k in a and k in b else a.get(k, b.get(k)) for k in {**a, **b}}
    if isinstance(a, list):
        return [_higher(x, y) for x, y in zip(a, b)]
    return max(a, b)


def of_peak(
    limits: Peaks, case: dict[str, Any], seconds: float, threads: int
) -> tuple[float, str, float] | None:
    """(rate, unit, fraction of the peak) of a case that carries 'flops' or 'bytes'; None when it carries
    neither."""
    own = limits.get(str(threads)) or limits.get("1")
    if not own:
        return None
    if case.get("flops"):
        rate = case["flops"] / seconds / 1e9
        return rate, "GF/s", rate / own.get(case.get("dtype", "f32"), own["f32"])
    if case.get("bytes"):
        rate = case["bytes"] / seconds / 1e9
        # The curve of bandwidth by working set: a case is held against the level of memory that it lives in.
        top = min(own[case.get("bw", "bw")], key=lambda point: abs(math.log(point[0] / case["bytes"])))[1]
        return rate, "GB/s", rate / top
    return None
