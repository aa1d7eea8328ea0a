# SPDX-License-Identifier: Apache-2.0
"""The HTML report of `explore`: a picture and a table for each board, or what a search found.

The picture shows MACs over RAM, both by their logarithm; each point is a member of a family, filled
where it fits. Geometry is computed here; templates/report/exploration.html.j2 lays it out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mcudeploy import zoo
from mcudeploy.board import Board
from mcudeploy.explore import Candidate, Exploration
from mcudeploy.explore.search import Found
from mcudeploy.report.drawings import Tick
from mcudeploy.report.html import Figure, Page, Section

WIDTH, HEIGHT = 956, 420
LEFT, RIGHT, TOP, BOTTOM = 84, 40, 26, 44
_COLOURS = 7
_LABEL_WIDTH, _LABEL_HEIGHT = 6.0, 13.0
"""Pixels that a name takes: of a letter, and of a line."""
_MARGIN = 0.04
"""Of an axis, between its ends and the outermost points."""


@dataclass(frozen=True)
class Point:
    """A member in the picture. `colour` numbers its family; `label` is its name where it is shown,
    at the point's `anchor` side (SVG's text-anchor)."""

    x: float
    y: float
    fits: bool
    colour: int
    tip: str
    label: str = ""
    anchor: str = "end"


@dataclass(frozen=True)
class Picture:
    """MACs over RAM on one board; `limits` are its first RAM region and all of its RAM."""

    board: str
    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    points: tuple[Point, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    limits: tuple[Tick, ...]


class _Axis:
    """A logarithmic axis from `start` to `end` (pixels) that holds all of `values`."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        logarithms = [math.log10(max(value, 1e-6)) for value in values]
        low, high = min(logarithms), max(logarithms)
        margin = max((high - low) * _MARGIN, 0.05)
        self._low, self._high = low - margin, high + margin
        self._start, self._scale = start, (end - start) / (self._high - self._low)

    def at(self, value: float) -> float:
        return self._start + (math.log10(max(value, 1e-6)) - self._low) * self._scale

    def ticks(self) -> tuple[Tick, ...]:
        """1, 2 and 5 times the powers of ten; the powers alone where that would be too many."""
        powers = range(math.floor(self._low), math.ceil(self._high) + 1)
        factors = (1, 2, 5) if self._high - self._low < 3 else (1,)
        values = [factor * 10.0**power for power in powers for factor in factors]
        return tuple(
            Tick(self.at(value), f"{value:,.12g}")
            for value in values
            if self._low <= math.log10(value) <= self._high
        )


def explore_page(exploration: Exploration, *, commands: Sequence[str] = ()) -> Page:
    """The report of `explore`; `commands` are the command lines that give the same again."""
    fitting = [c for c in exploration.candidates if c.fits]
    boards = ", ".join(board.title for board in exploration.boards)
    return Page(
        title=f"{', '.join(exploration.families)} on {boards}",
        subtitle="planned from shapes alone: nothing was trained or quantized; fit on the "
        "quantized model has the last word",
        passed=bool(fitting),
        verdict=f"{len(fitting)} of {len(exploration.candidates)} candidates fit"
        + _within(exploration),
        figures=tuple(_figures(exploration)),
        sections=(
            *(_board_section(exploration, board) for board in exploration.boards),
            _commands(commands),
        ),
    )


def _within(exploration: Exploration) -> str:
    if exploration.latency_ms is None:
        return ""
    return f", within {exploration.latency_ms:g} ms"


def _figures(exploration: Exploration) -> list[Figure]:
    made = []
    for board in exploration.boards:
        found = exploration.on(board.name)
        fitting = sum(c.fits for c in found)
        made.append(Figure(f"fit {board.name}", f"{fitting}", f"of {len(found)}"))
        largest = exploration.largest(board.name)
        if largest is not None:
            made.append(
                Figure(
                    f"largest on {board.name}",
                    f"{largest.need.macs / 1e6:,.1f} MMAC",
                    largest.member.label,
                )
            )
    return made


def _board_section(exploration: Exploration, board: Board) -> Section:
    found = exploration.on(board.name)
    values = {
        "picture": _picture(exploration, board),
        "families": [
            (name, position % _COLOURS + 1) for position, name in enumerate(exploration.families)
        ],
        "rows": [{"candidate": c, "front": exploration.on_front(c)} for c in found],
        "rated": any(c.accuracy is not None for c in found),
    }
    return Section(board.name, f"On {board.title}", "exploration.html.j2", values)


def _colour(exploration: Exploration, candidate: Candidate) -> int:
    name = candidate.member.name
    family = zoo.describe(name).family
    named = [f for f in exploration.families if f in (name, family)]
    return exploration.families.index(named[0]) % _COLOURS + 1


def _picture(exploration: Exploration, board: Board) -> Picture | None:
    """None where no member can be deployed at all."""
    able = [c for c in exploration.on(board.name) if c.need.deployable]
    if not able:
        return None
    limits = _limits(board)
    ram = [c.need.ram_bytes / 1024 for c in able]
    x = _Axis([*ram, *(limit for limit, _ in limits)], LEFT, WIDTH - RIGHT)
    y = _Axis([c.need.macs / 1e6 for c in able], HEIGHT - BOTTOM, TOP)
    points = [
        Point(
            x.at(c.need.ram_bytes / 1024), y.at(c.need.macs / 1e6), c.fits,
            _colour(exploration, c), _tip(c),
            c.member.label if c.fits and exploration.on_front(c) else "",
        )
        for c in able
    ]  # fmt: skip
    return Picture(
        board.name, WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, _with_labels(points), x.ticks(),
        y.ticks(), tuple(Tick(x.at(limit), text) for limit, text in limits),
    )  # fmt: skip


def _limits(board: Board) -> list[tuple[float, str]]:
    regions = board.regions("ram")
    sizes = [(regions[0].size, regions[0].name)]
    if len(regions) > 1:
        sizes.append((sum(region.size for region in regions), "all RAM"))
    return [(size / 1024, f"{name} {size / 1024:,.0f} KiB") for size, name in sizes]


def _with_labels(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points, with the names left that no other name covers; the most MACs are named first."""
    taken: list[tuple[float, float, float]] = []
    made = dict(enumerate(points))
    for position, point in sorted(made.items(), key=lambda item: item[1].y):
        if not point.label:
            continue
        width = len(point.label) * _LABEL_WIDTH
        anchor = "end" if point.x - width > LEFT else "start"
        start = point.x - width if anchor == "end" else point.x
        free = all(
            abs(point.y - other_y) > _LABEL_HEIGHT or start > right or start + width < left
            for left, right, other_y in taken
        )
        if free:
            taken.append((start, start + width, point.y))
        made[position] = replace(point, label=point.label if free else "", anchor=anchor)
    return tuple(made.values())


def _tip(candidate: Candidate) -> str:
    need = candidate.need
    words = [
        candidate.member.label,
        f"RAM {need.ram_bytes / 1024:,.1f} KiB, flash {need.flash_bytes / 1024:,.1f} KiB",
        f"{need.macs / 1e6:,.2f} MMAC, {need.parameters:,} parameters",
    ]
    if need.milliseconds is not None:
        words.append(f"about {need.milliseconds:,.1f} ms")
    if candidate.accuracy is not None:
        words.append(f"published ImageNet top-1 {candidate.accuracy:.1f} %")
    return "\n".join([*words, "fits" if candidate.fits else f"does not fit: {need.reason}"])


def search_page(found: Sequence[Found], board: Board, *, commands: Sequence[str] = ()) -> Page:
    """The report of `explore --search`: the networks that were found, the best first."""
    figures: tuple[Figure, ...] = ()
    if found:
        need = found[0].need
        figures = (
            Figure("MACs of the best", f"{need.macs:,}", f"{need.parameters:,} parameters"),
            Figure("its RAM", f"{need.ram_bytes / 1024:,.1f} KiB", need.peak),
            Figure("its flash", f"{need.flash_bytes / 1024:,.1f} KiB"),
        )
    values = {"found": found, "rated": any(one.accuracy is not None for one in found)}
    return Page(
        title=f"A network for {board.title}",
        subtitle=f"searched with seeded evolution on {board.mcu}, {board.core.name}",
        passed=bool(found),
        verdict=f"{len(found)} networks fit" if found else "nothing that fits was found",
        figures=figures,
        sections=(
            Section("found", "What was found", "found.html.j2", values),
            _commands((*commands, *_build_command(found))),
        ),
    )


def _build_command(found: Sequence[Found]) -> tuple[str, ...]:
    if not found:
        return ()
    words = "".join(
        f" --{name} {value}"
        for name, value in found[0].member.options.items()
        if name in ("code", "channels", "classes")
    )
    return (f"mcudeploy zoo build searched{words} -o searched.keras",)


def _commands(commands: Sequence[str]) -> Section:
    values = {"made_from": (), "commands": tuple(commands)}
    return Section("reproduce", "How to make it again", "reproduce.html.j2", values)
