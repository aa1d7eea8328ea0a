# SPDX-License-Identifier: Apache-2.0
"""The plan of a network on a board: which kernels, in which order, and every buffer's address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcudeploy.board import Board
from mcudeploy.errors import PlanError
from mcudeploy.graph.ir import Graph
from mcudeploy.memory.bounds import best_overlap
from mcudeploy.memory.geometry import align_up
from mcudeploy.memory.lifetimes import (
    Layout,
    Span,
    lifespans,
    make_layout,
    overlap_rules,
    usable,
    views_of,
)
from mcudeploy.memory.packing import pack
from mcudeploy.memory.plan import Certificate, Placement, Plan
from mcudeploy.memory.problem import Packing
from mcudeploy.operators.base import Implementation


@dataclass(frozen=True)
class PlanOptions:
    """How to plan. `reserve_bytes` of the first region are left to stack and runtime."""

    reserve_bytes: int = 0
    use_external: bool = False
    overlap: bool = True
    reorder: bool = True


def make_plan(
    graph: Graph,
    candidates: Sequence[Sequence[Implementation]],
    board: Board,
    *,
    options: PlanOptions | None = None,
) -> Plan:
    """Plan `graph` on `board`, with one of `candidates[i]` for operator i, the fastest first.

    A plan that does not fit is returned all the same: everything that the other regions cannot
    take is in the first region, whose arena is then larger than the region has room for.
    Raises PlanError when an operator is left without a usable implementation.
    """
    options = options or PlanOptions()
    alignment = board.core.alignment
    spans = lifespans(graph)
    choices = usable(graph, candidates, spans, alignment)
    for step, kept in enumerate(choices):
        if not kept:
            raise PlanError(
                "no kernel can be used: the views that it relies on cannot be placed",
                where=graph.describe(graph.operators[step]),
                mend="give the operator an implementation that copies",
            )
    lean = [
        min(kept, key=lambda c: _cost(graph, spans, step, c, options.overlap))
        for step, kept in enumerate(choices)
    ]
    fast = [kept[0] for kept in choices]
    best = _packed(graph, lean, alignment, options)
    quick = _packed(graph, fast, alignment, options)
    chosen = lean
    if quick[1].height <= best[1].height:
        best, chosen = quick, fast
    return _plan(graph, chosen, board, *best)


def _packed(
    graph: Graph, chosen: Sequence[Implementation], alignment: int, options: PlanOptions
) -> tuple[Layout, Packing]:
    layout = make_layout(graph, chosen, alignment, overlap=options.overlap)
    return layout, pack(layout.problem)


def _cost(
    graph: Graph,
    spans: Mapping[int, Span],
    step: int,
    implementation: Implementation,
    overlap: bool,
) -> int:
    """Bytes that a choice adds to those live at its step: scratch less what outputs share."""
    operator = graph.operators[step]
    shared = dict.fromkeys(operator.outputs, 0)
    for view in views_of(implementation):
        source = graph.tensors[operator.inputs[view.input]].bytes
        output = operator.outputs[view.output]
        shared[output] += best_overlap(
            source, graph.tensors[output].bytes, (view.distance, view.distance)
        )
    if overlap:
        rules = overlap_rules(graph, spans, step, implementation)
        for (source, output), pairs in rules.items():
            first, second = graph.tensors[source].bytes, graph.tensors[output].bytes
            low = max(-second if m is None else m for m, _ in pairs)
            low = min([low, *(m for m, _ in pairs if m is not None)])
            high = max(first if m is None else m for _, m in pairs)
            shared[output] += best_overlap(first, second, (low, high))
    gain = sum(min(graph.tensors[o].bytes, bytes_) for o, bytes_ in shared.items())
    return implementation.scratch_bytes - gain


def _plan(
    graph: Graph,
    chosen: Sequence[Implementation],
    board: Board,
    layout: Layout,
    packing: Packing,
) -> Plan:
    region = board.regions("ram")[0].name
    places = [
        Placement(region, offset, buffer.size)
        for offset, buffer in zip(packing.offsets, layout.problem.buffers, strict=True)
    ]
    is_state = {i: graph.tensors[i].is_variable for i in layout.tensors}
    live = live_bytes(layout, places, max(len(graph.operators), 1))
    return Plan(
        board=board,
        graph=graph,
        implementations=tuple(chosen),
        tensors={i: places[b] for i, b in layout.tensors.items() if not is_state[i]},
        scratch={step: places[b] for step, b in layout.scratch.items()},
        state={i: places[b] for i, b in layout.tensors.items() if is_state[i]},
        arenas={region: align_up(packing.height, board.core.alignment)},
        live_bytes=tuple(live),
        certificate=Certificate(
            peak_bytes=packing.height,
            lower_bound_bytes=packing.lower_bound,
            peak_step=live.index(max(live)),
            order_method="the file's order",
            packing_method=packing.method,
        ),
    )


def live_bytes(layout: Layout, places: Sequence[Placement], steps: int) -> list[int]:
    """Per step, the bytes that live buffers cover; bytes that two share count once."""
    ranges: list[list[tuple[str, int, int]]] = [[] for _ in range(steps)]
    for buffer, place in zip(layout.problem.buffers, places, strict=True):
        for step in range(buffer.start, buffer.end):
            ranges[step].append((place.region, place.offset, place.offset + place.bytes))
    totals = []
    for live in ranges:
        total, region, reach = 0, "", 0
        for name, low, high in sorted(live):
            if name != region:
                region, reach = name, 0
            total += max(0, high - max(low, reach))
            reach = max(reach, high)
        totals.append(total)
    return totals
