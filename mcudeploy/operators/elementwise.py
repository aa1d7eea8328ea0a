# SPDX-License-Identifier: Apache-2.0
"""ADD and MUL of two int8 tensors, each with its own scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mcudeploy.graph.ir import Graph, Operator, Tensor
from mcudeploy.operators.arithmetic import activation_range
from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OperatorFamily,
    Target,
    as_constant,
    register,
)
from mcudeploy.operators.shapes import AddQuantization, MulQuantization, quantize_multiplier
from mcudeploy.operators.view import (
    activation_limits,
    activation_of,
    dtype_limits,
    elementwise_overlap,
    output_of,
    quantization_of,
    tensor_at,
)

_ADD = """
(void)arm_elementwise_add_s8({{ a }}, {{ b }},
    {{ -q.input1_zero_point }}, {{ q.input1_multiplier }}, {{ q.input1_shift }},
    {{ -q.input2_zero_point }}, {{ q.input2_multiplier }}, {{ q.input2_shift }}, {{ q.left_shift }},
    {{ outputs[0] }}, {{ q.output_zero_point }}, {{ q.output_multiplier }}, {{ q.output_shift }},
    {{ q.activation_min }}, {{ q.activation_max }}, {{ elements }});
"""

_MUL = """
(void)arm_elementwise_mul_s8({{ a }}, {{ b }},
    {{ -q.input1_zero_point }}, {{ -q.input2_zero_point }},
    {{ outputs[0] }}, {{ q.output_zero_point }}, {{ q.output_multiplier }}, {{ q.output_shift }},
    {{ q.activation_min }}, {{ q.activation_max }}, {{ elements }});
"""


def add_quantization(a: Tensor, b: Tensor, output: Tensor, activation: str) -> AddQuantization:
    """As TFLM's CalculateOpDataAdd: both inputs to half the larger scale, 20 bits up."""
    q_a, q_b, q_out = quantization_of(a), quantization_of(b), quantization_of(output)
    left_shift = 20
    twice_max = 2 * max(q_a.scale, q_b.scale)
    low, high = activation_range(activation, q_out)
    a_multiplier, a_shift = quantize_multiplier(q_a.scale / twice_max)
    b_multiplier, b_shift = quantize_multiplier(q_b.scale / twice_max)
    multiplier, shift = quantize_multiplier(twice_max / ((1 << left_shift) * q_out.scale))
    return AddQuantization(
        input1_zero_point=q_a.zero_point,
        input1_multiplier=a_multiplier,
        input1_shift=a_shift,
        input2_zero_point=q_b.zero_point,
        input2_multiplier=b_multiplier,
        input2_shift=b_shift,
        output_zero_point=q_out.zero_point,
        output_multiplier=multiplier,
        output_shift=shift,
        activation_min=low,
        activation_max=high,
        left_shift=left_shift,
    )


def mul_quantization(a: Tensor, b: Tensor, output: Tensor, activation: str) -> MulQuantization:
    q_a, q_b, q_out = quantization_of(a), quantization_of(b), quantization_of(output)
    multiplier, shift = quantize_multiplier(q_a.scale * q_b.scale / q_out.scale)
    low, high = activation_range(activation, q_out)
    return MulQuantization(
        input1_zero_point=q_a.zero_point,
        input2_zero_point=q_b.zero_point,
        output_zero_point=q_out.zero_point,
        output_multiplier=multiplier,
        output_shift=shift,
        activation_min=low,
        activation_max=high,
    )


def operand(graph: Graph, operator: Operator, position: int) -> tuple[str, tuple[Constant, ...]]:
    """The C expression of an operand in a snippet, and the constant it needs when it is one."""
    tensor = tensor_at(graph, operator, position)
    assert tensor is not None
    if tensor.data is None:
        return f"{{{{ inputs[{position}] }}}}", ()
    name = f"operand_{position}"
    return f"{{{{ constants.{name} }}}}", (
        Constant(name, as_constant(tensor.data, "int8"), "weights"),
    )


@register
class AddMul(OperatorFamily):
    """ADD and MUL of tensors of one shape."""

    kinds = ("ADD", "MUL")
    replacement = "operands of one shape"

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from dtype_limits(graph, operator, (0, 1))
        yield from activation_limits(operator)
        a, b = tensor_at(graph, operator, 0), tensor_at(graph, operator, 1)
        if a is not None and b is not None and a.elements != b.elements:
            yield f"it broadcasts {a.shape} with {b.shape}"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        a, b = tensor_at(graph, operator, 0), tensor_at(graph, operator, 1)
        assert a is not None and b is not None
        output = output_of(graph, operator)
        adds = operator.kind == "ADD"
        prepare: Any = add_quantization if adds else mul_quantization
        (a_text, a_data), (b_text, b_data) = (
            operand(graph, operator, 0),
            operand(graph, operator, 1),
        )
        snippet = (_ADD if adds else _MUL).replace("{{ a }}", a_text).replace("{{ b }}", b_text)
        function = "arm_elementwise_add_s8" if adds else "arm_elementwise_mul_s8"
        library = Implementation(
            kernel=function,
            snippet=snippet,
            values={
                "q": prepare(a, b, output, activation_of(operator)),
                "elements": output.elements,
            },
            constants=(*a_data, *b_data),
            overlaps=elementwise_overlap(
                *(p for p, tensor in enumerate((a, b)) if tensor.data is None)
            ),
            sources=(f"cmsis-nn:{function}",),
            headers=("arm_nnfunctions.h",),
            reason="CMSIS-NN",
        )
        return (library,)
