# SPDX-License-Identifier: Apache-2.0
"""The geometry of the report's two drawings, as plain numbers that a template turns into SVG.

The memory plan: one picture per arena, time (operators in order of execution) to the right and
addresses upwards; a buffer is the rectangle of the steps that it lives and the bytes that it takes.

The network: operators in one column in order of execution. A value that the next operator reads is
a short line; one that is read later is an arc at the left. Arcs that pass each other get lanes of
their own, the first free one in order of their ends (interval colouring), so none is hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from mcudeploy.graph.ir import NO_TENSOR, Graph
from mcudeploy.memory.occupants import Occupant, occupants
from mcudeploy.memory.plan import Plan
from mcudeploy.report.terminal import shape_text

LEFT, RIGHT, TOP, BOTTOM = 84, 12, 26, 40
"""Margins of the memory plan around its plot, in pixels: axis labels stand in them."""
_PLOT_HEIGHT = 300
_PLOT_WIDTH = 860
_LABEL_WIDTH, _LABEL_HEIGHT = 6.6, 15.0
_TICKS_Y = 5

ROW = 34
"""Pixels from one operator of the network's drawing to the next."""
_BOX_WIDTH, _BOX_HEIGHT = 310, 24
_LANE = 11
_HEAD = 26
_BAR = 190
"""The longest bar beside an operator; its number stands behind it."""
_BAR_COLUMN = _BAR + 90


@dataclass(frozen=True)
class Rectangle:
    """A buffer. `kind` is that of an `Occupant`, as a name for CSS; `label` is the operator that
    writes it, where there is room; `tip` says all of it in words. Every other one is `alternate`,
    so that neighbours that share bytes are told apart."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    alternate: bool
    label: str
    tip: str


@dataclass(frozen=True)
class Tick:
    """A mark at an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class PlanPicture:
    """One arena over time. `peak` is the band (x, width) of the step with the most live bytes."""

    region: str
    bytes: int
    width: float
    height: float
    least_width: float
    rectangles: tuple[Rectangle, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    peak: tuple[float, float]
    peak_text: str


def plan_pictures(plan: Plan) -> tuple[PlanPicture, ...]:
    """A picture of each arena that is not empty."""
    return tuple(_picture(plan, name, size) for name, size in plan.arenas.items() if size)


def _picture(plan: Plan, region: str, size: int) -> PlanPicture:
    steps = max(len(plan.graph.operators), 1)
    cell = _PLOT_WIDTH / steps
    scale = _PLOT_HEIGHT / size

    def rectangle(one: Occupant) -> Rectangle:
        place, label = one.place, one.label
        width, height = (one.end - one.start) * cell, max(place.bytes * scale, 1.0)
        # Of two buffers that share bytes the later one covers half of the earlier one's width.
        shown = label if width / 2 >= len(label) * _LABEL_WIDTH and height >= _LABEL_HEIGHT else ""
        top = TOP + _PLOT_HEIGHT - (place.offset + place.bytes) * scale
        tip = (
            f"{one.name}\n{one.kind}, {place.bytes:,} bytes at {region} offset {place.offset:,}\n"
            f"{_lives(plan, one.start, one.end)}"
        )
        x, kind = LEFT + one.start * cell, one.kind.replace(" ", "-")
        return Rectangle(x, top, width, height, kind, one.start % 2 == 1, shown, tip)

    peak = plan.certificate.peak_step
    every = max(1, -(-steps // 24))
    return PlanPicture(
        region=region,
        bytes=size,
        width=LEFT + _PLOT_WIDTH + RIGHT,
        height=TOP + _PLOT_HEIGHT + BOTTOM,
        least_width=max(760.0, steps * 6.0),
        # Large ones first: where a rule lets two buffers share bytes, the small one stays visible.
        rectangles=tuple(
            sorted(
                (rectangle(one) for one in occupants(plan) if one.place.region == region),
                key=lambda r: -r.width * r.height,
            )
        ),
        x_ticks=tuple(Tick(LEFT + (i + 0.5) * cell, str(i)) for i in range(0, steps, every)),
        y_ticks=tuple(
            Tick(TOP + _PLOT_HEIGHT - value * scale, f"{value:,}") for value in _round_steps(size)
        ),
        peak=(LEFT + peak * cell, cell),
        peak_text=f"peak: #{peak}",
    )


def _lives(plan: Plan, start: int, end: int) -> str:
    operators = plan.graph.operators
    if not operators:
        return ""
    first = f"#{start} {operators[start].kind}"
    if end == start + 1:
        return f"during {first}"
    return f"from {first} to #{end - 1} {operators[end - 1].kind}"


def _round_steps(size: int) -> list[int]:
    """About five round values from 0 up to `size`, powers of two times 1."""
    step = 1
    while size / step > _TICKS_Y:
        step *= 2
    return list(range(0, size + 1, step))


@dataclass(frozen=True)
class Node:
    """An operator, or an input or output of the network, at row `row`."""

    index: int | None
    row: int
    y: float
    kind: str
    shape: str
    tip: str
    bars: tuple[Bar, ...] = ()


@dataclass(frozen=True)
class Bar:
    """A figure of an operator, as a bar beside its box."""

    x: float
    width: float
    text: str


@dataclass(frozen=True)
class Arc:
    """A value from one row to another; `x` is the lane of an arc, None for a straight line."""

    start: float
    end: float
    x: float | None
    tip: str


@dataclass(frozen=True)
class NetworkPicture:
    """The network from top to bottom; boxes begin at `box_x`. `columns` are the bars' headings."""

    width: float
    height: float
    box_x: float
    box_width: float
    box_height: float
    nodes: tuple[Node, ...]
    arcs: tuple[Arc, ...]
    columns: tuple[Tick, ...]


def network_picture(
    graph: Graph, figures: Mapping[str, Sequence[float]] = MappingProxyType({})
) -> NetworkPicture:
    """The drawing of a graph in its order of execution; `figures` has a value per operator for
    each column of bars."""
    nodes = _nodes(graph)
    edges = _edges(graph, nodes)
    lanes = _lanes([(a, b) for a, b, _ in edges if b > a + 1])
    left = 14.0 + _LANE * (max(lanes.values(), default=-1) + 1)
    arcs = []
    for start, end, tensor in edges:
        lane = lanes.get((start, end))
        x = None if lane is None else left - 8 - _LANE * (lane + 0.5)
        leaves, enters = (float(_BOX_HEIGHT), 0.0) if x is None else (_BOX_HEIGHT / 2,) * 2
        text = str(graph.tensors[tensor])
        arcs.append(Arc(nodes[start].y + leaves, nodes[end].y + enters, x, text))
    starts = [left + _BOX_WIDTH + 22 + _BAR_COLUMN * i for i in range(len(figures))]
    for at, values in zip(starts, figures.values(), strict=True):
        nodes = [_with_bar(node, at, values) for node in nodes]
    return NetworkPicture(
        width=left + _BOX_WIDTH + 22 + _BAR_COLUMN * len(figures),
        height=nodes[-1].y + _BOX_HEIGHT + 6,
        box_x=left,
        box_width=_BOX_WIDTH,
        box_height=_BOX_HEIGHT,
        nodes=tuple(nodes),
        arcs=tuple(arcs),
        columns=tuple(Tick(x, name) for x, name in zip(starts, figures, strict=True)),
    )


def _with_bar(node: Node, x: float, values: Sequence[float]) -> Node:
    if node.index is None:
        return node
    value = values[node.index]
    width = _BAR * value / (max(values) or 1)
    return replace(node, bars=(*node.bars, Bar(x, width, f"{value:,.0f}" if value else "")))


def _nodes(graph: Graph) -> list[Node]:
    nodes: list[Node] = []

    def add(index: int | None, kind: str, tensor: int, tip: str) -> None:
        row = len(nodes)
        shape = shape_text(graph.tensors[tensor].shape)
        nodes.append(Node(index, row, _HEAD + row * ROW, kind, shape, tip))

    for tensor in graph.inputs:
        add(None, "input", tensor, str(graph.tensors[tensor]))
    for position, operator in enumerate(graph.operators):
        reads = [str(graph.tensors[i]) for i in operator.inputs if _flows(graph, i)]
        writes = [str(graph.tensors[i]) for i in operator.outputs]
        tip = f"#{position} {operator.kind}\nreads {', '.join(reads)}\nwrites {', '.join(writes)}"
        add(position, operator.kind, operator.outputs[0], tip)
    for tensor in graph.outputs:
        add(None, "output", tensor, str(graph.tensors[tensor]))
    return nodes


def _flows(graph: Graph, tensor: int) -> bool:
    return tensor != NO_TENSOR and not graph.tensors[tensor].is_constant


def _edges(graph: Graph, nodes: list[Node]) -> list[tuple[int, int, int]]:
    """(row of the writer, row of the reader, tensor), each pair of rows once."""
    source: dict[int, int] = {tensor: row for row, tensor in enumerate(graph.inputs)}
    first = len(graph.inputs)
    edges: dict[tuple[int, int], int] = {}
    for position, operator in enumerate(graph.operators):
        for tensor in operator.inputs:
            if tensor in source and _flows(graph, tensor):
                edges.setdefault((source[tensor], first + position), tensor)
        source.update(dict.fromkeys(operator.outputs, first + position))
    for number, tensor in enumerate(graph.outputs):
        if tensor in source:
            edges.setdefault((source[tensor], len(nodes) - len(graph.outputs) + number), tensor)
    return [(start, end, tensor) for (start, end), tensor in sorted(edges.items())]


def _lanes(spans: list[tuple[int, int]]) -> Mapping[tuple[int, int], int]:
    """A lane for each span of rows, so that spans in one lane do not overlap; short ones inside."""
    lanes: list[list[tuple[int, int]]] = []
    chosen: dict[tuple[int, int], int] = {}
    for span in sorted(spans, key=lambda s: (s[1] - s[0], s)):
        for number, lane in enumerate(lanes):
            if all(span[1] <= start or end <= span[0] for start, end in lane):
                lane.append(span)
                chosen[span] = number
                break
        else:
            lanes.append([span])
            chosen[span] = len(lanes) - 1
    return chosen
