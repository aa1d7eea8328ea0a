# SPDX-License-Identifier: Apache-2.0
"""One operator that moves elements, for each of many shapes: what its cost is counted on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from cost_layers import Layer
from operator_cases import activation
from tflite_builder import ModelBuilder

from mcudeploy.board import Core
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.operators.base import Implementation, Target
from mcudeploy.operators.support import family

Shape = tuple[int, ...]
Move = Callable[[ModelBuilder], Sequence[int]]


def integers(b: ModelBuilder, values: object) -> int:
    return b.constant(np.array(values, np.int32))


def tensor(b: ModelBuilder, *shape: int) -> int:
    return b.tensor(shape, scale=1.0)


def from_shape(kind: str, shape: Shape, out: Shape, *arguments: object, **options: Any) -> Move:
    def build(b: ModelBuilder) -> Sequence[int]:
        x = activation(b, shape, scale=1.0)
        values = [integers(b, one) for one in arguments]
        return [b.operator(kind, [x, *values], tensor(b, *out), **options)]

    return build


def padding(kind: str, map_: Shape, channels: int = 0, **options: Any) -> Move:
    pads = [[0, 0], [1, 1], [1, 2], [0, channels]]
    out = (1, map_[1] + 2, map_[2] + 3, map_[3] + channels)
    return from_shape(kind, map_, out, pads, **options)


def strided(shape: Shape, step: Shape) -> Move:
    out = tuple(-(-n // abs(s)) for n, s in zip(shape, step, strict=True))
    begin = [0 if s > 0 else n - 1 for n, s in zip(shape, step, strict=True)]
    masks = {"begin_mask": 15, "end_mask": 15}
    return from_shape("STRIDED_SLICE", shape, out, begin, list(shape), list(step), **masks)


def transposed(shape: Shape, axes: Sequence[int]) -> Move:
    return from_shape("TRANSPOSE", shape, tuple(shape[a] for a in axes), list(axes))


def joined(kind: str, shapes: Sequence[Shape], out: Shape, axis: int) -> Move:
    def build(b: ModelBuilder) -> Sequence[int]:
        inputs = [activation(b, shape, scale=1.0) for shape in shapes]
        return [b.operator(kind, inputs, tensor(b, *out), axis=axis)]

    return build


def part(shape: Shape, begin: Sequence[int], out: Shape) -> Move:
    return from_shape("SLICE", shape, out, list(begin), list(out))


def gathered(shape: Shape, axis: int, indices: Sequence[int]) -> Move:
    out = (*shape[:axis], len(indices), *shape[axis + 1 :])
    return from_shape("GATHER", shape, out, list(indices), axis=axis)


def resized(map_: Shape, height: int, width: int) -> Move:
    options = {"align_corners": False, "half_pixel_centers": False}
    out = (1, height, width, map_[3])
    return from_shape("RESIZE_NEAREST_NEIGHBOR", map_, out, [height, width], **options)


def of_map(h: int, w: int, c: int) -> Iterator[tuple[str, Move]]:
    """Every way to move a map of h rows, w columns and c channels."""
    map_ = (1, h, w, c)
    yield "PAD", padding("PAD", map_)
    yield "PAD channels", padding("PAD", map_, 3)
    yield "MIRROR_PAD", padding("MIRROR_PAD", map_, mode="SYMMETRIC")
    yield "SLICE", part(map_, (0, 1, 2, 0), (1, h - 2, w - 3, c))
    yield "SLICE channels (SPLIT)", part((1, h, w, 3 * c), (0, 0, 0, c), map_)
    yield "STRIDED_SLICE", strided(map_, (1, 2, 2, 1))
    yield "STRIDED_SLICE columns", strided(map_, (1, 1, 2, 1))
    yield "STRIDED_SLICE backwards", strided(map_, (1, -1, -1, 1))
    yield "STRIDED_SLICE channels", strided((1, h, w, 2 * c), (1, 1, 1, 2))
    yield "STRIDED_SLICE channels backwards", strided(map_, (1, 1, 1, -1))
    for axes in itertools.permutations(range(3)):
        if axes != (0, 1, 2):
            yield f"TRANSPOSE {axes}", transposed((h, w, c), axes)
    for groups in (2, 3, 4):
        shape = (h * w, groups, c)
        yield f"TRANSPOSE, shuffle of {groups} groups", transposed(shape, (0, 2, 1))
    yield "TRANSPOSE, heads", transposed((1, 2 * h, 4, c), (0, 2, 1, 3))
    yield "TRANSPOSE, heads' columns", transposed((1, 2 * h, 4, c), (0, 2, 3, 1))
    yield "TRANSPOSE of five", transposed((3, 4, 5, 2, c), (0, 3, 1, 4, 2))
    for axis in (1, 2, 3):
        out = tuple(2 * n if at == axis else n for at, n in enumerate(map_))
        yield f"CONCATENATION {axis}", joined("CONCATENATION", [map_, map_], out, axis)
    yield "CONCATENATION of 1", joined("CONCATENATION", [map_, (1, h, w, 1)], (1, h, w, c + 1), 3)
    yield "PACK", joined("PACK", [(h, w, c)] * 3, (h, w, c, 3), 3)
    yield "UNPACK", part((h, w, c, 3), (0, 0, 0, 1), (h, w, c, 1))
    rows, columns = ([3 * i % n for i in range(n - 1)] for n in (h, w))
    yield "GATHER rows", gathered(map_, 1, rows)
    yield "GATHER columns", gathered(map_, 2, columns)
    yield "GATHER channels", gathered(map_, 3, [7 * i % c for i in range(c)])
    yield "GATHER, embedding", gathered((40, c), 0, [7 * i % 40 for i in range(30)])
    yield "TILE", from_shape("TILE", map_, (1, 2 * h, 3 * w, c), [1, 2, 3, 1])
    yield "TILE channels", from_shape("TILE", map_, (1, h, w, 2 * c), [1, 1, 1, 2])
    yield "BROADCAST_TO", from_shape("BROADCAST_TO", (1, 1, 1, c), map_, list(map_))
    yield "REVERSE_V2", from_shape("REVERSE_V2", map_, map_, [1])
    yield "REVERSE_V2 columns", from_shape("REVERSE_V2", map_, map_, [2])
    yield "REVERSE_V2 channels", from_shape("REVERSE_V2", map_, map_, [3])
    deep, wide = (1, h, w, 4 * c), (1, 2 * h, 2 * w, c)
    yield "DEPTH_TO_SPACE", from_shape("DEPTH_TO_SPACE", deep, wide, block_size=2)
    yield "SPACE_TO_DEPTH", from_shape("SPACE_TO_DEPTH", wide, deep, block_size=2)
    many = (4, h, w, c)
    none = [[0, 0], [0, 0]]
    yield "SPACE_TO_BATCH_ND", from_shape("SPACE_TO_BATCH_ND", wide, many, [2, 2], none)
    yield "BATCH_TO_SPACE_ND", from_shape("BATCH_TO_SPACE_ND", many, wide, [2, 2], none)
    yield "RESIZE_NEAREST_NEIGHBOR, twice", resized(map_, 2 * h, 2 * w)
    yield "RESIZE_NEAREST_NEIGHBOR, odd", resized(map_, h * 3 // 2, w * 3 // 2)
    yield "RESIZE_NEAREST_NEIGHBOR, down", resized(map_, h // 2 + 1, w * 2 // 3)


def layer(move: Move, core: Core) -> tuple[Layer, Implementation]:
    """The operator with the kernel that moves bytes."""
    b = ModelBuilder()
    graph = read_tflite(b.build(move(b)), "move")
    operator = graph.operators[-1]
    offered = family(operator).implementations(graph, operator, Target(core))
    copy = next(one for one in offered if one.snippet)
    return Layer(graph, (copy,), len(graph.operators) - 1), copy


def memcpy(size: int) -> tuple[Layer, Implementation]:
    """The C library's copy of as many bytes."""
    b = ModelBuilder()
    x = b.input((1, size), scale=1.0)
    graph = read_tflite(b.build([b.operator("ABS", [x], tensor(b, 1, size))]), "copy")
    copy = Implementation("memcpy", f"memcpy({{{{ outputs[0] }}}}, {{{{ inputs[0] }}}}, {size});")
    return Layer(graph, (copy,)), copy
