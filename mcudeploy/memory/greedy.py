# SPDX-License-Identifier: Apache-2.0
"""Fast packing: put items one after another at the lowest offset that is free.

`place` is first fit for a given order of items: it collects the offsets that the items already
placed forbid, and walks up through them. All of a heuristic is then the order. `best_of_orders`
tries the orders that the field knows (by size, area, duration, time, contention), and
`local_search` improves the best of them: whatever lies at the top of the packing was placed too
late, so it is moved forward in the order, with some disorder from a seeded generator; an order
that is not worse is kept. Same input, same result, always.

Nothing is promised of the distance to the optimum; compare with `bounds`, and see `exact`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from mcudeploy.memory.geometry import Geometry, Interval

Order = list[int]
_NOWHERE = -(1 << 80)
"""The offset of what is not yet placed: too low to be in anything's way."""


def place(
    geometry: Geometry,
    order: Sequence[int],
    limit: int | None = None,
    known: Sequence[int] | None = None,
    begin: int = 0,
) -> list[int] | None:
    """Offsets of all items, first fit in `order`; None as soon as one ends above `limit`.

    Those before position `begin` of the order stay at their `known` offsets.
    """
    offsets = [_NOWHERE] * len(geometry.items)
    if known is not None:
        for index in order[:begin]:
            offsets[index] = known[index]
    forbidden, blocked, items = geometry.forbidden, geometry.blocked, geometry.items
    for index in order[begin:]:
        obstacles = [
            (base + low, base + high)
            for other, low, high in forbidden[index]
            if (base := offsets[other]) > -high
        ]
        obstacles += blocked[index]
        item = items[index]
        offset = lowest_free(obstacles, item.alignment)
        if limit is not None and offset + item.extent > limit:
            return None
        offsets[index] = offset
    return offsets


def lowest_free(obstacles: list[Interval], alignment: int) -> int:
    """The lowest multiple of `alignment`, at least 0, in none of the open intervals."""
    obstacles.sort()
    offset = 0
    for low, high in obstacles:
        if low >= offset:
            break
        if high > offset:
            offset = -(high // -alignment) * alignment
    return offset


def orders(geometry: Geometry) -> list[tuple[str, Order]]:
    """The orders worth trying, named; greedy by size is the first."""
    items, buffers = geometry.items, geometry.problem.buffers
    start = [min(buffers[b].start for b, _ in item.parts) for item in items]
    end = [max(buffers[b].end for b, _ in item.parts) for item in items]
    extents = [item.extent for item in items]
    contention = [
        sum(map(extents.__getitem__, {other for other, _, _ in row})) for row in geometry.forbidden
    ]
    keys: list[tuple[str, Callable[[int], tuple[int, ...]]]] = [
        ("greedy by size", lambda i: (-items[i].extent, start[i])),
        ("greedy by area", lambda i: (-geometry.weights[i], start[i])),
        ("greedy by duration", lambda i: (start[i] - end[i], -items[i].extent)),
        ("greedy by contention", lambda i: (-contention[i] - items[i].extent, start[i])),
        ("greedy by time", lambda i: (start[i], -items[i].extent)),
        ("greedy by time, backwards", lambda i: (-end[i], -items[i].extent)),
    ]
    return [(name, sorted(range(len(items)), key=lambda i: (*key(i), i))) for name, key in keys]


def best_of_orders(
    geometry: Geometry, bound: int, below: int | None = None
) -> tuple[int, list[int], str, Order] | None:
    """Height, item offsets, name and order of the best; stops at the first that meets `bound`.

    None when no order gives a packing `below` the given height; without one there always is one.
    """
    best: tuple[int, list[int], str, Order] | None = None
    for name, order in orders(geometry):
        offsets = place(geometry, order, None if below is None else below - 1)
        if offsets is None:
            continue
        below = geometry.height(offsets)
        best = below, offsets, name, order
        if below <= bound:
            break
    return best


def local_search(
    geometry: Geometry, start: Order, offsets: list[int], target: int, rounds: int, seed: int = 1
) -> tuple[int, list[int]]:
    """Improve an order with its offsets for `rounds` placements; ends early at height `target`."""
    generator = random.Random(seed)
    order = list(start)
    height = geometry.height(offsets)
    best = height, offsets
    for _ in range(rounds):
        if best[0] <= target:
            break
        trial = _disturb(geometry, order, offsets, height, generator)
        # A detour of a few per cent above the best is allowed: plateaus and dents are common.
        limit = best[0] + best[0] // 50
        same = next((k for k, (i, j) in enumerate(zip(order, trial, strict=True)) if i != j), 0)
        moved = place(geometry, trial, limit, offsets, same)
        if moved is None:
            continue
        order, offsets, height = trial, moved, geometry.height(moved)
        if height < best[0]:
            best = height, offsets
    return best


def _disturb(
    geometry: Geometry, order: Order, offsets: list[int], height: int, generator: random.Random
) -> Order:
    """Move an item of the top, or one that meets it, to an earlier place in the order."""
    items = geometry.items
    top = [i for i in order if offsets[i] + items[i].extent == height]
    chosen = generator.choice(top)
    if generator.random() < 0.5 and geometry.forbidden[chosen]:
        chosen = generator.choice(sorted({other for other, _, _ in geometry.forbidden[chosen]}))
    trial = [i for i in order if i != chosen]
    trial.insert(generator.randrange(order.index(chosen) + 1), chosen)
    if generator.random() < 0.3 and len(trial) > 1:
        a, b = generator.sample(range(len(trial)), 2)
        trial[a], trial[b] = trial[b], trial[a]
    return trial
