# SPDX-License-Identifier: Apache-2.0
"""The commands that look things up: boards, doctor."""

from __future__ import annotations

from typing import Annotated

import typer

from mcudeploy.cli import options as opt
from mcudeploy.cli.app import app


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

        typer.echo(document("boards", boards=[board.model_dump(mode="json") for board in found]))
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
