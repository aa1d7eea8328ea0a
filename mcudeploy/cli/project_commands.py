# SPDX-License-Identifier: Apache-2.0
"""The commands that start from a generated project: build, test, flash, validate."""

from __future__ import annotations

from typing import Annotated

import typer

from mcudeploy.cli import options as opt
from mcudeploy.cli.app import app


@app.command()
def build(project: opt.Project, json: opt.AsJson = False) -> None:
    """Build a project with PlatformIO; then predicted against linked sizes."""
    from mcudeploy import api
    from mcudeploy.report import results, terminal

    with terminal.progress() as progress:
        built = api.build(project, progress=progress)
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("build", build=built))
    else:
        results.print_build(built, terminal.console())
    raise typer.Exit(0 if built.fits else 1)


@app.command()
def test(
    project: opt.Project,
    emulator: opt.EmulatorName = "unicorn",
    data: opt.TestData = None,
    random: opt.RandomInputs = 50,
    seed: opt.Seed = 0,
    json: opt.AsJson = False,
) -> None:
    """Emulator in the loop: every operator's output against the golden reference."""
    from mcudeploy import api
    from mcudeploy.report import results, terminal

    with terminal.progress() as progress:
        tested = api.test(
            project, emulator=emulator, data=data, random=random, seed=seed, progress=progress
        )
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("test", **tested.to_document()))
    else:
        results.print_test(tested, terminal.console())
    raise typer.Exit(0 if tested.passed else 1)


@app.command()
def flash(
    project: opt.Project,
    show: Annotated[
        bool, typer.Option("--show", metavar="", help="Print the command and run nothing.")
    ] = False,
) -> None:
    """Put a built firmware on its board with PlatformIO's upload (which fetches its tools once)."""
    import shlex

    from mcudeploy import api
    from mcudeploy.report import terminal

    if show:
        typer.echo(shlex.join(api.flash_command(project)))
        return
    with terminal.progress() as progress:
        api.flash(project, progress=progress)
    typer.echo(f"flashed; next: mcudeploy validate {project} --port PORT")


@app.command()
def validate(
    project: opt.Project,
    port: Annotated[str, typer.Option("--port", metavar="PORT", help="E.g. /dev/ttyACM0 or COM3.")],
    baud: Annotated[
        int | None, typer.Option("--baud", min=1, help="Another rate than the board file's.")
    ] = None,
    data: opt.TestData = None,
    random: opt.RandomInputs = 50,
    seed: opt.Seed = 0,
    json: opt.AsJson = False,
) -> None:
    """The same test on a real board, over its serial port; counts are the board's own cycles."""
    from mcudeploy import api
    from mcudeploy.report import results, terminal

    with terminal.progress() as progress:
        tested = api.validate(
            project, port=port, baud=baud, data=data, random=random, seed=seed, progress=progress
        )
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("validate", **tested.to_document()))
    else:
        results.print_test(tested, terminal.console(), unit="cycles")
    raise typer.Exit(0 if tested.passed else 1)
