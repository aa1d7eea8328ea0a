# SPDX-License-Identifier: Apache-2.0
"""Rewrites that let a network run by rows: splits in parts, shuffles of channels in one piece.

That a shuffle gives the golden reference's bytes, `test_streaming.py` shows.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from test_passes import Network, assert_same_bits, golden_only, kinds

from mcudeploy.graph.ir import Graph
from mcudeploy.graph.passes import join_shuffles, part_splits


def split(net: Network, shape: tuple[int, ...], axis: int, sizes: Sequence[int]) -> list[int]:
    """The parts of an input."""
    x, axes = net.input(*shape), net.integers(axis)
    parts = [net.tensor(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    if len(set(sizes)) == 1:
        net.builder.operator("SPLIT", [axes, x], parts, num_splits=len(sizes))
    else:
        inputs = [x, net.integers(list(sizes)), axes]
        net.builder.operator("SPLIT_V", inputs, parts, num_splits=len(sizes))
    return parts


@golden_only
@pytest.mark.parametrize(("axis", "sizes"), [(3, (2, 2)), (3, (1, 3)), (2, (3, 1, 2))])
def test_a_split_within_rows_becomes_a_slice_for_each_part_that_is_read(axis, sizes):
    net = Network()
    first, *_, last = split(net, (1, 5, 6, 4), axis, sizes)
    shape = [1, 5, 6, 4]
    shape[axis] = sizes[0]
    relu = net.builder.operator("RELU", [first], net.tensor(*shape))
    model, graph = net.graph(relu, last)
    rewritten = part_splits.apply(graph)
    assert kinds(rewritten) == ["SLICE", "SLICE", "RELU"]
    assert_same_bits(model, graph, rewritten)


@pytest.mark.parametrize(("shape", "axis"), [((1, 4, 6, 4), 1), ((1, 8), 1)], ids=str)
def test_a_split_across_rows_or_of_no_map_stays(shape, axis):
    net = Network()
    _, graph = net.graph(*split(net, shape, axis, (shape[axis] // 2,) * 2))
    assert part_splits.apply(graph) is graph


def shuffled(inner: tuple[int, ...], axes: tuple[int, ...]) -> Graph:
    """(1, 3, 2, 6) as `inner`, transposed, and back."""
    net = Network()
    made = net.input(1, 3, 2, 6)
    for kind, argument, shape in (
        ("RESHAPE", inner, inner),
        ("TRANSPOSE", axes, tuple(inner[axis] for axis in axes)),
        ("RESHAPE", (1, 3, 2, 6), (1, 3, 2, 6)),
    ):
        made = net.builder.operator(kind, [made, net.integers(list(argument))], net.tensor(*shape))
    return net.graph(made)[1]


def test_a_shuffle_of_channels_becomes_one_operator():
    rewritten = join_shuffles.apply(shuffled((1, 3, 2, 2, 3), (0, 1, 2, 4, 3)))
    assert kinds(rewritten) == ["CHANNEL_SHUFFLE"]
    assert rewritten.operators[0].attributes == {"inner": (2, 3), "axes": (1, 0)}


@pytest.mark.parametrize(
    ("inner", "axes"), [((1, 3, 2, 2, 3), (0, 1, 4, 3, 2)), ((1, 6, 6, 1), (0, 2, 1, 3))], ids=str
)
def test_what_moves_pixels_is_no_shuffle_of_channels(inner, axes):
    graph = shuffled(inner, axes)
    assert join_shuffles.apply(graph) is graph
