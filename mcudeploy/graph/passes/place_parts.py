# SPDX-License-Identifier: Apache-2.0
"""Lets parts of a tensor lie where they are, instead of being copied.

CONCATENATION and PACK along the outermost axis, SPLIT, UNPACK and SLICE of whole rows, and whatever
else moves nothing but unbroken runs of bytes: its output can be made where the next operator wants
it, or be read where the one before has left it. Such operators get the attribute `placed`, and
their kernels are then offered as views, too (`operators/boxes.py`); where the addresses can be had
is the memory plan's to find out, and where they cannot, the bytes are copied as without this pass.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.graph.rewrite import with_attributes
from mcudeploy.operators.base import family_of
from mcudeploy.operators.boxes import PLACED, Movement, as_views
from mcudeploy.operators.repeat import repeat_of

NAME = "place-parts"


def apply(graph: Graph) -> Graph:
    operators = tuple(_marked(graph, operator) for operator in graph.operators)
    same = all(new is old for new, old in zip(operators, graph.operators, strict=True))
    return graph if same else graph.with_operators(operators)


def _marked(graph: Graph, operator: Operator) -> Operator:
    changed: dict[str, Any] = {}
    if operator.kind == "REPEAT":
        repeat = repeat_of(operator)
        bodies = tuple(apply(body) for body in repeat.bodies)
        if any(new is not old for new, old in zip(bodies, repeat.bodies, strict=True)):
            changed["repeat"] = replace(repeat, bodies=bodies)
    elif _is_in_place(graph, operator):
        changed[PLACED] = True
    return (
        replace(operator, attributes=with_attributes(operator, **changed)) if changed else operator
    )


def _is_in_place(graph: Graph, operator: Operator) -> bool:
    family = family_of(operator.kind)
    if not isinstance(family, Movement) or operator.attributes.get(PLACED):
        return False
    if any(family.limits(graph, operator)) or family.fill(graph, operator) is not None:
        return False
    return as_views(graph, operator, family.boxes(graph, operator)) is not None
