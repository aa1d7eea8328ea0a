# SPDX-License-Identifier: Apache-2.0
"""The constants of TFLite's integer arithmetic besides multipliers: activation ranges, paddings.

They are prepared exactly as TFLite's kernels prepare them, so that the emitted integers are those
the golden reference computes with.
"""

from __future__ import annotations

import math

import numpy as np

from mcudeploy.graph.ir import Quantization

INT8_MIN, INT8_MAX = -128, 127


def quantized_value(real: float, quantization: Quantization) -> int:
    """The stored integer of a real value, not clamped (TFLite rounds half away from zero)."""
    ratio = float_32(real / quantization.scale)
    return quantization.zero_point + int(math.floor(abs(ratio) + 0.5) * math.copysign(1, ratio))


def float_32(value: float) -> float:
    """The nearest single-precision value, where TFLite computes in float; infinite beyond it."""
    with np.errstate(over="ignore"):
        return float(np.float32(value))


def activation_range(activation: str, output: Quantization) -> tuple[int, int]:
    """Least and greatest int8 output under a fused activation (TFLite's names)."""
    low, high = INT8_MIN, INT8_MAX
    if activation in ("RELU", "RELU6", "RELU_N1_TO_1"):
        floor = -1.0 if activation == "RELU_N1_TO_1" else 0.0
        low = max(low, quantized_value(floor, output))
    if activation in ("RELU6", "RELU_N1_TO_1"):
        ceiling = 6.0 if activation == "RELU6" else 1.0
        high = min(high, quantized_value(ceiling, output))
    return low, high


FUSED_ACTIVATIONS = ("NONE", "RELU", "RELU6", "RELU_N1_TO_1")


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """(before, after) of TFLite's SAME padding along one axis; the odd one goes after."""
    output = -(-size // stride)
    total = max(0, (output - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return total // 2, total - total // 2
