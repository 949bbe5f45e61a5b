"""The C++ tests, run by ctest: every GoogleTest case is a case here too.

A build directory that holds them is looked for in `build/` (where `CTORCH_TESTS=1 pip install` leaves one)
or taken from the environment variable CTORCH_BUILD_DIR; where there is none, they are built in
`build/cpp-tests`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CTEST_FILE = Path("tests/cpp/CTestTestfile.cmake")


def tool(name: str) -> str | None:
    """The program of that name, from this environment's packages or the system's."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


def missing() -> str | None:
    if not (shutil.which("c++") or shutil.which("g++") or os.environ.get("CXX")):
        return "no C++ compiler"
    for name in ("cmake", "ctest"):
        if not tool(name):
            return f"no {name}"
    includes = ("/usr/include", "/usr/local/include", *os.environ.get("CPATH", "").split(":"))
    if not any((Path(folder) / "gtest/gtest.h").exists() for folder in includes):
        return "no GoogleTest (Debian: apt-get install libgtest-dev)"
    return None


def sources_changed_after(moment: float) -> bool:
    folders = (ROOT / "csrc", ROOT / "tests/cpp", ROOT / "cmake")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return any(path.stat().st_mtime > moment for path in [*files, ROOT / "CMakeLists.txt"])


def existing_build() -> Path | None:
    if given := os.environ.get("CTORCH_BUILD_DIR"):
        return Path(given)
    for file in sorted((ROOT / "build").glob(f"*/{CTEST_FILE}"), key=lambda file: -file.stat().st_mtime):
        build = file.parents[2]
        executable = build / "tests/cpp/ctorch_tests"
        if executable.exists() and not sources_changed_after(executable.stat().st_mtime):
            return build
    return None


def build_tests() -> Path:
    build = ROOT / "build/cpp-tests"
    generator = ["-G", "Ninja"] if tool("ninja") else []
    cmake = tool("cmake")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    for command in (
        [
            cmake,
            "-S",
            ROOT,
            "-B",
            build,
            *generator,
            "-DCTORCH_BUILD_TESTS=ON",
            f"-DPython_EXECUTABLE={sys.executable}",
        ],
        [cmake, "--build", build, "--parallel", str(os.cpu_count() or 1), "--target", "ctorch_tests"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return build


@pytest.fixture(scope="module")
def build() -> Path:
    if reason := missing():
        pytest.skip(f"C++ tests need a build: {reason}")
    return existing_build() or build_tests()


@pytest.mark.timeout(1500)
def test_ctest_passes(build: Path, tmp_path: Path) -> None:
    ctest = tool("ctest")
    listed = subprocess.run(
        [ctest, "--show-only=json-v1"], cwd=build, capture_output=True, text=True, check=True
    )
    cases = json.loads(listed.stdout)["tests"]
    assert len(cases) > 30, "the C++ tests were not discovered"
    done = subprocess.run(
        [ctest, "--output-on-failure", "--parallel", "2", "--no-tests=error"],
        cwd=build,
        capture_output=True,
        text=True,
    )
    print(done.stdout.strip().splitlines()[-3:])
    assert done.returncode == 0, done.stdout[-8000:]
