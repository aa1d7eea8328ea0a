# SPDX-License-Identifier: Apache-2.0
"""Finds the time steps of an unrolled recurrent layer: one body of operators, again and again.

The converter writes a recurrent layer as copies of its step, each with scales of its own and in
any order. What the copies have in common are the weights: the FULLY_CONNECTED operators that share
one recurrent matrix and depend on one another, f1 before f2 before f3 ..., are the `anchors`. An
operator belongs to step i when f(i+1) needs it and f(i) does not. Walking back from f2's and from
f3's input at the same time pairs the operators of the first two steps; where the walk leaves the
step it finds how steps hang together:

- a value that the step before has made is `carried`;
- the outputs j, j + d, j + 2d, ... of one UNPACK are `taken` one at a time;
- the same value in both is taken again and again.

The steps that follow, the last one too, are found forwards: of each operator of the pattern the
one of the same kind that reads what it has to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator, is_placeholder

MIN_STEPS = 3
"""Fewer steps than these stay as they are."""


@dataclass(frozen=True)
class Made:
    """Output `output` of operator `operator` of a step, by its position in the pattern."""

    operator: int
    output: int


@dataclass(frozen=True)
class Taken:
    """The slice `first` + i * `stride` of tensor `source` in step i; None: the whole, always."""

    source: int
    first: int | None = None
    stride: int = 0


@dataclass(frozen=True)
class Carried:
    """What the step before made; before the first step, tensor `initial`."""

    made: Made
    initial: int


Reference = Made | Taken | Carried | None
"""What an input of the pattern is; None for a constant or an absent one."""


@dataclass(frozen=True, eq=False)
class Steps:
    """`operators[i]` are the operators of step i, in the pattern's order."""

    operators: tuple[tuple[Operator, ...], ...]
    references: tuple[tuple[Reference, ...], ...]
    """For each operator of the pattern, what each of its inputs is."""

    def tensor(self, step: int, made: Made) -> int:
        return self.operators[step][made.operator].outputs[made.output]


def find_steps(graph: Graph) -> Iterator[Steps]:
    """The steps of each recurrent layer. Of layers that run step by step together the last comes
    first: its steps contain those of the others."""
    places = _Places(graph)
    for anchors in reversed(list(_chains(places))):
        found = _steps_of(places, anchors)
        if found is not None:
            yield found


@dataclass(eq=False)
class _Places:
    """Who makes and who reads each tensor, as positions of operators."""

    graph: Graph
    makers: dict[int, int] = field(default_factory=dict)
    readers: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for position, operator in enumerate(self.graph.operators):
            self.makers.update(dict.fromkeys(operator.outputs, position))
            for index in dict.fromkeys(operator.inputs):
                self.readers.setdefault(index, []).append(position)

    def sources(self, position: int) -> Iterator[int]:
        """The operators that an operator reads from."""
        for index in self.graph.operators[position].inputs:
            if index in self.makers:
                yield self.makers[index]


def _chains(places: _Places) -> Iterator[list[int]]:
    """FULLY_CONNECTED operators with equal weights, each needing the one before."""
    classes: dict[tuple[object, ...], list[int]] = {}
    for position, operator in enumerate(places.graph.operators):
        if operator.kind != "FULLY_CONNECTED":
            continue
        weights = places.graph.tensors[operator.inputs[1]]
        if weights.data is not None:
            told = operator.inputs[1] if is_placeholder(weights.data) else weights.data.tobytes()
            key = (weights.shape, told)
            classes.setdefault(key, []).append(position)
    for members in sorted(classes.values()):
        if len(members) >= MIN_STEPS and _is_chain(places, members):
            yield members


def _is_chain(places: _Places, members: Sequence[int]) -> bool:
    needs: dict[int, int] = {}  # how many of the members an operator needs, itself counted
    wanted = set(members)
    for position in range(len(places.graph.operators)):
        before = max((needs[source] for source in places.sources(position)), default=0)
        needs[position] = before + (position in wanted)
    return [needs[member] for member in members] == list(range(1, len(members) + 1))


def _first_needed(places: _Places, anchors: Sequence[int]) -> dict[int, int]:
    """For each operator that an anchor needs, the number of the first anchor that does."""
    first: dict[int, int] = {}
    for number, anchor in enumerate(anchors):
        waiting = list(places.sources(anchor))
        while waiting:
            position = waiting.pop()
            if position not in first:
                first[position] = number
                waiting += places.sources(position)
    return first


@dataclass(eq=False)
class _Pairs:
    """The operators of the first step, each with its counterpart in the second."""

    places: _Places
    level: Mapping[int, int]
    partner: dict[int, int] = field(default_factory=dict)
    links: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    """(operator of the second step, input): the two tensors that come from outside."""

    def walk(self, first: int, second: int) -> bool:
        """Pair the makers of two tensors, and what they need of their steps; False where unlike."""
        waiting = [(first, second)]
        while waiting:
            a, b = (self.places.makers[tensor] for tensor in waiting.pop())
            if a in self.partner:
                if self.partner[a] != b:
                    return False
                continue
            self.partner[a] = b
            one, other = (self.places.graph.operators[p] for p in (a, b))
            if not _alike(self.places.graph, one, other):
                return False
            for position, pair in enumerate(zip(one.inputs, other.inputs, strict=True)):
                if pair[0] == NO_TENSOR or self.places.graph.tensors[pair[0]].is_constant:
                    continue
                inside = [self._step(tensor) for tensor in pair]
                if inside == [1, 2]:
                    if not self._same_output(*pair):
                        return False
                    waiting.append(pair)
                else:
                    self.links[b, position] = pair
        return len(set(self.partner.values())) == len(self.partner)

    def _step(self, tensor: int) -> int | None:
        maker = self.places.makers.get(tensor)
        return None if maker is None else self.level.get(maker)

    def _same_output(self, a: int, b: int) -> bool:
        makers, operators = self.places.makers, self.places.graph.operators
        one, other = operators[makers[a]], operators[makers[b]]
        return one.outputs.index(a) == other.outputs.index(b)


def _alike(graph: Graph, one: Operator, other: Operator) -> bool:
    """Of the same kind, attributes, shapes and constants; scales, tables and biases may differ.

    A bias does where the scale of a step's input does: the converter writes it in that scale.
    """
    if one.kind != other.kind or len(one.inputs) != len(other.inputs):
        return False
    if len(one.outputs) != len(other.outputs):
        return False
    if one.kind != "TABLE" and dict(one.attributes) != dict(other.attributes):
        return False
    bias = one.inputs[2] if one.kind == "FULLY_CONNECTED" and len(one.inputs) > 2 else NO_TENSOR
    for a, b in zip((*one.inputs, *one.outputs), (*other.inputs, *other.outputs), strict=True):
        if NO_TENSOR in (a, b):
            if a != b:
                return False
            continue
        x, y = graph.tensors[a], graph.tensors[b]
        if (x.shape, x.dtype, x.is_constant, x.is_variable) != (
            y.shape, y.dtype, y.is_constant, y.is_variable,
        ):  # fmt: skip
            return False
        if x.is_variable:
            return False
        if x.data is None or y.data is None or a == bias:
            continue
        if not np.array_equal(x.data, y.data):
            return False
    return True


def _steps_of(places: _Places, anchors: Sequence[int]) -> Steps | None:
    graph = places.graph
    level = _first_needed(places, anchors)
    entries = [graph.operators[anchor].inputs[0] for anchor in anchors]
    if any(places.makers.get(tensor) is None for tensor in entries[1:3]):
        return None
    pairs = _Pairs(places, level)
    if not pairs.walk(entries[1], entries[2]):
        return None
    partner = pairs.partner
    order = {second: n for n, second in enumerate(sorted(partner.values()))}
    if {p for p, number in level.items() if number == 2} != set(order):
        return None
    references = _references(pairs, order)
    if references is None:
        return None
    back = {second: first for first, second in partner.items()}
    steps = [
        [graph.operators[back[second]] for second in order],
        [graph.operators[second] for second in order],
    ]
    _follow(places, references, steps)
    if len(steps) < MIN_STEPS:
        return None
    return Steps(tuple(map(tuple, steps)), tuple(references))


def _references(pairs: _Pairs, order: Mapping[int, int]) -> list[tuple[Reference, ...]] | None:
    """What each input of the pattern is; None where two steps do not hang together so."""
    graph, makers = pairs.places.graph, pairs.places.makers
    found: list[tuple[Reference, ...]] = []
    for second in order:
        own: list[Reference] = []
        for position, tensor in enumerate(graph.operators[second].inputs):
            link = pairs.links.get((second, position))
            if link is not None:
                reference = _outside(pairs, order, *link)
                if reference is None:
                    return None
                own.append(reference)
            elif tensor == NO_TENSOR or graph.tensors[tensor].is_constant:
                own.append(None)
            else:
                maker = makers[tensor]
                own.append(Made(order[maker], graph.operators[maker].outputs.index(tensor)))
        found.append(tuple(own))
    return found


def _outside(pairs: _Pairs, order: Mapping[int, int], first: int, second: int) -> Reference:
    """What is read from outside of a step: `first` in the first, `second` in the second."""
    graph, makers = pairs.places.graph, pairs.places.makers
    if first == second:
        return Taken(first)
    maker = makers.get(second)
    if maker is None:
        return None
    operator = graph.operators[maker]
    if pairs.level.get(maker) == 1 and maker in pairs.partner:
        made = Made(order[pairs.partner[maker]], operator.outputs.index(second))
        return Carried(made, first)
    if operator.kind == "UNPACK" and first in operator.outputs:
        slices = [operator.outputs.index(tensor) for tensor in (first, second)]
        if is_outermost(graph, operator):
            return Taken(operator.inputs[0], slices[0], slices[1] - slices[0])
    return None


def is_outermost(graph: Graph, operator: Operator) -> bool:
    """An UNPACK or PACK along the first axis that is longer than 1: its parts lie in a row."""
    unpack = operator.kind == "UNPACK"
    whole = graph.tensors[operator.inputs[0] if unpack else operator.outputs[0]]
    axis = operator.attributes["axis"] % max(len(whole.shape), 1)
    return all(size == 1 for size in whole.shape[:axis])


def _follow(
    places: _Places, references: Sequence[Sequence[Reference]], steps: list[list[Operator]]
) -> None:
    """Add the steps after the first two, as far as they go."""
    used = {id(operator) for step in steps for operator in step}
    unpacks = {o.inputs[0]: o for o in places.graph.operators if o.kind == "UNPACK"}
    while (following := _next(places, references, steps, unpacks, used)) is not None:
        steps.append(following)
        used.update(map(id, following))


def _next(
    places: _Places,
    references: Sequence[Sequence[Reference]],
    steps: Sequence[Sequence[Operator]],
    unpacks: Mapping[int, Operator],
    used: set[int],
) -> list[Operator] | None:
    own: list[Operator] = []
    for pattern, inputs in zip(steps[1], references, strict=True):
        wanted: list[int | None] = []
        for reference in inputs:
            if isinstance(reference, Made):
                wanted.append(own[reference.operator].outputs[reference.output])
            elif isinstance(reference, Carried):
                made = reference.made
                wanted.append(steps[-1][made.operator].outputs[made.output])
            elif isinstance(reference, Taken) and reference.first is not None:
                slices = unpacks[reference.source].outputs
                number = reference.first + reference.stride * len(steps)
                if not 0 <= number < len(slices):
                    return None
                wanted.append(slices[number])
            else:
                wanted.append(None if reference is None else reference.source)
        found = _reader(places, pattern, wanted, used | set(map(id, own)))
        if found is None:
            return None
        own.append(found)
    return own


def _reader(
    places: _Places, pattern: Operator, wanted: Sequence[int | None], used: set[int]
) -> Operator | None:
    """The operator like the pattern that reads the wanted tensors; None in their places: any."""
    first = next((tensor for tensor in wanted if tensor is not None), None)
    for position in places.readers.get(first, ()) if first is not None else ():
        operator = places.graph.operators[position]
        if id(operator) in used or not _alike(places.graph, pattern, operator):
            continue
        if all(w is None or w == i for w, i in zip(wanted, operator.inputs, strict=True)):
            return operator
    return None
