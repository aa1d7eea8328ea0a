# SPDX-License-Identifier: Apache-2.0
"""What both convolution kernels have in common: geometry, gathering, and the overlap rule."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mcudeploy.operators.shapes import ConvQuantization, ConvShape

LAYER = """\
    .layer = {
        .in_h = {{ s.in_h }}, .in_w = {{ part_in_w | default(s.in_w) }}, .in_c = {{ s.in_c }},
        .out_h = {{ s.out_h }}, .out_w = {{ part_out_w | default(s.out_w) }},
        .out_c = {{ s.out_c }},
        .k_h = {{ s.k_h }}, .k_w = {{ s.k_w }},
        .stride_h = {{ s.stride_h }}, .stride_w = {{ s.stride_w }},
        .dilation_h = {{ s.dilation_h }}, .dilation_w = {{ s.dilation_w }},
        .pad_top = {{ s.pad_top }}, .pad_left = {{ part_pad_left | default(s.pad_left) }},
        .groups = {{ s.groups }},
        .in_zero_point = {{ q.input_zero_point }}, .out_zero_point = {{ q.output_zero_point }},
        .activation_min = {{ q.activation_min }}, .activation_max = {{ q.activation_max }},
        .clamp = {{ clamp }},
    },
"""
"""The member `layer` of a kernel's parameters, mcud_conv_layer_t, from `s`, `q` and `clamp`."""

MAPS = """\
const mcud_map in = { {{ inputs[0] }}, {{ s.in_w * s.in_c }}, {{ in_ring | default(s.in_h) }} };
const mcud_map out = {
    {{ outputs[0] }}, {{ s.out_w * s.out_c }}, {{ out_ring | default(s.out_h) }}
};
"""


def is_clamped(quantization: ConvQuantization) -> int:
    """Saturation to int8 does not do for the activation."""
    return int(quantization.activation_min > -128 or quantization.activation_max < 127)


def gathers_inside(shape: ConvShape) -> bool:
    """No patch needs assembling: none leaves the map, and kernel rows are contiguous."""
    padded = shape.pad_top or shape.pad_left or shape.pad_bottom or shape.pad_right
    return not padded and shape.groups == 1 and (shape.dilation_w == 1 or shape.k_w == 1)


def pads_by_fours(shape: ConvShape) -> bool:
    """What a patch needs beside the map, mcud_conv_s8 fills in by whole words of four taps."""
    return shape.groups == 1 and shape.in_c % 4 == 0 and (shape.dilation_w == 1 or shape.k_w == 1)


def is_run(shape: ConvShape) -> bool:
    """The kernels take the whole map as one run of pixels."""
    plain = (shape.k_h, shape.k_w, shape.stride_h, shape.stride_w, shape.groups) == (1,) * 5
    return plain and shape.pad_top == shape.pad_left == 0


def inside_columns(shape: ConvShape) -> tuple[int, int]:
    """Output columns [first, end) whose kernel rows are contiguous and inside the map."""
    if shape.groups > 1 or (shape.dilation_w > 1 and shape.k_w > 1):
        return 0, 0
    reach = shape.in_w + shape.pad_left - shape.k_w + shape.stride_w
    return -(-shape.pad_left // shape.stride_w), min(max(0, reach // shape.stride_w), shape.out_w)


def assembled_runs(shape: ConvShape, pixel: int, first: int, end: int) -> int:
    """How many kernel rows of an output pixel are assembled beside the map."""
    y, x = divmod(pixel, shape.out_w)
    if not first <= x < end:
        return shape.k_h
    top = y * shape.stride_h - shape.pad_top
    rows = (top + ky * shape.dilation_h for ky in range(shape.k_h))
    return sum(not 0 <= row < shape.in_h for row in rows)


def tile_sizes(pixels: int, tile: int) -> tuple[int, ...]:
    """Pixels of each tile, as the kernels take them: of three, but the last four by twos."""
    full, left = divmod(pixels, tile)
    if tile == 3 and left == 1 and full:
        return (tile,) * (full - 1) + (2, 2)
    return (tile,) * full + ((left,) if left else ())


def _tile_ends(shape: ConvShape, tile: int) -> npt.NDArray[np.int64]:
    """One past the last pixel of each tile, whether called for the whole map or row by row."""
    whole = np.cumsum(tile_sizes(shape.out_h * shape.out_w, tile))
    row = np.cumsum(tile_sizes(shape.out_w, tile))
    rows = (np.arange(shape.out_h)[:, None] * shape.out_w + row).ravel()
    return np.array(sorted({*whole[:-1].tolist(), *rows[:-1].tolist()}), np.int64)


@lru_cache(maxsize=1024)
def conv_max_distance(shape: ConvShape, tile: int) -> int:
    """The greatest safe output address - input address, all rows ascending, `tile` pixels a tile.

    A tile is written after its patches are read, so what is written up to the end of a tile must
    lie below the first byte that any later tile reads. Groups are computed one after the other
    within a row, each reading the row's input again.
    """
    row_bytes = shape.in_w * shape.in_c
    y, x = np.mgrid[0 : shape.out_h, 0 : shape.out_w]
    top = y * shape.stride_h - shape.pad_top
    top = np.where(top < 0, top % shape.dilation_h, top)
    left = x * shape.stride_w - shape.pad_left
    left = np.where(left < 0, left % shape.dilation_w, left)
    reads = (top * row_bytes + left * shape.in_c).ravel()
    reads[((top >= shape.in_h) | (left >= shape.in_w)).ravel()] = shape.in_h * row_bytes
    first_read_from = np.append(np.minimum.accumulate(reads[::-1])[::-1], shape.in_h * row_bytes)
    if shape.groups == 1:
        ends = _tile_ends(shape, tile)
        following = ends
    else:
        following = np.arange(shape.out_h) * shape.out_w
        ends = following + shape.out_w
    distances = first_read_from[following] - ends * shape.out_c
    return min([shape.in_h * row_bytes, *map(int, distances)])
