# SPDX-License-Identifier: Apache-2.0
"""Makes tables of operators between a tensor and a constant that is the same for every element.

MUL, ADD, SUB, MAXIMUM, MINIMUM, SQUARED_DIFFERENCE and PRELU with a scalar map one int8 to one
int8. As tables they cost a look-up an element, and `fuse_tables` joins them with each other and
with the activations beside them. A table takes 256 bytes of flash, so an operator becomes one where
it has as many elements, where it joins another table, or where it changes no byte.

This is as far as a multiplication and an addition behind a convolution (a batch normalization that
the converter has not folded) go without changing bits: docs/concepts/passes.md says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.graph.rewrite import Draft
from mcudeploy.operators import lut
from mcudeploy.operators.base import as_constant, family_of
from mcudeploy.operators.constant_operand import KINDS, constant_table
from mcudeploy.operators.one_to_one import is_table
from mcudeploy.operators.shapes import Int8Array

NAME = "tabulate-constants"

_TABLE_BYTES = 256


def apply(graph: Graph) -> Graph:
    draft = Draft(graph)
    found = {
        operator.outputs[0]: made
        for operator in graph.operators
        if (made := _table(graph, operator)) is not None
    }
    for operator in graph.operators:
        if operator.outputs[0] not in found:
            continue
        position, table = found[operator.outputs[0]]
        source = operator.inputs[position]
        if (
            graph.tensors[source].elements >= _TABLE_BYTES
            or np.array_equal(table, lut.INPUTS)
            or _joins_a_table(draft, operator, source, found)
        ):
            attributes = MappingProxyType({"table": as_constant(table, "int8")})
            one = Operator("TABLE", (source,), operator.outputs, attributes, operator.source)
            draft.swap(operator, one)
    return draft.graph


def _table(graph: Graph, operator: Operator) -> tuple[int, Int8Array] | None:
    """(position of the operand that is computed, table); None for what is none."""
    if operator.kind not in KINDS or graph.tensors[operator.outputs[0]].dtype != "int8":
        return None
    family = family_of(operator.kind)
    assert family is not None
    if any(family.limits(graph, operator)):
        return None
    return constant_table(graph, operator)


def _joins_a_table(
    draft: Draft, operator: Operator, source: int, found: Mapping[int, object]
) -> bool:
    """Beside it stands a table, or what can become one, that no other reads in between."""
    before, after = draft.producer(source), draft.only_consumer(operator.outputs[0])
    if draft.only_consumer(source) is not operator:
        before = None
    return any(
        one is not None and (one.outputs[0] in found or is_table(draft.graph, one))
        for one in (before, after)
    )
