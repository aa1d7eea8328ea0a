# SPDX-License-Identifier: Apache-2.0
"""Every int8 to int8 function as a table of 256 bytes, equal to the reference kernel's results.

`table_of` computes what the golden reference computes for each of the 256 inputs: TFLite Micro's
reference kernel where it has one, LiteRT's otherwise. The arithmetic follows those kernels
step by step, roundings included; `tests/test_one_to_one.py` proves it against them.
Outside a function's domain (RSQRT and LOG below 0) the reference refuses to run; the table holds
what the limit would saturate to.

A table is indexed by the input's bits read as unsigned: entry 0 is for 0, entry 128 for -128.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mcudeploy.graph.ir import Quantization
from mcudeploy.operators import fixed_point as fp
from mcudeploy.operators.shapes import Int8Array, quantize_multiplier

Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
Attributes = Mapping[str, Any]

INPUTS: Int64Array = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64)
"""The 256 inputs in the order of a table."""

_INTEGER_BITS = 4
"""Of the fixed-point argument of tanh and logistic."""

_Integer = Callable[[Quantization, Quantization, Attributes], Int64Array]
_Float = Callable[[Float32Array, Attributes], Float32Array]


def table_of(
    kind: str, source: Quantization, target: Quantization, attributes: Attributes
) -> Int8Array:
    """The table of an int8 operator of `kind` between tensors quantized so."""
    if kind in _INTEGER:
        values = _INTEGER[kind](source, target, attributes)
    else:
        real = dequantized(source)
        with np.errstate(all="ignore"):
            values = quantized(FLOAT[kind](real, attributes), target)
    return np.clip(values, -128, 127).astype(np.int8)


def table_of_island(
    functions: Sequence[tuple[str, Attributes]], source: Quantization, target: Quantization
) -> Int8Array:
    """The table of DEQUANTIZE, float functions (kinds of `FLOAT`, in order), QUANTIZE."""
    real = dequantized(source)
    with np.errstate(all="ignore"):
        for kind, attributes in functions:
            real = FLOAT[kind](real, attributes)
        values = quantized_by_division(real, target)
    return np.clip(values, -128, 127).astype(np.int8)


def kinds() -> tuple[str, ...]:
    """The kinds that `table_of` knows."""
    return tuple(dict.fromkeys((*_INTEGER, *_TABULATED)))


def compose(first: Int8Array, second: Int8Array) -> Int8Array:
    """The table of `second` after `first`."""
    composed: Int8Array = second[first.view(np.uint8)]
    return composed


def dequantized(source: Quantization) -> Float32Array:
    """The real value of each of the 256 inputs, as a float kernel sees it."""
    scale = np.float32(source.scale)
    return scale * (INPUTS - source.zero_point).astype(np.float32)


def quantized(real: Float32Array, target: Quantization) -> Int64Array:
    """Stored values of reals by multiplication with 1 / scale, as TFLite fills its tables."""
    inverse = np.float32(1.0) / np.float32(target.scale)
    scaled = (real * inverse).astype(np.float64)
    return _round(np.nan_to_num(scaled, nan=0.0)) + target.zero_point


def quantized_by_division(real: Float32Array, target: Quantization) -> Int64Array:
    """Stored values of reals by division by the scale, as the QUANTIZE kernel computes them.

    What int32 cannot hold becomes its least value there, as x86 converts it, and wraps when the
    zero point is added.
    """
    scaled = (real / np.float32(target.scale)).astype(np.float64)
    holds = np.isfinite(scaled) & (np.abs(scaled) < fp.INT32_MAX)
    rounded = np.where(holds, _round(np.where(holds, scaled, 0.0)), fp.INT32_MIN)
    return fp.wrap_32(rounded + target.zero_point)


def _quantized_towards_zero(real: Float32Array, target: Quantization) -> Int64Array:
    """Stored values of non-negative reals, as LiteRT's SQRT casts them."""
    scaled = (real / np.float32(target.scale)).astype(np.float64)
    bounded = np.clip(np.nan_to_num(scaled, nan=0.0), 0, 2.0**40)
    return bounded.astype(np.int64) + target.zero_point


def _round(real: npt.NDArray[np.float64]) -> Int64Array:
    """Half away from zero; saturated far beyond int8."""
    bounded = np.clip(real, -(2.0**40), 2.0**40)
    return (np.sign(bounded) * np.floor(np.abs(bounded) + 0.5)).astype(np.int64)


def _float_ratio(source: Quantization, target: Quantization) -> float:
    """source scale / target scale, divided in single precision."""
    return float(np.float32(source.scale) / np.float32(target.scale))


def _rescaled(values: Int64Array, real: float) -> Int64Array:
    return fp.multiply_by_quantized(values, *quantize_multiplier(real))


# --- integer kernels ---------------------------------------------------------------------------


def _sigmoidal(
    source: Quantization, function: Callable[[Int64Array, int], Int64Array], bits: int, point: int
) -> Int64Array:
    """tanh or logistic with 2^`bits` steps to 1; inputs beyond the argument's range saturate."""
    real = float(np.float32(source.scale)) * (1 << (31 - _INTEGER_BITS))
    multiplier, shift = quantize_multiplier(real)
    span = ((1 << _INTEGER_BITS) - 1) * (1 << (31 - _INTEGER_BITS))
    radius = math.floor(span / 2.0 ** math.frexp(real)[1])
    centred = INPUTS - source.zero_point
    argument = fp.multiply_by_quantized(np.clip(centred, -radius, radius), multiplier, shift)
    inside = fp.divide_by_power_of_two(function(argument, _INTEGER_BITS), 31 - bits) + point
    return np.where(centred <= -radius, -128, np.where(centred >= radius, 127, inside))


def _tanh(source: Quantization, target: Quantization, attributes: Attributes) -> Int64Array:
    return _sigmoidal(source, fp.tanh, 7, 0)


def _logistic(source: Quantization, target: Quantization, attributes: Attributes) -> Int64Array:
    return _sigmoidal(source, fp.logistic, 8, -128)


def _narrow_multiplier(real: float) -> tuple[int, int]:
    """(16-bit multiplier, exponent) of a real multiplier."""
    multiplier, exponent = quantize_multiplier(real)
    if multiplier >= fp.INT32_MAX - (1 << 15):
        return fp.INT16_MAX, exponent
    return (multiplier + (1 << 15)) >> 16, exponent


def _hard_swish(source: Quantization, target: Quantization, attributes: Attributes) -> Int64Array:
    fine_scale = np.float32(1.0 / 128.0) * np.float32(source.scale)
    output, output_exponent = _narrow_multiplier(float(fine_scale / np.float32(target.scale)))
    gate_scale = np.float32(3.0) / np.float32(32768.0)
    gate_multiplier, exponent = _narrow_multiplier(float(fine_scale / gate_scale))
    fine = (INPUTS - source.zero_point) << 7
    value = fp.doubling_high_multiply_16(fine, output)
    gate = fine
    if exponent > 0:
        gate = _saturated_16(gate << (exponent - 1))
    gate = fp.doubling_high_multiply_16(gate, gate_multiplier)
    if exponent > 0:
        gate = _saturated_16(gate << 1)
    else:
        gate = fp.divide_by_power_of_two_16(gate, -exponent)
    gate = (gate + (1 << 15)) >> 1
    product = fp.doubling_high_multiply_16_truncated(gate, value)
    return fp.divide_by_power_of_two_16(product, -output_exponent) + target.zero_point


def _saturated_16(value: Int64Array) -> Int64Array:
    return np.clip(value, fp.INT16_MIN, fp.INT16_MAX)


def _requantize(source: Quantization, target: Quantization, attributes: Attributes) -> Int64Array:
    ratio = float(np.float32(source.scale)) / float(np.float32(target.scale))
    return _rescaled(INPUTS - source.zero_point, ratio) + target.zero_point


def _stored(real: float, target: Quantization) -> int:
    """A bound of an activation as stored."""
    ratio = float(np.float32(real) / np.float32(target.scale))
    return target.zero_point + int(math.copysign(math.floor(abs(ratio) + 0.5), ratio))


def _clamped(low: float, high: float) -> _Integer:
    """RELU and its kin: rescale, then clamp."""

    def compute(source: Quantization, target: Quantization, attributes: Attributes) -> Int64Array:
        values = _rescaled(INPUTS - source.zero_point, _float_ratio(source, target))
        top = 127 if math.isinf(high) else _stored(high, target)
        return np.clip(values + target.zero_point, _stored(low, target), top)

    return compute


def _leaky_relu(source: Quantization, target: Quantization, attributes: Attributes) -> Int64Array:
    centred = INPUTS - source.zero_point
    slope = source.scale * attributes["alpha"] / target.scale
    negative = _signed_rescaled(centred, slope)
    positive = _rescaled(centred, _float_ratio(source, target))
    return np.where(centred >= 0, positive, negative) + target.zero_point


def _signed_rescaled(values: Int64Array, real: float) -> Int64Array:
    """With a negative slope the reference rounds as if the product were negated afterwards."""
    return -_rescaled(values, -real) if real < 0 else _rescaled(values, real)


def _abs(source: Quantization, target: Quantization, attributes: Attributes) -> Int64Array:
    size = np.abs(INPUTS - source.zero_point)
    if source.scale != target.scale:
        size = _rescaled(size, _float_ratio(source, target))
    return size + target.zero_point


def _sqrt(source: Quantization, target: Quantization, attributes: Attributes) -> Int64Array:
    with np.errstate(invalid="ignore"):
        return _quantized_towards_zero(np.sqrt(dequantized(source)), target)


def _neg(source: Quantization, target: Quantization, attributes: Attributes) -> Int64Array:
    """LiteRT negates stored values; -128 stays as it is."""
    return np.where(INPUTS == -128, -128, -INPUTS)


def _inverse_square_root(value: int) -> tuple[int, int]:
    """(multiplier, shift) of 1 / sqrt(value) for 0 < value < 256: TFLite's Newton-Raphson.

    Source: GetInvSqrtQuantizedMultiplierExp of TFLite's quantization_util.
    """
    if value <= 1:
        return fp.INT32_MAX, 0
    leading_zeros = 32 - value.bit_length()
    pairs = (leading_zeros - 1) // 2 - 1
    shift = 11 - pairs
    half = fp.divide_by_power_of_two(np.array([(value << (2 * pairs)) >> 1], np.int64), 1)
    x = np.array([1 << 28], np.int64)
    half_three = (1 << 28) + (1 << 27)
    for _ in range(5):
        cubed = fp.doubling_high_multiply(fp.doubling_high_multiply(x, x), x)
        cubed = np.clip(cubed << 6, fp.INT32_MIN, fp.INT32_MAX)
        linear = fp.doubling_high_multiply(np.array([half_three], np.int64), x)
        cubic = fp.doubling_high_multiply(half, cubed)
        x = np.clip((linear - cubic) << 3, fp.INT32_MIN, fp.INT32_MAX)
    multiplier = int(fp.doubling_high_multiply(x, 1518500250)[0])
    if shift < 0:
        multiplier, shift = multiplier << -shift, 0
    return multiplier, -shift


def _rsqrt(source: Quantization, target: Quantization, attributes: Attributes) -> Int64Array:
    bits = 20
    scale = np.sqrt(np.float32(source.scale)) * np.float32(target.scale)
    multiplier, shift = quantize_multiplier(float(np.float32(1.0) / scale))
    values = np.full(256, 127, np.int64)
    one = np.array([1], np.int64)
    for index, centred in enumerate((INPUTS - source.zero_point).tolist()):
        if centred <= 0:
            continue
        inverse, inverse_shift = _inverse_square_root(centred)
        root = fp.multiply_by_quantized(one, inverse, inverse_shift + bits)
        scaled = fp.multiply_by_quantized(root, multiplier, shift - bits)
        values[index] = int(scaled[0]) + target.zero_point
    return values


_INTEGER: dict[str, _Integer] = {
    "TANH": _tanh,
    "LOGISTIC": _logistic,
    "HARD_SWISH": _hard_swish,
    "QUANTIZE": _requantize,
    "RELU": _clamped(0.0, math.inf),
    "RELU6": _clamped(0.0, 6.0),
    "RELU_N1_TO_1": _clamped(-1.0, 1.0),
    "RELU_0_TO_1": _clamped(0.0, 1.0),
    "LEAKY_RELU": _leaky_relu,
    "ABS": _abs,
    "NEG": _neg,
    "SQRT": _sqrt,
    "RSQRT": _rsqrt,
}


# --- float functions, tabulated by the reference too ---------------------------------------------

_TABULATED = ("ELU", "GELU", "EXP", "LOG")
"""Kinds whose int8 reference kernels fill a table by a float function."""


def _single(function: Callable[..., Any]) -> _Float:
    """A function computed in double precision and rounded once to single."""
    return lambda x, _: np.asarray(function(x.astype(np.float64)), np.float32)


def _gelu(x: Float32Array, attributes: Attributes) -> Float32Array:
    """In single precision, step by step; tanh and erfc are rounded once from double precision."""
    half = np.float32(0.5) * x
    if attributes.get("approximate"):
        cubed = np.float32(0.044715) * x * x * x
        inner = np.float32(math.sqrt(2 / math.pi)) * (x + cubed)
        return half * (np.float32(1) + np.tanh(inner.astype(np.float64)).astype(np.float32))
    inner = x * np.float32(-math.sqrt(0.5))
    return half * np.array([math.erfc(v) for v in inner.tolist()], np.float32)


def _elu(x: Float32Array, attributes: Attributes) -> Float32Array:
    grown = np.exp(np.minimum(x, 0).astype(np.float64)).astype(np.float32) - np.float32(1)
    return np.where(x < 0, grown, x)


FLOAT: dict[str, _Float] = {
    "ELU": _elu,
    "GELU": _gelu,
    "EXP": _single(np.exp),
    "LOG": _single(np.log),
    "SQRT": _single(np.sqrt),
    "RSQRT": _single(lambda x: 1 / np.sqrt(x)),
    "NEG": _single(np.negative),
    "SIGN": _single(np.sign),
    "SIN": _single(np.sin),
    "COS": _single(np.cos),
    "FLOOR": _single(np.floor),
    "CEIL": _single(np.ceil),
    "ROUND": _single(np.rint),
    "SQUARE": lambda x, _: x * x,
    "ABS": lambda x, _: np.abs(x),
    "RELU": lambda x, _: np.maximum(x, np.float32(0)),
    "RELU6": lambda x, _: np.clip(x, np.float32(0), np.float32(6)),
    "RELU_N1_TO_1": lambda x, _: np.clip(x, np.float32(-1), np.float32(1)),
    "TANH": _single(np.tanh),
}
"""Functions of one float, as the float kernels compute them between DEQUANTIZE and QUANTIZE."""
