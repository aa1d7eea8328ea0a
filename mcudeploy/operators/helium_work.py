# SPDX-License-Identifier: Apache-2.0
"""How often each part of CMSIS-NN's kernels runs on cores with Helium (see `work.py`).

Products go by four rows, sixteen inputs an instruction, the last ones under a predicate; depthwise
layers by 124 channels, four pixels and four channels at a time. From the sources of V.12.5.1.
"""

from __future__ import annotations

from mcudeploy.operators.shapes import ConvShape, FullyConnectedShape, PoolShape
from mcudeploy.operators.work import Work, window_extents

_LANES, _FOUR = 16, 4
_DEPTHWISE_BLOCK = 124


def _ceil(count: int, unit: int) -> int:
    return -(-count // unit)


def helium_product_work(rows: int, columns: int, depth: int, *, calls: int = 1) -> Work:
    """arm_nn_mat_mult_nt_t_s8 for `rows` at each call: four of them together, the rest singly."""
    fours, singles = divmod(rows, _FOUR)
    rounds = _ceil(depth, _LANES)
    return {
        "call": 1,
        "product": calls,
        "four": calls * fours,
        "four, column": calls * fours * columns,
        "four, round": calls * fours * columns * rounds,
        "four, last columns": calls * fours * (columns % _FOUR),
        "single": calls * singles,
        "single, column": calls * singles * columns,
        "single, round": calls * singles * columns * rounds,
        "single, columns": calls * singles * (columns // _FOUR),
        "single, last column": calls * singles * (columns % _FOUR),
    }


def _taps(s: ConvShape) -> tuple[int, int]:
    """Taps of all pixels: inside the map, and outside."""
    heights = window_extents(s.out_h, s.stride_h, s.pad_top, s.k_h, s.dilation_h, s.in_h)
    widths = window_extents(s.out_w, s.stride_w, s.pad_left, s.k_w, s.dilation_w, s.in_w)
    inside = sum(heights) * sum(widths)
    return inside, s.out_h * s.out_w * s.k_h * s.k_w - inside


def helium_convolution_work(s: ConvShape) -> Work:
    """arm_convolve_s8: patches are copied, every four of them multiplied."""
    pixels = s.out_h * s.out_w
    inside, outside = _taps(s)
    product = helium_product_work(pixels, s.out_c, s.k_h * s.k_w * s.in_c)
    return {
        **product,
        "product": _ceil(pixels, _FOUR),
        "pixel": pixels,
        "tap": inside,
        "tap, round": inside * _ceil(s.in_c, _LANES),
        "padded tap": outside,
        "padded tap, round": outside * _ceil(s.in_c, _LANES),
    }


def helium_depthwise_work(s: ConvShape) -> Work:
    """arm_depthwise_conv_s8_opt: a block of channels of four pixels is copied, then convolved."""
    pixels, taps = s.out_h * s.out_w, s.k_h * s.k_w
    inside, outside = _taps(s)
    whole, rest = divmod(s.in_c, _DEPTHWISE_BLOCK)
    blocks = [_DEPTHWISE_BLOCK] * whole + [rest] * (rest > 0)
    rounds = sum(_ceil(block, _LANES) for block in blocks)
    groups = sum(_ceil(block, _FOUR) for block in blocks)
    fours, singles = divmod(pixels, _FOUR)
    return {
        "call": 1,
        "block": len(blocks),
        "block, pixel": len(blocks) * pixels,
        "tap": len(blocks) * inside,
        "tap, round": rounds * inside,
        "padded tap": len(blocks) * outside,
        "padded tap, round": rounds * outside,
        "four": len(blocks) * fours,
        "four, group": groups * fours,
        "four, tap": groups * fours * taps,
        "single": len(blocks) * singles,
        "single, group": groups * singles,
        "single, tap": groups * singles * taps,
    }


def helium_pool_work(s: PoolShape) -> Work:
    """arm_avgpool_s8 and arm_max_pool_s8: sixteen channels of a pixel at a time."""
    heights = window_extents(s.out_h, s.stride_h, s.pad_top, s.k_h, 1, s.in_h)
    widths = window_extents(s.out_w, s.stride_w, s.pad_left, s.k_w, 1, s.in_w)
    pixels, blocks = s.out_h * s.out_w, _ceil(s.channels, _LANES)
    rows, taps = sum(heights) * s.out_w, sum(heights) * sum(widths)
    return {
        "call": 1,
        "row": s.out_h,
        "pixel": pixels,
        "pixel, row": rows,
        "tap": taps,
        "block": pixels * blocks,
        "block, row": rows * blocks,
        "block, tap": taps * blocks,
        "output": pixels * s.channels,
        "clamped": _ceil(pixels * s.channels, _LANES),
    }


def helium_dense_work(s: FullyConnectedShape) -> Work:
    """arm_fully_connected_s8 and ours: four channels at a time, the last ones singly."""
    fours, singles = divmod(s.out_c, _FOUR)
    rounds, rest = divmod(s.in_c, _LANES)
    return {
        "call": 1,
        "row": s.batches,
        "four": s.batches * fours,
        "four, rounds": s.batches * fours * (rounds > 0),
        "four, round": s.batches * fours * rounds,
        "four, rest": s.batches * fours * (rest > 0),
        "last": s.batches * (singles > 0),
        "single": s.batches * singles,
        "single, round": s.batches * singles * _ceil(s.in_c, _LANES),
    }
