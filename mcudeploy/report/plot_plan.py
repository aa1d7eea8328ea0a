# SPDX-License-Identifier: Apache-2.0
"""A picture of a memory plan: time to the right, addresses upwards, a rectangle a buffer.

Time is the order of execution, one column an operator. Each memory region in use is a band with its
own scale of addresses, the first region at the bottom. Where an output lies over an input, the
shared bytes are hatched in the column of that operator. The dashed line is the peak, the dotted one
the proven lower bound, and the column of the peak is shaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcudeploy.errors import InputError
from mcudeploy.graph.ir import Graph
from mcudeploy.memory.lifetimes import lifespans
from mcudeploy.memory.plan import Placement, Plan

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg", ".pdf")
_COLOURS = {
    "input": "#3b7dd8",
    "activation": "#8fb8de",
    "output": "#2f9e6e",
    "scratch": "#e8a33d",
    "state": "#9a6fb0",
}
_NAMED_STEPS = 40
"""Up to so many operators have their names on the axis."""


@dataclass(frozen=True)
class _Bar:
    kind: str
    name: str
    start: int
    end: int
    place: Placement
    tensor: int = -1


def plot_plan(plan: Plan, path: Path) -> None:
    """Draw a plan into a PNG, SVG or PDF file, as the file's ending says.

    Raises InputError for another ending or a place that cannot be written.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(
            f"a picture cannot be written as {path.suffix or 'a file without ending'}",
            where=str(path),
            mend=f"end the file's name with one of {', '.join(FORMATS)}",
        )
    import matplotlib

    # The same plan gives the same bytes: no dates, and element names from a fixed salt.
    with matplotlib.rc_context({"svg.hashsalt": "mcudeploy", "svg.fonttype": "none"}):
        figure = _figure(plan)
        metadata: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(
            path.suffix.lower(), {}
        )
        try:
            figure.savefig(path, dpi=150, metadata=metadata)
        except OSError as error:
            raise InputError(
                f"cannot write the picture: {error.strerror}", where=str(path)
            ) from None


def _figure(plan: Plan) -> Any:
    from matplotlib.figure import Figure

    steps = max(len(plan.graph.operators), 1)
    regions = [r for r in plan.arenas if plan.arenas[r]] or list(plan.arenas)
    heights = [max(plan.arenas[r] ** 0.5, 1.0) for r in regions]
    figure = Figure(figsize=(_width(steps), 3.2 + 2.8 * len(regions)), layout="constrained")
    # The first region is drawn last, at the bottom.
    axes = figure.subplots(
        len(regions), 1, sharex=True, squeeze=False, height_ratios=heights[::-1] or [1.0]
    )[:, 0]
    bars = _bars(plan)
    for region, axis in zip(reversed(regions), axes, strict=True):
        _draw_region(plan, region, [b for b in bars if b.place.region == region], axis)
    _draw_time(plan.graph, axes[-1], steps)
    _draw_legend(figure, {bar.kind for bar in bars})
    gap = plan.certificate.gap_bytes
    proof = "proven least" if gap == 0 else f"at most {gap:,} bytes above the least"
    figure.suptitle(
        f"{plan.graph.name} on {plan.board.title}: {plan.certificate.peak_bytes:,} bytes, {proof}"
    )
    return figure


def _width(steps: int) -> float:
    """Inches."""
    return min(22.0, max(8.0, 2.5 + 0.32 * steps))


def _bars(plan: Plan) -> list[_Bar]:
    graph, spans = plan.graph, lifespans(plan.graph)
    bars = []
    for index, place in {**plan.tensors, **plan.state}.items():
        kind = "activation"
        if index in plan.state:
            kind = "state"
        elif index in graph.outputs:
            kind = "output"
        elif index in graph.inputs:
            kind = "input"
        bars.append(_Bar(kind, graph.tensors[index].name, *spans[index], place, index))
    for step, place in plan.scratch.items():
        bars.append(_Bar("scratch", "scratch", step, step + 1, place))
    return bars


def _draw_region(plan: Plan, region: str, bars: list[_Bar], axis: Axes) -> None:
    from matplotlib.patches import Rectangle

    kib = 1024
    arena = max(plan.arenas[region], 1)
    steps = max(len(plan.graph.operators), 1)
    line = 0.6 if steps <= _NAMED_STEPS else 0.3
    peak = plan.certificate.peak_step
    axis.axvspan(peak, peak + 1, color="#d64545", alpha=0.15, linewidth=0, zorder=4)
    for bar in bars:
        axis.add_patch(
            Rectangle(
                (bar.start, bar.place.offset / kib), bar.end - bar.start, bar.place.bytes / kib,
                facecolor=_COLOURS[bar.kind], edgecolor="#27364a", linewidth=line, alpha=0.75,
            )
        )  # fmt: skip
    hatched: dict[int, set[int]] = {}
    for step in range(len(plan.graph.operators)):
        for shared in plan.sharing(step):
            hatched.setdefault(shared.input, set()).add(step)
            hatched.setdefault(shared.output, set()).add(step)
            place = plan.place(shared.output)
            if place is not None and place.region == region:
                low = place.offset - min(shared.distance, 0)
                axis.add_patch(
                    Rectangle(
                        (step, low / kib), 1, shared.bytes / kib,
                        fill=False, hatch="////", edgecolor="#7a1f1f", linewidth=0,
                    )
                )  # fmt: skip
    room = 13 * (_width(steps) - 1) / steps, 6 * 2.8 / (1.15 * arena)
    for bar in bars:
        _label(axis, bar, hatched.get(bar.tensor, set()), room)
    _draw_limits(plan, region, arena, axis)
    axis.set_xlim(0, steps)
    axis.set_ylim(0, axis.get_ylim()[1])
    axis.set_ylabel(f"{region}: address in KiB")
    axis.spines[["top", "right"]].set_visible(False)


def _draw_limits(plan: Plan, region: str, arena: int, axis: Axes) -> None:
    kib = 1024
    top = max(
        (p.offset + p.bytes for p in [*plan.tensors.values(), *plan.scratch.values(),
                                      *plan.state.values()] if p.region == region),
        default=0,
    )  # fmt: skip
    axis.axhline(top / kib, color="#d64545", linestyle="--", linewidth=1.2)
    notes = [(top, f"peak {top:,} B", "#d64545")]
    ceiling = 1.12 * arena
    if len(plan.arenas) == 1:
        bound = plan.certificate.lower_bound_bytes
        axis.axhline(bound / kib, color="#222222", linestyle=":", linewidth=1.2)
        if bound == top:
            notes = [(top, f"peak = bound {top:,} B", "#d64545")]
        else:
            notes.append((bound, f"bound {bound:,} B", "#222222"))
    size = plan.board.region(region).size
    if size <= 1.6 * arena:
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


def _label(axis: Axes, bar: _Bar, hatched: set[int], room: tuple[float, float]) -> None:
    """The tensor's last name and its size, upright where the rectangle is narrow, if they fit.

    `room` is how many characters a step is wide, and how many lines a byte is high.
    """
    start, end = bar.start, bar.end
    while start < end - 1 and start in hatched:
        start += 1
    while end > start + 1 and end - 1 in hatched:
        end -= 1
    name, size = bar.name.rsplit("/", 1)[-1][:18], f"{bar.place.bytes:,} B"
    across, lines = (end - start) * room[0], bar.place.bytes * room[1]
    flat, upright = 0, 90
    fitting = [
        (text, angle)
        for text, wide, high, angle in (
            (f"{name}\n{size}", max(len(name), len(size)), 2.4, flat),
            (size, len(size), 1.3, flat),
            (f"{name} {size}", 1.6, 0.5 * len(name + size), upright),
            (size, 1.6, 0.5 * len(size), upright),
        )
        if across >= wide and lines >= high
    ]
    if not fitting:
        return
    text, rotation = fitting[0]
    axis.text(
        (start + end) / 2, (bar.place.offset + bar.place.bytes / 2) / 1024, text,
        ha="center", va="center", fontsize=7, clip_on=True, parse_math=False, rotation=rotation,
        zorder=5,
    )  # fmt: skip


def _draw_time(graph: Graph, axis: Axes, steps: int) -> None:
    axis.set_xlabel("operators in order of execution")
    if steps <= _NAMED_STEPS:
        axis.set_xticks(
            [s + 0.5 for s in range(len(graph.operators))],
            [f"{s} {o.kind}" for s, o in enumerate(graph.operators)],
            rotation=60, ha="right", rotation_mode="anchor", fontsize=7,
        )  # fmt: skip
    else:
        shown = range(0, len(graph.operators), -(-steps // 30))
        axis.set_xticks([s + 0.5 for s in shown], [str(s) for s in shown], fontsize=7)


def _draw_legend(figure: Any, kinds: set[str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(facecolor=c, label=k, alpha=0.75) for k, c in _COLOURS.items() if k in kinds]
    handles.append(Patch(fill=False, hatch="////", edgecolor="#7a1f1f", label="output over input"))
    handles.append(Patch(color="#d64545", alpha=0.15, label="step of the peak"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8,
                  frameon=False)  # fmt: skip
