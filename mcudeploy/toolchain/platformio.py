# SPDX-License-Identifier: Apache-2.0
"""Drives PlatformIO over a generated project, without a network.

PlatformIO runs SCons out of a package that it would fetch from its registry. Here that package is a
folder of four small files whose `scons.py` calls the SCons of this Python environment; it lies in a
PlatformIO home of our own in the cache, so the user's home is neither used nor changed. The project
brings its development platform with it (`platform/`). Compiled objects go into a cache that all
projects share: SCons names them by the content that they were made of.

A lock on the project lets two commands work on the same folder one after the other.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mcudeploy.errors import BuildError, InputError, ToolError
from mcudeploy.locking import locked, locked_project
from mcudeploy.processes import ending_with_us
from mcudeploy.resources import cache_folder
from mcudeploy.toolchain.compiler import Compiler, find_compiler
from mcudeploy.toolchain.packages import installed_version, pip_command

_OBJECT_CACHE_BYTES = 256 * 1024**2
_SILENCE = {
    "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
    "PLATFORMIO_DISABLE_UPGRADE_CHECK": "true",
    "PLATFORMIO_NO_ANSI": "true",
    "PLATFORMIO_DISABLE_PROGRESSBAR": "true",
}


@dataclass(frozen=True)
class BuildResult:
    """What a build gave. `compiled` files came from no cache; `seconds` is wall time."""

    elf: Path
    map: Path
    log: str
    warnings: tuple[str, ...]
    compiled: int
    seconds: float
    compiler: Compiler


def elf_path(project: Path, environment: str = "offline") -> Path:
    """Where a project's firmware is once it is built."""
    return project / ".pio" / "build" / environment / "firmware.elf"


def build(
    project: Path,
    *,
    environment: str = "offline",
    progress: Callable[[str], None] | None = None,
) -> BuildResult:
    """Compile and link `project`; `progress` is called with each line that PlatformIO prints.

    The environment `official` uses the user's own PlatformIO home and may fetch from the network.
    Raises InputError when the folder is no project, ToolError when a tool is missing, BuildError
    with the first error of the compiler or linker.
    """
    project = project.resolve()
    if not (project / "platformio.ini").is_file():
        raise InputError(
            "this folder is no firmware project: it has no platformio.ini",
            where=str(project),
            mend="`mcudeploy generate MODEL --board BOARD -o DIR` makes one",
        )
    if "$" in str(project):
        raise InputError(
            "PlatformIO cannot build in a folder with a $ in its path",
            where=str(project),
            mend="give the project another folder",
        )
    compiler = find_compiler()
    home = core_folder()
    objects = cache_folder("platformio", f"objects-gcc{compiler.version_text}")
    variables = {**os.environ, **_SILENCE, "PLATFORMIO_BUILD_CACHE_DIR": str(objects)}
    if environment != "official":
        variables["PLATFORMIO_CORE_DIR"] = str(home)
        # PlatformIO notes the project's platform as installed; two projects shall not meet there.
        variables["PLATFORMIO_PLATFORMS_DIR"] = str(project / ".pio" / "platforms")
    with locked_project(project):
        started = time.monotonic()
        status, log = _run(project, environment, variables, progress)
        seconds = time.monotonic() - started
    _trim(objects, _OBJECT_CACHE_BYTES)
    elf = elf_path(project, environment)
    if status != 0 or not elf.is_file():
        # The one of an earlier build must not be taken for this one's.
        elf.unlink(missing_ok=True)
        raise _explain(log, project, environment)
    return BuildResult(
        elf=elf,
        map=elf.with_suffix(".map"),
        log=log,
        warnings=tuple(line for line in log.splitlines() if re.search(r"\bwarning:", line)),
        compiled=len(re.findall(r"^Compiling ", log, re.MULTILINE)),
        seconds=seconds,
        compiler=compiler,
    )


def _run(
    project: Path,
    environment: str,
    variables: dict[str, str],
    progress: Callable[[str], None] | None,
) -> tuple[int, str]:
    """PlatformIO's exit code and all that it said; the same is kept in the build folder.

    It ends with us, for the lock on the project does; SCons, which it starts, cannot speak then and
    ends, too.
    """
    posix = os.name == "posix"
    command = [sys.executable, "-m", "platformio", "run"]
    command += ["--project-dir", str(project), "--environment", environment]
    lines = []
    with subprocess.Popen(
        ending_with_us(command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=variables,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=posix,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line)
                if progress:
                    progress(line.rstrip())
        except BaseException:
            if posix:  # with SCons and the compilers that it started
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            raise
    log = "".join(lines)
    folder = elf_path(project, environment).parent
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "build.log").write_text(log, encoding="utf-8")
    return process.returncode, log


_COMPILER_ERROR = re.compile(
    r"^(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: (?P<text>.*)$",
    re.MULTILINE,
)
# Ordered by what tells most: the linker first says which function or section it is at.
_LINKER_ERRORS = (
    re.compile(
        r"^(?:.*?ld(?:\.exe)?: )?(?:(?P<where>[^\s:][^:\n]*(?::[^:\n]*)?): )?"
        r"(?P<text>(?:undefined reference to|multiple definition of) [^\n]*)$",
        re.MULTILINE,
    ),
    re.compile(r"(?P<where>)(?P<text>region [^\n]* overflowed by \d+ bytes)"),
    re.compile(
        r"^(?P<where>)[^\n]*\bld(?:\.exe)?: (?P<text>(?![^\n]*warning:)[^\n]*)$", re.MULTILINE
    ),
)


def _explain(log: str, project: Path, environment: str) -> BuildError:
    """The first error of the compiler, else of the linker, else the last thing that was said."""
    kept = elf_path(project, environment).with_name("build.log")
    mend = f"the whole log is in {kept}"
    if match := _COMPILER_ERROR.search(log):
        problem = f"the firmware did not compile: {match['text']}"
        return BuildError(problem, where=f"{match['file']}:{match['line']}", mend=mend)
    for pattern in _LINKER_ERRORS:
        if match := pattern.search(log):
            if "overflowed" in match["text"]:
                mend = f"`mcudeploy fit` shows what fills the region; {mend}"
            problem = f"the firmware did not link: {match['text']}"
            return BuildError(problem, where=match["where"] or "", mend=mend)
    said = [line for line in log.splitlines() if line.strip() and not set(line) <= set("=-* ")]
    errors = [line for line in said if re.search(r"error", line, re.IGNORECASE)]
    return BuildError(f"PlatformIO failed: {(errors or said or ['no output'])[-1]}", mend=mend)


# --- PlatformIO's home ----------------------------------------------------------------------------


def core_folder() -> Path:
    """A PlatformIO home whose tool-scons is the SCons of this Python environment.

    Raises ToolError when PlatformIO or the SCons that it asks for is not installed.
    """
    platformio, scons = _installed("platformio"), _installed("scons")
    home = cache_folder("platformio", f"core-{platformio}-scons-{scons}")
    package = home / "packages" / "tool-scons"
    if not (package / ".piopm").is_file():
        with locked(home / "lock"):
            if not (package / ".piopm").is_file():
                _write_scons_package(package, _package_version(scons))
    return home


def _installed(distribution: str) -> str:
    version = installed_version(distribution)
    if version is None:
        raise ToolError(
            f"the Python package {distribution} is not installed", mend=pip_command(distribution)
        )
    return version


def _package_version(scons: str) -> str:
    """PlatformIO's number of an SCons: 4.11.1 is 4.41101.0. ToolError when it wants another."""
    from platformio.dependencies import get_core_dependencies

    major, minor, patch = (int(part) for part in scons.split(".")[:3])
    version = f"4.{major}{minor:02d}{patch:02d}.0"
    wanted = get_core_dependencies()["tool-scons"].lstrip("~^=")
    if version != wanted:
        raise ToolError(
            f"the installed PlatformIO runs SCons {wanted}, installed is {version} ({scons})",
            mend=pip_command("scons"),
        )
    return version


def _write_scons_package(package: Path, version: str) -> None:
    """The package folder, written beside its place and renamed: whole or not there."""
    package.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=package.parent.parent))
    spec = {"owner": "platformio", "id": None, "name": "tool-scons", "requirements": None}
    manifest = {"name": "tool-scons", "version": version, "system": "*"}
    installed = {"type": "tool", "name": "tool-scons", "version": version}
    files = {
        "package.json": json.dumps(manifest),
        ".piopm": json.dumps({**installed, "spec": {**spec, "uri": None}}),
        ".piokeep": "",
        "scons.py": "import SCons.Script\nSCons.Script.main()\n",
    }
    for name, text in files.items():
        (partial / name).write_text(text, encoding="utf-8")
    if package.exists():
        shutil.rmtree(package)
    partial.rename(package)


def _trim(objects: Path, limit_bytes: int) -> None:
    """Remove the objects that were used longest ago until the cache is half its limit."""

    def files() -> Iterator[tuple[float, int, Path]]:
        for path in objects.glob("*/*"):  # above lie the files that describe the cache
            try:
                status = path.stat()
            except OSError:  # another process removed it
                continue
            if path.is_file():
                yield max(status.st_atime, status.st_mtime), status.st_size, path

    found = sorted(files())
    total = sum(size for _, size, _ in found)
    if total <= limit_bytes:
        return
    for _, size, path in found:
        path.unlink(missing_ok=True)
        total -= size
        if total <= limit_bytes // 2:
            return
