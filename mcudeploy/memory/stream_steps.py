# SPDX-License-Identifier: Apache-2.0
"""What single operators and streamed segments take in memory, each by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mcudeploy.graph.ir import Graph
from mcudeploy.memory.choice import StepCosts
from mcudeploy.memory.lifetimes import lifespans
from mcudeploy.memory.packing import Effort, pack
from mcudeploy.memory.planner import Candidates
from mcudeploy.memory.problem import Problem
from mcudeploy.memory.stream_layout import StreamedLayout, streamed_layout
from mcudeploy.memory.streaming import Segment, Streaming, analyse, make_segment, row_bytes
from mcudeploy.operators.base import Implementation

SLACKS = (1.0, 1.03, 1.1)
"""Heights of steps that are tried, in parts of the least."""
_SHORT, _LONGEST = 8, 80
"""Operators in a segment: those that are tried first, and those that are tried at all."""


@dataclass
class Steps:
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

    def all_peaks(self, capacity: int, *, only_if_enough: bool) -> list[tuple[int, int, int]]:
        """(first, end, bytes) of the steps that matter.

        The longer a segment from one place, the more its rings take: where they exceed what
        shorter ones have shown to be enough, longer ones are not looked at.
        """
        found = self._peaks_within(_SHORT, None)
        least = least_peak(found, self.count)
        if only_if_enough:
            if least is not None and least <= capacity:
                return found
            return self._peaks_within(_LONGEST, capacity)
        most = None if least is None else max(capacity, int(least * SLACKS[-1]))
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
