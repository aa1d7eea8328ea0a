# SPDX-License-Identifier: Apache-2.0
"""explore: which members of a family fit which boards, and a search for better ones."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from mcudeploy.cli import options as opt
from mcudeploy.cli.app import app
from mcudeploy.errors import InputError


class PlotAxis(StrEnum):
    """What the plot shows against RAM."""

    macs = "macs"
    accuracy = "accuracy"


class Objective(StrEnum):
    """What a search ranks networks that fit by."""

    macs = "macs"
    capacity = "capacity"


@app.command()
def explore(
    board: Annotated[
        list[str],
        typer.Option("--board", "-b", metavar="BOARD", help="A board; several make a matrix."),
    ],
    families: Annotated[
        list[str] | None,
        typer.Argument(metavar="FAMILY...", help="Families or members; `all` for all."),
    ] = None,
    ram: opt.RamBudget = None,
    flash: opt.FlashBudget = None,
    latency_ms: Annotated[
        float | None,
        typer.Option("--latency-ms", metavar="MS", min=0, help="Refuse what takes longer."),
    ] = None,
    stream: opt.Streaming = opt.StreamMode.off,
    processes: Annotated[
        int | None, typer.Option("--processes", metavar="N", help="Default: one a core.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="A Dask scheduler to compute on."),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(
            "--csv", metavar="FILE", callback=opt.writable, help="Write all candidates there."
        ),
    ] = None,
    plot: opt.Plot = None,
    plot_axis: Annotated[
        PlotAxis, typer.Option("--plot-axis", help="Against RAM in the plot.")
    ] = PlotAxis.macs,
    search: Annotated[
        bool,
        typer.Option("--search", metavar="", help="Search for a network instead of listing."),
    ] = False,
    evaluations: Annotated[
        int, typer.Option("--evaluations", metavar="N", help="Networks that a search plans.")
    ] = 200,
    seed: opt.Seed = 0,
    objective: Annotated[
        Objective, typer.Option("--objective", help="What a search makes most of.")
    ] = Objective.macs,
    classes: Annotated[int, typer.Option("--classes", help="That a search is for.")] = 1000,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FILE", help="An .npz of x, y: the search's best train."),
    ] = None,
    html: opt.Html = None,
    json: opt.AsJson = False,
) -> None:
    """Which members of FAMILY fit BOARD, at what cost, and which are worth having.

    Example: mcudeploy explore mobilenet_v1 mobilenet_v2 -b stm32f469 --plot front.png

    Example: mcudeploy explore --search -b stm32f469 --ram 320K --flash 1M
    """
    if search:
        if families or len(board) != 1:
            raise InputError(
                "a search takes one board and no families", where="--search",
                mend="mcudeploy explore --search --board BOARD",
            )  # fmt: skip
        _search(
            board[0], ram, flash, json, data, html,
            runner={"processes": processes, "scheduler": scheduler},
            evaluations=evaluations, seed=seed, objective=objective.value, classes=classes,
            stream=stream.value,
        )  # fmt: skip
        return
    if not families:
        raise InputError("no family is named", mend="name some (`mcudeploy zoo list`), or `all`")
    from mcudeploy import zoo
    from mcudeploy.explore import explore as run
    from mcudeploy.files import write_file
    from mcudeploy.report import explorations, terminal

    chosen = list(zoo.families()) if families == ["all"] else families
    with terminal.progress() as progress:
        found = run(
            chosen, board, ram=ram, flash=flash, latency_ms=latency_ms, stream=stream.value,
            processes=processes,
            scheduler=scheduler,
            progress=lambda done, total: progress(f"planned {done} of {total}"),
        )  # fmt: skip
    if csv is not None:
        write_file(csv, explorations.csv_text(found).encode())
    if plot is not None:
        from mcudeploy.report.plot_exploration import plot_exploration

        plot_exploration(found, plot, axis=plot_axis.value)
    if html is not None:
        from mcudeploy.report.html import write_page
        from mcudeploy.report.html_explorations import explore_page

        write_page(html, explore_page(found, commands=opt.as_typed()))
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("explore", **explorations.document_content(found)))
    else:
        explorations.print_exploration(found, terminal.console())
    raise typer.Exit(0 if any(candidate.fits for candidate in found.candidates) else 1)


def _search(
    board: str, ram: str | None, flash: str | None, json: bool, data: Path | None,
    html: Path | None, *, runner: dict[str, Any], **chosen: Any,
) -> None:  # fmt: skip
    """Search, print what was found; exit 1 when nothing fits."""
    from functools import partial

    from mcudeploy.deployment import Options, choose_board
    from mcudeploy.explore.search import search
    from mcudeploy.explore.training import read_task, trained_accuracy
    from mcudeploy.explore.work import run_jobs
    from mcudeploy.report import explorations, terminal

    if data is not None:
        task = read_task(data)
        chosen |= {
            "classes": task.classes, "channels": task.channels, "resolutions": (task.side,),
            "accuracy": partial(trained_accuracy, task=task, seed=chosen["seed"]),
        }  # fmt: skip
    chosen_board = choose_board(board, Options(ram=ram, flash=flash))
    with terminal.progress() as progress:
        progress("searching")
        found = search(
            chosen_board, run=partial(run_jobs, **runner), **chosen,
        )  # fmt: skip
    if html is not None:
        from mcudeploy.report.html import write_page
        from mcudeploy.report.html_explorations import search_page

        write_page(html, search_page(found, chosen_board, commands=opt.as_typed()))
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("explore-search", found=explorations.found_rows(found)))
    else:
        explorations.print_found(found, terminal.console())
    raise typer.Exit(0 if found else 1)
