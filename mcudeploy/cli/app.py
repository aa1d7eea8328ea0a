# SPDX-License-Identifier: Apache-2.0
"""The application that the command modules add themselves to."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    name="mcudeploy",
    help="Neural networks on microcontrollers: does it fit, is it right, how fast is it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", metavar="", help="Print the version.")
    ] = False,
    debug: Annotated[  # taken out by main(), wherever it stands; here for the help alone
        bool,
        typer.Option(
            "--debug", metavar="", help="Show the traceback of an error (anywhere on the line)."
        ),
    ] = False,
) -> None:
    if version:
        from mcudeploy import __version__

        typer.echo(f"mcudeploy {__version__}")
        raise typer.Exit
