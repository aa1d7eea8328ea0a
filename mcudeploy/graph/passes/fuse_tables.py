# SPDX-License-Identifier: Apache-2.0
"""Makes one table of a chain of operators that each map one int8 to one int8.

Two kinds of chains: operators that are tables already (RELU, then QUANTIZE), and float islands,
DEQUANTIZE, then float functions of one value, then QUANTIZE back to int8. Both compute one byte
from one byte, so 256 results say all; a table of tables is exact by construction, and the float
steps are computed as the reference computes them (`operators/lut.py`).
"""

from __future__ import annotations

from types import MappingProxyType

from mcudeploy.graph.ir import Graph, Operator, Tensor
from mcudeploy.graph.rewrite import Draft
from mcudeploy.operators import lut
from mcudeploy.operators.base import as_constant
from mcudeploy.operators.one_to_one import is_table, table_for
from mcudeploy.operators.shapes import Int8Array

NAME = "fuse-tables"


def apply(graph: Graph) -> Graph:
    draft = Draft(graph)
    for operator in graph.operators:
        if operator.kind == "DEQUANTIZE" and operator in draft.operators:
            _fold_island(draft, operator)
    position = 0
    while position < len(draft.operators):
        if not _fold_pair(draft, draft.operators[position]):
            position += 1
    return draft.graph


def _table_operator(first: Operator, last: Operator, table: Int8Array) -> Operator:
    return Operator(
        kind="TABLE",
        inputs=first.inputs[:1],
        outputs=last.outputs,
        attributes=MappingProxyType({"table": as_constant(table, "int8")}),
        source=last.source,
    )


def _fold_pair(draft: Draft, first: Operator) -> bool:
    """Join an operator with its only reader where both are tables."""
    if not is_table(draft.graph, first):
        return False
    second = draft.only_consumer(first.outputs[0])
    if second is None or not is_table(draft.graph, second):
        return False
    graph = draft.graph
    table = lut.compose(table_for(graph, first), table_for(graph, second))
    joined = _table_operator(first, second, table)
    draft.swap(second, joined)
    draft.swap(first)
    return True


def _fold_island(draft: Draft, start: Operator) -> None:
    """DEQUANTIZE, float functions of one value, QUANTIZE: one table."""
    chain = [start]
    while (following := draft.only_consumer(chain[-1].outputs[0])) is not None:
        chain.append(following)
        if following.kind == "QUANTIZE":
            break
        if following.kind not in lut.FLOAT or len(following.inputs) != 1:
            return
    source, target = draft.tensors[start.inputs[0]], draft.tensors[chain[-1].outputs[0]]
    if chain[-1].kind != "QUANTIZE" or not (_is_int8(source) and _is_int8(target)):
        return
    assert source.quantization is not None and target.quantization is not None
    table = lut.table_of_island(
        [(operator.kind, operator.attributes) for operator in chain[1:-1]],
        source.quantization,
        target.quantization,
    )
    draft.swap(chain[-1], _table_operator(start, chain[-1], table))
    for operator in chain[:-1]:
        draft.swap(operator)


def _is_int8(tensor: Tensor) -> bool:
    quantization = tensor.quantization
    return tensor.dtype == "int8" and quantization is not None and not quantization.per_channel
