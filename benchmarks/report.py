"""Tables of a run, as text and as Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from machine import Peaks, of_peak

HEAD = ["case", "thr", "A", "B", "A/B", "rate (B)", "% peak", "err A", "err B", "notes"]
WIDTHS = (40, 3, 9, 9, 6, 15, 6, 8, 8, 0)


def span(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def line(values: Sequence[str], widths: Sequence[int] = WIDTHS) -> str:
    """Cells by their widths: the first and the last, which are words, from the left."""
    ends = (0, len(widths) - 1)
    cells = (v.ljust(w) if i in ends else v.rjust(w) for i, (v, w) in enumerate(zip(values, widths)))
    return " ".join(cells).rstrip()


def text_table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [head, *body]
    widths = [max(map(len, column)) + 1 for column in zip(*lines)]
    return "\n".join(line(cells, widths) for cells in lines)


def markdown_table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines)


def used_columns(head: Sequence[str], body: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """A table without the columns that are empty in every line."""
    used = [i for i in range(len(head)) if any(cells[i] for cells in body)]
    return [head[i] for i in used], [[cells[i] for i in used] for cells in body]


def between(document: str, name: str, tables: str) -> str:
    """A document with the tables in place of what stands between its marks <!-- name --> and <!-- /name -->."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = document.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the document has no marks {start} and {end}")
    return f"{before}{start}\n{tables}\n{end}{after}"


def cells(row: dict[str, Any], limits: Peaks) -> list[str]:
    """A case as a line of the table `HEAD`."""
    side = "b" if "b" in row["time"] else "a"
    rate = share = ""
    if side in row["time"]:
        got = of_peak(limits, row, row["time"][side], row["nthreads"])
        if row.get("items"):
            rate = f"{row['items'] / row['time'][side]:.3g} items/s"
        elif got:
            rate, share = f"{got[0]:.3g} {got[1]}", f"{got[2] * 100:.0f}%"
    notes = [f"{s.upper()} missing: {m}" for s, m in row["missing"].items()]
    notes += ["DIFFERS"] * bool(row.get("differs")) + ["disturbed"] * row["disturbed"]
    return [
        row["name"],
        str(row["nthreads"]),
        *(span(row["time"][s]) if s in row["time"] else "-" for s in "ab"),
        f"{row['ratio']:.2f}" if "ratio" in row else "-",
        rate,
        share,
        *(f"{row['error'][s]:.1e}" if row["error"].get(s) is not None else "" for s in "ab"),
        "; ".join(notes),
    ]


SUMMARY_HEAD = ["group", "A/B", "timed", "A missing", "B missing", "differ"]


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def summary(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Per group, of the undisturbed and of all: geometric mean of the ratios, and counts."""
    parts = {
        group: [r for r in rows if r["group"] == group] for group in dict.fromkeys(r["group"] for r in rows)
    }
    parts |= {"undisturbed": [r for r in rows if not r["disturbed"]], "all": rows}
    table = []
    for name, mine in parts.items():
        ratios = [r["ratio"] for r in mine if "ratio" in r]
        mean = geometric_mean(ratios) if ratios else math.nan
        missing = [sum(s in r["missing"] for r in mine) for s in "ab"]
        counts = [len(ratios), *missing, sum(bool(r.get("differs")) for r in mine)]
        table.append([name, f"{mean:.3f}", *map(str, counts)])
    return table


def worst(rows: list[dict[str, Any]], limits: Peaks, count: int = 10) -> list[list[str]]:
    """The cases in which B does worst."""
    timed = sorted((r for r in rows if "ratio" in r), key=lambda r: r["ratio"])
    return [cells(r, limits) for r in timed[:count]]
