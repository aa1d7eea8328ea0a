# SPDX-License-Identifier: Apache-2.0
"""Ranges of offsets that narrow each other, for bounds and for packing with overlap.

For a given height every item has a range of offsets, and so every pair a range of distances. Both
ends of a range of distances must lie outside the pair's forbidden intervals; moving them there
narrows the ranges of the two offsets, which narrows other distances, until nothing moves. A range
that becomes empty proves that the height is impossible.

At rest, both ends of each range are at allowed distances from every item whose offset is settled.
So `dive` packs without searching gaps: it settles the item with the least freedom at one end of
its range, narrows, and goes on; if that end fails it tries the other, and then gives up. Long
chains of kernels that overlap their output with their input, each at its own distance, are packed
so; putting one buffer after the other does badly there.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterable

from mcudeploy.memory.geometry import Geometry

_TURNS = 60
"""Narrowing stops after so many looks at each item; ranges are then wider than need be."""
_DIVE_PAIRS = 60_000
"""Pairs of items that a dive looks at before it gives up; unrolled LSTMs need 15,000."""


class Ranges:
    """The offsets that each item may have in a packing of at most `height`."""

    def __init__(self, geometry: Geometry, height: int) -> None:
        self._geometry = geometry
        self.pairs = 0
        self.lowest = [0] * len(geometry.items)
        self.highest = [
            (height - item.extent) // item.alignment * item.alignment for item in geometry.items
        ]
        for i, intervals in enumerate(geometry.blocked):
            for low, high in intervals:
                if low < self.lowest[i] < high:
                    unit = geometry.items[i].alignment
                    self.lowest[i] = -(-high // unit) * unit
        self.possible = all(
            low <= high for low, high in zip(self.lowest, self.highest, strict=True)
        ) and self._narrow(range(len(geometry.items)))

    def copy(self) -> Ranges:
        other = copy.copy(self)
        other.lowest, other.highest = self.lowest[:], self.highest[:]
        return other

    def settle(self, item: int, offset: int) -> bool:
        """Fix an offset; False, with all ranges as before, if that leaves another item none."""
        before = self.lowest[:], self.highest[:]
        self.lowest[item] = self.highest[item] = offset
        if self._narrow([item]):
            return True
        self.lowest, self.highest = before
        return False

    def _narrow(self, items: Iterable[int]) -> bool:
        waiting = dict.fromkeys(items)
        forbidden, lowest, highest = self._geometry.forbidden, self.lowest, self.highest
        turns = _TURNS * len(lowest)
        while waiting and turns:
            turns -= 1
            i = next(iter(waiting))
            del waiting[i]
            row = forbidden[i]
            self.pairs += len(row)
            low_i, high_i = lowest[i], highest[i]
            for j, a, b in row:
                # The least distance is forbidden: it is b or more. So for the greatest below.
                if a < low_i - highest[j] < b:
                    if lowest[j] + b > low_i:
                        low_i = lowest[i] = lowest[j] + b
                        waiting[i] = None
                    if high_i - b < highest[j]:
                        highest[j] = high_i - b
                        waiting[j] = None
                if a < high_i - lowest[j] < b:
                    if highest[j] + a < high_i:
                        high_i = highest[i] = highest[j] + a
                        waiting[i] = None
                    if low_i - a > lowest[j]:
                        lowest[j] = low_i - a
                        waiting[j] = None
                if low_i > high_i or lowest[j] > highest[j]:
                    return False
        # Ranges that are not at rest prove nothing, but are still right.
        return True


def dive(geometry: Geometry, height: int) -> list[int] | None:
    """Item offsets of a packing of at most `height`, or None: it need not mean that none exists."""
    # Every item is looked at first, when it is settled, and once between in all that succeed.
    if any(geometry.blocked) or 3 * sum(map(len, geometry.forbidden)) > _DIVE_PAIRS:
        return None
    start = Ranges(geometry, height)
    if start.possible:
        for upwards in (False, True):
            offsets = _dive(geometry, start.copy(), upwards)
            if offsets is not None:
                return offsets
    return None


def _dive(geometry: Geometry, ranges: Ranges, upwards: bool) -> list[int] | None:
    items = geometry.items
    open_items = sorted(range(len(items)), key=lambda i: -items[i].extent)
    while open_items:
        freedom = list(map(operator.sub, ranges.highest, ranges.lowest))
        chosen = min(open_items, key=freedom.__getitem__)
        open_items.remove(chosen)
        ends = ranges.lowest[chosen], ranges.highest[chosen]
        if not any(ranges.settle(chosen, end) for end in (ends[::-1] if upwards else ends)):
            return None
        if ranges.pairs > _DIVE_PAIRS:
            return None
    return ranges.lowest
