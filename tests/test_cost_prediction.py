# SPDX-License-Identifier: Apache-2.0
"""Instructions and cycles predicted without a build, against counts of compiled kernels."""

from dataclasses import replace

import numpy as np
import pytest
from cost_layers import Layer, count_costs, count_instructions, layers
from real_models import MODELS

from mcudeploy.board import CORES, find_board
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.passes import run_passes
from mcudeploy.operators.base import Implementation, Target
from mcudeploy.operators.costs import (
    fastest_first,
    predicted_cycles,
    predicted_instructions,
    predicted_milliseconds,
)
from mcudeploy.operators.support import candidates

M4F = CORES["cortex-m4f"]
MAKERS = (
    "conv", "conv 1x1", "depthwise", "dense", "dense per row", "product", "AVERAGE_POOL_2D",
    "MAX_POOL_2D", "ADD", "MUL", "MEAN", "transposed",
)  # fmt: skip


OTHERS = [
    pytest.param(CORES[name], marks=pytest.mark.slow(reason="120 kernels counted on one more core"))
    for name in ("cortex-m3", "cortex-m33", "cortex-m7")
]
ON_CORES = pytest.mark.parametrize(
    "core", [M4F, CORES["cortex-m0plus"], *OTHERS], ids=lambda core: core.name
)


@ON_CORES
def test_60_layers_that_no_cost_was_drawn_from_are_within_10_percent(core):
    random = np.random.default_rng(20_240_229)
    drawn = list(layers(MAKERS, 5, random, core))
    assert len(drawn) == 60
    measured = [(layer, one) for layer in drawn for one in layer.implementations]
    wrong = []
    for (layer, one), counts in zip(measured, count_costs(measured, core, random), strict=True):
        predicted = predicted_instructions(one, core), predicted_cycles(one, core)
        assert None not in predicted, one.kernel
        if any(abs(p / n - 1) > 0.1 for p, n in zip(predicted, counts, strict=True)):
            wrong.append(f"{one.kernel}: {predicted} for {counts}\n{layer.graph}")
    assert not wrong, "\n".join(wrong)


def test_softmax_whose_time_depends_on_its_data_is_within_a_quarter():
    random = np.random.default_rng(20_240_301)
    measured = [
        (layer, one)
        for layer in layers(["softmax"], 6, random, M4F)
        for one in layer.implementations
    ]
    for (_, one), count in zip(measured, count_instructions(measured, M4F, random), strict=True):
        assert predicted_instructions(one, M4F) == pytest.approx(count, rel=0.25), one.kernel


@ON_CORES
@pytest.mark.parametrize("kernels", ["auto", "cmsis-nn"])
@pytest.mark.parametrize("name", MODELS)
def test_a_real_network_is_within_10_percent(real_model, name, kernels, core):
    graph = run_passes(read_tflite(real_model(name).read_bytes(), name))
    chosen = [offered[0] for offered in candidates(graph, Target(core, kernels))]
    measured = [
        (Layer(graph, (one,), position), one) for position, one in enumerate(chosen) if one.snippet
    ]
    counts = count_costs(measured, core, np.random.default_rng(3))
    predicted = sum(predicted_instructions(one, core) or 0.0 for one in chosen)
    assert predicted == pytest.approx(sum(instructions for instructions, _ in counts), rel=0.1)
    cycles = sum(predicted_cycles(one, core) or 0.0 for one in chosen)
    assert cycles == pytest.approx(sum(cycles for _, cycles in counts), rel=0.1)


def made(kernel, **values):
    return Implementation(kernel=kernel, snippet="run();", **values)


def test_a_kernel_states_a_formula_or_work_or_nothing():
    stated = made("mine", instructions=100.0)
    worked = made("mcud_broadcast_add_s8", work={"call": 1, "row": 2, "element": 10})
    assert predicted_instructions(stated, M4F) == 100
    assert 59 + 2 * 60 + 900 < (predicted_instructions(worked, M4F) or 0) < 59 + 2 * 80 + 920
    assert predicted_instructions(made("mine"), M4F) is None
    assert predicted_instructions(made("unmeasured", work={"call": 1}), M4F) is None
    assert predicted_instructions(worked, CORES["cortex-m55"]) is not None
    assert predicted_cycles(worked, CORES["cortex-m55"]) is None
    assert predicted_instructions(replace(worked, snippet=""), M4F) == 0


def test_kernels_are_sorted_by_speed_only_where_all_are_known():
    slow, fast, unknown = made("a", instructions=9.0), made("b", instructions=5.0), made("c")
    assert [one.kernel for one in fastest_first([slow, fast], M4F)] == ["b", "a"]
    assert [one.kernel for one in fastest_first([slow, unknown, fast], M4F)] == ["a", "c", "b"]


def test_fewer_cycles_go_before_fewer_instructions():
    short, fast = made("a", instructions=5.0, cycles=9.0), made("b", instructions=6.0, cycles=8.0)
    assert [one.kernel for one in fastest_first([short, fast], M4F)] == ["b", "a"]


def test_milliseconds_follow_instructions_clock_and_flash():
    board = find_board("nucleo_l4r5zi")
    slower = board.model_copy(
        update={"clock": board.clock.model_copy(update={"hz": board.clock.hz // 2})}
    )
    one = made("arm_convolve_s8", instructions=1e6)
    time = predicted_milliseconds(one, board)
    assert time == pytest.approx(1e6 * (1.19 + 5 * 0.064) / 120e6 * 1000)
    assert predicted_milliseconds(one, slower) == pytest.approx(2 * time)
