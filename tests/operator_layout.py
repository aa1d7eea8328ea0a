# SPDX-License-Identifier: Apache-2.0
"""Plans for operators side by side: no memory is reused, but each output lies over its input as
far as the kernel says that it may.

What a planner would do seldom (the tightest overlap that a rule permits) is done for every
operator here. Views lie where they must.
"""

from __future__ import annotations

from collections.abc import Sequence

from mcudeploy.board import Board
from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator
from mcudeploy.memory.geometry import align_up
from mcudeploy.memory.lifetimes import views_of
from mcudeploy.memory.plan import Certificate, Placement, Plan
from mcudeploy.operators.base import Implementation, OverlapRule

_ALIGNMENT = 16


def ways(
    graph: Graph, operator: Operator, choices: Sequence[Implementation]
) -> list[tuple[Implementation, OverlapRule | None]]:
    """Every implementation with every overlap rule of it; those without any as they are."""
    found: list[tuple[Implementation, OverlapRule | None]] = []
    for choice in choices:
        rules = [
            rule
            for rule in choice.overlaps
            if _is_free(graph, operator, operator.inputs[rule.input])
        ]
        found += [(choice, rule) for rule in rules] or [(choice, None)]
    return found


def _is_free(graph: Graph, operator: Operator, index: int) -> bool:
    """The operator is the only one that wants this tensor, and wants it once."""
    if index == NO_TENSOR or graph.tensors[index].is_constant or graph.tensors[index].is_variable:
        return False
    readers = graph.consumers(index)
    return index not in graph.outputs and len(readers) == 1 and operator.inputs.count(index) == 1


def _distance(graph: Graph, operator: Operator, rule: OverlapRule) -> int | None:
    """The tightest distance that the rule permits, None where the two do not overlap at it."""
    source = graph.tensors[operator.inputs[rule.input]].bytes
    output = graph.tensors[operator.outputs[rule.output]].bytes
    found = []
    if rule.max_distance is not None:
        found.append(rule.max_distance // _ALIGNMENT * _ALIGNMENT)
    if rule.min_distance is not None:
        found.append(align_up(rule.min_distance, _ALIGNMENT))
    best = min(found, key=abs, default=None)
    return best if best is not None and -output < best < source else None


class _Layout:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.offsets: dict[int, int] = {}
        self.scratch: dict[int, tuple[int, int]] = {}
        self.end = 0
        self.margin = align_up(max(t.bytes for t in graph.tensors), _ALIGNMENT)

    def place(self, index: int) -> int:
        """Room for a tensor, with room around it for an output that lies over it."""
        if index not in self.offsets:
            self.offsets[index] = self.end + self.margin
            self.end += 2 * self.margin + align_up(self.graph.tensors[index].bytes, _ALIGNMENT)
        return self.offsets[index]

    def step(self, step: int, choice: Implementation, rule: OverlapRule | None) -> bool:
        """Place what an operator writes; False where its views are impossible."""
        operator = self.graph.operators[step]
        for index in operator.inputs:
            if index != NO_TENSOR and not self.graph.tensors[index].is_constant:
                self.place(index)
        wanted: dict[int, int] = {}
        for view in views_of(choice):
            source, output = operator.inputs[view.input], operator.outputs[view.output]
            start = self.place(source) + view.distance
            if wanted.setdefault(output, start) != start or not _is_free(
                self.graph, operator, source
            ):
                return False
        if rule is not None and not views_of(choice):
            distance = _distance(self.graph, operator, rule)
            if distance is not None:
                start = self.offsets[operator.inputs[rule.input]] + distance
                wanted[operator.outputs[rule.output]] = start
        self.offsets.update(wanted)
        for output in operator.outputs:
            self.place(output)
        if choice.scratch_bytes:
            self.scratch[step] = (self.end, choice.scratch_bytes)
            self.end = align_up(self.end + choice.scratch_bytes, _ALIGNMENT)
        return True


def lay_out(
    graph: Graph, offers: Sequence[Sequence[Implementation]], board: Board, number: int
) -> Plan | None:
    """The plan that takes way `number` of each operator (the last where there are fewer)."""
    layout = _Layout(graph)
    chosen = []
    for step, (operator, choices) in enumerate(zip(graph.operators, offers, strict=True)):
        found = ways(graph, operator, choices)
        tries = found[min(number, len(found) - 1) :] + found
        taken = next((way for way in tries if layout.step(step, *way)), None)
        if taken is None:
            return None
        chosen.append(taken[0])
    state = {i for i in layout.offsets if graph.tensors[i].is_variable}
    for index in sorted(state):  # above all else, as in every plan
        layout.offsets[index] = layout.end
        layout.end += align_up(graph.tensors[index].bytes, _ALIGNMENT)
    region = board.regions("ram")[0].name
    places = {i: Placement(region, at, graph.tensors[i].bytes) for i, at in layout.offsets.items()}
    return Plan(
        board=board,
        graph=graph,
        implementations=tuple(chosen),
        tensors={i: place for i, place in places.items() if i not in state},
        scratch={s: Placement(region, *room) for s, room in layout.scratch.items()},
        state={i: places[i] for i in state},
        arenas={region: layout.end},
        live_bytes=(0,) * len(graph.operators),
        certificate=Certificate(layout.end, 0, 0, "the file's order", "side by side"),
    )
