# SPDX-License-Identifier: Apache-2.0
"""Moving a feature map costs a memcpy of its bytes and at most two instructions an element more.

Counted on Cortex-M4F over random shapes with 16 to 40 channels, which move together. Elements that
move one by one or a few at a time (a transposition of channels) cost more: about 6 instructions
each and 30 for every innermost loop. Operators that are views cost nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from cost_layers import Layer, count_instructions
from tflite_builder import ModelBuilder

from mcudeploy.board import CORES
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.operators.base import Implementation, Target
from mcudeploy.operators.support import family

CORE = CORES["cortex-m4f"]
SHAPES_OF_EACH = 4
CALL_INSTRUCTIONS = 60

Shape = tuple[int, int, int, int]
Random = np.random.Generator


def integers(b: ModelBuilder, *values: object) -> int:
    return b.constant(np.array(values[0] if len(values) == 1 else values, np.int32))


def moved(
    kind: str, b: ModelBuilder, shape: Shape, out: tuple[int, ...], *arguments: int, **options: int
) -> int:
    x = b.input(shape, scale=1.0)
    return b.operator(kind, [x, *arguments], b.tensor(out, scale=1.0), **options)


def pad(kind: str, b: ModelBuilder, s: Shape, r: Random, **options: object) -> int:
    top, left = int(r.integers(0, 3)), int(r.integers(0, 3))
    pads = integers(b, [[0, 0], [top, 1], [left, 2], [0, 0]])
    out = (1, s[1] + top + 1, s[2] + left + 2, s[3])
    return moved(kind, b, s, out, pads, **options)  # type: ignore[arg-type]


def cut(b: ModelBuilder, s: Shape, r: Random) -> int:
    out = (1, s[1] - 1, s[2] - 2, s[3])
    return moved("SLICE", b, s, out, integers(b, 0, 1, 1, 0), integers(b, *out))


def every_other(b: ModelBuilder, s: Shape, r: Random) -> int:
    out = (1, -(-s[1] // 2), -(-s[2] // 2), s[3])
    arguments = integers(b, 0, 0, 0, 0), integers(b, *s), integers(b, 1, 2, 2, 1)
    return moved("STRIDED_SLICE", b, s, out, *arguments, begin_mask=0, end_mask=0)


def turned(b: ModelBuilder, s: Shape, r: Random) -> int:
    return moved("TRANSPOSE", b, s, (1, s[2], s[1], s[3]), integers(b, 0, 2, 1, 3))


def deeper(b: ModelBuilder, s: Shape, r: Random) -> int:
    even = (1, s[1] // 2 * 2, s[2] // 2 * 2, s[3])
    out = (1, even[1] // 2, even[2] // 2, 4 * s[3])
    return moved("SPACE_TO_DEPTH", b, even, out, block_size=2)


def larger(b: ModelBuilder, s: Shape, r: Random) -> int:
    out = (1, 2 * s[1], 2 * s[2], s[3])
    return moved(
        "RESIZE_NEAREST_NEIGHBOR", b, s, out, integers(b, out[1], out[2]),
        align_corners=False, half_pixel_centers=False,
    )  # fmt: skip


MOVES: dict[str, Callable[[ModelBuilder, Shape, Random], int]] = {
    "PAD": lambda b, s, r: pad("PAD", b, s, r),
    "MIRROR_PAD": lambda b, s, r: pad("MIRROR_PAD", b, s, r, mode="SYMMETRIC"),
    "SLICE": cut,
    "STRIDED_SLICE": every_other,
    "TRANSPOSE": turned,
    "REVERSE_V2": lambda b, s, r: moved("REVERSE_V2", b, s, s, integers(b, [1, 2])),
    "TILE": lambda b, s, r: moved(
        "TILE", b, s, (1, 2 * s[1], 3 * s[2], s[3]), integers(b, 1, 2, 3, 1)
    ),
    "SPACE_TO_DEPTH": deeper,
    "RESIZE_NEAREST_NEIGHBOR": larger,
    "GATHER": lambda b, s, r: moved(
        "GATHER", b, s, (1, 5, s[2], s[3]), integers(b, r.integers(0, s[1], 5)), axis=1
    ),
}


def layer(
    build: Callable[[ModelBuilder, Shape, Random], int], random: Random
) -> tuple[Layer, Implementation]:
    """A random instance of an operator, with the kernel that moves bytes."""
    b = ModelBuilder()
    height, width, channels = (int(random.integers(*span)) for span in ((4, 9), (4, 9), (16, 41)))
    graph = read_tflite(b.build([build(b, (1, height, width, channels), random)]), "move")
    (operator,) = graph.operators
    offered = family(operator).implementations(graph, operator, Target(CORE))
    copy = next(one for one in offered if one.snippet)
    return Layer(graph, (copy,)), copy


def memcpy(size: int) -> tuple[Layer, Implementation]:
    b = ModelBuilder()
    x = b.input((1, size), scale=1.0)
    graph = read_tflite(b.build([b.operator("ABS", [x], b.tensor((1, size), scale=1.0))]), "copy")
    copy = Implementation("memcpy", f"memcpy({{{{ outputs[0] }}}}, {{{{ inputs[0] }}}}, {size});")
    return Layer(graph, (copy,)), copy


def test_a_feature_map_moves_for_a_memcpy_and_two_instructions_an_element():
    random = np.random.default_rng(5)
    names = [name for name in MOVES for _ in range(SHAPES_OF_EACH)]
    cases = [layer(MOVES[name], random) for name in names]
    sizes = [one.graph.tensors[one.graph.outputs[0]].bytes for one, _ in cases]
    counts = count_instructions([*cases, *map(memcpy, sizes)], CORE, random)
    copies = counts[len(cases) :]
    dear = [
        f"{name} of {size} bytes: {count} instructions, memcpy {copy}"
        for name, size, count, copy in zip(names, sizes, counts, copies, strict=False)
        if count > copy + 2 * size + CALL_INSTRUCTIONS
    ]
    assert not dear, "\n".join(dear)
