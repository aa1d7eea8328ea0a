# SPDX-License-Identifier: Apache-2.0
"""The three constants that a channel has in kernels that take one channel at a time.

Start of the sum, multiplier and addend of the fast requantization (`requantize.py`), or, where bit
8 of the addend says exact, start, 2m - 2^32 and exponent.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mcudeploy.operators.kernels.requantize import (
    channel_sum,
    exact_constant,
    find_exact,
    find_fast,
)
from mcudeploy.operators.shapes import ConvQuantization, Int32Array

_SHIFT = 2
FLAG_EXACT = 0x100


def pack_requantization(
    quantization: ConvQuantization,
    flat: npt.NDArray[np.int64],
    bias: Int32Array | None,
    keep_clear: int = 0,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """(weights, constants) per channel of `flat` (channels, taps); None when out of range.

    Channels whose output never changes lose their weights: their bias may be out of any range.
    Bits of `keep_clear` are 0 in the third constant, for the kernel's own use.
    """
    kept = flat.copy()
    constants = np.zeros((len(flat), 3), np.int64)
    for channel, weights in enumerate(flat):
        total = 0 if bias is None else int(bias[channel])
        known = channel_sum(weights, total, quantization, channel)
        start = total - quantization.input_zero_point * int(weights.sum())
        fast = find_fast(known, shift=_SHIFT, keep_clear=FLAG_EXACT | keep_clear)
        exact = find_exact(known)
        if known.constant_output is not None:
            kept[channel] = 0
            start, exact = exact_constant(known.constant_output - known.zero_point)
        if fast is not None:
            constants[channel] = start + fast.offset, fast.multiplier, fast.addend
        elif exact is not None:
            constants[channel] = start, exact.doubled, exact.exponent | FLAG_EXACT
        else:
            return None
    return kept, constants


def exact_channels(constants: npt.NDArray[np.int64]) -> int:
    """How many channels take the exact requantization."""
    return int(np.count_nonzero(constants[:, 2] & FLAG_EXACT))


def assumed_requantization(quantization: ConvQuantization, channels: int) -> npt.NDArray[np.int64]:
    """Constants for sizes and costs alone, where weights are not known.

    Every other channel is exact where sums below zero reach the output, since there TFLite rounds
    ties the other way: of real layers it is some to all of them, with a ReLU hardly any.
    """
    constants = np.zeros((channels, 3), np.int64)
    if quantization.activation_min < quantization.output_zero_point:
        constants[::2, 2] = FLAG_EXACT
    return constants
