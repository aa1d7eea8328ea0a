# SPDX-License-Identifier: Apache-2.0
"""Operators with state: any sizes and scales, and the state carried from inference to inference."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from core_model import CoreProgram
from host_model import HostProgram, roomy_board
from hypothesis import strategies as st
from operator_cases import (
    NIGHTLY_CASES,
    Case,
    check,
    draw,
    golden_only,
    int8,
    nightly,
    powers_of_two,
    seeds,
    together,
    zero_points,
)
from operator_layout import lay_out
from recurrent_models import Recurrent
from tflite_builder import ModelBuilder

from mcudeploy.deployment import LoadedModel, Options, plan_model
from mcudeploy.frontend.reference import Reference, sample_inputs
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.operators.base import Target
from mcudeploy.operators.support import candidates

compiled = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"
)

small = st.integers(1, 9)


@st.composite
def svdf(draw: st.DrawFn) -> Case:
    in_c, units, rank, memory = draw(small), draw(small), draw(st.integers(1, 3)), draw(small)
    filters, random = units * rank, draw(seeds)
    dtype = draw(st.sampled_from(["int16", "int8"]))
    scales = [draw(powers_of_two(-8, 0)) for _ in range(3)]
    state_scale = scales[0] * scales[1] * 2.0 ** (draw(st.floats(-3, 9)) if dtype == "int8" else 0)
    out_scale = state_scale * scales[2] * 2.0 ** draw(st.floats(0, 18))
    in_point, out_point = draw(zero_points), draw(zero_points)
    state_point = draw(zero_points) if dtype == "int8" else 0

    def build(b: ModelBuilder) -> Sequence[int]:
        source = np.random.default_rng(random)
        x = b.input((1, in_c), scale=scales[0], zero_point=in_point)
        feature = b.constant(int8(random, (filters, in_c)), scale=scales[1])
        # The sum over time must not overflow: the reference leaves that undefined.
        high = min(np.iinfo(dtype).max, 2400)
        values = source.integers(-high, high, (filters, memory)).astype(dtype)
        time = b.constant(values, scale=scales[2])
        # TFLM dies without a bias.
        shift = source.integers(-5000, 5000, units, np.int32)
        bias = b.constant(shift, scale=state_scale * scales[2])
        state = b.tensor(
            (1, filters * memory), dtype, scale=state_scale, zero_point=state_point,
            is_variable=True,
        )  # fmt: skip
        y = b.tensor((1, units), scale=out_scale, zero_point=out_point)
        return [
            b.operator(
                "SVDF", [x, feature, time, bias, state], y, rank=rank,
                fused_activation_function="RELU",
            )
        ]  # fmt: skip

    return Case(
        {"kind": "SVDF", "in_c": in_c, "units": units, "rank": rank, "memory": memory,
         "state": dtype, "scales": (*scales, state_scale, out_scale),
         "zero_points": (in_point, state_point, out_point), "seed": random},
        build,
    )  # fmt: skip


@st.composite
def lstm(draw: st.DrawFn) -> Case:
    steps, in_c, units = draw(st.integers(1, 6)), draw(small), draw(small)
    random, power = draw(seeds), draw(st.integers(-15, -9))
    in_scale, in_point = draw(powers_of_two(-8, -2)), draw(zero_points)
    hidden_scale, hidden_point = draw(powers_of_two(-8, -6)), draw(zero_points)
    weight_scales = [draw(powers_of_two(-9, -3)) for _ in range(8)]
    clip = draw(st.sampled_from([0.0, 0.0, 1.5]))
    time_major = draw(st.booleans())

    def build(b: ModelBuilder) -> Sequence[int]:
        sequence = (steps, 1) if time_major and steps == 1 else (1, steps)
        inputs = [-1] * 24
        inputs[0] = b.input((*sequence, in_c), scale=in_scale, zero_point=in_point)
        source = np.random.default_rng(random)
        for gate in range(4):
            for first, columns in ((1, in_c), (5, units)):
                scale = weight_scales[(first > 1) * 4 + gate]
                data = source.integers(-127, 128, (units, columns)).astype(np.int8)
                inputs[first + gate] = b.constant(data, scale=scale)
            values = source.integers(-20000, 20000, units, np.int32)
            inputs[12 + gate] = b.constant(values, scale=in_scale * weight_scales[gate])
        inputs[18] = b.tensor(
            (1, units), scale=hidden_scale, zero_point=hidden_point, is_variable=True
        )
        inputs[19] = b.tensor((1, units), "int16", scale=2.0**power, is_variable=True)
        y = b.tensor((*sequence, units), scale=hidden_scale, zero_point=hidden_point)
        return [
            b.operator(
                "UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, y, fused_activation_function="TANH",
                cell_clip=clip, time_major=time_major and steps == 1,
            )
        ]  # fmt: skip

    return Case(
        {"kind": "LSTM", "steps": steps, "in_c": in_c, "units": units, "cell": power,
         "input": (in_scale, in_point), "hidden": (hidden_scale, hidden_point),
         "weight_scales": weight_scales, "clip": clip, "seed": random},
        build,
    )  # fmt: skip


STRATEGIES = [svdf(), lstm()]


@golden_only
def test_equals_golden_for_any_sizes_and_scales(tmp_path: Path):
    check(STRATEGIES, tmp_path)


@golden_only
@nightly
def test_equals_golden_for_many_sizes_and_scales(tmp_path: Path):
    check(STRATEGIES, tmp_path, count=NIGHTLY_CASES)


@golden_only
def test_state_goes_on_from_inference_to_inference_until_it_is_reset(tmp_path: Path):
    model, _ = together([case for strategy in STRATEGIES for case in draw(strategy, 4)])
    graph = read_tflite(model, "state")
    board = roomy_board()
    plan = lay_out(graph, candidates(graph, Target(board.core)), board, 0)
    assert plan is not None and plan.state
    inputs = sample_inputs(graph, 5, seed=1)
    program = HostProgram(plan, tmp_path)
    kept, fresh = program(inputs, keep_state=True), program(inputs)
    with Reference(model) as golden:
        for position, arrays in enumerate(inputs):
            wanted = golden.infer(arrays, reset=position == 0).outputs
            assert [w.tobytes() for w in wanted] == list(kept[position].outputs)
        for position, arrays in enumerate(inputs):
            wanted = golden.infer(arrays).outputs
            assert [w.tobytes() for w in wanted] == list(fresh[position].outputs)
    assert kept[-1].outputs != fresh[-1].outputs


ROLLED: dict[str, Callable[[], Recurrent]] = {
    "simple": lambda: Recurrent(6, 5).simple(biased=True),
    "two states": lambda: Recurrent(5, 4).gated(),
}


@golden_only
@compiled
@pytest.mark.parametrize("layer", ROLLED)
def test_a_loop_over_steps_equals_golden_on_a_small_core(layer: str, tmp_path: Path):
    built = ROLLED[layer]()
    model = built.build(built.hidden[-1])
    board = roomy_board("cortex-m0plus")
    plan = plan_model(LoadedModel(model), "recurrent", board, Options()).plan
    assert "REPEAT" in [operator.kind for operator in plan.graph.operators]
    inputs = sample_inputs(plan.graph, 3, seed=1)
    found = CoreProgram(plan, tmp_path, board.core)(inputs)
    with Reference(model) as golden:
        for arrays, outputs in zip(inputs, found, strict=True):
            wanted = golden.infer(arrays).outputs
            assert [one.tobytes() for one in wanted] == list(outputs)
