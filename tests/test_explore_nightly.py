# SPDX-License-Identifier: Apache-2.0
"""What exploring says fits is built, fits, and runs bit-exact on the emulator."""

from __future__ import annotations

from collections.abc import Callable
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
SMALLER = (
    Member("squeezenet", {"version": "1.1", "resolution": 48, "classes": 10}),
    Member("mobilenet_v3_small", {"width": 0.35, "resolution": 32, "classes": 10}),
    Member("mobilenet_v3_large", {"width": 0.35, "resolution": 32, "classes": 10}),
    Member("shufflenet", {"width": 0.25, "resolution": 32, "classes": 10, "se_ratio": 16}),
)
"""Of architectures none of whose published members fits the STM32F469."""
_MOST_PARAMETERS = 10_000_000
_MOST_MACS = 300_000_000


def board_of(text: str) -> Board:
    name, _, ram = text.partition(":")
    return choose_board(name, Options(ram=ram or None))


@pytest.fixture(scope="session")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Member], Path]:
    """The .tflite of a member: seeded weights, quantized on seeded inputs, once for all boards."""
    folder, made = tmp_path_factory.mktemp("members"), dict[str, Path]()

    def make(member: Member) -> Path:
        key = f"{member.name} {sorted(member.options.items())}"
        if key not in made:
            stem = folder / str(len(made))
            model, samples = stem.with_suffix(".keras"), stem.with_suffix(".npz")
            write_keras_file(member.name, member.options, model, calibration=samples)
            mcudeploy.quantize(model, stem.with_suffix(".tflite"), calibration=samples)
            made[key] = stem.with_suffix(".tflite")
        return made[key]

    return make


def deploy(model: Path, board: Board, folder: Path) -> mcudeploy.outcomes.Project:
    """Build and run; on fewer inputs the more MACs there are. Fails where a byte differs."""
    project = mcudeploy.generate(model, board, folder / "firmware")
    report = project.deployment.report
    assert report.fits, report.verdict
    mcudeploy.build(project.folder)
    inputs = max(2, min(50, _MOST_MACS // report.macs))
    assert mcudeploy.test(project.folder, random=inputs).passed
    return project


@pytest.mark.parametrize("member", CI, ids=["lenet5", "ds_cnn", "mobilenet_v2"])
def test_small_members_deploy_bit_exact_in_the_bytes_that_exploring_said(
    member: Member, quantized: Callable[[Member], Path], tmp_path: Path
) -> None:
    board = find_board("stm32f469")
    need = measure(member.network(), board)
    report = deploy(quantized(member), board, tmp_path).deployment.report
    assert need.activation_bytes == report.certificate.peak_bytes
    assert need.regions["sram"] == next(r.used_bytes for r in report.regions if r.kind == "ram")
    flash = next(r.used_bytes for r in report.regions if r.kind == "flash")
    assert need.flash_bytes == pytest.approx(flash, rel=0.02)
    assert need.milliseconds == pytest.approx(report.milliseconds, rel=0.05)


@pytest.mark.slow(reason="converts unrolled recurrent layers with TensorFlow")
@pytest.mark.parametrize("name", zoo.families()["recurrent"])
def test_flash_of_recurrent_members_is_told_to_2_percent(
    name: str, quantized: Callable[[Member], Path]
) -> None:
    board = find_board("stm32f469")
    report = mcudeploy.fit(quantized(Member(name, {})), board)
    flash = next(r.used_bytes for r in report.regions if r.kind == "flash")
    assert measure(Member(name, {}).network(), board).flash_bytes == pytest.approx(flash, rel=0.02)


@pytest.mark.slow(reason="deploys the largest member of every family on four boards")
@pytest.mark.parametrize("family", list(zoo.families()))
@pytest.mark.parametrize("board", BOARDS)
def test_each_familys_largest_fitting_member_deploys_bit_exact(
    board: str, family: str, quantized: Callable[[Member], Path], tmp_path: Path
) -> None:
    chosen = board_of(board)
    largest = explore([family], [chosen], processes=1).largest(chosen.name, family)
    if largest is None or largest.need.parameters > _MOST_PARAMETERS:
        pytest.skip(f"no {family} of up to 10 million parameters fits")
    deploy(quantized(largest.member), chosen, tmp_path)


@pytest.mark.slow(reason="converts and runs four networks")
@pytest.mark.parametrize("member", SMALLER, ids=lambda member: member.name)
def test_smaller_members_of_what_does_not_fit_deploy_bit_exact(
    member: Member, quantized: Callable[[Member], Path], tmp_path: Path
) -> None:
    deploy(quantized(member), find_board("stm32f469"), tmp_path)


@pytest.mark.slow(reason="searches, converts a large network and runs 100 million MACs")
def test_a_searched_network_deploys_bit_exact(
    quantized: Callable[[Member], Path], tmp_path: Path
) -> None:
    board = choose_board("stm32f469", Options(ram="320K", flash="1M"))
    best = search(board, seed=0, evaluations=60)[0]
    deploy(quantized(best.member), board, tmp_path)
