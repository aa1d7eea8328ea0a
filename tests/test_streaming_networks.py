# SPDX-License-Identifier: Apache-2.0
"""Whole networks row by row: what they take, and that the firmware is exact, on the emulator.

The figures are bytes of activations, scratch and rolling buffers on a Cortex-M4.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from host_model import roomy_board
from mobile_networks import keras_channels, mobilenet_v1, mobilenet_v2
from test_zoo_keras import convert

import mcudeploy
from mcudeploy.deployment import LoadedModel, Options, plan_model

NETWORKS: dict[str, Callable[[], bytes]] = {
    "MobileNetV1 0.25 at 224": lambda: mobilenet_v1(0.25, 224),
    "MobileNetV1 1.0 at 224": lambda: mobilenet_v1(1.0, 224),
    "MobileNetV2 0.35 at 144": lambda: mobilenet_v2(keras_channels(0.35), 144),
    "MobileNetV2 truncated at 144": lambda: mobilenet_v2(lambda c: int(0.35 * c), 144),
}
FED = {
    "MobileNetV1 0.25 at 224": 39_500,
    "MobileNetV1 1.0 at 224": 160_000,
    "MobileNetV2 0.35 at 144": 32_000,
    "MobileNetV2 truncated at 144": 22_000,
}
WHOLE = {"MobileNetV1 0.25 at 224": 156_000, "MobileNetV2 0.35 at 144": 66_000}
RUN = [
    *((name, fed, "stm32f469") for name in sorted(WHOLE) for fed in (False, True)),
    ("MobileNetV2 truncated at 144", True, "stm32f469"),
    ("MobileNetV1 1.0 at 224", True, "mps2_an386"),  # a board with room for its weights
]


def peak(model: bytes, **options: object) -> int:
    """Of a plan that its checker has found right."""
    loaded = LoadedModel(model)
    deployment = plan_model(loaded, "m.tflite", roomy_board("cortex-m4f"), Options(**options))
    return deployment.plan.certificate.peak_bytes


def test_mobilenet_v1_fed_by_rows_takes_less_than_a_fifth_of_its_unstreamed_plan():
    name = "MobileNetV1 0.25 at 224"
    assert peak(NETWORKS[name](), ram_budget=FED[name], row_fed=True) <= FED[name]


@pytest.mark.slow(reason="plans of the largest networks")
@pytest.mark.parametrize("name", FED)
def test_a_network_fed_by_rows_is_within_its_budget(name):
    assert peak(NETWORKS[name](), ram_budget=FED[name], row_fed=True) <= FED[name]


@pytest.mark.slow(reason="plans of the largest networks")
@pytest.mark.parametrize("name", WHOLE)
def test_a_network_with_its_input_in_memory_is_within_its_budget(name):
    assert peak(NETWORKS[name](), ram_budget=WHOLE[name]) <= WHOLE[name]


def assert_exact(folder: Path) -> None:
    mcudeploy.build(folder)
    (verdict,) = mcudeploy.test(folder, random=1).verdicts
    assert verdict.bit_exact, verdict.divergence
    assert verdict.compared_operators == verdict.operators
    assert verdict.distinct_outputs > 1


@pytest.mark.slow(reason="half a minute of emulation for each, two for the largest")
@pytest.mark.parametrize(("name", "fed", "board"), RUN)
def test_a_network_within_its_budget_is_exact_on_the_emulator(tmp_path: Path, name, fed, board):
    path = tmp_path / "network.tflite"
    path.write_bytes(NETWORKS[name]())
    budget = (FED if fed else WHOLE)[name]
    folder = tmp_path / "firmware"
    made = mcudeploy.generate(path, board, folder, ram_budget=budget, row_fed=fed)
    assert made.deployment.plan.certificate.peak_bytes <= budget
    assert_exact(folder)


@pytest.mark.slow(reason="a network is built with Keras and emulated")
def test_a_shufflenet_of_the_zoo_streams_whole_units_exactly(tmp_path: Path):
    options = {"width": 0.25, "resolution": 64, "classes": 10, "groups": 2}
    convert((("shufflenet", options),), tmp_path)
    folder = tmp_path / "firmware"
    made = mcudeploy.generate(
        tmp_path / "0.tflite", "stm32f469", folder, stream="max", row_fed=True
    )
    plan = made.deployment.plan
    streamed = {
        plan.graph.operators[stage.operator].kind
        for stream in plan.streams
        for stage in stream.segment.stages
    }
    assert {"CHANNEL_SHUFFLE", "CONCATENATION", "AVERAGE_POOL_2D", "MAX_POOL_2D"} <= streamed
    assert plan.certificate.peak_bytes <= 8_400
    assert_exact(folder)
