# SPDX-License-Identifier: Apache-2.0
"""SOFTMAX by firmware/kernels/softmax_s8.c, with its tables of exponentials.

An exponential is that of a multiple of sixteen differences times that of the rest, two short
tables; what TFLite's arithmetic gives beyond that product is a third one, of int16. They take 640
bytes at most, less than the code of CMSIS-NN's kernel that computes exponentials.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mcudeploy.operators.base import Constant, Implementation, OverlapRule, Target, as_constant
from mcudeploy.operators.fixed_point import exp_of_negative, multiply_by_quantized
from mcudeploy.operators.shapes import SoftmaxQuantization, SoftmaxShape
from mcudeploy.operators.work import softmax_work

_INTEGER_BITS = 5
_DIFFERENCES = 256
_FINE = 16
"""Differences from one coarse exponential to the next."""
_SUM_STEP = 1 << 12
"""A step of the sum (Q12.19), in exponentials (Q0.31): less than half of it counts for nothing."""
_DEEPEST = 256
"""Rows of more equal values would shift the reciprocal by more than 31 bits."""

_CALL = """
static const mcud_softmax_s8_t params = {
    .coarse = {{ constants.coarse }}, .fine = {{ constants.fine }},
    .beyond = {{ constants.beyond }}, .entries = {{ entries }},
    .rows = {{ s.rows }}, .depth = {{ s.depth }},
};

mcud_softmax_s8(&params, {{ inputs[0] }}, {{ outputs[0] }});
"""


def softmax_exponentials(q: SoftmaxQuantization) -> npt.NDArray[np.int64]:
    """exp of the differences 0, -1, ... in Q0.31, up to the last that changes anything."""
    differences = -np.arange(min(_DIFFERENCES, 1 - q.diff_min), dtype=np.int64)
    scaled = multiply_by_quantized(differences, q.multiplier, q.left_shift)
    exponentials = exp_of_negative(scaled, _INTEGER_BITS)
    return exponentials[: int(np.flatnonzero(exponentials >= _SUM_STEP // 2).max(initial=0)) + 1]


def factored(
    exponentials: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(coarse, fine, beyond): number d is 2 * (coarse[d / 16] * fine[d % 16] >> 32) + beyond[d]."""
    coarse, fine = exponentials[::_FINE], exponentials[:_FINE]
    places = np.arange(exponentials.size)
    return coarse, fine, exponentials - 2 * (coarse[places // _FINE] * fine[places % _FINE] >> 32)


def softmax_implementation(
    shape: SoftmaxShape, quantization: SoftmaxQuantization, target: Target
) -> Implementation | None:
    """SOFTMAX of `rows` rows; None on cores with Helium and for long rows."""
    if target.core.mve or shape.depth > _DEEPEST:
        return None
    table = softmax_exponentials(quantization)
    coarse, fine, beyond = factored(table)
    if np.abs(beyond).max() > np.iinfo(np.int16).max:
        return None
    return Implementation(
        kernel="mcud_softmax_s8",
        snippet=_CALL,
        values={"s": shape, "entries": table.size},
        constants=(
            Constant("coarse", as_constant(coarse, "int32"), "tables"),
            Constant("fine", as_constant(fine, "int32"), "tables"),
            Constant("beyond", as_constant(beyond, "int16"), "tables"),
        ),
        overlaps=(OverlapRule(input=0, max_distance=0),),
        sources=("kernels/softmax_s8.c",),
        headers=("softmax_s8.h",),
        work=softmax_work(shape, table.size / _DIFFERENCES),
        reason=f"exponentials of the {table.size} differences that count are tables",
    )
