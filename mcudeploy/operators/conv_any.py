# SPDX-License-Identifier: Apache-2.0
"""Convolutions without limits, by firmware/kernels/conv_any_s8.c: on any core, with any groups.

`any_convolution` is offered behind the faster kernels; TRANSPOSE_CONV has only this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.arithmetic import (
    FUSED_ACTIVATIONS,
    INT8_MAX,
    INT8_MIN,
    activation_range,
    same_padding,
)
from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OperatorFamily,
    OverlapRule,
    RowForm,
    Target,
    as_constant,
    register,
)
from mcudeploy.operators.shapes import (
    ConvQuantization,
    ConvShape,
    Int8Array,
    Int32Array,
    quantize_multipliers,
)
from mcudeploy.operators.view import (
    activation_of,
    constant_at,
    dtype_limits,
    output_of,
    quantization_of,
    strides,
    tensor_at,
)
from mcudeploy.operators.windows import convolution_window
from mcudeploy.operators.work import scattered_work, window_work

_CALL = """
static const mcud_conv_any_s8_t params = {
    .weights = {{ constants.weights }},
    .biases = {{ constants.biases if constants.biases is defined else "NULL" }},
    .multipliers = {{ constants.multipliers }},
    .shifts = {{ constants.shifts }},
    .in_h = {{ s.in_h }}, .in_w = {{ s.in_w }}, .in_c = {{ s.in_c }},
    .out_h = {{ s.out_h }}, .out_w = {{ s.out_w }}, .out_c = {{ s.out_c }},
    .k_h = {{ s.k_h }}, .k_w = {{ s.k_w }},
    .stride_h = {{ s.stride_h }}, .stride_w = {{ s.stride_w }},
    .dilation_h = {{ s.dilation_h }}, .dilation_w = {{ s.dilation_w }},
    .pad_top = {{ s.pad_top }}, .pad_left = {{ s.pad_left }},
    .groups = {{ s.groups }},
    .in_zero_point = {{ q.input_zero_point }}, .out_zero_point = {{ q.output_zero_point }},
    .activation_min = {{ q.activation_min }}, .activation_max = {{ q.activation_max }},
};
const mcud_map in = {
    {{ inputs[source] }}, {{ s.in_w * s.in_c }}, {{ in_ring | default(s.in_h) }}
};
const mcud_map out = {
    {{ outputs[0] }}, {{ s.out_w * s.out_c }}, {{ out_ring | default(s.out_h) }}
};

{{ function }}(&params, in, out, {{ row_begin | default(0) }}, {{ row_end | default(s.out_h) }});
"""


def _implementation(
    function: str,
    shape: ConvShape,
    quantization: ConvQuantization,
    weights: Int8Array,
    bias: Int32Array | None,
    source: int,
    overlaps: tuple[OverlapRule, ...] = (),
    rows: RowForm | None = None,
) -> Implementation:
    constants = [
        Constant("weights", as_constant(weights, "int8"), "weights"),
        Constant("multipliers", as_constant(quantization.multipliers, "int32"), "tables"),
        Constant("shifts", as_constant(quantization.shifts, "int32"), "tables"),
    ]
    if bias is not None:
        constants.append(Constant("biases", as_constant(bias, "int32"), "biases"))
    return Implementation(
        kernel=function,
        snippet=_CALL,
        values={"function": function, "s": shape, "q": quantization, "source": source},
        constants=tuple(constants),
        overlaps=overlaps,
        sources=("kernels/conv_any_s8.c",),
        headers=("conv_any_s8.h",),
        work=scattered_work(shape) if function == "mcud_transpose_conv_s8" else window_work(shape),
        reason="takes any shape on any core",
        rows=rows,
    )


def window_max_distance(shape: ConvShape) -> int:
    """The greatest safe output address - input address of a kernel that goes pixel by pixel.

    When a pixel is written, its window is read again for its next channel: the pixel must end
    before the first byte that its own or a later window reads.
    """
    row_bytes = shape.in_w * shape.in_c
    y, x = np.mgrid[0 : shape.out_h, 0 : shape.out_w]
    top, left = y * shape.stride_h - shape.pad_top, x * shape.stride_w - shape.pad_left
    top = np.where(top < 0, top % shape.dilation_h, top)
    left = np.where(left < 0, left % shape.dilation_w, left)
    reads = (top * row_bytes + left * shape.in_c).ravel()
    reads[((top >= shape.in_h) | (left >= shape.in_w)).ravel()] = shape.in_h * row_bytes
    first = np.minimum.accumulate(reads[::-1])[::-1]
    ends = np.arange(1, shape.out_h * shape.out_w + 1) * shape.out_c
    return int((first - ends).min())


def any_convolution(
    shape: ConvShape, quantization: ConvQuantization, weights: Int8Array, bias: Int32Array | None
) -> Implementation:
    """CONV_2D with `weights` OHWI int8 (I = in_c / groups) and `bias` int32 or None."""
    rule = OverlapRule(input=0, max_distance=window_max_distance(shape))
    return _implementation(
        "mcud_conv_any_s8", shape, quantization, weights, bias, 0, (rule,),
        RowForm(convolution_window(shape)),
    )  # fmt: skip


_WEIGHTS, _SOURCE, _BIAS = 1, 2, 3


def transpose_conv_shape(graph: Graph, operator: Operator) -> ConvShape:
    """`pad_top` and `pad_left` are what the reference cuts off the full output."""
    source, weights = tensor_at(graph, operator, _SOURCE), tensor_at(graph, operator, _WEIGHTS)
    assert source is not None and weights is not None
    _, in_h, in_w, in_c = source.shape
    _, out_h, out_w, out_c = output_of(graph, operator).shape
    _, k_h, k_w, _ = weights.shape
    stride_h, stride_w = strides(operator)
    pad_top = pad_left = 0
    if operator.attributes["padding"] == "SAME":
        pad_top = same_padding(out_h, k_h, stride_h, 1)[0]
        pad_left = same_padding(out_w, k_w, stride_w, 1)[0]
    return ConvShape(
        in_h=in_h, in_w=in_w, in_c=in_c, out_h=out_h, out_w=out_w, out_c=out_c, k_h=k_h, k_w=k_w,
        stride_h=stride_h, stride_w=stride_w, pad_top=pad_top, pad_left=pad_left,
    )  # fmt: skip


@register
class TransposeConvolution(OperatorFamily):
    """TRANSPOSE_CONV; what the first input says of the output's shape is known already."""

    kinds = ("TRANSPOSE_CONV",)
    replacement = "a Conv2DTranspose with int8 weights known at conversion"

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from dtype_limits(graph, operator, (_SOURCE,))
        source, weights = tensor_at(graph, operator, _SOURCE), tensor_at(graph, operator, _WEIGHTS)
        bias = tensor_at(graph, operator, _BIAS)
        if source is not None and (len(source.shape) != 4 or source.shape[0] != 1):
            yield f"input {_SOURCE} has shape {source.shape}, not 1 x height x width x channels"
        if weights is None or weights.data is None:
            yield "its weights are computed, not constant"
        elif weights.dtype != "int8" or weights.quantization is None:
            yield f"its weights are {weights.dtype}, not quantized int8"
        elif any(weights.quantization.zero_points):
            yield "its weights are not symmetric (zero point other than 0)"
        if bias is not None and (bias.data is None or bias.dtype != "int32"):
            yield "its bias is not a constant of int32"
        output, fused = output_of(graph, operator).quantization, activation_of(operator)
        if fused not in FUSED_ACTIVATIONS or (
            output is not None and activation_range(fused, output) != (INT8_MIN, INT8_MAX)
        ):
            yield f"its fused activation {fused} clamps, which the reference ignores"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        shape = transpose_conv_shape(graph, operator)
        source, weights = tensor_at(graph, operator, _SOURCE), tensor_at(graph, operator, _WEIGHTS)
        assert source is not None and weights is not None and weights.data is not None
        output = quantization_of(output_of(graph, operator))
        in_scale, scales = quantization_of(source).scale, quantization_of(weights).scales
        scales = scales * shape.out_c if len(scales) == 1 else scales
        multipliers, shifts = quantize_multipliers(in_scale * s / output.scale for s in scales)
        quantization = ConvQuantization(
            quantization_of(source).zero_point, output.zero_point, multipliers, shifts
        )
        bias = constant_at(graph, operator, _BIAS)
        return (
            _implementation(
                "mcud_transpose_conv_s8", shape, quantization, weights.data, bias, _SOURCE
            ),
        )
