"""The list of operators that do not pass yet, `gaps.txt`: one line per operator with the columns that fail,
or `missing` where the engine has none of that name. The list can only shrink: whatever fails beyond it is an
error, and so is whatever is listed and passes."""

from __future__ import annotations

import dataclasses
import pathlib

from .outcome import Rows

PATH = pathlib.Path(__file__).with_name("gaps.txt")
REQUIRED = pathlib.Path(__file__).with_name("required.txt")
MISSING = "missing"

Gaps = dict[str, list[str]]  # operator -> failing columns, or [MISSING]


def load(path: pathlib.Path = PATH) -> Gaps:
    lines = (line.split("#")[0].split() for line in path.read_text().splitlines()) if path.exists() else ()
    return {words[0]: words[1:] for words in lines if words}


def save(gaps: Gaps, path: pathlib.Path = PATH) -> None:
    missing = sum(columns == [MISSING] for columns in gaps.values())
    partly = {name: columns for name, columns in gaps.items() if columns != [MISSING]}
    head = [
        "# Operators of PyTorch's database that do not pass yet, by column.",
        "# `python -m tests.parity --update` takes off what passes now.",
        f"# {missing} missing; {sum(map(len, partly.values()))} columns of {len(partly)} others.",
    ]
    path.write_text("\n".join([*head, *(f"{name} {' '.join(gaps[name])}" for name in sorted(gaps))]) + "\n")


def required() -> list[str]:
    """Names, without variants, of the operators that are to pass in every column."""
    return [name for line in REQUIRED.read_text().splitlines() for name in line.split("#")[0].split()]


def found(rows: Rows) -> Gaps:
    """The gaps that a run shows."""
    gaps = {}
    for name, row in rows.items():
        failing = [column for column, record in row.items() if record["s"] != "pass"]
        if failing:
            gaps[name] = [MISSING] if all(record["s"] == MISSING for record in row.values()) else failing
    return gaps


@dataclasses.dataclass
class Difference:
    """A run against the list."""

    new: Gaps  # fails and is not listed
    closed: Gaps  # is listed and does not fail

    def __bool__(self) -> bool:
        return bool(self.new or self.closed)


def difference(listed: Gaps, rows: Rows) -> Difference:
    now = found(rows)
    result = Difference({}, {})
    for name in rows:
        before, after = listed.get(name, []), now.get(name, [])
        closed = [column for column in before if column not in after]
        # An operator that was missing may fail in some columns when it comes: the gap has become smaller.
        new = [] if before == [MISSING] else [column for column in after if column not in before]
        if closed:
            result.closed[name] = closed
        if new:
            result.new[name] = new
    return result


def updated(listed: Gaps, rows: Rows, allow_new: bool) -> Gaps:
    """The list after a run: without what is closed, and with what is new if that is allowed."""
    change, now = difference(listed, rows), found(rows)
    gaps = {name: columns for name, columns in listed.items() if name not in rows}
    for name in rows:
        refused = [] if allow_new else change.new.get(name, [])
        columns = [column for column in now.get(name, []) if column not in refused]
        if columns:
            gaps[name] = columns
    return gaps
