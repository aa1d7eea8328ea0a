# SPDX-License-Identifier: Apache-2.0
"""How low a packing can possibly be: a bound that needs no search.

At any step the live buffers cover at least the sum of their sizes, less what allowances let them
share: adding them one by one in the order of their birth, a buffer shares at most its own size,
and with each earlier buffer at most the overlap at the best distance its allowance permits.
Where no two live buffers may share, all but the topmost take their size rounded up to the
alignment.

`drift_bound` sees further: kernels that want their output a little below their input make the
buffers of a chain drift downwards, and where there is no room to jump back up, the drift adds up.
For a trial height, narrowing the `ranges` of all offsets may show that it is impossible.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import accumulate

from mcudeploy.memory.geometry import Geometry, Interval, align_up
from mcudeploy.memory.ranges import Ranges


def live_bytes_bound(geometry: Geometry) -> int:
    """A proven lower bound of the height of any packing of the problem, bytes."""
    if geometry.problem.holes:
        return _single_bound(geometry)
    sharing = _sharing(geometry)
    alive = [i for i, b in enumerate(geometry.problem.buffers) if b.start < b.end]
    buffers = [geometry.problem.buffers[i] for i in alive]
    grown: dict[int, int] = defaultdict(int)
    for buffer in buffers:
        size = align_up(buffer.size, buffer.alignment)
        grown[buffer.start] += size
        grown[buffer.end] -= size
    starts = {buffer.start for buffer in buffers}
    times = sorted(grown)
    totals = accumulate(grown[time] for time in times)
    # No step can need more than all that lives in it, so most need not be looked at.
    busiest = sorted(((t, s) for s, t in zip(times, totals, strict=True) if s in starts),
                     key=lambda pair: (-pair[0], pair[1]))  # fmt: skip
    best = _single_bound(geometry)
    for most, step in busiest:
        if most <= best:
            break
        live = [i for i, b in zip(alive, buffers, strict=True) if b.start <= step < b.end]
        best = max(best, _step_bound(geometry, live, sharing))
    return best


def drift_bound(geometry: Geometry, low: int, high: int) -> int:
    """The bound `low` raised as far as narrowing refutes heights below `high`, which is reached."""
    if Ranges(geometry, low).possible:
        return low
    refuted = low
    while high - refuted > 1:
        middle = (refuted + high) // 2
        if Ranges(geometry, middle).possible:
            high = middle
        else:
            refuted = middle
    return refuted + 1


def _single_bound(geometry: Geometry) -> int:
    return max((item.extent for item in geometry.items), default=0)


def _step_bound(
    geometry: Geometry, live: list[int], sharing: dict[int, list[tuple[int, int]]]
) -> int:
    buffers = geometry.problem.buffers
    present = set(live)
    total, shares = 0, False
    for index in live:
        overlap = sum(bytes_ for other, bytes_ in sharing.get(index, ()) if other in present)
        shares |= overlap > 0
        total += buffers[index].size - min(buffers[index].size, overlap)
    if shares or not live:
        return total
    rounded = [align_up(buffers[i].size, buffers[i].alignment) for i in live]
    slack = max(up - buffers[i].size for up, i in zip(rounded, live, strict=True))
    return sum(rounded) - slack


def _sharing(geometry: Geometry) -> dict[int, list[tuple[int, int]]]:
    """Per buffer, the buffers born before it with which it may share, and how many bytes."""
    buffers = geometry.problem.buffers
    sharing: dict[int, list[tuple[int, int]]] = defaultdict(list)
    tied = {}
    for item in geometry.items:
        for buffer, relative in item.parts:
            tied[buffer] = relative
    for (low, high), interval in geometry.allowed_pairs.items():
        first, second = buffers[low], buffers[high]
        if geometry.item_of[low] == geometry.item_of[high]:
            bytes_ = _overlap(first.size, second.size, tied[high] - tied[low])
        else:
            bytes_ = best_overlap(
                first.size, second.size, interval, min(first.alignment, second.alignment)
            )
        if bytes_ > 0:
            later, earlier = (
                (high, low) if (first.start, low) < (second.start, high) else (low, high)
            )
            sharing[later].append((earlier, bytes_))
    return sharing


def _overlap(first: int, second: int, distance: int) -> int:
    """Bytes shared by [0, first) and [distance, distance + second)."""
    return max(0, min(first, distance + second) - max(0, distance))


def best_overlap(first: int, second: int, forbidden: Interval, alignment: int = 1) -> int:
    """Most bytes that two buffers share at a distance outside the open interval `forbidden`.

    The overlap rises with the distance up to a plateau and falls after it, so the best distance
    is on the plateau or at an end of the interval; distances are multiples of `alignment`.
    """
    low, high = forbidden
    below = low // alignment * alignment
    above = align_up(high, alignment)
    if low >= high:
        return min(first, second)
    plateau = sorted((0, first - second))
    candidates = [below, above]
    candidates += [d for d in plateau if d <= below or d >= above]
    return max(_overlap(first, second, d) for d in candidates)
