# SPDX-License-Identifier: Apache-2.0
"""`--optimize speed|balanced|size`: what each may cost, and that each does what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from layer_networks import NETWORKS
from real_models import MODELS

import mcudeploy
from mcudeploy.board import find_board
from mcudeploy.budget import RUNTIME_RAM_BYTES, STACK_RESERVE_BYTES
from mcudeploy.deployment import Deployment, Options, plan_graph
from mcudeploy.operators.code_size import code_bytes
from mcudeploy.operators.growth import growth

BOARD = find_board("nucleo_l4r5zi")
MOST_CODE = 12 * 1024
"""Bytes of code beyond CMSIS-NN's alone."""
MOST_WEIGHTS, MOST_WEIGHTS_PERCENT = 256, 3
"""Bytes of weights, biases and all tables beyond CMSIS-NN's, whichever is more."""


def planned(name: str, optimize: str) -> Deployment:
    options = Options(optimize=optimize)  # type: ignore[arg-type]
    return plan_graph(NETWORKS[name](), name, BOARD, options)


def instructions(made: Deployment) -> float:
    return sum(one.instructions or 0.0 for one in made.plan.implementations)


def ram(made: Deployment) -> int:
    return sum(made.plan.arenas.values())


def check_growth(made: Deployment) -> None:
    found = growth(made.plan.graph, made.plan.implementations, made.target)
    constants = sum(c.bytes for one in made.plan.implementations for c in one.constants)
    before = constants - found.constants_bytes
    assert found.code_bytes <= MOST_CODE
    assert found.constants_bytes <= max(MOST_WEIGHTS, MOST_WEIGHTS_PERCENT * before / 100)
    assert found.note in made.report.notes


@pytest.mark.parametrize("name", NETWORKS)
def test_balanced_grows_little(name: str) -> None:
    check_growth(planned(name, "balanced"))


@pytest.mark.parametrize("name", MODELS)
def test_balanced_grows_real_models_little(real_model: Callable[[str], Path], name: str) -> None:
    check_growth(mcudeploy.prepare(real_model(name), BOARD))


@pytest.mark.parametrize(
    ("name", "most"), [("keyword_spotting", 2_960_000), ("wake_words", 8_400_000)]
)
def test_speed_takes_more_ram_where_there_is_room(name: str, most: int) -> None:
    fast, balanced = planned(name, "speed"), planned(name, "balanced")
    assert fast.report.fits
    assert instructions(fast) < min(most, instructions(balanced))
    assert ram(fast) > ram(balanced)


def test_speed_takes_no_more_ram_where_there_is_none() -> None:
    balanced = planned("keyword_spotting", "balanced")
    region = BOARD.memory[[r.kind for r in BOARD.memory].index("ram")]
    room = ram(balanced) + STACK_RESERVE_BYTES + RUNTIME_RAM_BYTES + 2048
    small = BOARD.model_copy(
        update={
            "memory": tuple(
                r.model_copy(update={"size": room}) if r is region else r
                for r in BOARD.memory
                if r.kind != "ram" or r is region
            )
        }
    )
    made = plan_graph(NETWORKS["keyword_spotting"](), "small", small, Options(optimize="speed"))
    assert made.report.fits
    assert ram(made) == ram(balanced)


@pytest.mark.parametrize("name", NETWORKS)
def test_size_takes_no_more_flash_and_no_more_kernels(name: str) -> None:
    small, balanced = planned(name, "size"), planned(name, "balanced")
    assert len(sources(small)) <= len(sources(balanced))
    core = BOARD.core
    assert code_bytes(small.plan.implementations, core) <= code_bytes(
        balanced.plan.implementations, core
    )


def sources(made: Deployment) -> set[str]:
    return {source for one in made.plan.implementations for source in one.sources}
