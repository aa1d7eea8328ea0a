# SPDX-License-Identifier: Apache-2.0
"""Row forms that several families share: windows of convolutions, and operators on single rows.

An operator that computes row r of its output from row r of its inputs alone needs no kernel of its
own for it: it is the same operator on maps of height 1.
"""

from __future__ import annotations

from dataclasses import replace

from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator, Tensor
from mcudeploy.operators.base import (
    Implementation,
    OperatorFamily,
    RowForm,
    RowWindow,
    Target,
)
from mcudeploy.operators.shapes import ConvShape

MAP_RANK = 4


def convolution_window(shape: ConvShape) -> tuple[RowWindow, ...]:
    """What a convolution reads of its input 0."""
    return (RowWindow(0, shape.k_h, shape.stride_h, shape.dilation_h, shape.pad_top),)


def convolution_rows(shape: ConvShape) -> RowForm:
    """The row form of a convolution that can compute parts of rows."""
    columns = RowWindow(0, shape.k_w, shape.stride_w, shape.dilation_w, shape.pad_left)
    return RowForm(convolution_window(shape), columns=columns)


def is_map(tensor: Tensor) -> bool:
    """NHWC with batch 1."""
    return len(tensor.shape) == MAP_RANK and tensor.shape[0] == 1


def one_row(tensor: Tensor) -> Tensor:
    """A map of which only one row exists."""
    return replace(tensor, shape=(1, 1, *tensor.shape[2:]))


def row_wise(
    family: OperatorFamily, graph: Graph, operator: Operator, target: Target
) -> tuple[Implementation, ...]:
    """The implementations of `operator` on one row at a time, for a family that allows it.

    Its output is a map; every input is a map as high, or one that is the same for all rows.
    """
    output = graph.tensors[operator.outputs[0]]
    if len(operator.outputs) != 1 or not is_map(output):
        return ()
    tensors, windows = list(graph.tensors), []
    for position, index in enumerate(operator.inputs):
        if index == NO_TENSOR:
            continue
        tensor = graph.tensors[index]
        if is_map(tensor) and tensor.shape[1] == output.shape[1] and not tensor.is_constant:
            windows.append(RowWindow(position))
            tensors[index] = one_row(tensor)
        elif len(tensor.shape) >= MAP_RANK - 1 and tensor.shape[-3] != 1:
            return ()  # a constant with rows of its own
    tensors[operator.outputs[0]] = one_row(output)
    if not windows:
        return ()
    narrow = replace(graph, tensors=tuple(tensors))
    return tuple(
        replace(one, rows=RowForm(tuple(windows), flat=True))
        for one in family.implementations(narrow, operator, target)
        if one.snippet and not one.placed
    )


def streamed(implementation: Implementation, *, paired: bool = False) -> Implementation:
    """A row form as it stands in a plan, with what the loop of its segment needs."""
    strips = ("kernels/strips.c",) if paired else ()
    return replace(
        implementation,
        sources=(*implementation.sources, "kernels/stream.h", *strips),
        headers=(*implementation.headers, "stream.h", *(["strips.h"] if paired else [])),
    )
