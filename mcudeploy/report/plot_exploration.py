# SPDX-License-Identifier: Apache-2.0
"""A picture of an exploration: MACs (or published accuracy) against RAM, a panel a board.

What fits is filled, what does not is an outline. Dashed lines are the board's first RAM region and
all of its RAM. Members on the Pareto front are named.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mcudeploy import zoo
from mcudeploy.board import Board
from mcudeploy.errors import InputError
from mcudeploy.explore import Candidate, Exploration
from mcudeploy.report.plot_plan import FORMATS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Axis = Literal["macs", "accuracy"]
_MOST_NAMES = 8
"""Of those that fit, and of those that do not."""


def plot_exploration(exploration: Exploration, path: Path, *, axis: Axis = "macs") -> None:
    """Draw into a PNG, SVG or PDF file, as the file's ending says.

    Raises InputError for another ending, a place that cannot be written, or no accuracies.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(
            f"a picture cannot be written as {path.suffix or 'a file without ending'}",
            where=str(path), mend=f"end the file's name with one of {', '.join(FORMATS)}",
        )  # fmt: skip
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "mcudeploy", "svg.fonttype": "none"}):
        from matplotlib.figure import Figure

        count = len(exploration.boards)
        figure = Figure(figsize=(9, 5.5 * count), layout="constrained")
        panels = figure.subplots(count, 1, squeeze=False)[:, 0]
        for board, axes in zip(exploration.boards, panels, strict=True):
            _draw(exploration, board, axes, axis)
        try:
            figure.savefig(path, dpi=150)
        except OSError as error:
            raise InputError(
                f"cannot write the picture: {error.strerror}", where=str(path)
            ) from None


def _draw(exploration: Exploration, board: Board, axes: Axes, axis: Axis) -> None:
    found = [
        c for c in exploration.on(board.name)
        if c.need.deployable and (axis == "macs" or c.accuracy is not None)
    ]  # fmt: skip
    axes.set_xlabel("RAM, KiB (activations, scratch, state, stack, runtime)")
    axes.set_ylabel("MACs, million" if axis == "macs" else "published ImageNet top-1, %")
    axes.set_title(f"{', '.join(exploration.families)} on {board.title}", fontsize=10)
    axes.set_xscale("log")
    if axis == "macs":
        axes.set_yscale("log")
    _plain_ticks(axes, axis)
    axes.margins(x=0.12)
    axes.grid(True, which="both", linewidth=0.3, alpha=0.5)
    for position, family in enumerate(exploration.families):
        own = [c for c in found if family in (c.member.name, _family(c))]
        _scatter(axes, own, family, f"C{position % 10}", axis)
    _limits(axes, board)
    named = [c for c in found if exploration.on_front(c)]
    _name(axes, named, axis)
    axes.legend(fontsize=7, loc="lower right", title="filled: fits RAM and flash", title_fontsize=7)


def _plain_ticks(axes: Axes, axis: Axis) -> None:
    """20, 50, 100 instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for one in (axes.xaxis, axes.yaxis) if axis == "macs" else (axes.xaxis,):
        one.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        one.set_minor_formatter(NullFormatter())


def _family(candidate: Candidate) -> str:
    return zoo.describe(candidate.member.name).family


def _value(candidate: Candidate, axis: Axis) -> float:
    return candidate.need.macs / 1e6 if axis == "macs" else candidate.accuracy or 0.0


def _scatter(axes: Axes, found: list[Candidate], family: str, colour: str, axis: Axis) -> None:
    for fits in (True, False):
        chosen = [c for c in found if c.fits is fits]
        axes.scatter(
            [c.need.ram_bytes / 1024 for c in chosen],
            [_value(c, axis) for c in chosen],
            s=26, linewidths=0.9, edgecolors=colour, facecolors=colour if fits else "none",
            label=family if fits else None, zorder=3,
        )  # fmt: skip


def _limits(axes: Axes, board: Board) -> None:
    regions = board.regions("ram")
    limits = {regions[0].size: regions[0].name}
    if len(regions) > 1:
        limits[sum(r.size for r in regions)] = "all RAM"
    for side, (size, name) in zip(("right", "left"), limits.items(), strict=False):
        axes.axvline(size / 1024, color="#c0392b", linestyle="--", linewidth=1)
        axes.annotate(
            f"{name} {size // 1024} KiB", (size / 1024, 0.99), xycoords=("data", "axes fraction"),
            rotation=90, fontsize=7, va="top", ha=side, color="#c0392b",
        )  # fmt: skip


def _name(axes: Axes, front: list[Candidate], axis: Axis) -> None:
    """Names beside the points of the front, thinned evenly where there are many."""
    chosen = []
    for fits in (True, False):
        ranked = sorted((c for c in front if c.fits is fits), key=lambda c: -c.need.ram_bytes)
        chosen += ranked[:: -(-len(ranked) // _MOST_NAMES) or 1]
    for candidate in chosen:
        axes.annotate(
            candidate.member.label, (candidate.need.ram_bytes / 1024, _value(candidate, axis)),
            xytext=(-5, 5), textcoords="offset points", fontsize=6.5, ha="right", zorder=4,
        )  # fmt: skip
