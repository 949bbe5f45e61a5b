"""What ctorch is to reach against PyTorch: lists of rows, each with the cases that measure it, and the verdict
on a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from machine import Peaks, of_peak
from report import geometric_mean, span
from resnet import RESNET

Row = dict[str, Any]  # of a case: see pairs.py


@dataclasses.dataclass(frozen=True)
class Target:
    """Cases whose speed, in the geometric mean, must be `speed` times PyTorch's; None: only reported."""

    name: str
    cases: tuple[str, ...]
    threads: int
    speed: float | None
    text: str
    bandwidth: float | None = None  # a share of the memory bandwidth that will do instead (of a single case)
    least: float = 0.0  # no single case may be slower than this
    exact: bool = False  # the error may be no larger than PyTorch's

    def judge(self, rows: list[Row], limits: Peaks) -> dict[str, Any]:
        """The figures of the verdict, given the rows of all cases, and whether they reach the target."""
        ratios = [row["ratio"] for row in rows if "ratio" in row]
        found: dict[str, Any] = {s: sum(row["time"][s] for row in rows if s in row["time"]) for s in "ab"}
        found["ratio"] = geometric_mean(ratios) if ratios else None
        for s in "ab":
            errors = [e for row in rows if (e := row["error"].get(s)) is not None]
            found[f"error_{s}"] = max(errors, default=None)
        if self.bandwidth and "b" in rows[0]["time"]:
            got = of_peak(limits, rows[0], rows[0]["time"]["b"], self.threads)
            found["bandwidth"] = got and got[2]
        agree = len(ratios) == len(rows) and not any(row.get("differs") for row in rows)
        met = agree and self._met(found, min(ratios))
        found |= {"met": met if self.speed is not None else None, "note": self._note(rows, found)}
        return found

    def _met(self, found: dict[str, Any], worst: float) -> bool:
        fast = self.speed is not None and found["ratio"] >= self.speed and worst >= self.least
        share = found.get("bandwidth")
        fast = fast or (self.bandwidth is not None and share is not None and share >= self.bandwidth)
        return fast and not (self.exact and self._less_exact(found))

    def _less_exact(self, found: dict[str, Any]) -> bool:
        a, b = found["error_a"], found["error_b"]
        # Two digits, as reported: the greatest of millions of rounding errors says no more.
        return a is None or b is None or float(f"{b:.1e}") > float(f"{a:.1e}")

    def _note(self, rows: list[Row], found: dict[str, Any]) -> str:
        notes = [m for row in rows for m in row["missing"].values()]
        differ = [row["name"] for row in rows if row.get("differs")]
        disturbed = sum(row["disturbed"] for row in rows)
        if len(rows) > 1:
            worst = min((row for row in rows if "ratio" in row), key=lambda row: row["ratio"], default=None)
            notes += [f"worst: {worst['ratio']:.2f} {worst['name']}"] if worst else []
            notes += [f"DIFFERS: {' '.join(differ)}"] * bool(differ)
            notes += [f"disturbed: {disturbed} of {len(rows)}"] * bool(disturbed)
        else:
            notes += ["DIFFERS"] * bool(differ) + ["disturbed"] * bool(disturbed)
        if self.exact and self._less_exact(found):
            notes.append("error larger than torch's")
        return "; ".join(notes)


@dataclasses.dataclass(frozen=True)
class Slowdown(Target):
    """The second case may take at most `1 / speed` of the time of the first, each side held against itself."""

    def judge(self, rows: list[Row], limits: Peaks) -> dict[str, Any]:
        ordinary, other = (row["time"] for row in rows)
        found: dict[str, Any] = {s: other[s] / ordinary[s] for s in "ab" if s in ordinary and s in other}
        found["ratio"] = found["a"] / found["b"] if len(found) == 2 else None
        notes = [m for row in rows for m in row["missing"].values()]
        notes += ["disturbed"] * any(row["disturbed"] for row in rows)
        met = "b" in found and self.speed is not None and found["b"] <= 1 / self.speed
        return found | {"met": met, "unit": "x", "note": "; ".join(notes)}


def within(share: float, name: str, case: str) -> Target:
    """At most a share of PyTorch's time, on one thread."""
    return Target(name, (case,), 1, 1 / share, f"at most {share} of the time")


def at_speed(speed: float | None, name: str, *cases: str, threads: int = 2, **more: Any) -> Target:
    """At least a multiple of PyTorch's speed; without one, what is reached is reported."""
    words = [f"at least {speed} x" if speed is not None else "-"]
    words += ["error no larger"] * bool(more.get("exact"))
    words += [f"none below {more.get('least')} x"] * bool(more.get("least"))
    return Target(name, cases, threads, speed, ", ".join(words), **more)


def streaming(name: str, case: str) -> Target:
    """Twice PyTorch's speed or 70 % of the memory bandwidth, on two threads."""
    return Target(f"{name}, 16M floats", (case,), 2, 2.0, "at least 2 x, or 70 % of bandwidth", 0.7)


def as_fast_as(name: str, ordinary: str, other: str) -> Target:
    """At most 1.1 times the time of the ordinary case."""
    return Slowdown(name, (ordinary, other), 2, 1 / 1.1, "at most 1.1 x the time with normal ones")


def targets(amx: bool) -> list[Target]:
    """The engine: overhead, streaming, the main training jobs."""
    return [
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


def products(amx: bool) -> list[Target]:
    """Matrix products, convolutions and the layers made of them; more is asked where the CPU has AMX."""

    def wanted(with_amx: float, without: float | None) -> float | None:
        return with_amx if amx else without

    layouts = (("A B", "f32"), ("At B", "AtB"), ("A Bt", "ABt"))
    resnet = [(batch, [f"{name}/b{batch}" for name in RESNET]) for batch in (16, 1)]
    both_ways = ("batch_norm_train", "max_pool2d_3s2", "avg_pool2d_3s2", "group_norm_8")
    return [
        *(
            at_speed(
                *(wanted(2.0, 1.0), f"float32 {words}, n = {n}", f"gemm/{name}/{n}"), threads=t, exact=amx
            )
            for t in (1, 2)
            for words, name in layouts
            for n in (512, 1024, 2048, 4096)
        ),
        *(
            at_speed(wanted(speed, None), f'float32 at "{level}", n = {n}', f"gemm/{level}/{n}")
            for level, speed in (("high", 3.5), ("medium", 5.0))
            for n in (1024, 2048, 4096)
        ),
        *(at_speed(wanted(1.5, 1.0), f"bfloat16, n = {n}", f"gemm/bf16/{n}") for n in (1024, 2048, 4096)),
        *(at_speed(1.0, f"float64, n = {n}", f"gemm/f64/{n}") for n in (512, 1024, 2048)),
        *(
            at_speed(wanted(1.2, 1.0), f"{words}, {m} x 4096 x 4096", f"gemm/{name}/{m}x4096x4096")
            for words, name in (("A B", "f32"), ("linear", "linear"))
            for m in (1, 4, 16)
        ),
        at_speed(wanted(1.5, 1.0), "batched 64 x (128 x 64 x 128)", "gemm/bmm/64x128x64x128"),
        *(
            at_speed(
                *(wanted(2.0, 1.2), f"ResNet-18/50 convolutions, forward, batch {batch}"),
                *(f"conv/{name}" for name in names),
                least=1.0 if amx else 0.0,
            )
            for batch, names in resnet
        ),
        *(
            at_speed(
                *(wanted(1.8, 1.2), f"ResNet-18/50 convolutions, forward and backward, batch {batch}"),
                *(f"conv/fwd_bwd_{name}" for name in names),
                least=1.0 if amx else 0.0,
            )
            for batch, names in resnet
        ),
        *(
            at_speed(wanted(1.5, 1.2), words, f"conv/{name}")
            for words, name in (
                ("depthwise 3 x 3, batch 16", "dw3x3_144_56/b16"),
                ("depthwise 3 x 3, batch 1", "dw3x3_144_56/b1"),
                ("depthwise 3 x 3, stride 2", "dw3x3s2_144_56/b16"),
                ("dilated 3 x 3", "dilated2_3x3_256_28/b16"),
                ("32 groups, 3 x 3", "group32_3x3_128_56/b16"),
                ("conv3d", "conv3d_16_32_k3"),
                ("conv_transpose2d", "conv_transpose2d_64_32_k4s2"),
            )
        ),
        *(at_speed(2.0, f"{name}, forward and backward", f"conv/{name}_fwd_bwd") for name in both_ways),
        *(
            at_speed(wanted(2.0, 1.2), f"attention{words}{ways}", f"layers/attention{name}{case}")
            for words, name in (("", ""), (", causal", "_causal"))
            for ways, case in ((", forward", ""), (", forward and backward", "_fwd_bwd"))
        ),
        *(
            at_speed(None, f"attention of {words}", f"layers/attention_{name}")
            for words, name in (
                ("bfloat16, forward", "bf16"),
                ("bfloat16, forward and backward", "bf16_fwd_bwd"),
                ("one query, 32 heads, 512 keys of 128", "next_token"),
                ("one query, bfloat16", "next_token_bf16"),
            )
        ),
        at_speed(None, "LSTM 2 x 256, forward", "layers/lstm"),
        at_speed(wanted(2.0, 1.5), "LSTM 2 x 256, forward and backward", "layers/lstm_fwd_bwd"),
        at_speed(wanted(2.0, 1.3), "ResNet-18 step, 32 x 32, batch 32", "train/resnet18"),
        at_speed(wanted(2.0, 1.3), "transformer step, 4 layers", "train/gpt_mini"),
        as_fast_as("convolution with denormal weights", "conv/normal_weights", "conv/denormal_weights"),
        as_fast_as(
            "linear with denormal weights", "gemm/linear_normal_weights", "gemm/linear_denormal_weights"
        ),
    ]


LISTS: dict[str, Callable[[bool], list[Target]]] = {"targets": targets, "products": products}

HEAD = ["row", "thr", "torch", "ctorch", "ratio", "bandwidth", "err torch", "err ctorch"]
HEAD += ["target", "met", "note"]


def verdicts(aims: list[Target], rows: list[Row], limits: Peaks, expected: bool) -> list[dict[str, Any]]:
    """One record per target that a run has measured; of all, with a note, if all were expected."""
    by_case = {(row["name"], row["nthreads"]): row for row in rows}
    found = []
    for target in aims:
        mine = [by_case[case, target.threads] for case in target.cases if (case, target.threads) in by_case]
        record = {"name": target.name, "cases": target.cases, "threads": target.threads}
        record["target"] = target.text
        if len(mine) == len(target.cases):
            found.append(record | target.judge(mine, limits))
        elif expected:
            met = None if target.speed is None else False
            found.append(record | {"met": met, "note": f"not run: {len(target.cases) - len(mine)} cases"})
    return found


def cells(record: dict[str, Any]) -> list[str]:
    """A verdict, or a figure of whole processes, as a line of the table `HEAD`."""
    unit = record.get("unit")
    times = [
        "-" if record.get(s) is None else f"{record[s]:.4g} {unit}" if unit else span(record[s]) for s in "ab"
    ]
    ratio = f"{record['ratio']:.2f}" if record.get("ratio") is not None else "-"
    share = f"{record['bandwidth'] * 100:.0f}%" if record.get("bandwidth") is not None else ""
    errors = [f"{e:.1e}" if (e := record.get(f"error_{s}")) is not None else "" for s in "ab"]
    met = {True: "yes", False: "NO", None: "-"}[record["met"]]
    threads = str(record.get("threads", ""))
    return [record["name"], threads, *times, ratio, share, *errors, record["target"], met, record["note"]]
