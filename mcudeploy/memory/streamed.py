# SPDX-License-Identifier: Apache-2.0
"""Which parts of a network are streamed: the segments of least peak, or the least that suffices.

The order of operators is that of the unstreamed plan. It is cut into steps: single operators, and
segments between two points where only one map passes. The peak of a step by itself is the height
of its own packing (a segment) or its live bytes (an operator), plus what waits for later. Dynamic
programming over the cuts finds the steps of least peak, or, for a given height, the fastest
within it. Packings of whole plans decide between a few such heights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mcudeploy.board import Board
from mcudeploy.graph.ir import Graph
from mcudeploy.memory.choice import Choice, StepCosts, grant
from mcudeploy.memory.geometry import align_up
from mcudeploy.memory.lifetimes import lifespans, usable
from mcudeploy.memory.order import Order
from mcudeploy.memory.packing import NORMAL, QUICK, Effort, pack
from mcudeploy.memory.plan import Placement, Plan, Stream
from mcudeploy.memory.planner import Candidates, PlanOptions, assemble_plan
from mcudeploy.memory.problem import Problem
from mcudeploy.memory.regions import place_in_regions
from mcudeploy.memory.stream_layout import StreamedLayout, streamed_layout
from mcudeploy.memory.streaming import Segment, Streaming, analyse, make_segment, row_bytes
from mcudeploy.operators.base import Implementation
from mcudeploy.operators.windows import streamed

ROW_INSTRUCTIONS = 150
"""What calling a kernel for a single row costs besides the row, about."""
_SLACKS = (1.0, 1.03, 1.1)
"""Heights of steps that are tried, in parts of the least."""
_TURNS = 4
"""Kernels of an operator that are asked for, from the fastest on."""
_SHORT, _LONGEST = 8, 80
"""Operators in a segment: those that are tried first, and those that are tried at all."""


@dataclass
class _Steps:
    """The costs of single operators and of segments, found when they are asked for."""

    graph: Graph
    candidates: Candidates
    forms: Candidates
    alignment: int
    overlap: bool
    fed: bool
    _known: dict[tuple[int, int], tuple[int, Streaming | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.spans = lifespans(self.graph)
        self.costs = StepCosts(self.graph, self.candidates, self.overlap)
        self.count = len(self.graph.operators)
        self.cuts = [at for at in range(self.count + 1) if len(self._passing(at)) <= 1]

    def _passing(self, at: int) -> list[int]:
        """The tensors that are written before a position and read from there on."""
        return [t for t, (start, end) in self.spans.items() if start < at < end]

    def peak(self, first: int, end: int) -> tuple[int, Streaming | None] | None:
        """Bytes of a step by itself, with the schedule of a segment; None where it cannot be."""
        key = (first, end)
        if key not in self._known:
            self._known[key] = self._find(first, end) or (-1, None)
        found = self._known[key]
        return None if found[0] < 0 else found

    def _find(self, first: int, end: int) -> tuple[int, Streaming | None] | None:
        fed = self.fed and first == 0
        if end == first + 1 and not fed:
            return self._single(first), None
        if end - first > _LONGEST or first not in self.cuts or end not in self.cuts:
            return None
        segment = make_segment(self.graph, first, end, self.forms, fed=fed)
        if segment is None or (fed and segment.driver not in self.graph.inputs):
            return None
        streaming = analyse(self.graph, segment)
        return self._packed(streaming), streaming

    def _single(self, step: int) -> int:
        return self._live(step) + self.costs.extra(step, self.leanest(step), self._dying(step))

    def instructions(self, step: int, most: int) -> float:
        """Of the fastest kernel of an operator by itself within a height."""
        live, dying = self._live(step), self._dying(step)
        kernels = enumerate(self.costs.candidates[step])
        within = [k for n, k in kernels if live + self.costs.extra(step, n, dying) <= most]
        return min((kernel.instructions or 0.0 for kernel in within), default=0.0)

    def first_within(self, step: int, most: int, inside: set[int]) -> int:
        """The number of the fastest kernel of an operator within a height, 0 in a segment."""
        if step in inside:
            return 0
        live, dying = self._live(step), self._dying(step)
        return next(
            (
                number
                for number in range(len(self.candidates[step]))
                if live + self.costs.extra(step, number, dying) <= most
            ),
            self.leanest(step),
        )

    def _live(self, step: int) -> int:
        """Bytes of all tensors that are there during a step, each counted in full."""
        spans = self.spans.items()
        return sum(self.graph.tensors[t].bytes for t, (a, b) in spans if a <= step < b)

    def _dying(self, step: int) -> frozenset[int]:
        graph, spans = self.graph, self.spans
        return frozenset(
            t for t in graph.operators[step].inputs
            if t in spans and spans[t][1] == step + 1 and t not in graph.outputs
        )  # fmt: skip

    def leanest(self, step: int) -> int:
        """The number of the kernel of an operator by itself that adds the fewest bytes."""
        return self.costs.leanest(step, self._dying(step))

    def _packed(self, streaming: Streaming) -> int:
        """The height of a packing of what is live during a segment."""
        segment = streaming.segment
        choices = [
            leanest_form(self.forms[p]) if segment.first <= p < segment.end else kernels[0]
            for p, kernels in enumerate(self.candidates)
        ]
        layout = streamed_layout(
            self.graph, choices, self.alignment, [streaming], overlap=self.overlap
        )
        return self._height(layout, segment)

    def _height(self, layout: StreamedLayout, segment: Segment) -> int:
        """Of the buffers that are alive during the segment alone."""
        problem = layout.problem
        kept = [
            i for i, b in enumerate(problem.buffers)
            if b.start < segment.end and b.end > segment.first
        ]  # fmt: skip
        number = {old: new for new, old in enumerate(kept)}
        part = Problem(
            tuple(
                replace(
                    problem.buffers[i],
                    start=max(problem.buffers[i].start, segment.first),
                    end=min(problem.buffers[i].end, segment.end),
                )
                for i in kept
            ),
            tuple(
                replace(a, first=number[a.first], second=number[a.second])
                for a in problem.allowances
                if a.first in number and a.second in number
            ),
        )
        return pack(part, Effort(placements=0, attempts=0)).height

    def all_peaks(
        self, capacity: int, *, only_if_enough: bool
    ) -> list[tuple[int, int, int]]:
        """(first, end, bytes) of the steps that matter.

        The longer a segment from one place, the more its rings take: where they exceed what
        shorter ones have shown to be enough, longer ones are not looked at.
        """
        found = self._peaks_within(_SHORT, None)
        least = _least_peak(found, self.count)
        if only_if_enough:
            if least is not None and least <= capacity:
                return found
            return self._peaks_within(_LONGEST, capacity)
        most = None if least is None else max(capacity, int(least * _SLACKS[-1]))
        return self._peaks_within(_LONGEST, most)

    def _peaks_within(self, longest: int, most: int | None) -> list[tuple[int, int, int]]:
        found = []
        for first in range(self.count):
            reach = _LONGEST if self.fed and first == 0 else longest
            for end in range(first + 1, min(self.count, first + reach) + 1):
                step = self.peak(first, end)
                if step is None:
                    continue
                found.append((first, end, step[0]))
                if most is not None and step[1] is not None and self._rings(step[1]) > most:
                    break
        return found

    def _rings(self, streaming: Streaming) -> int:
        """Bytes of the rings that are there all the time."""
        segment = streaming.segment
        return sum(
            rows * row_bytes(self.graph.tensors[owner])
            for owner, rows in streaming.rings.items()
            if streaming.spans[owner] == (segment.first, segment.end)
        )


def leanest_form(forms: Sequence[Implementation]) -> Implementation:
    """The row form with the least scratch, the fastest of several."""
    return min(forms, key=lambda one: one.scratch_bytes)


def _least_peak(steps: Sequence[tuple[int, int, int]], count: int) -> int | None:
    best: list[int | None] = [0] + [None] * count
    for first, end, bytes_ in sorted(steps, key=lambda s: s[1]):
        before = best[first]
        if before is None:
            continue
        peak = max(before, bytes_)
        known = best[end]
        best[end] = peak if known is None else min(known, peak)
    return best[count]


def _fastest(costs: _Steps, steps: Sequence[tuple[int, int, int]], most: int) -> list[Streaming]:
    """The segments of the fastest way within a height."""
    best: list[tuple[float, tuple[Streaming, ...]] | None] = [(0.0, ())] + [None] * costs.count
    for first, end, bytes_ in sorted(steps, key=lambda s: s[1]):
        before = best[first]
        if before is None or bytes_ > most:
            continue
        found = costs.peak(first, end)
        streaming = found[1] if found else None
        if streaming is None:
            spent = costs.instructions(first, most)
        else:
            kernels = [leanest_form(costs.forms[p]) for p in range(first, end)]
            spent = (
                sum(k.instructions or 0.0 for k in kernels) + ROW_INSTRUCTIONS * streaming.events
            )
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


def _choose(
    costs: _Steps, streamings: Sequence[Streaming], capacity: int, effort: Effort
) -> Choice:
    """The fastest kernels that do not raise the height of the leanest, or `capacity`."""
    inside = {s.operator for one in streamings for s in one.segment.stages}
    candidates, leanest = [], []
    for step, kernels in enumerate(costs.candidates):
        forms = costs.forms[step] if step in inside else kernels
        candidates.append(forms)
        if step in inside:
            leanest.append(forms.index(leanest_form(forms)))
        else:
            leanest.append(costs.leanest(step))
    trial = _Trial(costs.graph, candidates, costs.alignment, costs.overlap, streamings)
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


def make_streamed_plan(
    base: Plan,
    candidates: Candidates,
    forms: Candidates,
    board: Board,
    *,
    options: PlanOptions | None = None,
    capacity: int = 0,
    fed: bool = False,
    only_if_enough: bool = False,
) -> Plan | None:
    """The streamed plan of least peak, or the one within `capacity` bytes that streams least.

    `base` is the unstreamed plan, whose order is kept; `candidates` and `forms` (row
    implementations) go by its operators. None when nothing can be gained by streaming, or, with
    `only_if_enough`, when no plan is within `capacity`: that is known sooner.
    """
    options = options or PlanOptions()
    graph, alignment = base.graph, board.core.alignment
    kept = usable(graph, candidates, lifespans(graph), alignment)
    costs = _Steps(graph, kept, forms, alignment, options.overlap, fed)
    steps = costs.all_peaks(capacity, only_if_enough=only_if_enough)
    least = _least_peak(steps, costs.count)
    if least is None or (only_if_enough and least > capacity):
        return None
    heights = [int(least * slack) for slack in _SLACKS]
    if capacity > least:
        heights = [*(capacity - capacity // 16 * part for part in range(4)), *heights]
    tried: list[tuple[Choice, list[Streaming]]] = []
    for most in dict.fromkeys(heights):
        streamings = _fastest(costs, steps, most)
        known = [[one.segment for one in cut] for _, cut in tried]
        if streamings and [one.segment for one in streamings] not in known:
            tried.append((_choose(costs, streamings, capacity, options.effort), streamings))
    if not tried:
        return None
    within = [one for one in tried if one[0].packing.height <= capacity]
    if within:
        best = min(within, key=lambda one: _instructions(*one))
    else:
        best = min(tried, key=lambda one: one[0].packing.height)
    return _assembled(base, *best, board, options)


def _instructions(choice: Choice, streamings: Sequence[Streaming]) -> float:
    """Predicted, with what the loops over rows add."""
    kernels = sum(one.instructions or 0.0 for one in choice.implementations)
    return kernels + ROW_INSTRUCTIONS * sum(one.events for one in streamings)


def _assembled(
    base: Plan, choice: Choice, streamings: Sequence[Streaming], board: Board, options: PlanOptions
) -> Plan:
    layout = choice.layout
    assert isinstance(layout, StreamedLayout)
    places, method = place_in_regions(
        layout.problem,
        choice.packing,
        board,
        reserve_bytes=options.reserve_bytes,
        use_external=options.use_external,
        effort=NORMAL,
    )
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
        )
        for one in streamings
    )
    reach: dict[str, int] = {}
    for place in places:
        reach[place.region] = max(reach.get(place.region, 0), place.offset + place.bytes)
    arenas = {name: align_up(reach[name], board.core.alignment) for name in plan.arenas}
    inside = {s.operator for one in streamings for s in one.segment.stages}
    implementations = tuple(
        streamed(one) if step in inside else one for step, one in enumerate(plan.implementations)
    )
    live = _live_bytes(plan, streamings, layout, places)
    certificate = replace(plan.certificate, peak_step=live.index(max(live)))
    return replace(
        plan,
        streams=streams,
        arenas=arenas,
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
        used = sorted(
            (place.region, place.offset, place.offset + place.bytes)
            for buffer, place in zip(layout.problem.buffers, places, strict=True)
            if buffer.start < end and buffer.end > first
        )
        total, region, reach = 0, "", 0
        for name, low, high in used:
            if name != region:
                region, reach = name, 0
            total += max(0, high - max(low, reach))
            reach = max(reach, high)
        live[first:end] = [total] * (end - first)
    return live


def plan_with_segments(
    base: Plan,
    candidates: Candidates,
    forms: Candidates,
    cuts: Sequence[tuple[int, int]],
    *,
    options: PlanOptions | None = None,
    fed: bool = False,
) -> Plan | None:
    """The plan that streams the operators [first, end) of each cut; None where it cannot be.

    Arguments are those of `make_streamed_plan`; `fed` is about a cut that begins with operator 0.
    """
    options, graph, board = options or PlanOptions(), base.graph, base.board
    kept = usable(graph, candidates, lifespans(graph), board.core.alignment)
    costs = _Steps(graph, kept, forms, board.core.alignment, options.overlap, fed)
    streamings = []
    for first, end in cuts:
        segment = make_segment(graph, first, end, forms, fed=fed and first == 0)
        if segment is None or (segment.fed and segment.driver not in graph.inputs):
            return None
        streamings.append(analyse(graph, segment))
    return _assembled(base, _choose(costs, streamings, 0, QUICK), streamings, board, options)
