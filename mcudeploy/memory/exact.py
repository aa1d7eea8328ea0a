# SPDX-License-Identifier: Apache-2.0
"""Exact packing by constraint programming (CP-SAT), for what the heuristics do not settle.

Every item has one variable, its offset, counted in the greatest common divisor of all distances
that matter: an item that cannot move down rests on another one or on the ground, so no other
offset need be looked at. Plain buffers become rectangles of time and addresses that may not
overlap (`add_no_overlap_2d`); where views, allowances or holes play a part, every pair of items
gets its distances outside the forbidden intervals instead.

What decides is the order of the search: the lowest possible offset first, as in building a wall,
and among equals the item that spans the fullest moment, then the longest, then the largest. With
it the hard instances of the literature fall in tens of conflicts, and without it hardly ever.
Should it fail, later attempts disturb that order, with more effort each time.

Effort is counted in conflicts of the solver and not in seconds, so a plan is the same on every
machine; SECONDS only stops what is hopeless.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mcudeploy.memory.geometry import Geometry, align_up
from mcudeploy.memory.sections import compressed_spans, live_sets

SECONDS = 60.0
"""At most this long for one call of the solver."""


@dataclass(frozen=True)
class Found:
    """Item offsets when some were found, and the lower bound of the height that is now proven."""

    offsets: list[int] | None
    lower_bound: int


class ExactPacker:
    """Searches one problem for packings of limited or least height."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        buffers = geometry.problem.buffers
        self._spans = compressed_spans(buffers)
        self.plain = not (geometry.problem.ties or geometry.problem.allowances) and not any(
            geometry.blocked
        )
        ends = [end for row in geometry.forbidden for _, *interval in row for end in interval]
        holes = [align_up(high, item.alignment)
                 for item, row in zip(geometry.items, geometry.blocked, strict=True)
                 for _, high in row]  # fmt: skip
        self._unit = math.gcd(*ends, *holes) or 1
        self._keys = self._urgency()

    def within(self, height: int, attempts: int, conflicts: int) -> Found | None:
        """A packing of at most `height`; None when it was neither found nor proven impossible.

        If it is impossible, the result has no offsets and a lower bound above `height`.
        """
        generator = random.Random(1)
        for attempt in range(attempts):
            order = sorted(range(len(self._keys)), key=lambda i: self._keys[i])
            if attempt:
                # Moves an item by some ten places, more in later attempts.
                rank = {item: place for place, item in enumerate(order)}
                order.sort(key=lambda i: rank[i] + generator.gauss(0, 5 * attempt))
            status, offsets, _ = self._solve(order, height, conflicts << attempt, minimize=None)
            if status == "found":
                return Found(offsets, 0)
            if status == "impossible":
                return Found(None, height + 1)
        return None

    def least(self, bound: int, height: int, conflicts: int) -> Found:
        """The least height in `bound` <= h < `height`, as far as `conflicts` reach."""
        order = sorted(range(len(self._keys)), key=lambda i: self._keys[i])
        status, offsets, proven = self._solve(order, height - 1, conflicts, minimize=bound)
        if status == "impossible":
            return Found(None, height)
        return Found(offsets, max(bound, proven))

    def _urgency(self) -> list[tuple[int, int, int, int]]:
        """Sort keys of the items: fullest moment, duration, area (all descending), index."""
        buffers, items = self._geometry.problem.buffers, self._geometry.items
        loads = [sum(buffers[i].size for i in live) for live in live_sets(self._spans)]
        keys = []
        for index, item in enumerate(items):
            spans = [self._spans[b] for b, _ in item.parts]
            fullest = max((max(loads[s:e], default=0) for s, e in spans), default=0)
            duration = sum(e - s for s, e in spans)
            area = sum(
                (e - s) * buffers[b].size
                for (s, e), (b, _) in zip(spans, item.parts, strict=True)
            )  # fmt: skip
            keys.append((-fullest, -duration, -area, index))
        return keys

    def _solve(
        self, order: Sequence[int], limit: int, conflicts: int, minimize: int | None
    ) -> tuple[str, list[int] | None, int]:
        """Status, offsets, and the proven bound; minimizes from `minimize` on, or satisfies."""
        from ortools.sat.python import cp_model

        model = cp_model.CpModel()
        items, unit = self._geometry.items, self._unit
        offsets: dict[int, Any] = {}
        for i in order:
            room = limit - items[i].extent
            if room < 0:
                return "impossible", None, limit + 1
            domain = [[0, room // unit]]
            for low, high in self._geometry.blocked[i]:
                domain = _without(domain, low // unit, -(-high // unit))
            if not domain:
                return "impossible", None, limit + 1
            offsets[i] = model.new_int_var_from_domain(cp_model.Domain.from_intervals(domain), "")
        self._separate(model, cp_model, offsets)
        if minimize is not None:
            height = model.new_int_var(minimize, limit, "height")
            for i in order:
                model.add(height >= unit * offsets[i] + items[i].extent)
            model.minimize(height)
        model.add_decision_strategy(
            [offsets[i] for i in order], cp_model.CHOOSE_LOWEST_MIN, cp_model.SELECT_MIN_VALUE
        )
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = 1
        solver.parameters.max_number_of_conflicts = conflicts
        solver.parameters.max_time_in_seconds = SECONDS
        solver.parameters.search_branching = cp_model.PARTIAL_FIXED_SEARCH
        status = solver.solve(model)
        bound = 0
        if minimize is not None and status != cp_model.INFEASIBLE:
            bound = math.ceil(solver.best_objective_bound - 1e-6)
        if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            values = [unit * int(solver.value(offsets[i])) for i in range(len(items))]
            return "found", values, bound
        return ("impossible" if status == cp_model.INFEASIBLE else "unknown"), None, bound

    def _separate(self, model: Any, cp_model: Any, offsets: dict[int, Any]) -> None:
        """No two items at a forbidden distance."""
        unit = self._unit
        if self.plain:
            times, places = [], []
            for i, offset in offsets.items():
                buffer = self._geometry.items[i].parts[0][0]
                start, end = self._spans[buffer]
                size = -(-self._geometry.problem.buffers[buffer].size // unit)
                if size and end > start:
                    times.append(model.new_fixed_size_interval_var(start, end - start, ""))
                    places.append(model.new_fixed_size_interval_var(offset, size, ""))
            model.add_no_overlap_2d(times, places)
            return
        far = 1 << 40
        for i, row in enumerate(self._geometry.forbidden):
            allowed: dict[int, list[list[int]]] = {}
            for j, low, high in row:
                if i < j:
                    before = allowed.get(j, [[-far, far]])
                    allowed[j] = _without(before, low // unit, -(-high // unit))
            for j, rest in allowed.items():
                domain = cp_model.Domain.from_intervals(rest)
                model.add_linear_expression_in_domain(offsets[i] - offsets[j], domain)


def _without(domain: list[list[int]], low: int, high: int) -> list[list[int]]:
    """Closed intervals less the open interval (low, high)."""
    rest = []
    for a, b in domain:
        if a <= min(b, low):
            rest.append([a, min(b, low)])
        if max(a, high) <= b and max(a, high) > min(b, low):
            rest.append([max(a, high), b])
    return rest
