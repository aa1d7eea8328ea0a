# SPDX-License-Identifier: Apache-2.0
"""Buffers over the memory regions of a board.

If the packing fits the first region, it goes there. If not, the regions are laid on one line of
addresses, the first at the bottom, with holes between them that no buffer may touch and that are
too long to reach across: any packing within that line is a placement, and if the exact search shows
that there is none, no choice of regions would do. Internal regions are tried before external ones
are added.

If that fails too, the first region goes to the top of the line, without an end, and the least
height is sought: then the others take what they can, and the first is over by what is missing. What
is proven of that (no placement exists; the first region needs so much at least) stands in the
method that is returned, and holds for the given kernels and order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mcudeploy.board import Board, MemoryRegion
from mcudeploy.memory.geometry import align_up
from mcudeploy.memory.packing import Effort, pack
from mcudeploy.memory.plan import Placement
from mcudeploy.memory.problem import Packing, Problem

_CONFLICTS = 10
"""Times the usual effort of the exact search: whether a network fits at all depends on it."""


@dataclass(frozen=True)
class _Line:
    """Regions on a line: name, address of its start there, and bytes (None: endless)."""

    regions: tuple[tuple[str, int, int | None], ...]
    holes: tuple[tuple[int, int], ...]

    @property
    def capacity(self) -> int | None:
        _, start, size = self.regions[-1]
        return None if size is None else start + size

    def placements(self, problem: Problem, packing: Packing) -> list[Placement]:
        places = []
        for buffer, offset in zip(problem.buffers, packing.offsets, strict=True):
            name, start, _ = max((r for r in self.regions if r[1] <= offset), key=lambda r: r[1])
            places.append(Placement(name, offset - start, buffer.size))
        return places


def place_in_regions(
    problem: Problem,
    packing: Packing,
    board: Board,
    *,
    reserve_bytes: int,
    use_external: bool,
    effort: Effort,
) -> tuple[list[Placement], str]:
    """The place of each buffer, given its packing for one region, and how it was found."""
    alignment = board.core.alignment
    internal = board.regions("ram")
    room = {r.name: r.size // alignment * alignment for r in board.regions("ram", external=True)}
    first = internal[0].name
    room[first] = max(0, (internal[0].size - reserve_bytes) // alignment * alignment)
    if packing.height <= room[first]:
        return [
            Placement(first, offset, buffer.size)
            for offset, buffer in zip(packing.offsets, problem.buffers, strict=True)
        ], packing.method
    sets: list[tuple[MemoryRegion, ...]] = [internal] if len(internal) > 1 else []
    everything = board.regions("ram", external=True)
    if use_external and len(everything) > len(internal):
        sets.append(everything)
    harder = replace(effort, conflicts=_CONFLICTS * effort.conflicts)
    refuted = True
    for regions in sets:
        # Regions end to end are one region: what is proven of one holds for their sum.
        refuted = packing.lower_bound > sum(room[r.name] for r in regions)
        if refuted:
            continue
        line = _line(problem, [(r.name, room[r.name]) for r in regions], alignment)
        lined = pack(replace(problem, holes=line.holes, capacity=line.capacity), harder)
        if line.capacity is not None and lined.height <= line.capacity:
            return line.placements(problem, lined), f"{lined.method}, over {len(regions)} regions"
        refuted = line.capacity is not None and lined.lower_bound > line.capacity
    others: list[tuple[str, int | None]] = [
        (r.name, room[r.name]) for r in (sets[-1] if sets else internal) if r.name != first
    ]
    line = _line(problem, [*others, (first, None)], alignment)
    lined = pack(replace(problem, holes=line.holes), effort)
    start = line.regions[-1][1]
    if lined.height - start <= room[first]:
        return line.placements(problem, lined), f"{lined.method}, over {1 + len(others)} regions"
    least = max(lined.lower_bound - start, packing.lower_bound - sum(room[n] for n, _ in others))
    if lined.height - start <= least:
        proof = "proven least"
    else:
        proof = "no placement exists" if refuted else "no placement was found"
        proof += f", {first} needs {max(least, 0):,} bytes or more"
    return line.placements(problem, lined), f"{lined.method}, does not fit, {proof}"


def _line(problem: Problem, regions: Sequence[tuple[str, int | None]], alignment: int) -> _Line:
    # No chain of tied buffers is longer than all buffers together.
    gap = align_up(sum(align_up(b.size, alignment) for b in problem.buffers) + 1, alignment)
    start, placed, holes = 0, [], []
    for name, size in regions:
        placed.append((name, start, size))
        if size is not None:
            holes.append((start + size, start + size + gap))
            start += size + gap
    if regions[-1][1] is not None:
        holes.pop()
    return _Line(tuple(placed), tuple(holes))
