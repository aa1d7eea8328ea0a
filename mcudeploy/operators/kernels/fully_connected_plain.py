# SPDX-License-Identifier: Apache-2.0
"""FULLY_CONNECTED by firmware/kernels/fully_connected_plain_s8.c: order of its weights, work."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mcudeploy.operators.kernels.conv_geometry import is_clamped
from mcudeploy.operators.shapes import ConvQuantization, FullyConnectedShape
from mcudeploy.operators.work import Work

_CHANNELS = 4

PLAIN_CALL = """
static const mcud_fully_connected_plain_s8_t params = {
    .weights = {{ constants.weights }}, .starts = {{ constants.starts }},
    .requantization = {{ constants.requantization }},
    .in_c = {{ s.in_c }}, .out_c = {{ s.out_c }}, .per_channel = {{ per_channel }},
    .out_zero_point = {{ q.output_zero_point }},
    .activation_min = {{ q.activation_min }}, .activation_max = {{ q.activation_max }},
    .clamp = {{ clamp }},
};

mcud_fully_connected_plain_s8(&params, {{ inputs[0] }}, {{ outputs[0] }}, {{ s.batches }});
"""


def interleave_channels(weights: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
    """The bytes of (out_c, in_c) in the order that the kernel reads."""
    whole = len(weights) - len(weights) % _CHANNELS
    fours = weights[:whole].reshape(-1, _CHANNELS, weights.shape[1]).transpose(0, 2, 1)
    return np.concatenate((fours.ravel(), weights[whole:].ravel())).astype(np.int8)


def plain_fully_connected_work(s: FullyConnectedShape, quantization: ConvQuantization) -> Work:
    """mcud_fully_connected_plain_s8."""
    fours, rest = divmod(s.out_c, _CHANNELS)
    inputs, left = divmod(s.in_c, 4)
    return {
        "call": 1,
        "row": s.batches,
        "output": s.batches * s.out_c,
        "four": s.batches * fours,
        "four, inputs": s.batches * fours * inputs,
        "four, input": s.batches * fours * left,
        "last": s.batches * (rest > 0),
        "one": s.batches * rest,
        "one, inputs": s.batches * rest * inputs,
        "one, input": s.batches * rest * left,
        "clamped": s.batches * s.out_c * is_clamped(quantization),
    }
