# SPDX-License-Identifier: Apache-2.0
"""Arithmetic beside the int8 network: indices, masks and the few values that stay in float32.

CAST, comparisons (of int8, too), SELECT, logic, and ADD, SUB, MUL, MAXIMUM, MINIMUM of int32 or
float32 become loops of plain C. Each float operation is one IEEE operation in single precision, as
the reference does it, so its bits are the same on an FPU and in software.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mcudeploy.graph.ir import Graph, Operator, Tensor
from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OperatorFamily,
    Target,
    as_constant,
    register,
)
from mcudeploy.operators.broadcast import broadcast_loops, broadcast_shape
from mcudeploy.operators.shapes import quantize_multiplier
from mcudeploy.operators.view import activation_of, output_of, quantization_of, tensor_at

_C_TYPES = {
    "int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int32_t",
    "float32": "float", "bool": "uint8_t",
}  # fmt: skip
_CASTS = ("int8", "uint8", "int16", "int32", "float32", "bool")
_WRAPPED = "(int32_t)((uint32_t)a {} (uint32_t)b)"
_ARITHMETIC = {"ADD": "+", "SUB": "-", "MUL": "*"}
_CHOICES = {"MAXIMUM": "a > b ? a : b", "MINIMUM": "a < b ? a : b"}
_COMPARISONS = {
    "LESS": "<", "LESS_EQUAL": "<=", "GREATER": ">", "GREATER_EQUAL": ">=",
    "EQUAL": "==", "NOT_EQUAL": "!=",
}  # fmt: skip
_LOGIC = {"LOGICAL_AND": "a && b", "LOGICAL_OR": "a || b", "LOGICAL_NOT": "!a"}

_LOOPS = """
{{ type }} *out = {{ outputs[0] }};
{{ reads }}

{% for extent in extents %}
{{ "    " * loop.index0 }}for (int32_t i{{ loop.index0 }} = 0; i{{ loop.index0 }} < {{ extent }}; i{{ loop.index0 }}++)
{% endfor %}
{{ "    " * extents | length }}*out++ = ({{ type }})({{ expression }});
"""  # noqa: E501


def is_plain(graph: Graph, operator: Operator) -> bool:
    """The operator's first operand is int32 or float32: nothing of it is quantized."""
    tensor = tensor_at(graph, operator, 0)
    return tensor is not None and tensor.dtype in ("int32", "float32")


def plain_limits(graph: Graph, operator: Operator) -> Iterator[str]:
    """Limits of ADD, SUB, MUL, MAXIMUM and MINIMUM of int32 or float32."""
    output = output_of(graph, operator)
    if operator.kind not in (*_ARITHMETIC, *_CHOICES):
        yield f"there is no kernel for it in {output.dtype}"
    if activation_of(operator) != "NONE":
        yield f"its fused activation {activation_of(operator)} is not supported in {output.dtype}"
    yield from _shape_limits(graph, operator, 2)
    for position in (0, 1):
        tensor = tensor_at(graph, operator, position)
        if tensor is not None and tensor.dtype != output.dtype:
            yield f"input {position} is {tensor.dtype}, its output {output.dtype}"


def _shape_limits(graph: Graph, operator: Operator, count: int) -> Iterator[str]:
    tensors = [tensor_at(graph, operator, position) for position in range(count)]
    given = [tensor for tensor in tensors if tensor is not None]
    if len(given) != count:
        yield "an input is missing"
        return
    for tensor in (*given, output_of(graph, operator)):
        if tensor.dtype not in _C_TYPES:
            yield f"{tensor.name} is {tensor.dtype}"
    shape = broadcast_shape(*(tensor.shape for tensor in given))
    if shape != output_of(graph, operator).shape:
        yield f"{', '.join(str(t.shape) for t in given)} give {shape}"


def plain(graph: Graph, operator: Operator) -> Implementation:
    """ADD, SUB, MUL, MAXIMUM or MINIMUM of int32 or float32."""
    expression = _CHOICES.get(operator.kind, "")
    if operator.kind in _ARITHMETIC:
        sign = _ARITHMETIC[operator.kind]
        whole = output_of(graph, operator).dtype == "int32"
        expression = _WRAPPED.format(sign) if whole else f"a {sign} b"
    return _loops(graph, operator, expression)


def _loops(graph: Graph, operator: Operator, expression: str) -> Implementation:
    """Loops whose body sets an output to an expression of the elements `a`, `b` and `c`."""
    names = sorted(set(re.findall(r"\b[abc]\b", expression)))
    tensors = [tensor_at(graph, operator, position) for position in range(len(names))]
    given = [tensor for tensor in tensors if tensor is not None]
    loops = broadcast_loops(*(tensor.shape for tensor in given))
    reads, constants, texts = [], [], []
    for position, (name, tensor) in enumerate(zip(names, given, strict=True)):
        text = f"{{{{ inputs[{position}] }}}}"
        if tensor.data is not None:
            label = f"operand_{position}"
            constants.append(Constant(label, as_constant(tensor.data, tensor.dtype), "weights"))
            text = f"{{{{ constants.{label} }}}}"
        reads.append(f"const {_C_TYPES[tensor.dtype]} *{name}s = {text};")
        steps = [loop[1 + position] for loop in loops]
        index = " + ".join(f"i{n} * {step}" for n, step in enumerate(steps) if step)
        texts.append((name, f"{name}s[{index or 0}]"))
    for name, text in texts:
        expression = re.sub(rf"\b{name}\b", text, expression)
    # The reads are jinja2 text themselves.
    body = _LOOPS.replace("{{ reads }}", "\n".join(reads))
    return Implementation(
        kernel="plain C",
        snippet=body,
        values={
            "type": _C_TYPES[output_of(graph, operator).dtype],
            "extents": [loop[0] for loop in loops],
            "expression": expression,
        },
        constants=tuple(constants),
        reason="a loop of one operation",
    )


class _Expression(OperatorFamily):
    """A family whose operators are one expression each."""

    def expression(self, graph: Graph, operator: Operator) -> str:
        raise NotImplementedError

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        return (_loops(graph, operator, self.expression(graph, operator)),)


def _compared(name: str, tensor: Tensor) -> str:
    """An int8 operand in 256ths, as TFLM rescales both before it compares them."""
    quantization = quantization_of(tensor)
    multiplier, shift = quantize_multiplier(quantization.scale)
    return f"mcud_multiply(({name} - {quantization.zero_point}) * 256, {multiplier}, {shift})"


@register
class Comparison(_Expression):
    """LESS and its like, of int8, int32, float32 or bool, to bool."""

    kinds = tuple(_COMPARISONS)

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from _shape_limits(graph, operator, 2)
        for position in (0, 1):
            tensor = tensor_at(graph, operator, position)
            if tensor is None:
                continue
            if tensor.dtype not in ("int8", "int32", "float32", "bool"):
                yield f"input {position} is {tensor.dtype}"
            elif tensor.dtype == "int8" and (
                tensor.quantization is None or not max(tensor.quantization.scales) < 1
            ):
                yield f"input {position} has no scale below 1, which the reference wants"
        if len({graph.tensors[index].dtype for index in operator.inputs[:2]}) > 1:
            yield "its inputs are not of one type"
        if output_of(graph, operator).dtype != "bool":
            yield "its output is not bool"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        (one,) = super().implementations(graph, operator, target)
        if "mcud_multiply" not in one.values["expression"]:
            return (one,)
        return (replace(one, headers=("fixed_point.h",), sources=("kernels/fixed_point.h",)),)

    def expression(self, graph: Graph, operator: Operator) -> str:
        a, b = tensor_at(graph, operator, 0), tensor_at(graph, operator, 1)
        assert a is not None and b is not None
        sides = (_compared("a", a), _compared("b", b)) if a.dtype == "int8" else ("a", "b")
        return f" {_COMPARISONS[operator.kind]} ".join(sides)


@register
class Logic(_Expression):
    """LOGICAL_AND, LOGICAL_OR, LOGICAL_NOT."""

    kinds = tuple(_LOGIC)

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from _shape_limits(graph, operator, 1 if operator.kind == "LOGICAL_NOT" else 2)

    def expression(self, graph: Graph, operator: Operator) -> str:
        return _LOGIC[operator.kind]


@register
class Select(_Expression):
    """SELECT and SELECT_V2: the second input where the first is true, else the third."""

    kinds = ("SELECT", "SELECT_V2")

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from _shape_limits(graph, operator, 3)
        output = output_of(graph, operator)
        condition = tensor_at(graph, operator, 0)
        if condition is not None and condition.dtype != "bool":
            yield f"its condition is {condition.dtype}, not bool"
        for position in (1, 2):
            tensor = tensor_at(graph, operator, position)
            if tensor is None:
                continue
            differ = output.dtype == "int8" and tensor.quantization != output.quantization
            if tensor.dtype != output.dtype or differ:
                yield f"input {position} and its output have different types or scales"

    def expression(self, graph: Graph, operator: Operator) -> str:
        return "a ? b : c"


@register
class Cast(_Expression):
    """CAST; float to integer truncates, and values must fit the type."""

    kinds = ("CAST",)

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from _shape_limits(graph, operator, 1)
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        if source is not None and (source.dtype not in _CASTS or output.dtype not in _CASTS):
            yield f"it casts {source.dtype} to {output.dtype}"

    def expression(self, graph: Graph, operator: Operator) -> str:
        return "a != 0" if output_of(graph, operator).dtype == "bool" else "a"
