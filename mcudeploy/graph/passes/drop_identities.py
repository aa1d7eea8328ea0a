# SPDX-License-Identifier: Apache-2.0
"""Drops operators that give the very bytes in the very shape that they are given.

A RESHAPE to another shape stays: it costs nothing, and it carries the shape that the next operator
reads.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator
from mcudeploy.graph.rewrite import Draft

NAME = "drop-identities"

_COPIES = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "QUANTIZE"}
_MOVES = {"PAD", "PADV2", "MIRROR_PAD", "SLICE", "CONCATENATION", "STRIDED_SLICE", "TILE"}
"""These keep every element's place when their output has their input's shape."""


def _is_identity(graph: Graph, operator: Operator) -> bool:
    reads = [i for i in operator.inputs if i != NO_TENSOR]
    if not reads or len(operator.outputs) != 1:
        return False
    source, target = graph.tensors[reads[0]], graph.tensors[operator.outputs[0]]
    if source.is_constant or source.is_variable:
        return False
    alike = (source.shape, source.dtype, source.quantization) == (
        target.shape,
        target.dtype,
        target.quantization,
    )
    if not alike or source.elements == 0:
        return False
    if operator.kind == "CONCATENATION":
        return len(reads) == 1
    if operator.kind == "STRIDED_SLICE":
        strides = graph.tensors[reads[3]].data if len(reads) > 3 else None
        return strides is not None and bool((np.abs(strides) == strides).all())
    if operator.kind == "TRANSPOSE":
        axes = graph.tensors[reads[1]].data if len(reads) > 1 else None
        return axes is not None and axes.ravel().tolist() == list(range(len(source.shape)))
    return operator.kind in _COPIES or operator.kind in _MOVES


def apply(graph: Graph) -> Graph:
    draft = Draft(graph)
    for operator in graph.operators:
        if not _is_identity(graph, operator):
            continue
        current = next(o for o in draft.operators if o.outputs == operator.outputs)
        source, target = current.inputs[0], current.outputs[0]
        if target not in graph.outputs:
            draft.swap(current)
            draft.read_instead(target, source)
            continue
        writer = draft.producer(source)
        if writer is None or source in graph.outputs:
            continue  # an input that is an output, too, needs its copy
        outputs = tuple(target if i == source else i for i in writer.outputs)
        draft.swap(current)
        draft.swap(writer, replace(writer, outputs=outputs))
        draft.read_instead(source, target)
    return draft.graph
