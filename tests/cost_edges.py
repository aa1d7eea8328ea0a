# SPDX-License-Identifier: Apache-2.0
"""Random layers for instruction costs: edges in float32, uint8 and int16, and layers with state."""

from __future__ import annotations

import numpy as np
from tflite_builder import ModelBuilder

Random = np.random.Generator
_STATE_SCALE, _CELL_SCALE = 2.0**-9, 2.0**-11


def _point(random: Random, dtype: str) -> int:
    limits = np.iinfo(dtype)
    return int(random.integers(limits.min, limits.max + 1)) if limits.bits == 8 else 0


def quantize(b: ModelBuilder, random: Random, source: str, target: str) -> int:
    """From float32, uint8 or int16 to int8, or from int8 to uint8 or int16."""
    shape, from_scale, scale = (1, int(random.integers(1, 2000))), 1.0, 1.0
    if source == "float32":
        x = b.input(shape, "float32")
    else:
        from_scale = 2.0**-8 if source == "int16" else 1.0
        x = b.input(shape, source, scale=from_scale, zero_point=_point(random, source))
    scale = 2.0**-8 if target == "int16" else float(random.uniform(0.5, 2.0))
    y = b.tensor(shape, target, scale=scale, zero_point=_point(random, target))
    return b.operator("QUANTIZE", [x], y)


def dequantize(b: ModelBuilder, random: Random, source: str) -> int:
    shape = (1, int(random.integers(1, 2000)))
    x = b.input(shape, source, scale=0.7, zero_point=_point(random, source))
    return b.operator("DEQUANTIZE", [x], b.tensor(shape, "float32"))


def svdf(b: ModelBuilder, random: Random, state: str) -> int:
    in_c, units, memory = (int(n) for n in random.integers((4, 2, 2), (80, 60, 12)))
    rank = int(random.integers(1, 3))
    filters = rank * units
    x = b.input((1, in_c), scale=1 / 16, zero_point=int(random.integers(-128, 128)))
    feature = b.constant(weights(random, (filters, in_c)), scale=1 / 64)
    time = b.constant(weights(random, (filters, memory)).astype(state), scale=1 / 64)
    bias = b.constant(random.integers(-2000, 2000, units, np.int32), scale=_STATE_SCALE / 64)
    shape = (1, filters * memory)
    kept = b.tensor(shape, state, scale=_STATE_SCALE, is_variable=True)
    y = b.tensor((1, units), scale=1 / 8)
    return b.operator(
        "SVDF", [x, feature, time, bias, kept], y, rank=rank, fused_activation_function="RELU"
    )


def lstm(b: ModelBuilder, random: Random) -> int:
    steps, in_c, units = (int(n) for n in random.integers((1, 2, 2), (8, 40, 40)))
    inputs = [-1] * 24
    inputs[0] = b.input((1, steps, in_c), scale=1 / 32, zero_point=int(random.integers(-128, 128)))
    for gate in range(4):
        for first, columns in ((1, in_c), (5, units)):
            inputs[first + gate] = b.constant(weights(random, (units, columns)), scale=2.0**-9)
        biases = random.integers(-2000, 2000, units, np.int32)
        inputs[12 + gate] = b.constant(biases, scale=2.0**-14)
    inputs[18] = b.tensor((1, units), scale=1 / 128, is_variable=True)
    inputs[19] = b.tensor((1, units), "int16", scale=_CELL_SCALE, is_variable=True)
    y = b.tensor((1, steps, units), scale=1 / 128)
    return b.operator(
        "UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, y, fused_activation_function="TANH"
    )  # fmt: skip


def weights(random: Random, shape: tuple[int, ...]) -> np.ndarray:
    return np.clip(random.normal(0, 40, shape), -127, 127).astype(np.int8)
