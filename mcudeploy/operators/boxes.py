# SPDX-License-Identifier: Apache-2.0
"""Data movement as copies of strided boxes.

Whatever moves elements without computing (PAD, SLICE, TRANSPOSE, TILE, ...) is a few boxes: for
each index of a box, the element at `in_start + index * in_strides` goes to `out_start + index *
out_strides`. How a box is copied, and what that costs, is `box_copy.py`'s.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mcudeploy.graph.ir import DTYPE_BYTES, Graph, Operator, Tensor
from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OperatorFamily,
    Placed,
    RowForm,
    RowWindow,
    Target,
    as_constant,
)
from mcudeploy.operators.box_copy import Box, copied, merged
from mcudeploy.operators.code_size import CALL_BYTES
from mcudeploy.operators.view import output_of, scale_limits, tensor_at
from mcudeploy.operators.windows import is_map

PLACED = "placed"
"""The attribute of an operator that may be views (graph/passes/place_parts.py)."""


def byte_strides(tensor: Tensor) -> tuple[int, ...]:
    """Bytes from one element to the next along each dimension."""
    size = DTYPE_BYTES[tensor.dtype]
    return tuple(size * math.prod(tensor.shape[i + 1 :]) for i in range(len(tensor.shape)))


def movement(
    graph: Graph,
    operator: Operator,
    boxes: Sequence[Box],
    target: Target,
    fill: int | None = None,
) -> Implementation:
    """The implementation that copies `boxes`, over outputs filled with `fill` unless it is None."""
    constants: dict[int, Constant] = {}
    lines = []
    work: Counter[str] = Counter(call=1)
    if fill is not None:
        for position, index in enumerate(operator.outputs):
            size = graph.tensors[index].bytes
            work["filled"] += size
            lines.append(f"memset({{{{ outputs[{position}] }}}}, {fill}, {size});")
    copies = []
    for number, box in enumerate(boxes):
        output = graph.tensors[operator.outputs[box.output]]
        sink = f"(int8_t *){{{{ outputs[{box.output}] }}}}"
        source = f"(const int8_t *){{{{ outputs[{box.output}] }}}}"
        if not box.within_output:
            source = _source(graph, operator, box.input, constants)
        one = copied(f"box_{number}", box, DTYPE_BYTES[output.dtype], (source, sink), target)
        lines.append(one.text)
        work.update(one.work)
        copies.append(one)
    headers = tuple(dict.fromkeys(name for one in copies for name in one.headers))
    return Implementation(
        kernel="mcud_copy_box" if headers else "memcpy",
        snippet="\n".join(lines),
        constants=tuple(constants.values()),
        sources=tuple(dict.fromkeys(name for one in copies for name in one.sources)),
        headers=headers,
        work=work,
        code_bytes=CALL_BYTES + sum(one.code_bytes for one in copies),
        reason="the only kernel",
    )


def _source(graph: Graph, operator: Operator, position: int, constants: dict[int, Constant]) -> str:
    tensor = tensor_at(graph, operator, position)
    assert tensor is not None
    if tensor.data is None:
        return f"(const int8_t *){{{{ inputs[{position}] }}}}"
    name = f"operand_{position}"
    constants[position] = Constant(name, as_constant(tensor.data, tensor.dtype), "weights")
    return f"(const int8_t *){{{{ constants.{name} }}}}"


def as_views(graph: Graph, operator: Operator, boxes: Sequence[Box]) -> Implementation | None:
    """The implementation that copies nothing: each box is one run, so its output and its input can
    lie where the bytes are the same. None where that cannot be."""
    placed = []
    for box in boxes:
        tensor = tensor_at(graph, operator, box.input)
        output = graph.tensors[operator.outputs[box.output]]
        if tensor is None or tensor.is_constant or merged(box, DTYPE_BYTES[output.dtype])[0]:
            return None
        placed.append(Placed(box.input, box.output, box.in_start - box.out_start))
    return Implementation(kernel="none", snippet="", placed=tuple(placed), reason="views")


class Movement(OperatorFamily):
    """An operator that is a few boxes, of any type of element."""

    moved: tuple[int, ...] = (0,)
    """The inputs whose elements are moved; others are arguments."""

    @abstractmethod
    def boxes(self, graph: Graph, operator: Operator) -> Sequence[Box]:
        """The boxes, for an operator within the limits."""

    def arguments(self, graph: Graph, operator: Operator) -> Iterator[str]:
        """Limits of the operator's own."""
        return iter(())

    def fill(self, graph: Graph, operator: Operator) -> int | None:
        """The byte that outputs hold where no box goes; None where boxes cover them."""
        return None

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        for position in self.sources(operator):
            tensor = tensor_at(graph, operator, position)
            if tensor is None:
                yield f"input {position} is missing"
            elif tensor.dtype != output_of(graph, operator).dtype:
                yield f"input {position} is {tensor.dtype}, its output is not"
        yield from scale_limits(graph, operator, *self.sources(operator))
        yield from self.arguments(graph, operator)

    def sources(self, operator: Operator) -> tuple[int, ...]:
        """Positions of the inputs whose elements are moved."""
        return self.moved

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        boxes = self.boxes(graph, operator)
        fill = self.fill(graph, operator)
        copy = movement(graph, operator, boxes, target, fill)
        views = as_views(graph, operator, boxes) if operator.attributes.get(PLACED) else None
        return (copy,) if views is None else (views, copy)

    def row_implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        """Within rows: a permutation or a part of columns and channels."""
        output = output_of(graph, operator)
        sources = {p: graph.tensors[operator.inputs[p]] for p in self.sources(operator)}
        maps = [output, *sources.values()]
        if len(operator.outputs) > 1 or self.fill(graph, operator) is not None:
            return ()
        if not all(is_map(m) and m.shape[1] == output.shape[1] and not m.is_constant for m in maps):
            return ()
        boxes = self.boxes(graph, operator)
        rows = [r for box in boxes if (r := _one_row(box, sources[box.input], output)) is not None]
        if len(rows) < len(boxes):
            return ()
        windows = tuple(RowWindow(position) for position in sources)
        return (replace(movement(graph, operator, rows, target), rows=RowForm(windows, flat=True)),)


def _one_row(box: Box, source: Tensor, output: Tensor) -> Box | None:
    """What a box moves for one row of a map, None where rows do not go to rows of one number."""
    height = output.shape[1]
    rows = (box.extent[:2], box.in_strides[1], box.out_strides[1]) if len(box.extent) > 1 else None
    in_row, out_row = source.bytes // source.shape[1], output.bytes // output.shape[1]
    within = 0 <= box.in_start < in_row and 0 <= box.out_start < out_row
    if rows != ((1, height), in_row, out_row) or not within or box.within_output:
        return None
    return replace(box, extent=(1, 1, *box.extent[2:]))


def constant_argument(graph: Graph, operator: Operator, position: int, what: str) -> Iterator[str]:
    """A phrase when an argument is not known before the network runs."""
    tensor = tensor_at(graph, operator, position)
    if tensor is None or tensor.data is None:
        yield f"its {what} are computed, not constant"


def integers(graph: Graph, operator: Operator, position: int) -> list[int]:
    """The values of a constant argument that limits have found constant."""
    tensor = tensor_at(graph, operator, position)
    assert tensor is not None and tensor.data is not None
    return [int(value) for value in tensor.data.ravel().tolist()]
