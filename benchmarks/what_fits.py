# SPDX-License-Identifier: Apache-2.0
"""What fits: for the STM32F469 and for 64 KiB, 256 KiB and 1 MiB of RAM, every family of the zoo.

    python benchmarks/what_fits.py [--processes N] [-o FILE.md]

One table a board, one row a family: how many members fit, and the largest of them (most MACs).
What FILE.md says before its first table stays, so `-o docs/what-fits.md` makes that page's tables.
The boards are real ones of that RAM and a Cortex-M4, M7 or M33; each keeps its own flash. Planning
needs no weights, so the whole table takes about a minute for each board.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mcudeploy import zoo
from mcudeploy.board import Board, find_board
from mcudeploy.deployment import Options, choose_board
from mcudeploy.explore import Exploration, explore

BOARDS: tuple[tuple[str, Board], ...] = (
    ("STM32F469 (320 + 64 KiB)", find_board("stm32f469")),
    ("64 KiB", choose_board("nucleo_f401re", Options(ram="64K"))),
    ("256 KiB", find_board("nrf52840_dk")),
    ("1 MiB", find_board("nucleo_h743zi")),
)


def table(title: str, found: Exploration) -> str:
    """One board as Markdown."""
    board = found.boards[0]
    lines = [
        f"## {title}: {board.title}", "",
        "| family | fit | largest that fits | RAM KiB | flash KiB | MMAC | published top-1 |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for family in found.families:
        own = [c for c in found.candidates if zoo.describe(c.member.name).family == family]
        share = f"{sum(c.fits for c in own)} of {len(own)}"
        best = found.largest(board.name, family)
        if best is None:
            least = min(own, key=lambda c: (not c.need.deployable, c.need.ram_bytes))
            lines.append(f"| {family} | {share} | none: {least.need.reason} | | | | |")
            continue
        top1 = "" if best.accuracy is None else f"{best.accuracy:.1f}"
        lines.append(
            f"| {family} | {share} | {best.member.label} | {best.need.ram_bytes / 1024:,.1f} "
            f"| {best.need.flash_bytes / 1024:,.1f} | {best.need.macs / 1e6:,.1f} | {top1} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print a table a board."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int)
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    tables = []
    for title, board in BOARDS:
        found = explore(list(zoo.families()), [board], processes=asked.processes)
        tables.append(table(title, found))
        print(tables[-1], flush=True)
    if asked.output is not None:
        head = asked.output.read_text(encoding="utf-8") if asked.output.is_file() else ""
        head = head.partition("## ")[0]
        asked.output.write_text(head + "\n".join(tables), encoding="utf-8")


if __name__ == "__main__":
    main()
