# SPDX-License-Identifier: Apache-2.0
"""DEPTHWISE_CONV_2D by firmware/kernels/depthwise_s8.c: packing, scratch, overlap, cost.

The kernel gathers a strip of rows at a time. Taller strips gather fewer rows twice but need more
scratch and let the output follow the input less closely, so several are offered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OverlapRule,
    Placed,
    Target,
    as_constant,
)
from mcudeploy.operators.cmsis_conv import depthwise_function
from mcudeploy.operators.costs import fastest_first
from mcudeploy.operators.kernels.conv import scalar_conv_implementations
from mcudeploy.operators.kernels.conv_geometry import is_clamped
from mcudeploy.operators.kernels.cost import depthwise_pixels_work, depthwise_work
from mcudeploy.operators.kernels.depthwise_plain import (
    STRIP_CALL,
    STRIP_PARAMETERS,
    depthwise_max_distance,
    plain_depthwise,
    plain_scratch_bytes,
)
from mcudeploy.operators.kernels.depthwise_rows import by_rows, serves_by_rows
from mcudeploy.operators.kernels.per_channel import (
    assumed_requantization,
    exact_channels,
    pack_requantization,
)
from mcudeploy.operators.shapes import ConvQuantization, ConvShape, Int8Array, Int32Array
from mcudeploy.operators.windows import convolution_rows

_MOST_ROWS = 11
"""MCUD_DEPTHWISE_MOST_ROWS: kernel rows that the kernel by pixels keeps pointers to."""
_LARGEST_SCRATCH = 2048
"""Whole planes are gathered at once when they take no more than this many bytes."""

_IN_PLACE = "mcud_depthwise_in_place_s8(&params, {{ outputs[0] }}, {{ scratch }});\n"

_PIXELS_CALL = """
{{ storage | default('static const') }} mcud_depthwise_pixels_s8_t params = {
    .weights = {{ constants.weights }}, .constants = {{ constants.requantization }},
    .in_h = {{ s.in_h }}, .in_w = {{ part_in_w | default(s.in_w) }}, .channels = {{ s.in_c }},
    .out_h = {{ s.out_h }}, .out_w = {{ part_out_w | default(s.out_w) }},
    .k_h = {{ s.k_h }}, .k_w = {{ s.k_w }},
    .stride_h = {{ s.stride_h }}, .stride_w = {{ s.stride_w }},
    .dilation_h = {{ s.dilation_h }}, .dilation_w = {{ s.dilation_w }},
    .pad_top = {{ s.pad_top }}, .pad_left = {{ part_pad_left | default(s.pad_left) }},
    .in_zero_point = {{ q.input_zero_point }}, .out_zero_point = {{ q.output_zero_point }},
    .activation_min = {{ q.activation_min }}, .activation_max = {{ q.activation_max }},
    .clamp = {{ clamp }},
};
const mcud_map in = { {{ inputs[0] }}, {{ s.in_w * s.in_c }}, {{ in_ring | default(s.in_h) }} };
const mcud_map out = {
    {{ outputs[0] }}, {{ s.out_w * s.out_c }}, {{ out_ring | default(s.out_h) }}
};

{% if bottom_up %}
for (int32_t row = {{ s.out_h }}; row > 0; row--) {
    mcud_depthwise_pixels_s8(&params, in, out, row - 1, row);
}
{% else %}
mcud_depthwise_pixels_s8(&params, in, out, {{ row_begin | default(0) }},
    {{ row_end | default(s.out_h) }});
{% endif %}
"""


def plane_words(shape: ConvShape) -> int:
    """Words of a gathered row: all that the outputs of a row read, computed two at a time."""
    pairs = -(-shape.out_w // 2)
    if shape.stride_w == 1:
        return pairs + shape.k_w // 2
    if _is_3x3(shape):
        return pairs * shape.stride_w + 1
    columns = (shape.out_w - 1) * shape.stride_w + 2 * -(-shape.k_w // 2)
    return -(-columns // 2)


def _tap_words(shape: ConvShape) -> int:
    """Words of the weights laid out in pairs."""
    if _is_3x3(shape):
        return 0
    one_row = 2 * (shape.k_w // 2 + 1) if shape.stride_w == 1 else -(-shape.k_w // 2)
    return shape.k_h * one_row


def _is_3x3(shape: ConvShape) -> bool:
    return shape.k_h == shape.k_w == 3 and shape.stride_w in (1, 2)


def depthwise_scratch_bytes(shape: ConvShape, strip_rows: int) -> int:
    """Two planes of a strip's input rows; the weights as pairs where the kernel is not 3x3."""
    rows = (strip_rows - 1) * shape.stride_h + (shape.k_h - 1) * shape.dilation_h + 1
    return 4 * (2 * rows * plane_words(shape) + _tap_words(shape))


def depthwise_implementations(
    shape: ConvShape,
    quantization: ConvQuantization,
    weights: Int8Array,
    bias: Int32Array | None,
    target: Target,
    *,
    single_rows: bool = False,
) -> tuple[Implementation, ...]:
    """DEPTHWISE_CONV_2D, weights (1, k_h, k_w, out_c), from the fastest to the least scratch.

    `single_rows`: those for calls that compute one row, which no taller strip serves.
    One input channel makes it a plain convolution, computed as such. Empty when no kernel of ours
    serves the layer: multipliers out of range, or with Helium what CMSIS-NN computes by it.
    """
    if target.core.mve and depthwise_function(shape, target.core) != "arm_depthwise_conv_s8":
        return ()
    if shape.in_c == 1:
        transposed = np.ascontiguousarray(weights.transpose(3, 1, 2, 0))
        return scalar_conv_implementations(
            shape, quantization, transposed, bias, target, single_rows=single_rows
        )
    flat = weights.reshape(-1, shape.out_c).T.astype(np.int64)
    found: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None
    if target.sizes_only:
        found = flat, assumed_requantization(quantization, shape.out_c)
    else:
        found = pack_requantization(quantization, flat, bias)
    if found is None:
        return ()
    kept, constants = found
    by_plane = _parts(kept, constants)
    made: list[Implementation] = []
    from_below: list[Implementation] = []
    scratch = depthwise_scratch_bytes if target.core.dsp else plain_scratch_bytes
    strips = (1,) if single_rows else _strips(shape, scratch)
    if shape.dilation_w == 1 and target.core.dsp:
        made = [_with_strip(shape, quantization, by_plane, rows) for rows in strips]
        if single_rows and serves_by_rows(shape) and target.optimize != "size":
            made = [*by_rows(shape, quantization, by_plane), *made]
    elif shape.dilation_w == 1:
        made = [plain_depthwise(shape, quantization, by_plane, rows) for rows in strips]
    if shape.depth_multiplier == 1 and shape.in_c >= 4 and shape.k_h <= _MOST_ROWS:
        centred = constants.copy()
        centred[:, 0] += quantization.input_zero_point * kept.sum(axis=1)
        one = _by_pixels(shape, quantization, _parts(kept.T, centred), target)
        made = [one] if target.optimize == "size" else [*made, one]
        if not single_rows and shape.stride_h == 1:
            from_below.append(_bottom_up(shape, one))
    apart = _undominated(fastest_first(made, target.core))
    served = target.core.dsp and target.optimize != "size" and _keeps_its_size(shape)
    if single_rows or not served:
        return (*apart, *from_below)
    in_place = [_in_place(shape, quantization, by_plane, rows) for rows in strips]
    return (*fastest_first((*in_place, *apart), target.core), *from_below)


def _keeps_its_size(shape: ConvShape) -> bool:
    return (shape.in_h, shape.in_w, shape.in_c) == (
        shape.out_h,
        shape.out_w,
        shape.out_c,
    ) and shape.stride_h == shape.stride_w == shape.dilation_w == 1


def _in_place(
    shape: ConvShape,
    quantization: ConvQuantization,
    constants: tuple[Constant, ...],
    strip_rows: int,
) -> Implementation:
    """The kernel by planes that goes through all rows of two channels before the next two."""
    apart = _with_strip(shape, quantization, constants, strip_rows)
    exact = exact_channels(constants[1].data)
    words = plane_words(shape)
    return replace(
        apart,
        kernel="mcud_depthwise_in_place_s8",
        snippet=STRIP_PARAMETERS + _IN_PLACE,
        overlaps=(),
        placed=(Placed(input=0, written=True),),
        work=depthwise_work(shape, quantization, strip_rows, words, exact, in_place=True),
        rows=None,
        reason=f"planes of int16 in place, {strip_rows} rows at a time",
    )


def _undominated(made: Sequence[Implementation]) -> tuple[Implementation, ...]:
    """Those that are faster, need less scratch or overlap more than all faster ones."""
    kept: list[Implementation] = []
    for one in made:
        room = one.scratch_bytes, -(one.overlaps[0].max_distance or 0)
        others = [(k.scratch_bytes, -(k.overlaps[0].max_distance or 0)) for k in kept]
        if not any(other[0] <= room[0] and other[1] <= room[1] for other in others):
            kept.append(one)
    return tuple(kept)


def _parts(
    weights: npt.NDArray[np.int64], constants: npt.NDArray[np.int64]
) -> tuple[Constant, ...]:
    return (
        Constant("weights", as_constant(weights, "int8"), "weights"),
        Constant("requantization", as_constant(constants, "int32"), "tables"),
    )


@lru_cache(maxsize=1024)
def pixels_max_distance(shape: ConvShape) -> int:
    """The greatest safe output address - input address of the kernel by pixels.

    A pixel's channels are written four at a time while the others are still to be read, so all of
    it must end before the first byte that it or a later pixel reads.
    """
    y, x = np.mgrid[0 : shape.out_h, 0 : shape.out_w]
    top = y * shape.stride_h - shape.pad_top
    top = np.where(top < 0, top % shape.dilation_h, top)
    left = x * shape.stride_w - shape.pad_left
    left = np.where(left < 0, left % shape.dilation_w, left)
    reads = ((top * shape.in_w + left) * shape.in_c).ravel()
    first_read_from = np.minimum.accumulate(reads[::-1])[::-1]
    return int((first_read_from - (np.arange(reads.size) + 1) * shape.out_c).min())


def _by_pixels(
    shape: ConvShape,
    quantization: ConvQuantization,
    constants: tuple[Constant, ...],
    target: Target,
) -> Implementation:
    return Implementation(
        kernel="mcud_depthwise_pixels_s8",
        snippet=_PIXELS_CALL,
        values={"s": shape, "q": quantization, "clamp": is_clamped(quantization), "bottom_up": 0},
        constants=constants,
        overlaps=(OverlapRule(input=0, max_distance=pixels_max_distance(shape)),),
        sources=("kernels/depthwise_pixels_s8.c",),
        headers=("depthwise_pixels_s8.h",),
        work=depthwise_pixels_work(shape, quantization, exact_channels(constants[1].data)),
        rows=convolution_rows(shape),
        reason="pixel by pixel, without scratch",
    )


def _bottom_up(shape: ConvShape, one: Implementation) -> Implementation:
    """The kernel by pixels, its rows from the last to the first: the output may lie behind.

    A chain of layers that all drift one way adds the drifts up; one that goes back cancels one.
    """
    in_row, out_row = shape.in_w * shape.in_c, shape.out_w * shape.out_c
    y = np.arange(shape.out_h)
    reach = (shape.k_h - 1) * shape.dilation_h - shape.pad_top
    end = np.minimum(y * shape.stride_h + reach, shape.in_h - 1) + 1
    # What row y and those above it read must end before row y's output begins.
    least = int((np.maximum.accumulate(end) * in_row - y * out_row).max())
    return replace(
        one,
        values={**one.values, "bottom_up": 1},
        overlaps=(OverlapRule(input=0, min_distance=least),),
        work={**one.work, "call": shape.out_h},
        rows=None,
        reason="pixel by pixel from the last row, so that shifts cancel",
    )


def _strips(shape: ConvShape, scratch: Callable[[ConvShape, int], int]) -> tuple[int, ...]:
    rows = shape.out_h
    while rows > 1 and scratch(shape, rows) > _LARGEST_SCRATCH:
        rows = -(-rows // 2)
    return tuple(dict.fromkeys((rows, min(rows, 4), min(rows, 2), 1)))


def _with_strip(
    shape: ConvShape,
    quantization: ConvQuantization,
    constants: tuple[Constant, ...],
    strip_rows: int,
) -> Implementation:
    rows = convolution_rows(shape)
    one = Implementation(
        kernel="mcud_depthwise_s8",
        snippet=STRIP_CALL,
        values={
            "kernel": "mcud_depthwise_s8",
            "s": shape,
            "q": quantization,
            "strip_rows": strip_rows,
            "plane_words": plane_words(shape),
            "clamp": is_clamped(quantization),
        },
        constants=constants,
        scratch_bytes=depthwise_scratch_bytes(shape, strip_rows),
        overlaps=(OverlapRule(input=0, max_distance=depthwise_max_distance(shape, strip_rows)),),
        sources=("kernels/depthwise_s8.c",),
        headers=("depthwise_s8.h",),
        work=depthwise_work(
            shape,
            quantization,
            strip_rows,
            plane_words(shape),
            exact_channels(constants[1].data),
        ),
        reason=f"planes of int16, {strip_rows} rows at a time",
        rows=rows,
    )
    if strip_rows == 1:
        rows = replace(rows, narrowed=partial(_narrowed, one, shape))
        one = replace(one, rows=rows)
    return one


def _narrowed(one: Implementation, shape: ConvShape, columns: int) -> Implementation:
    """For parts of rows with at most so many output columns: its planes are no wider."""
    part = replace(shape, out_w=columns)
    return replace(
        one,
        values={**one.values, "plane_words": plane_words(part)},
        scratch_bytes=depthwise_scratch_bytes(part, 1),
    )
