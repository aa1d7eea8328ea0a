# SPDX-License-Identifier: Apache-2.0
"""What the zoo's commands print."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from mcudeploy import zoo
from mcudeploy.report.terminal import table
from mcudeploy.zoo.claims import Row


def print_zoo(names: Iterable[str], out: Console) -> None:
    """Every architecture with the counts of its default member."""
    made = table(
        "name", "parameters", "MACs", "options", right=("parameters", "MACs"), gives_way="options"
    )
    for name in names:
        entry, counts = zoo.describe(name), zoo.counts(name)
        made.add_row(
            name,
            f"{counts.parameters:,}",
            f"{counts.macs:,}",
            " ".join(o.name for o in entry.options if o.name not in ("channels", "classes")),
        )
    out.print(made)


def print_rows(rows: Iterable[Row], out: Console) -> None:
    """Published beside computed: rows that are met in a line, the others with their reason."""
    met = shown = 0
    for row in rows:
        if row.computed is None:
            out.print(f"  quoted  {row.system}: {row.figure} {row.published}")
            continue
        shown += 1
        met += row.met
        state = "met   " if row.met else "differs"
        text = (
            f"{state} {row.system}: {row.figure}: published {row.published}, computed {row.shown()}"
        )
        out.print(f"  {text} ({row.convention})")
        if not row.met:
            out.print(f"          difference {row.shown_difference()}: {row.explanation}")
    out.print(f"{met} of {shown} figures met at printed precision, each other one explained")
