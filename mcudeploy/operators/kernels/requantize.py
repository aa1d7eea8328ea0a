# SPDX-License-Identifier: Apache-2.0
"""Requantization in two instructions, proven equal to TFLite's double rounding.

TFLite maps a sum x to an output v in steps: the least x that gives at least v is a threshold T(v),
an integer that follows from the multiplier, the shift and the zero point (`thresholds`). Any
monotone function with the same thresholds is the same function on integers. So

    saturate8(((x << scale_bits) + offset) * multiplier + addend * 2^32) >> (32 + shift))

(SMMLA, SSAT; the offset is folded into the bias) may replace it when for each v in reach

    v * S <= total(T(v))   and   total(T(v) - 1) < v * S,     S = 2^(32 + shift)

which bounds offset * multiplier + addend * 2^32 from both sides. The addend moves it by 2^32 only,
but multiples of the multiplier fall everywhere between, so a small offset reaches the interval.
Below zero TFLite rounds ties away from zero, which shifts the thresholds there: then usually no
such function exists, and the kernels' exact sequence is used (`ExactRequantization`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mcudeploy.operators.shapes import ConvQuantization

_INT32_MAX = (1 << 31) - 1
_OFFSETS = (0, 1 << 6, 1 << 9, 1 << 12, 1 << 16)
_MAX_EXACT_EXPONENT = 20
"""Above, the rounding constant with the zero point no longer fits beside the sum."""


@dataclass(frozen=True)
class ChannelSum:
    """What is known of one channel's sum (bias included) and how its output is made of it.

    The real multiplier is multiplier * 2^(shift - 31); `least` and `greatest` bound the sum;
    outputs below `low` or above `high` are clamped away.
    """

    least: int
    greatest: int
    multiplier: int
    shift: int
    zero_point: int
    low: int = -128
    high: int = 127

    @property
    def constant_output(self) -> int | None:
        """The output, when it is the same for every sum in range."""
        first = self.output(self.least)
        return first if first == self.output(self.greatest) else None

    def output(self, total: int) -> int:
        """TFLite's MultiplyByQuantizedMultiplier, zero point and activation range."""
        value = requantize(total, self.multiplier, self.shift) + self.zero_point
        return min(self.high, max(self.low, value))


@dataclass(frozen=True)
class FastRequantization:
    offset: int
    multiplier: int
    addend: int


@dataclass(frozen=True)
class ExactRequantization:
    """For the sequence SMMLAR, sign, offset, shift: `doubled` is 2 * multiplier - 2^32."""

    doubled: int
    exponent: int


def channel_sum(
    weights: npt.NDArray[np.int64], bias: int, quantization: ConvQuantization, channel: int
) -> ChannelSum:
    """The sum over a channel's weights of any int8 inputs; padding counts as the zero point."""
    low, high = -128 - quantization.input_zero_point, 127 - quantization.input_zero_point
    positive, negative = int(weights[weights > 0].sum()), int(weights[weights < 0].sum())
    return ChannelSum(
        least=bias + positive * low + negative * high,
        greatest=bias + positive * high + negative * low,
        multiplier=quantization.multipliers[channel],
        shift=quantization.shifts[channel],
        zero_point=quantization.output_zero_point,
        low=quantization.activation_min,
        high=quantization.activation_max,
    )


def requantize(total: int, multiplier: int, shift: int) -> int:
    """TFLite's MultiplyByQuantizedMultiplier in plain integers."""
    product = (total << max(shift, 0)) * multiplier
    high = (product + (1 << 30)) >> 31
    exponent = max(-shift, 0)
    if exponent == 0:
        return high
    return (high + (1 << (exponent - 1)) - (high < 0)) >> exponent


def thresholds(channel: ChannelSum) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(outputs v, least sums that give at least v) for low < v <= high; shift <= 0."""
    outputs = np.arange(channel.low + 1, channel.high + 1, dtype=np.int64)
    steps = outputs - channel.zero_point
    exponent = -channel.shift
    high = steps
    if exponent > 0:
        high = (steps << exponent) - (1 << (exponent - 1)) + (steps <= 0)
    high = np.clip(high, -(1 << 31), 1 << 31)
    return outputs, -(-((high << 31) - (1 << 30)) // channel.multiplier)


def find_fast(
    channel: ChannelSum, *, shift: int, scale_bits: int = 0, keep_clear: int = 0
) -> FastRequantization | None:
    """Constants for SMMLA and SSAT ASR #shift, or None when there are none.

    The kernel multiplies (sum << scale_bits) + offset; `shift` counts the scale in. Bits of
    `keep_clear` stay 0 in the addend.
    """
    same = channel.constant_output
    if same is not None:
        addend = same << shift
        return FastRequantization(0, 0, addend) if not addend & keep_clear else None
    if channel.shift > 0:
        return None
    outputs, least = thresholds(channel)
    bound = max(abs(channel.least), abs(channel.greatest)) + 1
    if (bound << scale_bits) + _OFFSETS[-1] > _INT32_MAX:
        return None
    exact = channel.multiplier << (shift - scale_bits + 1) >> -channel.shift
    reached = least > channel.least
    held = least <= channel.greatest
    least = np.clip(least, channel.least, channel.greatest + 1)
    scale = np.int64(1) << (32 + shift)
    for multiplier in (exact, exact + 1, exact - 1, exact + 2, exact - 2):
        if not 0 < multiplier <= _INT32_MAX:
            continue
        slope = np.int64(multiplier) << scale_bits
        lower = (outputs * scale - least * slope)[held]
        upper = (outputs * scale - (least - 1) * slope)[reached]
        found = _split(
            int(lower.max()) if lower.size else int(upper.min()) - 1,
            int(upper.min()) if upper.size else int(lower.max()) + 1,
            multiplier,
            keep_clear,
        )
        if found is not None:
            return found
    return None


def _split(low: int, high: int, multiplier: int, keep_clear: int) -> FastRequantization | None:
    """offset and addend with low <= offset * multiplier + addend * 2^32 < high, offset small."""
    if low >= high:
        return None
    highest = np.uint32(min(high - low, 1 << 32) - 1)
    for begin, end in pairwise(_OFFSETS):
        offsets = _offsets(begin, end)
        # The least value from `low` on that an addend reaches lies so far above `low`.
        above = offsets.astype(np.uint32) * np.uint32(multiplier) - np.uint32(low & 0xFFFFFFFF)
        offsets = offsets[above <= highest]
        addends = -((offsets * multiplier - low) >> 32)
        fits = (addends & keep_clear) == 0
        fits &= np.abs(addends) < 1 << 30
        where = np.flatnonzero(fits)
        if where.size:
            first = int(where[0])
            return FastRequantization(int(offsets[first]), multiplier, int(addends[first]))
    return None


@cache
def _offsets(begin: int, end: int) -> npt.NDArray[np.int64]:
    """begin, -begin - 1, begin + 1, -begin - 2, ... with magnitudes below `end`."""
    magnitude = np.arange(begin, end, dtype=np.int64)
    return np.stack((magnitude, -magnitude - 1), axis=1).ravel()


def exact_constant(value: int) -> tuple[int, ExactRequantization]:
    """A sum, and constants of the exact sequence, that give `value` above the zero point."""
    return 4 * value, ExactRequantization(2 * (1 << 30) - (1 << 32), 1)


def find_exact(channel: ChannelSum) -> ExactRequantization | None:
    """Constants of the exact sequence, or None when the sum or the shift is out of its range."""
    exponent = -channel.shift
    bound = max(abs(channel.least), abs(channel.greatest))
    if not 1 <= exponent <= _MAX_EXACT_EXPONENT or bound >= 1 << 30 or channel.multiplier == 0:
        return None
    return ExactRequantization(2 * channel.multiplier - (1 << 32), exponent)
