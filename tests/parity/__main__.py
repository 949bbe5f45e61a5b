"""Runs PyTorch's operator database through ctorch and holds the result against the list of gaps.

python -m tests.parity                          all operators; exit status 1 if the list does not fit
python -m tests.parity --only '^(add|mul)$' -v  some of them, with each column that does not pass
python -m tests.parity --update                 shortens the list by what passes now
python -m tests.parity --engine torch           checks the harness itself: everything must pass
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import sys
import time

import torch

from . import checks, gaps
from .outcome import STATUSES, Rows, table, totals, whole
from .workers import Job, run


def options() -> argparse.Namespace:
    p = argparse.ArgumentParser(
        prog="python -m tests.parity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument(
        "--engine", default="ctorch", help="name of the module to judge ('torch' checks the harness)"
    )
    p.add_argument("--only", metavar="REGEX", help="only operators whose name matches")
    p.add_argument("--required", action="store_true", help="only the operators of required.txt")
    p.add_argument(
        "--limit-samples", type=int, metavar="N", help="at most N samples per column, for a quick look"
    )
    p.add_argument(
        "--timeout", type=float, default=120, metavar="S", help="seconds for each column; default 120"
    )
    p.add_argument("--jobs", type=int, default=min(len(os.sched_getaffinity(0)), 8), help="worker processes")
    p.add_argument("--json", metavar="FILE", help="write the full report here")
    p.add_argument("--log", metavar="FILE", default=os.devnull, help="where the workers' output goes")
    p.add_argument("-v", "--verbose", action="store_true", help="print each column that does not pass")
    p.add_argument(
        "--update", action="store_true", help="write the list of gaps anew; refuses to add entries"
    )
    p.add_argument("--allow-new", action="store_true", help="with --update: add entries, too")
    return p.parse_args()


def main() -> int:
    args, since = options(), time.time()
    required = set(gaps.required())
    names = [n for n in checks.BY_NAME if not args.required or checks.BY_NAME[n].name in required]
    names = [n for n in names if not args.only or re.search(args.only, n)]
    check = functools.partial(checks.check, limit=args.limit_samples)
    rows = run(Job(args.engine, checks.columns, check, args.timeout, args.log), names, args.jobs)
    rows = {name: row for name, row in rows.items() if row}

    listed = gaps.load() if args.engine == "ctorch" else {}
    change = gaps.difference(listed, rows)
    print_report(rows, listed, required, args.verbose)
    print(f"{time.time() - since:.0f} s; torch {torch.__version__}")
    if args.json:
        report = {"engine": args.engine, "rows": rows, "new": change.new, "closed": change.closed}
        with open(args.json, "w") as f:
            json.dump(report, f, indent=0)
    if args.update:
        gaps.save(gaps.updated(listed, rows, args.allow_new))
        change.closed = {}
        change.new = {} if args.allow_new else change.new
    print_difference(change, rows)
    return 1 if change else 0


def print_report(rows: Rows, listed: gaps.Gaps, required: set[str], verbose: bool) -> None:
    if verbose:
        for name, row in rows.items():
            for column, r in row.items():
                if r["s"] not in ("pass", "missing"):
                    print(f"{r['s']:8} {name} {column} {r['ok']}/{r['n']} {r['msg']}")
    counts = totals(checks.COLUMNS, rows)
    print(
        table(
            [("column", "total", *STATUSES), *((c, sum(n.values()), *n.values()) for c, n in counts.items())]
        )
    )
    good = whole(rows)
    due = [name for name in rows if checks.BY_NAME[name].name in required]
    print(
        f"\n{len(good)} of {len(rows)} operators pass in every column; {len(listed)} are on the list of gaps"
    )
    print(f"required: {len(set(good) & set(due))} of {len(due)} pass in every column")


def print_difference(change: gaps.Difference, rows: Rows) -> None:
    for name, columns in change.new.items():
        for column in columns:
            r = next(iter(rows[name].values())) if column == gaps.MISSING else rows[name][column]
            print(f"FAILS, not listed: {name} {column}: {r['s']} {r['ok']}/{r['n']} {r['msg']}")
    for name, columns in change.closed.items():
        print(f"PASSES, but listed: {name} {' '.join(columns)}")
    if change.closed:
        print("python -m tests.parity --update takes off the list what passes now")


if __name__ == "__main__":
    sys.exit(main())
