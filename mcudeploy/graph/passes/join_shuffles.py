# SPDX-License-Identifier: Apache-2.0
"""Joins RESHAPE, TRANSPOSE, RESHAPE over the channels of a map into one CHANNEL_SHUFFLE.

So a converter writes ShuffleNet's shuffle (Zhang et al., CVPR 2018): the channels as a matrix of
groups, transposed, and in one row again. Every pixel's channels stay the pixel's: one operator on
single rows, where the three need a tensor of five dimensions between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.graph.rewrite import Draft

NAME = "join-shuffles"

_MAP_RANK = 4
_PIXEL = 3
"""Dimensions before the channels."""


def apply(graph: Graph) -> Graph:
    draft = Draft(graph)
    for operator in graph.operators:
        if operator.kind != "TRANSPOSE" or len(operator.inputs) != 2:
            continue
        first, last = draft.producer(operator.inputs[0]), draft.only_consumer(operator.outputs[0])
        if first is None or last is None or {first.kind, last.kind} != {"RESHAPE"}:
            continue
        if draft.only_consumer(operator.inputs[0]) is None:
            continue
        attributes = _shuffle(draft, first, operator, last)
        if attributes is not None:
            joined = Operator("CHANNEL_SHUFFLE", first.inputs[:1], last.outputs, attributes)
            draft.swap(last, joined)
            draft.swap(operator)
            draft.swap(first)
    return draft.graph


def _shuffle(
    draft: Draft, first: Operator, transpose: Operator, last: Operator
) -> Mapping[str, Any] | None:
    """Dimensions of the channels and their order; None where more than channels is moved."""
    source, target = draft.tensors[first.inputs[0]], draft.tensors[last.outputs[0]]
    inner, axes = draft.tensors[first.outputs[0]], draft.tensors[transpose.inputs[1]]
    if axes.data is None or source.is_constant or source.is_variable:
        return None
    order = [int(axis) % len(inner.shape) for axis in axes.data.ravel()]
    between = draft.tensors[transpose.outputs[0]]
    alike = all(
        (one.dtype, one.quantization) == (source.dtype, source.quantization)
        for one in (inner, between, target)
    )
    pixels = (
        len(source.shape) == _MAP_RANK
        and source.shape == target.shape
        and inner.shape[:_PIXEL] == source.shape[:_PIXEL]
        and order[:_PIXEL] == list(range(_PIXEL))
        and sorted(order) == list(range(len(inner.shape)))
    )
    if not alike or not pixels:
        return None
    return MappingProxyType(
        {"inner": inner.shape[_PIXEL:], "axes": tuple(axis - _PIXEL for axis in order[_PIXEL:])}
    )
