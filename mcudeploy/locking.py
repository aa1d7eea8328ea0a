# SPDX-License-Identifier: Apache-2.0
"""A lock between processes that dies with its holder.

The operating system holds the lock on an open file, so a killed process leaves nothing to clean
up. The file itself stays: removing it would let two processes lock two files of one name.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mcudeploy.resources import cache_folder

if sys.platform == "win32":
    import msvcrt

    def _acquire(file: IO[str]) -> None:
        while True:
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                return
            except OSError:
                time.sleep(0.05)

    def _release(file: IO[str]) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _acquire(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _release(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock that the file `path` stands for; waits for whoever holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        _acquire(file)
        try:
            yield
        finally:
            _release(file)


@contextmanager
def locked_project(folder: Path) -> Iterator[None]:
    """Hold the lock of a project folder, which need not exist; commands that write it take turns.

    The lock's file lies in the cache: the folder itself is replaced as a whole.
    """
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    with locked(cache_folder("locks") / name):
        yield
