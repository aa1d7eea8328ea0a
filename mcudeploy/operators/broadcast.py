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


def broadcast_shape(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...] | None:
    """The output's shape; None when the two do not go together."""
    rank = max(len(a), len(b))
    sizes = list(zip(_aligned(a, rank), _aligned(b, rank), strict=True))
    if any(m != n and 1 not in (m, n) for m, n in sizes):
        return None
    return tuple(n if m == 1 else m for m, n in sizes)


def broadcast_walk(a: Sequence[int], b: Sequence[int]) -> Walk:
    """The loops over two shapes that go together."""
    shape = broadcast_shape(a, b)
    assert shape is not None
    strides = [_strides(_aligned(operand, len(shape)), shape) for operand in (a, b)]
    merged: list[tuple[int, int, int]] = []
    for size, a_stride, b_stride in zip(shape, *strides, strict=True):
        if size == 1:
            continue
        if merged and merged[-1][1:] == (size * a_stride, size * b_stride):
            merged[-1] = (merged[-1][0] * size, a_stride, b_stride)
        else:
            merged.append((size, a_stride, b_stride))
    if not merged:
        return Walk((1,), (1,), (1,))
    extent, a_strides, b_strides = zip(*merged, strict=True)
    return Walk(extent, a_strides, b_strides)


def _aligned(shape: Sequence[int], rank: int) -> tuple[int, ...]:
    return (1,) * (rank - len(shape)) + tuple(shape)


def _strides(shape: Sequence[int], output: Sequence[int]) -> tuple[int, ...]:
    strides, step = [], 1
    for size, out_size in zip(reversed(shape), reversed(output), strict=True):
        strides.append(0 if size == 1 and out_size != 1 else step)
        step *= size
    return tuple(reversed(strides))
