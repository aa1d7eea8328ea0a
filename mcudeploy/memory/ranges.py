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

from collections.abc import Iterable

from mcudeploy.memory.geometry import Geometry

_TURNS = 60
"""Narrowing stops after so many looks at each item; ranges are then wider than need be."""
_DIVE_PAIRS = 100_000
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
            self.pairs += len(forbidden[i])
            for j, intervals in forbidden[i].items():
                low_i, high_i, low_j, high_j = lowest[i], highest[i], lowest[j], highest[j]
                least, most = low_i - high_j, high_i - low_j
                for a, b in intervals:
                    if a < least < b:
                        least = b
                for a, b in reversed(intervals):
                    if a < most < b:
                        most = a
                if least > most:
                    return False
                if low_j + least > low_i or high_j + most < high_i:
                    lowest[i] = max(low_i, low_j + least)
                    highest[i] = min(high_i, high_j + most)
                    if lowest[i] > highest[i]:
                        return False
                    waiting[i] = None
                if low_i - most > low_j or high_i - least < high_j:
                    lowest[j] = max(low_j, low_i - most)
                    highest[j] = min(high_j, high_i - least)
                    if lowest[j] > highest[j]:
                        return False
                    waiting[j] = None
        # Ranges that are not at rest prove nothing, but are still right.
        return True


def dive(geometry: Geometry, height: int) -> list[int] | None:
    """Item offsets of a packing of at most `height`, or None: it need not mean that none exists."""
    if any(geometry.blocked):
        return None
    for upwards in (False, True):
        offsets = _dive(geometry, height, upwards)
        if offsets is not None:
            return offsets
    return None


def _dive(geometry: Geometry, height: int, upwards: bool) -> list[int] | None:
    ranges = Ranges(geometry, height)
    if not ranges.possible:
        return None
    items = geometry.items
    open_items = set(range(len(items)))
    while open_items:
        free = [(ranges.highest[i] - ranges.lowest[i], -items[i].extent, i) for i in open_items]
        chosen = min(free)[2]
        open_items.remove(chosen)
        ends = ranges.lowest[chosen], ranges.highest[chosen]
        if not any(ranges.settle(chosen, end) for end in (ends[::-1] if upwards else ends)):
            return None
        if ranges.pairs > _DIVE_PAIRS:
            return None
    return ranges.lowest
