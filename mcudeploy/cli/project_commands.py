# SPDX-License-Identifier: Apache-2.0
"""The commands that start from a generated project: build, test."""

from __future__ import annotations

from pathlib import Path
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
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DATA", help="An .npz of x (and y): compare on these too."),
    ] = None,
    random: Annotated[
        int, typer.Option("--random", min=0, help="How many random inputs besides the extremes.")
    ] = 50,
    seed: Annotated[int, typer.Option("--seed", help="Of the random inputs.")] = 0,
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
