"""PyTorch's operator database against ctorch, by the list of gaps (`gaps.txt`)."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
NEEDED = ("torch", "expecttest")  # torch.testing imports the other one
ABSENT = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.skipif(bool(ABSENT), reason=f"the oracle is PyTorch's operator database; no {ABSENT} here"),
    pytest.mark.timeout(1800),  # the workers have a limit of their own, for each column
]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A process of its own runs the database, as it changes torch's modules and forks workers."""
    path = tmp_path_factory.mktemp("parity") / "report.json"
    command = [sys.executable, "-m", "tests.parity", "--json", str(path)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout)
    assert path.exists(), done.stdout
    return json.loads(path.read_text())


def test_what_is_not_listed_passes(report):
    rows = report["rows"]
    failing = [
        f"{name} {c}: {rows[name].get(c, '')}" for name, columns in report["new"].items() for c in columns
    ]
    assert not failing, "\n".join(failing)


def test_what_is_listed_fails_still(report):
    passing = [f"{name} {' '.join(columns)}" for name, columns in report["closed"].items()]
    assert not passing, "take these off the list by python -m tests.parity --update:\n" + "\n".join(passing)
