# SPDX-License-Identifier: Apache-2.0
"""Pictures of plans: written in the format of the file's ending, the same each time."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from memory_graphs import IN_PLACE, kernel, make_board, make_graph, random_network

from mcudeploy import zoo
from mcudeploy.board import find_board
from mcudeploy.errors import InputError
from mcudeploy.memory.occupants import occupants, shared
from mcudeploy.memory.packing import QUICK
from mcudeploy.memory.plan import Plan
from mcudeploy.memory.planner import PlanOptions, make_plan
from mcudeploy.memory.streamed import plan_with_segments
from mcudeploy.operators.base import Target
from mcudeploy.operators.support import candidates, row_candidates
from mcudeploy.report.drawings import plan_pictures
from mcudeploy.report.plot_plan import _figure, plot_plan


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


def streamed_plan() -> Plan:
    """A network of the zoo, its first nine operators row by row from a whole input, with strips."""
    board, graph = find_board("stm32f469"), zoo.graph("ds_cnn")
    target = Target(board.core, sizes_only=True)
    kernels, forms = candidates(graph, target), row_candidates(graph, target)
    base = make_plan(graph, kernels, board)
    plan = plan_with_segments(base, kernels, forms, [(0, 9)], strips=True)
    assert plan is not None
    return plan


def test_the_picture_shows_rolling_buffers_strips_and_sums(tmp_path: Path) -> None:
    plan = streamed_plan()
    found = occupants(plan)
    of_kind = Counter(one.kind for one in found)
    assert of_kind["rolling buffer"] >= 4
    assert of_kind["strip"] == len(plan.streams[0].strips) >= 1
    assert of_kind["sums"] == len(plan.streams[0].state) + 1
    path = tmp_path / "plan.svg"
    plot_plan(plan, path)
    drawn = "".join(ElementTree.parse(path).getroot().itertext())
    for text in ("rolling buffer", "strip", "sums", "row by row", "#2, 2 rows", "shared bytes"):
        assert text in drawn
    (picture,) = plan_pictures(plan)
    assert {"rolling-buffer", "strip", "sums"} <= {r.kind for r in picture.rectangles}


def test_the_picture_shows_state_above_all_else(tmp_path: Path) -> None:
    graph = make_graph(
        {"x": 400, "kept": 300, "y": 200}, [("SVDF", ["x", "kept"], ["y"])], ["x"], ["y"], ["kept"]
    )
    plan = make_plan(graph, [[kernel(100)]], make_board())
    (state,) = (one for one in occupants(plan) if one.kind == "state")
    assert (state.start, state.end, state.place.offset) == (0, 1, plan.state_begin("sram"))
    path = tmp_path / "plan.svg"
    plot_plan(plan, path)
    drawn = "".join(ElementTree.parse(path).getroot().itertext())
    assert drawn.count("state") == 2, "in its rectangle and in the legend"
    assert "state" in {r.kind for r in plan_pictures(plan)[0].rectangles}


@pytest.mark.parametrize("make", [streamed_plan, lambda: plan_of(40)], ids=["streamed", "plain"])
def test_occupants_are_all_that_has_a_place(make: Callable[[], Plan]) -> None:
    """They reach as high as the plan, and what shares bytes with none is drawn over none."""
    plan = make()
    found = occupants(plan)
    tops: dict[str, int] = {}
    for one in found:
        assert 0 <= one.start < one.end <= len(plan.graph.operators)
        tops[one.place.region] = max(
            tops.get(one.place.region, 0), one.place.offset + one.place.bytes
        )
    aligned = {region: -(-top // 4) * 4 for region, top in tops.items()}
    assert aligned == dict(plan.arenas)
    if not plan.streams:
        drawn = {frozenset((a.name, b.name)) for a, b in shared(found)}
        names = [tensor.name for tensor in plan.graph.tensors]
        for step in range(len(plan.graph.operators)):
            for s in plan.sharing(step):
                assert frozenset((names[s.input], names[s.output])) in drawn


def test_no_label_leaves_its_rectangle_or_meets_another_of_its_column() -> None:
    """By the text's measured extents, for few and for many operators."""
    for plan in (plan_of(5), streamed_plan()):
        figure = _figure(plan)
        figure.draw_without_rendering()
        for axis in figure.axes:
            boxes = [t.get_window_extent() for t in axis.texts if t.get_fontsize() == 7]
            assert boxes
            frame = axis.get_window_extent()
            for number, box in enumerate(boxes):
                assert frame.x0 - 1 <= box.x0 < box.x1 <= frame.x1 + 1
                assert frame.y0 - 1 <= box.y0 < box.y1 <= frame.y1 + 1
                assert not any(box.overlaps(other) for other in boxes[:number])


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
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write the picture"):
        plot_plan(plan_of(5), tmp_path / "file" / "plan.svg")
