# SPDX-License-Identifier: Apache-2.0
"""CONV_2D by firmware/kernels/conv_plain_s8.c: chunks, scratch, overlap, work.

The file's head explains the kernel. Weights stay as they are; for each channel the greatest number
of taps is found whose products' sum fits an int16 whatever the input.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OverlapRule,
    Target,
    as_constant,
)
from mcudeploy.operators.kernels.conv_geometry import (
    LAYER,
    MAPS,
    assembled_runs,
    conv_max_distance,
    gathers_inside,
    inside_columns,
    is_clamped,
    is_run,
)
from mcudeploy.operators.kernels.per_channel import exact_channels, pack_requantization
from mcudeploy.operators.shapes import ConvQuantization, ConvShape, Int8Array, Int32Array
from mcudeploy.operators.windows import convolution_rows

_TILE = 4
_CHUNK_SHIFT = 9
_CHUNK_BITS = 7 << _CHUNK_SHIFT
_CHUNKS = (8, 7, 6, 5, 4, 3, 2, 1)
"""Taps whose products may be added up in halfwords; the bits say one less."""

_CALL = (
    """
{{ storage | default('static const') }} mcud_conv_plain_s8_t params = {
    .weights = {{ constants.weights }}, .constants = {{ constants.requantization }},
    .rests = { {{ rests | join(", ") }} },
"""
    + LAYER
    + """\
};
"""
    + MAPS
    + """
mcud_conv_plain_s8(&params, in, out, {{ row_begin | default(0) }},
    {{ row_end | default(s.out_h) }}, {{ scratch }});
"""
)


def conv_plain_scratch_bytes(shape: ConvShape) -> int:
    """Scratch of mcud_conv_plain_s8: four patches, and a run each where they touch padding."""
    run = shape.k_w * shape.group_in_c
    runs = 0 if gathers_inside(shape) else _TILE * run
    return 2 * _TILE * shape.k_h * run + runs


def chunk_taps(weights: npt.NDArray[np.int64]) -> int:
    """The greatest chunk of one channel's taps whose products' sums all fit an int16."""
    for chunk in _CHUNKS:
        padded = np.zeros(-(-weights.size // chunk) * chunk, np.int64)
        padded[: weights.size] = weights
        parts = padded.reshape(-1, chunk)
        up, down = parts.clip(min=0).sum(axis=1), -parts.clip(max=0).sum(axis=1)
        highest, lowest = (127 * up + 128 * down).max(), (128 * up + 127 * down).max()
        if highest < 1 << 15 and lowest <= 1 << 15:
            return chunk
    raise AssertionError("one product of int8 always fits")


def _work(shape: ConvShape, clamped: int, chunks: list[int], exact: int) -> Mapping[str, float]:
    """What the kernel does, by tiles; `chunks` of all channels."""
    lines = 1 if shape.groups == 1 else shape.out_h
    pixels = shape.out_h * shape.out_w
    tiles = lines * -(-(pixels // lines) // _TILE)
    taps = shape.k_h * shape.k_w * shape.group_in_c
    if is_run(shape):
        runs = assembled = 0
    else:
        first, end = inside_columns(shape)
        runs = tiles * shape.groups * shape.k_h
        assembled = shape.groups * sum(
            assembled_runs(shape, pixel, first, end) for pixel in range(pixels)
        )
    return {
        "call": 1,
        "tile": tiles * shape.groups,
        "tile of rows": 0 if is_run(shape) else tiles * shape.groups,
        "tap": tiles * shape.groups * taps,
        "run": runs,
        "assembled": assembled,
        "assembled bytes": assembled * shape.k_w * shape.group_in_c,
        "channel": tiles * shape.out_c,
        "exact": tiles * exact,
        "rest": tiles * sum(taps % chunk > 0 for chunk in chunks),
        "chunk": tiles * sum(-(-taps // chunk) for chunk in chunks),
        "product": tiles * shape.out_c * taps,
        "clamped": pixels * shape.out_c * clamped,
    }


def plain_conv_implementation(
    shape: ConvShape,
    quantization: ConvQuantization,
    weights: Int8Array,
    bias: Int32Array | None,
    target: Target,
) -> Implementation | None:
    """CONV_2D with any groups, weights OHWI; None when this kernel cannot serve the layer."""
    flat = weights.reshape(shape.out_c, -1).astype(np.int64)
    found: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None
    if target.sizes_only:
        found = flat, np.zeros((shape.out_c, 3), np.int64)
    else:
        found = pack_requantization(quantization, flat, bias, _CHUNK_BITS)
    if found is None:
        return None
    kept, constants = found
    chunks = [chunk_taps(channel) for channel in kept]
    flags = np.array([chunk - 1 << _CHUNK_SHIFT for chunk in chunks])
    taps = flat.shape[1]
    return Implementation(
        kernel="mcud_conv_plain_s8",
        snippet=_CALL,
        values={
            "s": shape,
            "q": quantization,
            "clamp": is_clamped(quantization),
            "rests": [taps % chunk for chunk in reversed(_CHUNKS)],
        },
        constants=(
            Constant("weights", as_constant(kept, "int8"), "weights"),
            Constant(
                "requantization",
                as_constant(constants + [0, 0, 1] * flags[:, None], "int32"),
                "tables",
            ),
        ),
        scratch_bytes=conv_plain_scratch_bytes(shape),
        overlaps=(OverlapRule(input=0, max_distance=conv_max_distance(shape, _TILE)),),
        sources=("kernels/conv_plain_s8.c",),
        headers=("conv_plain_s8.h",),
        work=_work(shape, is_clamped(quantization), chunks, exact_channels(constants)),
        reason="two products a multiplication",
        rows=convolution_rows(shape),
    )
