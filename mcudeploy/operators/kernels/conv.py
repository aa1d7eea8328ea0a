# SPDX-License-Identifier: Apache-2.0
"""CONV_2D by firmware/kernels/conv_s8.c: packing, scratch, cost; without DSP `conv_plain.py`.

The file's head explains the kernel; here its weights are laid out in the order that it reads, and
its requantization constants are found. See `requantize.py` for these.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

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
from mcudeploy.operators.kernels.conv_geometry import (
    LAYER,
    MAPS,
    conv_max_distance,
    gathers_inside,
    is_clamped,
    pads_by_fours,
)
from mcudeploy.operators.kernels.conv_plain import plain_conv_implementation
from mcudeploy.operators.kernels.cost import conv_work
from mcudeploy.operators.kernels.requantize import (
    ExactRequantization,
    FastRequantization,
    channel_sum,
    exact_constant,
    find_exact,
    find_fast,
)
from mcudeploy.operators.shapes import ConvQuantization, ConvShape, Int8Array, Int32Array
from mcudeploy.operators.windows import convolution_rows

_SHIFT_B = 5
_SHIFT_A = _SHIFT_B + 8
_FLAG_EXACT = 0x100
_FLAG_SINGLE = 0x200
_TILES = (3, 2)
_LEAST_SAVED = 64
"""Steps of a patch from which on tiles of two are offered for single rows, where memory is what
counts: they save four bytes a step for a tenth to a sixth more instructions."""
_NO_TAP = -1

_CALL = (
    """
{{ storage | default('static const') }} mcud_conv_s8_t params = {
    .packed = {{ constants.packed }}, .steps = {{ steps }}, .tile = {{ tile }},
"""
    + LAYER
    + """\
};
"""
    + MAPS
    + """
mcud_conv_s8(&params, in, out, {{ row_begin | default(0) }}, {{ row_end | default(s.out_h) }},
    {{ scratch }});
"""
)


@dataclass(frozen=True)
class _Channel:
    """One output channel ready to be packed: weights (taps in patch order), start, constants."""

    weights: npt.NDArray[np.int64]
    start: int
    requantization: FastRequantization | ExactRequantization


@lru_cache(maxsize=1024)
def patch_taps(run_bytes: int, runs: int) -> npt.NDArray[np.int64]:
    """Which tap each int16 of a patch holds, shape (steps, 2); -1 for none. `steps` is even."""
    pairs: list[tuple[int, int]] = []
    for run in range(runs):
        first = run * run_bytes
        fours = run_bytes - run_bytes % 4
        for tap in range(first, first + fours, 4):
            pairs += [(tap, tap + 2), (tap + 1, tap + 3)]
        rest = list(range(first + fours, first + run_bytes))
        for position in range(0, len(rest), 2):
            pairs.append((rest[position], (rest[position + 1 : position + 2] or [_NO_TAP])[0]))
    if len(pairs) % 2:
        pairs.append((_NO_TAP, _NO_TAP))
    return np.array(pairs, dtype=np.int64)


def conv_scratch_bytes(shape: ConvShape, tile: int = 3) -> int:
    """Scratch of mcud_conv_s8: a tile of patches, and a run where patches are assembled."""
    run = shape.k_w * shape.group_in_c
    steps = len(patch_taps(run, shape.k_h))
    assembles = not (gathers_inside(shape) or pads_by_fours(shape))
    return 4 * tile * steps + assembles * (-(-run // 4) * 4)


def _start(weights: npt.NDArray[np.int64], bias: int, quantization: ConvQuantization) -> int:
    return bias - quantization.input_zero_point * int(weights.sum())


def _exact_channel(
    weights: npt.NDArray[np.int64], bias: int, quantization: ConvQuantization, channel: int
) -> _Channel | None:
    known = channel_sum(weights, bias, quantization, channel)
    same = known.constant_output
    if same is not None:
        start, constants = exact_constant(same - quantization.output_zero_point)
        return _Channel(weights * 0, start, constants)
    exact = find_exact(known)
    return None if exact is None else _Channel(weights, _start(weights, bias, quantization), exact)


def _fast_channel(
    weights: npt.NDArray[np.int64],
    bias: int,
    quantization: ConvQuantization,
    channel: int,
    scale_bits: int,
) -> _Channel | None:
    known = channel_sum(weights, bias, quantization, channel)
    if known.constant_output is not None:
        weights, bias = weights * 0, 0
    fast = find_fast(
        known,
        shift=_SHIFT_B + scale_bits,
        scale_bits=scale_bits,
        keep_clear=_FLAG_EXACT | _FLAG_SINGLE if scale_bits else 0,
    )
    return None if fast is None else _Channel(weights, _start(weights, bias, quantization), fast)


def _pack_pair(
    a: _Channel, b: _Channel, taps: npt.NDArray[np.int64], flags: int
) -> npt.NDArray[np.uint32] | None:
    """The words of one pair of channels; None when the weights of A and B do not share 16 bits."""
    offset_a = offset_b = 0
    if isinstance(a.requantization, FastRequantization):
        offset_a = a.requantization.offset
    if isinstance(b.requantization, FastRequantization):
        offset_b = b.requantization.offset
    start_b = b.start + offset_b
    start_h = 256 * a.start + offset_a + start_b
    halves = 256 * np.append(a.weights, 0)[taps] + np.append(b.weights, 0)[taps]
    if halves.min() < -(1 << 15) or halves.max() >= 1 << 15:
        return None
    words = (halves[:, 0] & 0xFFFF) | (halves[:, 1] & 0xFFFF) << 16
    constants = (*_constants(a.requantization, flags), *_constants(b.requantization, 0))
    packed = (start_b, start_h, *words.tolist(), *constants)
    return np.array([word & 0xFFFFFFFF for word in packed], dtype=np.uint32)


def _constants(
    requantization: FastRequantization | ExactRequantization, flags: int
) -> tuple[int, int]:
    if isinstance(requantization, FastRequantization):
        return requantization.multiplier, requantization.addend | flags
    return requantization.doubled, requantization.exponent | flags


def pack_conv(
    shape: ConvShape, quantization: ConvQuantization, weights: Int8Array, bias: Int32Array | None
) -> npt.NDArray[np.int32] | None:
    """The words that mcud_conv_s8 reads; None when its arithmetic cannot serve this layer.

    `weights` are OHWI int8. Not served: real multipliers of 1/2 or more (unless the channel is
    constant), channels whose sum needs more than 24 bits, and a weight of -128 beside a negative.
    """
    taps = patch_taps(shape.k_w * shape.group_in_c, shape.k_h)
    flat = weights.reshape(shape.out_c, -1).astype(np.int64)
    biases = [0] * shape.out_c if bias is None else [int(value) for value in bias]
    per_group = shape.out_c // shape.groups
    packed = []
    for first in range(0, shape.out_c, per_group):
        for channel in range(first, first + per_group, 2):
            single = channel + 1 == first + per_group
            words = _pack_channels(flat, biases, quantization, channel, single, taps)
            if words is None:
                return None
            packed.append(words)
    return np.concatenate(packed).view(np.int32)


def _pack_channels(
    flat: npt.NDArray[np.int64],
    biases: list[int],
    quantization: ConvQuantization,
    channel: int,
    single: bool,
    taps: npt.NDArray[np.int64],
) -> npt.NDArray[np.uint32] | None:
    other = channel if single else channel + 1
    known = channel_sum(flat[channel], biases[channel], quantization, channel)
    wide = max(abs(known.least), abs(known.greatest)) >= (1 << 23) - (1 << 9)
    if wide and known.constant_output is None:
        return None
    a: _Channel | None = None
    b: _Channel | None = None
    flags = 0
    if not single:
        a = _fast_channel(flat[channel], biases[channel], quantization, channel, 8)
        b = _fast_channel(flat[other], biases[other], quantization, other, 0)
    if a is None or b is None:
        a = _exact_channel(flat[channel], biases[channel], quantization, channel)
        b = _exact_channel(flat[other], biases[other], quantization, other)
        flags = _FLAG_EXACT | (_FLAG_SINGLE if single else 0)
    if a is None or b is None:
        return None
    return _pack_pair(a, b, taps, flags)


def _unpacked(shape: ConvShape, steps: int) -> npt.NDArray[np.int32]:
    """As many words as `pack_conv` gives."""
    pairs = shape.groups * -(-shape.out_c // shape.groups // 2)
    return zeros_of_size(pairs * (steps + 6), "int32")


def _exact_pairs(packed: npt.NDArray[np.int32], steps: int) -> int:
    """How many pairs of channels carry the flag of the exact requantization."""
    return int(np.count_nonzero(packed.reshape(-1, steps + 6)[:, steps + 3] & _FLAG_EXACT))


def conv_implementations(
    shape: ConvShape,
    quantization: ConvQuantization,
    weights: Int8Array,
    bias: Int32Array | None,
    target: Target,
    *,
    single_rows: bool = False,
) -> tuple[Implementation, ...]:
    """CONV_2D with any groups, the fastest first; empty where no kernel of ours serves the layer.

    With Helium that is CMSIS-NN's task. `single_rows`: called for one output row at a time.
    """
    if target.core.mve:
        return ()
    return scalar_conv_implementations(
        shape, quantization, weights, bias, target, single_rows=single_rows
    )


def scalar_conv_implementations(
    shape: ConvShape,
    quantization: ConvQuantization,
    weights: Int8Array,
    bias: Int32Array | None,
    target: Target,
    *,
    single_rows: bool = False,
) -> tuple[Implementation, ...]:
    """CONV_2D without Helium on any core, empty where the arithmetic cannot serve the layer."""
    if not target.core.dsp:
        plain = plain_conv_implementation(shape, quantization, weights, bias, target)
        return () if plain is None else (plain,)
    taps = patch_taps(shape.k_w * shape.group_in_c, shape.k_h)
    packed: npt.NDArray[np.int32] | None
    if target.sizes_only:
        packed = _unpacked(shape, len(taps))
    else:
        packed = pack_conv(shape, quantization, weights, bias)
    if packed is None:
        return ()
    constant = Constant("packed", as_constant(packed, "int32"), "weights")
    narrow = single_rows and len(taps) >= _LEAST_SAVED
    tiles = _TILES if narrow else _TILES[:1]
    return tuple(
        _with_tile(shape, quantization, constant, len(taps), tile, single_rows) for tile in tiles
    )


def _with_tile(
    shape: ConvShape,
    quantization: ConvQuantization,
    packed: Constant,
    steps: int,
    tile: int,
    single_rows: bool,
) -> Implementation:
    exact = _exact_pairs(packed.data, steps)
    return Implementation(
        kernel="mcud_conv_s8",
        snippet=_CALL,
        values={
            "s": shape,
            "q": quantization,
            "steps": steps,
            "tile": tile,
            "clamp": is_clamped(quantization),
        },
        constants=(packed,),
        scratch_bytes=conv_scratch_bytes(shape, tile),
        overlaps=(OverlapRule(input=0, max_distance=conv_max_distance(shape, tile)),),
        sources=("kernels/conv_s8.c",),
        headers=("conv_s8.h",),
        work=conv_work(shape, quantization, steps, exact, tile=tile, single_rows=single_rows),
        reason=(
            "three pixels by two channels in registers"
            if tile == _TILES[0]
            else "two pixels by two channels, a third less scratch"
        ),
        rows=convolution_rows(shape),
    )
