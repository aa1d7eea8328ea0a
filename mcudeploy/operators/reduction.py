# SPDX-License-Identifier: Apache-2.0
"""MEAN, SUM, REDUCE_MAX, REDUCE_MIN, ARG_MAX and ARG_MIN of int8 over constant axes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.base import (
    Implementation,
    OperatorFamily,
    Target,
    register,
)
from mcudeploy.operators.boxes import constant_argument, integers
from mcudeploy.operators.kernels.pool import (
    max_accumulated,
    mean_accumulated,
    mean_implementation,
    mean_quantization,
)
from mcudeploy.operators.shapes import MeanQuantization, MeanShape, quantize_multiplier
from mcudeploy.operators.view import (
    constant_at,
    dtype_limits,
    elementwise_overlap,
    output_of,
    quantization_of,
    scale_limits,
    tensor_at,
)
from mcudeploy.operators.windows import is_map

_DIMENSIONS = 3
_MAP_RANK = 4

_WALK = """
static const mcud_reduce_t walk = {
    .kept = { {{ w.kept | join(", ") }} },
    .kept_stride = { {{ w.kept_stride | join(", ") }} },
    .reduced = { {{ w.reduced | join(", ") }} },
    .reduced_stride = { {{ w.reduced_stride | join(", ") }} },
};
"""
_SUM = (
    _WALK
    + """\
static const mcud_reduce_sum_s8_t quantization = {
    .in_offset = {{ q.input_zero_point * count }},
    .out_zero_point = {{ q.output_zero_point }},
    .multiplier = {{ q.multiplier }},
    .shift = {{ q.shift }},
};

mcud_reduce_sum_s8(&walk, &quantization, {{ inputs[0] }}, {{ outputs[0] }});
"""
)
_OTHER = (
    _WALK
    + """
{{ function }}(&walk, {{ inputs[0] }}, {{ outputs[0] }});
"""
)


@dataclass(frozen=True)
class ReduceWalk:
    """Extents and strides (in elements) of what is kept and what is reduced, outermost first."""

    kept: tuple[int, ...]
    kept_stride: tuple[int, ...]
    reduced: tuple[int, ...]
    reduced_stride: tuple[int, ...]

    @property
    def fits(self) -> bool:
        return max(len(self.kept), len(self.reduced)) <= _DIMENSIONS

    def padded(self) -> ReduceWalk:
        """With exactly as many dimensions as the kernels have loops."""
        kept, reduced = _DIMENSIONS - len(self.kept), _DIMENSIONS - len(self.reduced)
        return ReduceWalk(
            (1,) * kept + self.kept, (0,) * kept + self.kept_stride,
            (1,) * reduced + self.reduced, (0,) * reduced + self.reduced_stride,
        )  # fmt: skip


def reduce_walk(shape: Sequence[int], axes: set[int]) -> ReduceWalk:
    """The loops of a reduction; neighbours of one sort are merged, sizes of 1 vanish."""
    merged: list[tuple[bool, int, int]] = []
    stride = 1
    for axis in reversed(range(len(shape))):
        size = shape[axis]
        if size != 1:
            is_reduced = axis in axes
            if merged and merged[-1][0] == is_reduced:
                merged[-1] = (is_reduced, merged[-1][1] * size, merged[-1][2])
            else:
                merged.append((is_reduced, size, stride))
        stride *= size
    merged.reverse()
    kept = [(n, s) for is_reduced, n, s in merged if not is_reduced]
    reduced = [(n, s) for is_reduced, n, s in merged if is_reduced]
    return ReduceWalk(
        tuple(n for n, _ in kept), tuple(s for _, s in kept),
        tuple(n for n, _ in reduced), tuple(s for _, s in reduced),
    )  # fmt: skip


def _axes(graph: Graph, operator: Operator) -> set[int]:
    source = tensor_at(graph, operator, 0)
    assert source is not None
    return {axis % max(len(source.shape), 1) for axis in integers(graph, operator, 1)}


def _walk(graph: Graph, operator: Operator) -> ReduceWalk:
    source = tensor_at(graph, operator, 0)
    assert source is not None
    return reduce_walk(source.shape, _axes(graph, operator))


def _walk_limits(graph: Graph, operator: Operator) -> Iterator[str]:
    yield from constant_argument(graph, operator, 1, "axes")
    source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
    if source is None or constant_at(graph, operator, 1) is None:
        return
    if any(not -len(source.shape) <= axis < len(source.shape)
           for axis in integers(graph, operator, 1)):  # fmt: skip
        yield f"its axes are not those of {source.shape}"
        return
    walk = _walk(graph, operator)
    kept = 1
    for size in walk.kept:
        kept *= size
    if kept != output.elements:
        yield f"its axes do not lead from {source.shape} to {output.shape}"
    elif not walk.fits:
        yield f"its axes need more than {_DIMENSIONS} loops over {source.shape}"


@register
class Reduction(OperatorFamily):
    """MEAN and SUM rescale; REDUCE_MAX and REDUCE_MIN keep the scale."""

    kinds = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from dtype_limits(graph, operator, (0,))
        yield from _walk_limits(graph, operator)
        if operator.kind.startswith("REDUCE"):
            yield from scale_limits(graph, operator, 0)

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        walk = _walk(graph, operator)
        if operator.kind.startswith("REDUCE"):
            function = f"mcud_{operator.kind.lower()}_s8"
            return (_general(function, _OTHER, walk, function=function),)
        source = tensor_at(graph, operator, 0)
        assert source is not None
        output = output_of(graph, operator)
        count = source.elements // output.elements
        quantization = sum_quantization(graph, operator, count)
        general = _general("mcud_reduce_sum_s8", _SUM, walk, q=quantization, count=count)
        over_space = (
            len(source.shape) == _MAP_RANK
            and source.shape[0] == 1
            and (_axes(graph, operator) == {1, 2})
        )
        if operator.kind == "MEAN" and over_space and target.kernels == "auto":
            shape = MeanShape(*source.shape[1:])
            fast = mean_implementation(shape, quantization, target)
            return (general,) if fast is None else (fast, general)
        return (general,)

    def row_implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        source = tensor_at(graph, operator, 0)
        assert source is not None
        over_space = is_map(source) and _axes(graph, operator) == {1, 2}
        if operator.kind == "REDUCE_MIN" or not over_space:
            return ()
        if operator.kind == "REDUCE_MAX":
            return (max_accumulated(MeanShape(*source.shape[1:])),)
        count = source.shape[1] * source.shape[2]
        quantization = sum_quantization(graph, operator, count)
        return (mean_accumulated(MeanShape(*source.shape[1:]), quantization),)


def sum_quantization(graph: Graph, operator: Operator, count: int) -> MeanQuantization:
    """The constants of MEAN or SUM over `count` elements."""
    source = tensor_at(graph, operator, 0)
    assert source is not None
    first, last = quantization_of(source), quantization_of(output_of(graph, operator))
    if operator.kind == "MEAN":
        return mean_quantization(first.scale, first.zero_point, last.scale, last.zero_point, count)
    multiplier, shift = quantize_multiplier(first.scale / last.scale)
    return MeanQuantization(first.zero_point, last.zero_point, multiplier, shift)


def _work(walk: ReduceWalk) -> Mapping[str, float]:
    outputs = math.prod(walk.kept)
    runs = outputs * math.prod(walk.reduced[:-1])
    return {
        "call": 1, "output": outputs, "run": runs, "input": outputs * math.prod(walk.reduced)
    }  # fmt: skip


def _general(
    kernel: str, snippet: str, walk: ReduceWalk, in_place: bool = True, **values: object
) -> Implementation:
    return Implementation(
        kernel=kernel,
        snippet=snippet,
        values={"w": walk.padded(), **values},
        overlaps=elementwise_overlap(0) if in_place else (),
        sources=("kernels/reduce_s8.c",),
        headers=("reduce_s8.h",),
        work=_work(walk),
        reason="takes any axes on any core",
    )


@register
class Arg(OperatorFamily):
    """ARG_MAX and ARG_MIN along one axis, the first of equals; indices are int32."""

    kinds = ("ARG_MAX", "ARG_MIN")
    replacement = "an int32 index (output_type=tf.int32)"

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        if source is None or source.dtype != "int8":
            yield "its input is not int8"
        if output.dtype != "int32":
            yield f"its indices are {output.dtype}, not int32"
        yield from _walk_limits(graph, operator)

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        function = f"mcud_{operator.kind.lower()}_s8"
        walk = _walk(graph, operator)
        return (_general(function, _OTHER, walk, in_place=False, function=function),)
