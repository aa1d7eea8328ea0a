# SPDX-License-Identifier: Apache-2.0
"""Tensors put together and taken apart along an axis: CONCATENATION, PACK, SPLIT, SPLIT_V, UNPACK.

Along the outermost axis nothing need be copied: the parts can lie in the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mcudeploy.graph.ir import Graph, Operator, Tensor
from mcudeploy.operators.base import Implementation, Target, register
from mcudeploy.operators.box_copy import Box
from mcudeploy.operators.boxes import Movement, byte_strides, constant_argument, integers
from mcudeploy.operators.view import activation_of, constant_at, output_of, tensor_at
from mcudeploy.operators.windows import row_wise


def _part_strides(whole: Tensor, part: Tensor, axis: int) -> tuple[int, ...]:
    """The whole's strides for a part with as many dimensions, or one less (that of `axis`)."""
    strides = byte_strides(whole)
    if len(part.shape) == len(whole.shape):
        return strides
    return strides[:axis] + strides[axis + 1 :]


class _Join(Movement):
    def sources(self, operator: Operator) -> tuple[int, ...]:
        return tuple(range(len(operator.inputs)))

    def boxes(self, graph: Graph, operator: Operator) -> Sequence[Box]:
        output = output_of(graph, operator)
        axis = operator.attributes["axis"] % len(output.shape)
        step = byte_strides(output)[axis]
        boxes, start = [], 0
        for position in self.sources(operator):
            source = tensor_at(graph, operator, position)
            assert source is not None
            strides = _part_strides(output, source, axis)
            boxes.append(
                Box(source.shape, byte_strides(source), strides, out_start=start * step,
                    input=position)
            )  # fmt: skip
            start += source.shape[axis] if len(source.shape) == len(output.shape) else 1
        return boxes


@register
class Concatenation(_Join):
    """CONCATENATION along any axis of tensors that share one scale."""

    kinds = ("CONCATENATION",)

    def arguments(self, graph: Graph, operator: Operator) -> Iterator[str]:
        if activation_of(operator) != "NONE":
            yield "its fused activation is not supported by the reference"
        output = output_of(graph, operator)
        parts = [tensor_at(graph, operator, p) for p in self.sources(operator)]
        axis = operator.attributes["axis"] % max(len(output.shape), 1)
        shapes = [part.shape for part in parts if part is not None]
        whole = len(output.shape) > axis and all(
            s[:axis] + s[axis + 1 :] == output.shape[:axis] + output.shape[axis + 1 :]
            and len(s) == len(output.shape)
            for s in shapes
        )
        if not whole or sum(s[axis] for s in shapes) != output.shape[axis]:
            yield f"its inputs do not make {output.shape}"

    def row_implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        output = output_of(graph, operator)
        if operator.attributes["axis"] % max(len(output.shape), 1) == 1:
            return ()
        return row_wise(self, graph, operator, target)


@register
class Pack(_Join):
    """PACK: tensors of one shape along a new axis."""

    kinds = ("PACK",)

    def arguments(self, graph: Graph, operator: Operator) -> Iterator[str]:
        output = output_of(graph, operator)
        if (
            not output.shape
            or sum(
                tensor.elements
                for p in self.sources(operator)
                if (tensor := tensor_at(graph, operator, p)) is not None
            )
            != output.elements
        ):
            yield f"its inputs do not make {output.shape}"


class _Take(Movement):
    def axis(self, graph: Graph, operator: Operator) -> int:
        """Not yet counted from the front where negative."""
        return int(operator.attributes["axis"])

    def boxes(self, graph: Graph, operator: Operator) -> Sequence[Box]:
        source = tensor_at(graph, operator, self.moved[0])
        assert source is not None
        axis = self.axis(graph, operator) % len(source.shape)
        step = byte_strides(source)[axis]
        boxes, start = [], 0
        for position, index in enumerate(operator.outputs):
            output = graph.tensors[index]
            strides = _part_strides(source, output, axis)
            boxes.append(
                Box(output.shape, strides, byte_strides(output), in_start=start * step,
                    input=self.moved[0], output=position)
            )  # fmt: skip
            start += output.shape[axis] if len(source.shape) == len(output.shape) else 1
        return boxes

    def arguments(self, graph: Graph, operator: Operator) -> Iterator[str]:
        source = tensor_at(graph, operator, self.moved[0])
        total = sum(graph.tensors[i].elements for i in operator.outputs)
        if source is not None and (not source.shape or source.elements != total):
            yield f"its outputs do not make {source.shape}"


@register
class Unpack(_Take):
    """UNPACK: the slices of an axis, which is gone in the outputs."""

    kinds = ("UNPACK",)


@register
class Split(_Take):
    """SPLIT into equal parts."""

    kinds = ("SPLIT",)
    moved = (1,)

    def axis(self, graph: Graph, operator: Operator) -> int:
        return integers(graph, operator, 0)[0]

    def arguments(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from constant_argument(graph, operator, 0, "axis")
        if constant_at(graph, operator, 0) is not None:
            yield from super().arguments(graph, operator)


@register
class SplitV(_Take):
    """SPLIT_V into parts of the sizes that its outputs have."""

    kinds = ("SPLIT_V",)

    def axis(self, graph: Graph, operator: Operator) -> int:
        return integers(graph, operator, 2)[0]

    def arguments(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from constant_argument(graph, operator, 2, "axis")
        if constant_at(graph, operator, 2) is not None:
            yield from super().arguments(graph, operator)
