# SPDX-License-Identifier: Apache-2.0
"""A picture of a memory plan: time to the right, addresses upwards, a rectangle a buffer.

Time is the order of execution, one column an operator. Each memory region in use is a band with its
own scale of addresses, the first region at the bottom. Where two buffers lie over each other, as
an output over its input, the shared bytes are hatched. Operators that take turns row by row have a
grey bar above them; their buffers stand in the columns of the operators in whose turns they hold
something. The dashed line is the peak, the dotted one the proven lower bound, and the column of the
peak is shaded.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcudeploy.graph.ir import Graph
from mcudeploy.memory.occupants import KINDS, Occupant, occupants, shared
from mcudeploy.memory.plan import Plan
from mcudeploy.report.picture import save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = dict(
    zip(
        KINDS,
        ("#3b7dd8", "#8fb8de", "#7fc8bd", "#2f9e6e", "#e8a33d", "#d6d04e", "#d98a94", "#9a6fb0"),
        strict=True,
    )
)
_SEGMENT = "#6b7785"
_MANY_STEPS = 3
_CHARACTER, _LINE = 4.4, 9.0
"""Points that a character of a label is wide, and a line of it high."""
_NAMED_STEPS = 40
"""Up to so many operators have their names on the axis."""


def plot_plan(plan: Plan, path: Path) -> None:
    """Draw a plan into a PNG, SVG or PDF file, as the file's ending says.

    Raises InputError for another ending or a place that cannot be written.
    """
    save_picture(path, lambda: _figure(plan))


def _figure(plan: Plan) -> Figure:
    from matplotlib.figure import Figure

    steps = max(len(plan.graph.operators), 1)
    regions = [r for r in plan.arenas if plan.arenas[r]] or list(plan.arenas)
    heights = [max(plan.arenas[r] ** 0.5, 1.0) for r in regions]
    size = _width(steps), 3.4 + 2.8 * len(regions)
    figure = Figure(figsize=size, layout="constrained")
    # The first region is drawn last, at the bottom.
    axes = figure.subplots(
        len(regions), 1, sharex=True, squeeze=False, height_ratios=heights[::-1] or [1.0]
    )[:, 0]
    found = occupants(plan)
    drawn = []
    for region, axis in zip(reversed(regions), axes, strict=True):
        inside = [one for one in found if one.place.region == region]
        drawn.append((axis, inside, _draw_region(plan, region, inside, axis)))
    _draw_time(plan.graph, axes[-1], steps)
    _draw_legend(figure, {one.kind for one in found}, streamed=bool(plan.streams))
    gap = plan.certificate.gap_bytes
    proof = "proven least" if gap == 0 else f"at most {gap:,} bytes above the least"
    figure.suptitle(
        f"{textwrap.shorten(plan.graph.name, 60)} on {plan.board.title}\n"
        f"{plan.certificate.peak_bytes:,} bytes, {proof}",
        fontsize=11,
    )
    # What fits into a rectangle is known once all is laid out.
    figure.draw_without_rendering()
    for axis, inside, hatched in drawn:
        for one in inside:
            _label(axis, one, hatched.get(one, set()))
    return figure


def _width(steps: int) -> float:
    """Inches."""
    return min(22.0, max(8.0, 2.5 + 0.32 * steps))


def _draw_region(
    plan: Plan, region: str, found: Sequence[Occupant], axis: Axes
) -> dict[Occupant, set[int]]:
    """One region's band; the steps in which its occupants are hatched."""
    from matplotlib.patches import Rectangle

    kib = 1024
    steps = max(len(plan.graph.operators), 1)
    line = 0.6 if steps <= _NAMED_STEPS else 0.3
    peak = plan.certificate.peak_step
    axis.axvspan(peak, peak + 1, color="#d64545", alpha=0.15, linewidth=0, zorder=4)
    # Large ones first, so that a small one that lies over them stays visible.
    for one in sorted(found, key=lambda o: -(o.end - o.start) * o.place.bytes):
        axis.add_patch(
            Rectangle(
                (one.start, one.place.offset / kib), one.end - one.start, one.place.bytes / kib,
                facecolor=_COLOURS[one.kind], edgecolor="#27364a", linewidth=line, alpha=0.75,
            )
        )  # fmt: skip
    hatched: dict[Occupant, set[int]] = {}
    for one, other in shared(found):
        start, end, low, high = one.shares_with(other) or (0, 0, 0, 0)
        for member in (one, other):
            hatched.setdefault(member, set()).update(range(start, end))
        axis.add_patch(
            Rectangle(
                (start, low / kib), end - start, (high - low) / kib,
                fill=False, hatch="////", edgecolor="#7a1f1f", linewidth=0,
            )
        )  # fmt: skip
    _draw_limits(
        plan, region, max((o.place.offset + o.place.bytes for o in found), default=0), axis
    )
    for stream in plan.streams:
        _draw_segment(stream.segment.first, stream.segment.end, axis)
    axis.set_xlim(0, steps)
    axis.set_ylim(0, axis.get_ylim()[1])
    axis.set_ylabel(f"{region}: address in KiB")
    axis.spines[["top", "right"]].set_visible(False)
    return hatched


def _draw_segment(first: int, end: int, axis: Axes) -> None:
    """A bar above the operators that run row by row."""
    from matplotlib.patches import Rectangle

    axis.add_patch(
        Rectangle(
            (first, 1.0), end - first, 0.025, transform=axis.get_xaxis_transform(),
            facecolor=_SEGMENT, edgecolor="white", linewidth=0.8, clip_on=False,
        )
    )  # fmt: skip


def _draw_limits(plan: Plan, region: str, top: int, axis: Axes) -> None:
    """The lines of peak, bound and the region's end; `top` is the end of the highest buffer."""
    kib = 1024
    axis.axhline(top / kib, color="#d64545", linestyle="--", linewidth=1.2)
    notes = [(top, f"peak {top:,} B", "#d64545")]
    ceiling = 1.12 * max(plan.arenas[region], 1)
    if len(plan.arenas) == 1:
        peak, bound = plan.certificate.peak_bytes, plan.certificate.lower_bound_bytes
        # The highest buffer ends there but for what aligns the state.
        notes = [(top, f"peak {peak:,} B", "#d64545")]
        if bound == peak:
            notes = [(top, f"peak = bound {peak:,} B", "#d64545")]
        else:
            axis.axhline(bound / kib, color="#222222", linestyle=":", linewidth=1.2)
            notes.append((bound, f"bound {bound:,} B", "#222222"))
        if 0 < peak - bound < ceiling / 20:
            notes = [(top, f"peak {peak:,} B, bound {bound:,} B", "#d64545")]
    size = plan.board.region(region).size
    if size <= 1.6 * plan.arenas[region]:
        axis.axhspan(size / kib, max(ceiling, 1.12 * size) / kib, color="#555555", alpha=0.25)
        notes.append((size, f"end of {region}, {size // kib} KiB", "#222222"))
        ceiling = max(ceiling, 1.12 * size)
    axis.set_ylim(0, ceiling / kib)
    for value, text, colour in notes:
        below = value != max(v for v, _, _ in notes)
        axis.annotate(
            text, (1, value / kib), xycoords=("axes fraction", "data"), xytext=(-3, 2 - 12 * below),
            textcoords="offset points", ha="right", fontsize=8, color=colour,
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.8},
        )  # fmt: skip


def _label(axis: Axes, one: Occupant, hatched: set[int]) -> None:
    """What it is and its size, upright where the rectangle is narrow, if they fit."""
    start, end = _longest_run(one, hatched)
    name, size = one.label, f"{one.place.bytes:,} B"
    box = axis.get_window_extent()
    points = 72 / axis.get_figure(root=True).dpi  # type: ignore[union-attr]
    across = (end - start) / (axis.get_xlim()[1] or 1) * box.width * points / _CHARACTER
    lines = one.place.bytes / 1024 / axis.get_ylim()[1] * box.height * points / _LINE
    flat, upright = 0, 90
    fitting = [
        (text, angle)
        for text, wide, high, angle in (
            (f"{name}\n{size}", max(len(name), len(size)), 2.2, flat),
            (f"{name}: {size}", len(name + size) + 2, 1.1, flat),
            (name, len(name), 1.1, flat),
            (f"{name}: {size}", 2.2, (len(name + size) + 2) * _CHARACTER / _LINE, upright),
            (name, 2.2, len(name) * _CHARACTER / _LINE, upright),
        )
        if across >= wide and lines >= high
    ]
    if not fitting:
        return
    text, rotation = fitting[0]
    ground = {"facecolor": "white", "alpha": 0.6, "linewidth": 0, "pad": 0.6}
    axis.text(
        (start + end) / 2, (one.place.offset + one.place.bytes / 2) / 1024, text,
        ha="center", va="center", fontsize=7, clip_on=True, parse_math=False, rotation=rotation,
        bbox=ground, zorder=5, in_layout=False,
    )  # fmt: skip


def _longest_run(one: Occupant, hatched: set[int]) -> tuple[int, int]:
    """Its most consecutive steps that are not hatched, the later of two as long.

    Of what is hatched throughout the first step, that of its own operator, or all if they are many.
    """
    best, start = (one.start, one.start), one.start
    for step in range(one.start, one.end + 1):
        if step in hatched or step == one.end:
            if step > start and step - start >= best[1] - best[0]:
                best = start, step
            start = step + 1
    if best[0] == best[1]:
        best = one.start, one.end if one.end - one.start > _MANY_STEPS else one.start + 1
    return best


def _draw_time(graph: Graph, axis: Axes, steps: int) -> None:
    axis.set_xlabel("operators in order of execution")
    if steps <= _NAMED_STEPS:
        axis.set_xticks(
            [s + 0.5 for s in range(len(graph.operators))],
            [f"#{s} {o.kind}" for s, o in enumerate(graph.operators)],
            rotation=60, ha="right", rotation_mode="anchor", fontsize=7,
        )  # fmt: skip
    else:
        shown = range(0, len(graph.operators), -(-steps // 30))
        axis.set_xticks([s + 0.5 for s in shown], [f"#{s}" for s in shown], fontsize=7)


def _draw_legend(figure: Any, kinds: set[str], *, streamed: bool) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=c, label=k, alpha=0.75) for k, c in _COLOURS.items() if k in kinds]
    handles.append(Patch(fill=False, hatch="////", edgecolor="#7a1f1f", label="shared bytes"))
    handles.append(Patch(color="#d64545", alpha=0.15, label="step of the peak"))
    if streamed:
        handles.append(Patch(color=_SEGMENT, label="row by row"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 6),
                  fontsize=8, frameon=False)  # fmt: skip
