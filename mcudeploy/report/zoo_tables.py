# SPDX-License-Identifier: Apache-2.0
"""What the zoo's commands print."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from rich.console import Console
from rich.padding import Padding

from mcudeploy import zoo
from mcudeploy.report.terminal import WIDTH, table
from mcudeploy.zoo.claims import Row

_INDENT = 4
_FIGURE = 13
"""Columns of a published or computed figure."""


def print_zoo(names: Iterable[str], out: Console) -> None:
    """Every architecture with the counts of its default member."""
    made = table(
        "name", "family", "parameters", "MACs", "options",
        right=("parameters", "MACs"), gives_way="options",
    )  # fmt: skip
    for name in names:
        entry, counts = zoo.describe(name), zoo.counts(name)
        made.add_row(
            name,
            entry.family,
            f"{counts.parameters:,}",
            f"{counts.macs:,}",
            " ".join(o.name for o in entry.options if o.name not in ("channels", "classes")),
        )
    out.print(made)


def print_rows(rows: Iterable[Row], out: Console) -> None:
    """Published beside computed, under each system and convention; why one differs beneath it."""
    shown = list(rows)
    out.print(_line("figure", "published", "computed", "difference"), style="bold")
    for system, of_system in groupby(shown, key=lambda row: row.system):
        out.print()
        out.print(system, style="bold")
        for convention, alike in groupby(of_system, key=lambda row: row.convention):
            out.print(Padding(f"{convention}:", (0, 0, 0, _INDENT - 2)), style="dim")
            for row in alike:
                _print_row(row, out)
    answered = [row for row in shown if row.computed is not None]
    met = sum(row.met for row in answered)
    rest = ", each other one explained" if met < len(answered) else ""
    out.print(f"\n{met} of {len(answered)} figures met at printed precision{rest}")


def _print_row(row: Row, out: Console) -> None:
    if row.computed is None:
        out.print(_line(row.figure, row.published, "", ""))
        return
    difference = "met" if row.met else row.shown_difference()
    out.print(_line(row.figure, row.published, row.shown(), difference))
    if not row.met:
        out.print(Padding(row.explanation, (0, 0, 0, _INDENT + 2)))


def _line(figure: str, published: str, computed: str, difference: str) -> str:
    """A row of 80 columns; a figure that needs more than its share takes it of the next."""
    width = WIDTH - _INDENT - 3 * _FIGURE
    spare = max(0, len(figure) + 1 - width)
    return (
        f"{'':{_INDENT}}{figure:<{width}}{published:>{_FIGURE - spare}}"
        f"{computed:>{_FIGURE}}{difference:>{_FIGURE}}"
    ).rstrip()
