# SPDX-License-Identifier: Apache-2.0
"""Operators that map one int8 to one int8, each as a look-up in a table of 256 bytes.

TANH, LOGISTIC, the RELU family, HARD_SWISH, ELU, GELU, EXP, ... and QUANTIZE from int8 to int8 all
become the same loop; the table (`lut.py`) holds what the reference kernel computes. Where that is
what comes in (a scale that changes its name), nothing is computed. `TABLE` is the
kind of an operator that a rewrite made from a chain of them: its attribute `table` is the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mcudeploy.graph.ir import Graph, Operator, Quantization, Tensor
from mcudeploy.operators import lut
from mcudeploy.operators.base import (
    SAME_BYTES,
    Constant,
    Implementation,
    OperatorFamily,
    Target,
    as_constant,
    register,
    zeros_of_size,
)
from mcudeploy.operators.edges import quantize_edge, quantize_edge_limits
from mcudeploy.operators.shapes import Int8Array
from mcudeploy.operators.view import (
    dtype_limits,
    elementwise_overlap,
    output_of,
    quantization_of,
    tensor_at,
)
from mcudeploy.operators.windows import row_wise
from mcudeploy.operators.work import elements_work

_CALL = """
mcud_table_s8({{ inputs[0] }}, {{ outputs[0] }}, {{ elements }}, {{ constants.table }});
"""
_FIXED_OUTPUT = {"TANH": (1 / 128, 0), "LOGISTIC": (1 / 256, -128)}
_HARD_SWISH_RATIO = 128.0


def table_for(graph: Graph, operator: Operator) -> Int8Array:
    """The table of an operator that `limits` accepts."""
    if operator.kind == "TABLE":
        table: Int8Array = operator.attributes["table"]
        return table
    source = tensor_at(graph, operator, 0)
    assert source is not None
    target = output_of(graph, operator)
    return lut.table_of(
        operator.kind, quantization_of(source), quantization_of(target), operator.attributes
    )


def is_table(graph: Graph, operator: Operator) -> bool:
    """The operator maps one int8 to one int8 and can be computed by a table."""
    if operator.kind not in (*lut.kinds(), "TABLE"):
        return False
    source = tensor_at(graph, operator, 0)
    if source is None or source.dtype != "int8":
        return False
    return not any(_table_limits(graph, operator))


def _table_limits(graph: Graph, operator: Operator) -> Iterator[str]:
    source, target = tensor_at(graph, operator, 0), output_of(graph, operator)
    yield from dtype_limits(graph, operator, (0,))
    if source is None or source.quantization is None or target.quantization is None:
        return
    if source.elements != target.elements:
        yield "its output does not have its input's size"
    if source.quantization.per_channel or target.quantization.per_channel:
        yield "it is quantized per channel"
    yield from _reference_limits(operator.kind, source.quantization, target.quantization)


def _reference_limits(kind: str, source: Quantization, target: Quantization) -> Iterator[str]:
    """Where the reference kernel refuses, or computes something else than the operator's name."""
    wanted = _FIXED_OUTPUT.get(kind)
    if wanted is not None and (target.scale, target.zero_point) != wanted:
        yield f"its output has not the scale {wanted[0]} and zero point {wanted[1]}"
    if kind == "NEG" and (source != target or source.zero_point != 0):
        yield "it is not between equal scales with zero point 0, all that the reference negates"
    if kind == "HARD_SWISH" and source.scale >= _HARD_SWISH_RATIO * target.scale:
        yield "its input's scale is 128 times its output's or more"


def _table_calls(graph: Graph, operator: Operator, target: Target) -> Sequence[Implementation]:
    source: Tensor = output_of(graph, operator)
    table = zeros_of_size(256, "int8") if target.sizes_only else table_for(graph, operator)
    call = Implementation(
        kernel="mcud_table_s8",
        snippet=_CALL,
        values={"elements": source.elements},
        constants=(Constant("table", as_constant(table, "int8"), "tables"),),
        overlaps=elementwise_overlap(0),
        sources=("kernels/table_s8.c",),
        headers=("table_s8.h",),
        work=elements_work(source.elements),
        reason="one look-up an element",
    )
    return (SAME_BYTES, call) if (table == lut.INPUTS).all() else (call,)


@register
class OneToOne(OperatorFamily):
    """Every function of one int8 value; `TABLE` is a chain of them."""

    kinds = (*(kind for kind in lut.kinds() if kind != "QUANTIZE"), "TABLE")
    replacement = "an activation between int8 tensors that TensorFlow Lite can quantize"

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from _table_limits(graph, operator)

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        return _table_calls(graph, operator, target)

    def row_implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        return row_wise(self, graph, operator, target)


def _is_table(graph: Graph, operator: Operator) -> bool:
    """The QUANTIZE is from int8 to int8."""
    source, target = tensor_at(graph, operator, 0), output_of(graph, operator)
    return source is not None and source.dtype == target.dtype == "int8"


@register
class Quantize(OperatorFamily):
    """QUANTIZE: int8 to another int8 is a table, all else an edge of the network."""

    kinds = ("QUANTIZE",)

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        if _is_table(graph, operator):
            yield from _table_limits(graph, operator)
        else:
            yield from quantize_edge_limits(graph, operator)

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        if _is_table(graph, operator):
            return _table_calls(graph, operator, target)
        return (quantize_edge(graph, operator),)

    def row_implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        return row_wise(self, graph, operator, target)
