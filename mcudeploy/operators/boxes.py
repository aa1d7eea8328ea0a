# SPDX-License-Identifier: Apache-2.0
"""Data movement as copies of strided boxes, by firmware/kernels/copy_box.c.

Whatever moves elements without computing (PAD, SLICE, TRANSPOSE, TILE, ...) is a few boxes: for
each index of a box, the element at `in_start + index * in_strides` goes to `out_start + index *
out_strides`. Dimensions that lie together on both sides are merged, and what is contiguous on both
becomes a run of bytes; most operators end as one or two loops over runs.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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
from mcudeploy.operators.view import output_of, scale_limits, tensor_at
from mcudeploy.operators.windows import is_map

_LOOPS = 4
_INLINE_BYTES = 64
_LONG_RUN_BYTES = 16
"""From here on the C library's memcpy takes words at a time."""

_BOX = """\
static const mcud_box_t {name} = {{
    .extent = {{ {extent} }},
    .in_stride = {{ {in_stride} }},
    .out_stride = {{ {out_stride} }},
    .run = {run},
}};
"""


@dataclass(frozen=True)
class Box:
    """Extents in elements; strides and starts in bytes. Strides may be 0 or negative.

    The box is read from an input, or with `within_output` from the output itself.
    """

    extent: tuple[int, ...]
    in_strides: tuple[int, ...]
    out_strides: tuple[int, ...]
    in_start: int = 0
    out_start: int = 0
    input: int = 0
    output: int = 0
    within_output: bool = False


def byte_strides(tensor: Tensor) -> tuple[int, ...]:
    """Bytes from one element to the next along each dimension."""
    size = DTYPE_BYTES[tensor.dtype]
    return tuple(size * math.prod(tensor.shape[i + 1 :]) for i in range(len(tensor.shape)))


def merged(box: Box, element_bytes: int) -> tuple[list[tuple[int, int, int]], int]:
    """The loops (extent, in stride, out stride) that are left, outermost first, and the run."""
    dims = [d for d in zip(box.extent, box.in_strides, box.out_strides, strict=True) if d[0] != 1]
    run = element_bytes
    while dims and dims[-1][1] == dims[-1][2] == run:
        run *= dims.pop()[0]
    loops: list[tuple[int, int, int]] = []
    for extent, in_stride, out_stride in dims:
        if loops and loops[-1][1:] == (extent * in_stride, extent * out_stride):
            loops[-1] = (loops[-1][0] * extent, in_stride, out_stride)
        else:
            loops.append((extent, in_stride, out_stride))
    return loops, run


def box_text(name: str, box: Box, element_bytes: int, source: str, target: str) -> str:
    """C statements that copy a box; `source` and `target` are expressions of byte pointers."""
    source, target = _plus(source, box.in_start), _plus(target, box.out_start)
    loops, run = merged(box, element_bytes)
    if not loops:
        return f"memcpy({target}, {source}, {run});"
    outer, inner = loops[: max(0, len(loops) - _LOOPS)], loops[-_LOOPS:]
    inner = [(1, 0, 0)] * (_LOOPS - len(inner)) + inner
    columns = [", ".join(str(d[i]) for d in inner) for i in range(3)]
    text = _BOX.format(
        name=name, extent=columns[0], in_stride=columns[1], out_stride=columns[2], run=run
    )
    indent = ""
    for depth, (extent, in_stride, out_stride) in enumerate(outer):
        index = f"i{depth}"
        text += f"{indent}for (int32_t {index} = 0; {index} < {extent}; {index}++)\n"
        source, target = f"{source} + {index} * {in_stride}", f"{target} + {index} * {out_stride}"
        indent += "    "
    return text + f"{indent}mcud_copy_box(&{name}, {source}, {target});"


def _plus(pointer: str, offset: int) -> str:
    return f"{pointer} + {offset}" if offset else pointer


def movement(
    graph: Graph, operator: Operator, boxes: Sequence[Box], fill: int | None = None
) -> Implementation:
    """The implementation that copies `boxes`, over outputs filled with `fill` unless it is None."""
    constants: dict[int, Constant] = {}
    lines = []
    if fill is not None:
        for position, index in enumerate(operator.outputs):
            size = graph.tensors[index].bytes
            lines.append(f"memset({{{{ outputs[{position}] }}}}, {fill}, {size});")
    for number, box in enumerate(boxes):
        output = graph.tensors[operator.outputs[box.output]]
        target = f"(int8_t *){{{{ outputs[{box.output}] }}}}"
        source = f"(const int8_t *){{{{ outputs[{box.output}] }}}}"
        if not box.within_output:
            source = _source(graph, operator, box.input, constants)
        lines.append(box_text(f"box_{number}", box, DTYPE_BYTES[output.dtype], source, target))
    copies = any(merged(box, DTYPE_BYTES[output.dtype])[0] for box in boxes)
    return Implementation(
        kernel="mcud_copy_box" if copies else "memcpy",
        snippet="\n".join(lines),
        constants=tuple(constants.values()),
        sources=("kernels/copy_box.c",) if copies else (),
        headers=("copy_box.h",) if copies else (),
        work=_work(graph, operator, boxes, fill),
        reason="the only kernel",
    )


def _work(
    graph: Graph, operator: Operator, boxes: Sequence[Box], fill: int | None
) -> Mapping[str, float]:
    """Bytes filled, boxes, innermost loops, single bytes, runs and what memcpy moves in them.

    A box of one run is a memcpy of constant size, which compilers do in line up to 64 bytes.
    """
    names = (
        "box", "loop", "byte", "run", "inline words", "inline rest", "short aligned words",
        "short words", "short rest", "long aligned words", "long words", "long rest", "filled",
    )  # fmt: skip
    work = {"call": 1, **dict.fromkeys(names, 0)}
    if fill is not None:
        work["filled"] = sum(graph.tensors[index].bytes for index in operator.outputs)
    for box in boxes:
        output = graph.tensors[operator.outputs[box.output]]
        loops, run = merged(box, DTYPE_BYTES[output.dtype])
        runs = math.prod(extent for extent, _, _ in loops)
        work["box"] += 1
        work["loop"] += math.prod(extent for extent, _, _ in loops[:-1]) if loops else 0
        work["byte" if run == 1 else "run"] += runs
        steps = [box.in_start, box.out_start, *(step for loop in loops for step in loop[1:])]
        aligned = not any(step % 4 for step in steps)
        if not loops and run <= _INLINE_BYTES:
            work["inline words"] += run // 4
            work["inline rest"] += run % 4
        elif run > 1:
            length = "short" if run < _LONG_RUN_BYTES else "long"
            work[f"{length} aligned words" if aligned else f"{length} words"] += runs * (run // 4)
            work[f"{length} rest"] += runs * (run % 4)
    return work


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
        copy = movement(graph, operator, boxes, fill)
        views = as_views(graph, operator, boxes) if fill is None else None
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
        return (replace(movement(graph, operator, rows), rows=RowForm(windows, flat=True)),)


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
