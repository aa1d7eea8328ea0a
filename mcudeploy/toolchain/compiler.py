# SPDX-License-Identifier: Apache-2.0
"""The cross compiler: where it is, which it is, and what to do when it is not there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from mcudeploy.errors import ToolError

PROGRAM = "arm-none-eabi-gcc"
OLDEST = (10,)
"""Older ones reject flags of Cortex-M55 and warn about the kernels."""


@dataclass(frozen=True)
class Compiler:
    """An arm-none-eabi-gcc with its C library."""

    path: Path
    version: tuple[int, ...]

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))


def how_to_install() -> str:
    """The one command that brings the compiler and its library onto this system."""
    if sys.platform == "darwin":
        return "brew install --cask gcc-arm-embedded"
    if sys.platform == "win32":
        return "winget install Arm.GnuArmEmbeddedToolchain"
    return "sudo apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi"


def find_compiler() -> Compiler:
    """The compiler on PATH. Raises ToolError when it, its age or its library is not right."""
    path = shutil.which(PROGRAM)
    if path is None:
        raise ToolError(f"the compiler {PROGRAM} is not installed", mend=how_to_install())
    text = _ask(path, "-dumpfullversion")
    if not re.fullmatch(r"\d+(\.\d+)*", text):
        raise ToolError(f"the compiler {PROGRAM} does not run", where=path, mend=how_to_install())
    version = tuple(int(part) for part in text.split("."))
    if version < OLDEST:
        raise ToolError(
            f"{PROGRAM} {text} is too old: GCC {OLDEST[0]} or later is needed",
            where=path,
            mend=how_to_install(),
        )
    # Asked for a library that it does not have, GCC answers with the bare name.
    for library in ("libc_nano.a", "nano.specs"):
        if not Path(_ask(path, f"-print-file-name={library}")).is_absolute():
            raise ToolError(
                f"{PROGRAM} {text} has no newlib-nano ({library})",
                where=path,
                mend=how_to_install(),
            )
    return Compiler(Path(path), version)


def _ask(path: str, question: str) -> str:
    try:
        done = subprocess.run(
            [path, question],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
