# SPDX-License-Identifier: Apache-2.0
"""Remedies for what does not fit: planned, not guessed; and the same network for smaller inputs."""

from dataclasses import replace

import pytest

from mcudeploy import zoo
from mcudeploy.advice import _in_use, _member, _smaller_widths, advise
from mcudeploy.board import MemoryRegion, find_board
from mcudeploy.deployment import Options, choose_board, plan_graph
from mcudeploy.graph.passes import run_passes
from mcudeploy.graph.resolution import at_resolution
from mcudeploy.memory.packing import QUICK
from mcudeploy.memory.planner import PlanOptions, make_plan
from mcudeploy.operators.support import candidates


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


def test_a_member_of_the_zoo_is_known_by_its_layers_and_offered_narrower():
    deployment = planned(stream="off")
    member = {"resolution": 96, "channels": 3, "classes": 2}
    assert _member(deployment.graph) == ("mobilenet_v1", 0.25, member)
    assert _member(run_passes(zoo.graph("squeezenet", resolution=64))) is None
    remedies = {remedy.action: remedy for remedy in _smaller_widths(deployment)}
    remedy = remedies["train mobilenet_v1 of width 0.125, not 0.25"]
    graph = run_passes(zoo.graph("mobilenet_v1", width=0.125, **member))
    narrower = plan_graph(graph, "vww", deployment.plan.board, deployment.options)
    assert remedy.peak_bytes == narrower.plan.certificate.peak_bytes
    assert remedy.fits


def test_what_is_in_use_says_what_it_saves():
    deployment = planned(stream="off")
    (remedy,) = _in_use(deployment)
    kernels = candidates(deployment.graph, deployment.target)
    options = PlanOptions(overlap=False, effort=QUICK)
    apart = make_plan(deployment.graph, kernels, deployment.plan.board, options=options)
    assert remedy.action == "outputs lie over inputs"
    assert remedy.peak_bytes == deployment.plan.certificate.peak_bytes
    assert remedy.peak_bytes + remedy.saves_bytes == apart.certificate.peak_bytes
    assert not remedy.fits


def test_a_second_region_says_what_it_takes():
    known = planned(stream="off")
    plan = replace(known.plan, arenas={**known.plan.arenas, "ccm": 4096})
    remedies = {remedy.action: remedy for remedy in _in_use(replace(known, plan=plan))}
    assert remedies["ccm takes buffers"].saves_bytes == 4096


def test_external_memory_and_the_operator_at_the_peak_are_named():
    sdram = {"name": "sdram", "kind": "ram", "address": 0xC0000000, "size": 1 << 24}
    region = MemoryRegion.model_validate({**sdram, "external": True})
    board = find_board("nucleo_f446re")
    little = [r.model_copy(update={"size": 5120}) if r.kind == "ram" else r for r in board.memory]
    board = board.model_copy(update={"memory": (*little, region)})
    graph = run_passes(zoo.graph("lenet5"))
    deployment = plan_graph(graph, "net", board, Options(stream="off"))
    remedies = {remedy.action: remedy for remedy in advise(deployment)}
    assert remedies["--use-external"].fits
    step = deployment.plan.certificate.peak_step
    named = remedies[f"a smaller #{step} {graph.operators[step].kind}"]
    live = [b for s, b in enumerate(deployment.plan.live_bytes) if s != step]
    assert named.peak_bytes == max(live)
