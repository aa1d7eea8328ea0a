# SPDX-License-Identifier: Apache-2.0
"""The shape of the repository: what may import what, and what every file looks like."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# The stages from left to right; a module imports its own stage and what stands left of it. A name
# with a dot is a part of a package that stands elsewhere than the package.
STAGES: tuple[tuple[str, ...], ...] = (
    ("errors", "files", "locking", "processes", "resources", "emulator.frames"),
    ("board", "emulator.layouts"),
    ("graph",),
    ("frontend",),
    ("operators",),
    ("graph.passes", "zoo"),
    ("memory",),
    ("budget",),
    ("deployment",),
    ("advice",),
    ("codegen",),
    ("toolchain",),
    ("doctor", "emulator"),
    ("verify",),
    ("profiling",),
    ("explore",),
    ("outcomes",),
    ("api", "gate", "integrity", "testing"),
    ("report",),
    ("cli", "pytest_plugin", "__init__", "__main__"),
)
RANK = {name: rank for rank, names in enumerate(STAGES) for name in names}
# zoo builds graphs and asks operators, nothing else.
ZOO_MAY_IMPORT = {"errors", "resources", "graph", "operators", "zoo"}

MAXIMUM_FILE_LINES = 420
MAXIMUM_FUNCTION_LINES = 60

PYTHON = sorted((ROOT / "mcudeploy").rglob("*.py"))


def stage_of(module: str) -> str:
    """`graph.passes.fold` is in `graph.passes`, `graph.ir` in `graph`, `budget_x` in `budget`."""
    parts = module.split(".")
    two = ".".join(parts[:2])
    if two in RANK or parts[0] in RANK:
        return two if two in RANK else parts[0]
    return parts[0].partition("_")[0]


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT / "mcudeploy").with_suffix("").parts)
    return name.removesuffix(".__init__") or "__init__"


def imports_of(path: Path) -> set[str]:
    """The modules of mcudeploy that a file imports, also inside of functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                candidate = ROOT.joinpath(*node.module.split("."), alias.name)
                is_module = candidate.is_dir() or candidate.with_suffix(".py").is_file()
                found.add(f"{node.module}.{alias.name}" if is_module else node.module)
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}:{node.lineno}: write the import absolutely")
    return {
        name.removeprefix("mcudeploy.") if name != "mcudeploy" else "__init__"
        for name in found
        if name.split(".")[0] == "mcudeploy"
    }


@pytest.mark.parametrize("path", PYTHON, ids=module_of)
def test_a_stage_imports_only_what_stands_left_of_it(path: Path) -> None:
    own = stage_of(module_of(path))
    assert own in RANK, f"{own} has no place in the order of stages"
    for imported in imports_of(path):
        other = stage_of(imported)
        if imported == "__init__":
            # The package itself is its version to the stages, and its interface to those outside.
            continue
        assert other in RANK, f"{imported} has no place in the order of stages"
        if own == "zoo":
            assert other in ZOO_MAY_IMPORT, f"zoo imports {imported}"
        else:
            assert RANK[other] <= RANK[own], f"{own} imports {imported}, which stands right of it"


def tracked_files() -> list[Path]:
    """What git knows of this checkout; without git, the files of our folders."""
    try:
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
        ).stdout
        names = [name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        folders = (
            "mcudeploy",
            "templates",
            "boards",
            "firmware",
            "tests",
            "examples",
            "benchmarks",
        )
        names = [str(p.relative_to(ROOT)) for f in folders for p in (ROOT / f).rglob("*")]
    return [ROOT / n for n in names if (ROOT / n).is_file() and "__pycache__" not in n]


def source_files() -> list[Path]:
    suffixes = {".py", ".c", ".h", ".S", ".toml", ".sh"}
    return [p for p in tracked_files() if p.suffix in suffixes or p.name == "Makefile"]


def test_every_source_file_names_its_licence_in_its_first_line() -> None:
    wanted = "SPDX-License-Identifier: Apache-2.0"
    missing = []
    for path in source_files():
        lines = path.read_text(encoding="utf-8").splitlines()
        first = lines[1] if lines and lines[0].startswith("#!") else "".join(lines[:1])
        if lines and wanted not in first:
            missing.append(str(path.relative_to(ROOT)))
    assert not missing


def test_no_source_file_is_too_long_to_be_read_at_once() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in source_files()
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MAXIMUM_FILE_LINES
    }
    assert not long


def test_no_function_is_too_long_to_be_seen_at_once() -> None:
    long = {}
    for path in PYTHON:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                # What it does, without its signature: a command's options are a declaration.
                body = node.body[1:] if ast.get_docstring(node) and node.body[1:] else node.body
                lines = (node.end_lineno or node.lineno) - body[0].lineno + 1
                if lines > MAXIMUM_FUNCTION_LINES:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert not long


def test_every_module_tells_what_it_does() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in PYTHON
        if (text := path.read_text(encoding="utf-8")).strip()
        and not ast.get_docstring(ast.parse(text))
    ]
    assert not silent


def test_no_file_names_a_path_of_one_machine() -> None:
    # Written apart, so that this file does not find itself.
    folders = "|".join(["ho" + "me/\\w", "wo" + "rk/", "ro" + "ot/", "Us" + "ers/\\w"])
    pattern = re.compile(rf"(?<![\w.~:/<>}}-])/(?:{folders})")
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
        ]
    assert not found


def test_sizes_are_never_printed_in_kilobytes() -> None:
    """KiB is 1,024 bytes; KB means two things."""
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("mcudeploy", "templates", "firmware")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in {".py", ".j2", ".c", ".h"}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"\b\d*\s?[Kk]B\b", line)
    ]
    assert not found
