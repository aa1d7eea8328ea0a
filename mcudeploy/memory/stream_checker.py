# SPDX-License-Identifier: Apache-2.0
"""The checker's replay of a row-streamed segment: row by row, byte by byte.

Nothing of the scheduler or the planner is used. At each turn the last operator of the segment that
has all rows of its next one runs; when none has, the next row of the segment's input comes. A run

1. spoils its scratch, then finds every row that its window reads, whole, where a ring of the stated
   length would have it; other inputs as a whole; its sums and the counters unspoiled;
2. writes its row to bytes that hold none of the rows it reads, unless it works in place on single
   rows and its kernel's own statement permits it.

The reader of a pair runs as soon as its producer could make the newest row of the window. The
producer makes it a strip at a time in the reader's turn; what leaves the strip goes to the ring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mcudeploy.graph.ir import NO_TENSOR, Operator, Tensor
from mcudeploy.memory.plan import Placement, Plan, Stream
from mcudeploy.operators.base import Implementation, RowForm

_COUNTERS = -3
_SUMS = -4
"""The sums of operator k are -4 - k."""


class Memory(Protocol):
    """What the replay of a plan does with addresses."""

    def holds(self, place: Placement, source: int, offset: int) -> bool:
        """The place holds the bytes of tensor `source` from `offset` on."""

    def put(self, place: Placement, source: int, offset: int = 0) -> None:
        """Write them there."""

    def spoil(self, place: Placement) -> None:
        """Write rubbish."""

    def expect(self, tensor: int, where: str) -> None:
        """A whole tensor must be where the plan has it."""

    def whole(self, tensor: int) -> None:
        """From now on the tensor is one that was written as a whole."""


class Strip(Protocol):
    """What a segment says of the strips of a pair's reader."""

    @property
    def producer(self) -> int:
        """Its number in the segment."""

    @property
    def step(self) -> int:
        """Columns of the newest row that are made at a time."""

    @property
    def widest(self) -> int:
        """The reader's kernel is called for no more columns at a time."""


@dataclass
class StreamReplay:
    """One segment; faults go to `report`."""

    plan: Plan
    stream: Stream
    memory: Memory
    report: Callable[[str], None]

    def run(self) -> None:
        plan, stream = self.plan, self.stream
        first, end = stream.segment.first, stream.segment.end
        self.operators = [(k, plan.graph.operators[k]) for k in range(first, end)]
        self.written = {o.outputs[0]: 0 for _, o in self.operators}
        self.came = 0
        driver = stream.segment.driver
        height = plan.graph.tensors[driver].shape[1]
        for k, _ in self.operators:
            if plan.implementations[k].rows is None:
                self.report(f"step {k} is streamed but its kernel computes no rows")
                return
        for index in self._outside():
            self.memory.expect(index, f"before the rows of step {first}")
        self.memory.put(stream.counters, _COUNTERS)
        done = [0] * len(self.operators)
        while True:
            ready = [i for i in range(len(done)) if self._ready(i, done)]
            if ready:
                self._run(ready[-1], done)
            elif self.came < height:
                if stream.segment.fed:
                    self._put_row(driver, self.came)
                self.came += 1
            else:
                break
        if any(done[i] < self._turns(i) for i in range(len(done))):
            self.report(f"the rows of the segment at step {first} never come")
        for _, operator in self.operators:
            if operator.outputs[0] not in stream.rings:
                self.memory.whole(operator.outputs[0])

    def _outside(self) -> set[int]:
        """Tensors that come from outside and lie there as a whole."""
        fed = {self.stream.segment.driver} if self.stream.segment.fed else set()
        made = set(self.written) | fed | {NO_TENSOR}
        tensors = self.plan.graph.tensors
        return {
            t
            for _, operator in self.operators
            for t in operator.inputs
            if t not in made and not tensors[t].is_constant
        }

    def _form(self, i: int) -> RowForm:
        form = self.plan.implementations[self.operators[i][0]].rows
        assert form is not None
        return form

    def _turns(self, i: int) -> int:
        form, (_, operator) = self._form(i), self.operators[i]
        of = operator.inputs[form.windows[0].input] if form.accumulates else operator.outputs[0]
        return self.plan.graph.tensors[of].shape[1]

    def _rows_read(self, i: int, row: int) -> list[tuple[int, int]]:
        """(tensor, row) of all that operator i reads for a row, padding left out."""
        _, operator = self.operators[i]
        read = []
        for window in self._form(i).windows:
            tensor = operator.inputs[window.input]
            top = row * window.stride // window.up - window.pad
            for tap in range(window.kernel):
                y = top + tap * window.dilation
                if 0 <= y < self.plan.graph.tensors[tensor].shape[1]:
                    read.append((tensor, y))
        return read

    def _ready(self, i: int, done: Sequence[int]) -> bool:
        if done[i] >= self._turns(i):
            return False
        newest = self._newest(i, done[i])
        if newest is not None:
            strip, (between, row) = newest
            return self.written[between] == row and self._ready(strip.producer, done)
        _, operator = self.operators[i]
        for window in self._form(i).windows:
            tensor = operator.inputs[window.input]
            reach = (window.kernel - 1) * window.dilation
            last = done[i] * window.stride // window.up - window.pad + reach
            if self._there(tensor) <= min(last, self.plan.graph.tensors[tensor].shape[1] - 1):
                return False
        return True

    def _newest(self, i: int, row: int) -> tuple[Strip, tuple[int, int]] | None:
        """The strip of a pair's reader, and the (tensor, row) that comes by it in a turn."""
        strip = self.stream.segment.stages[i].strip
        if strip is None:
            return None
        (window,) = self._form(i).windows
        between = self.operators[i][1].inputs[window.input]
        newest = row * window.stride - window.pad + (window.kernel - 1) * window.dilation
        if newest >= self.plan.graph.tensors[between].shape[1]:
            return None
        return strip, (between, newest)

    def _there(self, tensor: int) -> int:
        """How many rows of a tensor have been written."""
        if tensor == self.stream.segment.driver:
            return self.came
        return self.written.get(tensor, self.plan.graph.tensors[tensor].shape[1])

    def _place(self, tensor: int, row: int) -> tuple[Placement, int]:
        """Where a row lies, and its offset in the whole tensor."""
        record = self.plan.graph.tensors[tensor]
        size = record.bytes // record.shape[1]
        whole = self.plan.tensors[tensor]
        slot = row % self.stream.rings.get(tensor, record.shape[1])
        return Placement(whole.region, whole.offset + slot * size, size), row * size

    def _put_row(self, tensor: int, row: int) -> None:
        place, offset = self._place(tensor, row)
        self.memory.put(place, tensor, offset)

    def _run(self, i: int, done: list[int]) -> None:
        newest = self._newest(i, done[i])
        if newest is not None:
            strip, (between, row) = newest
            StripReplay(self, i, strip, between, row).run(done[i])
            done[strip.producer] += 1
            self.written[between] += 1
            done[i] += 1
            self.written[self.operators[i][1].outputs[0]] += 1
            return
        (k, operator), row = self.operators[i], done[i]
        kernel, form = self.plan.implementations[k], self._form(i)
        where = f"at row {row} of step {k}, {self.plan.graph.describe(operator)}"
        read = self._rows_read(i, row)
        output = self._output(operator, form, row)
        writes = not form.accumulates or row + 1 == self._turns(i)
        scratch = self.plan.scratch.get(k)
        if scratch is not None:
            self.memory.spoil(scratch)
            if writes and _meet(scratch, output[0]):
                self.report(f"scratch shares bytes with the output {where}")
        if kernel.scratch_bytes > (scratch.bytes if scratch else 0):
            self.report(f"scratch is smaller than the kernel's {where}")
        for tensor, y in read:
            place, offset = self._place(tensor, y)
            if not self.memory.holds(place, tensor, offset):
                name = self.plan.graph.tensors[tensor].name
                self.report(f"row {y} of {name} is not whole {where}")
            over = writes and _meet(place, output[0])
            if over and not self._in_place(kernel, form, k, tensor, place, row):
                self.report(f"the output lies over a row that is read {where}")
        by_rows = {window.input for window in form.windows}
        for position, tensor in enumerate(operator.inputs):
            if position not in by_rows and tensor in self.plan.tensors:
                self.memory.expect(tensor, where)
        self._sums(k, form, row, where)
        done[i] += 1
        if writes:
            self.memory.put(output[0], operator.outputs[0], output[1])
            self.written[operator.outputs[0]] += 1
        if not self.memory.holds(self.stream.counters, _COUNTERS, 0):
            self.report(f"the row counters are overwritten {where}")

    def _output(self, operator: Operator, form: RowForm, row: int) -> tuple[Placement, int]:
        if form.accumulates:
            return self.plan.tensors[operator.outputs[0]], 0
        return self._place(operator.outputs[0], row)

    def _sums(self, k: int, form: RowForm, row: int, where: str) -> None:
        if not form.accumulates:
            return
        place = self.stream.state.get(k)
        if place is None or place.bytes < form.state_bytes:
            self.report(f"there is no room for sums {where}")
        elif row > 0 and not self.memory.holds(place, _SUMS - k, 0):
            self.report(f"the sums are overwritten {where}")
        else:
            self.memory.put(place, _SUMS - k)

    def _in_place(
        self,
        kernel: Implementation,
        form: RowForm,
        k: int,
        tensor: int,
        place: Placement,
        row: int,
    ) -> bool:
        """The output row is the input row, and the kernel may write over what it has read."""
        operator = self.plan.graph.operators[k]
        if not form.flat or form.accumulates:
            return False
        positions = [p for p, t in enumerate(operator.inputs) if t == tensor]
        permitted = {
            rule.input
            for rule in kernel.overlaps
            if (rule.max_distance is not None and rule.max_distance >= 0)
            or (rule.min_distance is not None and rule.min_distance <= 0)
        }
        return self._place(operator.outputs[0], row)[0] == place and permitted >= set(positions)


@dataclass
class StripReplay:
    """A turn of a pair's reader, number `i`: row `newest` of `between` is made in strips."""

    segment: StreamReplay
    i: int
    strip: Strip
    between: int
    newest: int

    def run(self, row: int) -> None:
        whole, strip = self.segment, self.strip
        tensor = whole.plan.graph.tensors[self.between]
        self.where = f"in the strips of row {self.newest} of {tensor.name}"
        self.place = whole.stream.strips[whole.operators[self.i][0]]
        self.size = tensor.bytes // (tensor.shape[1] * tensor.shape[2])
        width = tensor.shape[2]
        output = whole.plan.graph.tensors[whole.operators[self.i][1].outputs[0]]
        columns = whole._form(self.i).columns
        assert columns is not None
        reach = (columns.kernel - 1) * columns.dilation + 1
        begin = done = 0
        for made in range(0, width, strip.step):
            end_made = min(made + strip.step, width)
            self._make(made, end_made, begin)
            # All outputs of which no tap lies beyond the columns that are made.
            end = done
            while end < output.shape[2] and (
                end_made == width or end * columns.stride - columns.pad + reach <= end_made
            ):
                end += 1
            if end > done:
                first = max(0, done * columns.stride - columns.pad)
                last = min(width, (end - 1) * columns.stride - columns.pad + reach)
                self._read(row, (done, end), (first, last), begin)
            done = end
            left = max(begin, min(end_made, done * columns.stride - columns.pad))
            self._leave(begin, width if end_made == width else left, end_made)
            begin = left

    def _part(self, begin: int, columns: tuple[int, int]) -> tuple[Placement, int]:
        """Where columns of the newest row lie in the strip, and their offset in the tensor."""
        first, last = columns
        bytes_ = (last - first) * self.size
        offset = self.place.offset + (first - begin) * self.size
        if first < begin or offset + bytes_ > self.place.offset + self.place.bytes:
            self.segment.report(f"columns lie outside of the strip {self.where}")
        record = self.segment.plan.graph.tensors[self.between]
        row = record.bytes // record.shape[1]
        return Placement(self.place.region, offset, bytes_), self.newest * row + first * self.size

    def _make(self, made: int, end: int, begin: int) -> None:
        whole, p = self.segment, self.strip.producer
        self._spoil(p)
        place, offset = self._part(begin, (made, end))
        for tensor, y in whole._rows_read(p, self.newest):
            read, start = whole._place(tensor, y)
            if not whole.memory.holds(read, tensor, start):
                name = whole.plan.graph.tensors[tensor].name
                whole.report(f"row {y} of {name} is not whole {self.where}")
            if _meet(read, place):
                whole.report(f"the output lies over a row that is read {self.where}")
        whole.memory.put(place, self.between, offset)

    def _spoil(self, i: int) -> None:
        """What a call's scratch overwrites."""
        k = self.segment.operators[i][0]
        scratch = self.segment.plan.scratch.get(k)
        if scratch is not None:
            self.segment.memory.spoil(scratch)
        needed = self.segment.plan.implementations[k].scratch_bytes
        if needed > (scratch.bytes if scratch else 0):
            self.segment.report(f"scratch is smaller than the kernel's {self.where}")

    def _read(
        self, row: int, columns: tuple[int, int], window: tuple[int, int], begin: int
    ) -> None:
        whole = self.segment
        if columns[1] - columns[0] > self.strip.widest:
            whole.report(f"more columns at a time than the kernel is made for {self.where}")
        self._spoil(self.i)
        output = whole.operators[self.i][1].outputs[0]
        record = whole.plan.graph.tensors[output]
        size = record.bytes // (record.shape[1] * record.shape[2])
        whole_row, start = whole._place(output, row)
        at = columns[0] * size
        place = Placement(whole_row.region, whole_row.offset + at, (columns[1] - columns[0]) * size)
        for tensor, y in whole._rows_read(self.i, row):
            if y == self.newest:
                read, source = self._part(begin, window)
            else:
                line, source = whole._place(tensor, y)
                shift = window[0] * self.size
                bytes_ = (window[1] - window[0]) * self.size
                read, source = Placement(line.region, line.offset + shift, bytes_), source + shift
            if not whole.memory.holds(read, tensor, source):
                whole.report(f"row {y} is not whole under a window {self.where}")
            if _meet(read, place):
                whole.report(f"the output lies over columns that are read {self.where}")
        whole.memory.put(place, output, start + at)
        if not whole.memory.holds(whole.stream.counters, _COUNTERS, 0):
            whole.report(f"the row counters are overwritten {self.where}")

    def _leave(self, begin: int, left: int, made: int) -> None:
        """Columns that no window covers any more go to the row's slot; the others move up."""
        whole = self.segment
        slot, start = whole._place(self.between, self.newest)
        for columns in ((begin, left), (left, made)):
            place, offset = self._part(begin, columns)
            if place.bytes and not whole.memory.holds(place, self.between, offset):
                whole.report(f"the strip is overwritten {self.where}")
        at, bytes_ = begin * self.size, (left - begin) * self.size
        if bytes_:
            place = Placement(slot.region, slot.offset + at, bytes_)
            whole.memory.put(place, self.between, start + at)
        place, offset = self._part(left, (left, made))
        if place.bytes:
            whole.memory.put(place, self.between, offset)


def bytes_of(tensor: Tensor, ring: int | None) -> int:
    """What a tensor takes, or the `ring` rows of it that are kept."""
    return tensor.bytes if ring is None else ring * (tensor.bytes // tensor.shape[1])


def kept_by_streams(plan: Plan) -> Iterator[Placement]:
    """The places of counters, sums and strips."""
    for stream in plan.streams:
        yield stream.counters
        yield from stream.state.values()
        yield from stream.strips.values()


def _meet(a: Placement, b: Placement) -> bool:
    return a.region == b.region and max(a.offset, b.offset) < min(
        a.offset + a.bytes, b.offset + b.bytes
    )
