"""Paired benchmarks of ctorch against PyTorch: two processes, one per side, take turns on every case.

    python benchmarks/run.py                                  the targets, each met or not
    python benchmarks/run.py --cases products                 those of products, convolutions and layers of them
    python benchmarks/run.py --cases all                      all cases, in some 25 minutes (subset: a few)
    python benchmarks/run.py --only gemm/f32 --threads 1,2    the cases whose name matches

Ratio = A's time / B's: above 1, B is faster. Side A is torch and B is ctorch unless said otherwise. A case
that raises on a side is missing there; DIFFERS marks results that disagree; "disturbed" a case whose threads
queued behind other jobs. Errors are the greatest error against float64 over the greatest value.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import re
import sys
import time
from typing import Any

import machine
import process
import report
import targets
from pairs import Worker, WorkerFailed, run_case


def options() -> argparse.Namespace:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "--a", default="torch", metavar="[PYTHON:]MODULE", help="default torch, in this interpreter"
    )
    p.add_argument(
        "--b", default="ctorch", metavar="[PYTHON:]MODULE", help="default ctorch, in this interpreter"
    )
    p.add_argument(
        "--cases",
        choices=(*targets.LISTS, "subset", "all"),
        help="default targets; all with --only, --groups",
    )
    p.add_argument("--groups", help="comma-separated groups of cases")
    p.add_argument("--only", metavar="REGEX", help="cases whose name matches")
    p.add_argument("--threads", help="comma-separated; default those of the target, or 1,2")
    p.add_argument("--rounds", type=int, help="undisturbed rounds wanted per case; default 6, with --quick 3")
    p.add_argument("--seconds", type=float, help="per side and round; default 0.08, with --quick 0.02")
    p.add_argument(
        "--deadline", type=float, help="start no case after so many seconds; default 1470, products 780"
    )
    p.add_argument("--quick", action="store_true", help="short measurements, for a first look")
    p.add_argument(
        "--no-process", action="store_true", help="leave out what whole processes tell: memory, first calls"
    )
    p.add_argument("--json", metavar="FILE", help="write all figures here")
    p.add_argument("--md", metavar="FILE", help="write the tables here, as Markdown")
    p.add_argument(
        "--doc", metavar="FILE", help="put the table of targets into this document, between its marks"
    )
    p.add_argument("--gate", action="store_true", help="exit status 1 if a target is missed")
    opts = p.parse_args()
    opts.cases = opts.cases or ("all" if opts.only or opts.groups else "targets")
    opts.deadline = opts.deadline or (780 if opts.cases == "products" else 1470)
    opts.rounds = opts.rounds or (3 if opts.quick else 6)
    opts.seconds = opts.seconds or (0.02 if opts.quick else 0.08)
    opts.cap = 1 if opts.quick else 6  # seconds of measuring per case, unless two rounds take longer
    return opts


def side(spec: str) -> process.Side:
    python, _, module = spec.rpartition(":")
    return python or sys.executable, module


def chosen(
    cases: list[dict[str, Any]], opts: argparse.Namespace, aims: list[targets.Target]
) -> list[tuple[int, dict[str, Any]]]:
    """(threads, case) of all that is to run, by threads."""
    wanted = {(case, t.threads) for t in aims for case in t.cases}
    threads = [int(t) for t in opts.threads.split(",")] if opts.threads else None
    todo = []
    for n in threads or (1, 2):
        for case in cases:
            if opts.cases in targets.LISTS:
                take = (case["name"], n) in wanted or (
                    bool(threads) and any(case["name"] == name for name, _ in wanted)
                )
            else:
                take = n in case["threads"] and (opts.cases == "all" or case["subset"])
            take = take and (not opts.groups or case["group"] in opts.groups.split(","))
            if take and (not opts.only or re.search(opts.only, case["name"])):
                todo.append((n, case))
    return todo


def measure(
    opts: argparse.Namespace, limits: machine.Peaks, aims: list[targets.Target]
) -> tuple[list[dict[str, Any]], list[str], dict[str, Any]]:
    """(rows, the cases for which no time was left, what the workers said of themselves)."""
    begin, rows, todo, hello = time.time(), [], None, {}
    print(report.line(report.HEAD), flush=True)
    while todo is None or todo:
        threads = todo[0][0] if todo else 1
        sides = {s: Worker(*side(spec), threads) for s, spec in (("a", opts.a), ("b", opts.b))}
        hello = {s: w.hello for s, w in sides.items()}
        todo = chosen(sides["a"].ask("list")["cases"], opts, aims) if todo is None else todo
        while todo and todo[0][0] == threads:
            left = begin + opts.deadline - time.time()
            if left <= 0:
                break
            case = todo[0][1]
            row = run_case(case, sides, opts.rounds, opts.seconds, min(opts.cap, 0.7 * left / len(todo)))
            rows.append(row | {"nthreads": threads})
            todo.pop(0)
            print(report.line(report.cells(rows[-1], limits)), flush=True)
        for w in sides.values():
            w.stop()
        if begin + opts.deadline < time.time():
            break
    return rows, [f"{case['name']}@{n}" for n, case in todo or ()], hello


def table_of(cases: str, about: dict[str, Any]) -> str:
    """The name of a list's table in a document: products have one for each kind of CPU."""
    instructions = about["instructions"].split()
    if cases != "products" or ("avx512f" in instructions and "amx_bf16" not in instructions):
        return cases
    return f"{cases} amx" if "amx_bf16" in instructions else f"{cases} avx2"


def main() -> int:
    opts, begin = options(), time.time()
    about = machine.describe()
    amx = "amx_bf16" in about["instructions"].split()
    lists = [opts.cases] if opts.cases in targets.LISTS else list(targets.LISTS)
    aims = [target for name in lists for target in targets.LISTS[name](amx)]
    limits = machine.peaks(0.03 if opts.quick else 0.3, max(map(int, (opts.threads or "2").split(","))))
    try:
        rows, unrun, hello = measure(opts, limits, aims)
    except WorkerFailed as failed:
        sys.exit(f"cannot start a side: {failed}")
    figures = []
    if opts.cases in process.OF_LIST and not (opts.no_process or opts.only or opts.groups):
        both = {"a": side(opts.a), "b": side(opts.b)}
        figures = process.OF_LIST[opts.cases](both, 3 if opts.quick else 6)
    whole = opts.cases != "subset" and not (opts.only or opts.groups)
    verdicts = targets.verdicts(aims, rows, limits, expected=whole)
    aimed = [f for f in figures if f["target"]]

    records = [*verdicts, *aimed]
    judged = [r["met"] for r in records if r["met"] is not None]
    title = f"Targets: {sum(judged)} of {len(judged)} met"
    lines = [targets.cells(r) for r in records]
    sections = [
        ("Machine", report.text_table, ["", ""], [[k, str(v)] for k, v in about.items()]),
        ("By group", report.text_table, report.SUMMARY_HEAD, report.summary(rows)),
        ("Worst for B", report.text_table, report.HEAD, report.worst(rows, limits)),
        (title, report.text_table, targets.HEAD, lines),
    ]
    for title, table, head, body in sections:
        print(f"\n{title}\n{table(head, body)}")
    versions = {s: f"{h['module']} {h['version']}, Python {h['python']}" for s, h in hello.items()}
    print(f"\nA = {versions['a']}; B = {versions['b']}; {time.time() - begin:.0f} s")
    if unrun:
        print(f"NOT RUN, out of time ({len(unrun)}): {' '.join(unrun)}")
    if opts.json:
        data = {
            "date": datetime.datetime.now().isoformat(timespec="seconds"),
            "machine": about,
            "sides": hello,
        }
        data |= {"peaks": limits, "targets": verdicts, "process": figures, "not_run": unrun, "cases": rows}
        pathlib.Path(opts.json).write_text(json.dumps(data, indent=1))
    if opts.md:
        full = [*sections, ("All cases", None, report.HEAD, [report.cells(r, limits) for r in rows])]
        text = [f"# {versions['b']} against {versions['a']}"]
        text += [f"## {title}\n\n{report.markdown_table(head, body)}" for title, _, head, body in full]
        pathlib.Path(opts.md).write_text("\n\n".join(text) + "\n")
    if opts.doc:
        document = pathlib.Path(opts.doc)
        text = [f"{versions['b']} against {versions['a']}, {datetime.date.today()}. {title}."]
        words = ", ".join(f"{key}: {about[key]}" for key in ("cpu", "cores", "instructions"))
        text += [f"{words}.", report.markdown_table(*report.used_columns(targets.HEAD, lines))]
        document.write_text(
            report.between(document.read_text(), table_of(opts.cases, about), "\n\n".join(text))
        )
    return 1 if opts.gate and (unrun or not all(judged)) else 0


if __name__ == "__main__":
    sys.exit(main())
