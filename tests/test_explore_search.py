# SPDX-License-Identifier: Apache-2.0
"""Searching: within the limits, better than the zoo, the same for the same seed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mcudeploy import zoo
from mcudeploy.deployment import Options, choose_board
from mcudeploy.errors import InputError
from mcudeploy.explore import Candidate, Member, explore, work
from mcudeploy.explore.search import Objective, mnasnet_objective, search
from mcudeploy.explore.training import read_task
from mcudeploy.zoo.searched import parse

MCUNET = choose_board("stm32f469", Options(ram="320K", flash="1M"))
RIVALS = (
    "mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "shufflenet", "squeezenet", "mnasnet",
    "proxylessnas",
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> partial[list[work.Need]]:
    return partial(work.run_jobs, processes=1, store=work.Store(tmp_path))


def test_what_is_found_fits_and_is_ranked(run: partial[list[work.Need]]) -> None:
    found = search(MCUNET, seed=3, evaluations=24, run=run)
    assert found
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
    for one in found:
        assert one.need.ram_bytes <= 320 * 1024
        assert one.need.flash_bytes <= 1024 * 1024
        assert one.score == one.need.macs
    assert search(MCUNET, seed=3, evaluations=24, run=run) == found


def test_mcunets_limits_hold_more_than_mobilenet_v1_quarter(run: partial[list[work.Need]]) -> None:
    best = search(MCUNET, seed=0, evaluations=24, run=run)[0]
    assert best.need.macs > zoo.counts("mobilenet_v1", width=0.25).macs


@pytest.fixture(scope="session")
def rivals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Candidate, ...]:
    """The zoo's ImageNet members within the limits."""
    store = work.Store(tmp_path_factory.mktemp("rivals"))
    found = explore(RIVALS, [MCUNET], processes=1, store=store)
    return tuple(c for c in found.candidates if c.fits)


@pytest.mark.slow(reason="plans every ImageNet member of seven families, 60 networks for each seed")
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("objective", ["macs", "capacity"])
def test_ten_seeds_beat_the_best_of_the_zoo(
    objective: Objective, seed: int, rivals: tuple[Candidate, ...], run: partial[list[work.Need]]
) -> None:
    figure = "macs" if objective == "macs" else "parameters"
    best = max(getattr(rival.need, figure) for rival in rivals)
    found = search(MCUNET, seed=seed, evaluations=60, objective=objective, run=run)
    assert getattr(found[0].need, figure) > best


def test_accuracy_ranks_by_mnasnets_objective(run: partial[list[work.Need]]) -> None:
    asked: list[Member] = []

    def accuracy(member: Member) -> float:
        asked.append(member)
        return len(asked) / 10

    found = search(
        MCUNET, seed=1, evaluations=24, trained=3, accuracy=accuracy, classes=10, channels=1,
        resolutions=(32,), run=run,
    )  # fmt: skip
    assert sorted(f.accuracy for f in found if f.accuracy) == [0.1, 0.2, 0.3]
    assert found[0].member is asked[2]
    assert all(member.options["channels"] == 1 for member in asked)


def test_mnasnets_objective() -> None:
    assert mnasnet_objective(0.75, 80e6, 80e6) == 0.75
    assert mnasnet_objective(0.75, 160e6, 80e6) == pytest.approx(0.75 * 2**-0.07)


def test_codes_say_the_whole_network() -> None:
    code = zoo.describe("searched").complete({})["code"]
    assert parse(str(code)).code == code


@pytest.mark.parametrize("code", ["", "r224", "r9-s8-h0", "__import__('os')"])
def test_words_that_are_no_code_are_refused(code: str) -> None:
    with pytest.raises(InputError, match="no code"):
        zoo.network("searched", code=code)


def test_huge_networks_are_refused() -> None:
    code = str(zoo.describe("searched").complete({})["code"])
    with pytest.raises(InputError, match="depth 99999 is out of range"):
        zoo.network("searched", code=code.replace("w24d4", "w24d99999"))


def test_too_few_evaluations_are_refused() -> None:
    with pytest.raises(InputError, match="too few"):
        search(MCUNET, evaluations=3)


def test_a_task_is_read_from_its_samples(tmp_path: Path) -> None:
    file = tmp_path / "task.npz"
    np.savez(file, x=np.zeros((6, 32, 32, 1), np.float32), y=np.arange(6))
    task = read_task(file)
    assert (task.side, task.channels, task.classes) == (32, 1, 6)
    np.savez(file, x=np.zeros((6, 32, 30, 1), np.float32), y=np.arange(6))
    with pytest.raises(InputError, match="no square images"):
        read_task(file)
