# SPDX-License-Identifier: Apache-2.0
"""The commands: arguments in, one call per stage, printing out.

Exit codes: 0 yes, 1 a clear no (does not fit, differs, over budget), 2 bad input or a missing
tool. Results go to standard output, progress and errors to standard error. Everything beyond
typer is imported by the command that needs it.
"""

from __future__ import annotations

import sys

import typer

from mcudeploy.cli import (
    explore_command,
    gate_commands,
    model_commands,
    profile_command,
    project_commands,
    reference_commands,
)
from mcudeploy.cli.app import app
from mcudeploy.errors import McudeployError

__all__ = [
    "app",
    "explore_command",
    "gate_commands",
    "main",
    "model_commands",
    "profile_command",
    "project_commands",
    "reference_commands",
]


def main() -> None:
    """The entry point of the console script. Never shows a traceback without --debug."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        code = app(arguments, standalone_mode=False)
    except McudeployError as error:
        _complain(str(error), error, debug)
        code = error.exit_code
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        code = 130
    except BrokenPipeError:
        code = 0
    except typer.Abort:
        code = 130
    except Exception as error:
        if hasattr(error, "format_message"):  # click's own: a wrong option or argument
            error.show()  # type: ignore[attr-defined]
            code = 2
        else:
            _complain(
                f"internal error: {type(error).__name__}: {error}\n"
                "  mend:  this is a defect of mcudeploy; run again with `mcudeploy --debug ...` "
                "and report what it prints",
                error,
                debug,
            )
            code = 2
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str, error: Exception, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exception(error)
    typer.echo(f"error: {message}", err=True)
