# SPDX-License-Identifier: Apache-2.0
"""The elements of one tensor in another order, or several times over.

TRANSPOSE (the channel shuffle is one), DEPTH_TO_SPACE, SPACE_TO_DEPTH, SPACE_TO_BATCH_ND,
BATCH_TO_SPACE_ND, TILE, BROADCAST_TO.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from mcudeploy.graph.ir import Graph, Operator, Tensor
from mcudeploy.operators.base import register
from mcudeploy.operators.box_copy import Box
from mcudeploy.operators.boxes import Movement, byte_strides, constant_argument, integers
from mcudeploy.operators.view import constant_at, output_of, tensor_at


@register
class Transpose(Movement):
    """TRANSPOSE with any number of dimensions; those that stay together are moved together."""

    kinds = ("TRANSPOSE",)

    def arguments(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from constant_argument(graph, operator, 1, "axes")
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        if source is None or constant_at(graph, operator, 1) is None:
            return
        axes = [axis % max(len(source.shape), 1) for axis in integers(graph, operator, 1)]
        wanted = sorted(axes) == list(range(len(source.shape))) and tuple(
            source.shape[axis] for axis in axes
        )
        if wanted != output.shape:
            yield f"its axes do not lead from {source.shape} to {output.shape}"

    def boxes(self, graph: Graph, operator: Operator) -> Sequence[Box]:
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        assert source is not None
        axes = [axis % len(source.shape) for axis in integers(graph, operator, 1)]
        strides = byte_strides(source)
        return (Box(output.shape, tuple(strides[a] for a in axes), byte_strides(output)),)


@register
class DepthToSpace(Movement):
    """DEPTH_TO_SPACE and SPACE_TO_DEPTH of an NHWC map."""

    kinds = ("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")

    def arguments(self, graph: Graph, operator: Operator) -> Iterator[str]:
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        if source is None:
            return
        small, large = self._sides(operator, source, output)
        block = operator.attributes["block_size"]
        fits = len(small.shape) == len(large.shape) == 4 and block > 0 and (
            large.shape
            == (
                small.shape[0], small.shape[1] * block, small.shape[2] * block,
                small.shape[3] // block**2,
            )
            and small.shape[3] % block**2 == 0
        )  # fmt: skip
        if not fits:
            yield f"blocks of {block} do not lead from {source.shape} to {output.shape}"

    def _sides(self, operator: Operator, source: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        """(the one with the smaller map, the one with the larger)."""
        return (source, output) if operator.kind == "DEPTH_TO_SPACE" else (output, source)

    def boxes(self, graph: Graph, operator: Operator) -> Sequence[Box]:
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        assert source is not None
        block = operator.attributes["block_size"]
        small, large = self._sides(operator, source, output)
        batch, height, width, _ = small.shape
        depth = large.shape[3]
        b, y, x, c = byte_strides(small)
        small_strides = (b, y, block * depth * c, x, depth * c, c)
        b, y, x, c = byte_strides(large)
        large_strides = (b, block * y, y, block * x, x, c)
        sides = (small_strides, large_strides)
        first, second = sides if operator.kind == "DEPTH_TO_SPACE" else reversed(sides)
        return (Box((batch, height, block, width, block, depth), first, second),)


@register
class SpaceToBatch(Movement):
    """SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND: one box for each position in a block."""

    kinds = ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")

    def arguments(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from constant_argument(graph, operator, 1, "block sizes")
        yield from constant_argument(graph, operator, 2, "paddings")
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        if source is None or any(constant_at(graph, operator, p) is None for p in (1, 2)):
            return
        if source.dtype != "int8":
            yield f"it moves {source.dtype}, not int8"
        blocks, pads = integers(graph, operator, 1), integers(graph, operator, 2)
        small, large = self._sides(operator, source, output)
        inner = len(blocks) + 1
        fits = len(small.shape) == len(large.shape) > len(blocks) and all(
            block > 0 and before >= 0 and after >= 0 and n * block == m + before + after
            for block, before, after, n, m in zip(
                blocks, pads[0::2], pads[1::2], small.shape[1:], large.shape[1:], strict=False
            )
        )
        fits = fits and small.shape[0] == large.shape[0] * math.prod(blocks)
        if not fits or small.shape[inner:] != large.shape[inner:]:
            yield f"its blocks do not lead from {source.shape} to {output.shape}"

    def _sides(self, operator: Operator, source: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        """(the one with many batches, the one with space)."""
        return (output, source) if operator.kind == "SPACE_TO_BATCH_ND" else (source, output)

    def fill(self, graph: Graph, operator: Operator) -> int | None:
        source = tensor_at(graph, operator, 0)
        assert source is not None
        if operator.kind == "BATCH_TO_SPACE_ND" or not any(integers(graph, operator, 2)):
            return None
        return source.quantization.zero_point if source.quantization else 0

    def boxes(self, graph: Graph, operator: Operator) -> Sequence[Box]:
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        assert source is not None
        blocks, pads = integers(graph, operator, 1), integers(graph, operator, 2)
        small, large = self._sides(operator, source, output)
        small_strides, large_strides = byte_strides(small), byte_strides(large)
        inner = len(blocks) + 1
        boxes = []
        for number, place in enumerate(itertools.product(*map(range, blocks))):
            extent, small_start, large_start = [large.shape[0]], number * large.shape[0], 0
            small_start *= small_strides[0]
            for axis, (block, offset) in enumerate(zip(blocks, place, strict=True), 1):
                before, size = pads[2 * axis - 2], large.shape[axis]
                # Position p of the small map is p * block + offset - before of the large one.
                first = max(0, -(-(before - offset) // block))
                last = (size - 1 + before - offset) // block
                extent.append(max(0, min(last, small.shape[axis] - 1) - first + 1))
                small_start += first * small_strides[axis]
                large_start += (first * block + offset - before) * large_strides[axis]
            if 0 in extent:
                continue
            scaled = [
                stride * block for stride, block in zip(large_strides[1:inner], blocks, strict=True)
            ]
            wide = (large_strides[0], *scaled, *large_strides[inner:])
            shape = (*extent, *large.shape[inner:])
            if operator.kind == "SPACE_TO_BATCH_ND":
                boxes.append(Box(shape, wide, small_strides, large_start, small_start))
            else:
                boxes.append(Box(shape, small_strides, wide, small_start, large_start))
        return boxes


@register
class Tile(Movement):
    """TILE and BROADCAST_TO: the tensor again and again along some axes."""

    kinds = ("TILE", "BROADCAST_TO")

    def arguments(self, graph: Graph, operator: Operator) -> Iterator[str]:
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        if source is None:
            return
        rank = len(output.shape)
        sizes = (1,) * (rank - len(source.shape)) + source.shape
        if len(sizes) != rank or any(m % n for m, n in zip(output.shape, sizes, strict=True)):
            yield f"{source.shape} does not go into {output.shape} evenly"

    def boxes(self, graph: Graph, operator: Operator) -> Sequence[Box]:
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        assert source is not None
        missing = len(output.shape) - len(source.shape)
        sizes = (1,) * missing + source.shape
        in_strides = (0,) * missing + byte_strides(source)
        dims = []
        for n, m, stride, step in zip(
            sizes, output.shape, in_strides, byte_strides(output), strict=True
        ):
            dims += [(m // n, 0, n * step), (n, stride, step)]
        if not dims:  # a scalar of a scalar
            return (Box((), (), ()),)
        extent, first, second = zip(*dims, strict=True)
        return (Box(extent, first, second),)
