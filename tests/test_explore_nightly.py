# SPDX-License-Identifier: Apache-2.0
"""What exploring says fits is built, fits, and runs bit-exact on the emulator."""

from __future__ import annotations

from pathlib import Path

import pytest

import mcudeploy
from mcudeploy import zoo
from mcudeploy.board import Board, find_board
from mcudeploy.deployment import Options, choose_board
from mcudeploy.explore import Member, explore
from mcudeploy.explore.candidate import measure
from mcudeploy.explore.search import search
from mcudeploy.zoo.keras_file import write_keras_file

BOARDS = ("stm32f469", "nucleo_f401re:64K", "nrf52840_dk", "nucleo_h743zi")
CI = (
    Member("lenet5", {}),
    Member("ds_cnn", {"filters": 32}),
    Member("mobilenet_v2", {"width": 0.35, "resolution": 32, "classes": 10}),
)
_MOST_PARAMETERS = 10_000_000


def board_of(text: str) -> Board:
    name, _, ram = text.partition(":")
    return choose_board(name, Options(ram=ram or None))


def deploy(member: Member, board: Board, folder: Path) -> mcudeploy.api.Deployed:
    """Seeded weights, quantized on seeded inputs, built and run."""
    model, samples = folder / "model.keras", folder / "samples.npz"
    write_keras_file(member.name, member.options, model, calibration=samples)
    return mcudeploy.deploy(model, board, folder / "firmware", calibration=samples)


@pytest.mark.parametrize("member", CI, ids=["lenet5", "ds_cnn", "mobilenet_v2"])
def test_small_members_deploy_bit_exact_in_the_bytes_that_exploring_said(
    member: Member, tmp_path: Path
) -> None:
    board = find_board("stm32f469")
    need = measure(member.network(), board)
    done = deploy(member, board, tmp_path)
    assert done.passed
    report = done.project.deployment.report
    assert need.activation_bytes == report.certificate.peak_bytes
    assert need.regions["sram"] == next(r.used_bytes for r in report.regions if r.kind == "ram")
    flash = next(r.used_bytes for r in report.regions if r.kind == "flash")
    assert need.flash_bytes == pytest.approx(flash, rel=0.02)


@pytest.mark.slow(reason="deploys the largest member of every family on four boards")
@pytest.mark.parametrize("family", list(zoo.families()))
@pytest.mark.parametrize("board", BOARDS)
def test_each_familys_largest_fitting_member_deploys_bit_exact(
    board: str, family: str, tmp_path: Path
) -> None:
    chosen = board_of(board)
    largest = explore([family], [chosen], processes=1).largest(chosen.name, family)
    if largest is None or largest.need.parameters > _MOST_PARAMETERS:
        pytest.skip(f"no {family} of up to 10 million parameters fits")
    done = deploy(largest.member, chosen, tmp_path)
    assert done.passed, f"{largest.member.label}: {done.project.deployment.report.verdict}"


@pytest.mark.slow(reason="searches, converts a large network and runs 100 million MACs")
def test_a_searched_network_deploys_bit_exact(tmp_path: Path) -> None:
    board = choose_board("stm32f469", Options(ram="320K", flash="1M"))
    best = search(board, seed=0, evaluations=60)[0]
    assert deploy(best.member, board, tmp_path).passed
