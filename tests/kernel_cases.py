# SPDX-License-Identifier: Apache-2.0
"""Random layers for the kernels' property tests: shapes, quantizations, data, expected outputs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import kernel_reference
import numpy as np
import numpy.typing as npt

from mcudeploy.board import CORES
from mcudeploy.operators.base import Implementation, Target
from mcudeploy.operators.shapes import (
    AddQuantization,
    ConvQuantization,
    ConvShape,
    FullyConnectedShape,
    quantize_multiplier,
    quantize_multipliers,
)

M4F = Target(CORES["cortex-m4f"])
M3 = Target(CORES["cortex-m3"])
M0PLUS = Target(CORES["cortex-m0plus"])
Random = np.random.Generator


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution, depthwise (weights 1HWO) or dense layer with its data and its truth."""

    shape: ConvShape | FullyConnectedShape
    quantization: ConvQuantization
    weights: npt.NDArray[np.int8]
    bias: npt.NDArray[np.int32] | None
    x: npt.NDArray[np.int8]
    expected: npt.NDArray[np.int8]


def pick(random: Random, *values: int) -> int:
    return int(random.choice(values))


def conv_shape(random: Random, *, depthwise: bool = False) -> ConvShape:
    """Any kernel, stride, dilation, padding, odd sizes; groups that divide both channel counts."""
    in_c = pick(random, 1, 2, 3, 4, 5, 6, 8, 12, 16)
    groups = in_c if depthwise else pick(random, 1, 1, 1, 2)
    if depthwise:
        groups = in_c
        out_c = in_c * pick(random, 1, 1, 1, 2, 3)
    else:
        groups = groups if in_c % groups == 0 else 1
        out_c = groups * pick(random, 1, 2, 3, 4, 5, 8)
    k_h, k_w = (3, 3) if random.random() < 0.5 else random.integers(1, 6, 2).tolist()
    if not depthwise and random.random() < 0.4:
        k_h = k_w = 1
    stride_h = stride_w = pick(random, 1, 1, 2, 3)
    if random.random() < 0.2:
        stride_h = pick(random, 1, 2)
    dilation_h, dilation_w = pick(random, 1, 1, 1, 2), pick(random, 1, 1, 1, 2)
    reach_h, reach_w = (k_h - 1) * dilation_h + 1, (k_w - 1) * dilation_w + 1
    in_h, in_w = (max(1, int(v)) for v in random.integers(1, 12, 2))
    if random.random() < 0.6:  # SAME
        out_h, out_w = -(-in_h // stride_h), -(-in_w // stride_w)
        pad_h = max(0, (out_h - 1) * stride_h + reach_h - in_h)
        pad_w = max(0, (out_w - 1) * stride_w + reach_w - in_w)
    else:
        in_h, in_w = max(in_h, reach_h), max(in_w, reach_w)
        out_h, out_w = (in_h - reach_h) // stride_h + 1, (in_w - reach_w) // stride_w + 1
        pad_h = pad_w = 0
    return ConvShape(
        in_h, in_w, in_c, out_h, out_w, out_c, k_h, k_w, stride_h, stride_w,
        dilation_h, dilation_w, pad_h // 2, pad_w // 2, groups,
    )  # fmt: skip


def zero_point(random: Random) -> int:
    return pick(random, -128, -128, 127, 0, int(random.integers(-128, 128)))


def quantization(random: Random, sums_scale: float, out_c: int) -> ConvQuantization:
    """Multipliers that spread the sums over the outputs, differing by up to 2^6 over channels."""
    spread = 2.0 ** random.uniform(-3, 3, out_c) if random.random() < 0.7 else np.ones(out_c)
    reals = np.minimum(random.uniform(10, 200) / sums_scale * spread, 0.49)
    multipliers, shifts = quantize_multipliers(reals.tolist())
    output = zero_point(random)
    low, high = -128, 127
    activation = random.random()
    if activation < 0.6:
        low = output
    if activation < 0.2:
        high = min(127, output + int(random.integers(1, 200)))
    return ConvQuantization(zero_point(random), output, multipliers, shifts, low, high)


def convolution(random: Random, *, depthwise: bool = False) -> Layer:
    shape = conv_shape(random, depthwise=depthwise)
    group_in = 1 if depthwise else shape.group_in_c
    taps = shape.k_h * shape.k_w * group_in
    size = (shape.out_c, shape.k_h, shape.k_w, group_in)
    weights = random.integers(-127, 128, size).astype(np.int8)
    if random.random() < 0.2:
        weights[random.integers(shape.out_c)] = 0
    sums_scale = 127.0 * 70 * np.sqrt(taps)
    bias = (random.normal(0, sums_scale / 2, shape.out_c)).astype(np.int32)
    q = quantization(random, sums_scale, shape.out_c)
    x = random.integers(-128, 128, shape.in_h * shape.in_w * shape.in_c).astype(np.int8)
    if random.random() < 0.1:
        x[:] = pick(random, -128, 127)
    given = None if random.random() < 0.1 else bias
    total = np.zeros(shape.out_c, np.int64) if given is None else given.astype(np.int64)
    expected = kernel_reference.convolution(x, weights, total, shape, q).ravel()
    if depthwise:
        weights = np.ascontiguousarray(weights.transpose(3, 1, 2, 0))
    return Layer(shape, q, weights, given, x, expected)


def dense(random: Random) -> Layer:
    in_c = pick(random, 1, 2, 3, 4, 7, 8, 16, 33, 100, 515, 1030)
    shape = FullyConnectedShape(in_c, int(random.integers(1, 12)), pick(random, 1, 1, 3))
    weights = random.integers(-127, 128, (shape.out_c, in_c)).astype(np.int8)
    sums_scale = 127.0 * 70 * np.sqrt(in_c)
    bias = random.normal(0, sums_scale / 2, shape.out_c).astype(np.int32)
    q = quantization(random, sums_scale, shape.out_c)
    if random.random() < 0.7:
        q = replace(
            q, multipliers=q.multipliers[:1] * shape.out_c, shifts=q.shifts[:1] * shape.out_c
        )
    x = random.integers(-128, 128, shape.batches * in_c).astype(np.int8)
    centred = x.reshape(shape.batches, in_c).astype(np.int64) - q.input_zero_point
    sums = centred @ weights.T.astype(np.int64) + bias
    result = kernel_reference.requantize(sums, q.multipliers, q.shifts) + q.output_zero_point
    expected = np.clip(result, q.activation_min, q.activation_max).astype(np.int8).ravel()
    return Layer(shape, q, weights, bias, x, expected)


def add_quantization(random: Random) -> AddQuantization:
    scale1, scale2 = 2.0 ** random.uniform(-7, -2, 2)
    output = max(scale1, scale2) * 2.0 ** random.uniform(-0.5, 2)
    twice = 2 * max(scale1, scale2)
    multiplier1, shift1 = quantize_multiplier(scale1 / twice)
    multiplier2, shift2 = quantize_multiplier(scale2 / twice)
    multiplier, shift = quantize_multiplier(twice / ((1 << 20) * output))
    point = zero_point(random)
    low = point if random.random() < 0.5 else -128
    return AddQuantization(
        zero_point(random), multiplier1, shift1, zero_point(random), multiplier2, shift2,
        point, multiplier, shift, low, 127,
    )  # fmt: skip


def with_call(implementation: Implementation, call: str) -> Implementation:
    """The same constants and parameters, but `call` instead of the kernel's whole-map call."""
    text = implementation.snippet.rstrip()
    return replace(implementation, snippet=text[: text.rindex("\n\n")] + "\n" + call)
