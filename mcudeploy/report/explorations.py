# SPDX-License-Identifier: Apache-2.0
"""What `explore` prints and writes: tables of 80 columns, CSV, the JSON document."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from mcudeploy import zoo
from mcudeploy.explore import Candidate, Exploration
from mcudeploy.explore.search import Found
from mcudeploy.report.terminal import table

_SHOWN = 40
"""Candidates that the table of one board shows; CSV and JSON have all."""


def print_exploration(exploration: Exploration, out: Console) -> None:
    """One board: its candidates and what is largest. Several: a matrix of the largest members."""
    if len(exploration.boards) > 1:
        _print_matrix(exploration, out)
        return
    board = exploration.boards[0].name
    found = exploration.on(board)
    shown = _worth_showing(exploration, found)
    made = table(
        "member", "RAM KiB", "flash KiB", "MMAC", "ms", "top-1", "",
        right=("RAM KiB", "flash KiB", "MMAC", "ms", "top-1"), gives_way="member",
    )  # fmt: skip
    for candidate in shown:
        made.add_row(*_cells(candidate, exploration.on_front(candidate)))
    out.print(made)
    if len(shown) < len(found):
        out.print(f"{len(found) - len(shown)} more in --csv and --json; * is on the Pareto front")
    out.print(_reasons(found))
    fitting = sum(candidate.fits for candidate in found)
    out.print(f"{fitting} of {len(found)} fit {board}")
    for family in exploration.families:
        largest = exploration.largest(board, family)
        name = largest.member.label if largest else "none"
        out.print(Text(f"largest {family} that fits: {name}", style="bold"))


def _worth_showing(exploration: Exploration, found: Sequence[Candidate]) -> list[Candidate]:
    """All in order of RAM; of too many, the front and the rest that fits, largest first."""
    if len(found) > _SHOWN:
        ranked = sorted(
            found, key=lambda c: (not exploration.on_front(c), not c.fits, -c.need.macs)
        )
        found = ranked[:_SHOWN]
    return sorted(found, key=lambda c: (not c.need.deployable, c.need.ram_bytes, c.need.macs))


def _cells(candidate: Candidate, on_front: bool) -> tuple[str | Text, ...]:
    need = candidate.need
    fits = Text("fits" if need.fits else "no", style="green" if need.fits else "red")
    fits.append("*" if on_front else " ", style="bold")
    if not need.deployable:
        return candidate.member.label, "", "", "", "", _percent(candidate), fits
    return (
        candidate.member.label,
        f"{need.ram_bytes / 1024:,.1f}",
        f"{need.flash_bytes / 1024:,.1f}",
        f"{need.macs / 1e6:,.1f}",
        "" if need.milliseconds is None else f"{need.milliseconds:,.1f}",
        _percent(candidate),
        fits,
    )


def _percent(candidate: Candidate) -> str:
    return "" if candidate.accuracy is None else f"{candidate.accuracy:.1f}"


def _reasons(found: Sequence[Candidate]) -> str:
    """The refusal nearest to fitting, as an example of why the others do not."""
    refused = [c for c in found if not c.fits]
    if not refused:
        return "all fit"
    nearest = min(refused, key=lambda c: (not c.need.deployable, c.need.ram_bytes))
    return f"nearest refusal: {nearest.member.label}: {nearest.need.reason}"


def _print_matrix(exploration: Exploration, out: Console) -> None:
    """The largest member that fits of each family on each board; a column a board.

    Where there are more boards than families, a row a board.
    """
    boards, families = [board.name for board in exploration.boards], exploration.families
    by_board = len(boards) > len(families)
    columns = families if by_board else boards
    made = table("board" if by_board else "family", *columns)
    for row in boards if by_board else families:
        pairs = [(row, other) if by_board else (other, row) for other in columns]
        made.add_row(row, *(_largest(exploration, board, family) for board, family in pairs))
    out.print(made)
    for board in boards:
        found = exploration.on(board)
        out.print(f"{sum(c.fits for c in found)} of {len(found)} fit {board}")


def _largest(exploration: Exploration, board: str, family: str) -> str:
    """The label of the largest that fits, without the family's own name before its options."""
    largest = exploration.largest(board, family)
    if largest is None:
        return "none"
    name, _, options = largest.member.label.partition(" ")
    return options if options and name == family else f"{name}\n{options}".strip()


def rows(exploration: Exploration) -> list[dict[str, Any]]:
    """One flat record a candidate: what CSV has as columns and JSON as `candidates`."""
    return [
        {
            "name": c.member.name,
            "family": zoo.describe(c.member.name).family,
            "options": dict(c.member.options),
            "board": c.board,
            "fits": c.fits,
            "reason": c.need.reason,
            "front": exploration.on_front(c),
            "macs": c.need.macs,
            "parameters": c.need.parameters,
            "ram_bytes": c.need.ram_bytes,
            "flash_bytes": c.need.flash_bytes,
            "activation_bytes": c.need.activation_bytes,
            "regions": dict(c.need.regions),
            "peak": c.need.peak,
            "instructions": c.need.instructions,
            "milliseconds": c.need.milliseconds,
            "published_top1_percent": c.accuracy,
        }
        for c in exploration.candidates
    ]


def csv_text(exploration: Exploration) -> str:
    """All candidates as CSV; options and regions as `key=value` words."""
    records = rows(exploration)
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    for record in records:
        for key in ("options", "regions"):
            record[key] = " ".join(f"{k}={v}" for k, v in record[key].items())
        writer.writerow(record)
    return out.getvalue()


def document_content(exploration: Exploration) -> dict[str, Any]:
    """The content of the JSON document."""
    largest = {
        board.name: {
            family: found.member.label if found else None
            for family in exploration.families
            for found in [exploration.largest(board.name, family)]
        }
        for board in exploration.boards
    }
    return {"candidates": rows(exploration), "largest": largest}


_FOUND_SHOWN = 5


def print_found(found: Sequence[Found], out: Console) -> None:
    """The best that a search found, each with what it takes to build it."""
    if not found:
        out.print("nothing that fits was found; try more --evaluations")
        return
    for place, one in enumerate(found[:_FOUND_SHOWN], 1):
        need = one.need
        accuracy = "" if one.accuracy is None else f", accuracy {one.accuracy:.2%}"
        out.print(
            f"{place}. {need.macs / 1e6:,.1f} MMAC, {need.parameters:,} parameters, RAM "
            f"{need.ram_bytes / 1024:,.1f} KiB, flash {need.flash_bytes / 1024:,.1f} KiB{accuracy}"
        )
        out.print(f"   {one.code}", soft_wrap=True)
    best = found[0].member.options
    out.print(
        f"mcudeploy zoo build searched --code {best['code']} --channels {best['channels']} "
        f"--classes {best['classes']} -o searched.keras",
        soft_wrap=True,
    )


def found_rows(found: Sequence[Found]) -> list[dict[str, Any]]:
    """One flat record for each network that was found, the best first."""
    return [
        {
            "options": dict(one.member.options), "score": one.score, "accuracy": one.accuracy,
            "macs": one.need.macs, "parameters": one.need.parameters,
            "ram_bytes": one.need.ram_bytes, "flash_bytes": one.need.flash_bytes,
            "regions": dict(one.need.regions), "instructions": one.need.instructions,
        }
        for one in found
    ]  # fmt: skip
