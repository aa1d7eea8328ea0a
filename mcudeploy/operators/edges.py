# SPDX-License-Identifier: Apache-2.0
"""QUANTIZE float32 to int8 and DEQUANTIZE int8 to float32, where a network meets the world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.base import (
    Implementation,
    OperatorFamily,
    OverlapRule,
    Target,
    register,
)
from mcudeploy.operators.view import output_of, quantization_of, tensor_at

_CALL = """
{{ function }}({{ inputs[0] }}, {{ outputs[0] }}, {{ elements }}, {{ scale }}, {{ zero_point }});
"""


@register
class Dequantize(OperatorFamily):
    """DEQUANTIZE of int8 to float32."""

    kinds = ("DEQUANTIZE",)

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        source = tensor_at(graph, operator, 0)
        if source is None or source.dtype != "int8" or source.quantization is None:
            yield "it does not dequantize int8"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        source = tensor_at(graph, operator, 0)
        assert source is not None
        # The kernel runs from the last element to the first, so that it may widen in place.
        rule = OverlapRule(input=0, min_distance=0)
        quantization = quantization_of(source)
        return (
            edge("mcud_dequantize_s8_f32", source.elements, quantization.scale,
                 quantization.zero_point, rule),
        )  # fmt: skip


def edge(
    function: str, elements: int, scale: float, zero_point: int, rule: OverlapRule
) -> Implementation:
    return Implementation(
        kernel=function,
        snippet=_CALL,
        values={
            "function": function,
            "elements": elements,
            "scale": f"{scale!r}f",
            "zero_point": zero_point,
        },
        overlaps=(rule,),
        sources=("kernels/edges.c",),
        headers=("edges.h",),
        reason="the only kernel",
    )


def quantize_float(graph: Graph, operator: Operator) -> Implementation:
    """QUANTIZE of float32 to int8."""
    output = output_of(graph, operator)
    quantization = quantization_of(output)
    return edge(
        "mcud_quantize_f32_s8",
        output.elements,
        quantization.scale,
        quantization.zero_point,
        OverlapRule(input=0, max_distance=0),
    )
