# SPDX-License-Identifier: Apache-2.0
"""How often each part of a kernel runs, as a function of the layer's shape.

An `Implementation` may state its `work`: names of the kernel's loops with how often each runs.
`costs.py` multiplies that by what a round costs on a core. The counts below follow the sources of
CMSIS-NN V.12.5.1 for cores without Helium: on those with DSP instructions dense products go by two
rows and four columns; on those without, by one or three rows and single columns. Parts that a core
does not have get no cost there.
"""

from __future__ import annotations

from collections.abc import Mapping

from mcudeploy.operators.shapes import (
    ConvShape,
    FullyConnectedShape,
    MeanShape,
    PoolShape,
    SoftmaxShape,
)

Work = Mapping[str, float]


def window_extents(outputs: int, stride: int, pad: int, kernel: int, dilation: int, size: int) -> (
    list[int]
):  # fmt: skip
    """How many taps of each window lie in the map, along one axis."""
    return [
        sum(0 <= position * stride - pad + tap * dilation < size for tap in range(kernel))
        for position in range(outputs)
    ]


def _heights(s: ConvShape) -> list[int]:
    return window_extents(s.out_h, s.stride_h, s.pad_top, s.k_h, s.dilation_h, s.in_h)


def _widths(s: ConvShape) -> list[int]:
    return window_extents(s.out_w, s.stride_w, s.pad_left, s.k_w, s.dilation_w, s.in_w)


def convolution_work(s: ConvShape) -> Work:
    """arm_convolve_s8: patches copied and widened one by one, multiplied two by two."""
    pixels, taps = s.out_h * s.out_w, s.k_h * s.k_w
    inside = sum(_heights(s)) * sum(_widths(s))
    outside = pixels * taps - inside
    columns = taps * s.in_c
    fours, rest = divmod(columns, 4)
    pairs, last = divmod(pixels, 2)
    twos, single = divmod(s.out_c, 2)
    return {
        "call": 1,
        "pixel": pixels,
        "tap": inside,
        "tap bytes": inside * s.in_c,
        "padded tap": outside,
        "padded bytes": outside * s.in_c,
        "widened four": pixels * fours,
        "widened one": pixels * rest,
        "pair by two": pairs * twos,
        "pair by two, four": pairs * twos * fours,
        "pair by two, one": pairs * twos * rest,
        "pair by one": pairs * single,
        "pair by one, four": pairs * single * fours,
        "pair by one, one": pairs * single * rest,
        "last": last * s.out_c,
        "last, four": last * s.out_c * fours,
        "last, one": last * s.out_c * rest,
    }


def product_work(rows: int, channels: int, columns: int, calls: int = 1) -> Work:
    """arm_nn_mat_mult_nt_t_s8, `calls` times: sums of weights, then pairs of rows and channels."""
    twos, single = divmod(channels, 2)
    pairs, last = divmod(rows, 2)
    sixteens, left = divmod(columns, 16)
    fours, rest = divmod(left, 4)
    return {
        "call": calls,
        "channels": calls * twos,
        "summed": calls * twos * columns,
        "pair": calls * twos * pairs,
        "pair, sixteen": calls * twos * pairs * sixteens,
        "pair, four": calls * twos * pairs * fours,
        "pair, one": calls * twos * pairs * rest,
        "last": calls * twos * last,
        "last, sixteen": calls * twos * last * sixteens,
        "last, four": calls * twos * last * fours,
        "last, one": calls * twos * last * rest,
        "single": calls * single * rows,
        "single, column": calls * single * rows * columns,
    }


def depthwise_work(s: ConvShape, function: str) -> Work:
    """The depthwise kernels, by name; each takes channels by four in a way of its own."""
    pixels, taps = s.out_h * s.out_w, s.k_h * s.k_w
    rows = sum(_heights(s)) * s.out_w
    inside = sum(_heights(s)) * sum(_widths(s))
    fours, rest = divmod(s.out_c, 4)
    by_four = {
        "call": 1,
        "pixel": pixels,
        "four": pixels * fours,
        "four, row": rows * fours,
        "four, tap": inside * fours,
        "one": pixels * rest,
        "one, row": rows * rest,
        "one, tap": inside * rest,
    }
    if function == "arm_depthwise_conv_3x3_s8":
        return by_four
    undilated = s.dilation_h == s.dilation_w == 1
    if function == "arm_depthwise_conv_s8" and s.depth_multiplier % 4 == 0 and undilated:
        return {
            "call": 1,
            "tiles": pixels,
            "tile": pixels * fours,
            "tile, row": rows * fours,
            "tile, tap": inside * fours,
        }
    plain = {
        "call": 1,
        "pixel": pixels,
        "channel": pixels * s.out_c,
        "channel, row": rows * s.out_c,
        "channel, tap": inside * s.out_c,
        "dilated": pixels * s.out_c * ((s.dilation_h > 1) + (s.dilation_w > 1)),
    }
    if function == "arm_depthwise_conv_s8":
        return plain
    return plain | {  # arm_depthwise_conv_s8_opt; without DSP instructions it is the plain one
        "tap": inside,
        "input bytes": inside * s.in_c,
        "padded tap": pixels * taps - inside,
        "padded bytes": (pixels * taps - inside) * s.in_c,
        "four": pixels * fours,
        "four, pair of taps": pixels * fours * (taps // 2),
        "four, last tap": pixels * fours * (taps % 2),
        "one": pixels * rest,
        "one, any tap": pixels * rest * taps,
    }


def fully_connected_work(s: FullyConnectedShape, *, dsp: bool) -> Work:
    """arm_nn_vec_mat_mult_t_s8: two rows of weights at a time with DSP, three without."""
    fours, rest = divmod(s.in_c, 4)
    twos, single = divmod(s.out_c, 2)
    threes, left = divmod(s.out_c, 3)
    if not dsp:
        return {
            "call": 1,
            "vector": s.batches,
            "three": s.batches * threes,
            "three, column": s.batches * threes * s.in_c,
            "left": s.batches * left,
            "left, column": s.batches * left * s.in_c,
        }
    return {
        "call": 1,
        "vector": s.batches,
        "two": s.batches * twos,
        "two, four": s.batches * twos * fours,
        "two, one": s.batches * twos * rest,
        "single": s.batches * single,
        "single, four": s.batches * single * fours,
        "single, one": s.batches * single * rest,
    }


def pool_work(s: PoolShape) -> Work:
    """arm_avgpool_s8 and arm_max_pool_s8."""
    pixels = s.out_h * s.out_w
    heights = window_extents(s.out_h, s.stride_h, s.pad_top, s.k_h, 1, s.in_h)
    widths = window_extents(s.out_w, s.stride_w, s.pad_left, s.k_w, 1, s.in_w)
    rows, taps = sum(heights) * s.out_w, sum(heights) * sum(widths)
    fours, rest = divmod(s.channels, 4)
    return {
        "call": 1,
        "pixel": pixels,
        "row": rows,
        "tap": taps,
        "output": pixels * s.channels,
        "output four": pixels * fours,
        "output one": pixels * rest,
        "input": taps * s.channels,
        "input four": taps * fours,
        "input one": taps * rest,
        "channel row": pixels * s.k_h * s.channels,
        "channel tap": pixels * s.k_h * s.k_w * s.channels,
    }


def elements_work(count: int, rows: int = 1, *, clamped: int = 0) -> Work:
    """Kernels that go over elements, four at a time and then one by one.

    `clamped`: 1 where they go over them again to clamp, else 0.
    """
    return {
        "call": 1,
        "row": rows,
        "element": count,
        "four": count // 4,
        "one": count % 4,
        "clamped": clamped * count,
    }


def softmax_work(s: SoftmaxShape, window: float) -> Work:
    """Softmax kernels; `window` is the part of the range below a row's maximum that counts.

    How many values lie in it depends on the data. They are taken to be spread evenly; then of n
    values the maximum m has the density n m^(n-1), and each other lies in the window with the
    probability min(1, window / m).
    """
    elements, n = s.rows * s.depth, s.depth
    others = window**n + n * window * (1 - window ** (n - 1)) / (n - 1) if n > 1 else 0.0
    near = (1 + (n - 1) * others) / n
    return {"call": 1, "row": s.rows, "element": elements, "near": elements * near}


def product_of_elements_work(count: int, rows: int, *, exact: bool, clamped: int) -> Work:
    """mcud_mul_s8, whose requantization is one of two; `clamped` as above."""
    part = "exact element" if exact else "element"
    return {
        "call": 1,
        "row": rows,
        part: rows * count,
        "one": rows * (count % 4),
        "clamped": clamped * rows * count,
    }


def mean_work(s: MeanShape) -> Work:
    """mcud_mean_s8: four channels at a time, single ones where there are fewer."""
    groups = -(-s.channels // 4) if s.channels > 3 else 0
    singles = 0 if groups else s.channels
    taps = s.in_h * s.in_w
    return {
        "call": 1,
        "group": groups,
        "group tap": groups * taps,
        "single": singles,
        "single row": singles * s.in_h,
        "single tap": singles * taps,
    }


def window_work(s: ConvShape) -> Work:
    """mcud_conv_any_s8: every output's window on its own."""
    heights, widths = sum(_heights(s)), sum(_widths(s))
    inside = heights * widths
    return {
        "call": 1,
        "output": s.out_h * s.out_w * s.out_c,
        "kernel row": s.out_h * s.out_w * s.k_h * s.out_c,
        "row": heights * s.out_w * s.out_c,
        "column": heights * s.out_w * s.k_w * s.out_c,
        "tap": inside * s.out_c,
        "product": inside * s.out_c * s.group_in_c,
    }


def scattered_work(s: ConvShape) -> Work:
    """mcud_transpose_conv_s8: of every output the taps that reach it."""

    def taps(outputs: int, pad: int, kernel: int, stride: int, size: int) -> tuple[int, int]:
        tried = [(at + pad, k) for at in range(outputs) for k in range(kernel)
                 if k <= at + pad and (at + pad - k) % stride == 0]  # fmt: skip
        return len(tried), sum((at - k) // stride < size for at, k in tried)

    tried_h, heights = taps(s.out_h, s.pad_top, s.k_h, s.stride_h, s.in_h)
    tried_w, widths = taps(s.out_w, s.pad_left, s.k_w, s.stride_w, s.in_w)
    return {
        "call": 1,
        "output": s.out_h * s.out_w * s.out_c,
        "kernel row": tried_h * s.out_w * s.out_c,
        "row": heights * s.out_w * s.out_c,
        "column": heights * tried_w * s.out_c,
        "tap": heights * widths * s.out_c,
        "product": heights * widths * s.out_c * s.in_c,
    }


def svdf_work(feature: tuple[int, ...], rank: int, memory: int, state: str) -> Work:
    """mcud_svdf_s8, weights (filters, inputs); the state is moved whole by a memmove."""
    filters, inputs = feature
    return {
        "call": 1,
        "filter": filters,
        "product": filters * inputs,
        "unit": filters // rank,
        f"tap, {state}": filters * memory,
    }


def lstm_work(steps: int, inputs: int, units: int) -> Work:
    """mcud_lstm_s8: four gates of each unit in each step."""
    return {
        "call": 1,
        "unit": steps * units,
        "product": 4 * steps * units * (inputs + units),
    }
