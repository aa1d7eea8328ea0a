# SPDX-License-Identifier: Apache-2.0
"""ADD, SUB and MUL by firmware/kernels/add_s8.c, add_exact_s8.c and mul_s8.c.

Constants are proven over all inputs. About one ADD in a hundred has no factors for add_s8.c: TFLite
rounds ties away from zero, on both sides of it. Then add_exact_s8.c goes TFLite's own way.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mcudeploy.operators.base import Implementation, OverlapRule, Target
from mcudeploy.operators.kernels.requantize import ChannelSum, find_exact, find_fast
from mcudeploy.operators.shapes import AddQuantization, MulQuantization
from mcudeploy.operators.work import elements_work, product_of_elements_work

_ADD_SHIFT = 21
_ADD_FRACTION = 8
"""A factor k is stored as k * 2^(21 + 8); it meets the input times 256, of which 16 bits go."""
_MUL_SHIFT = 5
_MOST_EXPONENT, _MOST_OUT_EXPONENT = 30, 20
"""Of add_exact_s8.c: above, a rounding constant does not fit beside the sum."""

_OVER_EITHER = tuple(OverlapRule(input=i, max_distance=0) for i in (0, 1))

_ADD_CALL = """
static const mcud_add_s8_t params = {
    .factor1 = {{ f.factor1 }}, .factor2 = {{ f.factor2 }}, .addend = {{ f.addend }},
    .activation_min = {{ q.activation_min }}, .activation_max = {{ q.activation_max }},
    .clamp = {{ clamp }},
};

mcud_add_s8(&params, {{ inputs[0] }}, {{ inputs[1] }}, {{ outputs[0] }}, {{ count }});
"""

_ADD_EXACT_CALL = """
static const mcud_add_exact_s8_t params = {
    .doubled1 = {{ first[0] }}, .doubled2 = {{ second[0] }}, .doubled_out = {{ total[0] }},
    .zero_point1 = {{ q.input1_zero_point }}, .zero_point2 = {{ q.input2_zero_point }},
    .zero_point_out = {{ q.output_zero_point }},
    .exponent1 = {{ first[1] }}, .exponent2 = {{ second[1] }}, .exponent_out = {{ total[1] }},
    .activation_min = {{ q.activation_min }}, .activation_max = {{ q.activation_max }},
    .clamp = {{ clamp }},
};

mcud_add_exact_s8(&params, {{ inputs[0] }}, {{ inputs[1] }}, {{ outputs[0] }}, {{ count }});
"""

_MUL_CALL = """
static const mcud_mul_s8_t params = {
    .start = {{ start }}, .multiplier = {{ multiplier }}, .addend = {{ addend }},
    .fast = {{ fast }},
    .zero_point1 = {{ q.input1_zero_point }}, .zero_point2 = {{ q.input2_zero_point }},
    .out_zero_point = {{ q.output_zero_point }},
    .activation_min = {{ q.activation_min }}, .activation_max = {{ q.activation_max }},
    .clamp = {{ clamp }},
};

mcud_mul_s8(&params, {{ inputs[0] }}, {{ inputs[1] }}, {{ outputs[0] }}, {{ count }},
    {{ repeats }});
"""


@dataclass(frozen=True)
class AddFactors:
    factor1: int
    factor2: int
    addend: int


def requantize_array(
    values: npt.NDArray[np.int64], multiplier: int, shift: int
) -> npt.NDArray[np.int64]:
    """TFLite's MultiplyByQuantizedMultiplier for shift <= 0 on an array."""
    high = (values * multiplier + (1 << 30)) >> 31
    exponent = -shift
    if exponent == 0:
        return high
    return (high + (1 << (exponent - 1)) - (high < 0)) >> exponent


def add_table(q: AddQuantization, *, subtract: bool = False) -> npt.NDArray[np.int64]:
    """ADD (or SUB) as TFLite's reference computes it: table[in1 + 128, in2 + 128]."""
    values = np.arange(-128, 128, dtype=np.int64)
    first = (values - q.input1_zero_point) << q.left_shift
    second = (values - q.input2_zero_point) << q.left_shift
    scaled1 = requantize_array(first, q.input1_multiplier, q.input1_shift)
    scaled2 = requantize_array(second, q.input2_multiplier, q.input2_shift)
    raw = scaled1[:, None] + (-scaled2 if subtract else scaled2)[None, :]
    total = requantize_array(raw, q.output_multiplier, q.output_shift) + q.output_zero_point
    return np.clip(total, q.activation_min, q.activation_max)


@lru_cache(maxsize=1024)
def find_add_factors(q: AddQuantization, *, subtract: bool = False) -> AddFactors | None:
    """Factors with which mcud_add_s8 gives add_table for all 65,536 pairs, or None.

    Remembered: an unrolled recurrent layer asks for the same sum at every time step.
    """
    if max(q.input1_shift, q.input2_shift, q.output_shift) > 0:
        return None
    table = add_table(q, subtract=subtract)
    common = q.output_multiplier * 2.0 ** (q.output_shift - 31 + q.left_shift)
    real1 = q.input1_multiplier * 2.0 ** (q.input1_shift - 31) * common
    real2 = q.input2_multiplier * 2.0 ** (q.input2_shift - 31) * common
    if real1 + real2 > 3.5:
        return None  # 256 * 3.5 * 2^21 is all that 31 bits hold
    nearest1 = round(real1 * 2 ** (_ADD_SHIFT + _ADD_FRACTION))
    nearest2 = round(real2 * 2 ** (_ADD_SHIFT + _ADD_FRACTION)) * (-1 if subtract else 1)
    for reach in range(4):
        for change1 in range(-reach, reach + 1):
            for change2 in range(-reach, reach + 1):
                if max(abs(change1), abs(change2)) == reach:
                    step = 32  # a fraction of the 2^-21 grid times 128
                    found = _addend(table, nearest1 + step * change1, nearest2 + step * change2, q)
                    if found is not None:
                        return found
    return None


def _addend(
    table: npt.NDArray[np.int64], factor1: int, factor2: int, q: AddQuantization
) -> AddFactors | None:
    if max(abs(factor1), abs(factor2)) >= 1 << 31:
        return None
    values = np.arange(-128, 128, dtype=np.int64) * 256
    total = ((factor1 * values) >> 16)[:, None] + ((factor2 * values) >> 16)[None, :]
    low = ((table << _ADD_SHIFT) - total)[table > q.activation_min]
    high = (((table + 1) << _ADD_SHIFT) - total)[table < q.activation_max]
    least = int(low.max()) if low.size else int(high.min()) - 1 if high.size else 0
    end = int(high.min()) if high.size else least + 1
    bound = max(abs(int(total.min())), abs(int(total.max()))) + abs(least)
    return AddFactors(factor1, factor2, least) if least < end and bound < 1 << 31 else None


def add_implementation(
    count: int, quantization: AddQuantization, target: Target, *, subtract: bool = False
) -> Implementation | None:
    """ADD (SUB) of two maps of `count` elements; None when no factors give TFLite's table."""
    factors = None if target.core.mve else find_add_factors(quantization, subtract=subtract)
    if factors is None:
        return None
    return Implementation(
        kernel="mcud_add_s8",
        snippet=_ADD_CALL,
        values={
            "f": factors,
            "q": quantization,
            "count": count,
            "clamp": _clamps(quantization),
        },
        overlaps=_OVER_EITHER,
        sources=("kernels/add_s8.c",),
        headers=("add_s8.h",),
        work=elements_work(count, clamped=_clamps(quantization)),
        reason="two multiplies and one saturation, proven over all pairs of inputs",
    )


def add_exact_implementation(
    count: int, quantization: AddQuantization, target: Target
) -> Implementation | None:
    """ADD of two maps of `count` elements in TFLite's steps; None for scales too far apart.

    With Helium CMSIS-NN's takes half as many instructions: None, too.
    """
    q = quantization
    first = _doubled(q.input1_multiplier, q.input1_shift)
    second = _doubled(q.input2_multiplier, q.input2_shift)
    total = _doubled(q.output_multiplier, q.output_shift)
    apart = max(first[1], second[1]) > _MOST_EXPONENT or total[1] > _MOST_OUT_EXPONENT
    if target.core.mve or apart or min(first[1], second[1], total[1]) < 1:
        return None
    return Implementation(
        kernel="mcud_add_exact_s8",
        snippet=_ADD_EXACT_CALL,
        values={
            "first": first,
            "second": second,
            "total": total,
            "q": q,
            "count": count,
            "clamp": _clamps(q),
        },
        overlaps=_OVER_EITHER,
        sources=("kernels/add_exact_s8.c",),
        headers=("add_exact_s8.h",),
        work=elements_work(count, clamped=_clamps(q)),
        reason="TFLite's steps, rounded twice by one addition each",
    )


def _doubled(multiplier: int, shift: int) -> tuple[int, int]:
    """2m - 2^32 and e of a multiplier m * 2^(shift - 31) = m * 2^(-e - 31).

    A half is 2^30 without a shift, which the kernel's rounding would shift by none: as 2^31 with
    e = 1 it is exact.
    """
    if (multiplier, shift) == (1 << 30, 0):
        return 0, 1
    return 2 * multiplier - (1 << 32), -shift


def mul_implementation(
    count: int, quantization: MulQuantization, target: Target, *, repeats: int = 1
) -> Implementation | None:
    """MUL of `repeats` rows of `count` elements by one row; None when multipliers do not suit."""
    q = quantization
    range1 = [v - q.input1_zero_point for v in (-128, 127)]
    range2 = [v - q.input2_zero_point for v in (-128, 127)]
    products = [a * b for a in range1 for b in range2]
    known = ChannelSum(
        least=min(products),
        greatest=max(products),
        multiplier=q.output_multiplier,
        shift=q.output_shift,
        zero_point=q.output_zero_point,
        low=q.activation_min,
        high=q.activation_max,
    )
    fast, exact = find_fast(known, shift=_MUL_SHIFT), find_exact(known)
    if target.core.mve or (fast is None and exact is None):
        return None
    values = {"start": 0, "fast": int(fast is not None)}
    if fast is not None:
        values.update(start=fast.offset, multiplier=fast.multiplier, addend=fast.addend)
    elif exact is not None:
        values.update(multiplier=exact.doubled, addend=exact.exponent)
    return Implementation(
        kernel="mcud_mul_s8",
        snippet=_MUL_CALL,
        values={
            **values,
            "q": q,
            "count": count,
            "repeats": repeats,
            "clamp": _clamps(q),
        },
        overlaps=(OverlapRule(input=0, max_distance=0),)
        + ((OverlapRule(input=1, max_distance=0),) if repeats == 1 else ()),
        sources=("kernels/mul_s8.c",),
        headers=("mul_s8.h",),
        work=product_of_elements_work(
            count,
            repeats,
            exact=fast is None,
            clamped=_clamps(q),
        ),
        reason="centred and extended two at a time",
    )


def _clamps(q: AddQuantization | MulQuantization) -> int:
    return int(q.activation_min > -128 or q.activation_max < 127)
