# SPDX-License-Identifier: Apache-2.0
"""Row-streamed segments: which operators run row by row, and in which order.

A segment is a run of operators that compute rows from rows. One tensor that it reads, the driver,
comes row by row (or lies there and is read row by row); whatever the rows that have come allow is
computed before the next one is looked at, always by the latest operator that can. So a row is
consumed as soon as it is complete, a map between two operators needs no more rows than the later
one's window, and no row is computed twice. The generated loop follows the same rule at run time
(firmware/kernels/stream.h), so the schedule is known here; `stream_watch` runs it with counters in
place of kernels, to see what must be kept.

Strips. A stage with a window of k rows and the stage that makes its input may form a pair. Then
the k-1 older rows are kept, and the newest is made in the reader's own turn, a strip of columns at
a time: what the strip's columns complete of the reader's row is computed, and they take the place
of the oldest row's, which nobody needs any more. A row less is kept, for a strip; the price is a
call for each strip in place of one for each row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mcudeploy.graph.ir import NO_TENSOR, Graph, Tensor
from mcudeploy.operators.base import Implementation, RowWindow
from mcudeploy.operators.windows import is_map

COUNTER_BYTES = 2
FEED = -1
"""The stage that stands for the driver's next row."""
_MOST_STAGES = 100
_MOST_ROWS = 1 << 14
_MOST_REACH = 12
"""MCUD_STRIPS_MOST_ROWS: rows of a window in strips.h."""
_NARROW = 12
"""Columns of a map up to which strips have three, a tile of the convolution; else two tiles."""


class Need(NamedTuple):
    """The rows of a tensor that a stage reads for row r: `reach` from r * stride // up - pad on."""

    tensor: int
    rows: int
    stride: int
    pad: int
    reach: int
    up: int = 1

    def first(self, row: int) -> int:
        """No row before this one is read for row `row` or later ones."""
        return min(self.rows, max(0, row * self.stride // self.up - self.pad))

    def end(self, row: int) -> int:
        """All rows before this one must be there."""
        return max(0, min(self.rows, row * self.stride // self.up - self.pad + self.reach))


@dataclass(frozen=True)
class Strip:
    """How a stage's input gets the newest row of its window in strips.

    For the reader's row r that is row r * stride + lead of the input, made by stage `producer`
    (a number within the segment) `step` columns at a time. `columns` says what the reader reads
    of it. The strip holds at most `kept` columns, `pixel_bytes` each, and the reader computes at
    most `widest` columns of its own at a time.
    """

    producer: int
    stride: int
    lead: int
    columns: RowWindow
    step: int
    kept: int
    widest: int
    pixel_bytes: int

    def newest(self, row: int) -> int:
        return row * self.stride + self.lead


@dataclass(frozen=True)
class Stage:
    """One operator of a segment; it runs `rows` times. Accumulating ones write at the last."""

    operator: int
    output: int
    rows: int
    needs: tuple[Need, ...]
    in_place: frozenset[int]
    """The inputs whose row may become the output's in its place."""
    accumulates: bool
    strip: Strip | None = None


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
    def pairs(self) -> tuple[tuple[Stage, Stage, Strip], ...]:
        """(producer, reader, strip)."""
        return tuple(
            (self.stages[stage.strip.producer], stage, stage.strip)
            for stage in self.stages
            if stage.strip is not None
        )

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


def _in_place(form: Implementation, position: int) -> bool:
    """A row of the output may lie where the input's is."""
    if form.rows is None or not form.rows.flat or form.rows.accumulates:
        return False
    return any(
        rule.input == position
        and (
            (rule.max_distance is not None and rule.max_distance >= 0)
            or (rule.min_distance is not None and rule.min_distance <= 0)
        )
        for rule in form.overlaps
    )


def pixel_bytes(tensor: Tensor) -> int:
    """All channels of one pixel of a map."""
    return tensor.bytes // (tensor.shape[1] * tensor.shape[2])


def make_segment(
    graph: Graph,
    first: int,
    end: int,
    forms: Sequence[Sequence[Implementation]],
    *,
    fed: bool = False,
    strips: int = 0,
) -> Segment | None:
    """The segment of the operators [first, end); None where they cannot be streamed together.

    `forms` are the row implementations of every operator of the graph. With `strips` all stages
    that can form a pair do, each at most one; strips are so many times as long as they must be.
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
            needs.append(Need(index, tensor.shape[1], window.stride, window.pad, reach, window.up))
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
        in_place = frozenset(
            operator.inputs[window.input]
            for window in form.windows
            if all(_in_place(one, window.input) for one in forms[position])
        )
        stages.append(Stage(position, output, rows, tuple(needs), in_place, form.accumulates))
        if not form.accumulates:
            made.add(output)
    segment = Segment(first, end, driver, tuple(stages), fed)
    accumulated = {stage.output for stage in stages if stage.accumulates}
    if graph.tensors[driver].is_variable or accumulated & segment.inner(graph):
        return None
    longer = dict.fromkeys(range(first, end), strips)
    return with_strips(graph, segment, forms, longer) if strips else segment


def with_strips(
    graph: Graph,
    segment: Segment,
    forms: Sequence[Sequence[Implementation]],
    longer: Mapping[int, int],
) -> Segment:
    """A segment without pairs with all stages in pairs that can be.

    `longer`: how many times as long as they must be the strips are that an operator reads; 0: none.
    """
    inner = segment.inner(graph)
    readers: dict[int, int] = {}
    for operator in graph.operators:
        for tensor in operator.inputs:
            readers[tensor] = readers.get(tensor, 0) + 1
    stages = list(segment.stages)
    source = {stage.output: i for i, stage in enumerate(stages)}
    for i, stage in enumerate(stages):
        need = stage.needs[0]
        producer = source.get(need.tensor)
        alone = need.tensor in inner and readers[need.tensor] == 1
        if producer is None or not alone or stages[producer].strip is not None:
            continue
        columns = [_columns(forms[stages[j].operator]) for j in (i, producer)]
        if None in columns or len(stages[producer].needs) > 1 or need.up > 1:
            continue
        times = longer.get(stage.operator, 0)
        strip = _strip(graph, stage, producer, columns[0], times) if times else None
        if strip is not None:
            stages[i] = _paired(stage, stages[producer], strip)
    return replace(segment, stages=tuple(stages))


def _columns(forms: Sequence[Implementation]) -> RowWindow | None:
    """The columns that the operator's forms for parts of rows read."""
    return next((f.rows.columns for f in forms if f.rows and f.rows.columns), None)


def _strip(
    graph: Graph, stage: Stage, producer: int, columns: RowWindow | None, times: int
) -> Strip | None:
    """The strip of a reader; None where it gains nothing or the window does not permit it.

    `times`: how many times as long it is as it must be.
    """
    need, tensor = stage.needs[0], graph.tensors[stage.needs[0].tensor]
    assert columns is not None
    width, lead = tensor.shape[2], need.reach - need.pad - 1
    step = times * (3 if width <= _NARROW else 6 * -(-width // 36))
    fits = 1 < need.reach <= _MOST_REACH and need.stride < need.reach and lead >= 0
    if len(stage.needs) > 1 or not fits or width <= step:
        return None
    out_width = graph.tensors[stage.output].shape[2]
    kept, widest = _strip_widths(columns, width, out_width, step)
    if kept >= width:
        return None
    if width <= _NARROW:  # where a longer step takes no more room, it saves a call
        longer = [
            n for n in range(step, width) if _strip_widths(columns, width, out_width, n)[0] <= kept
        ]
        step = longer[-1]
        kept, widest = _strip_widths(columns, width, out_width, step)
    return Strip(producer, need.stride, lead, columns, step, kept, widest, pixel_bytes(tensor))


def _strip_widths(columns: RowWindow, width: int, out_width: int, step: int) -> tuple[int, int]:
    """(most columns in the strip, most columns of output at a time), as mcud_strips has them."""
    reach = (columns.kernel - 1) * columns.dilation + 1
    made = begin = done = kept = widest = 0
    while made < width or done < out_width:
        made = min(width, made + step)
        kept = max(kept, made - begin)
        end = out_width
        if made < width:
            end = max(done, min(end, (made - reach + columns.pad) // columns.stride + 1))
        widest = max(widest, end - done)
        done = end
        begin = min(made, max(0, done * columns.stride - columns.pad))
    return kept, widest


def _paired(stage: Stage, producer: Stage, strip: Strip) -> Stage:
    """The reader of a pair: a row less of its input, and what its producer needs for the newest.

    It has them whenever its producer could make that row by itself, and being later it goes first.
    """
    own = stage.needs[0]
    needs = [Need(own.tensor, own.rows, own.stride, own.pad, own.reach - 1)]
    for need in producer.needs:
        pad = need.pad - strip.lead * need.stride
        needs.append(Need(need.tensor, need.rows, strip.stride * need.stride, pad, need.reach))
    return replace(stage, needs=tuple(needs), strip=strip)


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
            strip = stages[at].strip
            if strip is not None and strip.newest(row) < stages[strip.producer].rows:
                made[strip.producer] += 1
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
