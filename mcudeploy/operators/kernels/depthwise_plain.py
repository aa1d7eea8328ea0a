# SPDX-License-Identifier: Apache-2.0
"""DEPTHWISE_CONV_2D by planes without DSP, firmware/kernels/depthwise_plain_s8.c: scratch, work.

The call and the overlap rule are those of depthwise_s8.c, too.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mcudeploy.operators.base import Constant, Implementation, OverlapRule
from mcudeploy.operators.kernels.conv_geometry import is_clamped
from mcudeploy.operators.kernels.cost import strip_input_rows
from mcudeploy.operators.kernels.per_channel import exact_channels
from mcudeploy.operators.shapes import ConvQuantization, ConvShape
from mcudeploy.operators.windows import convolution_rows
from mcudeploy.operators.work import Work

STRIP_PARAMETERS = """
{{ storage | default('static const') }} mcud_depthwise_s8_t params = {
    .weights = {{ constants.weights }}, .constants = {{ constants.requantization }},
    .in_h = {{ s.in_h }}, .in_w = {{ part_in_w | default(s.in_w) }}, .in_c = {{ s.in_c }},
    .out_h = {{ s.out_h }}, .out_w = {{ part_out_w | default(s.out_w) }},
    .multiplier = {{ s.depth_multiplier }},
    .k_h = {{ s.k_h }}, .k_w = {{ s.k_w }},
    .stride_h = {{ s.stride_h }}, .stride_w = {{ s.stride_w }}, .dilation_h = {{ s.dilation_h }},
    .pad_top = {{ s.pad_top }}, .pad_left = {{ part_pad_left | default(s.pad_left) }},
    .strip_rows = {{ strip_rows }}, .plane_words = {{ plane_words }},
    .in_zero_point = {{ q.input_zero_point }}, .out_zero_point = {{ q.output_zero_point }},
    .activation_min = {{ q.activation_min }}, .activation_max = {{ q.activation_max }},
    .clamp = {{ clamp }},
};
"""

STRIP_CALL = (
    STRIP_PARAMETERS
    + """\
const mcud_map in = { {{ inputs[0] }}, {{ s.in_w * s.in_c }}, {{ in_ring | default(s.in_h) }} };
const mcud_map out = {
    {{ outputs[0] }}, {{ s.out_w * s.out_c }}, {{ out_ring | default(s.out_h) }}
};

{{ kernel }}(&params, in, out, {{ row_begin | default(0) }}, {{ row_end | default(s.out_h) }},
    {{ scratch }});
"""
)


@lru_cache(maxsize=1024)
def depthwise_max_distance(shape: ConvShape, strip_rows: int) -> int:
    """The greatest safe output address - input address, all rows ascending.

    The channels of a strip are read and written in turn. So its output must end before the first
    row that later strips read; and it may reach one pixel into the first row that it reads itself,
    where a channel meets itself or one that was gathered before.
    """
    in_row, out_row = shape.in_w * shape.in_c, shape.out_w * shape.out_c
    tops = np.arange(shape.out_h) * shape.stride_h - shape.pad_top
    tops = np.where(tops < 0, tops % shape.dilation_h, tops) * in_row
    distances = []
    for first in range(0, shape.out_h, strip_rows):
        end = min(first + strip_rows, shape.out_h)
        distances.append(int(tops[first:].min()) + shape.in_c - end * out_row)
        if end < shape.out_h:
            distances.append(int(tops[end:].min()) - end * out_row)
    return min(distances)


def _is_3x3(shape: ConvShape) -> bool:
    return shape.k_h == shape.k_w == 3 and shape.stride_w in (1, 2)


def _plane_words(shape: ConvShape) -> int:
    """Words of a gathered row: all that the outputs of a row read, computed two at a time."""
    pairs = -(-shape.out_w // 2)
    return -(-((2 * pairs - 1) * shape.stride_w + shape.k_w) // 4)


def _plane_rows(shape: ConvShape, rows: int) -> int:
    return (rows - 1) * shape.stride_h + (shape.k_h - 1) * shape.dilation_h + 1


def plain_scratch_bytes(shape: ConvShape, strip_rows: int) -> int:
    """One plane of a strip's input rows, a byte a column."""
    return 4 * _plane_rows(shape, strip_rows) * _plane_words(shape)


def _work(shape: ConvShape, clamped: int, strip_rows: int, exact: int) -> Work:
    """mcud_depthwise_plain_s8; outputs go by fours, the last one or two of a row by two."""
    gathered, plane_rows = strip_input_rows(shape, strip_rows)
    strips = range(0, shape.out_h, strip_rows)
    words = _plane_words(shape)
    columns = min(shape.in_w, 4 * words - shape.pad_left)
    rows = shape.out_h * shape.out_c
    fours, twos = divmod(-(-shape.out_w // 2), 2)
    kind = f"stride {shape.stride_w}" if _is_3x3(shape) else "any"
    taps = 1 if _is_3x3(shape) else shape.k_h * shape.k_w
    return {
        "call": 1,
        "strip": len(strips),
        "plane bytes": 4 * plane_rows * words,
        "gathered row": gathered * shape.in_c,
        "gathered four": gathered * shape.in_c * (columns // 4),
        "gathered one": gathered * shape.in_c * (columns % 4),
        "channel": len(strips) * shape.out_c,
        "row": rows,
        "four": rows * fours,
        "two": rows * twos,
        f"four, {kind}": rows * fours * taps,
        f"two, {kind}": rows * twos * taps,
        "four, row": 0 if _is_3x3(shape) else rows * fours * shape.k_h,
        "two, row": 0 if _is_3x3(shape) else rows * twos * shape.k_h,
        "output": rows * shape.out_w,
        "exact": shape.out_h * shape.out_w * exact,
        "clamped": shape.out_h * shape.out_w * shape.out_c * clamped,
    }


def plain_depthwise(
    shape: ConvShape,
    quantization: ConvQuantization,
    constants: tuple[Constant, ...],
    strip_rows: int,
) -> Implementation:
    """The kernel by planes with strips of so many rows; `constants` are weights and table."""
    return Implementation(
        kernel="mcud_depthwise_plain_s8",
        snippet=STRIP_CALL,
        values={
            "kernel": "mcud_depthwise_plain_s8",
            "s": shape,
            "q": quantization,
            "strip_rows": strip_rows,
            "plane_words": _plane_words(shape),
            "clamp": is_clamped(quantization),
        },
        constants=constants,
        scratch_bytes=plain_scratch_bytes(shape, strip_rows),
        overlaps=(OverlapRule(input=0, max_distance=depthwise_max_distance(shape, strip_rows)),),
        sources=("kernels/depthwise_plain_s8.c",),
        headers=("depthwise_plain_s8.h",),
        work=_work(shape, is_clamped(quantization), strip_rows, exact_channels(constants[1].data)),
        rows=convolution_rows(shape),
        reason=f"planes of bytes, {strip_rows} rows at a time",
    )
