# SPDX-License-Identifier: Apache-2.0
"""Networks that keep state between inferences, from the model file to the verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import test_operators_recurrent as recurrent
from operator_cases import Case, draw, golden_only, together

from mcudeploy import api
from mcudeploy.graph.ir import Graph
from mcudeploy.memory.checker import check_plan


def model(strategy: Callable[[], object], folder: Path) -> Path:
    """A file with three operators of the sort, each with state of its own."""
    cases: list[Case] = draw(strategy(), 3)
    path = folder / "stateful.tflite"
    path.write_bytes(together(cases)[0])
    return path


@golden_only
@pytest.mark.parametrize("strategy", [recurrent.svdf, recurrent.lstm])
def test_state_goes_through_generation_build_and_test(
    strategy: Callable[[], object], tmp_path: Path
) -> None:
    deployed = api.deploy(model(strategy, tmp_path), "stm32f469", tmp_path / "firmware")
    assert deployed.tested is not None and deployed.built is not None
    assert deployed.tested.passed, "bit-exact, and the project's own tests"
    parts = {line.part: line for line in deployed.built.sizes if line.region == "sram"}
    plan = deployed.project.deployment.plan
    graph: Graph = plan.graph
    state = sum(graph.tensors[i].bytes for i in plan.state)
    assert state <= parts["state"].linked_bytes <= state + 16 * len(plan.state)
    linked = parts["state"].linked_bytes + parts["activations and scratch"].linked_bytes
    assert linked == plan.arenas["sram"], "the arena holds no second copy of the state"
    assert parts["state"].linked_bytes == parts["state"].predicted_bytes


def test_state_lies_above_all_that_is_not_kept(tmp_path: Path) -> None:
    plan = api.prepare(model(recurrent.lstm, tmp_path), "stm32f469").plan
    begin = plan.state_begin("sram")
    assert 0 < begin < plan.arenas["sram"]
    others = [*plan.tensors.values(), *plan.scratch.values()]
    assert all(place.offset + place.bytes <= begin for place in others)
    assert not check_plan(plan)
