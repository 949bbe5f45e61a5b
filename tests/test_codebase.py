"""Rules that the source tree keeps: includes, symbols of kernel objects, one version, a light import."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"

# Bottom to top: a layer includes itself and the layers before it.
LAYERS = ("core", "kernels", "ops", "autograd", "bindings")
# What kernels may take from core: plain values, the parallel loop and memory for temporaries; no Tensor.
KERNELS_TAKE = {
    "cpu_info.h", "device.h", "dtype.h", "error.h", "float_mode.h", "function_ref.h", "half.h", "macros.h",
    "parallel.h", "random_state.h", "scratch.h",
}  # fmt: skip
# Kernels compiled per ISA level must not instantiate what other levels instantiate too.
ISA_FORBIDDEN = re.compile(
    r"#include <(vector|string|map|set|unordered_map|unordered_set|list|deque|functional|iostream|sstream)>"
)


def sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in {".h", ".cpp", ".cuh", ".cu"})


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.MULTILINE)


def test_a_layer_includes_only_the_layers_below() -> None:
    wrong = []
    for level, layer in enumerate(LAYERS):
        for path in sources(CSRC / layer):
            for name in includes(path):
                first = name.split("/")[0]
                if first not in LAYERS or LAYERS.index(first) > level:
                    wrong.append(f"{path.relative_to(CSRC)} includes {name}")
    assert not wrong, "\n".join(wrong)


def test_kernels_know_no_tensor() -> None:
    wrong = [
        f"{path.relative_to(CSRC)} includes {name}"
        for path in sources(CSRC / "kernels")
        for name in includes(path)
        if name.startswith("core/") and name.removeprefix("core/") not in KERNELS_TAKE
    ]
    assert not wrong, "\n".join(wrong)


def test_kernels_built_per_level_use_no_containers() -> None:
    wrong = [
        f"{path.relative_to(CSRC)}: {match[0]}"
        for path in sources(CSRC / "kernels/cpu")
        if "complex" not in path.parent.parts
        for match in ISA_FORBIDDEN.finditer(path.read_text())
    ]
    assert not wrong, "\n".join(wrong)


def test_only_the_bindings_see_python() -> None:
    wrong = [
        str(path.relative_to(CSRC))
        for layer in LAYERS[:-1]
        for path in sources(CSRC / layer)
        if re.search(r"#include [<\"](pybind11/|Python\.h)", path.read_text())
    ]
    assert not wrong, wrong


def object_folders() -> list[Path]:
    """The newest build directory that has kernel objects."""
    given = os.environ.get("CTORCH_BUILD_DIR")
    builds = [Path(given)] if given else [path for path in (ROOT / "build").glob("*") if path.is_dir()]
    builds.sort(key=lambda path: -path.stat().st_mtime)
    for build in builds:
        folders = sorted(build.glob("CMakeFiles/ctorch_kernels_*.dir"))
        if folders and "CTORCH_SANITIZE:STRING=\n" in (build / "CMakeCache.txt").read_text():
            return folders
    return []


def test_kernel_objects_share_no_symbols_between_levels() -> None:
    """A weak symbol built for AVX-512 may be the copy that the linker keeps for every machine."""
    if not shutil.which("nm"):
        pytest.skip("needs nm (binutils)")
    levels = [f for f in object_folders() if not f.name.endswith(("_complex.dir", "_generic.dir"))]
    if not levels:
        pytest.skip("needs a build directory with kernel objects of several levels in build/")
    wrong = []
    for folder in levels:
        namespace = f"isa_{folder.name.removeprefix('ctorch_kernels_').removesuffix('.dir')}"
        for path in folder.rglob("*.o"):
            # A source that is gone leaves its object behind.
            if not (ROOT / path.relative_to(folder)).with_suffix("").exists():
                continue
            listed = subprocess.run(
                ["nm", "-C", "--defined-only", path], capture_output=True, text=True, check=True
            )
            for line in listed.stdout.splitlines():
                _, kind, symbol = line.split(" ", 2)
                weak = kind in "WwVvu"
                if weak and namespace not in symbol and not symbol.startswith("DW.ref."):
                    wrong.append(f"{path.name}: {symbol}")
                if kind in "TDB" and not re.match(rf"ctorch::{namespace}::", symbol):
                    wrong.append(f"{path.name} exports {symbol}")
    assert not wrong, "\n".join(wrong)


def test_the_version_stands_in_one_place() -> None:
    version = re.search(r'__version__ = "(.+)"', (ROOT / "python/ctorch/_version.py").read_text())
    assert version
    places = [ROOT / "CMakeLists.txt", ROOT / "pyproject.toml", *sources(CSRC)]
    places += [path for path in (ROOT / "python").rglob("*.py") if path.name != "_version.py"]
    again = re.compile(rf'"{re.escape(version[1])}[^"]*"')
    assert [str(path.relative_to(ROOT)) for path in places if again.search(path.read_text())] == []
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()


def run_python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_says_its_version() -> None:
    import ctorch
    from ctorch._version import __version__

    assert ctorch.__version__ == __version__


def test_import_loads_nothing_heavy_and_starts_no_thread() -> None:
    code = """
import sys, os
before = set(sys.modules)
import ctorch
after = set(sys.modules)
print(sorted(name.split(".")[0] for name in after - before))
print(len(os.listdir("/proc/self/task")))
"""
    modules, threads = run_python(code).splitlines()
    heavy = {
        "numpy", "torch", "scipy", "pandas", "matplotlib", "PIL", "tqdm", "sklearn", "mlxtend", "sympy",
        "asyncio", "multiprocessing", "concurrent", "http", "urllib", "email", "ssl", "socket", "subprocess",
        "zipfile", "pickle", "tempfile", "logging", "unittest", "xml", "json", "decimal", "fractions",
        "ctypes", "hashlib", "inspect", "dataclasses",
    }  # fmt: skip
    assert heavy & set(eval(modules)) == set()
    assert int(threads) == 1


def test_the_stub_is_current() -> None:
    script = ROOT / "tools/generate_stub.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, f"run tools/generate_stub.py\n{done.stdout}{done.stderr}"


def test_an_unknown_kernel_level_is_an_error_that_names_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import ctorch; ctorch.ones(3) + 1"],
        capture_output=True,
        text=True,
        env={**os.environ, "CTORCH_ISA": "sse9"},
    )
    assert done.returncode == 1
    assert "expected generic, avx2, avx512, avx512_bf16 or amx, got sse9" in done.stderr


def test_every_kernel_level_of_the_machine_can_be_forced() -> None:
    levels = ["generic", "avx2", "avx512", "avx512_bf16", "amx"]
    best = run_python("import ctorch._C as c; print(c._best_isa())").strip()
    for level in levels[: levels.index(best) + 1]:
        code = "import ctorch; print(ctorch._C._isa(), (ctorch.arange(100.0) * 2).sum().item())"
        assert run_python(code, CTORCH_ISA=level).split() == [level, "9900.0"]
