# SPDX-License-Identifier: Apache-2.0
"""The packing problem as values: buffers with lifespans go to offsets of least height.

Nothing here knows of networks. Time is a half-open range of steps; sizes and offsets are bytes.
Two buffers that are alive at the same step share no byte, unless an `Allowance` permits the
distance between them. A `Tie` fixes a distance (one buffer is part of another), and a hole is a
range of addresses that nobody may touch (what lies between two memory regions).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Buffer:
    """`size` bytes needed during the steps `start` <= t < `end`."""

    name: str
    size: int
    start: int
    end: int
    alignment: int = 4

    def meets(self, other: Buffer) -> bool:
        """Both are alive at some step."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class Allowance:
    """Two buffers that meet may share bytes at these distances.

    With distance = offset(second) - offset(first): any distance <= `max_distance` and any
    distance >= `min_distance` is allowed; None permits nothing on that side. Buffers are named
    by their index in `Problem.buffers`. Of several allowances for one pair all must permit it.
    """

    first: int
    second: int
    max_distance: int | None = None
    min_distance: int | None = None


@dataclass(frozen=True)
class Tie:
    """offset(second) = offset(first) + distance. It permits no sharing: that takes an Allowance."""

    first: int
    second: int
    distance: int = 0


@dataclass(frozen=True)
class Problem:
    """Buffers, what binds and what frees them, and the height that is wanted (None: the least).

    `holes` are half-open ranges of addresses that no buffer may touch.
    """

    buffers: tuple[Buffer, ...]
    allowances: tuple[Allowance, ...] = ()
    capacity: int | None = None
    ties: tuple[Tie, ...] = ()
    holes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Packing:
    """Offsets of a problem's buffers, with what is known of their optimality."""

    offsets: tuple[int, ...]
    height: int
    lower_bound: int
    method: str

    @property
    def optimal(self) -> bool:
        return self.height <= self.lower_bound
