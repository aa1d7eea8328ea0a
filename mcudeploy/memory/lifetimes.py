# SPDX-License-Identifier: Apache-2.0
"""From a network in an order of execution to a packing problem.

Time is the position in the order. A tensor lives from the step that writes it to the last that
reads it; a graph input from step 0, a graph output to the end, state (variable tensors) always;
the scratch of a kernel during its step. An input that dies where an output is born may be
overlapped as the implementation's rules permit: an `Allowance`. An output that is a view of an
input, or is written over it in place (`Placed`), is a `Tie`.

Two tensors of one chain of views may share bytes at any time if those bytes hold the same values.
That is decided by following where values come from: each tensor is a list of segments of the
tensors that first held them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcudeploy.graph.ir import NO_TENSOR, Graph
from mcudeploy.memory.problem import Allowance, Buffer, Problem, Tie
from mcudeploy.operators.base import Implementation, Placed

Span = tuple[int, int]
"""Half-open range of steps."""
DistanceRule = tuple[int | None, int | None]
"""max_distance and min_distance of an OverlapRule."""
Segment = tuple[int, int, int, int]
"""Bytes [start, end) of a tensor hold the bytes of tensor `source` from `offset` on."""


@dataclass(frozen=True, eq=False)
class Layout:
    """The packing problem of a network, and which buffer is what (indices into its buffers)."""

    problem: Problem
    tensors: Mapping[int, int]
    scratch: Mapping[int, int]


def lifespans(graph: Graph) -> dict[int, Span]:
    """The steps during which each activation and state tensor must keep its place."""
    steps = max(len(graph.operators), 1)
    start: dict[int, int] = dict.fromkeys(graph.inputs, 0)
    end: dict[int, int] = dict.fromkeys(graph.inputs, 1)
    for step, operator in enumerate(graph.operators):
        for index in (*operator.inputs, *operator.outputs):
            if index != NO_TENSOR and not graph.tensors[index].is_constant:
                start.setdefault(index, step if index in operator.outputs else 0)
                end[index] = step + 1
    for index in graph.outputs:
        end[index] = steps
        start.setdefault(index, 0)
    spans = {index: (start[index], end[index]) for index in start}
    for index in spans:
        if graph.tensors[index].is_variable:
            spans[index] = (0, steps)
    return {i: span for i, span in spans.items() if not graph.tensors[i].is_constant}


def views_of(implementation: Implementation) -> tuple[Placed, ...]:
    """The views that an implementation relies on."""
    if implementation.placed:
        return implementation.placed
    return (Placed(0),) if implementation.kernel == "none" else ()


def overlap_rules(
    graph: Graph, step: int, implementation: Implementation
) -> dict[tuple[int, int], list[DistanceRule]]:
    """Per (input tensor, output tensor), the rules that must all hold if the input dies here.

    An input that is read at two positions needs a rule for each.
    """
    operator = graph.operators[step]
    found: dict[tuple[int, int], list[DistanceRule]] = {}
    for rule in implementation.overlaps:
        tensor, output = operator.inputs[rule.input], operator.outputs[rule.output]
        if tensor in (NO_TENSOR, output) or tensor in graph.outputs:
            continue
        if not graph.tensors[tensor].is_constant and not graph.tensors[tensor].is_variable:
            found.setdefault((tensor, output), []).append((rule.max_distance, rule.min_distance))
    return {
        (tensor, output): rules
        for (tensor, output), rules in found.items()
        if len(rules) == operator.inputs.count(tensor)
    }


class Views:
    """Which tensors lie in each other, grown operator by operator in the order of execution."""

    def __init__(self, graph: Graph, spans: Mapping[int, Span], alignment: int) -> None:
        self._graph = graph
        self._spans = spans
        self._alignment = alignment
        self._groups: dict[int, dict[int, int]] = {}
        self._contents: dict[int, tuple[Segment, ...]] = {}
        self._replaced: frozenset[tuple[int, int]] = frozenset()

    def add(self, step: int, implementation: Implementation) -> bool:
        """Take over the views of one operator; False, and nothing changes, if they cannot be."""
        operator = self._graph.operators[step]
        groups, contents = dict(self._groups), dict(self._contents)
        replaced = self._replaced
        for view in views_of(implementation):
            source, output = operator.inputs[view.input], operator.outputs[view.output]
            if not (self._may_view(source) and self._may_view(output)):
                return False
            if view.distance % self._alignment or not _join(groups, source, output, view.distance):
                return False
            if not view.written:
                contents[output] = self._written(contents, source, output, view.distance)
            elif self._spans[source][1] == step + 1 and source not in self._graph.outputs:
                replaced |= {(min(source, output), max(source, output))}
            else:
                return False
        touched = {id(g): g for g in (groups.get(o, {}) for o in operator.outputs)}
        if not all(self._consistent(group, contents, replaced) for group in touched.values()):
            return False
        self._groups, self._contents, self._replaced = groups, contents, replaced
        return True

    def shared_pairs(self) -> list[tuple[int, int]]:
        """The pairs of tensors with bytes in common: of the same values, or one after the other."""
        pairs = []
        for group in {id(g): g for g in self._groups.values()}.values():
            members = sorted(group)
            pairs += [
                (a, b)
                for position, a in enumerate(members)
                for b in members[position + 1 :]
                if self._common(group, a, b)
            ]
        return pairs

    def _may_view(self, tensor: int) -> bool:
        return tensor in self._spans and not self._graph.tensors[tensor].is_variable

    def _common(self, group: Mapping[int, int], a: int, b: int) -> tuple[int, int] | None:
        """The bytes that two members share, in offsets of the group; None if there are none."""
        low = max(group[a], group[b])
        high = min(group[t] + self._graph.tensors[t].bytes for t in (a, b))
        return (low, high) if low < high else None

    def _consistent(
        self,
        group: Mapping[int, int],
        contents: Mapping[int, tuple[Segment, ...]],
        replaced: frozenset[tuple[int, int]],
    ) -> bool:
        members = sorted(group)
        for position, a in enumerate(members):
            for b in members[position + 1 :]:
                common = self._common(group, a, b)
                meet = max(self._spans[a][0], self._spans[b][0]) < min(
                    self._spans[a][1], self._spans[b][1]
                )
                if common and meet and (a, b) not in replaced:
                    low, high = common
                    held = [
                        _slice(self._of(contents, t), low - group[t], high - group[t])
                        for t in (a, b)
                    ]
                    if held[0] != held[1]:
                        return False
        return True

    def _of(self, contents: Mapping[int, tuple[Segment, ...]], tensor: int) -> tuple[Segment, ...]:
        return contents.get(tensor) or ((0, self._graph.tensors[tensor].bytes, tensor, 0),)

    def _written(
        self, contents: Mapping[int, tuple[Segment, ...]], source: int, output: int, distance: int
    ) -> tuple[Segment, ...]:
        """The output's contents with the bytes that it shares with `source` taken from there."""
        size = self._graph.tensors[output].bytes
        low = max(0, -distance)
        high = min(size, self._graph.tensors[source].bytes - distance)
        if low >= high:
            return self._of(contents, output)
        known = self._of(contents, output)
        taken = _slice(self._of(contents, source), low + distance, high + distance)
        before, after = _slice(known, 0, low), _slice(known, high, size)
        return (
            *before,
            *((start + low, end + low, t, offset) for start, end, t, offset in taken),
            *((start + high, end + high, t, offset) for start, end, t, offset in after),
        )


def _join(groups: dict[int, dict[int, int]], first: int, second: int, distance: int) -> bool:
    """Unite two groups so that offset(second) = offset(first) + distance; False: impossible."""
    ours, theirs = groups.get(first, {first: 0}), groups.get(second, {second: 0})
    if second in ours:
        return ours[second] - ours[first] == distance
    shift = ours[first] + distance - theirs[second]
    united = ours | {member: offset + shift for member, offset in theirs.items()}
    for member in united:
        groups[member] = united
    return True


def _slice(segments: Sequence[Segment], low: int, high: int) -> tuple[Segment, ...]:
    """Bytes [low, high) of a tensor's contents, counted from `low`, neighbours joined."""
    cut: list[Segment] = []
    for start, end, tensor, offset in segments:
        a, b = max(start, low), min(end, high)
        if a >= b:
            continue
        source = offset + a - start
        last = cut[-1] if cut else None
        if last and last[2] == tensor and last[3] + last[1] - last[0] == source:
            cut[-1] = (last[0], b - low, tensor, last[3])
        else:
            cut.append((a - low, b - low, tensor, source))
    return tuple(cut)


def usable(
    graph: Graph,
    candidates: Sequence[Sequence[Implementation]],
    spans: Mapping[int, Span],
    alignment: int,
    *,
    overlap: bool = True,
) -> list[list[Implementation]]:
    """The candidates of each operator whose views can be had, given those of earlier operators.

    Without `overlap` none that writes its output over its input.
    """
    views = Views(graph, spans, alignment)
    kept = []
    for step, choices in enumerate(candidates):
        offered = [c for c in choices if overlap or not c.is_in_place]
        kept.append([c for c in offered if not views_of(c) or views.add(step, c)])
    return kept


def make_layout(
    graph: Graph,
    implementations: Sequence[Implementation],
    alignment: int,
    *,
    overlap: bool = True,
) -> Layout:
    """The packing problem of `graph` with one (usable) implementation per operator."""
    spans = lifespans(graph)
    tensors = {index: number for number, index in enumerate(sorted(spans))}
    buffers = [
        Buffer(graph.tensors[i].name, graph.tensors[i].bytes, *spans[i], alignment) for i in tensors
    ]
    views = Views(graph, spans, alignment)
    scratch: dict[int, int] = {}
    ties: list[Tie] = []
    allowances: list[Allowance] = []
    for step, implementation in enumerate(implementations):
        operator = graph.operators[step]
        if implementation.scratch_bytes:
            scratch[step] = len(buffers)
            name = f"scratch of {graph.describe(operator)}"
            buffers.append(Buffer(name, implementation.scratch_bytes, step, step + 1, alignment))
        if views_of(implementation):
            views.add(step, implementation)
        ties += [
            Tie(tensors[operator.inputs[v.input]], tensors[operator.outputs[v.output]], v.distance)
            for v in views_of(implementation)
        ]
        if overlap:
            allowances += [
                Allowance(tensors[source], tensors[output], highest, lowest)
                for (source, output), rules in overlap_rules(graph, step, implementation).items()
                if spans[source][1] == step + 1 and spans[output][0] == step
                for highest, lowest in rules
            ]
    allowances += [Allowance(tensors[a], tensors[b], 0, 0) for a, b in views.shared_pairs()]
    problem = Problem(tuple(buffers), tuple(allowances), ties=tuple(ties))
    return Layout(problem, tensors, scratch)
