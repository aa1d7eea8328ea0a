# SPDX-License-Identifier: Apache-2.0
"""Drops operators whose outputs nothing reads.

From the last to the first, so that what only a dropped operator read goes with it. An operator
that keeps state stays.
"""

from __future__ import annotations

from mcudeploy.graph.ir import NO_TENSOR, Graph

NAME = "drop-dead"


def apply(graph: Graph) -> Graph:
    read = set(graph.outputs)
    kept = []
    for operator in reversed(graph.operators):
        stateful = any(i != NO_TENSOR and graph.tensors[i].is_variable for i in operator.inputs)
        if stateful or read & set(operator.outputs):
            kept.append(operator)
            read.update(operator.inputs)
    if len(kept) == len(graph.operators):
        return graph
    return graph.with_operators(tuple(reversed(kept)))
