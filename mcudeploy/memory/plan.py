# SPDX-License-Identifier: Apache-2.0
"""The memory plan of a network on a board, with its certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mcudeploy.board import Board
from mcudeploy.graph.ir import Graph
from mcudeploy.memory.streaming import Segment
from mcudeploy.operators.base import Implementation


@dataclass(frozen=True)
class Placement:
    """`bytes` at `offset` in the arena of memory region `region`."""

    region: str
    offset: int
    bytes: int


@dataclass(frozen=True)
class Certificate:
    """What is proven of a plan.

    `peak_bytes` is the sum over the regions of the highest byte used. No addresses whatever need
    less than `lower_bound_bytes`, given this order and these kernels. `peak_step` is the operator
    at which the most bytes are live.
    """

    peak_bytes: int
    lower_bound_bytes: int
    peak_step: int
    order_method: str
    packing_method: str
    order_live_bytes: int = 0
    """Most bytes live at once in the plan's order, before they have addresses."""
    order_bound_bytes: int = 0
    """No order has fewer."""
    file_order_live_bytes: int = 0
    """The same in the order of the model file."""

    @property
    def gap_bytes(self) -> int:
        return self.peak_bytes - self.lower_bound_bytes


@dataclass(frozen=True)
class Sharing:
    """An output that lies over an input: `bytes` in common; distance = output - input address."""

    input: int
    output: int
    bytes: int
    distance: int


@dataclass(frozen=True, eq=False)
class Stream:
    """A segment that runs row by row, with what it keeps.

    `rings` says for each inner map how many rows its place holds; maps that an operator changes in
    place have the same place. `state` goes by position of the accumulating operator, `strips` by
    that of the reader in a pair.
    """

    segment: Segment
    rings: Mapping[int, int]
    state: Mapping[int, Placement]
    counters: Placement
    strips: Mapping[int, Placement] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Plan:
    """Where every activation, scratch and state of a network lives.

    `graph.operators` stand in the order of execution; `implementations` and `scratch` go by
    position in it; `tensors` maps a tensor index to its place. `arenas` is the size in bytes of
    what each region used gives; `state`, kept between inferences, is its topmost part.
    `live_bytes` are the bytes in use at each step: what inputs, outputs, scratch, state and
    waiting tensors cover, bytes that two of them share counted once.

    A network that does not fit has a plan too: what the other regions cannot take is in the first,
    whose arena is then larger than the region.
    """

    board: Board
    graph: Graph
    implementations: tuple[Implementation, ...]
    tensors: Mapping[int, Placement]
    scratch: Mapping[int, Placement]
    state: Mapping[int, Placement]
    arenas: Mapping[str, int]
    live_bytes: tuple[int, ...]
    certificate: Certificate
    streams: tuple[Stream, ...] = ()
    """The row-streamed segments. `tensors` has the rings of their inner maps."""

    def stream_at(self, step: int) -> Stream | None:
        """The segment that a step belongs to."""
        return next((s for s in self.streams if s.segment.first <= step < s.segment.end), None)

    @property
    def row_fed(self) -> bool:
        """The input comes row by row and never lies in memory as a whole."""
        return any(stream.segment.fed for stream in self.streams)

    @property
    def external_regions(self) -> tuple[str, ...]:
        """The regions behind an external bus that hold anything."""
        external = self.board.regions("ram", external=True)
        return tuple(r.name for r in external if r.external and self.arenas.get(r.name))

    def state_begin(self, region: str) -> int:
        """The offset in a region at which its state begins; its arena's end without state."""
        kept = [place.offset for place in self.state.values() if place.region == region]
        return min(kept, default=self.arenas[region])

    def place(self, tensor: int) -> Placement | None:
        """Where an activation or state tensor lives; None for a constant."""
        return self.tensors.get(tensor) or self.state.get(tensor)

    def sharing(self, step: int) -> tuple[Sharing, ...]:
        """Which outputs of a step lie over which of its inputs (tensor indices)."""
        operator = self.graph.operators[step]
        shared = []
        for output in operator.outputs:
            for source in dict.fromkeys(operator.inputs):
                a, b = self.place(source), self.place(output)
                if a is None or b is None or a.region != b.region:
                    continue
                low = max(a.offset, b.offset)
                common = min(a.offset + a.bytes, b.offset + b.bytes) - low
                if common > 0:
                    shared.append(Sharing(source, output, common, b.offset - a.offset))
        return tuple(shared)
