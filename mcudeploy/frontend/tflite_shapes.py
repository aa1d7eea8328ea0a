# SPDX-License-Identifier: Apache-2.0
"""Sizes for dimensions that a converter left open because the batch was.

A model converted with an open batch holds shapes with 1 in each open place and a signature with
-1 there. For most operators 1 is right once the batch is 1. It is not where the batch is mixed
with other axes (SPACE_TO_BATCH_ND, RESHAPE to (-1, n)), so shapes are carried forward from the
inputs, operator by operator.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator

Shape = tuple[int, ...]

_SAME_ELEMENTS = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"}
_OPEN = -1


def close_shapes(graph: Graph, open_shapes: Mapping[int, Shape]) -> tuple[Graph, frozenset[int]]:
    """The graph with batch 1 carried through `open_shapes` (tensor to its shape with -1).

    Also returns the tensors whose size still depends on more than the batch.
    """
    shapes = {index: tensor.shape for index, tensor in enumerate(graph.tensors)}
    unknown = {
        index
        for index in graph.inputs
        if _OPEN in open_shapes.get(index, ())[1:]
        or (index in open_shapes and graph.tensors[index].shape[:1] != (1,))
    }
    for operator in graph.operators:
        for output in operator.outputs:
            if output not in open_shapes:
                continue
            found = _output_shape(graph, shapes, operator, open_shapes[output], open_shapes)
            if found is None or any(size < 0 for size in found):
                unknown.add(output)
            else:
                shapes[output] = found
    tensors = tuple(replace(t, shape=shapes[i]) for i, t in enumerate(graph.tensors))
    return replace(graph, tensors=tensors), frozenset(unknown)


def _output_shape(
    graph: Graph,
    shapes: Mapping[int, Shape],
    operator: Operator,
    signature: Shape,
    open_shapes: Mapping[int, Shape],
) -> Shape | None:
    """The shape of an output with an open signature; None when it cannot be told."""
    reads = [i for i in operator.inputs if i != NO_TENSOR]
    if not reads:
        return None
    flowing = [i for i in reads if not graph.tensors[i].is_constant]
    source = shapes[flowing[0]] if flowing else ()
    if not source or not signature:
        return None
    argument = graph.tensors[reads[1]].data if len(reads) > 1 else None
    if operator.kind in _SAME_ELEMENTS:
        return _fill_one(signature, math.prod(source))
    if operator.kind in ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"):
        if argument is None or not source or (argument < 1).any():
            return None
        blocks = math.prod(argument.ravel().tolist())
        into = operator.kind == "SPACE_TO_BATCH_ND"
        batch = source[0] * blocks if into else source[0] // blocks
        return (batch, *signature[1:])
    if operator.kind == "TRANSPOSE":
        axes = [] if argument is None else argument.ravel().tolist()
        if sorted(axes) != list(range(len(source))):
            return None
        return tuple(source[axis] for axis in axes)
    if operator.kind == "FULLY_CONNECTED" and not operator.attributes.get("keep_num_dims"):
        return _fill_one(signature, math.prod(source) // max(source[-1], 1) * signature[-1])
    ranked = [shapes[i] for i in flowing if len(shapes[i]) == len(signature)]
    if len(source) == len(signature) and ranked:
        return tuple(
            max(s[axis] for s in ranked) if size == _OPEN else size
            for axis, size in enumerate(signature)
        )
    batch_only = all(
        size == 1
        for i in flowing
        for size, mark in zip(shapes[i], open_shapes.get(i, shapes[i]), strict=True)
        if mark == _OPEN
    )
    return tuple(1 if size == _OPEN else size for size in signature) if batch_only else None


def _fill_one(signature: Shape, elements: int) -> Shape | None:
    """`signature` with its one open dimension such that it has `elements` elements."""
    known = math.prod(size for size in signature if size != _OPEN)
    if signature.count(_OPEN) != 1 or known <= 0 or elements % known:
        return None
    return tuple(elements // known if size == _OPEN else size for size in signature)
