# SPDX-License-Identifier: Apache-2.0
"""Plans: sound to the independent checker, low, in the right region, with the fastest kernels."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from memory_graphs import IN_PLACE, KIB, kernel, make_board, make_graph, random_network

from mcudeploy import zoo
from mcudeploy.board import Board, find_board
from mcudeploy.errors import PlanError
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import Graph
from mcudeploy.graph.passes import run_passes
from mcudeploy.memory import greedy, order, packing
from mcudeploy.memory.checker import check_plan
from mcudeploy.memory.geometry import make_geometry
from mcudeploy.memory.greedy import orders, place
from mcudeploy.memory.lifetimes import lifespans, make_layout, usable
from mcudeploy.memory.packing import QUICK
from mcudeploy.memory.plan import Plan
from mcudeploy.memory.planner import PlanOptions, make_plan
from mcudeploy.operators.base import Implementation, OverlapRule, Placed, Target
from mcudeploy.operators.support import candidates as all_kernels

FAST = PlanOptions(effort=QUICK)
ANYWHERE = OverlapRule(0, 0, 0, 0)


def chain(sizes: Sequence[int]) -> Graph:
    """t0 -> t1 -> ... with tensors of these sizes."""
    names = {f"t{i}": size for i, size in enumerate(sizes)}
    steps = [("OP", [f"t{i}"], [f"t{i + 1}"]) for i in range(len(sizes) - 1)]
    return make_graph(names, steps, ["t0"], [f"t{len(sizes) - 1}"])


def plan_of(
    graph: Graph,
    candidates: Sequence[Sequence[Implementation]],
    board: Board | None = None,
    options: PlanOptions | None = None,
) -> Plan:
    plan = make_plan(graph, candidates, board or make_board(), options=options)
    assert check_plan(plan) == ()
    return plan


def greedy_by_size(graph: Graph, candidates: Sequence[Sequence[Implementation]]) -> int:
    """Peak of the usual planner: the file's order, fastest kernels, no overlap, largest first."""
    kept = usable(graph, candidates, lifespans(graph), 4)
    layout = make_layout(graph, [kernels[0] for kernels in kept], 4, overlap=False)
    geometry = make_geometry(layout.problem)
    offsets = place(geometry, orders(geometry)[0][1])
    assert offsets is not None
    return geometry.height(offsets)


def check_random_plan(seed: int, operators: int, *, cores: Sequence[str] = ("cortex-m4f",)) -> None:
    graph, candidates = random_network(seed, operators)
    for core in cores:
        plan = plan_of(graph, candidates, make_board(core=core), FAST)
        assert plan.certificate.lower_bound_bytes <= plan.certificate.peak_bytes
        for step, chosen in enumerate(plan.implementations):
            original = graph.operators.index(plan.graph.operators[step])
            assert chosen in candidates[original]
    assert plan_of(graph, candidates, options=FAST).certificate.peak_bytes <= greedy_by_size(
        graph, candidates
    )


@pytest.mark.parametrize("seed", range(80))
def test_plans_of_random_networks_are_sound_and_no_worse_than_greedy(seed: int) -> None:
    check_random_plan(seed, 4 + seed % 16, cores=("cortex-m4f", "cortex-m55"))


def test_a_reordered_network_is_no_worse_than_greedy_in_the_files_order() -> None:
    """The bytes live in an order are no bound of what it packs to: both orders must be packed."""
    check_random_plan(1888, 32)


NIGHTLY_BLOCKS = [range(first, first + 100) for first in range(0, 2_000, 100)]


def test_the_nightly_run_plans_2000_different_random_networks() -> None:
    assert len({seed for block in NIGHTLY_BLOCKS for seed in block}) >= 2_000


@pytest.mark.slow(reason="2,000 random networks")
@pytest.mark.parametrize("seeds", NIGHTLY_BLOCKS, ids=str)
def test_plans_of_many_random_networks_are_sound(seeds: range) -> None:
    for seed in seeds:
        check_random_plan(seed, 4 + seed % 30)


def test_same_network_same_plan() -> None:
    for seed in range(5):
        graph, candidates = random_network(seed)
        plans = [plan_of(graph, candidates) for _ in range(2)]
        assert plans[0].tensors == plans[1].tensors
        assert plans[0].scratch == plans[1].scratch
        assert plans[0].certificate == plans[1].certificate


def test_a_chain_without_overlap_needs_its_largest_pair() -> None:
    plan = plan_of(chain([64, 256, 128, 512, 4]), [[kernel()]] * 4)
    assert plan.certificate.peak_bytes == plan.certificate.lower_bound_bytes == 640
    assert plan.certificate.peak_step == 2
    assert plan.live_bytes == (320, 384, 640, 516)


def test_one_to_one_operators_run_in_place() -> None:
    plan = plan_of(chain([256, 256, 256]), [[kernel(overlaps=[IN_PLACE])]] * 2)
    assert plan.certificate.peak_bytes == 256
    assert [s.bytes for step in range(2) for s in plan.sharing(step)] == [256, 256]


def test_overlap_can_be_switched_off() -> None:
    off = PlanOptions(overlap=False)
    plan = plan_of(chain([256, 256]), [[kernel(overlaps=[IN_PLACE])]], options=off)
    assert plan.certificate.peak_bytes == 512
    assert plan.sharing(0) == ()


def test_an_output_starts_as_far_ahead_of_its_input_as_the_rule_allows() -> None:
    ahead = kernel(overlaps=[OverlapRule(0, max_distance=-40)])
    plan = plan_of(chain([256, 256]), [[ahead]])
    assert plan.certificate.peak_bytes == 296
    behind = kernel(overlaps=[OverlapRule(0, min_distance=42)])
    assert plan_of(chain([256, 256]), [[behind]]).certificate.peak_bytes == 300


def test_an_input_that_is_read_later_is_not_overwritten() -> None:
    graph = make_graph(
        {"x": 64, "a": 64, "y": 64},
        [("RELU", ["x"], ["a"]), ("ADD", ["x", "a"], ["y"])],
        ["x"],
        ["y"],
    )
    add = kernel(overlaps=[OverlapRule(0, 0, 0), OverlapRule(1, 0, 0)])
    plan = plan_of(graph, [[kernel(overlaps=[IN_PLACE])], [add]])
    assert plan.sharing(0) == ()
    assert plan.certificate.peak_bytes == 128


def test_an_input_read_twice_needs_a_rule_for_each_reading() -> None:
    graph = make_graph({"x": 64, "y": 64}, [("MUL", ["x", "x"], ["y"])], ["x"], ["y"])
    once = kernel(overlaps=[OverlapRule(0, 0, 0)])
    twice = kernel(overlaps=[OverlapRule(0, 0, 0), OverlapRule(1, 0, 0)])
    assert plan_of(graph, [[once]]).certificate.peak_bytes == 128
    assert plan_of(graph, [[twice]]).certificate.peak_bytes == 64


def test_graph_outputs_are_whole_at_the_end() -> None:
    graph = make_graph(
        {"x": 64, "a": 64, "y": 64}, [("R", ["x"], ["a"]), ("R", ["a"], ["y"])], ["x"], ["a", "y"]
    )
    plan = plan_of(graph, [[kernel(overlaps=[IN_PLACE])]] * 2)
    assert plan.certificate.peak_bytes == 128


def test_state_is_never_shared() -> None:
    graph = make_graph(
        {"x": 64, "s": 32, "a": 64, "y": 64},
        [("SVDF", ["x", "s"], ["a"]), ("R", ["a"], ["y"])],
        ["x"],
        ["y"],
        ["s"],
    )
    keep = kernel(overlaps=[OverlapRule(0, 0, 0), OverlapRule(1, 0, 0, 0)])
    plan = plan_of(graph, [[keep], [kernel(overlaps=[IN_PLACE])]])
    assert set(plan.state) == {1}
    assert 1 not in plan.tensors
    assert plan.certificate.peak_bytes == 96


def test_reshape_is_a_view_even_when_its_input_lives_on() -> None:
    graph = make_graph(
        {"x": 64, "v": 64, "y": 4},
        [("RESHAPE", ["x"], ["v"]), ("FC", ["v", "x"], ["y"])],
        ["x"],
        ["y"],
    )
    plan = plan_of(graph, [[kernel(name="none", overlaps=[ANYWHERE])], [kernel()]])
    assert plan.tensors[0] == plan.tensors[1]
    assert plan.certificate.peak_bytes == 68


def test_concatenation_and_split_by_placement_copy_nothing() -> None:
    graph = make_graph(
        {"x": 96, "a": 32, "b": 64, "ra": 32, "rb": 64, "y": 96},
        [("SPLIT", ["x"], ["a", "b"]), ("R", ["a"], ["ra"]), ("R", ["b"], ["rb"]),
         ("CONCAT", ["ra", "rb"], ["y"])],
        ["x"],
        ["y"],
    )  # fmt: skip
    relu = [kernel(overlaps=[IN_PLACE])]
    split = [kernel(placed=[Placed(0, 0, 0), Placed(0, 1, 32)]), kernel(name="copy")]
    concat = [kernel(placed=[Placed(0, 0, 0), Placed(1, 0, -32)]), kernel(name="copy")]
    plan = plan_of(graph, [split, relu, relu, concat])
    assert plan.tensors[5].offset == plan.tensors[3].offset == plan.tensors[4].offset - 32
    assert plan.certificate.peak_bytes == 96


def test_views_that_contradict_each_other_fall_back_to_a_copy() -> None:
    graph = make_graph({"x": 32, "y": 64}, [("CONCAT", ["x", "x"], ["y"])], ["x"], ["y"])
    views = kernel(placed=[Placed(0, 0, 0), Placed(1, 0, -32)], name="views")
    plan = plan_of(graph, [[views, kernel(name="copy")]])
    assert plan.implementations[0].kernel == "copy"
    with pytest.raises(PlanError, match="views"):
        make_plan(graph, [[views]], make_board())


def test_speed_does_not_raise_the_peak() -> None:
    """The fast kernel is granted where there is room, and not where it would cost memory."""
    fast = kernel(300, name="fast")
    lean = kernel(0, name="lean", overlaps=[IN_PLACE])
    plan = plan_of(chain([512, 512, 64, 64]), [[fast, lean]] * 3)
    assert [i.kernel for i in plan.implementations] == ["lean", "lean", "fast"]
    assert plan.certificate.peak_bytes == 512


def test_kernels_that_shift_less_are_chosen_when_shifts_add_up() -> None:
    shifting = kernel(16, overlaps=[OverlapRule(0, max_distance=-100)], name="shifting")
    still = kernel(140, overlaps=[IN_PLACE], name="still")
    plan = plan_of(chain([1000] * 8), [[shifting, still]] * 7)
    assert plan.certificate.peak_bytes == 1140
    assert plan.certificate.gap_bytes == 0


def test_reordering_lowers_the_peak_and_says_so() -> None:
    graph = make_graph(
        {"x": 10, "b1": 100, "b2": 100, "s1": 5, "s2": 5, "y": 10},
        [("C", ["x"], ["b1"]), ("C", ["x"], ["b2"]), ("C", ["b1"], ["s1"]), ("C", ["b2"], ["s2"]),
         ("ADD", ["s1", "s2"], ["y"])],
        ["x"],
        ["y"],
    )  # fmt: skip
    plan = plan_of(graph, [[kernel()]] * 5)
    assert plan.certificate.file_order_live_bytes == 210
    assert plan.certificate.order_live_bytes == plan.certificate.order_bound_bytes == 115
    kept = plan_of(graph, [[kernel()]] * 5, options=PlanOptions(reorder=False))
    assert kept.graph.operators == graph.operators
    assert kept.certificate.peak_bytes > plan.certificate.peak_bytes


F469 = (("sram", 320 * KIB), ("ccm", 64 * KIB))


def test_a_second_region_takes_what_the_first_cannot() -> None:
    """360 KiB in two buffers of 300 and 60 KiB: over the 320 of SRAM, within 320 + 64."""
    graph = chain([300 * KIB, 60 * KIB])
    plan = plan_of(graph, [[kernel()]], make_board(*F469))
    assert plan.arenas == {"sram": 300 * KIB, "ccm": 60 * KIB}
    assert plan.certificate.peak_bytes == 360 * KIB


def test_the_second_region_is_left_alone_when_the_first_is_enough() -> None:
    plan = plan_of(chain([200 * KIB, 60 * KIB]), [[kernel()]], make_board(*F469))
    assert plan.arenas == {"sram": 260 * KIB}


def test_the_reserve_is_kept_free() -> None:
    graph = chain([200 * KIB, 60 * KIB])
    options = PlanOptions(reserve_bytes=80 * KIB)
    plan = plan_of(graph, [[kernel()]], make_board(*F469), options)
    assert plan.arenas == {"sram": 200 * KIB, "ccm": 60 * KIB}


def test_buffers_that_no_region_holds_overflow_the_first() -> None:
    """300 + 100 KiB: neither fits the CCM, and together they are 80 KiB over the SRAM."""
    plan = plan_of(chain([300 * KIB, 100 * KIB]), [[kernel()]], make_board(*F469))
    assert plan.arenas["sram"] == 400 * KIB
    assert "does not fit" in plan.certificate.packing_method


def test_what_does_not_fit_is_over_by_as_little_as_possible() -> None:
    """310 + 50 + 30 KiB live at once: 390, with at most 50 in the CCM the SRAM is 20 over."""
    graph = make_graph(
        {"x": 310 * KIB, "a": 50 * KIB, "b": 30 * KIB},
        [("SPLIT", ["x"], ["a", "b"])],
        ["x"],
        ["a", "b"],
    )
    plan = plan_of(graph, [[kernel()]], make_board(*F469))
    assert plan.arenas == {"sram": 340 * KIB, "ccm": 50 * KIB}


def test_external_memory_is_used_only_when_asked_for() -> None:
    graph = chain([300 * KIB, 100 * KIB])
    board = make_board(*F469, external=1024 * KIB)
    assert "sdram" not in plan_of(graph, [[kernel()]], board).arenas
    plan = plan_of(graph, [[kernel()]], board, PlanOptions(use_external=True))
    assert plan.arenas == {"sram": 300 * KIB, "sdram": 100 * KIB}


@pytest.mark.parametrize("seed", range(25))
def test_plans_over_several_regions_are_sound(seed: int) -> None:
    graph, candidates = random_network(seed, 10)
    whole = plan_of(graph, candidates, options=FAST).certificate.peak_bytes
    first = whole // 2 // 16 * 16
    board = make_board(("sram", max(first, 16)), ("ccm", 16 + whole - first), ("more", 64))
    plan_of(graph, candidates, board, FAST)


def test_a_network_without_operators_has_a_plan() -> None:
    graph = make_graph({"x": 16}, [], ["x"], ["x"])
    assert plan_of(graph, []).certificate.peak_bytes == 16


@pytest.mark.parametrize("name", zoo.names())
def test_without_overlap_the_zoo_is_planned_to_the_proven_optimum(name: str) -> None:
    graph = zoo.graph(name)
    any_kernel, view = kernel(), kernel(name="none")
    candidates = [[view if o.kind == "RESHAPE" else any_kernel] for o in graph.operators]
    plan = plan_of(graph, candidates, options=PlanOptions(overlap=False))
    assert plan.certificate.gap_bytes == 0
    assert plan.certificate.order_live_bytes == plan.certificate.order_bound_bytes


@pytest.mark.parametrize(
    "name",
    ["ad01_int8", "hello_world_int8", "kws_ref_model", "micro_speech_quantized",
     "pretrainedResnet_quant", "vww_96_int8"],
)  # fmt: skip
def test_without_overlap_real_networks_are_planned_to_the_proven_optimum(
    name: str, real_model: Callable[[str], Path]
) -> None:
    graph = read_tflite(real_model(f"{name}.tflite").read_bytes(), name)
    any_kernel, view = kernel(), kernel(name="none")
    candidates = [[view if o.kind == "RESHAPE" else any_kernel] for o in graph.operators]
    plan = plan_of(graph, candidates, options=PlanOptions(overlap=False))
    assert plan.certificate.gap_bytes == 0
    assert plan.certificate.order_live_bytes == plan.certificate.order_bound_bytes


@pytest.mark.slow(reason="measures seconds, which a busy machine stretches")
@pytest.mark.parametrize(
    "name", ["densenet121", "efficientnet_b1", "lstm", "lstm_attention", "gru", "gru_attention"]
)
def test_networks_of_300_operators_are_planned_in_two_seconds(name: str) -> None:
    graph = run_passes(zoo.graph(name), ("roll-steps",))
    assert len(graph.operators) >= 300
    kernels = all_kernels(graph, Target(find_board("stm32f469").core, sizes_only=True))
    begin = time.process_time()
    make_plan(graph, kernels, find_board("stm32f469"))
    assert time.process_time() - begin < 2


@pytest.mark.parametrize("seed", [1, 3])
def test_planning_300_operators_takes_few_steps(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With views, overlap rules and several kernels an operator; benchmarks/packing.py has seconds.

    Steps are the same on a busy machine: items placed, operators tried in an order, packings.
    """
    steps: Counter[str] = Counter()

    def count(module: object, name: str) -> None:
        function = getattr(module, name)

        def counted(*arguments: object) -> object:
            steps[name] += 1
            return function(*arguments)

        monkeypatch.setattr(module, name, counted)

    count(greedy, "lowest_free")
    count(order._Network, "run")
    count(packing, "make_geometry")
    graph, candidates = random_network(seed, 300, 4000)
    make_plan(graph, candidates, make_board())
    assert 0 < steps["lowest_free"] <= 30_000
    assert 0 < steps["run"] <= 125_000
    assert 0 < steps["make_geometry"] <= 12


def test_offsets_keep_the_alignment_that_the_core_wants() -> None:
    board = make_board(core="cortex-m55")
    plan = plan_of(chain([10, 10, 10]), [[kernel(7)]] * 2, board)
    assert all(p.offset % 16 == 0 for p in [*plan.tensors.values(), *plan.scratch.values()])


def test_heavy_solvers_stay_away_while_heuristics_suffice() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests'); import test_memory_planner as t; "
        "t.plan_of(t.chain([64 + 8 * i % 512 for i in range(101)]), [[t.kernel(8)]] * 100); "
        "assert 'ortools' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)
