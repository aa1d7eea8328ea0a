# SPDX-License-Identifier: Apache-2.0
"""Remedies for what does not fit: planned, not guessed; and the same network for smaller inputs."""

from dataclasses import replace

import pytest

from mcudeploy import zoo
from mcudeploy.advice import _ideas, _in_use, _member, _planned, _smaller_widths, advise
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


def test_a_budget_of_the_arena_that_is_not_kept_is_advised_on_as_ram():
    actions = {idea.action for idea in _ideas(planned(ram_budget="16K", stream="off"))}
    assert "--stream max --row-fed" in actions and "--optimize size" not in actions


def test_flash_that_is_over_is_advised_on_by_what_makes_it_fit():
    remedies = advise(planned(flash="200K"))
    assert remedies[0].action == "train width 0.1875 of mobilenet_v1"
    assert all(remedy.fits for remedy in remedies if "already" not in remedy.cost)


def test_a_remedy_names_the_regions_that_overflow_even_so():
    deployment = planned(ram="20K", flash="100K", stream="off")
    fed = next(i for i in _ideas(deployment) if i.action == "--stream max --row-fed")
    (remedy,) = _planned(deployment, fed)
    assert (remedy.fits, remedy.over) == (False, ("flash",))


def test_an_input_that_is_too_large_alone_is_not_streamed_in_vain(monkeypatch):
    monkeypatch.setattr("mcudeploy.deployment_stream.make_streamed_plan", None)
    assert not planned(ram="27K").plan.streams


def test_those_that_make_it_fit_come_first_and_what_is_planned_is_told():
    told: list[str] = []
    remedies = advise(planned(ram="20K", stream="off"), told.append)
    order = [remedy.fits for remedy in remedies]
    assert True in order
    assert order == sorted(order, reverse=True)
    assert {f"what would make it fit: {r.action}" for r in remedies if r.fits} <= set(told)


def test_a_member_of_the_zoo_is_known_by_its_layers_and_offered_narrower():
    deployment = planned(stream="off")
    member = {"resolution": 96, "channels": 3, "classes": 2}
    assert _member(deployment.graph) == ("mobilenet_v1", 0.25, member)
    assert _member(run_passes(zoo.graph("squeezenet", resolution=64))) is None
    ideas = {idea.action: idea for idea in _smaller_widths(deployment)}
    (remedy,) = _planned(deployment, ideas["train width 0.125 of mobilenet_v1"])
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
