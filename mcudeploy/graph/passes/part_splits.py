# SPDX-License-Identifier: Apache-2.0
"""Turns a SPLIT of a map along its columns or channels into a SLICE for each part that is read.

The same bytes are copied. But each part can be taken when it is needed, row by row too, while the
operator with all its outputs wants room for all of them at once.
"""

from __future__ import annotations

import numpy as np

from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator, Tensor
from mcudeploy.graph.rewrite import Draft

NAME = "part-splits"

_DATA_AND_AXIS = {"SPLIT": (1, 0), "SPLIT_V": (0, 2)}
"""Positions of the inputs."""
_RANK, _HEIGHT = 4, 1


def apply(graph: Graph) -> Graph:
    draft = Draft(graph)
    for operator in graph.operators:
        axis = _axis_within_rows(graph, operator)
        if axis is not None:
            _part(draft, operator, axis)
    return draft.graph


def _axis_within_rows(graph: Graph, operator: Operator) -> int | None:
    """The axis of a split along the columns or channels of a map with batch 1, else None."""
    if operator.kind not in _DATA_AND_AXIS:
        return None
    positions = _DATA_AND_AXIS[operator.kind]
    if len(operator.inputs) <= max(positions) or NO_TENSOR in operator.inputs:
        return None
    source, axes = (graph.tensors[operator.inputs[p]] for p in positions)
    if axes.data is None or axes.data.size != 1 or source.is_constant:
        return None
    if len(source.shape) != _RANK or source.shape[0] != 1:
        return None
    axis = int(axes.data.ravel()[0]) % _RANK
    parts = [graph.tensors[i] for i in operator.outputs]
    whole = [
        part.shape[:axis] + part.shape[axis + 1 :] == source.shape[:axis] + source.shape[axis + 1 :]
        and (part.dtype, part.quantization) == (source.dtype, source.quantization)
        for part in parts
    ]
    fits = all(whole) and sum(part.shape[axis] for part in parts) == source.shape[axis]
    return axis if fits and axis > _HEIGHT else None


def _part(draft: Draft, operator: Operator, axis: int) -> None:
    data, _ = _DATA_AND_AXIS[operator.kind]
    slices, start = [], 0
    for index in operator.outputs:
        part = draft.tensors[index]
        begin = np.zeros(_RANK, np.int32)
        begin[axis] = start
        start += part.shape[axis]
        if not draft.consumers(index) and index not in draft.outputs:
            continue
        arguments = (
            draft.add_tensor(_constant(f"{part.name}/begin", begin)),
            draft.add_tensor(_constant(f"{part.name}/size", np.array(part.shape, np.int32))),
        )
        slices.append(Operator("SLICE", (operator.inputs[data], *arguments), (index,)))
    draft.swap(operator, *slices)


def _constant(name: str, data: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> Tensor:
    data.setflags(write=False)
    return Tensor(name, data.shape, "int32", data=data)
