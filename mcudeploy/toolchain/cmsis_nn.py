# SPDX-License-Identifier: Apache-2.0
"""The CMSIS-NN source: getting it, trusting it, and taking from it only what is called.

CMSIS-NN is Arm's, Apache-2.0, and no part of mcudeploy. One commit of it is pinned. A package on
PyPI carries that commit's tree byte for byte and upstream serves it as an archive, so either may be
fetched and one hash over the names and bytes of all source files decides about both. What was
verified is renamed into the user's cache in one step: a process that is killed leaves no half tree,
and of two processes at once one fetches while the other waits.

`closure` answers which files a firmware needs: a table of which file defines which name, a table of
which file mentions which names, and the walk from the entry functions over both. A mention in a
branch that the preprocessor drops counts too, so that one project builds for every core.

Run as `python -m mcudeploy.toolchain.cmsis_nn` it fetches the tree and prints where it is.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from mcudeploy.errors import InputError, McudeployError, ToolError
from mcudeploy.locking import locked
from mcudeploy.operators.base import Implementation
from mcudeploy.resources import cache_folder

COMMIT = "3b4e406b14"
TREE_SHA256 = "55b08e8445ee72faf5ab38a0c73a8cb7c73f21f93a8965c160868379d379cc1e"
WHEEL = "aidge-export-arm-cortexm==0.2.1"
WHEEL_SHA256 = "0ea6a694b8c1397bf52158c27854bbd4ddfca433ed4cf06a4c92843b480acbf0"
ARCHIVE = f"https://github.com/ARM-software/CMSIS-NN/archive/{COMMIT}.tar.gz"
INCLUDE_FOLDERS = ("Include",)
"""What a compiler's search path needs, relative to the tree."""

_PYPI_SECONDS = 300
_UPSTREAM_SECONDS = 30
_WHEEL_ROOT = "aidge_export_arm_cortexm/_CMSIS-NN/CMSIS-NN/"
_SOURCE_FILE = re.compile(r"(?:Include|Source)/(?:\w+/)*\w+\.[ch]")


def source(path: Path | None = None) -> Path:
    """The folder with CMSIS-NN's `Include/` and `Source/`, verified; fetched when it is nowhere.

    `path`, or else the environment variable MCUDEPLOY_CMSIS_NN, names a tree of one's own; it must
    be the pinned commit. Raises InputError for a tree that is not, ToolError when the tree can be
    had nowhere.
    """
    own = path or (Path(value) if (value := os.environ.get("MCUDEPLOY_CMSIS_NN")) else None)
    if own is not None:
        return _verified_own(own.resolve())
    return _cached(cache_folder("cmsis-nn"))


@cache
def _verified_own(folder: Path) -> Path:
    found = tree_hash(folder)
    if found != TREE_SHA256:
        problem = (
            "the folder holds other sources than the pinned commit"
            if found
            else "no CMSIS-NN there"
        )
        raise InputError(
            f"this CMSIS-NN cannot be used: {problem}",
            where=str(folder),
            mend=f"check out commit {COMMIT} of CMSIS-NN there, or unset MCUDEPLOY_CMSIS_NN",
        )
    return folder


@cache
def _cached(folder: Path) -> Path:
    tree = folder / COMMIT
    if tree_hash(tree) == TREE_SHA256:
        return tree
    with locked(folder / "lock"):
        if tree_hash(tree) != TREE_SHA256:
            _install(_fetch(), tree)
    return tree


def available() -> bool:
    """Whether `source()` would answer without the network."""
    own = os.environ.get("MCUDEPLOY_CMSIS_NN")
    return tree_hash(Path(own) if own else cache_folder("cmsis-nn") / COMMIT) == TREE_SHA256


def tree_hash(folder: Path) -> str:
    """SHA-256 over the names and bytes of a tree's C files; empty when there is no file."""
    names = _files_below(folder)
    return _hash({name: (folder / name).read_bytes() for name in names}) if names else ""


def _files_below(folder: Path) -> list[str]:
    found = [p for part in ("Include", "Source") for p in (folder / part).rglob("*.[ch]")]
    return [p.relative_to(folder).as_posix() for p in found if p.is_file()]


def _hash(files: dict[str, bytes]) -> str:
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0{hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return total.hexdigest()


# --- fetching -------------------------------------------------------------------------------------


def _fetch() -> dict[str, bytes]:
    """The source files by name within the tree, from the first origin that gives the right ones."""
    failures = []
    origins: tuple[tuple[str, Callable[[], dict[str, bytes]]], ...] = (
        ("PyPI", _from_wheel),
        ("upstream", _from_upstream),
    )
    for origin, fetch in origins:
        try:
            files = fetch()
        except (OSError, ValueError, tarfile.TarError, zipfile.BadZipFile) as error:
            failures.append(f"{origin}: {error}")
            continue
        if _hash(files) == TREE_SHA256:
            return files
        failures.append(f"{origin}: its files are not those of commit {COMMIT}")
    raise ToolError(
        "the CMSIS-NN source is not here and could not be fetched",
        where="; ".join(failures),
        mend="connect to the network once, or set MCUDEPLOY_CMSIS_NN to a checkout of commit "
        f"{COMMIT} of CMSIS-NN",
    )


def _from_wheel() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        requirement = Path(folder, "requirement.txt")
        requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        command += ["--quiet", "--disable-pip-version-check", "--no-input", "--require-hashes"]
        command += ["--dest", folder, "--requirement", str(requirement)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PYPI_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise OSError("no answer in time") from None
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            lines = [line for line in done.stderr.splitlines() if "ERROR" in line]
            raise OSError((lines or ["pip download failed"])[-1])
        with zipfile.ZipFile(wheels[0]) as archive:
            names = [n for n in archive.namelist() if n.startswith(_WHEEL_ROOT)]
            return _sources((n.removeprefix(_WHEEL_ROOT), archive.read(n)) for n in names)


def _from_upstream() -> dict[str, bytes]:
    try:
        with urllib.request.urlopen(ARCHIVE, timeout=_UPSTREAM_SECONDS) as answer:
            data = answer.read()
    except urllib.error.URLError as error:
        raise OSError(str(error.reason)) from None

    def members() -> Iterator[tuple[str, bytes]]:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file:
                    yield member.name.partition("/")[2], file.read()

    return _sources(members())


def _sources(members: Iterable[tuple[str, bytes]]) -> dict[str, bytes]:
    """Those of the members that are sources; other names, hostile ones too, are never written."""
    return {name: data for name, data in members if _SOURCE_FILE.fullmatch(name)}


def _install(files: dict[str, bytes], tree: Path) -> None:
    """Write the files beside `tree`, then rename: the tree is whole or is not there."""
    for leftover in tree.parent.glob(".partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=tree.parent))
    for name, data in files.items():
        target = partial / "tree" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    if tree.exists():
        tree.rename(partial / "damaged")
    (partial / "tree").rename(tree)
    shutil.rmtree(partial, ignore_errors=True)


# --- what is needed of it -------------------------------------------------------------------------

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)
# A definition that other files can see starts in the first column: return type, name, then
# parameters and a body, or for a table its dimensions and values.
_DEFINITION = re.compile(
    r"^(?!static\b|typedef\b|return\b)(?:[A-Za-z_]\w*[\s*]+)+([A-Za-z_]\w*)\s*"
    r"(?:\([^;{}]*\)\s*\{|(?:\[[^\]]*\])+\s*=)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class _Index:
    defined_in: dict[str, str]
    """Function or table to the .c file that defines it."""
    mentions: dict[str, frozenset[str]]
    """File to those of the names above that it mentions, its own not counted."""
    includes: dict[str, frozenset[str]]
    """File to the headers that it includes itself."""


@cache
def _index(tree: Path) -> _Index:
    texts = {
        name: _COMMENT.sub(" ", (tree / name).read_text(encoding="utf-8"))
        for name in _files_below(tree)
    }
    defined_in = {
        match[1]: name
        for name, text in texts.items()
        if name.endswith(".c")
        for match in _DEFINITION.finditer(text)
    }
    mentions = {
        name: frozenset(
            word
            for word in set(_IDENTIFIER.findall(text)) & defined_in.keys()
            # A header mentions all that it declares; only its inline functions would need it, and
            # those of CMSIS-NN call nothing outside.
            if name.endswith(".c") and defined_in[word] != name
        )
        for name, text in texts.items()
    }
    includes = {
        name: frozenset(_resolve(name, header, texts) for header in _INCLUDE.findall(text)) - {""}
        for name, text in texts.items()
    }
    return _Index(defined_in, mentions, includes)


def _resolve(includer: str, header: str, texts: dict[str, str]) -> str:
    folders = [PurePosixPath(includer).parent, *map(PurePosixPath, INCLUDE_FOLDERS)]
    return next((str(f / header) for f in folders if str(f / header) in texts), "")


def closure(functions: Iterable[str], *, tree: Path | None = None) -> tuple[Path, ...]:
    """The files that `functions` need: theirs, those of all they call, and the headers.

    The paths are relative to `source()`, sorted. Raises InputError for a function that CMSIS-NN
    does not have.
    """
    index = _index(tree or source())
    files: set[str] = set()
    waiting = []
    for function in functions:
        if function not in index.defined_in:
            raise InputError(f"CMSIS-NN {COMMIT} has no function {function!r}")
        waiting.append(index.defined_in[function])
    while waiting:
        file = waiting.pop()
        if file in files:
            continue
        files.add(file)
        waiting += [index.defined_in[name] for name in index.mentions[file]]
        waiting += index.includes[file]
    return tuple(Path(file) for file in sorted(files))


def library_of(implementations: Iterable[Implementation]) -> dict[str, bytes]:
    """The files that implementations need of CMSIS-NN, by path, with its notice; empty for none."""
    called = {
        entry.partition(":")[2]
        for implementation in implementations
        for entry in implementation.sources
        if entry.startswith("cmsis-nn:")
    }
    if not called:
        return {}
    tree = source()
    files = {path.as_posix(): (tree / path).read_bytes() for path in closure(called)}
    return files | {"NOTICE": notice().encode()}


def functions() -> tuple[str, ...]:
    """Every function and table that other files can use, sorted."""
    return tuple(sorted(_index(source()).defined_in))


def notice() -> str:
    """The notice that must go with the files into a project (its licence text goes beside it)."""
    return (
        "The files below Include/ and Source/ are a part of CMSIS-NN, unchanged, from commit\n"
        f"{COMMIT} of https://github.com/ARM-software/CMSIS-NN.\n\n"
        "Copyright (C) 2010-2024 Arm Limited and/or its affiliates.\n"
        "SPDX-License-Identifier: Apache-2.0\n\n"
        "They are licensed under the Apache License, Version 2.0; its text is in\n"
        "LICENSES/Apache-2.0.txt of this project.\n"
    )


def main() -> int:
    """Fetch the tree and say where it is; the exit code is 2 when it cannot be had."""
    try:
        print(f"CMSIS-NN {COMMIT}: {source()}")
    except McudeployError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
