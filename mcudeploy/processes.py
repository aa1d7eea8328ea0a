# SPDX-License-Identifier: Apache-2.0
"""Child processes that do not outlive us, even where nothing of ours can run any more (SIGKILL)."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Sequence
from multiprocessing import connection, parent_process


def ending_with_us(command: Sequence[str]) -> list[str]:
    """The command such that Linux kills its program when the thread that starts it ends.

    Without setpriv (of util-linux; it becomes the program) it is the command as it is.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None or shutil.which(command[0]) is None:
        return list(command)
    return [setpriv, "--pdeathsig", "KILL", "--", *command]


def end_with_parent() -> None:
    """In a process of multiprocessing: end when the parent does, where it would wait for ever."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
