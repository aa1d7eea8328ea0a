# SPDX-License-Identifier: Apache-2.0
"""Remedies for what does not fit: planned, not guessed; and the same network for smaller inputs."""

import pytest

from mcudeploy import zoo
from mcudeploy.advice import advise
from mcudeploy.board import find_board
from mcudeploy.deployment import Options, choose_board, plan_graph
from mcudeploy.graph.passes import run_passes
from mcudeploy.graph.resolution import at_resolution


def shapes(graph):
    return [graph.tensors[o].shape for operator in graph.operators for o in operator.outputs]


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "squeezenet", "resnet8"])
def test_a_smaller_input_gives_the_shapes_of_the_smaller_member(name):
    big, small = (64, 32) if name == "resnet8" else (128, 64)
    large = run_passes(zoo.graph(name, resolution=big))
    wanted = run_passes(zoo.graph(name, resolution=small))
    found = at_resolution(large, small, small)
    assert found is not None
    assert shapes(found) == shapes(wanted)


def test_a_dense_layer_over_a_map_cannot_change_its_resolution():
    assert at_resolution(run_passes(zoo.graph("lenet5")), 16, 16) is None


def planned(**options):
    chosen = Options(**options)
    board = choose_board(find_board("stm32f469"), chosen)
    graph = run_passes(zoo.graph("mobilenet_v1", width=0.25, resolution=96, classes=2))
    return plan_graph(graph, "vww", board, chosen)


def test_each_remedy_saves_what_planning_it_gives():
    deployment = planned(ram="32K", stream="off")
    assert not deployment.report.fits
    remedies = {remedy.action: remedy for remedy in advise(deployment)}
    streamed = remedies["--stream max"]
    assert streamed.peak_bytes == planned(ram="32K", stream="max").plan.certificate.peak_bytes
    now = deployment.plan.certificate.peak_bytes
    assert streamed.saves_bytes == now - streamed.peak_bytes > 0
    assert streamed.fits == planned(ram="32K", stream="max").report.fits
    assert remedies["--stream max --row-fed"].peak_bytes < streamed.peak_bytes


def test_those_that_make_it_fit_come_first():
    order = [remedy.fits for remedy in advise(planned(ram="20K", stream="off"))]
    assert True in order
    assert order == sorted(order, reverse=True)
