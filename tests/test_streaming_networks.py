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
RUN = sorted(WHOLE)


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


@pytest.mark.slow(reason="half a minute of emulation for each")
@pytest.mark.parametrize("fed", [False, True], ids=["whole input", "fed by rows"])
@pytest.mark.parametrize("name", RUN)
def test_a_network_within_its_budget_is_exact_on_the_emulator(tmp_path: Path, name, fed):
    path = tmp_path / "network.tflite"
    path.write_bytes(NETWORKS[name]())
    budget = (FED if fed else WHOLE)[name]
    folder = tmp_path / "firmware"
    made = mcudeploy.generate(path, "stm32f469", folder, ram_budget=budget, row_fed=fed)
    assert made.deployment.plan.certificate.peak_bytes <= budget
    mcudeploy.build(folder)
    (verdict,) = mcudeploy.test(folder, random=2).verdicts
    assert verdict.bit_exact, verdict.divergence
    assert verdict.compared_operators == verdict.operators
    assert verdict.distinct_outputs > 1
