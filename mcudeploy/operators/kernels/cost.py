# SPDX-License-Identifier: Apache-2.0
"""Instructions of our kernels on a Cortex-M4F, predicted by counting their loops.

Each function counts how often the parts of its kernel run; what a part costs was fitted to exact
counts of GCC 12.2 -O2 code on an emulator over random shapes (tests hold the predictions to
within 10 % where taps are adjacent and the layer takes 10,000 instructions or more).
"""

from __future__ import annotations

from typing import Literal

from mcudeploy.operators.kernels.conv_geometry import assembled_runs, inside_columns, is_run
from mcudeploy.operators.shapes import ConvShape, FullyConnectedShape, PoolShape


def conv_instructions(shape: ConvShape, steps: int, exact_pairs: int) -> float:
    """mcud_conv_s8; `exact_pairs` of all pairs of channels take the exact requantization."""
    run = shape.k_w * shape.group_in_c
    fours, rest = divmod(run, 4)
    pairs = shape.groups * -(-(shape.out_c // shape.groups) // 2)
    tiles, threes, ones, borders = _conv_tiles(shape)
    rows = not is_run(shape)
    per_pair = 49.5 + 17.5 * (steps // 2 - 1)
    three_runs = shape.groups * threes * shape.k_h
    one_runs = shape.groups * ones * shape.k_h
    per_three = 25.8 * rows + 19.8 * (fours > 0) + 12.1 * fours + (0.0, 5.0, 17.1, 24.4)[rest]
    per_one = 57.2 + 7.9 * fours + 10.1 * -(-rest // 2)
    return (
        110
        + shape.groups * (tiles * 47.2 + threes * 50.2 * rows)
        + tiles * (pairs * per_pair + exact_pairs * 29.4)
        + three_runs * per_three
        + shape.groups * ones * 43.6
        + one_runs * per_one
        + shape.groups * borders * (7.9 * run + _tap_by_tap(shape))
    )


def _tap_by_tap(shape: ConvShape) -> float:
    """What a run costs besides where its taps are not adjacent."""
    if shape.groups == 1 and (shape.dilation_w == 1 or shape.k_w == 1):
        return 0.0
    return 30.0 * shape.k_w


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


def depthwise_instructions(
    shape: ConvShape, strip_rows: int, plane_words: int, exact_channels: int, *, assembly: bool
) -> float:
    """mcud_depthwise_s8; `assembly` says that the one for 3x3 runs."""
    strips = range(0, shape.out_h, strip_rows)
    gathered = plane_rows = 0
    for first in strips:
        top = first * shape.stride_h - shape.pad_top
        rows = min(strip_rows, shape.out_h - first)
        taken = (rows - 1) * shape.stride_h + (shape.k_h - 1) * shape.dilation_h + 1
        gathered += max(0, min(top + taken, shape.in_h) - max(top, 0))
        plane_rows += taken
    columns = min(shape.in_w, 2 * plane_words - shape.pad_left)
    channel_pairs = -(-shape.in_c // 2)
    total = 66 + len(strips) * (184 + 42.6 * channel_pairs) + 3.2 * 2 * plane_rows * plane_words
    total += gathered * channel_pairs * (39 + 15.5 * (columns // 2))
    rows_computed = shape.out_h * shape.out_c
    pairs = -(-shape.out_w // 2)
    if assembly:
        total += len(strips) * shape.out_c * (118 if shape.stride_w == 1 else 100)
        total += rows_computed * (23.3 + 24.5 * pairs)
        return total + shape.out_h * exact_channels * 9 * pairs
    total += len(strips) * shape.out_c * 89 + rows_computed * 33
    if shape.stride_w == 1:
        words = shape.k_w // 2 + 1
        total += len(strips) * shape.out_c * 21 * shape.k_h * words
        return total + rows_computed * pairs * (31 + shape.k_h * (17.2 + 7.95 * words))
    words = -(-shape.k_w // 2)
    total += len(strips) * shape.out_c * 21 * shape.k_h * words
    return total + rows_computed * shape.out_w * (24.2 + shape.k_h * (15.2 + 4.9 * words))


def depthwise_pixels_instructions(shape: ConvShape, exact_channels: int) -> float:
    """mcud_depthwise_pixels_s8."""
    heights = _taps_inside(shape.out_h, shape.stride_h, shape.pad_top, shape.k_h,
                           shape.dilation_h, shape.in_h)  # fmt: skip
    widths = _taps_inside(shape.out_w, shape.stride_w, shape.pad_left, shape.k_w,
                          shape.dilation_w, shape.in_w)  # fmt: skip
    fours = -(-shape.in_c // 4)
    pixels = shape.out_h * shape.out_w
    rows, taps = sum(heights) * shape.out_w, sum(heights) * sum(widths)
    total = 16 + shape.out_h * (136 + 17 * shape.k_h) + pixels * (46 + 6 * exact_channels)
    return total + fours * (85 * pixels + 18 * rows + 13.7 * taps)


def _taps_inside(
    outputs: int, stride: int, pad: int, kernel: int, dilation: int, size: int
) -> list[int]:
    """How many taps of each window lie in the map, along one axis."""
    return [
        sum(0 <= at * stride - pad + tap * dilation < size for tap in range(kernel))
        for at in range(outputs)
    ]


def fully_connected_instructions(shape: FullyConnectedShape) -> float:
    """mcud_fully_connected_s8."""
    quads = max(0, -(-(shape.out_c - 2) // 4))
    fours, rest = divmod(shape.in_c, 4)
    per_quad = 59.6 + 12.7 * fours + 9.0 * -(-fours // 2) + 26.5 * (rest > 0)
    per_last = 72.8 + 13.4 * fours + 36.3 * (rest > 0)
    last = per_last if shape.out_c > 4 * quads else 0.0
    return 14 + shape.batches * (46 + quads * per_quad + last + 8.2 * shape.out_c)


def pool_instructions(kind: Literal["average", "max"], shape: PoolShape) -> float:
    """mcud_average_pool_s8 and mcud_max_pool_s8."""
    heights = _extents(shape.out_h, shape.stride_h, shape.pad_top, shape.k_h, shape.in_h)
    widths = _extents(shape.out_w, shape.stride_w, shape.pad_left, shape.k_w, shape.in_w)
    pixels = shape.out_h * shape.out_w
    if shape.channels < 4:
        single, tap = (23.1, 5.9) if kind == "average" else (18.5, 8.0)
        rows, taps = sum(heights) * shape.out_w, sum(heights) * sum(widths)
        return 30 + 67 * pixels + shape.channels * (single * pixels + 14.2 * rows + tap * taps)
    per_group = 0.0
    for height in heights:
        for width in widths:
            if kind == "max":
                per_group += 25 + 14 * height + 8 * height * width
                continue
            rows, taps = (1, height * width) if width == shape.in_w else (height, width)
            per_group += 59.6 + rows * (19.1 + 10.1 * (taps // 2) + 4.3 * (taps % 2))
    return 35 + 65 * pixels + -(-shape.channels // 4) * per_group


def _extents(outputs: int, stride: int, pad: int, kernel: int, size: int) -> list[int]:
    """How much of each window lies in the map, along one axis."""
    firsts = [position * stride - pad for position in range(outputs)]
    return [min(first + kernel, size) - max(first, 0) for first in firsts]
