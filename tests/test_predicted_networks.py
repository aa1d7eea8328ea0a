# SPDX-License-Identifier: Apache-2.0
"""Instructions that `fit` predicts for whole networks, beside those that their firmware takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from real_models import MODELS

from mcudeploy import api
from mcudeploy.emulator import get

BOARDS = {
    "raspberry_pi_pico": "unicorn", "mps2_an385": "unicorn", "mps2_an386": "unicorn",
    "mps2_an500": "unicorn", "mps2_an505": "unicorn", "mps3_an547": "qemu",
}  # fmt: skip
"""A board of each core, and the emulator that counts there."""
MOST = 0.10


def check(name: str, predicted: float | None, counted: float) -> None:
    assert predicted is not None, f"{name} is not predicted"
    error = predicted / counted - 1
    print(f"{name}: {predicted:,.0f} for {counted:,.0f} ({100 * error:+.1f} %)")
    assert abs(error) <= MOST, name


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
