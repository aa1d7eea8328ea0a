# SPDX-License-Identifier: Apache-2.0
"""Who lives where in a plan, and when: what pictures of plans show.

Time is the position of the operator, in the order of execution. In a row-streamed segment the
operators take turns; a buffer then lives from the first to the last operator in whose turns it
holds something, as the replay of the segment's schedule tells (`stream_watch`). Maps that are
changed in place within a segment have one buffer and are one occupant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mcudeploy.graph.ir import Graph
from mcudeploy.memory.lifetimes import lifespans
from mcudeploy.memory.plan import Placement, Plan, Stream
from mcudeploy.memory.stream_watch import Streaming, analyse

KINDS = ("input", "activation", "rolling buffer", "output", "scratch", "strip", "sums", "state")
"""A rolling buffer holds the few rows of a map that are still needed, a strip the newest columns of
its newest row; sums are what an operator adds up over rows, and a segment's counters of them."""


@dataclass(frozen=True)
class Occupant:
    """`place` is taken during the steps `start` <= t < `end`.

    `name` says by what, in words; `label` in as few as can be: #7 is what operator 7 writes.
    """

    kind: str
    name: str
    label: str
    start: int
    end: int
    place: Placement

    def shares_with(self, other: Occupant) -> tuple[int, int, int, int] | None:
        """First step, step after the last, first byte and byte after the last of what both have."""
        a, b = self.place, other.place
        start, end = max(self.start, other.start), min(self.end, other.end)
        low, high = max(a.offset, b.offset), min(a.offset + a.bytes, b.offset + b.bytes)
        if a.region != b.region or start >= end or low >= high:
            return None
        return start, end, low, high


def occupants(plan: Plan) -> list[Occupant]:
    """All that has a place in the plan's arenas."""
    graph, spans = plan.graph, lifespans(plan.graph)
    found: list[Occupant] = []
    writer = _writers(graph)
    placed = {**plan.tensors, **plan.state}
    scratch = {step: (step, step + 1) for step in plan.scratch}
    for stream in plan.streams:
        streaming = analyse(graph, stream.segment)
        found += _of_stream(plan, stream, streaming)
        for tensor in streaming.owner:
            placed.pop(tensor, None)
        for tensor in (*_read(plan, stream), *streaming.outputs):
            begun, ended = streaming.spans.get(tensor, (stream.segment.first, stream.segment.end))
            spans[tensor] = min(spans[tensor][0], begun), max(spans[tensor][1], ended)
        for step, own in scratch.items():
            scratch[step] = streaming.spans.get((step, "scratch"), own)
        for producer, reader, _ in stream.segment.pairs:
            if producer.operator in scratch:
                scratch.pop(reader.operator, None)  # they have one in common
    for tensor, place in placed.items():
        kind = "activation"
        if tensor in plan.state:
            kind = "state"
        elif tensor in graph.outputs:
            kind = "output"
        elif tensor in graph.inputs:
            kind = "input"
        name, label = graph.tensors[tensor].name, kind
        if kind in ("activation", "output"):
            label = writer.get(tensor, kind)
        found.append(Occupant(kind, name, label, *spans[tensor], place))
    for step, span in scratch.items():
        name = f"scratch of #{step} {graph.operators[step].kind}"
        found.append(Occupant("scratch", name, "scratch", *span, plan.scratch[step]))
    return found


def _writers(graph: Graph) -> dict[int, str]:
    """Per tensor, the number of the operator that writes it."""
    return {t: f"#{step}" for step, o in enumerate(graph.operators) for t in o.outputs}


def shared(found: Sequence[Occupant]) -> Iterator[tuple[Occupant, Occupant]]:
    """The pairs that have bytes in common while both live: kernels and schedules permit it."""
    alive: list[Occupant] = []
    for one in sorted(found, key=lambda o: o.start):
        alive = [other for other in alive if other.end > one.start]
        yield from ((other, one) for other in alive if other.shares_with(one))
        alive.append(one)


def _of_stream(plan: Plan, stream: Stream, streaming: Streaming) -> Iterator[Occupant]:
    """What only a segment has."""
    graph, segment = plan.graph, stream.segment
    writer = _writers(graph)
    for tensor, rows in streaming.rings.items():
        whole = graph.tensors[tensor]
        name = f"{whole.name}, {rows} of {whole.shape[1]} rows at a time"
        place = plan.tensors[tensor]
        label = f"{writer.get(tensor, 'input')}, {rows} row{'s' * (rows > 1)}"
        yield Occupant("rolling buffer", name, label, *streaming.spans[tensor], place)
    for step, place in stream.strips.items():
        span = streaming.spans[step, "strip"]
        yield Occupant("strip", f"strip of columns for #{step}", "strip", *span, place)
    for step, place in stream.state.items():
        span, name = streaming.spans[step, "state"], f"sums of #{step} {graph.operators[step].kind}"
        yield Occupant("sums", name, "sums", *span, place)
    whole_time = segment.first, segment.end
    yield Occupant("sums", "counters of the rows", "counters", *whole_time, stream.counters)


def _read(plan: Plan, stream: Stream) -> set[int]:
    """The tensors from outside that a segment reads."""
    inner = stream.segment.inner(plan.graph)
    operators = plan.graph.operators[stream.segment.first : stream.segment.end]
    return {i for operator in operators for i in operator.inputs if i in plan.tensors} - inner
