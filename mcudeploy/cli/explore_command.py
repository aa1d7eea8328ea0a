# SPDX-License-Identifier: Apache-2.0
"""explore: which members of a family fit which boards, and a search for better ones."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mcudeploy.cli import options as opt
from mcudeploy.cli.app import app


class PlotAxis(StrEnum):
    """What the plot shows against RAM."""

    macs = "macs"
    accuracy = "accuracy"


@app.command()
def explore(
    families: Annotated[
        list[str], typer.Argument(metavar="FAMILY...", help="Families or members; `all` for all.")
    ],
    board: Annotated[
        list[str],
        typer.Option("--board", "-b", metavar="BOARD", help="A board; several make a matrix."),
    ],
    ram: opt.RamBudget = None,
    flash: opt.FlashBudget = None,
    latency_ms: Annotated[
        float | None, typer.Option("--latency-ms", metavar="MS", help="Refuse what takes longer.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option("--processes", metavar="N", help="Default: one a core.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="A Dask scheduler to compute on."),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write all candidates there.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw them (.png, .svg, .pdf).")
    ] = None,
    plot_axis: Annotated[
        PlotAxis, typer.Option("--plot-axis", help="Against RAM in the plot.")
    ] = PlotAxis.macs,
    json: opt.AsJson = False,
) -> None:
    """Which members of FAMILY fit BOARD, at what cost, and which are worth having.

    Example: mcudeploy explore mobilenet_v1 mobilenet_v2 -b stm32f469 --plot front.png
    """
    from mcudeploy import zoo
    from mcudeploy.codegen.output import write_file
    from mcudeploy.explore import explore as run
    from mcudeploy.report import explorations, terminal

    chosen = list(zoo.families()) if families == ["all"] else families
    with terminal.progress() as progress:
        found = run(
            chosen, board, ram=ram, flash=flash, latency_ms=latency_ms, processes=processes,
            scheduler=scheduler,
            progress=lambda done, total: progress(f"planned {done} of {total}"),
        )  # fmt: skip
    if csv is not None:
        write_file(csv, explorations.csv_text(found).encode())
    if plot is not None:
        from mcudeploy.report.plot_exploration import plot_exploration

        plot_exploration(found, plot, axis=plot_axis.value)
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("explore", **explorations.document_content(found)))
    else:
        explorations.print_exploration(found, terminal.console())
    raise typer.Exit(0 if any(candidate.fits for candidate in found.candidates) else 1)
