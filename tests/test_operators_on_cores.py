# SPDX-License-Identifier: Apache-2.0
"""The operators of all families on emulated Cortex-M cores: with DSP and FPU, and with neither."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from operator_cases import check, golden_only, nightly
from operator_table import operator_strategies

CORES = ("cortex-m4f", "cortex-m0plus")

compiled = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"
)


@golden_only
@compiled
@pytest.mark.parametrize("core", CORES)
def test_equals_golden_on_the_core(core: str, tmp_path: Path):
    check(operator_strategies(known_to_tflm=True), tmp_path, count=2, core=core)


@golden_only
@compiled
@nightly
@pytest.mark.parametrize("core", CORES)
def test_equals_golden_on_the_core_many_times(core: str, tmp_path: Path):
    check(operator_strategies(known_to_tflm=True), tmp_path, count=50, core=core)
