# SPDX-License-Identifier: Apache-2.0
"""PAD, PADV2 and MIRROR_PAD: a tensor with a border of a value or of its own reflection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.base import Implementation, RowForm, RowWindow, Target, register
from mcudeploy.operators.box_copy import Box
from mcudeploy.operators.boxes import Movement, byte_strides, constant_argument, integers
from mcudeploy.operators.view import constant_at, output_of, tensor_at
from mcudeploy.operators.windows import is_map


def _paddings(graph: Graph, operator: Operator) -> list[tuple[int, int]]:
    """(before, after) along each dimension."""
    values = integers(graph, operator, 1)
    return list(zip(values[0::2], values[1::2], strict=True))


_ROW = """
int8_t *const to = {{ outputs[0] }} + ({{ row_begin }} % {{ out_ring }}) * {{ out_bytes }};
const int32_t from = {{ row_begin }} - {{ top }};

memset(to, {{ fill }}, {{ out_bytes }});
if (from >= 0 && from < {{ in_h }}) {
    memcpy(to + {{ left }}, {{ inputs[0] }} + (from % {{ in_ring }}) * {{ in_bytes }},
        {{ in_bytes }});
}
"""


def _centre(graph: Graph, operator: Operator) -> Box:
    source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
    assert source is not None
    strides = byte_strides(output)
    start = sum(
        before * stride
        for (before, _), stride in zip(_paddings(graph, operator), strides, strict=True)
    )
    return Box(source.shape, byte_strides(source), strides, out_start=start)


class _Padding(Movement):
    def arguments(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from constant_argument(graph, operator, 1, "paddings")
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        if source is None or constant_at(graph, operator, 1) is None:
            return
        paddings = _paddings(graph, operator)
        wanted = len(paddings) == len(source.shape) and tuple(
            size + sum(around) for size, around in zip(source.shape, paddings, strict=True)
        )
        if any(value < 0 for around in paddings for value in around) or wanted != output.shape:
            yield f"its paddings do not lead from {source.shape} to {output.shape}"


@register
class Pad(_Padding):
    """PAD with the zero point, PADV2 with a constant that its third input holds."""

    kinds = ("PAD", "PADV2")

    def arguments(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from super().arguments(graph, operator)
        if operator.kind == "PADV2":
            yield from constant_argument(graph, operator, 2, "padding values")
        source = tensor_at(graph, operator, 0)
        if source is not None and source.dtype != "int8":
            yield f"it pads {source.dtype}, not int8"

    def boxes(self, graph: Graph, operator: Operator) -> Sequence[Box]:
        return (_centre(graph, operator),)

    def fill(self, graph: Graph, operator: Operator) -> int | None:
        source = tensor_at(graph, operator, 0)
        assert source is not None
        if source.shape == output_of(graph, operator).shape:
            return None
        if operator.kind == "PADV2":
            return integers(graph, operator, 2)[0]
        return source.quantization.zero_point if source.quantization else 0

    def row_implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        """Row r from row r - top of the input. It waits for row r, so that none comes unasked."""
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        assert source is not None
        fill, around = self.fill(graph, operator), _paddings(graph, operator)
        if fill is None or not is_map(source) or any(around[0]) or any(around[3]):
            return ()
        row, padded = source.bytes // source.shape[1], output.bytes // output.shape[1]
        left = around[2][0] * source.shape[3]
        return (
            Implementation(
                kernel="memcpy",
                snippet=_ROW,
                values={
                    "top": around[1][0], "in_h": source.shape[1], "fill": fill,
                    "in_bytes": row, "out_bytes": padded, "left": left,
                },
                work={"call": output.shape[1], "filled": output.bytes,
                      "long words": source.bytes / 4},
                reason="row by row",
                rows=RowForm((RowWindow(0, around[1][0] + 1, pad=around[1][0]),)),
            ),
        )  # fmt: skip


@register
class MirrorPad(_Padding):
    """MIRROR_PAD: REFLECT leaves the edge out, SYMMETRIC repeats it.

    The middle is copied, then each dimension's border from the output's own middle, so that corners
    come of themselves.
    """

    kinds = ("MIRROR_PAD",)

    def arguments(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from super().arguments(graph, operator)
        source = tensor_at(graph, operator, 0)
        if source is None or constant_at(graph, operator, 1) is None:
            return
        edge = int(operator.attributes["mode"] == "REFLECT")
        for size, around in zip(source.shape, _paddings(graph, operator), strict=False):
            if max(around) > size - edge:
                yield f"it mirrors {max(around)} elements of a dimension of {size}"

    def boxes(self, graph: Graph, operator: Operator) -> Sequence[Box]:
        centre = _centre(graph, operator)
        found = [centre]
        edge = int(operator.attributes["mode"] == "REFLECT")
        output, strides = output_of(graph, operator), centre.out_strides
        extent, start = list(centre.extent), centre.out_start
        for axis, (before, after) in enumerate(_paddings(graph, operator)):
            step, size = strides[axis], centre.extent[axis]
            for count, first, target in (
                (before, edge, -1),
                (after, size - 1 - edge, size),
            ):
                if count == 0:
                    continue
                direction = 1 if target < 0 else -1
                found.append(
                    Box(
                        extent=_with(extent, axis, count),
                        in_strides=_with(strides, axis, direction * step),
                        out_strides=_with(strides, axis, -direction * step),
                        in_start=start + first * step,
                        out_start=start + target * step,
                        within_output=True,
                    )
                )
            extent[axis] = output.shape[axis]
            start -= before * step
        return tuple(found)


def _with(values: Sequence[int], position: int, value: int) -> tuple[int, ...]:
    return (*values[:position], value, *values[position + 1 :])
