# SPDX-License-Identifier: Apache-2.0
"""Networks that nobody here trained, on every core: bit-exact, and two emulators count the same."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from real_models import MODELS
from rich.console import Console
from test_cli import dense_model

from mcudeploy import api
from mcudeploy.emulator import get
from mcudeploy.frontend.reference import golden_unavailable
from mcudeploy.report.results import print_test
from mcudeploy.verify import Verdict

EMULATORS = {
    "raspberry_pi_pico": ("unicorn",),  # Cortex-M0+
    "mps2_an385": ("unicorn", "qemu"),  # M3
    "mps2_an386": ("unicorn", "qemu"),  # M4F
    "mps2_an500": ("unicorn", "qemu"),  # M7
    "mps2_an505": ("unicorn", "qemu"),  # M33
    "mps3_an547": ("qemu",),  # M55 with Helium
}
"""A board of each core, and the emulators that can run it."""
HELIUM_INSTRUCTIONS = {
    "kws_ref_model.tflite": 1_815_810,
    "vww_96_int8.tflite": 6_558_338,
    "pretrainedResnet_quant.tflite": 4_911_697,
    "ad01_int8.tflite": 149_997,
}
"""What TFLM with CMSIS-NN takes on Cortex-M55, counted."""
IN_CI = [("hello_world_int8.tflite", "mps2_an505"), ("hello_world_int8.tflite", "mps3_an547")]

pytestmark = [
    pytest.mark.skipif(golden_unavailable() is not None, reason=str(golden_unavailable())),
    pytest.mark.skipif(get("qemu").available() is not None, reason=str(get("qemu").available())),
]


@pytest.mark.parametrize(
    ("name", "board"),
    [
        pytest.param(
            name, board, marks=[] if (name, board) in IN_CI else pytest.mark.slow("every core")
        )
        for name in MODELS
        for board in EMULATORS
    ],
)
def test_a_real_network_is_exact_on_every_core_and_counted_the_same(
    real_model: Callable[[str], Path], tmp_path: Path, name: str, board: str
) -> None:
    folder = api.generate(real_model(name), board, tmp_path / "firmware").folder
    assert api.build(folder).as_predicted
    shutil.rmtree(folder / "tests")  # the comparison here is the stricter one
    tested = api.test(folder, emulator="all", random=2)
    assert tuple(v.emulator for v in tested.verdicts if v.emulator != "renode") == EMULATORS[board]
    for verdict in tested.verdicts:
        assert verdict.bit_exact and verdict.compared_operators == verdict.operators
    counts = [verdict.instructions for verdict in tested.verdicts]
    assert max(counts) - min(counts) <= 0.001 * min(counts) and tested.passed
    print(f"{name} on {board}: {counts}")
    if board == "mps3_an547" and name in HELIUM_INSTRUCTIONS:
        assert max(counts) <= HELIUM_INSTRUCTIONS[name]


@pytest.mark.parametrize(
    ("counts", "agree"),
    [((10_000_000, 10_009_000), True), ((10_000_000, 10_020_000), False), ((1_000, 1_019), True),
     ((1_000, 1_021), False), ((1_000,), True)],
)  # fmt: skip
def test_emulators_that_count_differently_do_not_pass(
    tmp_path: Path, counts: tuple[int, ...], agree: bool
) -> None:
    (tmp_path / "dense.tflite").write_bytes(dense_model())
    manifest = api.generate(tmp_path / "dense.tflite", "mps2_an386", tmp_path / "out").manifest
    verdicts = tuple(
        Verdict(name, 3, True, 3, 1, 1, None, count, count, (count,), 100)
        for name, count in zip(("unicorn", "qemu"), counts, strict=False)
    )
    tested = api.Tested(manifest, verdicts)
    assert tested.passed == tested.counts_agree == agree
    out = io.StringIO()
    print_test(tested, Console(file=out))
    if len(counts) > 1:
        word = "agree" if agree else "DIFFER"
        assert f"counts {word}: {counts[1] - counts[0]:,} instructions apart" in out.getvalue()
