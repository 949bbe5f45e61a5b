"""What ctorch is to reach against PyTorch: each row with the case that measures it, and the verdict on a
run."""

from __future__ import annotations

import dataclasses
from typing import Any

from machine import Peaks, of_peak
from report import span


@dataclasses.dataclass(frozen=True)
class Target:
    """One case that must be `speed` times as fast as PyTorch's, or reach a share of the memory bandwidth."""

    name: str
    case: str
    threads: int
    speed: float
    text: str
    bandwidth: float | None = None

    def met(self, row: dict[str, Any], limits: Peaks) -> bool:
        if row["ratio"] >= self.speed:
            return True
        got = of_peak(limits, row, row["time"]["b"], self.threads)
        return self.bandwidth is not None and got is not None and got[2] >= self.bandwidth


def within(share: float, name: str, case: str) -> Target:
    """At most a share of PyTorch's time, on one thread."""
    return Target(name, case, 1, 1 / share, f"at most {share} of the time")


def at_speed(speed: float, name: str, case: str) -> Target:
    """At least a multiple of PyTorch's speed, on two threads."""
    return Target(name, case, 2, speed, f"at least {speed} x")


def streaming(name: str, case: str) -> Target:
    """Twice PyTorch's speed or 70 % of the memory bandwidth, on two threads."""
    return Target(f"{name}, 16M floats", case, 2, 2.0, "at least 2 x, or 70 % of bandwidth", 0.7)


TARGETS = [
    within(0.6, "a + b, 4 floats", "overhead/add4"),
    within(0.7, "a + b, 4 floats, requires_grad", "overhead/add4_grad"),
    within(0.7, "a[1], tiny", "overhead/index_int"),
    within(0.7, "view, tiny", "overhead/view"),
    within(0.7, "transpose, tiny", "overhead/transpose"),
    within(0.7, "sum, tiny", "overhead/sum"),
    within(0.7, "item, tiny", "overhead/item"),
    within(0.5, "5 operations forward and backward, tiny", "overhead/chain5_fwd_bwd"),
    streaming("add", "elementwise/add/2^24"),
    streaming("mul", "elementwise/mul/2^24"),
    streaming("exp", "elementwise/exp/2^24"),
    streaming("tanh", "elementwise/tanh/2^24"),
    streaming("gelu", "elementwise/gelu/2^24"),
    streaming("softmax", "reductions/softmax/4096x4096"),
    streaming("layer_norm", "reductions/layer_norm/4096x4096"),
    streaming("sum", "reductions/sum/4096x4096"),
    at_speed(3.0, "transposed copy 4096 x 4096", "elementwise/contiguous_t/4096"),
    *(at_speed(0.9, f"float32 matmul, n = {n}", f"gemm/f32/{n}") for n in (256, 512, 1024, 2048)),
    at_speed(1.5, "MLP 784-512-512-10 step, batch 128, Adam", "train/mlp_adam"),
    at_speed(1.0, "MNIST CNN training step, batch 64", "train/mnist_cnn"),
]

HEAD = ["row", "thr", "torch", "ctorch", "ratio", "bandwidth", "target", "met", "note"]


def verdicts(rows: list[dict[str, Any]], limits: Peaks, expected: bool) -> list[dict[str, Any]]:
    """One record per target that a run has measured; of all, with a note, if all were expected."""
    by_case = {(row["name"], row["nthreads"]): row for row in rows}
    found = []
    for target in TARGETS:
        row = by_case.get((target.case, target.threads))
        record = {"name": target.name, "case": target.case, "threads": target.threads, "target": target.text}
        if row is None:
            found += [record | {"met": False, "note": "not run"}] * expected
            continue
        record |= {"a": row["time"].get("a"), "b": row["time"].get("b"), "ratio": row.get("ratio")}
        if target.bandwidth and "b" in row["time"]:
            got = of_peak(limits, row, row["time"]["b"], target.threads)
            record["bandwidth"] = got and got[2]
        record["met"] = "ratio" in row and not row.get("differs") and target.met(row, limits)
        remarks = {"DIFFERS": row.get("differs"), "disturbed": row["disturbed"]}
        words = [word for word, true in remarks.items() if true]
        record["note"] = "; ".join([*row["missing"].values(), *words])
        found.append(record)
    return found


def cells(record: dict[str, Any]) -> list[str]:
    """A verdict as a line of the table `HEAD`."""
    show = record.get("show") or span
    times = [show(record[s]) if record.get(s) is not None else "-" for s in "ab"]
    ratio = f"{record['ratio']:.2f}" if record.get("ratio") is not None else "-"
    share = f"{record['bandwidth'] * 100:.0f}%" if record.get("bandwidth") is not None else ""
    met = "yes" if record["met"] else "NO"
    threads = str(record.get("threads", ""))
    return [record["name"], threads, *times, ratio, share, record["target"], met, record["note"]]
