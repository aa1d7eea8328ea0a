# SPDX-License-Identifier: Apache-2.0
"""The plan of a network on a board: which kernels, in which order, and every buffer's address.

1. `order`: the order of execution of least peak.
2. `choice`: one kernel per operator, the fastest that does not raise the peak.
3. `packing`: offsets, with a proven lower bound.
4. `regions`: the board's memory regions, several where one is too small.

Order and kernels are chosen for least live bytes; a reordered network is only taken when its
packing is lower than that of the file's order. Networks of more than LARGE operators are packed by
heuristics alone, with the gap to the bound stated: they must not take minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from mcudeploy.board import Board
from mcudeploy.errors import PlanError
from mcudeploy.graph.ir import Graph
from mcudeploy.memory.choice import Choice, Lean, StepCosts, choose_lean
from mcudeploy.memory.geometry import align_up
from mcudeploy.memory.lifetimes import Layout, lifespans, usable
from mcudeploy.memory.order import Order, best_order, peak_of
from mcudeploy.memory.packing import NORMAL, QUICK, Effort
from mcudeploy.memory.plan import Certificate, Placement, Plan
from mcudeploy.memory.regions import place_in_regions
from mcudeploy.operators.base import Implementation

_T = TypeVar("_T")

Candidates = Sequence[Sequence[Implementation]]

LARGE = 150
"""Operators above which no exact search is tried."""


@dataclass(frozen=True)
class PlanOptions:
    """How to plan."""

    reserve_bytes: int = 0
    """Left to stack and runtime in the board's first RAM region."""
    use_external: bool = False
    """External RAM may be used, where internal RAM is too small."""
    overlap: bool = True
    """Outputs may lie over inputs as kernels permit; without it they may not share a byte."""
    reorder: bool = True
    effort: Effort = NORMAL
    """Of the packing; `QUICK` for networks of more than LARGE operators in any case."""


def make_plan(
    graph: Graph,
    candidates: Candidates,
    board: Board,
    *,
    options: PlanOptions | None = None,
) -> Plan:
    """Plan `graph` on `board`, with one of `candidates[i]` for operator i, the fastest first.

    `plan.graph.operators` stand in the order to run, which may not be that of `graph`. A plan that
    does not fit is returned all the same: what the other regions cannot take is in the first
    region, whose arena is then larger than the region less `reserve_bytes`.
    Raises PlanError when an operator is left without a usable implementation.
    """
    options = options or PlanOptions()
    if len(graph.operators) > LARGE:
        options = replace(options, effort=QUICK)
    alignment = board.core.alignment
    costs = StepCosts(graph, candidates, options.overlap)
    own = tuple(range(len(graph.operators)))
    file_peak = peak_of(graph, own, costs)
    order = Order(own, file_peak, 0, "the file's order, as asked")
    if options.reorder:
        order = best_order(graph, costs)
    lean = _lean(graph, candidates, order.steps, alignment, options, options.effort)
    # Faster kernels are packed anew, now and then lower: in both orders where that is soon done.
    small = len(own) <= LARGE
    choice = lean.hastened() if small else lean.choice
    if order.steps != own:
        effort = options.effort if len(own) <= 100 else QUICK
        most = choice.packing.height
        unchanged = _lean(graph, candidates, own, alignment, options, effort, most)
        other = unchanged.hastened() if small else unchanged.choice
        if other.packing.height <= most:
            lean, choice = unchanged, other
            order = Order(own, file_peak, order.lower_bound_bytes, "the file's order packs as low")
    ordered, choice = lean.costs.graph, choice if small else lean.hastened()
    places, method = placed(ordered, choice, board, options, options.effort)
    return assemble_plan(ordered, choice, board, places, method, order, file_peak)


def _lean(
    graph: Graph,
    candidates: Candidates,
    steps: Sequence[int],
    alignment: int,
    options: PlanOptions,
    effort: Effort,
    most: int | None = None,
) -> Lean:
    """The kernels of least peak for the graph in the order `steps`; above `most` is of no use."""
    ordered = graph.with_operators(tuple(graph.operators[step] for step in steps))
    kept = usable(
        ordered,
        [candidates[s] for s in steps],
        lifespans(ordered),
        alignment,
        overlap=options.overlap,
    )
    for step, kernels in enumerate(kept):
        if not kernels:
            raise PlanError(
                "no kernel can be used: the views that it relies on cannot be placed",
                where=ordered.describe(ordered.operators[step]),
                mend="give the operator an implementation that copies",
            )
    return choose_lean(ordered, kept, alignment, overlap=options.overlap, effort=effort, most=most)


def placed(
    graph: Graph, choice: Choice, board: Board, options: PlanOptions, effort: Effort
) -> tuple[list[Placement], str]:
    """The place of each buffer in the board's regions, and how they were found."""
    places, method = place_in_regions(
        choice.layout.problem,
        choice.packing,
        board,
        reserve_bytes=options.reserve_bytes,
        use_external=options.use_external,
        effort=effort,
    )
    return _state_on_top(graph, choice.layout, places, board.core.alignment), method


def _state_on_top(
    graph: Graph, layout: Layout, places: Sequence[Placement], alignment: int
) -> list[Placement]:
    """The places with each region's state moved above all else, into memory of its own.

    State lives at all steps and shares nothing, so that what lies above it moves down unharmed.
    """
    kept = {b for i, b in layout.tensors.items() if graph.tensors[i].is_variable}
    moved = list(places)
    for region in {places[buffer].region for buffer in kept}:
        bands = [
            (places[b].offset, align_up(places[b].bytes, alignment), b)
            for b in sorted(kept, key=lambda b: places[b].offset)
            if places[b].region == region
        ]
        top = 0
        for buffer, place in enumerate(places):
            if place.region == region and buffer not in kept:
                down = sum(size for offset, size, _ in bands if offset < place.offset)
                moved[buffer] = replace(place, offset=place.offset - down)
                top = max(top, place.offset - down + place.bytes)
        top = align_up(top, alignment)
        for _, size, buffer in bands:
            moved[buffer] = replace(places[buffer], offset=top)
            top += size
    return moved


def in_plan_order(plan: Plan, graph: Graph, of_operators: Sequence[_T]) -> list[_T]:
    """What belongs to each operator of `graph`, in the order in which its plan runs them."""
    place = {id(operator): number for number, operator in enumerate(graph.operators)}
    return [of_operators[place[id(operator)]] for operator in plan.graph.operators]


def assemble_plan(
    graph: Graph,
    choice: Choice,
    board: Board,
    places: Sequence[Placement],
    method: str,
    order: Order,
    file_peak: int,
) -> Plan:
    """The plan of a graph in its order, with its kernels and the place of each buffer."""
    layout = choice.layout
    state = {i for i in layout.tensors if graph.tensors[i].is_variable}
    kept = {layout.tensors[i] for i in state}
    reach = _ends(places)
    activations = _ends([place for b, place in enumerate(places) if b not in kept])
    begins = {
        places[b].region: places[b].offset for b in sorted(kept, key=lambda b: -places[b].offset)
    }
    live = _live_bytes(layout, places, max(len(graph.operators), 1))
    peak = sum(activations.values()) + sum(reach[name] - begin for name, begin in begins.items())
    return Plan(
        board=board,
        graph=graph,
        implementations=choice.implementations,
        tensors={i: places[b] for i, b in layout.tensors.items() if i not in state},
        scratch={step: places[b] for step, b in layout.scratch.items()},
        state={i: places[b] for i, b in layout.tensors.items() if i in state},
        arenas={
            region.name: align_up(reach[region.name], board.core.alignment)
            for region in board.regions("ram", external=True)
            if region.name in reach
        },
        live_bytes=tuple(live),
        certificate=Certificate(
            peak_bytes=peak,
            lower_bound_bytes=min(choice.packing.lower_bound, peak),
            peak_step=live.index(max(live)),
            order_method=order.method,
            packing_method=method,
            order_live_bytes=order.peak_bytes,
            order_bound_bytes=order.lower_bound_bytes,
            file_order_live_bytes=file_peak,
        ),
    )


def _ends(places: Iterable[Placement]) -> dict[str, int]:
    """The end of the highest place in each region."""
    ends: dict[str, int] = {}
    for place in places:
        ends[place.region] = max(ends.get(place.region, 0), place.offset + place.bytes)
    return ends


def _live_bytes(layout: Layout, places: Sequence[Placement], steps: int) -> list[int]:
    """Per step, the bytes that live buffers cover; bytes that two share count once."""
    in_use: list[list[Placement]] = [[] for _ in range(steps)]
    for buffer, place in zip(layout.problem.buffers, places, strict=True):
        for step in range(buffer.start, buffer.end):
            in_use[step].append(place)
    return [covered_bytes(live) for live in in_use]


def covered_bytes(places: Iterable[Placement]) -> int:
    """Bytes of all regions that lie in one place at least."""
    total, region, reach = 0, "", 0
    for name, low, high in sorted((p.region, p.offset, p.offset + p.bytes) for p in places):
        if name != region:
            region, reach = name, 0
        total += max(0, high - max(low, reach))
        reach = max(reach, high)
    return total
