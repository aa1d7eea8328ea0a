# SPDX-License-Identifier: Apache-2.0
"""A RELU behind an operator that clamps becomes that operator's, where no bit changes."""

from __future__ import annotations

import pytest
from test_passes import Network, assert_same_bits, golden_only, kinds

from mcudeploy.graph.ir import Graph
from mcudeploy.graph.passes import fuse_activations, run_passes

SHAPE = (1, 4, 4, 3)


def convolution_with(activation: str, *, out_scale: float = 0.2) -> tuple[bytes, Graph]:
    net = Network()
    y = net.convolution(net.input(1, 6, 6, 2), SHAPE, 2, 3, 3)
    target = net.tensor(*SHAPE, scale=out_scale, zero_point=4)
    return net.graph(net.builder.operator(activation, [y], target))


@golden_only
@pytest.mark.parametrize("activation", ["RELU", "RELU6", "RELU_N1_TO_1"])
def test_a_convolution_takes_the_activation_over(activation: str):
    model, graph = convolution_with(activation)
    fused = fuse_activations.apply(graph)
    assert kinds(fused) == ["CONV_2D"]
    assert fused.operators[0].attributes["fused_activation_function"] == activation
    assert fused.operators[0].outputs == graph.outputs
    assert_same_bits(model, graph, fused)


@golden_only
@pytest.mark.parametrize("kind", ["ADD", "SUB", "MUL"])
def test_an_elementwise_operator_takes_the_activation_over(kind: str):
    net = Network()
    total = net.builder.operator(kind, [net.input(*SHAPE), net.input(*SHAPE)], net.tensor(*SHAPE))
    model, graph = net.graph(net.builder.operator("RELU6", [total], net.tensor(*SHAPE)))
    fused = fuse_activations.apply(graph)
    assert kinds(fused) == [kind]
    assert_same_bits(model, graph, fused)


def test_an_activation_that_changes_the_scale_stays():
    _, graph = convolution_with("RELU", out_scale=0.1)
    assert fuse_activations.apply(graph) is graph


def test_an_activation_of_what_others_read_too_stays():
    net = Network()
    y = net.convolution(net.input(1, 6, 6, 2), SHAPE, 2, 3, 3)
    clamped = net.builder.operator("RELU", [y], net.tensor(*SHAPE, scale=0.2, zero_point=4))
    _, graph = net.graph(clamped, net.builder.operator("ABS", [y], net.tensor(*SHAPE)))
    assert fuse_activations.apply(graph) is graph


def test_a_second_activation_stays_an_operator_of_its_own():
    net = Network()
    y = net.convolution(net.input(1, 6, 6, 2), SHAPE, 2, 3, 3, fused_activation_function="RELU")
    target = net.tensor(*SHAPE, scale=0.2, zero_point=4)
    _, graph = net.graph(net.builder.operator("RELU6", [y], target))
    assert fuse_activations.apply(graph) is graph


def test_the_pass_can_be_switched_off():
    _, graph = convolution_with("RELU")
    assert kinds(run_passes(graph)) == ["CONV_2D"]
    assert kinds(run_passes(graph, ["fuse-activations"])) == ["CONV_2D", "RELU"]
