# SPDX-License-Identifier: Apache-2.0
"""An order of operators for row-streamed plans: of branches that meet, the shorter one first.

Whenever a row has come, the latest operator that can go on does. Where branches of different
depth meet, a short one that came late would run ahead and keep rows that wait for the other. Early
in the order it runs when the long one cannot: after what waits for it has been consumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mcudeploy.graph.ir import Graph
from mcudeploy.memory.lifetimes import lifespans
from mcudeploy.memory.plan import Plan


def short_branches_first(graph: Graph) -> list[int]:
    """Positions of the operators: by depth, and of one depth those first that wait the longest."""
    maker = {t: k for k, operator in enumerate(graph.operators) for t in operator.outputs}
    depth: list[int] = []
    for operator in graph.operators:
        depth.append(1 + max((depth[maker[t]] for t in operator.inputs if t in maker), default=0))
    wait = [0] * len(depth)
    for k, operator in enumerate(graph.operators):
        for tensor in operator.inputs:
            if tensor in maker:
                wait[maker[tensor]] = max(wait[maker[tensor]], depth[k] - depth[maker[tensor]])
    return sorted(range(len(depth)), key=lambda k: (depth[k], -wait[k], k))


def in_order(plan: Plan, order: Sequence[int]) -> Plan:
    """What a streamed plan takes from its unstreamed one, for another order of operators."""
    operators = tuple(plan.graph.operators[k] for k in order)
    graph = replace(plan.graph, operators=operators)
    spans = lifespans(graph)
    live = max(
        sum(graph.tensors[t].bytes for t, (a, b) in spans.items() if a <= step < b)
        for step in range(len(operators))
    )
    certificate = replace(
        plan.certificate, order_live_bytes=live, order_method="short branches first"
    )
    return replace(plan, graph=graph, certificate=certificate)
