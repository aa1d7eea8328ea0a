# SPDX-License-Identifier: Apache-2.0
"""How the child process tells its parent where it is (see `tf_process`)."""

from __future__ import annotations

import json
import os


class Reporter:
    """Writes one JSON object a line to a descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def phase(self, phase: str, text: str = "") -> None:
        """The work enters `phase`; `text` is what the user reads."""
        self._write({"phase": phase, "text": text or phase})

    def layer(self, layer: str) -> None:
        """The work turns to one layer; empty when it leaves it."""
        self._write({"layer": layer})

    def count(self, what: str, done: int, total: int) -> None:
        """`done` of `total` are done; about ten of these reach the user."""
        step = max(1, total // 10)
        if done % step == 0 or done == total:
            self._write({"text": f"{what} {done}/{total}"})

    def _write(self, message: dict[str, str]) -> None:
        os.write(self._descriptor, json.dumps(message).encode() + b"\n")
