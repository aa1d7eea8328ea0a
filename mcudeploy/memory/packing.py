# SPDX-License-Identifier: Apache-2.0
"""Packing, from the fast to the exact: stop as soon as the lower bound is met.

1. A lower bound from the live bytes (`bounds`).
2. First fit in several orders (`greedy`), then local search over orders.
3. If the bound is still missed: exact search (`exact`), which lowers the height or raises the
   bound until they meet or its effort is spent. What is then left is the gap.
"""

from __future__ import annotations

from mcudeploy.memory.bounds import live_bytes_bound
from mcudeploy.memory.geometry import Geometry, make_geometry
from mcudeploy.memory.greedy import best_of_orders, local_search
from mcudeploy.memory.problem import Packing, Problem

LOCAL_SEARCH_PLACEMENTS = 40_000
"""Items placed by the local search in all, so that its time does not grow with the problem."""


def pack(problem: Problem) -> Packing:
    """Offsets of least height, or of a height within `problem.capacity` when that is given.

    Raises ValueError when ties contradict each other or an allowance that they would need.
    """
    geometry = make_geometry(problem)
    if geometry.contradiction is not None:
        a, b = (problem.buffers[i].name for i in geometry.contradiction)
        raise ValueError(f"{a} and {b} are tied to share bytes that they may not share")
    return pack_geometry(geometry)


def pack_geometry(geometry: Geometry) -> Packing:
    """`pack` for a problem whose geometry is known and free of contradiction."""
    if not geometry.items:
        return Packing((), 0, 0, "nothing to pack")
    bound = live_bytes_bound(geometry)
    target = max(bound, geometry.problem.capacity or 0)
    height, offsets, method, order = best_of_orders(geometry, target)
    if height > target:
        rounds = LOCAL_SEARCH_PLACEMENTS // len(geometry.items) + 1
        searched, found = local_search(geometry, order, target, rounds)
        if searched < height:
            height, offsets, method = searched, found, "local search"
    return Packing(geometry.offsets_of_buffers(offsets), height, bound, method)
