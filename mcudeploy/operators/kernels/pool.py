# SPDX-License-Identifier: Apache-2.0
"""Pooling and MEAN over space by firmware/kernels/pool_s8.c."""

from __future__ import annotations

from typing import Literal

import numpy as np

from mcudeploy.operators.base import Implementation, OverlapRule, RowForm, RowWindow, Target
from mcudeploy.operators.kernels.cost import pool_work
from mcudeploy.operators.shapes import MeanQuantization, MeanShape, PoolShape, quantize_multiplier
from mcudeploy.operators.work import mean_work

_INT16_TAPS = 255
"""MOST_TAPS in pool_s8.c."""

_POOL_CALL = """
static const mcud_pool_s8_t params = {
    .in_h = {{ s.in_h }}, .in_w = {{ s.in_w }}, .channels = {{ s.channels }},
    .out_h = {{ s.out_h }}, .out_w = {{ s.out_w }},
    .k_h = {{ s.k_h }}, .k_w = {{ s.k_w }},
    .stride_h = {{ s.stride_h }}, .stride_w = {{ s.stride_w }},
    .pad_top = {{ s.pad_top }}, .pad_left = {{ s.pad_left }},
    .activation_min = {{ low }}, .activation_max = {{ high }},
};
const mcud_map in = { {{ inputs[0] }}, {{ s.in_w * s.channels }}, {{ in_ring | default(s.in_h) }} };
const mcud_map out = {
    {{ outputs[0] }}, {{ s.out_w * s.channels }}, {{ out_ring | default(s.out_h) }}
};

mcud_{{ kind }}_pool_s8(&params, in, out, {{ row_begin | default(0) }},
    {{ row_end | default(s.out_h) }});
"""

_POOL_ROW_CALL = """
static const mcud_pool_s8_t params = {
    .in_h = {{ s.in_h }}, .in_w = {{ s.in_w }}, .channels = {{ s.channels }},
    .activation_min = {{ low }}, .activation_max = {{ high }},
};

mcud_{{ kind }}_pool_row_s8(&params, {{ inputs[0] }}, {{ row_begin }}, {{ state }},
    {{ outputs[0] }});
"""

_MEAN_ROW_CALL = """
static const mcud_mean_s8_t params = {
    .in_h = {{ s.in_h }}, .in_w = {{ s.in_w }}, .channels = {{ s.channels }},
    .in_zero_point = {{ q.input_zero_point }}, .out_zero_point = {{ q.output_zero_point }},
    .multiplier = {{ q.multiplier }}, .shift = {{ q.shift }},
};

mcud_mean_row_s8(&params, {{ inputs[0] }}, {{ row_begin }}, {{ state }}, {{ outputs[0] }});
"""

_MEAN_CALL = """
static const mcud_mean_s8_t params = {
    .in_h = {{ s.in_h }}, .in_w = {{ s.in_w }}, .channels = {{ s.channels }},
    .in_zero_point = {{ q.input_zero_point }}, .out_zero_point = {{ q.output_zero_point }},
    .multiplier = {{ q.multiplier }}, .shift = {{ q.shift }},
};
const mcud_map in = { {{ inputs[0] }}, {{ s.in_w * s.channels }}, {{ s.in_h }} };

mcud_mean_s8(&params, in, {{ outputs[0] }});
"""


def pool_max_distance(shape: PoolShape) -> int:
    """The greatest safe output address - input address, all rows ascending.

    A pixel is written by parts of four channels, while its window's other channels are still
    needed: all of it must end before the first byte that it or a later pixel reads.
    """
    y, x = np.mgrid[0 : shape.out_h, 0 : shape.out_w]
    top = np.maximum(y * shape.stride_h - shape.pad_top, 0)
    left = np.maximum(x * shape.stride_w - shape.pad_left, 0)
    reads = ((top * shape.in_w + left) * shape.channels).ravel()
    first_read_from = np.minimum.accumulate(reads[::-1])[::-1]
    ends = (np.arange(reads.size) + 1) * shape.channels
    return int((first_read_from - ends).min())


def pool_implementation(
    kind: Literal["average", "max"],
    shape: PoolShape,
    activation_min: int,
    activation_max: int,
    target: Target,
) -> Implementation | None:
    """AVERAGE_POOL_2D or MAX_POOL_2D; None on cores with Helium."""
    if target.core.mve:
        return None
    return Implementation(
        kernel=f"mcud_{kind}_pool_s8",
        snippet=_POOL_CALL,
        values={"s": shape, "kind": kind, "low": activation_min, "high": activation_max},
        overlaps=(OverlapRule(input=0, max_distance=pool_max_distance(shape)),),
        rows=RowForm((RowWindow(0, shape.k_h, shape.stride_h, pad=shape.pad_top),)),
        sources=("kernels/pool_s8.c",),
        headers=("pool_s8.h",),
        work=pool_work(shape, average=kind == "average"),
        reason="four channels at a time",
    )


def pool_accumulated(
    kind: Literal["average", "max"], shape: PoolShape, activation_min: int, activation_max: int
) -> Implementation:
    """AVERAGE_POOL_2D or MAX_POOL_2D over the whole map, fed row by row."""
    average = kind == "average"
    return Implementation(
        kernel=f"mcud_{kind}_pool_row_s8",
        snippet=_POOL_ROW_CALL,
        values={"s": shape, "kind": kind, "low": activation_min, "high": activation_max},
        sources=("kernels/pool_s8.c",),
        headers=("pool_s8.h",),
        instructions=_summed_instructions(shape) if average else _greatest_instructions(shape),
        reason="sums of the rows that have come" if average else "the greatest that has come",
        rows=_accumulating(_sum_bytes(shape) if average else shape.channels),
    )


def max_accumulated(shape: MeanShape) -> Implementation:
    """REDUCE_MAX over height and width, fed row by row."""
    over = PoolShape(
        shape.in_h, shape.in_w, shape.channels, 1, 1, k_h=shape.in_h, k_w=shape.in_w,
        stride_h=1, stride_w=1,
    )  # fmt: skip
    return pool_accumulated("max", over, -128, 127)


def mean_accumulated(shape: MeanShape, quantization: MeanQuantization) -> Implementation:
    """MEAN (SUM) over height and width, fed row by row."""
    return Implementation(
        kernel="mcud_mean_row_s8",
        snippet=_MEAN_ROW_CALL,
        values={"s": shape, "q": quantization},
        sources=("kernels/pool_s8.c",),
        headers=("pool_s8.h",),
        instructions=_summed_instructions(shape),
        reason="sums of the rows that have come",
        rows=_accumulating(_sum_bytes(shape)),
    )


def _summed_instructions(shape: PoolShape | MeanShape) -> float:
    """Four channels at a time, each row by itself; the mean at the end."""
    channels = shape.channels
    return shape.in_h * (60 + channels / 4 * (45 + 5.1 * shape.in_w)) + 20 * channels


def _greatest_instructions(shape: PoolShape | MeanShape) -> float:
    return shape.in_h * (60 + shape.in_w * (8 + 9 * shape.channels / 4))


def _sum_bytes(shape: PoolShape | MeanShape) -> int:
    """Of a sum of int8 for each channel: so many int8 as fit an int16, or any number."""
    return shape.channels * (2 if shape.in_h * shape.in_w <= _INT16_TAPS else 4)


def _accumulating(state_bytes: int) -> RowForm:
    return RowForm((RowWindow(0),), flat=True, accumulates=True, state_bytes=state_bytes)


def mean_quantization(
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    elements: int,
) -> MeanQuantization:
    """The constants of MEAN as TFLM's QuantizedMeanOrSum prepares them.

    The number of elements is folded into the multiplier, its leading power of two into the shift.
    """
    multiplier, shift = quantize_multiplier(input_scale / output_scale)
    more = min(elements.bit_length() - 1, 32, 31 + shift)
    return MeanQuantization(
        input_zero_point, output_zero_point, (multiplier << more) // elements, shift - more
    )


def mean_implementation(
    shape: MeanShape, quantization: MeanQuantization, target: Target
) -> Implementation | None:
    """MEAN over height and width; None on cores with Helium."""
    if target.core.mve:
        return None
    return Implementation(
        kernel="mcud_mean_s8",
        snippet=_MEAN_CALL,
        values={"s": shape, "q": quantization},
        overlaps=(OverlapRule(input=0, max_distance=-shape.channels),),
        sources=("kernels/pool_s8.c",),
        headers=("pool_s8.h",),
        work=mean_work(shape),
        reason="four channels at a time",
    )
