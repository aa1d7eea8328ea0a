# SPDX-License-Identifier: Apache-2.0
"""What a row-streamed segment keeps in memory: its schedule, run with counters in place of kernels.

What this shows is exact for the network:

- `rings`: the most rows of each inner map that are written and still needed. Row r lies in slot
  r mod ring of its buffer. An operator on single rows that is the only reader of its input
  computes in place, in the same buffer. Of a pair's map, the newest row comes in strips and is
  kept when the reader's turn is over.
- `spans`: the operators that run while a buffer holds something. Two buffers of which no operator
  sees both may share bytes, as in an unstreamed plan; time is the position of the operator. In the
  turn of a pair's reader its producer runs as well.
- the driver's rows that are still needed when each buffer, slot by slot, is first written. Where
  the driver dies with the segment, buffers may lie over rows that were consumed before.
- the rows of an output that are written when a buffer is last used: it may lie over the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcudeploy.graph.ir import Graph
from mcudeploy.memory.streaming import FEED, Need, Segment, row_bytes, schedule


@dataclass(frozen=True, eq=False)
class Streaming:
    """What a segment keeps. Buffers of maps are named by the tensor whose rows they hold last.

    `consumed[b]`: (bytes of the driver consumed, end of the slot in the buffer) at the first write
    of each slot; `written[b]`: per output, its rows that are written when the buffer is last used.
    Scratch, accumulators and the strips of pairs' readers are named (position, "scratch"),
    (position, "state") and (position, "strip"). `events` are the turns of all stages, `strips` the
    strips in them.
    """

    segment: Segment
    outputs: tuple[int, ...]
    owner: Mapping[int, int]
    rings: Mapping[int, int]
    spans: Mapping[object, tuple[int, int]]
    consumed: Mapping[object, tuple[tuple[int, int], ...]]
    written: Mapping[object, Mapping[int, int]]
    events: int
    strips: int

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
        for need in stage.needs:
            if need.tensor not in stage.in_place:
                continue
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


@dataclass
class _Buffer:
    """A map, or several that lie in one place, while the schedule runs.

    It holds rows [low, high): those written and still read by one of the `readers`.
    """

    name: int
    rows: int
    maker: int
    readers: list[tuple[int, Need]]
    ring: int = 1
    low: int = 0
    high: int = 0


class _Watch:
    """Runs over the events with counters and notes what each buffer holds."""

    def __init__(self, graph: Graph, segment: Segment) -> None:
        self.graph, self.segment = graph, segment
        inner = segment.inner(graph)
        self.owner = _owners(graph, segment, inner)
        self.outputs = tuple(t for t in segment.produced if t not in inner)
        source = {stage.output: i for i, stage in enumerate(segment.stages)}
        members: dict[int, set[int]] = {}
        for tensor, buffer in self.owner.items():
            members.setdefault(buffer, {buffer}).add(tensor)
        for output in self.outputs:
            members.setdefault(output, {output})
        self.buffers = {
            buffer: _Buffer(
                buffer,
                graph.tensors[buffer].shape[1],
                min(source.get(t, FEED) for t in tensors),
                [] if buffer in self.outputs else self._readers(tensors),
            )
            for buffer, tensors in members.items()
        }
        driver = segment.driver
        whole = _Buffer(driver, graph.tensors[driver].shape[1], FEED, self._readers({driver}))
        self.driver = self.buffers.get(driver, whole)
        self.made_by: dict[int, list[int]] = {}
        self.read_by: dict[int, list[_Buffer]] = {}
        for name, kept in self.buffers.items():
            self.made_by.setdefault(kept.maker, []).append(name)
        for kept in {**self.buffers, driver: self.driver}.values():
            for reader in {i for i, _ in kept.readers}:
                self.read_by.setdefault(reader, []).append(kept)
        self.made = [0] * (len(segment.stages) + 1)
        self.live: set[int] = set()
        self.started: dict[int, object] = {}
        self.spans: dict[object, tuple[int, int]] = {}
        self.writes: dict[object, list[int]] = {}
        self.written: dict[object, dict[int, int]] = {}

    def _readers(self, tensors: set[int]) -> list[tuple[int, Need]]:
        return [
            (i, need)
            for i, stage in enumerate(self.segment.stages)
            for need in stage.needs
            if need.tensor in tensors
        ]

    def _lowest(self, buffer: _Buffer) -> int:
        """The first row that a reader still needs."""
        stages = self.segment.stages
        return min(
            (
                need.first(self.made[i])
                for i, need in buffer.readers
                if self.made[i] < stages[i].rows
            ),
            default=buffer.rows,
        )

    def run(self) -> Streaming:
        segment, consumed, strips = self.segment, 0, 0
        driver_row = row_bytes(self.graph.tensors[segment.driver])
        self.driver.low = self._lowest(self.driver)
        for name, buffer in self.buffers.items():
            buffer.low = 0 if name in self.outputs else self._lowest(buffer)
        events = schedule(segment, self.driver.rows)
        for number, row in events:
            if number == FEED:
                self._note(segment.first, [*self.live, *self._made(FEED, consumed)])
                self._advance(FEED)
                continue
            consumed = self.driver.low * driver_row
            stage = segment.stages[number]
            present = [*self.live, *self.started.values(), (stage.operator, "scratch")]
            present += self._made(number, consumed)
            self._first((stage.operator, "scratch"), consumed)
            if stage.accumulates:
                present.append((stage.operator, "state"))
                self.started[number] = (stage.operator, "state")
                self._first((stage.operator, "state"), consumed)
            paired = None
            if stage.strip is not None:
                other = segment.stages[stage.strip.producer]
                present += [(stage.operator, "strip"), (other.operator, "scratch")]
                self._first((stage.operator, "strip"), consumed)
                self._first((other.operator, "scratch"), consumed)
                strips += -(-self.graph.tensors[other.output].shape[2] // stage.strip.step)
                if stage.strip.newest(row) < other.rows:
                    paired = stage.strip.producer
                    present += self._made(paired, consumed)
            self._advance(number)
            if paired is not None:
                self._advance(paired)
            self._note(stage.operator, present)
        return self._result(len(events), strips)

    def _made(self, stage: int, consumed: int) -> list[int]:
        """The buffers that get a row from a stage in its turn."""
        if stage != FEED:
            one = self.segment.stages[stage]
            if one.accumulates and self.made[stage] + 1 < one.rows:
                return []
        made = self.made_by.get(stage, [])
        for buffer in made:
            self.writes.setdefault(buffer, []).append(consumed)
        return made

    def _first(self, buffer: object, consumed: int) -> None:
        self.writes.setdefault(buffer, [consumed])

    def _advance(self, stage: int) -> None:
        """A stage has had its turn."""
        self.made[stage] += 1
        made = [self.buffers[name] for name in self.made_by.get(stage, ())]
        for buffer in made:
            buffer.high = self.made[stage]
        for buffer in self.read_by.get(stage, ()):
            buffer.low = self._lowest(buffer)
        for buffer in (*made, *self.read_by.get(stage, ())):
            held = buffer.high - buffer.low
            buffer.ring = max(buffer.ring, held)
            if held > 0:
                self.live.add(buffer.name)
            else:
                self.live.discard(buffer.name)

    def _note(self, position: int, present: Sequence[object]) -> None:
        done = {output: self._rows_of(output) for output in self.outputs}
        for thing in present:
            start, end = self.spans.get(thing, (position, position))
            self.spans[thing] = min(start, position), max(end, position)
            self.written[thing] = done

    def _rows_of(self, output: int) -> int:
        """Rows of an output's buffer that are written so far, by whoever is first to."""
        maker = self.buffers[output].maker
        stage, made = self.segment.stages[maker], self.made[maker]
        return int(made == stage.rows) if stage.accumulates else made

    def _result(self, events: int, strips: int) -> Streaming:
        rings = {
            name: buffer.ring for name, buffer in self.buffers.items() if name not in self.outputs
        }
        consumed: dict[object, tuple[tuple[int, int], ...]] = {}
        for buffer, moments in self.writes.items():
            if isinstance(buffer, tuple):
                consumed[buffer] = ((moments[0], 0),)
                continue
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
            spans={thing: (start, end + 1) for thing, (start, end) in self.spans.items()},
            consumed=consumed,
            written=self.written,
            events=events,
            strips=strips,
        )


def analyse(graph: Graph, segment: Segment) -> Streaming:
    """Run the schedule of a segment and note what its buffers hold."""
    return _Watch(graph, segment).run()
