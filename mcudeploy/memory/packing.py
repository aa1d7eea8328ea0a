# SPDX-License-Identifier: Apache-2.0
"""Packing, from the fast to the exact: stop as soon as the lower bound is met.

1. A lower bound from the live bytes, and one from drift where buffers may overlap (`bounds`).
2. First fit in several orders (`greedy`), then local search over orders.
3. If the bound is still missed: exact search (`exact`), which lowers the height or raises the
   bound until they meet or its effort is spent. What is then left is the gap.

Where a capacity is given, it takes the place of the bound: any packing within it will do.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from mcudeploy.memory.bounds import drift_bound, live_bytes_bound
from mcudeploy.memory.geometry import Geometry, make_geometry, without_overlap
from mcudeploy.memory.greedy import best_of_orders, local_search, place
from mcudeploy.memory.problem import Packing, Problem
from mcudeploy.memory.ranges import dive


@dataclass(frozen=True)
class Effort:
    """How hard to try; counted in work and not in seconds, so that results do not vary."""

    placements: int = 10_000
    """Items placed by the local search in all; four times as many made no plan of the zoo lower."""
    attempts: int = 2
    """Searches for a packing of the wanted height; 0 leaves the exact search out."""
    conflicts: int = 1000
    """Conflicts of the exact solver at the first attempt; the next may have twice as many."""


QUICK = Effort(placements=4_000, attempts=0)
"""Heuristics only."""
NORMAL = Effort()
THOROUGH = Effort(attempts=8, conflicts=4000)


def pack(problem: Problem, effort: Effort = NORMAL, most: int | None = None) -> Packing:
    """Offsets of least height, or of a height within `problem.capacity` when that is given.

    Packings above `most` are of no use: if there is no other, the first found will do.
    Raises ValueError when ties contradict each other or an allowance that they would need.
    """
    geometry = make_geometry(problem)
    if geometry.contradiction is not None:
        a, b = (problem.buffers[i].name for i in geometry.contradiction)
        raise ValueError(f"{a} and {b} are tied to share bytes that they may not share")
    if not geometry.items:
        return Packing((), 0, 0, "nothing to pack")
    bound = live_bytes_bound(geometry)
    most = sys.maxsize if most is None else most
    target = max(bound, problem.capacity or 0)
    found = best_of_orders(geometry, target if bound <= most else sys.maxsize)
    assert found is not None
    height, offsets, method, order = found
    placed: list[int] | None = offsets
    if bound > most:
        return Packing(geometry.offsets_of_buffers(offsets), height, bound, method)
    if height > target and problem.allowances and not problem.holes:
        if problem.capacity is None:
            target = bound = drift_bound(geometry, bound, height)
        dived = dive(geometry, target)
        if dived is not None and geometry.height(dived) < height:
            height, offsets, method = geometry.height(dived), dived, "narrowed ranges"
    if height > target and problem.allowances:
        # First fit is not monotone: what may not overlap is sometimes packed lower.
        plain = without_overlap(geometry)
        strict = best_of_orders(plain, target, height) if live_bytes_bound(plain) < height else None
        if strict is not None:
            height, offsets, method, order = strict
            placed = place(geometry, order)
    if height > target and placed is not None:
        # A placement looks at all that an item meets, some ten others as a rule.
        met = sum(map(len, geometry.forbidden))
        rounds = (
            min(effort.placements // len(geometry.items), 10 * effort.placements // max(met, 1)) + 1
        )
        searched, better = local_search(geometry, order, placed, target, rounds)
        if searched < height:
            height, offsets, method = searched, better, "local search"
    if height > target and effort.attempts:
        height, offsets, bound, method = _exact(geometry, (height, offsets, bound, method), effort)
    return Packing(geometry.offsets_of_buffers(offsets), height, bound, method)


def _exact(
    geometry: Geometry, known: tuple[int, list[int], int, str], effort: Effort
) -> tuple[int, list[int], int, str]:
    """Height, item offsets, bound and method after an exact search for better ones."""
    from mcudeploy.memory.exact import ExactPacker

    height, offsets, bound, method = known
    packer = ExactPacker(geometry)
    capacity = geometry.problem.capacity
    if capacity is not None or packer.plain:
        # Without allowances the bound is met more often than not: asking for it outright is faster.
        found = packer.within(max(bound, capacity or 0), effort.attempts, effort.conflicts)
        if found is not None:
            bound = max(bound, found.lower_bound)
            if found.offsets is not None:
                return geometry.height(found.offsets), found.offsets, bound, "exact search"
    if capacity is None:
        least = packer.least(bound, height, effort.conflicts)
        bound = max(bound, least.lower_bound)
        if least.offsets is not None:
            offsets, method = least.offsets, "exact search"
            height = geometry.height(offsets)
    return height, offsets, bound, method
