# SPDX-License-Identifier: Apache-2.0
"""What single operators and streamed segments take in memory, each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mcudeploy.board import Core
from mcudeploy.graph.ir import NO_TENSOR, Graph
from mcudeploy.memory.choice import StepCosts
from mcudeploy.memory.geometry import align_up
from mcudeploy.memory.lifetimes import lifespans
from mcudeploy.memory.packing import Effort, pack
from mcudeploy.memory.planner import Candidates
from mcudeploy.memory.problem import Problem
from mcudeploy.memory.stream_layout import streamed_layout
from mcudeploy.memory.stream_watch import Streaming, analyse
from mcudeploy.memory.streaming import Segment, make_segment, row_bytes
from mcudeploy.operators.base import Implementation
from mcudeploy.operators.costs import predicted_cycles, predicted_instructions
from mcudeploy.operators.support import macs

SLACKS = (1.0, 1.03, 1.1)
"""Heights of steps that are tried, in parts of the least."""
_SHORT, _LONGEST = 8, 80
"""Operators in a segment: those that are tried first, and those that are tried at all."""
_PER_MAC, _PER_VALUE = 8.0, 20.0
"""Instructions of plain C, about: what a kernel takes that nobody has measured."""


def expected_instructions(graph: Graph, position: int, kernel: Implementation) -> float:
    """As predicted, or about what plain C takes; of all rows where `kernel` is a row form."""
    if kernel.instructions is not None:
        return kernel.instructions
    if not kernel.snippet:
        return 0.0
    operator = graph.operators[position]
    values = sum(graph.tensors[t].elements for t in (*operator.inputs, *operator.outputs)
                 if t != NO_TENSOR and not graph.tensors[t].is_constant)  # fmt: skip
    return _PER_MAC * macs(graph, operator) + _PER_VALUE * values


@dataclass
class _Step:
    """A step of the network by itself, a segment or an operator, and what is known of its height.

    It is packed only where it matters whether its height is nearer to `low` or to `high`.
    """

    low: int
    high: int
    streaming: Streaming | None = None
    problem: Problem | None = None

    def pack(self) -> None:
        assert self.problem is not None
        self.low = self.high = pack(self.problem, Effort(placements=0, attempts=0)).height


@dataclass
class Steps:
    """The costs of single operators and of segments, found when they are asked for."""

    graph: Graph
    candidates: Candidates
    forms: Candidates
    core: Core
    overlap: bool
    fed: bool
    strips: int = 0
    _known: dict[tuple[int, int], _Step | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.spans = lifespans(self.graph)
        self.costs = StepCosts(self.graph, self.candidates, self.overlap)
        self.count = len(self.graph.operators)
        self.cuts = [at for at in range(self.count + 1) if len(self._passing(at)) <= 1]

    def _passing(self, at: int) -> list[int]:
        """The tensors that are written before a position and read from there on."""
        return [t for t, (start, end) in self.spans.items() if start < at < end]

    def streaming(self, first: int, end: int) -> Streaming | None:
        """The schedule of a step, None for an operator by itself."""
        step = self._step(first, end)
        return None if step is None else step.streaming

    def _step(self, first: int, end: int) -> _Step | None:
        """None where the operators cannot be a step."""
        key = (first, end)
        if key not in self._known:
            self._known[key] = self._find(first, end)
        return self._known[key]

    def _find(self, first: int, end: int) -> _Step | None:
        fed = self.fed and first == 0
        if end == first + 1 and not fed:
            height = self._single(first)
            return _Step(height, height)
        if end - first > _LONGEST or first not in self.cuts or end not in self.cuts:
            return None
        segment = make_segment(self.graph, first, end, self.forms, fed=fed, strips=self.strips)
        if segment is None or (fed and segment.driver not in self.graph.inputs):
            return None
        streaming = analyse(self.graph, segment)
        problem = self._problem(streaming)
        return _Step(_least_height(problem), _height_side_by_side(problem), streaming, problem)

    def _single(self, step: int) -> int:
        return self._live(step) + self.costs.extra(step, self.leanest(step), self._dying(step))

    def instructions(self, step: int, most: int) -> float:
        """Of the fastest kernel of an operator by itself within a height."""
        live, dying = self._live(step), self._dying(step)
        kernels = enumerate(self.costs.candidates[step])
        within = [k for n, k in kernels if live + self.costs.extra(step, n, dying) <= most]
        return min(
            (expected_instructions(self.graph, step, kernel) for kernel in within), default=0.0
        )

    def fastest(self, first: int, end: int, *, rows: bool = False) -> float:
        """Instructions of the fastest kernels of some operators, or of their fastest row forms."""
        offered = self.forms if rows else self.candidates
        return sum(
            min(expected_instructions(self.graph, p, one) for one in offered[p])
            for p in range(first, end)
        )

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

    def _problem(self, streaming: Streaming) -> Problem:
        """The packing of what is alive during a segment."""
        segment = streaming.segment
        forms = forms_within(self.forms, segment, self.core)
        choices = [
            leanest_form(forms[p]) if p in forms else kernels[0]
            for p, kernels in enumerate(self.candidates)
        ]
        problem = streamed_layout(
            self.graph, choices, self.core.alignment, [streaming], overlap=self.overlap
        ).problem
        kept = [
            i for i, b in enumerate(problem.buffers)
            if b.start < segment.end and b.end > segment.first
        ]  # fmt: skip
        number = {old: new for new, old in enumerate(kept)}
        return Problem(
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

    def all_peaks(self, capacity: int, *, only_if_enough: bool) -> list[tuple[int, int, int]]:
        """(first, end, bytes) of the steps that matter.

        The longer a segment from one place, the more its rings take: where they exceed what
        shorter ones have shown to be enough, longer ones are not looked at.
        """
        found = self._settled(self._steps_within(_SHORT, None), capacity)
        least = least_peak(found, self.count)
        if only_if_enough:
            if least is not None and least <= capacity:
                return found
            return self._settled(self._steps_within(_LONGEST, capacity), capacity)
        most = None if least is None else max(capacity, int(least * SLACKS[-1]))
        return self._settled(self._steps_within(_LONGEST, most), capacity)

    def _settled(
        self, steps: Sequence[tuple[int, int]], capacity: int
    ) -> list[tuple[int, int, int]]:
        """With their heights, those packed that may decide what the least peak is."""
        known = [(*key, step) for key in steps if (step := self._step(*key)) is not None]
        while True:
            least = least_peak([(a, b, step.low) for a, b, step in known], self.count) or 0
            limit = max(capacity, int(least * SLACKS[-1]))
            open_ = [step for _, _, step in known if step.low <= limit and step.high > least
                     and step.low != step.high]  # fmt: skip
            if not open_:
                # The others are within the least peak or above all that is asked for.
                return [
                    (a, b, step.high if step.high <= least else step.low) for a, b, step in known
                ]
            for step in open_:
                step.pack()

    def _steps_within(self, longest: int, most: int | None) -> list[tuple[int, int]]:
        found = []
        for first in range(self.count):
            reach = _LONGEST if self.fed and first == 0 else longest
            for end in range(first + 1, min(self.count, first + reach) + 1):
                step = self._step(first, end)
                if step is None:
                    continue
                found.append((first, end))
                if most is not None and step.streaming and self._rings(step.streaming) > most:
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


def _least_height(problem: Problem) -> int:
    """No packing is lower: the buffers that may share no bytes at all, and each by itself."""
    shared = {rule.first for rule in problem.allowances}
    alone = [b for i, b in enumerate(problem.buffers) if i not in shared]
    times = {buffer.start for buffer in alone}
    live = [sum(b.size for b in alone if b.start <= time < b.end) for time in times]
    return max([*live, *(buffer.size for buffer in problem.buffers)], default=0)


def _height_side_by_side(problem: Problem) -> int:
    """Of the packing that shares nothing."""
    return sum(align_up(buffer.size, buffer.alignment) for buffer in problem.buffers)


def forms_within(
    forms: Candidates, segment: Segment, core: Core
) -> dict[int, list[Implementation]]:
    """The row forms of the operators of a segment, those in pairs for parts of rows."""
    found = {stage.operator: list(forms[stage.operator]) for stage in segment.stages}
    for producer, reader, strip in segment.pairs:
        for stage, widest in ((producer, strip.step), (reader, strip.widest)):
            found[stage.operator] = [
                _narrowed(form, widest, core)
                for form in forms[stage.operator]
                if form.rows is not None and form.rows.columns is not None
            ]
    return found


def _narrowed(form: Implementation, widest: int, core: Core) -> Implementation:
    """The form for parts of rows, in about the same time unless it says how its loops differ."""
    if form.rows is None or form.rows.narrowed is None:
        return form
    part = form.rows.narrowed(widest)
    if part.work == form.work:
        return replace(part, instructions=form.instructions, cycles=form.cycles)
    return replace(
        part,
        instructions=predicted_instructions(part, core),
        cycles=predicted_cycles(part, core),
    )


def leanest_form(forms: Sequence[Implementation]) -> Implementation:
    """The row form with the least scratch, the fastest of several."""
    return min(forms, key=lambda one: one.scratch_bytes)


def least_peak(steps: Sequence[tuple[int, int, int]], count: int) -> int | None:
    """The peak of the best way from the first operator to the last; None: there is none."""
    best: list[int | None] = [0] + [None] * count
    for first, end, bytes_ in sorted(steps, key=lambda s: s[1]):
        before = best[first]
        if before is None:
            continue
        peak = max(before, bytes_)
        known = best[end]
        best[end] = peak if known is None else min(known, peak)
    return best[count]
