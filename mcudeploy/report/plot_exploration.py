# SPDX-License-Identifier: Apache-2.0
"""A picture of an exploration: MACs (or published accuracy) against RAM, a panel a board.

What fits is filled, what does not is an outline. Dashed lines are the board's first RAM region and
all of its RAM. Members on the Pareto front are named, beside their point where nothing is yet: a
name takes the first of the places around its point that lies within the axes and over no other
name, point or limit, and one without such a place is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mcudeploy import zoo
from mcudeploy.board import Board
from mcudeploy.errors import InputError
from mcudeploy.explore import Candidate, Exploration
from mcudeploy.report.picture import save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

Axis = Literal["macs", "accuracy"]
_MOST_NAMES = 8
"""Of those that fit, and of those that do not."""
_PLACES = (
    (-6, 5, "right", "bottom"), (6, -5, "left", "top"), (-6, -5, "right", "top"),
    (6, 5, "left", "bottom"), (-9, 15, "right", "bottom"), (9, -15, "left", "top"),
    (-9, -15, "right", "top"), (9, 15, "left", "bottom"), (-18, 24, "right", "bottom"),
    (18, -24, "left", "top"), (18, -48, "left", "top"),
)  # fmt: skip
"""Of a name around its point, the best first: x and y in points, the text's alignment."""


def plot_exploration(exploration: Exploration, path: Path, *, axis: Axis = "macs") -> None:
    """Draw into a PNG, SVG or PDF file, as the file's ending says.

    Raises InputError for another ending, a place that cannot be written, or no accuracies.
    """
    if axis == "accuracy" and not any(_drawn(exploration, b, axis) for b in exploration.boards):
        raise InputError(
            "the papers give no accuracy of these members", where=", ".join(exploration.families),
            mend="draw their MACs: --plot-axis macs",
        )  # fmt: skip
    save_picture(path, lambda: draw_exploration(exploration, axis=axis))


def draw_exploration(exploration: Exploration, *, axis: Axis = "macs") -> Figure:
    """The picture, a panel a board."""
    from matplotlib.figure import Figure

    count = len(exploration.boards)
    figure = Figure(figsize=(9, 5.5 * count), layout="constrained")
    panels = figure.subplots(count, 1, squeeze=False)[:, 0]
    for board, axes in zip(exploration.boards, panels, strict=True):
        _draw(exploration, board, axes, axis)
    figure.draw_without_rendering()
    for board, axes in zip(exploration.boards, panels, strict=True):
        _name(axes, exploration, board, axis)
    return figure


def _draw(exploration: Exploration, board: Board, axes: Axes, axis: Axis) -> None:
    found = _drawn(exploration, board, axis)
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
    axes.legend(fontsize=7, loc="lower right", title="filled: fits RAM and flash", title_fontsize=7)


def _drawn(exploration: Exploration, board: Board, axis: Axis) -> list[Candidate]:
    return [
        c for c in exploration.on(board.name)
        if c.need.deployable and (axis == "macs" or c.accuracy is not None)
    ]  # fmt: skip


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
    for side, away, (size, name) in zip(("right", "left"), (-1, 2), limits.items(), strict=False):
        axes.axvline(size / 1024, color="#c0392b", linestyle="--", linewidth=1)
        axes.annotate(
            f"{name} {size // 1024} KiB", (size / 1024, 0.01), xycoords=("data", "axes fraction"),
            xytext=(away, 0), textcoords="offset points", rotation=90, fontsize=7, va="bottom",
            ha=side, color="#c0392b",
        )  # fmt: skip


def _name(axes: Axes, exploration: Exploration, board: Board, axis: Axis) -> None:
    """Names beside the points of the front, thinned evenly where there are many."""
    found = _drawn(exploration, board, axis)
    labels = _labels(found)
    front = [c for c in found if exploration.on_front(c)]
    chosen = []
    for fits in (True, False):
        ranked = sorted((c for c in front if c.fits is fits), key=lambda c: -c.need.ram_bytes)
        chosen += ranked[:: -(-len(ranked) // _MOST_NAMES) or 1]
    taken = _taken(axes, [(c.need.ram_bytes / 1024, _value(c, axis)) for c in found])
    for candidate in chosen:
        point = candidate.need.ram_bytes / 1024, _value(candidate, axis)
        _name_one(axes, labels[candidate.member.label], point, taken)


def _labels(found: Sequence[Candidate]) -> dict[str, str]:
    """What each is called; the options alone where all are of one architecture."""
    of_one = len({c.member.name for c in found}) == 1
    whole = [(c.member.label, c.member.name) for c in found]
    return {
        label: label.removeprefix(name).strip() if of_one and label != name else label
        for label, name in whole
    }


def _taken(axes: Axes, points: Sequence[tuple[float, float]]) -> list[Bbox]:
    """Where no name may lie, in pixels: points, the limits with their names, the legend."""
    from matplotlib.transforms import Bbox

    radius = 5.0
    places = [axes.transData.transform(point) for point in points]
    taken = [Bbox.from_extents(x - radius, y - radius, x + radius, y + radius) for x, y in places]
    taken += [artist.get_window_extent().padded(2) for artist in (*axes.lines, *axes.texts)]
    legend = axes.get_legend()
    return taken if legend is None else [*taken, legend.get_window_extent()]


def _name_one(axes: Axes, label: str, point: tuple[float, float], taken: list[Bbox]) -> None:
    for x, y, across, up in _PLACES:
        text = axes.annotate(
            label, point, xytext=(x, y), textcoords="offset points", fontsize=6.5, ha=across,
            va=up, zorder=4,
        )  # fmt: skip
        box = text.get_window_extent()
        inside = axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1)
        if inside and not any(box.overlaps(other) for other in taken):
            taken.append(box)
            line = {"arrowstyle": "-", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2}
            axes.annotate(
                "", point, xytext=(x, y), textcoords="offset points", arrowprops=line
            )  # fmt: skip
            return
        text.remove()
