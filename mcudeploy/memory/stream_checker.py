# SPDX-License-Identifier: Apache-2.0
"""The checker's replay of a row-streamed segment: row by row, byte by byte.

Nothing of the scheduler or the planner is used. At each turn the last operator of the segment that
has all rows of its next one runs; when none has, the next row of the segment's input comes. A run

1. spoils its scratch, then finds every row that its window reads, whole, where a ring of the stated
   length would have it; other inputs as a whole; its sums and the counters unspoiled;
2. writes its row to bytes that hold none of the rows it reads, unless it works in place on single
   rows and its kernel's own statement permits it.
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
            top = row * window.stride - window.pad
            for tap in range(window.kernel):
                y = top + tap * window.dilation
                if 0 <= y < self.plan.graph.tensors[tensor].shape[1]:
                    read.append((tensor, y))
        return read

    def _ready(self, i: int, done: Sequence[int]) -> bool:
        if done[i] >= self._turns(i):
            return False
        return all(self._there(t) > y for t, y in self._rows_read(i, done[i]))

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


def bytes_of(tensor: Tensor, ring: int | None) -> int:
    """What a tensor takes, or the `ring` rows of it that are kept."""
    return tensor.bytes if ring is None else ring * (tensor.bytes // tensor.shape[1])


def kept_by_streams(plan: Plan) -> Iterator[Placement]:
    """The places of counters and sums."""
    for stream in plan.streams:
        yield stream.counters
        yield from stream.state.values()


def _meet(a: Placement, b: Placement) -> bool:
    return a.region == b.region and max(a.offset, b.offset) < min(
        a.offset + a.bytes, b.offset + b.bytes
    )
