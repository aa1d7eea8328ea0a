# SPDX-License-Identifier: Apache-2.0
"""Row-streamed segments: what they keep in memory, found by running their schedule.

A segment is a run of operators that compute rows from rows. One tensor that it reads, the driver,
comes row by row (or lies there and is read row by row); whatever the rows that have come allow is
computed before the next one is looked at, always by the latest operator that can. So a row is
consumed as soon as it is complete, a map between two operators needs no more rows than the later
one's window, and no row is computed twice. The generated loop follows the same rule at run time
(firmware/kernels/stream.h), so the schedule is known here: it is run with counters in place of
kernels, and what it shows is exact for this network:

- `rings`: the most rows of each inner map that are written and still needed. Row r lies in slot
  r mod ring of its buffer. An operator on single rows that is the only reader of its input
  computes in place, in the same buffer.
- `spans`: the operators that run while a buffer holds something. Two buffers of which no operator
  sees both may share bytes, as in an unstreamed plan; time is the position of the operator.
- the driver's rows that are still needed when each buffer, slot by slot, is first written. Where
  the driver dies with the segment, buffers may lie over rows that were consumed before.
- the rows of an output that are written when a buffer is last used: it may lie over the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mcudeploy.graph.ir import NO_TENSOR, Graph, Tensor
from mcudeploy.operators.base import Implementation
from mcudeploy.operators.windows import is_map

COUNTER_BYTES = 2
FEED = -1
"""The stage that stands for the driver's next row."""
_MOST_STAGES = 100
_MOST_ROWS = 1 << 14


class Need(NamedTuple):
    """The rows of a tensor that a stage reads for its row r: `reach` from r * stride - pad on."""

    tensor: int
    rows: int
    stride: int
    pad: int
    reach: int

    def first(self, row: int) -> int:
        """No row before this one is read for row `row` or later ones."""
        return min(self.rows, max(0, row * self.stride - self.pad))

    def end(self, row: int) -> int:
        """All rows before this one must be there."""
        return max(0, min(self.rows, row * self.stride - self.pad + self.reach))


@dataclass(frozen=True)
class Stage:
    """One operator of a segment; it runs `rows` times. Accumulating ones write at the last."""

    operator: int
    output: int
    rows: int
    needs: tuple[Need, ...]
    flat: bool
    accumulates: bool


@dataclass(frozen=True)
class Segment:
    """The operators [first, end) of a graph, run row by row as `driver` comes.

    `fed`: the driver has no whole buffer, its rows are brought one by one.
    """

    first: int
    end: int
    driver: int
    stages: tuple[Stage, ...]
    fed: bool = False

    @property
    def produced(self) -> tuple[int, ...]:
        return tuple(stage.output for stage in self.stages)

    def inner(self, graph: Graph) -> frozenset[int]:
        """The maps that only the segment sees, and the driver where it is fed."""
        seen = set(graph.outputs)
        for position, operator in enumerate(graph.operators):
            if not self.first <= position < self.end:
                seen.update(operator.inputs)
        made = set(self.produced) | ({self.driver} if self.fed else set())
        return frozenset(made - seen)


def row_bytes(tensor: Tensor) -> int:
    """Of a map; what is no map (a mean over one may be a vector) is a single row."""
    return tensor.bytes // tensor.shape[1] if is_map(tensor) else tensor.bytes


def make_segment(
    graph: Graph,
    first: int,
    end: int,
    forms: Sequence[Sequence[Implementation]],
    *,
    fed: bool = False,
) -> Segment | None:
    """The segment of the operators [first, end); None where they cannot be streamed together.

    `forms` are the row implementations of every operator of the graph.
    """
    if end - first > _MOST_STAGES:
        return None
    stages: list[Stage] = []
    made: set[int] = set()
    driver = NO_TENSOR
    for position in range(first, end):
        operator = graph.operators[position]
        if not forms[position] or len(operator.outputs) != 1:
            return None
        form = forms[position][0].rows
        assert form is not None
        needs = []
        for window in form.windows:
            index = operator.inputs[window.input]
            tensor = graph.tensors[index]
            if driver == NO_TENSOR and index not in made:
                driver = index
            reach = (window.kernel - 1) * window.dilation + 1
            needs.append(Need(index, tensor.shape[1], window.stride, window.pad, reach))
        row_read = {need.tensor for need in needs}
        if row_read.isdisjoint({*made, driver}):
            return None
        by_rows = {window.input for window in form.windows}
        others = {t for p, t in enumerate(operator.inputs) if p not in by_rows}
        if others & ({*made} | ({driver} if fed else set())):
            return None
        output = operator.outputs[0]
        rows = needs[0].rows if form.accumulates else graph.tensors[output].shape[1]
        if rows > _MOST_ROWS:
            return None
        stages.append(Stage(position, output, rows, tuple(needs), form.flat, form.accumulates))
        if not form.accumulates:
            made.add(output)
    segment = Segment(first, end, driver, tuple(stages), fed)
    accumulated = {stage.output for stage in stages if stage.accumulates}
    if graph.tensors[driver].is_variable or accumulated & segment.inner(graph):
        return None
    return segment


def schedule(segment: Segment, driver_rows: int) -> list[tuple[int, int]]:
    """(stage, row) in the order in which the generated loop runs them; stage FEED for the driver.

    After a stage has run, only those that read its output can have become ready: the search goes
    on from the last of them downwards.
    """
    stages = segment.stages
    count = len(stages)
    source = {stage.output: i for i, stage in enumerate(stages)}
    latest = next_stages(segment)
    needs = [
        [(source.get(n.tensor, FEED), n) for n in stage.needs
         if n.tensor in source or n.tensor == segment.driver]
        for stage in stages
    ]  # fmt: skip
    made = [0] * (count + 1)  # the last one is the driver's: made[FEED]
    events: list[tuple[int, int]] = []
    at = FEED
    while True:
        if at == FEED:
            if made[FEED] == driver_rows:
                return events
            events.append((FEED, made[FEED]))
            made[FEED] += 1
            at = latest[FEED]
            continue
        row = made[at]
        if row < stages[at].rows and all(made[s] >= n.end(row) for s, n in needs[at]):
            events.append((at, row))
            made[at] += 1
            at = latest[at]
        else:
            at -= 1


def next_stages(segment: Segment) -> list[int]:
    """Per stage, where to look for work after it has run; at the end, the same for the driver."""
    stages = segment.stages
    latest = [*range(len(stages)), 0]
    source = {stage.output: i for i, stage in enumerate(stages)}
    for i, stage in enumerate(stages):
        for need in stage.needs:
            if need.tensor == segment.driver:
                latest[FEED] = i
            elif need.tensor in source:
                maker = source[need.tensor]
                latest[maker] = max(latest[maker], i)
    return latest


@dataclass(frozen=True, eq=False)
class Streaming:
    """What a segment keeps. Buffers of maps are named by the tensor whose rows they hold last.

    `consumed[b]`: (bytes of the driver consumed, end of the slot in the buffer) at the first write
    of each slot; `written[b]`: per output, its rows that are written when the buffer is last used.
    Scratch and accumulators are named (position, "scratch") and (position, "state").
    """

    segment: Segment
    outputs: tuple[int, ...]
    owner: Mapping[int, int]
    rings: Mapping[int, int]
    spans: Mapping[object, tuple[int, int]]
    consumed: Mapping[object, tuple[tuple[int, int], ...]]
    written: Mapping[object, Mapping[int, int]]
    events: int

    def driver_distance(self, buffer: object, bytes_: int) -> int:
        """The greatest safe buffer address - driver address, where the driver dies here."""
        return min(
            consumed - (bytes_ if end == 0 else end)
            for consumed, end in self.consumed[buffer]
        )  # fmt: skip


def _owners(graph: Graph, segment: Segment, inner: frozenset[int]) -> dict[int, int]:
    """Per inner map, the map whose buffer it lies in: that of an in-place chain's end."""
    readers: dict[int, int] = {}
    for stage in segment.stages:
        for tensor in graph.operators[stage.operator].inputs:
            readers[tensor] = readers.get(tensor, 0) + 1
    follows: dict[int, int] = {}
    for stage in segment.stages:
        if not stage.flat or stage.accumulates:
            continue
        for need in stage.needs:
            alone = need.tensor in inner and readers[need.tensor] == 1
            same = graph.tensors[need.tensor].bytes == graph.tensors[stage.output].bytes
            if alone and same and need.tensor not in follows and need.tensor != segment.driver:
                follows[need.tensor] = stage.output
                break
    owner = {}
    for tensor in inner:
        last = tensor
        while last in follows:
            last = follows[last]
        owner[tensor] = last
    return owner


class _Watch:
    """Runs over the events with counters and notes what each buffer holds."""

    def __init__(self, graph: Graph, segment: Segment) -> None:
        self.graph, self.segment = graph, segment
        inner = segment.inner(graph)
        self.owner = _owners(graph, segment, inner)
        self.outputs = tuple(t for t in segment.produced if t not in inner)
        self.source = {stage.output: i for i, stage in enumerate(segment.stages)}
        # Per buffer: the stages that still need its rows, and the one that writes it first.
        self.readers: dict[int, list[tuple[int, Need]]] = {}
        self.maker: dict[int, int] = {}
        members: dict[int, set[int]] = {}
        for tensor, buffer in self.owner.items():
            members.setdefault(buffer, {buffer}).add(tensor)
        for output in self.outputs:
            members.setdefault(output, {output})
        for buffer, tensors in members.items():
            makers = [self.source.get(t, FEED) for t in tensors]
            self.maker[buffer] = min(makers)
            self.readers[buffer] = [
                (i, need)
                for i, stage in enumerate(segment.stages)
                for need in stage.needs
                if need.tensor in tensors
            ]
        self.driver_readers = [
            (i, need)
            for i, stage in enumerate(segment.stages)
            for need in stage.needs
            if need.tensor == segment.driver
        ]
        self.made = [0] * (len(segment.stages) + 1)

    def lowest(self, readers: Sequence[tuple[int, Need]], rows: int) -> int:
        """The first row that a reader still needs."""
        low = rows
        for i, need in readers:
            if self.made[i] < self.segment.stages[i].rows:
                low = min(low, need.first(self.made[i]))
        return low

    def run(self) -> Streaming:
        graph, segment = self.graph, self.segment
        driver = graph.tensors[segment.driver]
        driver_row = row_bytes(driver)
        rings = dict.fromkeys((b for b in self.maker if b not in self.outputs), 1)
        live: dict[object, set[int]] = {}
        writes: dict[object, list[int]] = {}
        written: dict[object, dict[int, int]] = {}
        kept = [
            (i, (stage.operator, "state"))
            for i, stage in enumerate(segment.stages)
            if stage.accumulates
        ]
        events = schedule(segment, driver.shape[1])
        consumed = 0
        for stage, row in events:
            position = segment.first if stage == FEED else segment.stages[stage].operator
            if stage != FEED:
                consumed = self.lowest(self.driver_readers, driver.shape[1]) * driver_row
            present: list[object] = []
            for buffer, maker in self.maker.items():
                rows = graph.tensors[buffer].shape[1]
                high = self.made[maker] + (maker == stage)
                if buffer in self.outputs:
                    if high:
                        present.append(buffer)
                else:
                    low = self.lowest(self.readers[buffer], rows)
                    if low < high or maker == stage:
                        present.append(buffer)
                    if maker == stage:
                        rings[buffer] = max(rings[buffer], high - low)
                if maker == stage and (stage == FEED or not segment.stages[stage].accumulates):
                    writes.setdefault(buffer, []).append(consumed)
            for i, key in kept:
                if self.made[i] or i == stage:
                    present.append(key)
                if i == stage and row == 0:
                    writes[key] = [consumed]
            if stage != FEED:
                present.append((position, "scratch"))
                writes.setdefault((position, "scratch"), [consumed])
                if segment.stages[stage].accumulates and row + 1 == segment.stages[stage].rows:
                    writes.setdefault(segment.stages[stage].output, []).append(consumed)
            self.made[stage] += 1
            done = {o: self._rows_of(o) for o in self.outputs}
            for thing in present:
                live.setdefault(thing, set()).add(position)
                written[thing] = done
        return self._result(rings, live, writes, written, len(events))

    def _rows_of(self, output: int) -> int:
        """Rows of an output's buffer that are written so far, by whoever is first to."""
        maker = self.maker[output]
        stage, made = self.segment.stages[maker], self.made[maker]
        return int(made == stage.rows) if stage.accumulates else made

    def _result(
        self,
        rings: dict[int, int],
        live: dict[object, set[int]],
        writes: dict[object, list[int]],
        written: dict[object, dict[int, int]],
        events: int,
    ) -> Streaming:
        consumed: dict[object, tuple[tuple[int, int], ...]] = {}
        for buffer, moments in writes.items():
            if isinstance(buffer, tuple):
                consumed[buffer] = ((moments[0], 0),)
            else:
                assert isinstance(buffer, int)
                size = row_bytes(self.graph.tensors[buffer])
                slots = rings.get(buffer, len(moments))
                consumed[buffer] = tuple(
                    (moment, (slot + 1) * size) for slot, moment in enumerate(moments[:slots])
                )
        return Streaming(
            segment=self.segment,
            outputs=self.outputs,
            owner=self.owner,
            rings=rings,
            spans={buffer: (min(at), max(at) + 1) for buffer, at in live.items()},
            consumed=consumed,
            written=written,
            events=events,
        )


def analyse(graph: Graph, segment: Segment) -> Streaming:
    """Run the schedule of a segment and note what its buffers hold."""
    return _Watch(graph, segment).run()
