# SPDX-License-Identifier: Apache-2.0
"""The fixed-point arithmetic of TensorFlow Lite's reference kernels, on whole arrays at once.

Values are 32-bit (16-bit where a name says so) but are held as int64, so that products do not
overflow. A fixed-point number with k integer bits is raw / 2^(31 - k). The exponential, the
hyperbolic tangent and the logistic function are those of gemmlowp's fixedpoint.h, which TFLite's
integer kernels call; they are rebuilt here step by step because every rounding counts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
INT16_MIN, INT16_MAX = -(1 << 15), (1 << 15) - 1

_EXP_MULTIPLIERS = {
    -2: 1672461947,
    -1: 1302514674,
    0: 790015084,
    1: 290630308,
    2: 39332535,
    3: 720401,
    4: 242,
}
"""exp(-2^k) with 0 integer bits."""
_EXP_MINUS_EIGHTH = 1895147668
_THIRD = 715827883
_48_OVER_17 = 1515870810
_MINUS_32_OVER_17 = -1010580540
_ONE_2 = 1 << 29
"""One with 2 integer bits."""


def _divide_towards_zero(value: Int64Array, bits: int) -> Int64Array:
    """value / 2^bits as C divides."""
    return np.where(value >= 0, value >> bits, -(-value >> bits))


def doubling_high_multiply(a: Int64Array, b: Int64Array | int) -> Int64Array:
    """(2 * a * b) / 2^32, rounded half away from zero, saturated."""
    product = a * np.int64(b)
    nudge = np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    return np.minimum(_divide_towards_zero(product + nudge, 31), INT32_MAX)


def doubling_high_multiply_16(a: Int64Array, b: Int64Array | int) -> Int64Array:
    """The same on 16 bits."""
    product = a * np.int64(b)
    nudge = np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.minimum(_divide_towards_zero(product + nudge, 15), INT16_MAX)


def doubling_high_multiply_16_truncated(a: Int64Array, b: Int64Array | int) -> Int64Array:
    """The same on 16 bits without rounding."""
    return np.minimum(_divide_towards_zero(a * np.int64(b), 15), INT16_MAX)


def divide_by_power_of_two(value: Int64Array, exponent: int) -> Int64Array:
    """value / 2^exponent, rounded half away from zero."""
    if exponent == 0:
        return value
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (value < 0)
    return (value >> exponent) + ((value & mask) > threshold)


def divide_by_power_of_two_16(value: Int64Array, exponent: int) -> Int64Array:
    """The same on 16 bits, where an exponent of 16 or more makes gemmlowp's mask -1."""
    if exponent < 16:
        return divide_by_power_of_two(value, exponent)
    return (value >> exponent) + (value > -1 + (value < 0))


def multiply_by_quantized(value: Int64Array, multiplier: int, shift: int) -> Int64Array:
    """value * multiplier * 2^(shift - 31) with TFLite's two roundings."""
    left, right = max(shift, 0), max(-shift, 0)
    shifted = wrap_32(value << left)
    return divide_by_power_of_two(doubling_high_multiply(shifted, multiplier), right)


def wrap_32(value: Int64Array) -> Int64Array:
    """What a 32-bit register holds."""
    return ((value - INT32_MIN) & 0xFFFFFFFF) + INT32_MIN


def _shift_left_saturated(value: Int64Array, bits: int) -> Int64Array:
    clipped: Int64Array = np.clip(value << bits, INT32_MIN, INT32_MAX)
    return clipped


def _exp_between_minus_quarter_and_zero(a: Int64Array) -> Int64Array:
    """exp(a) for a in [-1/4, 0), both with 0 integer bits: a Taylor series around -1/8."""
    x = a + (1 << 28)
    x2 = doubling_high_multiply(x, x)
    x3 = doubling_high_multiply(x2, x)
    x4 = doubling_high_multiply(x2, x2)
    sixth = doubling_high_multiply(divide_by_power_of_two(x4, 2) + x3, _THIRD)
    tail = divide_by_power_of_two(sixth + x2, 1)
    factor = np.full_like(a, _EXP_MINUS_EIGHTH)
    return factor + doubling_high_multiply(factor, x + tail)


def exp_of_negative(a: Int64Array, integer_bits: int) -> Int64Array:
    """exp(a) with 0 integer bits for a <= 0 with up to 5 integer bits."""
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    modulo = (a & (quarter - 1)) - quarter
    result = _exp_between_minus_quarter_and_zero(_shift_left_saturated(modulo, integer_bits))
    rest = modulo - a
    for exponent, multiplier in _EXP_MULTIPLIERS.items():
        if exponent >= integer_bits:
            continue
        has_bit = (rest & (1 << (fraction_bits + exponent))) != 0
        result = np.where(has_bit, doubling_high_multiply(result, multiplier), result)
    return np.where(a == 0, INT32_MAX, result)


def _reciprocal_of_half_sum(a: Int64Array) -> Int64Array:
    """2 / (1 + a) with 2 integer bits for a in [0, 1] with 0: three Newton-Raphson steps."""
    half = (a + INT32_MAX + 1) // 2
    x = _48_OVER_17 + doubling_high_multiply(half, _MINUS_32_OVER_17)
    for _ in range(3):
        error = _ONE_2 - doubling_high_multiply(half, x)
        x = x + _shift_left_saturated(doubling_high_multiply(x, error), 2)
    return x


def tanh(a: Int64Array, integer_bits: int) -> Int64Array:
    """tanh(a) with 0 integer bits."""
    exponential = exp_of_negative(-np.abs(a), integer_bits + 1)
    size = _shift_left_saturated(_reciprocal_of_half_sum(exponential) - _ONE_2, 2)
    return np.where(a == 0, 0, np.where(a < 0, -size, size))


def logistic(a: Int64Array, integer_bits: int) -> Int64Array:
    """1 / (1 + exp(-a)) with 0 integer bits."""
    exponential = exp_of_negative(-np.abs(a), integer_bits)
    positive = _shift_left_saturated(_reciprocal_of_half_sum(exponential), 1)
    return np.where(a == 0, 1 << 30, np.where(a > 0, positive, INT32_MAX - positive))
