"""Outcomes of comparisons: their statuses, their sums and their tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

# From best to worst. rng: right but for other random numbers; meta: wrong dtype, shape, structure or
# exception class; missing: no such public name.
STATUSES = ("pass", "rng", "meta", "wrong", "error", "missing", "timeout", "crash")

Record = dict[
    str, Any
]  # of one operator and column: s (status), n (samples), ok (of them right), msg (the worst one's)
Rows = dict[str, dict[str, Record]]  # operator -> column -> record


class Tally:
    """Collects the outcomes of the samples of one column."""

    def __init__(self) -> None:
        self.n = self.ok = 0
        self.worst = ("pass", "")

    def add(self, verdict: tuple[str, str] | None, sample: str = "") -> None:
        """Count a sample; its verdict is None for a pass, else (status, message)."""
        self.n += 1
        self.ok += verdict is None
        if verdict and STATUSES.index(verdict[0]) > STATUSES.index(self.worst[0]):
            self.worst = (verdict[0], f"{verdict[1]} [{sample}]" if sample else verdict[1])

    def record(self) -> Record | None:
        """None where no sample ran."""
        if not self.n:
            return None
        return {"s": self.worst[0], "n": self.n, "ok": self.ok, "msg": self.worst[1][:500]}


def totals(columns: Iterable[str], rows: Rows) -> dict[str, dict[str, int]]:
    """column -> {status: count}."""
    counts = {column: dict.fromkeys(STATUSES, 0) for column in columns}
    for row in rows.values():
        for column, record in row.items():
            counts[column][record["s"]] += 1
    return counts


def whole(rows: Rows) -> list[str]:
    """The operators that pass in every column."""
    return [name for name, row in rows.items() if row and all(r["s"] == "pass" for r in row.values())]


def table(lines: Sequence[Sequence[Any]]) -> str:
    widths = [max(len(str(cell)) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            str(c).rjust(w) if i else str(c).ljust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
