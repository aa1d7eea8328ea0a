# SPDX-License-Identifier: Apache-2.0
"""The packing problem of a network of which some segments are streamed.

It is that of the unstreamed network (`lifetimes`) but for the segments: their inner maps are as
large as their rings, buffers live as long as `streaming` has seen them hold something, and what
may lie over consumed rows of the driver, or over rows of an output yet to be written, is an
`Allowance` like that of a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mcudeploy.graph.ir import Graph
from mcudeploy.memory.lifetimes import Layout, lifespans, make_layout
from mcudeploy.memory.problem import Allowance, Buffer, Problem
from mcudeploy.memory.stream_watch import Streaming
from mcudeploy.memory.streaming import COUNTER_BYTES, row_bytes
from mcudeploy.operators.base import Implementation


@dataclass(frozen=True, eq=False)
class StreamedLayout(Layout):
    """`state` goes by position of an accumulating operator, `strips` by that of a pair's reader,
    `counters` by a segment's first.
    """

    state: Mapping[int, int]
    strips: Mapping[int, int]
    counters: Mapping[int, int]


def streamed_layout(
    graph: Graph,
    implementations: Sequence[Implementation],
    alignment: int,
    streamings: Sequence[Streaming],
    *,
    overlap: bool = True,
) -> StreamedLayout:
    """The packing problem with one implementation per operator, row forms within segments."""
    plain = list(implementations)
    for streaming in streamings:
        for stage in streaming.segment.stages:
            kernel = plain[stage.operator]
            plain[stage.operator] = replace(kernel, overlaps=(), placed=())
    layout = make_layout(graph, plain, alignment, overlap=overlap)
    grown = _Growth(graph, layout, alignment)
    for streaming in streamings:
        grown.add(streaming, implementations, overlap=overlap)
    return grown.result()


class _Growth:
    """Rewrites the buffers of an unstreamed layout segment by segment."""

    def __init__(self, graph: Graph, layout: Layout, alignment: int) -> None:
        self.graph, self.layout, self.alignment = graph, layout, alignment
        self.spans = lifespans(graph)
        self.scratch = layout.scratch
        self.buffers = list(layout.problem.buffers)
        self.allowances = list(layout.problem.allowances)
        self.gone: dict[int, int] = {}
        self.state: dict[int, int] = {}
        self.strips: dict[int, int] = {}
        self.counters: dict[int, int] = {}

    def add(
        self, streaming: Streaming, implementations: Sequence[Implementation], *, overlap: bool
    ) -> None:
        graph, segment, tensors = self.graph, streaming.segment, self.layout.tensors
        named: dict[object, int] = {}
        for tensor, owner in streaming.owner.items():
            if tensor != owner:
                self.gone[tensors[tensor]] = tensors[owner]
        for owner, rows in streaming.rings.items():
            named[owner] = tensors[owner]
            start, end = streaming.spans[owner]
            size = rows * row_bytes(graph.tensors[owner])
            self.buffers[tensors[owner]] = replace(
                self.buffers[tensors[owner]], size=size, start=start, end=end
            )
        for output in streaming.outputs:
            named[output] = tensors[output]
            self._reach(tensors[output], *streaming.spans[output])
        for index in self._read(streaming):
            self._reach(tensors[index], segment.first, segment.end)
        for producer, reader, _ in segment.pairs:
            self._share_scratch(producer.operator, reader.operator)
        for stage in segment.stages:
            position = stage.operator
            if position in self.scratch and self.scratch[position] not in self.gone:
                scratch = self.scratch[position]
                named[position, "scratch"] = scratch
                self._reach(scratch, *streaming.spans[position, "scratch"])
            if stage.strip is not None:
                key = (position, "strip")
                name = f"strip of {graph.tensors[stage.needs[0].tensor].name}"
                named[key] = self.strips[position] = self._new(
                    name, stage.strip.kept * stage.strip.pixel_bytes, streaming.spans[key]
                )
            form = implementations[position].rows
            if form is not None and form.accumulates:
                key = (position, "state")
                name = f"sums of {graph.describe(graph.operators[position])}"
                named[key] = self.state[position] = self._new(
                    name, form.state_bytes, streaming.spans[key]
                )
        self.counters[segment.first] = self._new(
            "row counters",
            COUNTER_BYTES * (len(segment.stages) + 1),
            (segment.first, segment.end),
        )
        if overlap:
            self._allow(streaming, named)

    def _share_scratch(self, producer: int, reader: int) -> None:
        """A pair takes turns within the reader's: one scratch, of the larger size, for both."""
        one, other = (self.scratch.get(position) for position in (producer, reader))
        if one is None or other is None:
            return
        size = max(self.buffers[one].size, self.buffers[other].size)
        self.buffers[one] = replace(self.buffers[one], size=size)
        self.gone[other] = one

    def _new(self, name: str, size: int, span: tuple[int, int]) -> int:
        self.buffers.append(Buffer(name, size, *span, self.alignment))
        return len(self.buffers) - 1

    def _reach(self, buffer: int, start: int, end: int) -> None:
        known = self.buffers[buffer]
        self.buffers[buffer] = replace(
            known, start=min(known.start, start), end=max(known.end, end)
        )

    def _read(self, streaming: Streaming) -> set[int]:
        """The tensors from outside that a segment reads."""
        segment = streaming.segment
        inside = {*streaming.owner, *streaming.outputs}
        return {
            tensor
            for stage in segment.stages
            for tensor in self.graph.operators[stage.operator].inputs
            if tensor in self.layout.tensors and tensor not in inside
        }

    def _allow(self, streaming: Streaming, named: Mapping[object, int]) -> None:
        segment, tensors = streaming.segment, self.layout.tensors
        driver = segment.driver
        dies = (
            not segment.fed
            and driver not in self.graph.outputs
            and not self.graph.tensors[driver].is_variable
            and self.spans[driver][1] <= segment.end
        )
        for key, buffer in named.items():
            if dies:
                distance = streaming.driver_distance(key, self.buffers[buffer].size)
                self.allowances.append(Allowance(tensors[driver], buffer, distance, None))
            if key in streaming.outputs:
                continue
            for output, rows in streaming.written[key].items():
                reach = rows * row_bytes(self.graph.tensors[output])
                self.allowances.append(Allowance(tensors[output], buffer, None, reach))

    def result(self) -> StreamedLayout:
        """The problem without the buffers that have gone into others."""
        kept = [i for i in range(len(self.buffers)) if i not in self.gone]
        number = {old: new for new, old in enumerate(kept)}
        for old, into in self.gone.items():
            number[old] = number[into]
        problem = self.layout.problem
        return StreamedLayout(
            Problem(
                tuple(self.buffers[i] for i in kept),
                tuple(
                    replace(a, first=number[a.first], second=number[a.second])
                    for a in self.allowances
                ),
                ties=tuple(
                    replace(t, first=number[t.first], second=number[t.second]) for t in problem.ties
                ),
            ),
            {tensor: number[i] for tensor, i in self.layout.tensors.items()},
            {step: number[i] for step, i in self.scratch.items()},
            {position: number[i] for position, i in self.state.items()},
            {position: number[i] for position, i in self.strips.items()},
            {first: number[i] for first, i in self.counters.items()},
        )
