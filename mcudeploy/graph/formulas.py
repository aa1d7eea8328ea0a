# SPDX-License-Identifier: Apache-2.0
"""What a layer costs, by formula: multiply-accumulates, weights, activations.

The one place where MACs are counted. The zoo counts its layers with these functions, the operator
families and so the cost model count theirs with `operator_macs`, and both therefore agree.

Letters are the field's: N batch (always 1), M output channels, C input channels, H x W input,
R x S kernel, E x F output, g groups. One MAC is about two FLOPs. Biases and elementwise
operators are not counted; products with padding are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates of one inference, weights and output activations (numbers, not bytes).

    Weights are kernels alone: neither biases nor batch-norm parameters.
    """

    macs: int
    weights: int
    activations: int

    def __add__(self, other: Cost) -> Cost:
        """Two layers, one behind the other."""
        return Cost(
            self.macs + other.macs,
            self.weights + other.weights,
            self.activations + other.activations,
        )


def fully_connected(inputs: int, outputs: int, positions: int = 1) -> Cost:
    """W*H*C = `inputs` to O = `outputs`, the same weights at each of `positions`."""
    return Cost(positions * inputs * outputs, inputs * outputs, positions * outputs)


def convolution(e: int, f: int, r: int, s: int, c: int, m: int, groups: int = 1) -> Cost:
    """E*F*R*S*C*M / g MACs and R*S*C*M / g weights; g must divide C and M."""
    if c % groups or m % groups:
        raise ValueError(f"{groups} groups do not divide {c} and {m} channels")
    weights = r * s * (c // groups) * m
    return Cost(e * f * weights, weights, e * f * m)


def depthwise(e: int, f: int, r: int, s: int, c: int, multiplier: int = 1) -> Cost:
    """A convolution with as many groups as input channels."""
    return convolution(e, f, r, s, c, c * multiplier, groups=c)


def depthwise_separable(e: int, f: int, r: int, s: int, c: int, m: int) -> Cost:
    """Depthwise R x S, then 1x1: E*F*(R*S*C + C*M) MACs."""
    return depthwise(e, f, r, s, c) + convolution(e, f, 1, 1, c, m)


def separable_ratio(r: int, s: int, m: int) -> float:
    """MACs of a depthwise-separable convolution over those of the plain one: 1/M + 1/(R*S)."""
    return 1 / m + 1 / (r * s)


def spatially_separable(e: int, f: int, r: int, s: int, rank: int = 1) -> Cost:
    """One R x S kernel of rank `rank` on one map, as columns then rows: R + S, not R*S, each.

    The intermediate map (E rows, F + S - 1 columns, for each rank) stands among the activations;
    MACs are those of one output position, as the textbooks count them: 2k instead of k*k.
    """
    return Cost(e * f * rank * (r + s), rank * (r + s), e * (f + s - 1) * rank + e * f)


def recurrent(steps: int, units: int, layers: int = 1) -> Cost:
    """t steps, k units, d layers: t*k*k*d recurrent MACs; state of k*d units at inference."""
    return Cost(steps * units**2 * layers, units**2 * layers, units * layers)


def recurrent_with_attention(steps: int, units: int, layers: int = 1) -> Cost:
    """Each of t steps scores all t states with k*k MACs: t*t*k*k*d; t*k*d units are kept."""
    return Cost(steps**2 * units**2 * layers, units**2 * layers, steps * units * layers)


def transformer(steps: int, units: int, layers: int = 1) -> Cost:
    """Scores between all pairs of t positions of k units: t*t*k*d; t*k*d units are kept.

    Without the projections (t*k*k each), which have the weights.
    """
    return Cost(steps**2 * units * layers, 0, steps * units * layers)


def operator_macs(graph: Graph, operator: Operator) -> int:
    """MACs of one operator of a graph, batch 1; 0 for one that multiplies no weights.

    A batched matrix product counts its sums of products too, though neither side is a constant.
    """
    shapes = [graph.tensors[i].shape if i != NO_TENSOR else () for i in operator.inputs]
    out = graph.tensors[operator.outputs[0]].shape
    if operator.kind == "CONV_2D":
        m, r, s, group_c = shapes[1]
        return convolution(out[1], out[2], r, s, group_c, m).macs
    if operator.kind == "DEPTHWISE_CONV_2D":
        _, r, s, m = shapes[1]
        return convolution(out[1], out[2], r, s, 1, m).macs
    if operator.kind == "FULLY_CONNECTED":
        outputs, inputs = shapes[1]
        elements = graph.tensors[operator.inputs[0]].elements
        return fully_connected(inputs, outputs, elements // inputs).macs
    if operator.kind == "BATCH_MATMUL":
        depth = shapes[0][-2] if operator.attributes.get("adj_x") else shapes[0][-1]
        return graph.tensors[operator.outputs[0]].elements * depth
    if operator.kind == "TRANSPOSE_CONV":
        m, r, s, c = shapes[1]
        _, h, w, _ = shapes[2]
        return h * w * r * s * c * m
    if operator.kind == "SVDF":
        return math.prod(shapes[1]) + math.prod(shapes[2])
    if operator.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        gates = sum(math.prod(shape) for shape in shapes[1:9])
        return gates * math.prod(shapes[0][:-1])
    return 0


def graph_macs(graph: Graph) -> int:
    """MACs of one inference of a whole graph."""
    return sum(operator_macs(graph, operator) for operator in graph.operators)
