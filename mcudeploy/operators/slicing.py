# SPDX-License-Identifier: Apache-2.0
"""Parts of one tensor: SLICE, STRIDED_SLICE, REVERSE_V2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.base import register
from mcudeploy.operators.box_copy import Box
from mcudeploy.operators.boxes import Movement, byte_strides, constant_argument, integers
from mcudeploy.operators.view import constant_at, output_of, tensor_at


def _box(
    graph: Graph, operator: Operator, starts: Sequence[int], steps: Sequence[int],
    extent: Sequence[int],
) -> Box:  # fmt: skip
    """Elements start, start + step, ... of the input along each dimension."""
    source = tensor_at(graph, operator, 0)
    assert source is not None
    strides = byte_strides(source)
    out_strides, size = [], strides[-1] if strides else 1
    for n in reversed(extent):
        out_strides.append(size)
        size *= n
    return Box(
        tuple(extent),
        tuple(stride * step for stride, step in zip(strides, steps, strict=True)),
        tuple(reversed(out_strides)),
        in_start=sum(start * stride for start, stride in zip(starts, strides, strict=True)),
    )


@register
class Slice(Movement):
    """SLICE: the box of the output's shape that begins at constant indices."""

    kinds = ("SLICE",)

    def arguments(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from constant_argument(graph, operator, 1, "beginnings")
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        if source is None or constant_at(graph, operator, 1) is None:
            return
        starts = integers(graph, operator, 1)
        inside = len(starts) == len(source.shape) == len(output.shape) and all(
            0 <= start <= size - count
            for start, size, count in zip(starts, source.shape, output.shape, strict=True)
        )
        if not inside:
            yield f"its slice of {output.shape} is not inside {source.shape}"

    def boxes(self, graph: Graph, operator: Operator) -> Sequence[Box]:
        extent = output_of(graph, operator).shape
        starts = integers(graph, operator, 1)
        return (_box(graph, operator, starts, [1] * len(extent), extent),)


@register
class StridedSlice(Movement):
    """STRIDED_SLICE with all masks and negative strides.

    Indices count from the end where negative and are clamped to the dimension; a masked beginning
    or end is the first or last element in the direction of the stride; a shrunk axis is one index;
    an ellipsis stands for as many whole dimensions as are missing, a new axis for a dimension of 1.
    """

    kinds = ("STRIDED_SLICE",)

    def arguments(self, graph: Graph, operator: Operator) -> Iterator[str]:
        for position, what in ((1, "beginnings"), (2, "ends"), (3, "strides")):
            yield from constant_argument(graph, operator, position, what)
        if operator.attributes.get("offset"):
            yield "its ends are given as sizes"
        elif all(constant_at(graph, operator, p) is not None for p in (1, 2, 3)):
            yield from self._shape_limits(graph, operator)

    def _shape_limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        assert source is not None
        given = [integers(graph, operator, p) for p in (1, 2, 3)]
        layout = _layout(operator, len(given[0]), len(source.shape))
        if layout is None or len({len(values) for values in given}) > 1 or 0 in given[2]:
            yield f"its indices do not suit {source.shape}"
            return
        extent, shrunk = self._ranges(graph, operator)[2:]
        shape = tuple(
            1 if axis is None else extent[axis]
            for axis, _ in layout
            if axis is None or axis not in shrunk
        )
        if shape != output.shape or 0 in extent:
            yield f"it gives {shape}, not {output.shape}"

    def boxes(self, graph: Graph, operator: Operator) -> Sequence[Box]:
        starts, steps, extent, _ = self._ranges(graph, operator)
        return (_box(graph, operator, starts, steps, extent),)

    def _ranges(
        self, graph: Graph, operator: Operator
    ) -> tuple[list[int], list[int], list[int], set[int]]:
        """(starts, steps, extents, shrunk axes), one entry a dimension of the input."""
        source = tensor_at(graph, operator, 0)
        assert source is not None
        begins, ends, strides = (integers(graph, operator, p) for p in (1, 2, 3))
        layout = _layout(operator, len(begins), len(source.shape))
        assert layout is not None
        masks = operator.attributes
        starts, steps, extent = [0] * len(source.shape), [1] * len(source.shape), [*source.shape]
        shrunk: set[int] = set()
        for axis, index in layout:
            if axis is None or index is None:
                continue
            bit, step, size = 1 << index, strides[index], source.shape[axis]
            low, high = (0, size) if step > 0 else (-1, size - 1)
            start = _clamped(begins[index], size, low, high)
            if masks.get("begin_mask", 0) & bit:
                start = low if step > 0 else high
            end = _clamped(ends[index], size, low, high)
            if masks.get("end_mask", 0) & bit:
                end = high if step > 0 else low
            if masks.get("shrink_axis_mask", 0) & bit:
                shrunk.add(axis)
                end, step = start + 1, 1
            starts[axis], steps[axis] = start, step
            extent[axis] = max(0, -(-(end - start) // step))
        return starts, steps, extent, shrunk


def _layout(
    operator: Operator, given: int, rank: int
) -> list[tuple[int | None, int | None]] | None:
    """(axis of the input, index among the given ones) of each dimension that the slice speaks of.

    A new axis has no axis of the input, a whole dimension no index. None where the indices are too
    many, two of them an ellipsis, or an ellipsis stands for nothing: the reference takes that for
    one dimension.
    """
    ellipsis, new = (operator.attributes.get(f"{m}_mask", 0) for m in ("ellipsis", "new_axis"))
    fresh = sum(1 for i in range(given) if new >> i & 1 and not ellipsis >> i & 1)
    dots = [i for i in range(given) if ellipsis >> i & 1]
    whole = rank - (given - fresh - len(dots))
    if len(dots) > 1 or whole < len(dots):
        return None
    found: list[tuple[int | None, int | None]] = []
    axis = 0
    for index in range(given):
        if index in dots:
            found += [(axis + i, None) for i in range(whole)]
            axis += whole
        elif new >> index & 1:
            found.append((None, index))
        else:
            found.append((axis, index))
            axis += 1
    return found + [(i, None) for i in range(axis, rank)]


def _clamped(index: int, size: int, low: int, high: int) -> int:
    return min(high, max(low, index + size if index < 0 else index))


@register
class Reverse(Movement):
    """REVERSE_V2: some axes from the last element to the first."""

    kinds = ("REVERSE_V2",)

    def arguments(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from constant_argument(graph, operator, 1, "axes")
        rank = len(output_of(graph, operator).shape)
        if constant_at(graph, operator, 1) is not None and any(
            not -rank <= axis < rank for axis in integers(graph, operator, 1)
        ):
            yield f"its axes are not those of {rank} dimensions"

    def boxes(self, graph: Graph, operator: Operator) -> Sequence[Box]:
        shape = output_of(graph, operator).shape
        axes = {axis % len(shape) for axis in integers(graph, operator, 1)}
        starts = [n - 1 if axis in axes else 0 for axis, n in enumerate(shape)]
        steps = [-1 if axis in axes else 1 for axis in range(len(shape))]
        return (_box(graph, operator, starts, steps, shape),)
