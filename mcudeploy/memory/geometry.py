# SPDX-License-Identifier: Apache-2.0
"""The packing problem in the form that every solver here works on: items and forbidden distances.

Tied buffers move as one, so the unit that is placed is an *item*: some buffers at fixed offsets
relative to each other. All that two items ask of each other is said by the distances
offset(B) - offset(A) that they may not have, a few open intervals:

* two buffers that meet and may share nothing forbid (-size of B, size of A);
* an allowance takes the distances it permits out of that interval.

So overlap in place, views and plain buffers are one thing to a solver: it looks for offsets whose
differences avoid the forbidden intervals. Every offset is a multiple of the item's alignment, so
the intervals are widened to multiples of it: nothing is lost, and bounds get sharper.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from mcudeploy.memory.problem import Problem

Interval = tuple[int, int]
"""An open interval of integers: (a, b) holds a < x < b."""
Row = tuple[tuple[int, int, int], ...]
"""What one item may not do: (j, a, b) forbids a < its offset - offset(j) < b."""


@dataclass(frozen=True, eq=False)
class Item:
    """Buffers that move together: `parts` are pairs of buffer index and offset in the item."""

    parts: tuple[tuple[int, int], ...]
    extent: int
    alignment: int


@dataclass(frozen=True, eq=False)
class Geometry:
    """Items and, per item, the distances that it may not have, an entry for each interval.

    `allowed_pairs` are the buffer pairs with an allowance, the lower index first, and the
    forbidden interval of offset(higher) - offset(lower), (0, 0) when every distance is allowed.
    `contradiction` is a pair of buffers in one item that share bytes that they may not, if any.
    """

    problem: Problem
    items: tuple[Item, ...]
    item_of: tuple[int, ...]
    forbidden: tuple[Row, ...]
    blocked: tuple[tuple[Interval, ...], ...]
    """Per item, the open intervals of offsets that holes forbid."""
    allowed_pairs: dict[tuple[int, int], Interval]
    contradiction: tuple[int, int] | None = None
    weights: tuple[int, ...] = field(default=())
    """Per item, the sum of size times duration of its buffers."""

    def offsets_of_buffers(self, item_offsets: list[int]) -> tuple[int, ...]:
        offsets = [0] * len(self.problem.buffers)
        for item, offset in zip(self.items, item_offsets, strict=True):
            for buffer, relative in item.parts:
                offsets[buffer] = offset + relative
        return tuple(offsets)

    def height(self, item_offsets: list[int]) -> int:
        return max(
            (offset + item.extent for item, offset in zip(self.items, item_offsets, strict=True)),
            default=0,
        )


def align_up(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment


def make_geometry(problem: Problem) -> Geometry:
    """Raises ValueError when ties contradict each other or no alignment satisfies them."""
    items, item_of, relative = _items(problem)
    allowed = _allowed_pairs(problem)
    alone = [len(item.parts) == 1 for item in items]
    rows: list[list[tuple[int, int, int]]] = [[] for _ in items]
    several: dict[tuple[int, int], list[Interval]] = defaultdict(list)
    contradiction = None
    units, sizes = [i.alignment for i in items], [b.size for b in problem.buffers]
    for pair in meeting_pairs(problem):
        first, second = pair
        low, high = allowed[pair] if pair in allowed else (-sizes[second], sizes[first])
        if low >= high:
            continue
        a, b = item_of[first], item_of[second]
        unit = units[a] if units[a] < units[b] else units[b]
        if alone[a] and alone[b]:
            low, high = low // unit * unit, -(high // -unit) * unit
            rows[b].append((a, low, high))
            rows[a].append((b, -high, -low))
        elif a != b:
            shift = relative[first] - relative[second]
            low, high = (low + shift) // unit * unit, -((high + shift) // -unit) * unit
            several[(a, b) if a < b else (b, a)].append((low, high) if a < b else (-high, -low))
        elif low < relative[second] - relative[first] < high:
            contradiction = pair
    for (a, b), intervals in several.items():
        for low, high in merge(intervals):
            rows[b].append((a, low, high))
            rows[a].append((b, -high, -low))
    blocked = tuple(
        merge(
            (start - relative[buffer] - problem.buffers[buffer].size, end - relative[buffer])
            for buffer, _ in item.parts
            for start, end in problem.holes
        )
        for item in items
    )
    weights = tuple(
        sum(problem.buffers[b].size * (problem.buffers[b].end - problem.buffers[b].start)
            for b, _ in item.parts)
        for item in items
    )  # fmt: skip
    forbidden = tuple(map(tuple, rows))
    return Geometry(problem, items, item_of, forbidden, blocked, allowed, contradiction, weights)


def _between(
    problem: Problem, one: Item, other: Item, allowed: Mapping[tuple[int, int], Interval]
) -> tuple[Interval, ...]:
    """The forbidden distances offset(other) - offset(one) of two items of any buffers."""
    found = []
    unit = min(one.alignment, other.alignment)
    for first, base in one.parts:
        for second, over in other.parts:
            a, b = problem.buffers[first], problem.buffers[second]
            if not (a.size and b.size and a.meets(b)):
                continue
            if first < second:
                low, high = allowed.get((first, second), (-b.size, a.size))
            else:
                high, low = (-end for end in allowed.get((second, first), (-a.size, b.size)))
            if low < high:
                low, high = low + base - over, high + base - over
                found.append((low // unit * unit, align_up(high, unit)))
    return merge(found)


def without_overlap(geometry: Geometry) -> Geometry:
    """The same items with no allowance but those that views need."""
    problem, items, of = geometry.problem, geometry.items, geometry.item_of
    needed = {(a, b): i for (a, b), i in geometry.allowed_pairs.items() if of[a] == of[b]}
    freed = {
        (min(of[a], of[b]), max(of[a], of[b]))
        for a, b in geometry.allowed_pairs.keys() - needed.keys()
    }
    stricter: dict[int, dict[int, list[tuple[int, int, int]]]] = defaultdict(dict)
    for a, b in sorted(freed):
        between = _between(problem, items[a], items[b], needed)
        stricter[b][a] = [(a, low, high) for low, high in between]
        stricter[a][b] = [(b, -high, -low) for low, high in between]
    forbidden = list(geometry.forbidden)
    for i, others in stricter.items():
        kept = [entry for entry in forbidden[i] if entry[0] not in others]
        forbidden[i] = (*kept, *(entry for entries in others.values() for entry in entries))
    allowances = tuple(a for a in problem.allowances if of[a.first] == of[a.second])
    return replace(
        geometry,
        problem=replace(problem, allowances=allowances),
        forbidden=tuple(forbidden),
        allowed_pairs=needed,
    )


def meeting_pairs(problem: Problem) -> list[tuple[int, int]]:
    """The index pairs (low, high) of buffers that are alive at a common step."""
    buffers = problem.buffers
    alive: list[int] = []
    pairs: list[tuple[int, int]] = []
    order = sorted(range(len(buffers)), key=lambda i: (buffers[i].start, i))
    for index in order:
        buffer = buffers[index]
        if buffer.start >= buffer.end or buffer.size == 0:
            continue
        start = buffer.start
        alive = [other for other in alive if buffers[other].end > start]
        pairs += [(index, other) if index < other else (other, index) for other in alive]
        alive.append(index)
    return pairs


def merge(intervals: Iterable[Interval]) -> tuple[Interval, ...]:
    """The union of open intervals, sorted and disjoint; (a, b) and (b, c) stay two."""
    intervals = sorted(intervals)
    if len(intervals) < 2:
        return tuple(intervals)
    merged: list[Interval] = []
    for low, high in intervals:
        if merged and low < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _items(problem: Problem) -> tuple[tuple[Item, ...], tuple[int, ...], tuple[int, ...]]:
    """Connected components of the ties, with each buffer's offset in its item."""
    neighbours: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for tie in problem.ties:
        neighbours[tie.first].append((tie.second, tie.distance))
        neighbours[tie.second].append((tie.first, -tie.distance))
    items: list[Item] = []
    item_of = [-1] * len(problem.buffers)
    relative = [0] * len(problem.buffers)
    for root in range(len(problem.buffers)):
        if item_of[root] >= 0:
            continue
        item_of[root] = len(items)
        members = [root]
        for member in members:
            for other, distance in neighbours[member]:
                if item_of[other] < 0:
                    item_of[other] = len(items)
                    relative[other] = relative[member] + distance
                    members.append(other)
                elif relative[other] != relative[member] + distance:
                    raise ValueError(f"ties contradict each other at {problem.buffers[other].name}")
        base = min(relative[m] for m in members)
        for member in members:
            relative[member] -= base
            if relative[member] % problem.buffers[member].alignment:
                raise ValueError(f"a tie breaks the alignment of {problem.buffers[member].name}")
        items.append(
            Item(
                tuple((m, relative[m]) for m in members),
                max(relative[m] + problem.buffers[m].size for m in members),
                max(problem.buffers[m].alignment for m in members),
            )
        )
    return tuple(items), tuple(item_of), tuple(relative)


def _allowed_pairs(problem: Problem) -> dict[tuple[int, int], Interval]:
    """Per pair (low index, high index) with an allowance, the forbidden offset(high) - offset(low).

    The hull where two allowances of a pair forbid two intervals: nothing unsafe is let through.
    """
    forbidden: dict[tuple[int, int], Interval] = {}
    for rule in problem.allowances:
        first, second = problem.buffers[rule.first], problem.buffers[rule.second]
        low, high = -second.size, first.size
        if rule.max_distance is not None:
            low = max(low, rule.max_distance)
        if rule.min_distance is not None:
            high = min(high, rule.min_distance)
        key = (rule.first, rule.second)
        if rule.first > rule.second:
            key, low, high = (rule.second, rule.first), -high, -low
        if low >= high:
            forbidden.setdefault(key, (0, 0))
        elif forbidden.get(key, (0, 0)) == (0, 0):
            forbidden[key] = (low, high)
        else:
            forbidden[key] = min(low, forbidden[key][0]), max(high, forbidden[key][1])
    return forbidden
