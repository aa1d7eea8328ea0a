# SPDX-License-Identifier: Apache-2.0
"""Which parts of a network are streamed: the segments of least peak, or the least that suffices.

The order of operators is that of the unstreamed plan, or that of `stream_order` where the former is
not enough. It is cut into steps: single operators, and
segments between two points where only one map passes. The peak of a step by itself is the height
of its own packing (a segment) or its live bytes (an operator), plus what waits for later. Dynamic
programming over the cuts finds the steps of least peak, or, for a given height, the fastest
within it. Packings of whole plans decide between a few such heights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mcudeploy.board import Board
from mcudeploy.graph.ir import Graph
from mcudeploy.memory.choice import Choice, grant
from mcudeploy.memory.lifetimes import lifespans, usable
from mcudeploy.memory.order import Order
from mcudeploy.memory.packing import NORMAL, QUICK, Effort, pack
from mcudeploy.memory.plan import Placement, Plan, Stream
from mcudeploy.memory.planner import Candidates, PlanOptions, assemble_plan, covered_bytes, placed
from mcudeploy.memory.stream_layout import StreamedLayout, streamed_layout
from mcudeploy.memory.stream_order import in_order, short_branches_first
from mcudeploy.memory.stream_steps import (
    SLACKS,
    Steps,
    expected_instructions,
    forms_within,
    leanest_form,
    least_peak,
)
from mcudeploy.memory.stream_watch import Streaming, analyse
from mcudeploy.memory.streaming import make_segment, with_strips
from mcudeploy.operators.base import Implementation
from mcudeploy.operators.windows import streamed

ROW_INSTRUCTIONS = 150
"""What calling a kernel for a single row costs besides the row, about."""
STRIP_INSTRUCTIONS = 600
"""What each strip of a pair costs besides its columns, about: two calls and some copying."""
_MOST_SAVED = 2
"""Strips save no more than every second row: what rows alone exceed by more stays too much."""
_WORTH_A_SEGMENT = 0.005
"""Part of a network's instructions that a segment must save: each is a loop with its tables."""
_FAST_ENOUGH = 1.02
"""Of the instructions of the fastest kernels for whole maps: strips need not be tried for time."""
_LONGER = (4, 3, 2)
"""Strips of so many times the least length are tried."""
_TURNS = 4
"""Kernels of an operator that are asked for, from the fastest on."""


def _fastest(costs: Steps, steps: Sequence[tuple[int, int, int]], most: int) -> list[Streaming]:
    """The segments of the fastest way within a height."""
    price = _WORTH_A_SEGMENT * costs.fastest(0, costs.count)
    best: list[tuple[float, tuple[Streaming, ...]] | None] = [(0.0, ())] + [None] * costs.count
    for first, end, bytes_ in sorted(steps, key=lambda s: s[1]):
        before = best[first]
        if before is None or bytes_ > most:
            continue
        streaming = costs.streaming(first, end)
        if streaming is None:
            spent = costs.instructions(first, most)
        else:
            spent = costs.fastest(first, end, rows=True) + turns_cost(streaming) + price
        known = best[end]
        if known is None or before[0] + spent < known[0]:
            best[end] = (before[0] + spent, before[1] + ((streaming,) if streaming else ()))
    last = best[costs.count]
    return [] if last is None else list(last[1])


@dataclass(frozen=True)
class _Trial:
    graph: Graph
    candidates: Candidates
    alignment: int
    overlap: bool
    streamings: Sequence[Streaming]

    def pack(self, numbers: Sequence[int], effort: Effort, capacity: int | None = None) -> Choice:
        chosen = tuple(c[n] for c, n in zip(self.candidates, numbers, strict=True))
        layout = streamed_layout(
            self.graph, chosen, self.alignment, self.streamings, overlap=self.overlap
        )
        return Choice(chosen, layout, pack(replace(layout.problem, capacity=capacity), effort))


def _choose(costs: Steps, streamings: Sequence[Streaming], capacity: int, effort: Effort) -> Choice:
    """The fastest kernels that do not raise the height of the leanest, or `capacity`."""
    forms: dict[int, list[Implementation]] = {}
    for one in streamings:
        forms.update(forms_within(costs.forms, one.segment, costs.core))
    inside = set(forms)
    candidates, leanest = [], []
    for step, kernels in enumerate(costs.candidates):
        candidates.append(forms.get(step, kernels))
        if step in inside:
            leanest.append(forms[step].index(leanest_form(forms[step])))
        else:
            leanest.append(costs.leanest(step))
    trial = _Trial(costs.graph, candidates, costs.core.alignment, costs.overlap, streamings)
    best = trial.pack(leanest, effort)
    target = max(best.packing.height, capacity)
    granted = leanest
    for turn in range(_TURNS):
        # The fastest that its own step can bear; where all together are too much, the next.
        wanted = [
            min(number, costs.first_within(step, target, inside) + turn)
            for step, number in enumerate(granted)
        ]
        faster = [step for step, number in enumerate(granted) if wanted[step] != number]
        if faster:
            granted = grant(trial, granted, wanted, faster, target)
    if granted == leanest:
        return best
    chosen = trial.pack(granted, effort)
    return chosen if chosen.packing.height <= target else trial.pack(granted, QUICK, target)


_Found = tuple[Choice, list[Streaming]]


def make_streamed_plan(
    base: Plan,
    candidates: Candidates,
    forms: Candidates,
    *,
    options: PlanOptions | None = None,
    capacity: int = 0,
    fed: bool = False,
    only_if_enough: bool = False,
) -> Plan | None:
    """The streamed plan of least peak, or the one within `capacity` bytes that streams least.

    `base` is the unstreamed plan, whose order is kept unless another one is better for rows;
    `candidates` and `forms` (row implementations) go by its operators. None when nothing can be
    gained by streaming, or, with `only_if_enough`, when no plan is within `capacity`: that is
    known sooner.
    """
    best: Plan | None = None
    kept = tuple(range(len(base.graph.operators)))
    for order in dict.fromkeys((kept, tuple(short_branches_first(base.graph)))):
        found = _best_in_order(
            base if order == kept else in_order(base, order),
            [candidates[k] for k in order],
            [forms[k] for k in order],
            options or PlanOptions(),
            (capacity, fed, only_if_enough),
        )
        if found is None and only_if_enough:
            return None
        if found is None:
            continue
        if best is None or found.certificate.peak_bytes < best.certificate.peak_bytes:
            best = found
        if best.certificate.peak_bytes <= capacity:
            break
    return best


def _best_in_order(
    base: Plan,
    candidates: Candidates,
    forms: Candidates,
    options: PlanOptions,
    wanted: tuple[int, bool, bool],
) -> Plan | None:
    """`wanted`: capacity, fed, only_if_enough."""
    capacity, fed, only_if_enough = wanted
    graph, board = base.graph, base.board
    alignment = board.core.alignment
    kept = usable(graph, candidates, lifespans(graph), alignment, overlap=options.overlap)
    tried: list[_Found] = []
    for strips in (0, 1) if capacity else (1,):
        costs = Steps(graph, kept, forms, board.core, options.overlap, fed, strips)
        steps = costs.all_peaks(capacity, only_if_enough=only_if_enough)
        least = least_peak(steps, costs.count)
        if least is None or (only_if_enough and least > _MOST_SAVED * capacity):
            break
        if not only_if_enough or least <= capacity:
            tried += _tried(costs, steps, least, capacity, options.effort)
        spent = [_instructions(graph, *one) for one in tried if one[0].packing.height <= capacity]
        if spent and (only_if_enough or min(spent) <= _FAST_ENOUGH * costs.fastest(0, costs.count)):
            break
    if not tried:
        return None
    within = [one for one in tried if one[0].packing.height <= capacity]
    if within:
        best = min(within, key=lambda one: _instructions(graph, *one))
        if _instructions(graph, *best) > _FAST_ENOUGH * costs.fastest(0, costs.count):
            best = _with_fewer_strips(costs, best, capacity)
    else:
        best = min(tried, key=lambda one: (one[0].packing.height, _instructions(graph, *one)))
    return _assembled(base, *best, board, options)


def _tried(
    costs: Steps,
    steps: Sequence[tuple[int, int, int]],
    least: int,
    capacity: int,
    effort: Effort,
) -> list[_Found]:
    """Packings of a few ways to cut the network, the best within some heights."""
    heights = [int(least * slack) for slack in SLACKS]
    if capacity > least:
        heights = [*(capacity - capacity // 16 * part for part in range(4)), *heights]
    tried: list[_Found] = []
    for most in dict.fromkeys(heights):
        streamings = _fastest(costs, steps, most)
        known = [[one.segment for one in cut] for _, cut in tried]
        if streamings and [one.segment for one in streamings] not in known:
            tried.append((_choose(costs, streamings, capacity, effort), streamings))
    return tried


def _with_fewer_strips(costs: Steps, found: _Found, capacity: int) -> _Found:
    """Faster, within `capacity`, with pairs undone or their strips longer: the busiest first."""
    graph, forms, (choice, streamings) = costs.graph, costs.forms, found
    spent, best = _instructions(graph, choice, streamings), found
    for at, streaming in enumerate(streamings):
        segment = streaming.segment
        alone = make_segment(graph, segment.first, segment.end, forms, fed=segment.fed)
        assert alone is not None
        pairs = sorted(segment.pairs, key=lambda pair: pair[1].rows // pair[2].step, reverse=True)
        kept = {reader.operator: 1 for _, reader, _ in pairs}
        for _, reader, _ in pairs:
            for times in (0, *_LONGER):
                longer = {**kept, reader.operator: times}
                changed = list(best[1])
                changed[at] = analyse(graph, with_strips(graph, alone, forms, longer))
                tried = _choose(costs, changed, capacity, QUICK)
                cost = _instructions(graph, tried, changed)
                if tried.packing.height <= capacity and cost < spent:
                    spent, best, kept = cost, (tried, changed), longer
                    break
    return best


def _instructions(graph: Graph, choice: Choice, streamings: Sequence[Streaming]) -> float:
    """Predicted, with what the loops over rows add."""
    kernels = (
        expected_instructions(graph, position, one)
        for position, one in enumerate(choice.implementations)
    )
    return sum(kernels) + sum(map(turns_cost, streamings))


def turns_cost(streaming: Streaming) -> float:
    """Instructions of a segment's loop, about."""
    return ROW_INSTRUCTIONS * streaming.events + STRIP_INSTRUCTIONS * streaming.strips


def loop_instructions(plan: Plan) -> float:
    """What the loops over rows and strips add to a streamed plan's kernels, about."""
    return sum(turns_cost(analyse(plan.graph, stream.segment)) for stream in plan.streams)


def _assembled(
    base: Plan, choice: Choice, streamings: Sequence[Streaming], board: Board, options: PlanOptions
) -> Plan:
    layout = choice.layout
    assert isinstance(layout, StreamedLayout)
    places, method = placed(base.graph, choice, board, options, NORMAL)
    known = base.certificate
    order = Order(
        tuple(range(len(base.graph.operators))), known.order_live_bytes,
        known.order_bound_bytes, known.order_method,
    )  # fmt: skip
    plan = assemble_plan(
        base.graph, choice, board, places, method, order, known.file_order_live_bytes
    )
    streams = tuple(
        Stream(
            segment=one.segment,
            rings={
                tensor: one.rings.get(owner, base.graph.tensors[owner].shape[1])
                for tensor, owner in one.owner.items()
            },
            state={
                s.operator: places[layout.state[s.operator]]
                for s in one.segment.stages
                if s.accumulates
            },
            counters=places[layout.counters[one.segment.first]],
            strips={
                reader.operator: places[layout.strips[reader.operator]]
                for _, reader, _ in one.segment.pairs
            },
        )
        for one in streamings
    )
    inside = {s.operator for one in streamings for s in one.segment.stages}
    paired = {s.operator for one in streamings for pair in one.segment.pairs for s in pair[:2]}
    implementations = tuple(
        streamed(one, paired=step in paired) if step in inside else one
        for step, one in enumerate(plan.implementations)
    )
    live = _live_bytes(plan, streamings, layout, places)
    certificate = replace(plan.certificate, peak_step=live.index(max(live)))
    return replace(
        plan,
        streams=streams,
        implementations=implementations,
        live_bytes=tuple(live),
        certificate=certificate,
    )


def _live_bytes(
    plan: Plan,
    streamings: Sequence[Streaming],
    layout: StreamedLayout,
    places: Sequence[Placement],
) -> list[int]:
    """Per step; the operators of a segment have all that the segment uses."""
    live = list(plan.live_bytes)
    for streaming in streamings:
        first, end = streaming.segment.first, streaming.segment.end
        used = covered_bytes(
            place
            for buffer, place in zip(layout.problem.buffers, places, strict=True)
            if buffer.start < end and buffer.end > first
        )
        live[first:end] = [used] * (end - first)
    return live


def plan_with_segments(
    base: Plan,
    candidates: Candidates,
    forms: Candidates,
    cuts: Sequence[tuple[int, int]],
    *,
    options: PlanOptions | None = None,
    fed: bool = False,
    strips: int = 0,
) -> Plan | None:
    """The plan that streams the operators [first, end) of each cut; None where it cannot be.

    Arguments are those of `make_streamed_plan`; `fed` is about a cut that begins with operator 0.
    """
    options, graph, board = options or PlanOptions(), base.graph, base.board
    alignment = board.core.alignment
    kept = usable(graph, candidates, lifespans(graph), alignment, overlap=options.overlap)
    costs = Steps(graph, kept, forms, board.core, options.overlap, fed, strips)
    streamings = []
    for first, end in cuts:
        segment = make_segment(graph, first, end, forms, fed=fed and first == 0, strips=strips)
        if segment is None or (segment.fed and segment.driver not in graph.inputs):
            return None
        streamings.append(analyse(graph, segment))
    return _assembled(base, _choose(costs, streamings, 0, QUICK), streamings, board, options)
