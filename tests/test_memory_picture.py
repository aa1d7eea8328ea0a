# SPDX-License-Identifier: Apache-2.0
"""Pictures of plans: written in the format of the file's ending, the same each time."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from memory_graphs import IN_PLACE, kernel, make_board, make_graph, random_network

from mcudeploy.errors import InputError
from mcudeploy.memory.packing import QUICK
from mcudeploy.memory.plan import Plan
from mcudeploy.memory.planner import PlanOptions, make_plan
from mcudeploy.report.plot_plan import plot_plan


def plan_of(operators: int) -> Plan:
    graph, candidates = random_network(3, operators, 4000)
    board = make_board(("sram", 8192), ("ccm", 4096))
    return make_plan(graph, candidates, board, options=PlanOptions(effort=QUICK))


@pytest.mark.parametrize("operators", [0, 5, 150])
def test_the_picture_is_drawn_for_few_and_many_operators(operators: int, tmp_path: Path) -> None:
    path = tmp_path / "plan.svg"
    plot_plan(plan_of(operators), path)
    drawn = "".join(ElementTree.parse(path).getroot().itertext())
    assert "peak" in drawn
    assert "sram" in drawn


def test_the_picture_names_peak_bound_and_operators(tmp_path: Path) -> None:
    graph = make_graph({"x": 3000, "y$_1": 3000}, [("TANH", ["x"], ["y$_1"])], ["x"], ["y$_1"])
    plan = make_plan(graph, [[kernel(overlaps=[IN_PLACE])]], make_board())
    path = tmp_path / "plan.svg"
    plot_plan(plan, path)
    drawn = "".join(ElementTree.parse(path).getroot().itertext())
    assert "peak = bound 3,000 B" in drawn
    assert "0 TANH" in drawn
    assert "proven least" in drawn


def test_png_and_svg_by_the_ending_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    plan = plan_of(5)
    for ending, magic in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        first, second = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
        plot_plan(plan, first)
        plot_plan(plan, second)
        assert first.read_bytes().startswith(magic)
        assert first.read_bytes() == second.read_bytes()


def test_other_endings_and_unwritable_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written as"):
        plot_plan(plan_of(5), tmp_path / "plan.doc")
    with pytest.raises(InputError, match="cannot write"):
        plot_plan(plan_of(5), tmp_path / "no" / "plan.svg")
