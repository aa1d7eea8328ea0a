# SPDX-License-Identifier: Apache-2.0
"""Turns the unrolled time steps of a recurrent layer into one REPEAT.

`graph/steps.py` finds the steps; here they become the bodies of a `Repeat`. What a step took from
an UNPACK it takes from the sequence itself. Where a PACK gathers what each step makes, the loop
writes the sequence itself, and what the PACK gathers besides (the first step is written otherwise:
it has no state to begin with) is joined to it by a CONCATENATION, which the plan makes a placement.
Every tensor of every step keeps its scale and its `source`; nothing is computed otherwise.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator, Tensor
from mcudeploy.graph.steps import Carried, Made, Steps, Taken, find_steps, is_outermost
from mcudeploy.operators.repeat import Carry, Give, Repeat, Take

NAME = "roll-steps"


def apply(graph: Graph) -> Graph:
    while (rolled := next(_rolled(graph), None)) is not None:
        graph = rolled
    return graph


def _rolled(graph: Graph) -> Iterator[Graph]:
    """The graph with one recurrent layer rolled."""
    for steps in find_steps(graph):
        uses = _outside_uses(graph, steps)
        if uses is not None:
            yield _Roll(graph, steps, uses).graph()


@dataclass(frozen=True)
class _Use:
    """A tensor of the pattern that is used outside: gathered by a PACK, or that of the last step.

    The PACK has that of step i at `first` + i * `stride`.
    """

    made: Made
    pack: Operator | None = None
    first: int = 0
    stride: int = 0


def _outside_uses(graph: Graph, steps: Steps) -> list[_Use] | None:
    """What outside reads of the steps; None where it reads what a loop does not leave behind."""
    inside = {id(operator) for step in steps.operators for operator in step}
    readers: dict[int, list[Operator | None]] = {index: [None] for index in graph.outputs}
    for operator in graph.operators:
        if id(operator) not in inside:
            for index in dict.fromkeys(operator.inputs):
                readers.setdefault(index, []).append(operator)
    uses: list[_Use] = []
    for number, operator in enumerate(steps.operators[0]):
        for output in range(len(operator.outputs)):
            own = _uses_of(graph, steps, Made(number, output), readers)
            if own is None:
                return None
            uses += own
    return uses


def _uses_of(
    graph: Graph, steps: Steps, made: Made, readers: dict[int, list[Operator | None]]
) -> list[_Use] | None:
    tensors = [steps.tensor(step, made) for step in range(len(steps.operators))]
    found: list[_Use] = []
    by_step = [list(readers.get(tensor, ())) for tensor in tensors]
    for pack in by_step[-1]:
        use = _gathered(graph, made, tensors, pack) if pack is not None else None
        if use is not None:
            found.append(use)
            for own in by_step:
                own.remove(pack)
    if any(by_step[:-1]):
        return None
    return [*found, _Use(made)] if by_step[-1] else found


def _gathered(graph: Graph, made: Made, tensors: Sequence[int], pack: Operator) -> _Use | None:
    """The PACK has all of the tensors, one after the other."""
    if pack.kind != "PACK" or not is_outermost(graph, pack):
        return None
    if any(pack.inputs.count(tensor) != 1 for tensor in tensors):
        return None
    places = [pack.inputs.index(tensor) for tensor in tensors]
    stride = places[1] - places[0]
    if abs(stride) != 1 or any(b - a != stride for a, b in pairwise(places)):
        return None
    return _Use(made, pack, places[0], stride)


@dataclass(eq=False)
class _Roll:
    """A graph while one layer's steps become a REPEAT."""

    old: Graph
    steps: Steps
    uses: Sequence[_Use]
    tensors: list[Tensor] = field(default_factory=list)
    placed: list[tuple[int, Operator]] = field(default_factory=list)
    """Operators with the position that they would like to have."""
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def graph(self) -> Graph:
        self.tensors = list(self.old.tensors)
        where = {id(operator): p for p, operator in enumerate(self.old.operators)}
        gone = {id(operator) for step in self.steps.operators for operator in step}
        first = min(where[id(operator)] for operator in self.steps.operators[0])
        repeat = self._repeat()
        gone.update(id(use.pack) for use in self.uses if use.pack is not None)
        rest = [(p, o) for p, o in enumerate(self.old.operators) if id(o) not in gone]
        rolled = Operator(
            "REPEAT",
            tuple(self.inputs),
            tuple(self.outputs),
            MappingProxyType({"repeat": repeat}),
        )
        self.placed = [*rest, (first, rolled), *self.placed]
        self._take_few_slices()
        graph = replace(self.old, tensors=tuple(self.tensors))
        return graph.with_operators(_in_order(self.placed))

    def _repeat(self) -> Repeat:
        pattern = _Pattern(self.steps)
        takes = []
        for reference, local in pattern.taken.items():
            size = self.old.tensors[pattern.example[local]].bytes
            takes.append(
                Take(local, self._input(reference.source),
                     (reference.first or 0) * size, reference.stride * size)
            )  # fmt: skip
        carries = [
            Carry(local, self._input(initial), pattern.made[made])
            for made, (local, initial) in pattern.carried.items()
        ]
        gives = [self._give(pattern, use) for use in self.uses]
        ends = [carry.made for carry in carries] + [give.tensor for give in gives]
        bodies = [
            self._body(pattern, step, tuple(dict.fromkeys(ends)))
            for step in range(len(self.steps.operators))
        ]
        return Repeat(tuple(bodies), tuple(takes), tuple(carries), tuple(gives))

    def _input(self, tensor: int) -> int:
        if tensor not in self.inputs:
            self.inputs.append(tensor)
        return self.inputs.index(tensor)

    def _give(self, pattern: _Pattern, use: _Use) -> Give:
        local, count = pattern.made[use.made], len(self.steps.operators)
        last = self.steps.tensor(count - 1, use.made)
        if use.pack is None:
            self.outputs.append(last)
            return Give(local, len(self.outputs) - 1, 0, 0)
        size = self.old.tensors[last].bytes
        self.outputs.append(self._sequence(use, use.pack))
        first = 0 if use.stride > 0 else (count - 1) * size
        return Give(local, len(self.outputs) - 1, first, use.stride * size)

    def _sequence(self, use: _Use, pack: Operator) -> int:
        """The tensor that the loop writes; joined with what else the PACK gathers."""
        whole, count = self.old.tensors[pack.outputs[0]], len(self.steps.operators)
        if count == len(pack.inputs):
            return pack.outputs[0]
        at = next(p for p, operator in enumerate(self.old.operators) if operator is pack)
        axis = pack.attributes["axis"] % len(whole.shape)
        begin = min(use.first, use.first + use.stride * (count - 1))
        parts: list[int] = []
        sequence = self._add(_along(whole, axis, count, "steps"))
        for place, tensor in enumerate(pack.inputs):
            if place == begin:
                parts.append(sequence)
            if begin <= place < begin + count:
                continue
            part = self._add(_along(whole, axis, 1, f"step_{place}"))
            self.placed.append((at, Operator("RESHAPE", (tensor,), (part,))))
            parts.append(part)
        attributes = MappingProxyType({"axis": axis, "fused_activation_function": "NONE"})
        joined = Operator("CONCATENATION", tuple(parts), pack.outputs, attributes)
        self.placed.append((at, joined))
        return sequence

    def _add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _body(self, pattern: _Pattern, step: int, ends: tuple[int, ...]) -> Graph:
        """The graph of one step, its tensors numbered as in every step."""
        names = pattern.tensors_of(step)
        tensors = [self.old.tensors[index] for index in names]
        for local, _ in pattern.carried.values():
            tensors[local] = replace(tensors[local], is_variable=True, data=None)
        operators = tuple(
            replace(
                operator,
                inputs=tuple(NO_TENSOR if i is None else i for i in inputs),
                outputs=outputs,
            )
            for operator, (inputs, outputs) in zip(
                self.steps.operators[step], pattern.operators, strict=True
            )
        )
        return Graph(self.old.name, tuple(tensors), operators, tuple(pattern.taken.values()), ends)

    def _take_few_slices(self) -> None:
        """An UNPACK of which the loop has left few outputs in use becomes a SLICE for each."""
        used = {index for _, operator in self.placed for index in operator.inputs}
        used.update(self.old.outputs)
        for entry in [e for e in self.placed if e[1].kind == "UNPACK"]:
            at, unpack = entry
            left = [index for index in unpack.outputs if index in used]
            if len(left) == len(unpack.outputs) or not is_outermost(self.old, unpack):
                continue
            self.placed.remove(entry)
            for index in left:
                self._slice(at, unpack, unpack.outputs.index(index))

    def _slice(self, at: int, unpack: Operator, number: int) -> None:
        whole, source = self.old.tensors[unpack.inputs[0]], unpack.inputs[0]
        axis = unpack.attributes["axis"] % len(whole.shape)
        part = self._add(_along(whole, axis, 1, f"step_{number}"))
        begin = np.zeros(len(whole.shape), np.int32)
        begin[axis] = number
        arguments = [
            self._add(Tensor(f"{whole.name}/{what}", (begin.size,), "int32", data=data))
            for what, data in (
                ("begin", begin), ("size", np.array(self.tensors[part].shape, np.int32)),
            )
        ]  # fmt: skip
        self.placed.append((at, Operator("SLICE", (source, *arguments), (part,))))
        self.placed.append((at, Operator("RESHAPE", (part,), (unpack.outputs[number],))))


def _along(whole: Tensor, axis: int, count: int, name: str) -> Tensor:
    """A tensor like `whole`, of `count` elements along an axis."""
    shape = (*whole.shape[:axis], count, *whole.shape[axis + 1 :])
    return replace(whole, name=f"{whole.name}/{name}", shape=shape, source=None)


class _Pattern:
    """The tensors of a body, numbered; the same in every step."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.taken: dict[Taken, int] = {}
        self.carried: dict[Made, tuple[int, int]] = {}
        """For what is carried, the state's number and the tensor that it begins as."""
        self.made: dict[Made, int] = {}
        self.example: dict[int, int] = {}
        """A tensor of the first step for each number."""
        self.operators: list[tuple[tuple[int | None, ...], tuple[int, ...]]] = []
        for number, operator in enumerate(steps.operators[0]):
            inputs = tuple(self._input(number, at) for at in range(len(operator.inputs)))
            outputs = []
            for output, index in enumerate(operator.outputs):
                local = self.made[Made(number, output)] = self._new(index)
                outputs.append(local)
            self.operators.append((inputs, tuple(outputs)))

    def _new(self, example: int) -> int:
        local = len(self.example)
        self.example[local] = example
        return local

    def _input(self, number: int, at: int) -> int | None:
        index = self.steps.operators[0][number].inputs[at]
        reference = self.steps.references[number][at]
        if isinstance(reference, Made):
            return self.made[reference]
        if isinstance(reference, Taken):
            if reference not in self.taken:
                self.taken[reference] = self._new(index)
            return self.taken[reference]
        if isinstance(reference, Carried):
            if reference.made not in self.carried:
                self.carried[reference.made] = (self._new(index), reference.initial)
            return self.carried[reference.made][0]
        return None if index == NO_TENSOR else self._new(index)

    def tensors_of(self, step: int) -> list[int]:
        """The tensors of the whole graph that the numbers stand for in a step."""
        found = [0] * len(self.example)
        for operator, (inputs, outputs) in zip(
            self.steps.operators[step], self.operators, strict=True
        ):
            pairs = zip((*inputs, *outputs), (*operator.inputs, *operator.outputs), strict=True)
            for local, index in pairs:
                if local is not None:
                    found[local] = index
        return found


def _in_order(placed: Sequence[tuple[int, Operator]]) -> tuple[Operator, ...]:
    """The operators so that each comes after those that it reads from, else as near as can be to
    the positions that they would like to have."""
    makers = {index: n for n, (_, o) in enumerate(placed) for index in o.outputs}
    missing: list[set[int]] = []
    readers: dict[int, list[int]] = {}
    for number, (_, operator) in enumerate(placed):
        needs = {makers[i] for i in operator.inputs if i in makers}
        missing.append(needs)
        for need in needs:
            readers.setdefault(need, []).append(number)
    ready = [(at, number) for number, (at, _) in enumerate(placed) if not missing[number]]
    heapq.heapify(ready)
    order: list[Operator] = []
    while ready:
        _, number = heapq.heappop(ready)
        order.append(placed[number][1])
        for reader in readers.get(number, ()):
            missing[reader].discard(number)
            if not missing[reader]:
                heapq.heappush(ready, (placed[reader][0], reader))
    return tuple(order)
