# SPDX-License-Identifier: Apache-2.0
"""The commands that guard what there is: check, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcudeploy.cli import options as opt
from mcudeploy.cli.app import app


@app.command()
def check(
    target: Annotated[
        Path, typer.Argument(metavar="DIR|MODEL", help="A project, or a model with --board.")
    ],
    board: Annotated[
        str | None, typer.Option("--board", "-b", metavar="BOARD", help="For a MODEL: the board.")
    ] = None,
    max_ram: Annotated[
        str | None, typer.Option("--max-ram", metavar="SIZE", help="Of all RAM, e.g. 60K.")
    ] = None,
    max_flash: Annotated[
        str | None, typer.Option("--max-flash", metavar="SIZE", help="Of all flash, e.g. 400K.")
    ] = None,
    max_instructions: Annotated[
        int | None, typer.Option("--max-instructions", min=1, help="Of one inference.")
    ] = None,
    max_ms: Annotated[
        float | None,
        typer.Option("--max-ms", min=0, help="Of one inference, as `profile` estimates it."),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline", metavar="FILE|DIR", help="What `check --json` wrote, or a project."
        ),
    ] = None,
    allow_growth: Annotated[
        float,
        typer.Option("--allow-growth", min=0, metavar="PERCENT", help="Over the baseline."),
    ] = 0.0,
    markdown: Annotated[
        Path | None,
        typer.Option(
            "--markdown",
            metavar="FILE",
            callback=opt.writable,
            help="Write a comment for a pull request.",
        ),
    ] = None,
    json: opt.AsJson = False,
) -> None:
    """Hold a project or a model to limits, and to what it took before.

    Example: mcudeploy check firmware --max-ram 60K --baseline baseline.json
    """
    from mcudeploy import api
    from mcudeploy.files import write_file
    from mcudeploy.report import gates, terminal

    with terminal.progress() as progress:
        checked = api.check(
            target, board, max_ram=max_ram, max_flash=max_flash,
            max_instructions=max_instructions, max_ms=max_ms, baseline=baseline,
            growth_percent=allow_growth, progress=progress,
        )  # fmt: skip
    if markdown is not None:
        write_file(markdown, gates.markdown(checked).encode())
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(
            document(
                "check",
                passed=checked.passed,
                broken=checked.broken,
                changes=checked.changes,
                measures=checked.measures,
            )
        )
    else:
        gates.print_checked(checked, terminal.console())
    raise typer.Exit(0 if checked.passed else 1)


@app.command()
def verify(
    project: opt.Project,
    build: Annotated[
        bool,
        typer.Option("--build", metavar="", help="Build anew, too, and compare the firmware."),
    ] = False,
    json: opt.AsJson = False,
) -> None:
    """Is a project as it was generated, and does it come out the same again?"""
    from mcudeploy import api
    from mcudeploy.report import gates, terminal

    with terminal.progress() as progress:
        found = api.verify_project(project, build=build, progress=progress)
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("verify", integrity=found))
    else:
        gates.print_integrity(found, terminal.console())
    raise typer.Exit(0 if found.passed else 1)
