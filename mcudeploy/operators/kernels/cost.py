# SPDX-License-Identifier: Apache-2.0
"""The work of our kernels with DSP instructions: how often each of their loops runs.

What a round costs on each core is in `costs.json` (see `operators/costs.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from mcudeploy.operators.kernels.conv_geometry import (
    inside_columns,
    is_clamped,
    is_run,
    pads_by_fours,
    tile_sizes,
)
from mcudeploy.operators.shapes import ConvQuantization, ConvShape, FullyConnectedShape, PoolShape
from mcudeploy.operators.work import Work, window_extents

_CHUNK = 512
"""Inputs after which mcud_fully_connected_s8 takes its sums apart."""


def conv_work(
    shape: ConvShape,
    quantization: ConvQuantization,
    steps: int,
    exact_pairs: int,
    *,
    tile: int = 3,
    single_rows: bool = False,
) -> Work:
    """mcud_conv_s8; `exact_pairs` of all pairs of channels take the exact requantization.

    `single_rows`: it is called for one output row at a time.
    """
    fours, rest = divmod(shape.k_w * shape.group_in_c, 4)
    groups, rounds = shape.groups, steps // 2 - 1
    pairs = groups * -(-(shape.out_c // groups) // 2)
    calls = shape.out_h if single_rows else 1
    found = _conv_tiles(shape, tile, single_rows)
    three_runs, one_runs = groups * found.by_threes * shape.k_h, groups * found.runs
    scattered = groups > 1 or (shape.dilation_w > 1 and shape.k_w > 1)
    rows = not is_run(shape)
    return {
        "call": calls,
        "group row": groups * shape.out_h if groups > 1 else 0,
        "tile": groups * found.threes,
        "tile of three": groups * found.by_threes * rows,
        "pair": found.threes * pairs,
        "pair, step": found.threes * pairs * rounds,
        "pair, exact": found.threes * exact_pairs,
        "two": groups * found.twos,
        "two, pair": found.twos * pairs,
        "two, pair, step": found.twos * pairs * rounds,
        "two, pair, exact": found.twos * exact_pairs,
        "three, run": three_runs * rows,
        "three, fours": three_runs * (fours > 0),
        "three, four": three_runs * fours,
        **{f"three, rest {n}": three_runs * (rest == n) for n in (1, 2, 3)},
        "one": groups * found.ones * rows,
        "one, run": one_runs,
        "one, four": groups * found.fours,
        "one, rest": one_runs * -(-rest // 2),
        "padding": groups * found.padding,
        "border": groups * found.borders,
        "border, byte": groups * found.borders * shape.k_w * shape.group_in_c,
        "border, tap": groups * found.borders * shape.k_w * scattered,
        "clamped": shape.out_h * shape.out_w * shape.out_c * is_clamped(quantization),
    }


@dataclass
class _ConvTiles:
    """Of one group of mcud_conv_s8: tiles by size, and how their patches are gathered."""

    threes: int = 0
    twos: int = 0
    by_threes: int = 0
    """Tiles of three pixels inside the map."""
    ones: int = 0
    """Pixels gathered by themselves: their kernel rows inside, words of four taps in these, pairs
    of padding, kernel rows assembled."""
    runs: int = 0
    fours: int = 0
    padding: int = 0
    borders: int = 0


def _conv_tiles(shape: ConvShape, tile: int, single_rows: bool) -> _ConvTiles:
    found = _ConvTiles()
    pixels = shape.out_h * shape.out_w
    by_rows = single_rows or shape.groups > 1
    sizes = tile_sizes(shape.out_w if by_rows else pixels, tile)
    lines = shape.out_h if by_rows else 1
    found.threes = lines * sizes.count(3)
    found.twos = lines * (len(sizes) - sizes.count(3))
    taps = shape.k_w * shape.group_in_c
    if is_run(shape):
        found.by_threes = found.threes
        found.runs = 2 * found.twos
        found.fours = found.runs * (taps // 4)
        return found
    first, end = inside_columns(shape)
    inside = window_extents(shape.out_h, shape.stride_h, shape.pad_top, shape.k_h,
                            shape.dilation_h, shape.in_h)  # fmt: skip
    at = 0
    alone: list[int] = []
    for size in sizes:
        x = at % shape.out_w
        if size == 3 and first <= x and x + 3 <= end:
            found.by_threes += lines
        else:
            alone += range(at, at + size)
        at += size
    for pixel in alone:
        x = pixel % shape.out_w
        rows = sum(inside) if by_rows else inside[pixel // shape.out_w]
        outside = lines * shape.k_h - rows
        left = x * shape.stride_w - shape.pad_left
        before = min(max(-left, 0), shape.k_w)
        behind = min(max(left + shape.k_w - shape.in_w, 0), shape.k_w)
        beside = (before + behind) * shape.in_c if pads_by_fours(shape) else 0
        found.ones += lines
        found.runs += rows
        found.fours += rows * ((taps - beside) // 4)
        found.padding += outside * -(-taps // 2) + rows * beside // 2
        if not (first <= x < end or pads_by_fours(shape)):
            found.borders += rows
    return found


def depthwise_work(
    shape: ConvShape,
    quantization: ConvQuantization,
    strip_rows: int,
    plane_words: int,
    exact_channels: int,
    *,
    in_place: bool = False,
) -> Work:
    """mcud_depthwise_s8: 3x3 in assembly, others by loops over pairs of taps.

    `in_place`: mcud_depthwise_in_place_s8, which gathers each row once.
    """
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
    if in_place:
        kept = (shape.k_h - 1) * shape.dilation_h
        found |= {
            "strip": 0,
            "plane word": 2 * (strip_rows + kept) * plane_words,
            "gathered row": shape.in_h * channel_pairs,
            "gathered pair": shape.in_h * channel_pairs * (columns // 2),
            "padded row": kept * channel_pairs,
            "padded word": kept * channel_pairs * plane_words,
            "kept word": (strips - 1) * kept * channel_pairs * plane_words,
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
