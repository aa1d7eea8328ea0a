# SPDX-License-Identifier: Apache-2.0
"""The command `profile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcudeploy.cli import options as opt
from mcudeploy.cli.app import app


@app.command()
def profile(
    project: opt.Project,
    emulator: opt.EmulatorName = "unicorn",
    compare: Annotated[
        Path | None,
        typer.Option("--compare", metavar="OTHER", help="Another built project, side by side."),
    ] = None,
    calibrate: Annotated[
        float | None,
        typer.Option(
            "--calibrate", metavar="MS", help="What an inference took on the board: scales times."
        ),
    ] = None,
    plot: opt.Plot = None,
    html: opt.Html = None,
    json: opt.AsJson = False,
) -> None:
    """Instructions and estimated cycles, milliseconds and energy of a built project, by operator.

    Example: mcudeploy profile firmware --plot profile.svg
    """
    from mcudeploy import api
    from mcudeploy.report import profiles, terminal

    with terminal.progress() as progress:
        made = api.profile(project, emulator=emulator, calibrate=calibrate, progress=progress)
        other = None
        if compare is not None:
            other = api.profile(compare, emulator=emulator, progress=progress)
    if plot is not None:
        from mcudeploy.report.plot_profile import plot_profile

        plot_profile(made, plot)
    if html is not None:
        from mcudeploy.report import html as pages

        pages.write_page(html, pages.profile_page(made, commands=opt.as_typed()))
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("profile", profile=made, compared=other))
        return
    out = terminal.console()
    profiles.print_profile(made, out)
    if other is not None:
        out.print()
        profiles.print_comparison(made, other, out)
