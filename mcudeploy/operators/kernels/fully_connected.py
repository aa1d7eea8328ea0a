# SPDX-License-Identifier: Apache-2.0
"""FULLY_CONNECTED by firmware/kernels/fully_connected_s8.c: packing, overlap, cost."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OverlapRule,
    Target,
    as_constant,
    zeros_of_size,
)
from mcudeploy.operators.kernels.conv_geometry import is_clamped
from mcudeploy.operators.kernels.cost import fully_connected_work
from mcudeploy.operators.kernels.fully_connected_plain import (
    PLAIN_CALL,
    interleave_channels,
    plain_fully_connected_work,
)
from mcudeploy.operators.kernels.requantize import channel_sum, exact_constant, find_exact
from mcudeploy.operators.shapes import (
    ConvQuantization,
    FullyConnectedShape,
    Int8Array,
    Int32Array,
)

_CALL = """
static const mcud_fully_connected_s8_t params = {
    .packed = {{ constants.packed }}, .requantization = {{ constants.requantization }},
    .in_c = {{ s.in_c }}, .out_c = {{ s.out_c }}, .per_channel = {{ per_channel }},
    .out_zero_point = {{ q.output_zero_point }},
    .activation_min = {{ q.activation_min }}, .activation_max = {{ q.activation_max }},
    .clamp = {{ clamp }},
};

mcud_fully_connected_s8(&params, {{ inputs[0] }}, {{ outputs[0] }}, {{ s.batches }});
"""


def fully_connected_implementation(
    shape: FullyConnectedShape,
    quantization: ConvQuantization,
    weights: Int8Array,
    bias: Int32Array | None,
    target: Target,
) -> Implementation | None:
    """FULLY_CONNECTED, weights (out_c, in_c); None when this kernel cannot serve the layer."""
    if target.core.mve or quantization.weights_zero_point:
        return None
    found = _parts(shape, quantization, weights, bias, target)
    if found is None:
        return None
    constants, per_channel = found
    dsp = target.core.dsp
    kernel = "fully_connected_s8" if dsp else "fully_connected_plain_s8"
    return Implementation(
        kernel=f"mcud_{kernel}",
        snippet=_CALL if dsp else PLAIN_CALL,
        values={
            "s": shape,
            "q": quantization,
            "per_channel": int(per_channel),
            "clamp": is_clamped(quantization),
        },
        constants=constants,
        overlaps=(OverlapRule(input=0, max_distance=fully_connected_max_distance(shape)),),
        sources=(f"kernels/{kernel}.c",),
        headers=(f"{kernel}.h",),
        work=(fully_connected_work if dsp else plain_fully_connected_work)(shape, quantization),
        reason="four channels share each input",
    )


def fully_connected_max_distance(shape: FullyConnectedShape) -> int:
    """The greatest safe output address - input address.

    Every group of four channels reads the whole row again, so all but the last group of a row
    must end before the row's input begins; the last one, before the next row's.
    """
    last = (shape.out_c - 1) % 4 + 1
    distances = [shape.batches * shape.in_c]
    for row in range(shape.batches):
        if shape.out_c > last:
            distances.append(row * shape.in_c - ((row + 1) * shape.out_c - last))
        if row + 1 < shape.batches:
            distances.append((row + 1) * (shape.in_c - shape.out_c))
    return min(distances)


_Parts = tuple[tuple[Constant, ...], bool]


def _parts(
    shape: FullyConnectedShape,
    quantization: ConvQuantization,
    weights: Int8Array,
    bias: Int32Array | None,
    target: Target,
) -> _Parts | None:
    """The kernel's constants, and whether each channel has a requantization of its own."""
    if target.sizes_only:
        return _unpacked(shape, quantization, target)
    found = fully_connected_requantizations(shape, quantization, weights.astype(np.int64), bias)
    if found is None:
        return None
    kept, starts, constants = found
    table = constants if len(set(constants)) > 1 else constants[:1]
    if not target.core.dsp:
        return _plain(interleave_channels(kept), starts, table)
    packed = pack_fully_connected(kept, starts)
    return None if packed is None else _packed(packed, table)


def _packed(packed: npt.ArrayLike, table: npt.ArrayLike) -> _Parts:
    requantization = as_constant(np.asarray(table, np.int64).astype(np.int32), "int32")
    return (
        Constant("packed", as_constant(packed, "int32"), "weights"),
        Constant("requantization", requantization, "tables"),
    ), len(requantization) > 1


def _plain(weights: npt.ArrayLike, starts: npt.ArrayLike, table: npt.ArrayLike) -> _Parts:
    requantization = as_constant(np.asarray(table, np.int64).astype(np.int32), "int32")
    return (
        Constant("weights", as_constant(weights, "int8"), "weights"),
        Constant("starts", as_constant(starts, "int32"), "biases"),
        Constant("requantization", requantization, "tables"),
    ), len(requantization) > 1


def _unpacked(shape: FullyConnectedShape, quantization: ConvQuantization, target: Target) -> _Parts:
    """Constants of as many bytes."""
    per_channel = len(set(zip(quantization.multipliers, quantization.shifts, strict=True))) > 1
    table = zeros_of_size((shape.out_c if per_channel else 1, 2), "int32")
    if not target.core.dsp:
        weights = zeros_of_size(shape.in_c * shape.out_c, "int8")
        return _plain(weights, zeros_of_size(shape.out_c, "int32"), table)
    words = -(-shape.out_c // 2) * (2 + 2 * -(-shape.in_c // 4))
    return _packed(zeros_of_size(words, "int32"), table)


def fully_connected_requantizations(
    shape: FullyConnectedShape,
    quantization: ConvQuantization,
    weights: npt.NDArray[np.int64],
    bias: Int32Array | None,
) -> tuple[npt.NDArray[np.int64], list[int], list[tuple[int, int]]] | None:
    """(weights, starts of the sums, constants) per channel; constant channels lose them."""
    kept, starts, constants = weights.copy(), [], []
    for channel in range(shape.out_c):
        total = 0 if bias is None else int(bias[channel])
        known = channel_sum(weights[channel], total, quantization, channel)
        start = total - quantization.input_zero_point * int(weights[channel].sum())
        exact = find_exact(known)
        same = known.constant_output
        if same is not None and exact is None:
            kept[channel] = 0
            start, exact = exact_constant(same - quantization.output_zero_point)
        if exact is None:
            return None
        starts.append(start)
        constants.append((exact.doubled, exact.exponent))
    return kept, starts, constants


def pack_fully_connected(
    weights: npt.NDArray[np.int64], starts: list[int]
) -> npt.NDArray[np.int32] | None:
    """The words that the kernel reads; None for a weight of -128 beside a negative one."""
    out_c, in_c = weights.shape
    padded = np.zeros((-(-out_c // 2) * 2, -(-in_c // 4) * 4), np.int64)
    padded[:out_c, :in_c] = weights
    starts = starts + [0] * (len(padded) - out_c)
    halves = 256 * padded[0::2] + padded[1::2]
    if halves.min() < -(1 << 15) or halves.max() >= 1 << 15:
        return None
    fours = halves.reshape(len(halves), -1, 4) & 0xFFFF
    words = np.stack(
        (fours[:, :, 0] | fours[:, :, 2] << 16, fours[:, :, 1] | fours[:, :, 3] << 16), axis=2
    )
    packed: list[int] = []
    pair = 0
    while pair < len(halves):
        count = 2 if len(halves) - pair > 1 else 1
        for one in range(pair, pair + count):
            packed += starts[2 * one : 2 * one + 2]
        packed += words[pair : pair + count].transpose(1, 2, 0).ravel().tolist()
        pair += count
    return np.array([word & 0xFFFFFFFF for word in packed], np.uint32).view(np.int32)
