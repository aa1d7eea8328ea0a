# SPDX-License-Identifier: Apache-2.0
"""Operators that move elements: any shape, axis, mask and stride."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from operator_cases import (
    NIGHTLY_CASES,
    Case,
    activation,
    check,
    golden_only,
    int8,
    nightly,
    powers_of_two,
    seeds,
    shapes,
    zero_points,
)
from tflite_builder import ModelBuilder

Ends = tuple[list[int], list[int]]


def moving(
    kind: str,
    draw: st.DrawFn,
    shape: Sequence[int],
    out_shape: Sequence[int],
    arguments: Callable[[ModelBuilder, int], list[int]] = lambda b, x: [x],
    outputs: int = 1,
    **options: Any,
) -> Case:
    """A case with one scale; `arguments` gives the operator's inputs from its tensor."""
    q = {"scale": draw(powers_of_two(-8, 2)), "zero_point": draw(zero_points)}
    out_shapes = out_shape if outputs > 1 else [out_shape]

    def build(b: ModelBuilder) -> Sequence[int]:
        reads = arguments(b, activation(b, shape, **q))
        made = [b.tensor(s, **q) for s in out_shapes]
        b.operator(kind, reads, made, **options)
        return made

    return Case({"kind": kind, "in": shape, "out": out_shape, **q, **options}, build)


def constant(values: Sequence[Any]) -> np.ndarray[Any, Any]:
    return np.array(values, np.int32)


@st.composite
def pad(draw: st.DrawFn, kind: str) -> Case:
    shape = draw(shapes(1, 4))
    mode = draw(st.sampled_from(["REFLECT", "SYMMETRIC"])) if kind == "MIRROR_PAD" else None
    most = [3 if mode is None else min(3, n - (mode == "REFLECT")) for n in shape]
    pads = [(draw(st.integers(0, m)), draw(st.integers(0, m))) for m in most]
    out = tuple(n + sum(p) for n, p in zip(shape, pads, strict=True))
    value = draw(st.integers(-128, 127))
    options = {"mode": mode} if mode else {}

    def arguments(b: ModelBuilder, x: int) -> list[int]:
        found = [x, b.constant(constant(pads))]
        if kind == "PADV2":
            source = b._tensors[x].quantization
            found.append(
                b.constant(np.array([value], np.int8), scale=float(source.scale[0]),
                           zero_point=int(source.zeroPoint[0]))
            )  # fmt: skip
        return found

    case = moving(kind, draw, shape, out, arguments, **options)
    return Case({**case.parameters, "paddings": pads, "value": value}, case.build)


@st.composite
def concatenation(draw: st.DrawFn) -> Case:
    shape = draw(shapes(1, 4))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    parts = []
    for size in sizes:
        part = list(shape)
        part[axis] = size
        parts.append(tuple(part))
    out = list(shape)
    out[axis] = sum(sizes)
    q = {"scale": draw(powers_of_two(-8, 2)), "zero_point": draw(zero_points)}
    fixed = draw(st.none() | st.integers(0, len(parts) - 1)) if len(parts) > 1 else None
    random = draw(seeds)

    def build(b: ModelBuilder) -> Sequence[int]:
        reads = [
            b.constant(int8(random, part), **q) if p == fixed else activation(b, part, **q)
            for p, part in enumerate(parts)
        ]
        return [b.operator("CONCATENATION", reads, b.tensor(out, **q), axis=axis)]

    return Case({"kind": "CONCATENATION", "parts": parts, "axis": axis, "constant": fixed}, build)


@st.composite
def pack(draw: st.DrawFn) -> Case:
    shape, count = draw(shapes(1, 3)), draw(st.integers(1, 4))
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    place = axis % (len(shape) + 1)
    out = (*shape[:place], count, *shape[place:])
    q = {"scale": draw(powers_of_two(-8, 2)), "zero_point": draw(zero_points)}

    def build(b: ModelBuilder) -> Sequence[int]:
        reads = [activation(b, shape, **q) for _ in range(count)]
        return [b.operator("PACK", reads, b.tensor(out, **q), axis=axis, values_count=count)]

    return Case({"kind": "PACK", "in": shape, "count": count, "axis": axis}, build)


@st.composite
def unpack(draw: st.DrawFn) -> Case:
    shape = draw(shapes(2, 4))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    place, count = axis % len(shape), shape[axis]
    out = shape[:place] + shape[place + 1 :]
    shown = [out] * count if count > 1 else out
    return moving("UNPACK", draw, shape, shown, outputs=count, axis=axis, num=count)


@st.composite
def split(draw: st.DrawFn, kind: str) -> Case:
    shape = list(draw(shapes(1, 4)))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    if kind == "SPLIT":
        sizes = [draw(st.integers(1, 3))] * draw(st.integers(2, 4))
    else:
        sizes = draw(st.lists(st.integers(1, 3), min_size=2, max_size=4))
    shape[axis] = sum(sizes)
    parts = [tuple(n if a != axis % len(shape) else size for a, n in enumerate(shape))
             for size in sizes]  # fmt: skip

    def arguments(b: ModelBuilder, x: int) -> list[int]:
        where = b.constant(np.array(axis, np.int32))
        if kind == "SPLIT":
            return [where, x]
        return [x, b.constant(constant(sizes)), where]

    case = moving(kind, draw, tuple(shape), parts, arguments, outputs=len(sizes),
                  num_splits=len(sizes))  # fmt: skip
    return Case({**case.parameters, "axis": axis}, case.build)


@st.composite
def slice_(draw: st.DrawFn) -> Case:
    shape = draw(shapes(1, 5))
    starts = [draw(st.integers(0, n - 1)) for n in shape]
    sizes = [draw(st.integers(1, n - s)) for n, s in zip(shape, starts, strict=True)]
    given = [-1 if s + z == n and draw(st.booleans()) else z
             for n, s, z in zip(shape, starts, sizes, strict=True)]  # fmt: skip

    def arguments(b: ModelBuilder, x: int) -> list[int]:
        return [x, b.constant(constant(starts)), b.constant(constant(given))]

    case = moving("SLICE", draw, shape, tuple(sizes), arguments)
    return Case({**case.parameters, "begin": starts, "size": given}, case.build)


@st.composite
def strided_slice(draw: st.DrawFn) -> Case:
    shape = draw(shapes(1, 4))
    begin, end, step, out = [], [], [], []
    masks = {"begin_mask": 0, "end_mask": 0, "shrink_axis_mask": 0}
    for axis, n in enumerate(shape):
        start, stride = draw(st.integers(0, n - 1)), draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        if draw(st.integers(0, 4)) == 0 and axis > 0:
            masks["shrink_axis_mask"] |= 1 << axis
            index = start - n if draw(st.booleans()) else start
            begin, end, step = [*begin, index], [*end, index + 1], [*step, 1]
            continue
        if draw(st.integers(0, 3)) == 0:
            masks["begin_mask"] |= 1 << axis
            start = 0 if stride > 0 else n - 1
        last = n if stride > 0 else -1
        stop = draw(st.integers(start + 1, n) if stride > 0 else st.integers(-1, start - 1))
        masked = draw(st.integers(0, 3)) == 0 or stop == -1
        if masked:
            masks["end_mask"] |= 1 << axis
            stop = last
        out.append(len(range(start, stop, stride)))
        begin, step = [*begin, start - n if draw(st.booleans()) else start], [*step, stride]
        end.append(draw(st.integers(-3, 9)) if masked else stop)

    def arguments(b: ModelBuilder, x: int) -> list[int]:
        return [x, *(b.constant(constant(values)) for values in (begin, end, step))]

    case = moving("STRIDED_SLICE", draw, shape, tuple(out), arguments, **masks)
    return Case({**case.parameters, "begin": begin, "end": end, "stride": step}, case.build)


@st.composite
def slice_with_ellipsis_or_new_axes(draw: st.DrawFn) -> Case:
    """Begins at 0 and 1 with steps of 1 and 2; an ellipsis, new axes and shrunk ones anywhere."""
    shape = (1, *draw(shapes(1, 3, st.integers(2, 6))))
    dots = draw(st.none() | st.integers(1, len(shape) - 1))
    begin, end, step, out = [0], [1], [1], [1]
    masks = dict.fromkeys(("ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), 0)
    axis = 1
    while axis < len(shape):
        bit = 1 << len(begin)
        if axis == dots:
            whole = draw(st.integers(1, len(shape) - axis))
            out += shape[axis : axis + whole]
            masks["ellipsis_mask"] |= bit
            axis, dots, entry = axis + whole, None, (0, 0, 1)
        elif len(shape) + masks["new_axis_mask"].bit_count() < 5 and draw(st.integers(0, 2)) == 0:
            masks["new_axis_mask"] |= bit
            out.append(1)
            entry = (draw(st.integers(0, 3)), 0, 1)
        elif draw(st.integers(0, 3)) == 0:
            masks["shrink_axis_mask"] |= bit
            entry, axis = (1, 2, 1), axis + 1
        else:
            entry = (draw(st.integers(0, 1)), shape[axis], draw(st.integers(1, 2)))
            out.append(len(range(*entry)))
            axis += 1
        begin, end, step = ([*a, v] for a, v in zip((begin, end, step), entry, strict=True))

    def arguments(b: ModelBuilder, x: int) -> list[int]:
        return [x, *(b.constant(constant(values)) for values in (begin, end, step))]

    case = moving("STRIDED_SLICE", draw, shape, tuple(out), arguments, **masks)
    return Case({**case.parameters, "begin": begin, "end": end, "stride": step}, case.build)


@st.composite
def transpose(draw: st.DrawFn) -> Case:
    shape = draw(shapes(1, 5))
    axes = draw(st.permutations(range(len(shape))))
    out = tuple(shape[a] for a in axes)
    case = moving("TRANSPOSE", draw, shape, out, lambda b, x: [x, b.constant(constant(axes))])
    return Case({**case.parameters, "axes": axes}, case.build)


@st.composite
def blocks(draw: st.DrawFn, kind: str) -> Case:
    block = draw(st.integers(1, 3))
    height, width, depth = (draw(st.integers(1, 5)) for _ in range(3))
    small = (1, height, width, depth * block**2)
    large = (1, height * block, width * block, depth)
    first, second = (small, large) if kind == "DEPTH_TO_SPACE" else (large, small)
    return moving(kind, draw, first, second, block_size=block)


@st.composite
def batches(draw: st.DrawFn, kind: str) -> Case:
    block = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    depth = draw(st.integers(1, 4))
    batch = 1 if kind == "SPACE_TO_BATCH_ND" else draw(st.integers(1, 2))
    pads, small, large = [], [], []
    for size in block:
        n = draw(st.integers(1, 4))
        total = n * size
        before = draw(st.integers(0, min(3, total - 1)))
        after = draw(st.integers(0, min(3, total - 1 - before)))
        pads.append((before, after))
        small.append(n)
        large.append(total - before - after)
    many = (batch * block[0] * block[1], *small, depth)
    wide = (batch, *large, depth)
    first, second = (wide, many) if kind == "SPACE_TO_BATCH_ND" else (many, wide)

    def arguments(b: ModelBuilder, x: int) -> list[int]:
        return [x, b.constant(constant(block)), b.constant(constant(pads))]

    case = moving(kind, draw, first, second, arguments)
    return Case({**case.parameters, "block": block, "paddings": pads}, case.build)


@st.composite
def tile(draw: st.DrawFn) -> Case:
    shape = (1, *draw(shapes(1, 3)))
    times = [draw(st.integers(1, 3)) for _ in shape]
    out = tuple(n * m for n, m in zip(shape, times, strict=True))
    return moving("TILE", draw, shape, out, lambda b, x: [x, b.constant(constant(times))])


@st.composite
def broadcast_to(draw: st.DrawFn) -> Case:
    out = draw(shapes(1, 4))
    shape = tuple(1 if draw(st.booleans()) else n for n in out)

    def arguments(b: ModelBuilder, x: int) -> list[int]:
        return [x, b.constant(constant(out))]

    return moving("BROADCAST_TO", draw, shape, out, arguments)


@st.composite
def reverse(draw: st.DrawFn) -> Case:
    shape = (1, *draw(shapes(1, 3)))
    axis = draw(st.integers(0, len(shape) - 1))
    case = moving("REVERSE_V2", draw, shape, shape, lambda b, x: [x, b.constant(constant([axis]))])
    return Case({**case.parameters, "axis": axis}, case.build)


@st.composite
def gather(draw: st.DrawFn) -> Case:
    table = draw(shapes(1, 4))
    axis = draw(st.integers(0, len(table) - 1))
    batch = draw(st.integers(0, axis))
    indices = draw(shapes(0, 2, st.integers(1, 5)))
    random = draw(seeds)
    form = draw(st.sampled_from(["constant indices", "constant table", "computed"]))
    if form != "constant indices":
        # A model's input has batch 1.
        indices = (1, *indices[:1]) if batch == 0 or table[0] > 1 else indices[:1]
        batch = batch if table[0] == 1 else 0
    indices = (*table[:batch], *indices)
    q = {"scale": draw(powers_of_two(-8, 2)), "zero_point": draw(zero_points)}
    out = (*table[:axis], *indices[batch:], *table[axis + 1 :])

    def build(b: ModelBuilder) -> Sequence[int]:
        if form == "constant table":
            x = b.constant(int8(random, table), **q)
        else:
            x = activation(b, table, **q)
        if form == "constant indices":
            values = np.random.default_rng(random).integers(0, table[axis], indices)
            i = b.constant(np.array(values, np.int32))
        else:
            i = b.input(indices, "int32")
        return [b.operator("GATHER", [x, i], b.tensor(out, **q), axis=axis, batch_dims=batch)]

    parameters = {
        "kind": "GATHER", "table": table, "axis": axis, "batch": batch, "indices": indices,
    }  # fmt: skip
    return Case({**parameters, "form": form, "seed": random}, build)


@st.composite
def resize(draw: st.DrawFn, kind: str) -> Case:
    size, out = ([draw(st.integers(1, 9)) for _ in range(2)] for _ in range(2))
    depth = draw(st.sampled_from([1, 2, 3, 4, 5, 9, 17, 25]))
    corners, centers = draw(st.sampled_from([(False, False), (True, False), (False, True)]))
    return moving(
        kind, draw, (1, *size, depth), (1, *out, depth),
        lambda b, x: [x, b.constant(constant(out))],
        align_corners=corners, half_pixel_centers=centers,
    )  # fmt: skip


@st.composite
def reshape(draw: st.DrawFn) -> Case:
    kind = draw(st.sampled_from(["RESHAPE", "SQUEEZE", "EXPAND_DIMS"]))
    shape = draw(shapes(1, 4))
    axis = draw(st.integers(0, len(shape)))
    wide = (*shape[:axis], 1, *shape[axis:])
    if kind == "SQUEEZE":
        return moving(kind, draw, wide, shape, squeeze_dims=[axis])
    flat = (math.prod(shape),)
    values, out = (constant(flat), flat) if kind == "RESHAPE" else (constant([axis]), wide)
    return moving(kind, draw, shape, out, lambda b, x: [x, b.constant(values)])


GROUPS = {
    "reshape": [reshape()],
    "pad": [pad("PAD"), pad("PADV2"), pad("MIRROR_PAD")],
    "join": [concatenation(), pack(), unpack(), split("SPLIT"), split("SPLIT_V")],
    "slice": [slice_(), strided_slice()],
    "rearrange": [
        transpose(), blocks("DEPTH_TO_SPACE"), blocks("SPACE_TO_DEPTH"),
        batches("BATCH_TO_SPACE_ND"), broadcast_to(),
    ],
    "gather": [gather(), resize("RESIZE_NEAREST_NEIGHBOR"), resize("RESIZE_BILINEAR")],
    "unknown to TFLM": [
        batches("SPACE_TO_BATCH_ND"), tile(), reverse(), slice_with_ellipsis_or_new_axes(),
    ],
}  # fmt: skip
LACKING = {"unknown to TFLM": ("SPACE_TO_BATCH_ND", "TILE", "REVERSE_V2", "STRIDED_SLICE")}


@golden_only
@pytest.mark.parametrize("group", GROUPS)
def test_equals_golden_for_any_arguments(group: str, tmp_path: Path):
    check(GROUPS[group], tmp_path, lacking=LACKING.get(group, ()))


@golden_only
@nightly
@pytest.mark.parametrize("group", GROUPS)
def test_equals_golden_for_many_arguments(group: str, tmp_path: Path):
    check(GROUPS[group], tmp_path, lacking=LACKING.get(group, ()), count=NIGHTLY_CASES)
