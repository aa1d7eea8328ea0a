# SPDX-License-Identifier: Apache-2.0
"""Kernels that write their output over their input: where the planner may use them, and how."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory_graphs import kernel, make_board, make_graph, random_network
from test_memory_planner import chain

from mcudeploy.memory.checker import check_plan
from mcudeploy.memory.packing import QUICK
from mcudeploy.memory.planner import PlanOptions, make_plan
from mcudeploy.operators.base import Implementation, OverlapRule, Placed

IN_PLACE = kernel(16, placed=[Placed(0, written=True)], name="in place")
APART = kernel(name="apart")
REUSES = kernel(overlaps=[OverlapRule(0, max_distance=0)])


def plan_of(graph, candidates, **options):
    plan = make_plan(graph, candidates, make_board(), options=PlanOptions(**options))
    assert check_plan(plan) == ()
    return plan


def names(plan) -> list[str]:
    return [one.kernel for one in plan.implementations]


def test_a_map_is_written_over_itself_where_it_is_needed_no_more() -> None:
    plan = plan_of(chain([96, 96, 96]), [[IN_PLACE, APART]] * 2)
    assert names(plan) == ["in place"] * 2
    assert plan.tensors[0] == plan.tensors[1] == plan.tensors[2]
    assert plan.certificate.peak_bytes == 96 + 16 and plan.certificate.lower_bound_bytes == 112


def test_not_where_the_input_is_read_again_or_is_an_output() -> None:
    steps = [("DW", ["x"], ["a"]), ("ADD", ["x", "a"], ["y"])]
    graph = make_graph({"x": 64, "a": 64, "y": 64}, steps, ["x"], ["y"])
    assert names(plan_of(graph, [[IN_PLACE, APART], [kernel()]]))[0] == "apart"
    graph = make_graph({"x": 64, "a": 64, "y": 64}, [("DW", ["x"], ["a"]), ("DW", ["a"], ["y"])],
                       ["x"], ["a", "y"])  # fmt: skip
    assert names(plan_of(graph, [[IN_PLACE, APART]] * 2)) == ["in place", "apart"]


def test_not_where_a_view_of_the_input_lives_on() -> None:
    steps = [("RESHAPE", ["x"], ["v"]), ("DW", ["v"], ["a"]), ("ADD", ["x", "a"], ["y"])]
    graph = make_graph({"x": 64, "v": 64, "a": 64, "y": 64}, steps, ["x"], ["y"])
    plan = plan_of(graph, [[kernel(name="none")], [IN_PLACE, APART], [kernel()]])
    assert names(plan)[1] == "apart"


def test_not_without_overlap() -> None:
    plan = plan_of(chain([96, 96]), [[IN_PLACE, APART]], overlap=False)
    assert names(plan) == ["apart"]


def test_a_layer_of_state_in_between_is_no_obstacle() -> None:
    plan = plan_of(chain([64, 96, 96, 32]), [[REUSES], [IN_PLACE, APART], [REUSES]])
    assert names(plan)[1] == "in place"
    assert plan.tensors[1] == plan.tensors[2]


@pytest.mark.parametrize("seed", range(25))
def test_plans_of_random_networks_with_such_kernels_are_sound(seed: int) -> None:
    graph, candidates = random_network(seed)
    offered = [
        [replace(IN_PLACE, scratch_bytes=4), *known] if known[0].kernel == "kernel" else known
        for known in candidates
    ]
    plan = plan_of(graph, offered, effort=QUICK)
    without = plan_of(graph, candidates, effort=QUICK)
    assert plan.certificate.lower_bound_bytes <= plan.certificate.peak_bytes
    assert plan.certificate.peak_bytes <= without.certificate.peak_bytes


def test_the_checker_refuses_a_place_that_is_off_by_some_bytes() -> None:
    plan = plan_of(chain([96, 96]), [[IN_PLACE, APART]])
    place = plan.tensors[1]
    moved = replace(plan, tensors={**plan.tensors, 1: replace(place, offset=place.offset + 4)})
    assert any("where its view must be" in fault for fault in check_plan(moved))


def test_the_checker_sees_an_input_that_was_needed_after() -> None:
    steps = [("DW", ["x"], ["a"]), ("ADD", ["x", "a"], ["y"])]
    graph = make_graph({"x": 64, "a": 64, "y": 64}, steps, ["x"], ["y"])
    plan = plan_of(graph, [[APART], [kernel()]])
    wrong: tuple[Implementation, ...] = (IN_PLACE, plan.implementations[1])
    placed = replace(
        plan,
        implementations=wrong,
        tensors={**plan.tensors, 1: plan.tensors[0]},
        scratch={0: replace(plan.tensors[1], bytes=16)},
    )
    assert any("is not whole" in fault for fault in check_plan(placed))
