# SPDX-License-Identifier: Apache-2.0
"""CONV_2D and DEPTHWISE_CONV_2D: NHWC int8 maps, int8 weights per channel, int32 biases.

Groups are read off the shapes (filter channels = input channels / groups), as the reference does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.arithmetic import activation_range
from mcudeploy.operators.base import Implementation, OperatorFamily, Target, register
from mcudeploy.operators.cmsis_conv import cmsis_convolution, cmsis_depthwise
from mcudeploy.operators.conv_any import any_convolution
from mcudeploy.operators.kernels.conv import conv_implementations
from mcudeploy.operators.kernels.depthwise import depthwise_implementations
from mcudeploy.operators.shapes import ConvQuantization, ConvShape, Int32Array, quantize_multipliers
from mcudeploy.operators.view import (
    activation_limits,
    activation_of,
    batch_limits,
    constant_at,
    dilations,
    dtype_limits,
    output_of,
    quantization_of,
    spatial_padding,
    strides,
    tensor_at,
)


def conv_shape(graph: Graph, operator: Operator) -> ConvShape:
    """The shape of either convolution; `groups` is the input's channels for a depthwise one."""
    source = tensor_at(graph, operator, 0)
    weights = tensor_at(graph, operator, 1)
    assert source is not None and weights is not None
    _, in_h, in_w, in_c = source.shape
    _, out_h, out_w, out_c = output_of(graph, operator).shape
    k_h, k_w = weights.shape[1], weights.shape[2]
    (top, _), (left, _) = spatial_padding(operator, (in_h, in_w), (k_h, k_w))
    depthwise = operator.kind == "DEPTHWISE_CONV_2D"
    return ConvShape(
        in_h=in_h,
        in_w=in_w,
        in_c=in_c,
        out_h=out_h,
        out_w=out_w,
        out_c=out_c,
        k_h=k_h,
        k_w=k_w,
        stride_h=strides(operator)[0],
        stride_w=strides(operator)[1],
        dilation_h=dilations(operator)[0],
        dilation_w=dilations(operator)[1],
        pad_top=top,
        pad_left=left,
        groups=in_c if depthwise else in_c // weights.shape[3],
    )


def conv_quantization(graph: Graph, operator: Operator, out_c: int) -> ConvQuantization:
    """The requantization constants, prepared as TFLite's convolutions prepare them."""
    source, weights = tensor_at(graph, operator, 0), tensor_at(graph, operator, 1)
    assert source is not None and weights is not None
    output = output_of(graph, operator)
    scales = quantization_of(weights).scales
    if len(scales) == 1:
        scales = scales * out_c
    in_scale, out_scale = quantization_of(source).scale, quantization_of(output).scale
    multipliers, shifts = quantize_multipliers(in_scale * scale / out_scale for scale in scales)
    low, high = activation_range(activation_of(operator), quantization_of(output))
    return ConvQuantization(
        input_zero_point=quantization_of(source).zero_point,
        output_zero_point=quantization_of(output).zero_point,
        multipliers=multipliers,
        shifts=shifts,
        activation_min=low,
        activation_max=high,
    )


def bias_of(graph: Graph, operator: Operator) -> Int32Array | None:
    data = constant_at(graph, operator, 2)
    return None if data is None else data.astype(np.int32)


def _weight_limits(graph: Graph, operator: Operator) -> Iterator[str]:
    weights, bias = tensor_at(graph, operator, 1), tensor_at(graph, operator, 2)
    if weights is None or weights.data is None:
        yield "its weights are computed, not constant"
        return
    if weights.dtype != "int8" or weights.quantization is None:
        yield f"its weights are {weights.dtype}, not quantized int8"
        return
    if any(weights.quantization.zero_points):
        yield "its weights are not symmetric (zero point other than 0)"
    if bias is not None and (bias.data is None or bias.dtype != "int32"):
        yield "its bias is not a constant of int32"


def _limits(graph: Graph, operator: Operator) -> Iterator[str]:
    yield from dtype_limits(graph, operator, (0,))
    yield from batch_limits(graph, operator)
    yield from activation_limits(operator)
    yield from _weight_limits(graph, operator)


@register
class Convolution(OperatorFamily):
    """CONV_2D, plain and grouped."""

    kinds = ("CONV_2D",)
    replacement = "a Conv2D with int8 weights known at conversion"

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from _limits(graph, operator)

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        shape = conv_shape(graph, operator)
        quantization = conv_quantization(graph, operator, shape.out_c)
        weights = constant_at(graph, operator, 1)
        assert weights is not None
        bias = bias_of(graph, operator)
        fast: tuple[Implementation, ...] = ()
        if target.kernels == "auto":
            fast = conv_implementations(shape, quantization, weights, bias, target)
        if shape.groups > 1:
            # CMSIS-NN takes no notice of groups.
            other = any_convolution(shape, quantization, weights, bias)
        else:
            other = cmsis_convolution(shape, quantization, weights, bias, target)
        return (*fast, other)

    def row_implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        shape = conv_shape(graph, operator)
        weights = constant_at(graph, operator, 1)
        assert weights is not None
        fast: tuple[Implementation, ...] = ()
        if target.kernels == "auto":
            quantization = conv_quantization(graph, operator, shape.out_c)
            bias = bias_of(graph, operator)
            fast = conv_implementations(
                shape, quantization, weights, bias, target, single_rows=True
            )
        # Plain C, which takes several times as long, for what nothing else can.
        return fast or super().row_implementations(graph, operator, target)


@register
class DepthwiseConvolution(OperatorFamily):
    """DEPTHWISE_CONV_2D with any multiplier."""

    kinds = ("DEPTHWISE_CONV_2D",)
    replacement = "a DepthwiseConv2D with int8 weights known at conversion"

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from _limits(graph, operator)

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        shape = conv_shape(graph, operator)
        quantization = conv_quantization(graph, operator, shape.out_c)
        weights = constant_at(graph, operator, 1)
        assert weights is not None
        bias = bias_of(graph, operator)
        library = cmsis_depthwise(shape, quantization, weights, bias, target)
        if target.kernels != "auto":
            return (library,)
        return (
            *depthwise_implementations(shape, quantization, weights, bias, target),
            library,
        )

    def row_implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        shape = conv_shape(graph, operator)
        weights = constant_at(graph, operator, 1)
        if target.kernels != "auto" or weights is None:
            return ()
        return depthwise_implementations(
            shape,
            conv_quantization(graph, operator, shape.out_c),
            weights,
            bias_of(graph, operator),
            target,
            single_rows=True,
        )
