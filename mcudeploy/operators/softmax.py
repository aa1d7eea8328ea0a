# SPDX-License-Identifier: Apache-2.0
"""SOFTMAX over the last axis, int8 to int8."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.base import Implementation, OperatorFamily, Target, register
from mcudeploy.operators.shapes import SoftmaxQuantization, SoftmaxShape, quantize_multiplier
from mcudeploy.operators.view import (
    dtype_limits,
    elementwise_overlap,
    output_of,
    quantization_of,
    tensor_at,
)
from mcudeploy.operators.work import elements_work

_CALL = """
arm_softmax_s8({{ inputs[0] }}, {{ s.rows }}, {{ s.depth }}, {{ q.multiplier }}, {{ q.left_shift }}, {{ q.diff_min }}, {{ outputs[0] }});
"""  # noqa: E501

_INTEGER_BITS = 5


def softmax_quantization(beta: float, input_scale: float) -> SoftmaxQuantization:
    """As TFLite's PreprocessSoftmaxScaling and CalculateInputRadius with 5 integer bits."""
    real = min(beta * input_scale * (1 << (31 - _INTEGER_BITS)), (1 << 31) - 1.0)
    multiplier, left_shift = quantize_multiplier(real)
    radius = ((1 << _INTEGER_BITS) - 1) * (1 << (31 - _INTEGER_BITS)) / (1 << left_shift)
    return SoftmaxQuantization(multiplier, left_shift, -int(radius))


@register
class Softmax(OperatorFamily):
    """SOFTMAX; the output's scale is 1/256 and its zero point -128, as TFLite demands."""

    kinds = ("SOFTMAX",)

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from dtype_limits(graph, operator, (0,))
        output = output_of(graph, operator)
        fixed = output.quantization
        if fixed and (abs(fixed.scale - 1 / 256) > 1e-6 or fixed.zero_point != -128):
            yield "its output is not quantized with scale 1/256 and zero point -128"
        source = tensor_at(graph, operator, 0)
        if source is not None and source.quantization:
            beta = operator.attributes.get("beta", 1.0)
            if beta * source.quantization.scale * (1 << (31 - _INTEGER_BITS)) < 1.0:
                yield "its input's scale is too small for 5 integer bits"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        source = tensor_at(graph, operator, 0)
        assert source is not None
        depth = source.shape[-1]
        library = Implementation(
            kernel="arm_softmax_s8",
            snippet=_CALL,
            values={
                "s": SoftmaxShape(rows=source.elements // depth, depth=depth),
                "q": softmax_quantization(
                    operator.attributes.get("beta", 1.0), quantization_of(source).scale
                ),
            },
            overlaps=elementwise_overlap(0),
            sources=("cmsis-nn:arm_softmax_s8",),
            headers=("arm_nnfunctions.h",),
            work=elements_work(source.elements, rows=source.elements // depth),
            reason="CMSIS-NN",
        )
        return (library,)
