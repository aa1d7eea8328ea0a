# SPDX-License-Identifier: Apache-2.0
"""The memory plan of a network on a board, with its certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mcudeploy.board import Board
from mcudeploy.graph.ir import Graph
from mcudeploy.operators.base import Implementation


@dataclass(frozen=True)
class Placement:
    """`bytes` at `offset` in the arena of memory region `region`."""

    region: str
    offset: int
    bytes: int


@dataclass(frozen=True)
class Certificate:
    """What is proven of a plan. `peak_step` is the operator at which the most bytes are live."""

    peak_bytes: int
    lower_bound_bytes: int
    peak_step: int
    order_method: str
    packing_method: str

    @property
    def gap_bytes(self) -> int:
        return self.peak_bytes - self.lower_bound_bytes


@dataclass(frozen=True, eq=False)
class Plan:
    """Where every activation, scratch and state of a network lives.

    `graph.operators` stand in the order of execution; `implementations` and `scratch` go by
    position in it; `tensors` maps a tensor index to its place. `arenas` is the size in bytes of
    the arena of each region used. `live_bytes` is the sum of what is live at each step.
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
