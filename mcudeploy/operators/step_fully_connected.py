# SPDX-License-Identifier: Apache-2.0
"""FULLY_CONNECTED in the steps of a loop: weights and their scales once, per step a ratio.

The multiplier of a row is input scale * weights' scale / output scale as 31 bits and a shift. With
a scale for each row that is a table for each step, as large as the weights soon. Instead the
kernel multiplies the row's scale (24 bits of mantissa) by the step's ratio of input to output
scale (64 bits). Here the same is computed in integers and compared with TFLite's multiplier, row
by row; where one differs, the kernel is not offered.
"""

from __future__ import annotations

import math

import numpy as np

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.base import Constant, Implementation, OverlapRule, Target, as_constant
from mcudeploy.operators.fully_connected import (
    fully_connected_quantization,
    fully_connected_shape,
)
from mcudeploy.operators.shapes import FullyConnectedShape
from mcudeploy.operators.view import constant_at, quantization_of, tensor_at

_CALL = """
static const mcud_step_fully_connected_s8_t params = {
    .weights = {{ constants.weights }}, .sums = {{ constants.sums }},
    .scales = {{ constants.scales }},
    .biases = {{ constants.biases if constants.biases is defined else "NULL" }},
    .in_c = {{ s.in_c }}, .out_c = {{ s.out_c }}, .per_row = {{ per_row }},
    .ratio_high = (uint32_t)({{ ratio_high }}), .ratio_low = (uint32_t)({{ ratio_low }}),
    .exponent = {{ exponent }},
    .in_zero_point = {{ q.input_zero_point }}, .out_zero_point = {{ q.output_zero_point }},
    .activation_min = {{ q.activation_min }}, .activation_max = {{ q.activation_max }},
};

mcud_step_fully_connected_s8(&params, {{ inputs[0] }}, {{ outputs[0] }}, {{ s.batches }});
"""

_LARGEST_SUM = 1 << 30
"""Above, the rounding of the kernel's shift might not fit beside the sum."""

_WITH_DSP = (72.0, 15.8, 29.1, 12.9, 5.0)
_INSTRUCTIONS = {
    "cortex-m0plus": (238.1, 15.3, 104.0, 26.0, 9.9),
    "cortex-m3": (68.8, 22.5, 44.0, 11.0, 4.9),
    "cortex-m4f": _WITH_DSP,
    "cortex-m33": _WITH_DSP,
    "cortex-m55": (84.1, 28.5, 28.1, 17.6, 4.3),
    "cortex-m7": _WITH_DSP,
    "cortex-m7d": _WITH_DSP,
}
"""Per row, single row besides, four rows' four columns, four rows' column, single row's column.

Fitted to counts of 40 layers on each of the first three cores, none off by more than 1.2 %, and of
120 on Cortex-M55: 1.6 % off on average, up to 15 % with five rows or fewer.
"""


def step_fully_connected(graph: Graph, operator: Operator, target: Target) -> Implementation | None:
    """The kernel for one step; None where it cannot serve."""
    weights, source = tensor_at(graph, operator, 1), tensor_at(graph, operator, 0)
    assert weights is not None and source is not None
    scales = quantization_of(weights).scales
    if weights.data is None or any(quantization_of(weights).zero_points):
        return None
    shape = fully_connected_shape(graph, operator)
    known = fully_connected_quantization(graph, operator, shape.out_c)
    bits = np.array(scales, np.float32).view(np.uint32)
    output = quantization_of(graph.tensors[operator.outputs[0]])
    mantissa, exponent = math.frexp(quantization_of(source).scale / output.scale)
    ratio = min(round(mantissa * 2**64), 2**64 - 1)
    made = [multiplier_of(int(one), ratio, exponent) for one in bits.tolist()]
    wanted = list(zip(known.multipliers, known.shifts, strict=True))[: len(made)]
    bias = constant_at(graph, operator, 2)
    bound = 255 * 128 * shape.in_c + (0 if bias is None else int(np.abs(bias).max(initial=0)))
    if made != wanted or any(shift < -30 for _, shift in wanted) or bound >= _LARGEST_SUM:
        return None
    constants = [
        Constant("weights", as_constant(weights.data, "int8"), "weights"),
        Constant("sums", as_constant(weights.data.astype(np.int32).sum(axis=1), "int32"), "tables"),
        Constant("scales", as_constant(bits, "uint32"), "tables"),
    ]
    if bias is not None:
        constants.append(Constant("biases", as_constant(bias, "int32"), "biases"))
    return Implementation(
        kernel="mcud_step_fully_connected_s8",
        snippet=_CALL,
        values={
            "s": shape,
            "q": known,
            "per_row": int(len(scales) > 1),
            "ratio_high": _signed(ratio >> 32),
            "ratio_low": _signed(ratio & 0xFFFFFFFF),
            "exponent": exponent,
        },
        constants=tuple(constants),
        overlaps=(OverlapRule(input=0, max_distance=-shape.batches * shape.out_c),),
        sources=("kernels/step_fully_connected_s8.c",),
        headers=("step_fully_connected_s8.h",),
        instructions=_instructions(shape, target),
        reason="weights and their scales stand once for all steps",
    )


def multiplier_of(scale_bits: int, ratio: int, exponent: int) -> tuple[int, int]:
    """(multiplier, shift) of a row as the kernel computes them."""
    mantissa = (scale_bits & 0x7FFFFF) | 0x800000
    product = mantissa * (ratio >> 32) + (mantissa * (ratio & 0xFFFFFFFF) >> 32)
    high = product >> 55
    rounded = (product + (1 << (23 + high))) >> (24 + high)
    shift = exponent + (scale_bits >> 23) - 127 + high
    return (1 << 30, shift + 1) if rounded == 1 << 31 else (rounded, shift)


def _signed(word: int) -> int:
    return word - (1 << 32) if word >= 1 << 31 else word


def _instructions(s: FullyConnectedShape, target: Target) -> float | None:
    costs = _INSTRUCTIONS.get(target.core.name)
    if costs is None:
        return None
    row, single, sixteen, four, one = costs
    fours, rest = divmod(s.out_c, 4)
    words, bytes_ = divmod(s.in_c, 4)
    return s.batches * (
        row * s.out_c + fours * (sixteen * words + four * bytes_) + rest * (single + one * s.in_c)
    )
