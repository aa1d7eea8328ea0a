# SPDX-License-Identifier: Apache-2.0
"""The order of execution: valid, never worse than the file's, as good as trying every order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from memory_graphs import IN_PLACE, kernel, make_graph, random_network

from mcudeploy.graph.ir import Graph
from mcudeploy.memory import order as order_module
from mcudeploy.memory.choice import StepCosts
from mcudeploy.memory.order import best_order, peak_of


def all_orders(graph: Graph, taken: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Every order that runs producers before consumers; state is kept out of these graphs."""
    if len(taken) == len(graph.operators):
        yield taken
    made = set(graph.inputs) | {t for s in taken for t in graph.operators[s].outputs}
    for step, operator in enumerate(graph.operators):
        if step not in taken and set(operator.inputs) <= made:
            yield from all_orders(graph, (*taken, step))


def is_valid(graph: Graph, steps: tuple[int, ...]) -> bool:
    known = {i for i, t in enumerate(graph.tensors) if t.is_variable} | set(graph.inputs)
    for step in steps:
        if not set(graph.operators[step].inputs) <= known:
            return False
        known |= set(graph.operators[step].outputs)
    return sorted(steps) == list(range(len(graph.operators)))


@pytest.mark.parametrize("seed", range(60))
def test_order_is_as_good_as_trying_all_orders(seed: int) -> None:
    graph, candidates = random_network(seed, operators=6, state=False)
    cost = StepCosts(graph, candidates)
    found = best_order(graph, cost)
    assert is_valid(graph, found.steps)
    assert found.peak_bytes == peak_of(graph, found.steps, cost)
    assert found.peak_bytes == min(peak_of(graph, steps, cost) for steps in all_orders(graph))
    assert found.lower_bound_bytes == found.peak_bytes


@pytest.mark.parametrize("seed", range(10))
def test_beyond_its_effort_the_order_is_no_worse_and_the_bound_is_below(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, candidates = random_network(seed, operators=30)
    cost = StepCosts(graph, candidates)
    exact = best_order(graph, cost)
    monkeypatch.setattr(order_module, "WORK", 200)
    hasty = best_order(graph, cost)
    assert is_valid(graph, hasty.steps)
    assert hasty.peak_bytes <= peak_of(graph, range(len(graph.operators)), cost)
    assert hasty.lower_bound_bytes <= exact.peak_bytes <= hasty.peak_bytes


def test_a_branch_that_shrinks_runs_before_one_that_waits() -> None:
    sizes = {"x": 10, "big1": 100, "small1": 5, "big2": 100, "small2": 5, "y": 10}
    steps = [
        ("CONV", ["x"], ["big1"]),
        ("CONV", ["x"], ["big2"]),
        ("CONV", ["big1"], ["small1"]),
        ("CONV", ["big2"], ["small2"]),
        ("ADD", ["small1", "small2"], ["y"]),
    ]
    graph = make_graph(sizes, steps, ["x"], ["y"])
    found = best_order(graph, StepCosts(graph, [[kernel()]] * 5))
    assert peak_of(graph, range(5), StepCosts(graph, [[kernel()]] * 5)) == 210
    assert found.peak_bytes == 115
    assert found.method == "reordered, optimal"


def test_the_files_order_stays_where_no_order_betters_it() -> None:
    sizes = {"x": 10, "a": 20, "b": 20, "y": 10}
    steps = [("C", ["x"], ["a"]), ("C", ["x"], ["b"]), ("ADD", ["a", "b"], ["y"])]
    graph = make_graph(sizes, steps, ["x"], ["y"])
    found = best_order(graph, StepCosts(graph, [[kernel()]] * 3))
    assert found.steps == (0, 1, 2)
    assert "no order betters" in found.method


def test_an_output_in_place_costs_nothing() -> None:
    graph = make_graph({"x": 64, "y": 64}, [("RELU", ["x"], ["y"])], ["x"], ["y"])
    assert best_order(graph, StepCosts(graph, [[kernel()]])).peak_bytes == 128
    in_place = StepCosts(graph, [[kernel(overlaps=[IN_PLACE])]])
    assert best_order(graph, in_place).peak_bytes == 64


def test_operators_that_share_state_keep_their_order() -> None:
    sizes = {"x": 50, "state": 8, "a": 100, "b": 4, "y": 4}
    steps = [("S", ["x", "state"], ["a"]), ("S", ["x", "state"], ["b"]), ("ADD", ["a", "b"], ["y"])]
    graph = make_graph(sizes, steps, ["x"], ["y"], ["state"])
    assert best_order(graph, StepCosts(graph, [[kernel()]] * 3)).steps == (0, 1, 2)
