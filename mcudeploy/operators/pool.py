# SPDX-License-Identifier: Apache-2.0
"""AVERAGE_POOL_2D and MAX_POOL_2D over NHWC int8 maps; input and output share one scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from mcudeploy.board import Core
from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.arithmetic import activation_range
from mcudeploy.operators.base import Implementation, OperatorFamily, Target, register
from mcudeploy.operators.helium_work import helium_pool_work
from mcudeploy.operators.kernels.pool import pool_accumulated, pool_implementation
from mcudeploy.operators.shapes import PoolShape
from mcudeploy.operators.view import (
    activation_limits,
    activation_of,
    batch_limits,
    dtype_limits,
    output_of,
    quantization_of,
    spatial_padding,
    strides,
    tensor_at,
)
from mcudeploy.operators.work import pool_work

_CALL = """
static const cmsis_nn_pool_params params = {
    .stride = { .w = {{ s.stride_w }}, .h = {{ s.stride_h }} },
    .padding = { .w = {{ s.pad_left }}, .h = {{ s.pad_top }} },
    .activation = { .min = {{ low }}, .max = {{ high }} },
};
static const cmsis_nn_dims input = { .n = 1, .h = {{ s.in_h }}, .w = {{ s.in_w }}, .c = {{ s.channels }} };
static const cmsis_nn_dims kernel = { .n = 1, .h = {{ s.k_h }}, .w = {{ s.k_w }}, .c = 1 };
static const cmsis_nn_dims output = { .n = 1, .h = {{ s.out_h }}, .w = {{ s.out_w }}, .c = {{ s.channels }} };
const cmsis_nn_context context = { .buf = {{ scratch }}, .size = {{ scratch_bytes }} };

(void){{ function }}(&context, &params, &input, {{ inputs[0] }}, &kernel, &output, {{ outputs[0] }});
"""  # noqa: E501


def pool_shape(graph: Graph, operator: Operator) -> PoolShape:
    source = tensor_at(graph, operator, 0)
    assert source is not None
    _, in_h, in_w, channels = source.shape
    _, out_h, out_w, _ = output_of(graph, operator).shape
    kernel = operator.attributes["filter_height"], operator.attributes["filter_width"]
    (top, _), (left, _) = spatial_padding(operator, (in_h, in_w), kernel)
    return PoolShape(
        in_h=in_h,
        in_w=in_w,
        channels=channels,
        out_h=out_h,
        out_w=out_w,
        k_h=kernel[0],
        k_w=kernel[1],
        stride_h=strides(operator)[0],
        stride_w=strides(operator)[1],
        pad_top=top,
        pad_left=left,
    )


def average_pool_scratch(shape: PoolShape, core: Core) -> int:
    """Bytes that arm_avgpool_s8_get_buffer_size gives for the core's variant."""
    return shape.channels * 4 if core.dsp and not core.mve else 0


@register
class Pooling(OperatorFamily):
    """AVERAGE_POOL_2D and MAX_POOL_2D. Padded positions do not count in the average."""

    kinds = ("AVERAGE_POOL_2D", "MAX_POOL_2D")

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from dtype_limits(graph, operator, (0,))
        yield from batch_limits(graph, operator)
        yield from activation_limits(operator)
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        if source is not None and source.quantization and output.quantization:
            same = (source.quantization.scale, source.quantization.zero_point) == (
                output.quantization.scale,
                output.quantization.zero_point,
            )
            if not same:
                yield "its input and output have different scales or zero points"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        shape = pool_shape(graph, operator)
        low, high = activation_range(
            activation_of(operator), quantization_of(output_of(graph, operator))
        )
        average = operator.kind == "AVERAGE_POOL_2D"
        function = "arm_avgpool_s8" if average else "arm_max_pool_s8"
        scratch = average_pool_scratch(shape, target.core) if average else 0
        library = Implementation(
            kernel=function,
            snippet=_CALL,
            values={
                "function": function,
                "s": shape,
                "low": low,
                "high": high,
                "scratch_bytes": scratch,
            },
            scratch_bytes=scratch,
            sources=(f"cmsis-nn:{function}",),
            headers=("arm_nnfunctions.h",),
            work=helium_pool_work(shape) if target.core.mve else pool_work(shape),
            reason="CMSIS-NN",
        )
        fast = None
        if target.kernels == "auto":
            kind: Literal["average", "max"] = "average" if average else "max"
            fast = pool_implementation(kind, shape, low, high, target)
        return (library,) if fast is None else (fast, library)

    def row_implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        shape = pool_shape(graph, operator)
        low, high = activation_range(
            activation_of(operator), quantization_of(output_of(graph, operator))
        )
        whole = (shape.out_h, shape.out_w) == (1, 1) and (
            (shape.k_h, shape.k_w) == (shape.in_h, shape.in_w)
        )
        if whole:
            kind: Literal["average", "max"] = (
                "average" if operator.kind == "AVERAGE_POOL_2D" else "max"
            )
            return (pool_accumulated(kind, shape, low, high),)
        return super().row_implementations(graph, operator, target)
