# SPDX-License-Identifier: Apache-2.0
"""How one tensor is broadcast over another, as strides for loops over the output.

NumPy's rule: shapes are aligned at their last dimension; a size of 1 is repeated. Dimensions of
size 1 vanish and neighbours that both operands walk alike are merged, so that most operators end
as one or two loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DIMENSIONS = 5
"""The loops of firmware/kernels/broadcast_s8.c."""


@dataclass(frozen=True)
class Walk:
    """Extents of the output, outermost first, and each operand's strides in elements."""

    extent: tuple[int, ...]
    a_stride: tuple[int, ...]
    b_stride: tuple[int, ...]

    @property
    def is_plain(self) -> bool:
        """No operand is broadcast."""
        return (
            len(self.extent) <= 1
            and all(s <= 1 for s in self.a_stride + self.b_stride)
            and (self.a_stride == self.b_stride)
        )

    def padded(self) -> Walk:
        """The same with exactly `DIMENSIONS` loops."""
        more = DIMENSIONS - len(self.extent)
        return Walk(
            (1,) * more + self.extent, (0,) * more + self.a_stride, (0,) * more + self.b_stride
        )


def broadcast_shape(*shapes: Sequence[int]) -> tuple[int, ...] | None:
    """The output's shape; None when the operands do not go together."""
    rank = max(map(len, shapes))
    whole = []
    for sizes in zip(*(_aligned(shape, rank) for shape in shapes), strict=True):
        wider = {size for size in sizes if size != 1}
        if len(wider) > 1:
            return None
        whole.append(wider.pop() if wider else 1)
    return tuple(whole)


def broadcast_loops(*shapes: Sequence[int]) -> list[tuple[int, ...]]:
    """(extent, stride of each operand in elements) of each loop over shapes that go together."""
    output = broadcast_shape(*shapes)
    assert output is not None
    strides = [_strides(_aligned(shape, len(output)), output) for shape in shapes]
    merged: list[tuple[int, ...]] = []
    for size, *steps in zip(output, *strides, strict=True):
        if size == 1:
            continue
        if merged and merged[-1][1:] == tuple(size * step for step in steps):
            merged[-1] = (merged[-1][0] * size, *steps)
        else:
            merged.append((size, *steps))
    return merged or [(1,) + (1,) * len(shapes)]


def broadcast_walk(a: Sequence[int], b: Sequence[int]) -> Walk:
    """The loops over two shapes that go together."""
    extent, a_strides, b_strides = zip(*broadcast_loops(a, b), strict=True)
    return Walk(extent, a_strides, b_strides)


def _aligned(shape: Sequence[int], rank: int) -> tuple[int, ...]:
    return (1,) * (rank - len(shape)) + tuple(shape)


def _strides(shape: Sequence[int], output: Sequence[int]) -> tuple[int, ...]:
    strides, step = [], 1
    for size, out_size in zip(reversed(shape), reversed(output), strict=True):
        strides.append(0 if size == 1 and out_size != 1 else step)
        step *= size
    return tuple(reversed(strides))
