# SPDX-License-Identifier: Apache-2.0
"""A command of mcudeploy run in the tests' own process: what it prints and its exit code, fast."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass
from unittest import mock

from mcudeploy.cli import main


@dataclass(frozen=True)
class Done:
    """As `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


def run_here(*arguments: object) -> Done:
    """Run `mcudeploy ARGUMENTS`."""
    out, errors = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.object(sys, "argv", ["mcudeploy", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
    ):
        try:
            main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
    return Done(code, out.getvalue(), errors.getvalue())
