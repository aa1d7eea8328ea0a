# SPDX-License-Identifier: Apache-2.0
"""What the kernels must compute, in plain integers: TFLite's reference, written for clarity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mcudeploy.operators.shapes import ConvQuantization, ConvShape, PoolShape

Int8 = npt.NDArray[np.int8]
Int64 = npt.NDArray[np.int64]


def requantize(x: Int64, multiplier: npt.ArrayLike, shift: npt.ArrayLike) -> Int64:
    """TFLite's MultiplyByQuantizedMultiplier: left shift, doubling high multiply, right shift."""
    left = np.maximum(np.asarray(shift, dtype=np.int64), 0)
    right = np.maximum(-np.asarray(shift, dtype=np.int64), 0)
    product = (x << left) * np.asarray(multiplier, dtype=np.int64)
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = (np.abs(product + nudge) >> 31) * np.sign(product + nudge)
    mask = (np.int64(1) << right) - 1
    remainder = high & mask
    threshold = (mask >> 1) + (high < 0)
    return (high >> right) + (remainder > threshold)


def convolution(
    x: Int8, weights: Int8, bias: Int64, shape: ConvShape, quantization: ConvQuantization
) -> Int8:
    """CONV_2D with groups; weights OHWI. A depthwise one has groups == in_c and I == 1."""
    s, q = shape, quantization
    padded = np.zeros(
        (s.pad_top + s.in_h + s.pad_bottom, s.pad_left + s.in_w + s.pad_right, s.in_c), np.int64
    )
    centred = x.reshape(s.in_h, s.in_w, s.in_c).astype(np.int64) - q.input_zero_point
    padded[s.pad_top : s.pad_top + s.in_h, s.pad_left : s.pad_left + s.in_w] = centred
    sums = np.zeros((s.out_h, s.out_w, s.out_c), np.int64) + bias
    per_group = s.out_c // s.groups
    flat = weights.astype(np.int64)
    for ky in range(s.k_h):
        for kx in range(s.k_w):
            y0, x0 = ky * s.dilation_h, kx * s.dilation_w
            taps = padded[
                y0 : y0 + (s.out_h - 1) * s.stride_h + 1 : s.stride_h,
                x0 : x0 + (s.out_w - 1) * s.stride_w + 1 : s.stride_w,
            ]
            for group in range(s.groups):
                channels = slice(group * s.group_in_c, (group + 1) * s.group_in_c)
                outputs = slice(group * per_group, (group + 1) * per_group)
                sums[:, :, outputs] += taps[:, :, channels] @ flat[outputs, ky, kx].T
    result = requantize(sums, q.multipliers, q.shifts) + q.output_zero_point
    return np.clip(result, q.activation_min, q.activation_max).astype(np.int8)


def pooling(kind: str, x: Int8, shape: PoolShape, low: int, high: int) -> Int8:
    """AVERAGE_POOL_2D (rounded half away from zero, padding left out) or MAX_POOL_2D."""
    s = shape
    maps = x.reshape(s.in_h, s.in_w, s.channels).astype(np.int64)
    result = np.zeros((s.out_h, s.out_w, s.channels), np.int64)
    for y in range(s.out_h):
        for column in range(s.out_w):
            top, left = y * s.stride_h - s.pad_top, column * s.stride_w - s.pad_left
            under = maps[max(top, 0) : top + s.k_h, max(left, 0) : left + s.k_w]
            taps = under.reshape(-1, s.channels)
            total, count = taps.sum(axis=0), len(taps)
            mean = np.sign(total) * ((np.abs(total) + count // 2) // count)
            result[y, column] = taps.max(axis=0) if kind == "max" else mean
    return np.clip(result, low, high).astype(np.int8).ravel()
