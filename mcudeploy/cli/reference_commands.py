# SPDX-License-Identifier: Apache-2.0
"""The commands that stand alone: boards, doctor, zoo, pack, plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcudeploy.cli import options as opt
from mcudeploy.cli.app import app
from mcudeploy.errors import InputError


@app.command()
def boards(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One board in full.")] = None,
    json: opt.AsJson = False,
) -> None:
    """The boards, or one of them in full."""
    from mcudeploy import api
    from mcudeploy.report import results, terminal

    found = api.boards(name)
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(
            document(
                "boards", boards=[board.model_dump(mode="json", by_alias=True) for board in found]
            )
        )
    elif name is None:
        results.print_boards(found, terminal.console())
    else:
        results.print_board(found[0], terminal.console())


@app.command()
def doctor(json: opt.AsJson = False) -> None:
    """What is installed, what is missing, and the one command that mends each."""
    from mcudeploy.doctor import doctor as examine
    from mcudeploy.report import results, terminal

    checks = examine()
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("doctor", checks=checks))
    else:
        results.print_doctor(checks, terminal.console())
    raise typer.Exit(0 if all(check.state == "ok" or not check.required for check in checks) else 2)


zoo_app = typer.Typer(
    help="The reference architectures: their counts, their Keras models, their papers' figures.",
    no_args_is_help=True,
)
app.add_typer(zoo_app, name="zoo")


@zoo_app.command("list")
def zoo_list(json: opt.AsJson = False) -> None:
    """All architectures with parameters and MACs of the default member."""
    from mcudeploy import zoo
    from mcudeploy.report import terminal, zoo_tables

    if json:
        from mcudeploy.report.jsonify import document

        rows = [
            {
                "name": entry.name, "family": entry.family, "parameters": counts.parameters,
                "macs": counts.macs, "options": [option.name for option in entry.options],
            }
            for entry, counts in ((zoo.describe(n), zoo.counts(n)) for n in zoo.names())
        ]  # fmt: skip
        typer.echo(document("zoo-list", architectures=rows))
    else:
        zoo_tables.print_zoo(zoo.names(), terminal.console())


@zoo_app.command(
    "build", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)
def zoo_build(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="See `mcudeploy zoo list`.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", callback=opt.writable, help="The .keras."),
    ],
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            metavar="FILE",
            callback=opt.writable,
            help="Write seeded inputs there (.npz).",
        ),
    ] = None,
    seed: opt.Seed = 0,
) -> None:
    """Write a member as a Keras model. Its options follow, e.g. --width 0.25 --resolution 96.

    Example: mcudeploy zoo build mobilenet_v1 --width 0.25 --resolution 96 --classes 2 -o m.keras
    """
    from mcudeploy.report import terminal
    from mcudeploy.zoo.keras_file import write_keras_file

    chosen = _member_options(context.args)
    with terminal.progress() as progress:
        progress(f"building {name} in TensorFlow")
        write_keras_file(name, chosen, output, calibration=calibration, seed=seed)
    typer.echo(f"{output}: {name} {chosen or ''}".rstrip())


def _member_options(words: list[str]) -> dict[str, int | float | str]:
    """`--width 0.25 --groups=3` as options of a member."""
    chosen: dict[str, int | float | str] = {}
    rest = [part for word in words for part in (word.split("=", 1) if "--" in word else [word])]
    if len(rest) % 2 or any(not name.startswith("--") for name in rest[::2]):
        raise InputError(
            f"cannot read the options {' '.join(words)!r}", mend="write them like --width 0.25"
        )
    for name, text in zip(rest[::2], rest[1::2], strict=True):
        chosen[name[2:].replace("-", "_")] = _number(text)
    return chosen


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@zoo_app.command("verify")
def zoo_verify(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One architecture.")] = None,
    json: opt.AsJson = False,
) -> None:
    """The papers' figures: published, computed, convention, difference, row by row."""
    from mcudeploy import zoo
    from mcudeploy.report import terminal, zoo_tables

    rows = zoo.verify(name)
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("zoo-verify", rows=rows))
    else:
        zoo_tables.print_rows(rows, terminal.console())
    unexplained = any(r.computed is not None and not r.met and not r.explanation for r in rows)
    raise typer.Exit(1 if unexplained else 0)


@app.command()
def pack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .csv of id, lower, upper, size.")],
    capacity: Annotated[
        str | None, typer.Option("--capacity", metavar="SIZE", help="Stop when it fits this.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", callback=opt.writable, help="Write offsets there."
        ),
    ] = None,
    json: opt.AsJson = False,
) -> None:
    """Pack buffers with lifespans into the least memory: the planner alone, on a CSV file."""
    from mcudeploy.board import parse_bytes
    from mcudeploy.memory.csvfile import pack_csv

    try:
        limit = parse_bytes(capacity) if capacity is not None else None
    except ValueError as error:
        raise InputError(str(error), where="--capacity") from None
    packing = pack_csv(file, limit, output=output)
    fits = limit is None or packing.height <= limit
    if json:
        from mcudeploy.report.jsonify import document

        typer.echo(document("pack", packing=packing, capacity=limit, fits=fits))
    else:
        proof = "proven least" if packing.optimal else f"bound {packing.lower_bound:,}"
        typer.echo(f"height {packing.height:,} bytes, {proof}, by {packing.method}")
        if limit is not None:
            typer.echo(f"{'FITS' if fits else 'DOES NOT FIT'}: capacity {limit:,} bytes")
    raise typer.Exit(0 if fits else 1)


@app.command()
def plan(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A .tflite.")],
    output: opt.TfliteOutput,
) -> None:
    """For users of TensorFlow Lite Micro: write our plan into MODEL as its metadata.

    Stock TFLM follows it and needs a smaller arena; the network itself stays as it is.
    """
    from mcudeploy import api

    saved = api.plan_offline(model, output)
    typer.echo(f"{output}: {saved:,} bytes of activations, planned offline")
