# SPDX-License-Identifier: Apache-2.0
"""CHANNEL_SHUFFLE: every pixel's channels in another order, as `passes/join_shuffles.py` finds it.

Attributes: `inner`, the channels as several dimensions, and `axes`, the order of these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.base import register
from mcudeploy.operators.box_copy import Box
from mcudeploy.operators.boxes import Movement, byte_strides
from mcudeploy.operators.view import output_of


@register
class ChannelShuffle(Movement):
    """One box: the dimensions of a pixel, then those of its channels in their new order."""

    kinds = ("CHANNEL_SHUFFLE",)
    internal = True

    def boxes(self, graph: Graph, operator: Operator) -> Sequence[Box]:
        output = output_of(graph, operator)
        inner, axes = operator.attributes["inner"], operator.attributes["axes"]
        *pixel, element = byte_strides(output)
        strides = [element * math.prod(inner[i + 1 :]) for i in range(len(inner))]
        shuffled = [inner[axis] for axis in axes]
        out = [element * math.prod(shuffled[i + 1 :]) for i in range(len(shuffled))]
        extent = (*output.shape[:-1], *shuffled)
        return (Box(extent, (*pixel, *(strides[a] for a in axes)), (*pixel, *out)),)
