# SPDX-License-Identifier: Apache-2.0
"""DEPTHWISE_CONV_2D 3x3 of single rows by firmware/kernels/depthwise_rows_s8.c: packing, scratch.

A row is expanded for itself, so single rows cost no more than their share of a map. Rows in parts
need less scratch and expand two columns of each part twice, so several sizes are offered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from mcudeploy.operators.base import Constant, Implementation, OverlapRule, as_constant
from mcudeploy.operators.kernels.conv_geometry import is_clamped
from mcudeploy.operators.kernels.per_channel import exact_channels
from mcudeploy.operators.shapes import ConvQuantization, ConvShape
from mcudeploy.operators.windows import convolution_rows
from mcudeploy.operators.work import Work, window_extents

_ORDER = (0, 1, 3, 4, 2, 6, 5, 7, 8)
"""Of a channel's weights: the kernel unpacks pairs of rows 0 and 1, and of row 2."""
_BLOCK_BYTES = 48
_PARTS = (24, 12, 6)
"""Columns of parts of rows, where rows are longer."""

_CALL = """
{{ storage | default('static const') }} mcud_depthwise_rows_s8_t params = {
    .weights = {{ constants.weights }}, .constants = {{ constants.requantization }},
    .in_h = {{ s.in_h }}, .in_w = {{ part_in_w | default(s.in_w) }}, .channels = {{ s.in_c }},
    .out_h = {{ s.out_h }}, .out_w = {{ part_out_w | default(s.out_w) }},
    .stride_h = {{ s.stride_h }}, .stride_w = {{ s.stride_w }}, .dilation_h = {{ s.dilation_h }},
    .pad_top = {{ s.pad_top }}, .pad_left = {{ part_pad_left | default(s.pad_left) }},
    .columns = {{ columns }},
    .in_zero_point = {{ q.input_zero_point }}, .out_zero_point = {{ q.output_zero_point }},
    .activation_min = {{ q.activation_min }}, .activation_max = {{ q.activation_max }},
    .clamp = {{ clamp }},
};
const mcud_map in = { {{ inputs[0] }}, {{ s.in_w * s.in_c }}, {{ in_ring | default(s.in_h) }} };
const mcud_map out = {
    {{ outputs[0] }}, {{ s.out_w * s.out_c }}, {{ out_ring | default(s.out_h) }}
};

mcud_depthwise_rows_s8(&params, in, out, {{ row_begin | default(0) }},
    {{ row_end | default(s.out_h) }}, {{ scratch }});
"""


def serves_by_rows(shape: ConvShape) -> bool:
    """3x3 with a channel for each channel, and every row reads one of the map."""
    heights = window_extents(shape.out_h, shape.stride_h, shape.pad_top, 3, shape.dilation_h,
                             shape.in_h)  # fmt: skip
    return (
        shape.k_h == shape.k_w == 3
        and shape.stride_w in (1, 2)
        and shape.dilation_w == 1
        and shape.depth_multiplier == 1
        and shape.in_c >= 4
        and min(heights) > 0
    )


def _blocks(shape: ConvShape, outputs: int) -> int:
    return -(-outputs // 2) * shape.stride_w + 1


def by_rows(
    shape: ConvShape, quantization: ConvQuantization, constants: tuple[Constant, ...]
) -> Iterator[Implementation]:
    """Whole rows, and parts of long ones; `constants` are those of the kernel by planes."""
    weights, requantization = constants
    packed = as_constant(weights.data.reshape(shape.out_c, 9)[:, _ORDER], "int8")
    one = Implementation(
        kernel="mcud_depthwise_rows_s8",
        snippet=_CALL,
        values={"s": shape, "q": quantization, "clamp": is_clamped(quantization)},
        constants=(replace(weights, data=packed), requantization),
        overlaps=(OverlapRule(input=0, max_distance=_max_distance(shape)),),
        sources=("kernels/depthwise_rows_s8.c",),
        headers=("depthwise_rows_s8.h",),
        rows=convolution_rows(shape),
    )
    exact = exact_channels(requantization.data)
    for columns in (shape.out_w, *(part for part in _PARTS if part < shape.out_w)):
        yield _of_columns(one, shape, quantization, columns, exact)


def _of_columns(
    one: Implementation, shape: ConvShape, quantization: ConvQuantization, columns: int, exact: int
) -> Implementation:
    """`columns` outputs at a time; also for parts of rows with at most so many, in strips."""
    made = replace(
        one,
        values={**one.values, "columns": columns},
        scratch_bytes=_BLOCK_BYTES * _blocks(shape, columns),
        work=_work(shape, quantization, columns, exact),
        reason=f"rows of pairs, {columns} columns at a time",
    )
    assert made.rows is not None

    def narrowed(widest: int) -> Implementation:
        part = min(columns, widest + widest % 2)
        return _of_columns(one, shape, quantization, part, exact)

    return replace(made, rows=replace(made.rows, narrowed=narrowed))


@lru_cache(maxsize=1024)
def _max_distance(shape: ConvShape) -> int:
    """The greatest safe output address - input address: a row ends before what is still read."""
    y = np.arange(shape.out_h)
    tops = y * shape.stride_h - shape.pad_top
    tops = np.where(tops < 0, tops % shape.dilation_h, tops) * shape.in_w * shape.in_c
    read_from = np.minimum.accumulate(tops[::-1])[::-1]
    return int((read_from - (y + 1) * shape.out_w * shape.out_c).min())


def _work(
    shape: ConvShape, quantization: ConvQuantization, columns: int, exact_channels: int
) -> Work:
    """How often the kernel's loops run, in calls of single rows or of all."""
    fours, whole = -(-shape.in_c // 4), 0.0
    parts = inside = beside = sides = 0
    for first in range(0, shape.out_w, columns):
        outputs = min(columns, shape.out_w - first)
        left = first * shape.stride_w - shape.pad_left
        blocks = _blocks(shape, outputs)
        before = min(blocks, (max(-left, 0) + 1) // 2)
        within = min(blocks - before, max(shape.in_w - left - 2 * before, 0) // 2)
        parts += 1
        inside += within
        beside += blocks - within
        sides += (before > 0) + (blocks > before + within)
        whole += -(-outputs // 2)
    heights = window_extents(shape.out_h, shape.stride_h, shape.pad_top, 3, shape.dilation_h,
                             shape.in_h)  # fmt: skip
    short = sum(height < 3 for height in heights)
    rows, channels = shape.out_h, 4 * fours
    return {
        "row": rows,
        "part": rows * parts,
        "four": rows * parts * fours,
        "inside": rows * inside * fours,
        "beside": rows * beside * fours,
        "side": rows * sides * fours,
        "channel": rows * parts * channels,
        "channel, short": short * parts * channels,
        f"pair, stride {shape.stride_w}": rows * whole * channels,
        "channel, exact": rows * parts * exact_channels,
        "pair, exact": rows * whole * exact_channels,
        "clamped": rows * shape.out_w * shape.out_c * is_clamped(quantization),
    }
