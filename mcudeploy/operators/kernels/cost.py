# SPDX-License-Identifier: Apache-2.0
"""The work of our kernels with DSP instructions: how often each of their loops runs.

What a round costs on each core is in `costs.json` (see `operators/costs.py`).
"""

from __future__ import annotations

from mcudeploy.operators.kernels.conv_geometry import (
    assembled_runs,
    inside_columns,
    is_clamped,
    is_run,
)
from mcudeploy.operators.shapes import ConvQuantization, ConvShape, FullyConnectedShape, PoolShape
from mcudeploy.operators.work import Work, window_extents

_CHUNK = 512
"""Inputs after which mcud_fully_connected_s8 takes its sums apart."""


def conv_work(
    shape: ConvShape, quantization: ConvQuantization, steps: int, exact_pairs: int
) -> Work:
    """mcud_conv_s8; `exact_pairs` of all pairs of channels take the exact requantization."""
    fours, rest = divmod(shape.k_w * shape.group_in_c, 4)
    groups = shape.groups
    pairs = groups * -(-(shape.out_c // groups) // 2)
    tiles, threes, ones, borders = _conv_tiles(shape)
    rows = not is_run(shape)
    three_runs, one_runs = groups * threes * shape.k_h, groups * ones * shape.k_h
    scattered = groups > 1 or (shape.dilation_w > 1 and shape.k_w > 1)
    return {
        "call": 1,
        "group row": groups * shape.out_h if groups > 1 else 0,
        "tile": groups * tiles,
        "tile of three": groups * threes * rows,
        "pair": tiles * pairs,
        "pair, step": tiles * pairs * (steps // 2 - 1),
        "pair, exact": tiles * exact_pairs,
        "three, run": three_runs * rows,
        "three, fours": three_runs * (fours > 0),
        "three, four": three_runs * fours,
        **{f"three, rest {n}": three_runs * (rest == n) for n in (1, 2, 3)},
        "one": groups * ones,
        "one, run": one_runs,
        "one, four": one_runs * fours,
        "one, rest": one_runs * -(-rest // 2),
        "border": groups * borders,
        "border, byte": groups * borders * shape.k_w * shape.group_in_c,
        "border, tap": groups * borders * shape.k_w * scattered,
        "clamped": tiles * 3 * shape.out_c * is_clamped(quantization),
    }


def _conv_tiles(shape: ConvShape) -> tuple[int, int, int, int]:
    """Of one group: (tiles, those gathered by threes, pixels gathered alone, runs assembled)."""
    pixels = shape.out_h * shape.out_w
    if is_run(shape):
        tiles = -(-pixels // 3)
        return tiles, tiles, 0, 0
    first, end = inside_columns(shape)
    tiles = threes = ones = borders = 0
    lines = [(0, pixels)] if shape.groups == 1 else [(y, shape.out_w) for y in range(shape.out_h)]
    for row, left in lines:
        at = row * shape.out_w
        last = at + left
        while at < last:
            tiles += 1
            x, filled = at % shape.out_w, min(3, last - at)
            if first <= x and x + 3 <= end and filled == 3:
                threes += 1
            else:
                ones += filled
                for pixel in range(at, at + filled):
                    borders += assembled_runs(shape, pixel, first, end)
            at += filled
    return tiles, threes, ones, borders


def depthwise_work(
    shape: ConvShape,
    quantization: ConvQuantization,
    strip_rows: int,
    plane_words: int,
    exact_channels: int,
) -> Work:
    """mcud_depthwise_s8: 3x3 in assembly, others by loops over pairs of taps."""
    strips = len(range(0, shape.out_h, strip_rows))
    gathered, plane_rows = strip_input_rows(shape, strip_rows)
    columns = min(shape.in_w, 2 * plane_words - shape.pad_left)
    channel_pairs = -(-shape.in_c // 2)
    rows, pairs = shape.out_h * shape.out_c, -(-shape.out_w // 2)
    stride = min(shape.stride_w, 2)
    found: dict[str, float] = {
        "call": 1,
        "strip": strips,
        "strip, channels": strips * channel_pairs,
        "plane word": 2 * plane_rows * plane_words,
        "gathered row": gathered * channel_pairs,
        "gathered pair": gathered * channel_pairs * (columns // 2),
        "clamped": shape.out_h * shape.out_w * shape.out_c * is_clamped(quantization),
    }
    if shape.k_h == shape.k_w == 3 and shape.stride_w == stride:
        return found | {
            f"3x3, stride {stride}, channel": strips * shape.out_c,
            f"3x3, stride {stride}, row": rows,
            f"3x3, stride {stride}, pair": rows * pairs,
            "3x3, exact": shape.out_h * exact_channels * pairs,
        }
    single = shape.stride_w > 1
    words = -(-shape.k_w // 2) if single else shape.k_w // 2 + 1
    outputs = rows * (shape.out_w if single else pairs)
    kind = "single" if single else "pair"
    return found | {
        f"{kind}, channel": strips * shape.out_c,
        f"{kind}, weights": strips * shape.out_c * shape.k_h * words,
        f"{kind}, row": rows,
        kind: outputs,
        f"{kind}, kernel row": outputs * shape.k_h,
        f"{kind}, word": outputs * shape.k_h * words,
        "exact": shape.out_h * shape.out_w * exact_channels,
    }


def strip_input_rows(shape: ConvShape, strip_rows: int) -> tuple[int, int]:
    """Of all strips: (input rows gathered, rows of planes)."""
    gathered = plane_rows = 0
    for first in range(0, shape.out_h, strip_rows):
        top = first * shape.stride_h - shape.pad_top
        rows = min(strip_rows, shape.out_h - first)
        taken = (rows - 1) * shape.stride_h + (shape.k_h - 1) * shape.dilation_h + 1
        gathered += max(0, min(top + taken, shape.in_h) - max(top, 0))
        plane_rows += taken
    return gathered, plane_rows


def depthwise_pixels_work(
    shape: ConvShape, quantization: ConvQuantization, exact_channels: int
) -> Work:
    """mcud_depthwise_pixels_s8, on any core: each pixel's channels by overlapping fours."""
    heights = sum(window_extents(shape.out_h, shape.stride_h, shape.pad_top, shape.k_h,
                                 shape.dilation_h, shape.in_h))  # fmt: skip
    widths = sum(window_extents(shape.out_w, shape.stride_w, shape.pad_left, shape.k_w,
                                shape.dilation_w, shape.in_w))  # fmt: skip
    fours, pixels = -(-shape.in_c // 4), shape.out_h * shape.out_w
    return {
        "call": 1,
        "row": shape.out_h,
        "kernel row": shape.out_h * shape.k_h,
        "pixel": pixels,
        "exact": pixels * exact_channels,
        "four": fours * pixels,
        "four, row": fours * heights * shape.out_w,
        "four, tap": fours * heights * widths,
        "clamped": pixels * shape.in_c * is_clamped(quantization),
    }


def fully_connected_work(shape: FullyConnectedShape, quantization: ConvQuantization) -> Work:
    """mcud_fully_connected_s8."""
    quads = max(0, -(-(shape.out_c - 2) // 4))
    last = shape.out_c > 4 * quads
    fours, rest = divmod(shape.in_c, 4)
    rows = shape.batches
    return {
        "call": 1,
        "row": rows,
        "row of fours": rows * (quads > 0),
        "output": rows * shape.out_c,
        "four": rows * quads,
        "four, chunk": rows * quads * (-(-4 * fours // _CHUNK) - 1 if fours else 0),
        "four, inputs": rows * quads * fours,
        "four, round": rows * quads * -(-fours // 2),
        "four, rest": rows * quads * (rest > 0),
        "pair": rows * last,
        "pair, inputs": rows * last * fours,
        "pair, round": rows * last * (fours // 2),
        "pair, rest": rows * last * (rest > 0),
        "clamped": rows * shape.out_c * is_clamped(quantization),
    }


def pool_work(shape: PoolShape, *, average: bool) -> Work:
    """mcud_average_pool_s8 and mcud_max_pool_s8."""
    heights = window_extents(shape.out_h, shape.stride_h, shape.pad_top, shape.k_h, 1, shape.in_h)
    widths = window_extents(shape.out_w, shape.stride_w, shape.pad_left, shape.k_w, 1, shape.in_w)
    pixels = shape.out_h * shape.out_w
    rows, taps = sum(heights) * shape.out_w, sum(heights) * sum(widths)
    if shape.channels < 4:
        return {
            "call": 1,
            "pixel": pixels,
            "single": shape.channels * pixels,
            "single, row": shape.channels * rows,
            "single, tap": shape.channels * taps,
        }
    groups = -(-shape.channels // 4)
    runs = [
        (1, height * width) if average and width == shape.in_w else (height, width)
        for height in heights
        for width in widths
    ]
    return {
        "call": 1,
        "pixel": pixels,
        "four": groups * pixels,
        "four, row": groups * sum(count for count, _ in runs),
        "four, pair": groups * sum(count * (length // 2) for count, length in runs),
        "four, last": groups * sum(count * (length % 2) for count, length in runs),
    }
