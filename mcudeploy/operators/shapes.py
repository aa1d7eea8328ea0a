# SPDX-License-Identifier: Apache-2.0
"""What a kernel is given: shapes and quantizations as plain numbers, free of graph and tensors.

Our kernels (`operators/kernels/`) and the CMSIS-NN calls are described with the same values.
Shapes are NHWC with batch 1. The arithmetic is TFLite's (its quantization specification and
reference kernels): a real multiplier is `multiplier * 2^(shift - 31)` with `multiplier` in
[2^30, 2^31) or 0; a positive shift goes left, before the multiplication.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int8Array = npt.NDArray[np.int8]
Int32Array = npt.NDArray[np.int32]


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, shift) of a non-negative real multiplier, as TFLite's QuantizeMultiplier.

    Below 2^-32 TFLite flushes to zero; the mantissa is rounded half away from zero.
    """
    if real == 0.0:
        return 0, 0
    if math.isinf(real):  # of scales without measure; saturated as all beyond 2^30
        return (1 << 31) - 1, 30
    mantissa, shift = math.frexp(real)
    multiplier = math.floor(mantissa * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier >>= 1
        shift += 1
    if shift < -31:
        return 0, 0
    if shift > 30:
        return (1 << 31) - 1, 30
    return multiplier, shift


def quantize_multipliers(reals: Iterable[float]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The multipliers and the shifts of several real multipliers."""
    pairs = [quantize_multiplier(real) for real in reals]
    return tuple(m for m, _ in pairs), tuple(s for _, s in pairs)


@dataclass(frozen=True)
class ConvShape:
    """CONV_2D (groups >= 1) and DEPTHWISE_CONV_2D (groups == in_c, out_c a multiple of it).

    `pad_top` and `pad_left` are the rows and columns of padding before the map; what lies after
    it follows from the output's size.
    """

    in_h: int
    in_w: int
    in_c: int
    out_h: int
    out_w: int
    out_c: int
    k_h: int
    k_w: int
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    pad_top: int = 0
    pad_left: int = 0
    groups: int = 1

    @property
    def group_in_c(self) -> int:
        """Input channels that one output channel reads."""
        return self.in_c // self.groups

    @property
    def depth_multiplier(self) -> int:
        """Output channels for each input channel of a depthwise convolution."""
        return self.out_c // self.in_c

    @property
    def pad_bottom(self) -> int:
        """Rows of padding that the last output row reads below the map (never negative)."""
        reach = (self.out_h - 1) * self.stride_h + (self.k_h - 1) * self.dilation_h + 1
        return max(0, reach - self.pad_top - self.in_h)

    @property
    def pad_right(self) -> int:
        """Columns of padding that the last output column reads behind the map."""
        reach = (self.out_w - 1) * self.stride_w + (self.k_w - 1) * self.dilation_w + 1
        return max(0, reach - self.pad_left - self.in_w)


@dataclass(frozen=True)
class ConvQuantization:
    """Requantization of CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED.

    `multipliers` and `shifts` hold one entry per output channel (a per-tensor scale repeated).
    Weights are symmetric unless `weights_zero_point` says otherwise (FULLY_CONNECTED may).
    `activation_min` and `activation_max` are stored values, the fused activation applied.
    """

    input_zero_point: int
    output_zero_point: int
    multipliers: tuple[int, ...]
    shifts: tuple[int, ...]
    activation_min: int = -128
    activation_max: int = 127
    weights_zero_point: int = 0


@dataclass(frozen=True)
class FullyConnectedShape:
    """FULLY_CONNECTED: `batches` rows of `in_c` values give `batches` rows of `out_c`."""

    in_c: int
    out_c: int
    batches: int = 1


@dataclass(frozen=True)
class PoolShape:
    """AVERAGE_POOL_2D and MAX_POOL_2D; channels stay apart. Padding as in `ConvShape`."""

    in_h: int
    in_w: int
    channels: int
    out_h: int
    out_w: int
    k_h: int
    k_w: int
    stride_h: int = 1
    stride_w: int = 1
    pad_top: int = 0
    pad_left: int = 0


@dataclass(frozen=True)
class AddQuantization:
    """ADD and SUB: both inputs shifted left by `left_shift` and rescaled, the sum rescaled.

    `left_shift` is 20 for int8 (TFLite's reference). Multipliers are below 1: shifts <= 0.
    """

    input1_zero_point: int
    input1_multiplier: int
    input1_shift: int
    input2_zero_point: int
    input2_multiplier: int
    input2_shift: int
    output_zero_point: int
    output_multiplier: int
    output_shift: int
    activation_min: int = -128
    activation_max: int = 127
    left_shift: int = 20


@dataclass(frozen=True)
class MulQuantization:
    """MUL: the product of both centred inputs is rescaled."""

    input1_zero_point: int
    input2_zero_point: int
    output_zero_point: int
    output_multiplier: int
    output_shift: int
    activation_min: int = -128
    activation_max: int = 127


@dataclass(frozen=True)
class MeanShape:
    """MEAN over height and width of a map in_h x in_w x channels."""

    in_h: int
    in_w: int
    channels: int


@dataclass(frozen=True)
class MeanQuantization:
    """MEAN over space: the centred sum is rescaled by (multiplier, shift).

    As TFLM's reference: the multiplier is that of input scale / output scale, folded with the
    number of elements by `mean_quantization` of `kernels/pool.py`.
    """

    input_zero_point: int
    output_zero_point: int
    multiplier: int
    shift: int


@dataclass(frozen=True)
class SoftmaxShape:
    """SOFTMAX over the last axis: `rows` rows of `depth` values."""

    rows: int
    depth: int


@dataclass(frozen=True)
class SoftmaxQuantization:
    """SOFTMAX int8 to int8: the scaled difference `x - max` and its lower bound.

    As TFLite's PreprocessSoftmaxScaling with 5 integer bits: see `softmax_quantization`.
    The output has scale 1/256 and zero point -128.
    """

    multiplier: int
    left_shift: int
    diff_min: int
