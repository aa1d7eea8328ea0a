# SPDX-License-Identifier: Apache-2.0
"""No layer of a known network takes more instructions than when it was last written down.

Counts are exact, so half a percent is room for nothing but the compiler's whims. After a change
that is meant, write them down anew and read the difference:

    MCUDEPLOY_MODELS=FOLDER python tests/test_kernel_counts.py --record
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layer_counts import LayerCount, Network, count_layers, fastest
from layer_networks import NETWORKS, SWEEP
from real_models import MODELS

import mcudeploy
from mcudeploy.board import CORES, Core
from mcudeploy.operators.base import Target

RECORD = Path(__file__).with_name("kernel_counts.json")
CORE = CORES["cortex-m4f"]
BOARD = "nucleo_l4r5zi"
TOLERANCE = 0.005
MOST_OF_CMSIS_NN = 0.6
"""Of CMSIS-NN's instructions and cycles, the geometric mean over the sweep's layers."""

PLAIN_CORES = {"cortex-m3": 0.75, "cortex-m0plus": 0.6}
"""Cores without DSP instructions, each with the same bound."""
PLAIN_NETWORKS = ("keyword_spotting", "anomalies", "speech")

Rows = list[dict[str, Any]]

pytestmark = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc"
)


@cache
def compiler() -> str:
    """The compiler's version, which counts depend on."""
    text = subprocess.run(
        ["arm-none-eabi-gcc", "--version"], check=True, capture_output=True, text=True
    ).stdout
    found = re.search(r"\d+\.\d+\.\d+", text)
    return found.group() if found else text


@cache
def record() -> dict[str, Any]:
    known: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return known


@pytest.fixture
def same_compiler() -> None:
    if compiler() != record()["compiler"]:
        pytest.skip(f"counts are those of GCC {record()['compiler']}, this is {compiler()}")


def rows(counts: Sequence[LayerCount]) -> Rows:
    return [
        {"layer": one.text, "kernel": one.kernel, "instructions": one.instructions}
        for one in counts
    ]


def planned(path: Path) -> Network:
    """With the kernels that the plan for a board has chosen."""
    plan = mcudeploy.prepare(path, BOARD).plan
    return plan.graph, plan.implementations


def built(name: str, core: Core) -> Network:
    graph = NETWORKS[name]()
    return graph, fastest(graph, Target(core))


@cache
def networks(core: str = CORE.name) -> dict[str, Rows]:
    """All that are built here and counted on a core, in one program."""
    names = NETWORKS if core == CORE.name else PLAIN_NETWORKS
    counts = count_layers([built(name, CORES[core]) for name in names], CORES[core])
    return {name: rows(one) for name, one in zip(names, counts, strict=True)}


def compare(counted: Rows, known: Rows) -> None:
    assert [row["layer"] for row in counted] == [row["layer"] for row in known]
    slower, faster = [], []
    for now, then in zip(counted, known, strict=True):
        change = now["instructions"] / then["instructions"] - 1
        if abs(change) > TOLERANCE:
            text = f"{now['layer']}: {then['kernel']} {then['instructions']:,} -> "
            text += f"{now['kernel']} {now['instructions']:,} ({100 * change:+.1f} %)"
            (slower if change > 0 else faster).append(text)
    assert not slower, "slower: " + "; ".join(slower)
    assert not faster, "faster, write it down with --record: " + "; ".join(faster)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("same_compiler")
def test_layers_take_the_recorded_instructions(name: str) -> None:
    compare(networks()[name], record()["networks"][name])


@pytest.mark.parametrize("name", PLAIN_NETWORKS)
@pytest.mark.parametrize("core", PLAIN_CORES)
@pytest.mark.usefixtures("same_compiler")
def test_layers_take_the_recorded_instructions_without_dsp(core: str, name: str) -> None:
    compare(networks(core)[name], record()["without DSP"][core][name])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.usefixtures("same_compiler")
def test_real_layers_take_the_recorded_instructions(
    real_model: Callable[[str], Path], name: str
) -> None:
    (counts,) = count_layers([planned(real_model(name))], CORE)
    compare(rows(counts), record()["models"][name])


SWEPT = [
    pytest.param(CORE.name, MOST_OF_CMSIS_NN),
    *(
        pytest.param(core, most, marks=pytest.mark.slow(reason="60 layers on one more core"))
        for core, most in PLAIN_CORES.items()
    ),
]


@pytest.mark.parametrize(("name", "most"), SWEPT)
def test_no_layer_of_the_sweep_is_slower_than_cmsis_nn(name: str, most: float) -> None:
    """Instructions and cycles, 60 shapes from 1x1 to 112x112; the outputs are the same bytes."""
    core = CORES[name]
    graphs = [shape.graph() for shape in SWEEP]
    both = [
        (graph, fastest(graph, Target(core, kernels)))
        for graph in graphs
        for kernels in ("auto", "cmsis-nn")
    ]
    counts = count_layers(both, core)
    ratios = []
    for shape, (*_, ours), (*_, theirs) in zip(SWEEP, counts[0::2], counts[1::2], strict=True):
        np.testing.assert_array_equal(ours.output, theirs.output, err_msg=shape.text)
        ratios.append((ours.instructions / theirs.instructions, ours.cycles / theirs.cycles))
        if ours.kernel != theirs.kernel:  # the same one differs by where its constants lie
            assert max(ratios[-1]) <= 1, (shape.text, ours.kernel, ratios[-1])
    for means in np.exp(np.log(ratios).mean(axis=0)):
        assert means <= most


def _write_down() -> None:
    folder = os.environ.get("MCUDEPLOY_MODELS")
    models = record()["models"] if RECORD.is_file() else {}
    if folder:
        counts = count_layers([planned(Path(folder, name)) for name in MODELS], CORE)
        models = {name: rows(one) for name, one in zip(MODELS, counts, strict=True)}
    plain = {core: networks(core) for core in PLAIN_CORES}
    made = {
        "compiler": compiler(), "networks": networks(), "without DSP": plain, "models": models,
    }  # fmt: skip
    RECORD.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        raise SystemExit(__doc__)
    _write_down()
