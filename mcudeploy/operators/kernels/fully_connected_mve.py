# SPDX-License-Identifier: Apache-2.0
"""FULLY_CONNECTED by firmware/kernels/fully_connected_mve_s8.c, on cores with Helium."""

from __future__ import annotations

import numpy as np

from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OverlapRule,
    Target,
    as_constant,
    zeros_of_size,
)
from mcudeploy.operators.helium_work import helium_dense_work
from mcudeploy.operators.kernels.fully_connected import (
    fully_connected_max_distance,
    fully_connected_requantizations,
)
from mcudeploy.operators.shapes import (
    ConvQuantization,
    FullyConnectedShape,
    Int8Array,
    Int32Array,
)

_CALL = """
static const mcud_fully_connected_mve_s8_t params = {
    .weights = {{ constants.weights }}, .starts = {{ constants.starts }},
    .multipliers = {{ constants.multipliers }}, .shifts = {{ constants.shifts }},
    .in_c = {{ s.in_c }}, .out_c = {{ s.out_c }}, .per_channel = {{ per_channel }},
    .out_zero_point = {{ q.output_zero_point }},
    .activation_min = {{ q.activation_min }}, .activation_max = {{ q.activation_max }},
};

mcud_fully_connected_mve_s8(&params, {{ inputs[0] }}, {{ outputs[0] }}, {{ s.batches }});
"""


def helium_fully_connected(
    shape: FullyConnectedShape,
    quantization: ConvQuantization,
    weights: Int8Array,
    bias: Int32Array | None,
    target: Target,
) -> Implementation | None:
    """FULLY_CONNECTED, weights (out_c, in_c); None when this kernel cannot serve the layer."""
    if quantization.weights_zero_point:
        return None
    constants = _constants(shape, quantization, weights, bias, target)
    if constants is None:
        return None
    return Implementation(
        kernel="mcud_fully_connected_mve_s8",
        snippet=_CALL,
        values={
            "s": shape,
            "q": quantization,
            "per_channel": int(constants[-1].data.size > 1),
        },
        constants=constants,
        # As in the kernel for DSP instructions: four channels read a row, then are written.
        overlaps=(OverlapRule(input=0, max_distance=fully_connected_max_distance(shape)),),
        sources=("kernels/fully_connected_mve_s8.c",),
        headers=("fully_connected_mve_s8.h",),
        work=helium_dense_work(shape),
        reason="four channels share each block of sixteen inputs",
    )


def _constants(
    shape: FullyConnectedShape,
    quantization: ConvQuantization,
    weights: Int8Array,
    bias: Int32Array | None,
    target: Target,
) -> tuple[Constant, ...] | None:
    """Weights, starts of the sums, and one requantization or one a channel."""
    if target.sizes_only:
        per_channel = len(set(zip(quantization.multipliers, quantization.shifts, strict=True))) > 1
        kept = zeros_of_size((shape.out_c, shape.in_c), "int8")
        starts = zeros_of_size(shape.out_c, "int32")
        multipliers = shifts = zeros_of_size(shape.out_c if per_channel else 1, "int32")
    else:
        found = fully_connected_requantizations(shape, quantization, weights.astype(np.int64), bias)
        if found is None:
            return None
        kept, starts, pairs = found[0], np.asarray(found[1], np.int64), found[2]
        table = np.asarray(pairs if len(set(pairs)) > 1 else pairs[:1], np.int64)
        multipliers, shifts = (table[:, 0] + (1 << 32)) // 2, -table[:, 1]
    return (
        Constant("weights", as_constant(kept, "int8"), "weights"),
        Constant("starts", as_constant(starts, "int32"), "biases"),
        Constant("multipliers", as_constant(multipliers, "int32"), "tables"),
        Constant("shifts", as_constant(shifts, "int32"), "tables"),
    )
