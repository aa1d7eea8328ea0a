# SPDX-License-Identifier: Apache-2.0
"""Instructions that `fit` predicts for whole networks, beside those that their firmware takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from real_models import MODELS
from test_zoo_keras import convert

from mcudeploy import api
from mcudeploy.emulator import get

BOARDS = {
    "raspberry_pi_pico": "unicorn", "mps2_an385": "unicorn", "mps2_an386": "unicorn",
    "mps2_an500": "unicorn", "mps2_an505": "unicorn", "mps3_an547": "qemu",
}  # fmt: skip
"""A board of each core, and the emulator that counts there."""
SMALL = {"resolution": 64, "classes": 10}
MEMBERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("lenet5", {}),
    ("squeezenet", {"version": "1.1", "bypass": "complex", **SMALL}),
    ("densenet121", {"growth": 8, **SMALL}),
    ("mobilenet_v1", {"width": 0.25, **SMALL}),
    ("mobilenet_v2", {"width": 0.35, **SMALL}),
    ("mobilenet_v3_large", {"width": 0.35, **SMALL}),
    ("mobilenet_v3_small", {"width": 0.35, **SMALL}),
    ("shufflenet", {"width": 0.25, "se_ratio": 4, **SMALL}),
    ("mnasnet_small", {"width": 0.35, **SMALL}),
    ("mnasnet_a1", {"width": 0.35, **SMALL}),
    ("proxylessnas_mobile", {"width": 0.35, **SMALL}),
    ("efficientnet_compound", {"phi": -8.0, "classes": 10}),
    ("ds_cnn", {"filters": 32}),
    ("vww", {"width": 0.5}),
    ("resnet8", {"filters": 8}),
    ("autoencoder", {"units": 64}),
    ("rnn", {"layers": 2, "steps": 8}),
    ("lstm", {"steps": 8}),
    ("gru", {"steps": 8}),
    ("rnn_attention", {"steps": 8}),
    ("lstm_attention", {"steps": 8}),
    ("gru_attention", {"steps": 8}),
    ("transformer", {"blocks": 2}),
    ("transformer", {"activation": "gelu"}),
)
"""A small one of every architecture whose weights fit 4 MiB."""
MOST = 0.10


def check(name: str, predicted: float | None, counted: float) -> None:
    assert predicted is not None, f"{name} is not predicted"
    error = predicted / counted - 1
    print(f"{name}: {predicted:,.0f} for {counted:,.0f} ({100 * error:+.1f} %)")
    assert abs(error) <= MOST, name


@pytest.mark.slow(reason="builds and quantizes two dozen networks, and runs their firmware")
@pytest.mark.parametrize("number", range(len(MEMBERS)), ids=[name for name, _ in MEMBERS])
def test_a_zoo_member_is_predicted_within_10_percent(tmp_path: Path, number: int) -> None:
    convert((MEMBERS[number],), tmp_path)
    folder = api.generate(tmp_path / "0.tflite", "mps2_an386", tmp_path / "out").folder
    api.build(folder)
    profile = api.profile(folder)
    check(str(MEMBERS[number]), profile.predicted_instructions, profile.instructions)


@pytest.mark.slow(reason="six networks on six cores")
@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("name", MODELS)
def test_a_real_network_is_predicted_within_10_percent(
    real_model: Callable[[str], Path], tmp_path: Path, name: str, board: str
) -> None:
    emulator = get(BOARDS[board])
    if emulator.available() is not None:
        pytest.skip(str(emulator.available()))
    project = api.generate(real_model(name), board, tmp_path / "out")
    assert project.deployment is not None
    built = api.build(project.folder)
    with emulator.start(built.elf, project.manifest.board_record) as session:
        inputs = [bytes(record.bytes) for record in project.manifest.inputs]
        counted = session.infer(inputs).instructions
    check(f"{name} on {board}", project.deployment.report.instructions, counted)
