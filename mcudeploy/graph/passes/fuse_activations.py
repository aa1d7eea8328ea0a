# SPDX-License-Identifier: Apache-2.0
"""Moves a RELU into the operator before it, which clamps its output anyway.

Only where the RELU's 256 answers are a clamp to the very range that the fused activation has: its
input and output then have the same scale and zero point, and no bit changes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.graph.rewrite import Draft, with_attributes
from mcudeploy.operators import lut
from mcudeploy.operators.arithmetic import activation_range
from mcudeploy.operators.one_to_one import is_table, table_for
from mcudeploy.operators.view import activation_of, quantization_of

NAME = "fuse-activations"

_CLAMPING = frozenset(
    {
        "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL", "DIV",
        "AVERAGE_POOL_2D", "MAX_POOL_2D",
    }
)  # fmt: skip
_ACTIVATIONS = frozenset({"RELU", "RELU6", "RELU_N1_TO_1"})


def apply(graph: Graph) -> Graph:
    draft = Draft(graph)
    for operator in graph.operators:
        if operator.kind in _ACTIVATIONS:
            _fuse(draft, operator)
    return draft.graph


def _fuse(draft: Draft, activation: Operator) -> None:
    before = draft.producer(activation.inputs[0])
    if before is None or before.kind not in _CLAMPING or activation_of(before) != "NONE":
        return
    if draft.only_consumer(before.outputs[0]) is not activation:
        return
    if not is_table(draft.graph, activation) or not _is_clamp(draft.graph, activation):
        return
    attributes = with_attributes(before, fused_activation_function=activation.kind)
    draft.swap(activation)
    draft.swap(before, replace(before, outputs=activation.outputs, attributes=attributes))


def _is_clamp(graph: Graph, activation: Operator) -> bool:
    source, target = (graph.tensors[i] for i in (activation.inputs[0], activation.outputs[0]))
    if source.shape != target.shape or source.quantization != target.quantization:
        return False
    low, high = activation_range(activation.kind, quantization_of(target))
    return bool((table_for(graph, activation) == np.clip(lut.INPUTS, low, high)).all())
