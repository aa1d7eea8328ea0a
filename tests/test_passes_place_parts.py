# SPDX-License-Identifier: Apache-2.0
"""Joining and parting without copies: where the planner can, and only if it may."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from host_model import HostModel
from operator_cases import golden_only
from recurrent_models import Recurrent
from tflite_builder import ModelBuilder

from mcudeploy.deployment import Deployment, LoadedModel, Options, choose_board, plan_model
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.passes import place_parts
from mcudeploy.operators.boxes import PLACED
from mcudeploy.operators.repeat import repeat_of

OFF = ("place-parts",)


def branches(axis: int) -> bytes:
    """Two convolutions, joined along an axis, parted again and added."""
    b = ModelBuilder()
    x = b.input((1, 6, 6, 4), scale=0.1)

    def branch(seed: int) -> int:
        weights = np.random.default_rng(seed).integers(-127, 128, (8, 1, 1, 4)).astype(np.int8)
        y = b.tensor((1, 6, 6, 8), scale=0.1)
        options = {"padding": "SAME", "stride_h": 1, "stride_w": 1}
        options |= {"dilation_h_factor": 1, "dilation_w_factor": 1}
        bias = b.constant(np.zeros(8, np.int32), scale=0.1 * 0.01)
        w = b.constant(weights, scale=0.01)
        return b.operator("CONV_2D", [x, w, bias], y, **options)

    shape = [1, 6, 6, 8]
    shape[axis] *= 2
    joined = b.operator(
        "CONCATENATION", [branch(1), branch(2)], b.tensor(shape, scale=0.1), axis=axis
    )
    parts = [b.tensor((1, 6, 6, 8), scale=0.1) for _ in range(2)]
    along = b.constant(np.array(axis, np.int32))
    b.operator("SPLIT", [along, joined], parts, num_splits=2)
    total = b.operator("ADD", parts, b.tensor((1, 6, 6, 8), scale=0.2))
    return b.build([total])


def planned(model: bytes, **options: object) -> Deployment:
    board = choose_board("stm32f469", Options())
    return plan_model(LoadedModel(model), "branches", board, Options(**options))  # type: ignore[arg-type]


def kernels(deployment: Deployment) -> dict[str, str]:
    plan = deployment.plan
    pairs = zip(plan.graph.operators, plan.implementations, strict=True)
    return {operator.kind: one.kernel for operator, one in pairs}


def test_joining_and_parting_along_rows_copies_nothing_unless_the_pass_is_off():
    with_pass, without = planned(branches(1)), planned(branches(1), disabled_passes=OFF)
    for kind in ("CONCATENATION", "SPLIT"):
        assert kernels(with_pass)[kind] == "none"
        assert kernels(without)[kind] == "memcpy"
    peaks = [one.plan.certificate.peak_bytes for one in (with_pass, without)]
    assert peaks[0] < peaks[1]


@golden_only
@pytest.mark.parametrize("axis", [1, 3])
@pytest.mark.parametrize("off", [(), OFF], ids=["on", "off"])
def test_every_operator_gives_golden_s_bytes_with_and_without_it(
    axis: int, off: tuple[str, ...], tmp_path: Path
):
    HostModel(branches(axis), tmp_path, disabled_passes=off).check_against_golden(3)


def test_what_moves_bytes_apart_is_not_marked():
    graph = place_parts.apply(read_tflite(branches(3), "channels"))
    assert not any(operator.attributes.get(PLACED) for operator in graph.operators)


def test_a_graph_is_marked_once():
    graph = place_parts.apply(read_tflite(branches(1), "rows"))
    assert [o.kind for o in graph.operators if o.attributes.get(PLACED)] == [
        "CONCATENATION",
        "SPLIT",
    ]
    assert place_parts.apply(graph) is graph


def test_the_steps_of_a_rolled_layer_are_marked_too():
    layer = Recurrent(5, 4).gated()
    model = layer.build(layer.hidden[-1])
    marked, plain = (
        {
            one.attributes.get(PLACED, False)
            for operator in planned(model, disabled_passes=off).plan.graph.operators
            if operator.kind == "REPEAT"
            for one in repeat_of(operator).bodies[0].operators
            if one.kind == "SPLIT"
        }
        for off in ((), OFF)
    )
    assert marked == {True} and plain == {False}
