# SPDX-License-Identifier: Apache-2.0
"""Operators of two int8 tensors, each with its own scale, with broadcasting.

ADD, SUB, MUL, DIV, MAXIMUM, MINIMUM, SQUARED_DIFFERENCE and PRELU, either operand a constant.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from mcudeploy.graph.ir import Graph, Operator, Quantization, Tensor
from mcudeploy.operators.arithmetic import activation_range
from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OperatorFamily,
    Target,
    as_constant,
    register,
)
from mcudeploy.operators.broadcast import DIMENSIONS, Walk, broadcast_shape, broadcast_walk
from mcudeploy.operators.kernels.elementwise import (
    add_exact_implementation,
    add_implementation,
    mul_implementation,
)
from mcudeploy.operators.plain import is_plain, plain, plain_limits
from mcudeploy.operators.shapes import AddQuantization, MulQuantization, quantize_multiplier
from mcudeploy.operators.view import (
    activation_limits,
    activation_of,
    dtype_limits,
    elementwise_overlap,
    output_of,
    quantization_of,
    scale_limits,
    tensor_at,
)
from mcudeploy.operators.windows import row_wise
from mcudeploy.operators.work import elements_work

_ADD = """
(void)arm_elementwise_add_s8({{ inputs[0] }}, {{ inputs[1] }},
    {{ -q.input1_zero_point }}, {{ q.input1_multiplier }}, {{ q.input1_shift }},
    {{ -q.input2_zero_point }}, {{ q.input2_multiplier }}, {{ q.input2_shift }}, {{ q.left_shift }},
    {{ outputs[0] }}, {{ q.output_zero_point }}, {{ q.output_multiplier }}, {{ q.output_shift }},
    {{ q.activation_min }}, {{ q.activation_max }}, {{ elements }});
"""

_MUL = """
(void)arm_elementwise_mul_s8({{ inputs[0] }}, {{ inputs[1] }},
    {{ -q.input1_zero_point }}, {{ -q.input2_zero_point }},
    {{ outputs[0] }}, {{ q.output_zero_point }}, {{ q.output_multiplier }}, {{ q.output_shift }},
    {{ q.activation_min }}, {{ q.activation_max }}, {{ elements }});
"""

_BROADCAST = """
static const mcud_broadcast_t walk = {
    .extent = { {{ w.extent | join(", ") }} },
    .a_stride = { {{ w.a_stride | join(", ") }} },
    .b_stride = { {{ w.b_stride | join(", ") }} },
};
static const mcud_binary_s8_t quantization = {
{% for name, value in q.items() %}
    .{{ name }} = {{ value }},
{% endfor %}
};

{{ function }}(&walk, &quantization, {{ inputs[0] }}, {{ inputs[1] }}, {{ outputs[0] }});
"""

_ADD_LEFT_SHIFT = 20
_SQUARED_DIFFERENCE_LEFT_SHIFT = 7


def add_quantization(a: Tensor, b: Tensor, output: Tensor, activation: str) -> AddQuantization:
    """As TFLM's CalculateOpDataAdd: both inputs to half the larger scale, 20 bits up."""
    return _rescaled(a, b, output, activation, _ADD_LEFT_SHIFT, 1)


def _rescaled(
    a: Tensor, b: Tensor, output: Tensor, activation: str, left_shift: int, power: int
) -> AddQuantization:
    """Both operands to half the larger scale; the result has its scale to the `power`."""
    q_a, q_b, q_out = quantization_of(a), quantization_of(b), quantization_of(output)
    twice_max = 2 * max(q_a.scale, q_b.scale)
    low, high = activation_range(activation, q_out)
    a_multiplier, a_shift = quantize_multiplier(q_a.scale / twice_max)
    b_multiplier, b_shift = quantize_multiplier(q_b.scale / twice_max)
    multiplier, shift = quantize_multiplier(
        twice_max**power / ((1 << left_shift * power) * q_out.scale)
    )
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


_NAMES = {"input1": "a", "input2": "b", "output": "out"}


def _fields(q: AddQuantization | MulQuantization) -> dict[str, int]:
    """The fields of mcud_binary_s8_t."""
    found = {}
    for name, value in asdict(q).items():
        first, _, rest = name.partition("_")
        found[f"{_NAMES[first]}_{rest}" if first in _NAMES else name] = value
    return found


_DIV_SHIFTS = -25, 22
"""Of the output's multiplier: beyond, the reference shifts by no number of bits of a word."""


def _div_multiplier(a: Quantization, b: Quantization, output: Quantization) -> tuple[int, int]:
    """As TFLM's CalculateOpDataDiv, in double precision."""
    return quantize_multiplier(a.scale / (b.scale * output.scale))


def _div_fields(a: Tensor, b: Tensor, output: Tensor, activation: str) -> dict[str, int]:
    multiplier, shift = _div_multiplier(*map(quantization_of, (a, b, output)))
    fields = _fields(mul_quantization(a, b, output, activation))
    return {**fields, "out_multiplier": multiplier, "out_shift": shift}


def _prelu_fields(a: Tensor, b: Tensor, output: Tensor, activation: str) -> dict[str, int]:
    """As TFLM's CalculatePreluParams."""
    q_a, q_b, q_out = quantization_of(a), quantization_of(b), quantization_of(output)
    a_multiplier, a_shift = quantize_multiplier(q_a.scale / q_out.scale)
    b_multiplier, b_shift = quantize_multiplier(q_a.scale * q_b.scale / q_out.scale)
    fields = _fields(mul_quantization(a, b, output, activation))
    del fields["out_multiplier"], fields["out_shift"]
    return {
        **fields,
        "a_multiplier": a_multiplier, "a_shift": a_shift,
        "b_multiplier": b_multiplier, "b_shift": b_shift,
    }  # fmt: skip


_PREPARE: dict[str, Callable[[Tensor, Tensor, Tensor, str], dict[str, int]]] = {
    "ADD": lambda *tensors: _fields(add_quantization(*tensors)),
    "SUB": lambda *tensors: _fields(add_quantization(*tensors)),
    "MUL": lambda *tensors: _fields(mul_quantization(*tensors)),
    "DIV": _div_fields,
    "SQUARED_DIFFERENCE": lambda a, b, output, activation: _fields(
        _rescaled(a, b, output, activation, _SQUARED_DIFFERENCE_LEFT_SHIFT, 2)
    ),
    "PRELU": _prelu_fields,
    "MAXIMUM": lambda *tensors: {},
    "MINIMUM": lambda *tensors: {},
}


def binary_fields(operator: Operator, a: Tensor, b: Tensor, output: Tensor) -> dict[str, int]:
    """What the kernel of an operator is given (fields of mcud_binary_s8_t), by its operands."""
    return _PREPARE[operator.kind](a, b, output, activation_of(operator))


def operands(implementation: Implementation, graph: Graph, operator: Operator) -> Implementation:
    """The implementation with its constant operands in flash in place of inputs."""
    snippet, constants = implementation.snippet, list(implementation.constants)
    overlaps = implementation.overlaps
    for position in (0, 1):
        tensor = tensor_at(graph, operator, position)
        assert tensor is not None
        if tensor.data is None:
            continue
        name = f"operand_{position}"
        snippet = snippet.replace(f"inputs[{position}]", f"constants.{name}")
        constants.append(Constant(name, as_constant(tensor.data, "int8"), "weights"))
        overlaps = tuple(rule for rule in overlaps if rule.input != position)
    return replace(implementation, snippet=snippet, constants=tuple(constants), overlaps=overlaps)


def _cmsis(kind: str, q: AddQuantization | MulQuantization, elements: int) -> Implementation:
    function = f"arm_elementwise_{kind.lower()}_s8"
    return Implementation(
        kernel=function,
        snippet=_ADD if kind == "ADD" else _MUL,
        values={"q": q, "elements": elements},
        overlaps=elementwise_overlap(0, 1),
        sources=(f"cmsis-nn:{function}",),
        headers=("arm_nnfunctions.h",),
        work=elements_work(elements),
        reason="CMSIS-NN",
    )


def _broadcast(kind: str, walk: Walk, fields: dict[str, int]) -> Implementation:
    """Any shapes. The output may lie over an operand that is walked as it lies."""
    padded = walk.padded()
    plain = [
        position
        for position, strides in enumerate((walk.a_stride, walk.b_stride))
        if 0 not in strides
    ]
    return Implementation(
        kernel=f"mcud_broadcast_{kind.lower()}_s8",
        snippet=_BROADCAST,
        values={"w": padded, "q": fields, "function": f"mcud_broadcast_{kind.lower()}_s8"},
        overlaps=elementwise_overlap(*plain),
        sources=("kernels/broadcast_s8.c",),
        headers=("broadcast_s8.h",),
        work=elements_work(math.prod(padded.extent), rows=math.prod(padded.extent[:-1])),
        reason="takes any shapes on any core",
    )


@register
class Binary(OperatorFamily):
    """Two tensors into one, element by element."""

    kinds = tuple(_PREPARE)
    replacement = "int8 operands whose shapes broadcast"

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        if is_plain(graph, operator):
            yield from plain_limits(graph, operator)
            return
        yield from dtype_limits(graph, operator, (0, 1))
        yield from activation_limits(operator)
        a, b = tensor_at(graph, operator, 0), tensor_at(graph, operator, 1)
        if a is None or b is None:
            return
        output = output_of(graph, operator)
        if broadcast_shape(a.shape, b.shape) != output.shape:
            yield f"{a.shape} with {b.shape} does not give {output.shape}"
        elif len(broadcast_walk(a.shape, b.shape).extent) > DIMENSIONS:
            yield f"{a.shape} with {b.shape} needs more than {DIMENSIONS} loops"
        if operator.kind == "DIV":
            yield from _div_limits(a, b, output)
        if operator.kind in ("MAXIMUM", "MINIMUM"):
            # The reference compares what is stored.
            yield from scale_limits(graph, operator)

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        if is_plain(graph, operator):
            return (plain(graph, operator),)
        a, b = tensor_at(graph, operator, 0), tensor_at(graph, operator, 1)
        assert a is not None and b is not None
        output, activation = output_of(graph, operator), activation_of(operator)
        walk = broadcast_walk(a.shape, b.shape)
        found = []
        if walk.is_plain:
            found += _same_shape(operator.kind, a, b, output, activation, target)
        elif operator.kind == "MUL" and target.kernels == "auto":
            found += _mul_by_row(walk, a, b, output, activation, target)
        fields = binary_fields(operator, a, b, output)
        found.append(_broadcast(operator.kind, walk, fields))
        return tuple(operands(one, graph, operator) for one in found)

    def row_implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        return row_wise(self, graph, operator, target)


def _div_limits(a: Tensor, b: Tensor, output: Tensor) -> Iterator[str]:
    """Limits of DIV. A computed divisor of zero gives what the reference gives, no quotient."""
    q_a, q_b, q_out = a.quantization, b.quantization, output.quantization
    if q_a is None or q_b is None or q_out is None:
        return
    if b.data is not None and bool((b.data == q_b.zero_point).any()):
        yield "its divisor has a zero"
    if not _DIV_SHIFTS[0] <= _div_multiplier(q_a, q_b, q_out)[1] <= _DIV_SHIFTS[1]:
        yield "its inputs' scales do not suit its output's"


def _mul_by_row(
    walk: Walk, a: Tensor, b: Tensor, output: Tensor, activation: str, target: Target
) -> list[Implementation]:
    """MUL of a map by a vector over its channels, on either side."""
    sides = (walk.a_stride, walk.b_stride), (walk.b_stride, walk.a_stride)
    for position, (whole, row) in enumerate(sides):
        repeats, count = (*walk.extent, 0, 0)[:2]
        if (whole, row) != ((count, 1), (0, 1)):
            continue
        first, second = (a, b) if position == 0 else (b, a)
        q = mul_quantization(first, second, output, activation)
        one = mul_implementation(count, q, target, repeats=repeats)
        if one is not None:
            return [one if position == 0 else _swapped(one)]
    return []


def _swapped(implementation: Implementation) -> Implementation:
    """The implementation with its two inputs exchanged."""
    swap = {"inputs[0]": "inputs[1]", "inputs[1]": "inputs[0]"}
    snippet = re.sub(r"inputs\[[01]\]", lambda match: swap[match.group()], implementation.snippet)
    overlaps = tuple(replace(rule, input=1 - rule.input) for rule in implementation.overlaps)
    return replace(implementation, snippet=snippet, overlaps=overlaps)


def _same_shape(
    kind: str, a: Tensor, b: Tensor, output: Tensor, activation: str, target: Target
) -> list[Implementation]:
    """The faster kernels for ADD, SUB and MUL of equal shapes."""
    found: list[Implementation | None] = []
    quick = target.kernels == "auto"
    count = output.elements
    if kind in ("ADD", "SUB"):
        q: Any = add_quantization(a, b, output, activation)
        if quick:
            found.append(add_implementation(count, q, target, subtract=kind == "SUB"))
        if quick and kind == "ADD":
            found.append(add_exact_implementation(count, q, target))
    elif kind == "MUL":
        q = mul_quantization(a, b, output, activation)
        if quick:
            found.append(mul_implementation(count, q, target))
    if kind in ("ADD", "MUL"):
        found.append(_cmsis(kind, q, count))
    return [one for one in found if one is not None]
