# SPDX-License-Identifier: Apache-2.0
"""An independent check of memory plans: replay the plan and watch every byte.

Nothing of the planner is used, not even its notion of lifetimes. Memory is a map from addresses to
what they hold: byte k of the value of tensor t, or rubbish. The replay fills in the graph's inputs
and state, and then runs the operators in the plan's order:

1. every input must be found, whole, where the plan says it is;
2. scratch must be there and touch no input and no output of its operator;
3. an output that shares bytes with an input must do so at a distance that the implementation's
   own statement permits; an output that is a view, or is written in place, must lie exactly where
   its input demands;
4. scratch becomes rubbish, outputs become their values; a view takes over what it lies on.

At the end the graph's outputs and the state must still be whole. A lifetime that is too short, an
overlap too far or an order that reads too early all show as a value that is not there. Alignment,
regions, sizes and the claims of the certificate are checked besides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator
from mcudeploy.memory.plan import Placement, Plan
from mcudeploy.memory.stream_checker import StreamReplay, bytes_of, kept_by_streams
from mcudeploy.operators.base import Implementation

Held = tuple[int, int, int, int]
"""Addresses [low, high) hold the bytes of tensor `source` from `offset` on."""

_RUBBISH = -2


@dataclass
class _Memory:
    """What the addresses of one region hold; sorted, disjoint pieces."""

    pieces: list[Held] = field(default_factory=list)

    def write(self, low: int, high: int, source: int, offset: int = 0) -> None:
        if low >= high:
            return
        kept: list[Held] = [(low, high, source, offset)]
        for a, b, held, at in self.pieces:
            if a < low:
                kept.append((a, min(b, low), held, at))
            if b > high:
                start = max(a, high)
                kept.append((start, b, held, at + start - a))
        self.pieces = sorted(piece for piece in kept if piece[0] < piece[1])

    def read(self, low: int, high: int) -> list[Held]:
        """The contents of [low, high), counted from `low`, with gaps as rubbish."""
        found: list[Held] = []
        position = low
        for a, b, held, at in self.pieces:
            start, end = max(a, low), min(b, high)
            if start < end:
                if start > position:
                    found.append((position - low, start - low, _RUBBISH, 0))
                found.append((start - low, end - low, held, at + start - a))
                position = end
        if position < high:
            found.append((position - low, high - low, _RUBBISH, 0))
        return found


class _Replay:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.graph = plan.graph
        self.places = {**plan.tensors, **plan.state}
        self.memory = {region: _Memory() for region in plan.arenas}
        self.contents: dict[int, list[Held]] = {}
        self.faults: list[str] = []

    def run(self) -> None:
        graph = self.graph
        fed = {s.segment.driver for s in self.plan.streams if s.segment.fed}
        given = [
            i for i in dict.fromkeys(graph.inputs)
            if i not in fed and not graph.tensors[i].is_constant
        ]  # fmt: skip
        state = [i for i in self.plan.state if i not in given]
        for index in (*state, *given):
            self._fill(index)
        for index in (*state, *given):
            self._expect(index, "at the start")
        for step, operator in enumerate(graph.operators):
            stream = self.plan.stream_at(step)
            if stream is None:
                self._step(step, operator, self.plan.implementations[step])
            elif stream.segment.first == step:
                StreamReplay(self.plan, stream, self, self.faults.append).run()
        for index in dict.fromkeys(graph.outputs):
            if not graph.tensors[index].is_constant:
                self._expect(index, "at the end")
        for index in self.plan.state:
            self._expect(index, "at the end")

    def _step(self, step: int, operator: Operator, implementation: Implementation) -> None:
        graph, where = self.graph, f"at step {step}, {self.graph.describe(operator)}"
        inputs = [
            None if i == NO_TENSOR or graph.tensors[i].is_constant else i for i in operator.inputs
        ]
        for index in {i for i in inputs if i is not None}:
            self._expect(index, where)
        scratch = self._scratch(step, operator, implementation, where)
        viewed = self._views(operator, implementation, where)
        for number, output in enumerate(operator.outputs):
            self._overlaps(number, output, inputs, implementation, where)
            for other in operator.outputs[:number]:
                both_views = output in viewed and other in viewed
                if other != output and not both_views and self._share(output, other):
                    self.faults.append(f"two outputs of one operator share bytes {where}")
        if scratch is not None:
            self._write(scratch, _RUBBISH)
        for output in operator.outputs:
            if output in viewed:
                self.contents[output] = viewed[output]
                for low, high, source, offset in viewed[output]:
                    if source == output and (place := self.places.get(output)):
                        part = Placement(place.region, place.offset + low, high - low)
                        self._write(part, source, offset)
            else:
                self._fill(output)

    def _scratch(
        self, step: int, operator: Operator, implementation: Implementation, where: str
    ) -> Placement | None:
        place = self.plan.scratch.get(step)
        if place is None:
            if implementation.scratch_bytes:
                self.faults.append(f"there is no scratch {where}")
            return None
        if place.bytes < implementation.scratch_bytes:
            self.faults.append(f"scratch is smaller than the kernel's {where}")
        for index in (*operator.inputs, *operator.outputs):
            other = self.places.get(index)
            if other and _intersect(place, other):
                self.faults.append(f"scratch shares bytes with {self._name(index)} {where}")
        return place

    def _views(
        self, operator: Operator, implementation: Implementation, where: str
    ) -> dict[int, list[Held]]:
        """The contents of the outputs that are views, by following them into their inputs."""
        placed = implementation.placed
        statements = [(view.input, view.output, view.distance, view.written) for view in placed]
        if implementation.kernel == "none" and not placed:
            statements = [(0, 0, 0, False)]
        contents: dict[int, list[Held]] = {}
        for i, o, distance, written in statements:
            source, output = operator.inputs[i], operator.outputs[o]
            a, b = self.places.get(source), self.places.get(output)
            if a is None or b is None:
                self.faults.append(f"{self._name(output)} is a view of what has no place {where}")
                continue
            if a.region != b.region or b.offset - a.offset != distance:
                self.faults.append(f"{self._name(output)} is not where its view must be {where}")
                continue
            if written:
                continue
            known = contents.get(output, [(0, b.bytes, output, 0)])
            low, high = max(0, -distance), min(b.bytes, a.bytes - distance)
            held = self.contents.get(source, [])
            taken = [
                (s - distance, e - distance, t, k)
                for s, e, t, k in _cut(held, low + distance, high + distance)
            ]
            contents[output] = [*_cut(known, 0, low), *taken, *_cut(known, max(high, low), b.bytes)]
        return contents

    def _overlaps(
        self,
        number: int,
        output: int,
        inputs: Sequence[int | None],
        implementation: Implementation,
        where: str,
    ) -> None:
        views = {(view.input, view.output) for view in implementation.placed}
        if implementation.kernel == "none" and not views:
            views = {(0, 0)}
        for position, index in enumerate(inputs):
            if index is None or not self._share(output, index) or (position, number) in views:
                continue
            distance = self.places[output].offset - self.places[index].offset
            rules = [
                rule
                for rule in implementation.overlaps
                if (rule.input, rule.output) == (position, number)
            ]
            if not rules or not all(
                (r.max_distance is not None and distance <= r.max_distance)
                or (r.min_distance is not None and distance >= r.min_distance)
                for r in rules
            ):
                self.faults.append(
                    f"{self._name(output)} lies over {self._name(index)} at a distance of "
                    f"{distance} bytes, which its kernel does not permit, {where}"
                )

    def _expect(self, index: int, where: str) -> None:
        place = self.places.get(index)
        if place is None or place.region not in self.memory:
            self.faults.append(f"{self._name(index)} has no place {where}")
            return
        found = self.memory[place.region].read(place.offset, place.offset + place.bytes)
        if _joined(found) != _joined(self.contents.get(index, [])):
            spoiled = {self._name(t) for _, _, t, _ in found} - {self._name(index)}
            by = f" (bytes of {', '.join(sorted(spoiled))} are there)" if spoiled else ""
            self.faults.append(f"{self._name(index)} is not whole {where}{by}")

    def _fill(self, index: int) -> None:
        place = self.places.get(index)
        if place is None:
            if not self.graph.tensors[index].is_constant:
                self.faults.append(f"{self._name(index)} has no place")
            return
        self.contents[index] = [(0, place.bytes, index, 0)]
        self._write(place, index)

    def _write(self, place: Placement, source: int, offset: int = 0) -> None:
        if place.region in self.memory:
            end = place.offset + place.bytes
            self.memory[place.region].write(place.offset, end, source, offset)

    def holds(self, place: Placement, source: int, offset: int) -> bool:
        """A place holds the bytes of a tensor from `offset` on, or of what the tensor views."""
        if place.region not in self.memory:
            return False
        found = self.memory[place.region].read(place.offset, place.offset + place.bytes)
        known = self.contents.get(source)
        wanted = [(0, place.bytes, source, offset)]
        if known is not None:
            cut = _cut(known, offset, offset + place.bytes)
            wanted = [(a - offset, b - offset, t, k) for a, b, t, k in cut]
        return _joined(found) == _joined(wanted)

    def put(self, place: Placement, source: int, offset: int = 0) -> None:
        """Write bytes of a tensor, from `offset` on, to a place."""
        self._write(place, source, offset)

    def spoil(self, place: Placement) -> None:
        """Write rubbish to a place."""
        self._write(place, _RUBBISH)

    def expect(self, tensor: int, where: str) -> None:
        """A tensor must be where the plan has it."""
        self._expect(tensor, where)

    def whole(self, tensor: int) -> None:
        """A tensor has been written piece by piece."""
        self.contents[tensor] = [(0, self.graph.tensors[tensor].bytes, tensor, 0)]

    def _share(self, a: int, b: int) -> bool:
        first, second = self.places.get(a), self.places.get(b)
        return first is not None and second is not None and _intersect(first, second)

    def _name(self, index: int) -> str:
        return "rubbish" if index == _RUBBISH else self.graph.tensors[index].name


def check_plan(plan: Plan) -> tuple[str, ...]:
    """What is wrong with a plan, a sentence each; empty for a sound one.

    Whether the arenas fit their regions is the budget's question for the first region; beyond it
    no arena may be larger than its region.
    """
    if len(plan.implementations) != len(plan.graph.operators):
        return ("the plan does not have one implementation per operator",)
    faults = [*_placement_faults(plan), *_arena_faults(plan)]
    replay = _Replay(plan)
    replay.run()
    faults += replay.faults
    faults += _certificate_faults(plan)
    return tuple(dict.fromkeys(faults))


def _placement_faults(plan: Plan) -> Iterator[str]:
    graph, alignment = plan.graph, plan.board.core.alignment
    rings = {t: rows for stream in plan.streams for t, rows in stream.rings.items()}
    named = [
        (graph.tensors[i].name, bytes_of(graph.tensors[i], rings.get(i)), p)
        for i, p in plan.tensors.items()
    ]
    for stream in plan.streams:
        named += [(f"sums of step {s}", p.bytes, p) for s, p in stream.state.items()]
        named.append(("row counters", 2 * (len(stream.segment.stages) + 1), stream.counters))
    named += [(graph.tensors[i].name, graph.tensors[i].bytes, p) for i, p in plan.state.items()]
    named += [(f"scratch of step {s}", p.bytes, p) for s, p in plan.scratch.items()]
    for name, size, place in named:
        if place.bytes != size:
            yield f"{name} takes {size} bytes but has a place of {place.bytes}"
        if place.offset < 0 or place.offset % alignment:
            yield f"{name} is not aligned to {alignment} bytes"
        if place.offset + place.bytes > plan.arenas.get(place.region, -1):
            yield f"{name} is not within the arena of {place.region}"
    kept = {(p.region, p.offset) for p in plan.state.values()}
    for name, _, place in named:
        below = [offset for region, offset in kept if region == place.region]
        inside = below and place.offset + place.bytes > min(below)
        if inside and (place.region, place.offset) not in kept:
            yield f"{name} is not below the state of {place.region}"
    for index in plan.state:
        if not graph.tensors[index].is_variable:
            yield f"{graph.tensors[index].name} is planned as state but is none"
    for index in plan.tensors:
        if graph.tensors[index].is_variable:
            yield f"{graph.tensors[index].name} is state but not planned as such"
    for step in plan.scratch:
        if not 0 <= step < len(graph.operators):
            yield f"scratch belongs to step {step}, which does not exist"


def _arena_faults(plan: Plan) -> Iterator[str]:
    ram = {region.name: region for region in plan.board.memory if region.kind == "ram"}
    first = plan.board.regions("ram")[0].name
    for name, size in plan.arenas.items():
        if name not in ram:
            yield f"{name} is no RAM region of the board"
        elif name != first and size > ram[name].size:
            yield f"the arena of {name} is larger than the region"


def _certificate_faults(plan: Plan) -> Iterator[str]:
    claimed = plan.certificate
    height = 0
    used = (*plan.tensors.values(), *plan.scratch.values(), *kept_by_streams(plan))
    for region in plan.arenas:
        state = [p for p in plan.state.values() if p.region == region]
        height += max((p.offset + p.bytes for p in used if p.region == region), default=0)
        height += max((p.offset + p.bytes for p in state), default=0)
        height -= min((p.offset for p in state), default=0)
    if height != claimed.peak_bytes:
        yield f"the certificate claims {claimed.peak_bytes} bytes, the plan has {height}"
    live = _live_bytes(plan)
    if live != plan.live_bytes:
        yield "the live bytes of the steps are not those of the plan"
    elif live and live[claimed.peak_step] != max(live):
        yield f"step {claimed.peak_step} is not the one with the most live bytes"
    largest = max((p.bytes for p in plan.tensors.values()), default=0)
    if not largest <= claimed.lower_bound_bytes <= claimed.peak_bytes:
        yield "the claimed lower bound is above the peak or below the largest tensor"


def _live_bytes(plan: Plan) -> tuple[int, ...]:
    """Bytes that are in use at each step: being written or read, or waiting to be read."""
    graph = plan.graph
    steps = max(len(graph.operators), 1)
    in_use: list[list[Placement]] = [[] for _ in range(steps)]
    uses: dict[int, list[int]] = {index: [] for index in plan.tensors}
    for step, operator in enumerate(graph.operators):
        for index in (*operator.inputs, *operator.outputs):
            if index in uses:
                uses[index].append(step)
    for index, place in plan.tensors.items():
        first, last = _touched(graph, index, uses[index], steps)
        for step in range(first, last + 1):
            in_use[step].append(place)
    for step, place in plan.scratch.items():
        if 0 <= step < steps:
            in_use[step].append(place)
    for stream in plan.streams:
        inside = range(stream.segment.first, stream.segment.end)
        together = [place for step in inside for place in in_use[step]]
        together += [*stream.state.values(), *stream.strips.values(), stream.counters]
        for step in inside:
            in_use[step] = together
    return tuple(_union_bytes([*places, *plan.state.values()]) for places in in_use)


def _touched(graph: Graph, index: int, used: Sequence[int], steps: int) -> tuple[int, int]:
    """The first and the last step at which a tensor must be in memory."""
    uses = [*used, *[0] * (index in graph.inputs), *[steps - 1] * (index in graph.outputs)]
    return (min(uses), max(uses)) if uses else (0, -1)


def _union_bytes(places: Sequence[Placement]) -> int:
    total = 0
    for region in {place.region for place in places}:
        covered = -1
        ranges = sorted((p.offset, p.offset + p.bytes) for p in places if p.region == region)
        for low, high in ranges:
            total += max(0, high - max(low, covered))
            covered = max(covered, high)
    return total


def _intersect(a: Placement, b: Placement) -> bool:
    return a.region == b.region and max(a.offset, b.offset) < min(
        a.offset + a.bytes, b.offset + b.bytes
    )


def _cut(pieces: Sequence[Held], low: int, high: int) -> list[Held]:
    """The pieces within [low, high), at their own positions."""
    return [
        (max(a, low), min(b, high), source, offset + max(a, low) - a)
        for a, b, source, offset in pieces
        if max(a, low) < min(b, high)
    ]


def _joined(pieces: Sequence[Held]) -> list[Held]:
    """The same contents in as few pieces as possible."""
    joined: list[Held] = []
    for a, b, source, offset in pieces:
        if joined:
            start, end, last, at = joined[-1]
            follows = source == _RUBBISH or at + end - start == offset
            if last == source and end == a and follows:
                joined[-1] = (start, b, last, at)
                continue
        joined.append((a, b, source, offset))
    return joined
