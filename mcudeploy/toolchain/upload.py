# SPDX-License-Identifier: Apache-2.0
"""Puts a built firmware on a board: PlatformIO's upload, or the command for doing it by hand.

PlatformIO fetches a board's platform and uploader from its registry the first time. Where that
does not answer it tries for a minute before it gives up, so it is asked here as soon as PlatformIO
says that it fetches something.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from mcudeploy.board import Board
from mcudeploy.errors import ToolError

_REGISTRY = "https://registry.platformio.org"
_REGISTRY_SECONDS = 5
_FETCHES = "Manager: Installing"
"""What PlatformIO says before it asks its registry."""
_UNREACHABLE = ("HTTPClientError", "InternetConnectionError")
"""What PlatformIO ends with when it has no network."""


def upload_command(project: Path, board: Board) -> list[str]:
    """PlatformIO's upload with its official platform, which it may fetch.

    Raises ToolError for a board that PlatformIO does not know, with what to do instead.
    """
    if board.platformio_platform is None or board.platformio_board is None:
        raise ToolError(
            f"PlatformIO does not know {board.title}",
            mend="write .pio/build/offline/firmware.bin or firmware.elf with the board's own tool",
        )
    return [
        sys.executable, "-m", "platformio", "run", "--project-dir", str(project.resolve()),
        "--environment", "official", "--target", "upload",
    ]  # fmt: skip


def upload(project: Path, board: Board, *, progress: Callable[[str], None] | None = None) -> None:
    """Run the upload.

    Raises ToolError with PlatformIO's last words when it fails, or when it cannot fetch its tools.
    """
    command = upload_command(project, board)
    # In its own build folder: PlatformIO empties one that other settings built in.
    variables = {**os.environ, "PLATFORMIO_BUILD_DIR": str(project.resolve() / ".pio" / "upload")}
    last = ""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=variables,
        text=True,
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            last = line.strip() or last
            if progress is not None:
                progress(last)
            if _FETCHES in line and not _registry_answers():
                running.kill()
                raise _unreachable(command)
    if running.returncode != 0 and last.startswith(_UNREACHABLE):
        raise _unreachable(command)
    if running.returncode != 0:
        raise ToolError(
            f"the upload failed: {last}",
            mend="is the board plugged in? By hand: " + shlex.join(command),
        )


def _unreachable(command: list[str]) -> ToolError:
    return ToolError(
        "PlatformIO could not fetch its tools for this board: its registry does not answer",
        mend=f"with a network, once: {shlex.join(command)}; or write "
        ".pio/build/offline/firmware.bin with the board's own tool",
    )


def _registry_answers() -> bool:
    try:
        with urllib.request.urlopen(_REGISTRY, timeout=_REGISTRY_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True  # whatever it says, it is there
    except OSError:
        return False
