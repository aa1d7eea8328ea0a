# SPDX-License-Identifier: Apache-2.0
"""The figures of README and docs/comparison.md: one bench wrote both, and they hold the bounds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
REQUIRED = {
    "visual wake words": 11_200_000,
    "image classification": 16_900_000,
    "keyword spotting": 4_500_000,
    "anomaly detection": 410_000,
    "micro_speech": 750_000,
    "hello_world": 1_800,
}
"""Instructions of an inference on Cortex-M4F, at most."""
CORES = ("cortex-m4f", "cortex-m3", "cortex-m0plus")


def tables(text: str) -> list[dict[str, dict[str, int]]]:
    """Every table: rows by the beginning of their first cell, figures by the heads of columns."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
        lines = [[cell.strip() for cell in line.strip().strip("|").split("|")]
                 for line in block.splitlines()]  # fmt: skip
        rows = {}
        for cells in lines[2:]:
            figures = {
                head: int(cell.replace(",", ""))
                for head, cell in zip(lines[0][1:], cells[1:], strict=True)
                if re.fullmatch(r"[\d,]+", cell)
            }
            rows[cells[0].split(" (")[0]] = figures
        found.append(rows)
    return found


def measured(core: str) -> dict[str, dict[str, int]]:
    page = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    block = page.split(f"<!-- bench {core} -->\n")[1].split("<!-- /bench -->")[0]
    (rows,) = tables(block)
    return rows


def test_the_readme_repeats_what_the_bench_wrote() -> None:
    known = measured("cortex-m4f")
    readme = tables(
        (ROOT / "README.md").read_text(encoding="utf-8").split("## Beside its peers")[1]
    )
    assert len(readme[0]) == 4
    for network, row in readme[0].items():
        assert row["ours"] == known[network]["instructions: balanced"], network
        assert row["our RAM"] == known[network]["RAM: balanced"], network
        assert row["TFLM + CMSIS-NN"] == known[network]["TFLM + CMSIS-NN"], network


@pytest.mark.parametrize("network", REQUIRED)
def test_every_network_takes_no_more_than_is_required(network: str) -> None:
    assert measured("cortex-m4f")[network]["instructions: balanced"] <= REQUIRED[network]


@pytest.mark.parametrize("core", CORES)
def test_no_network_is_slower_or_larger_than_by_cmsis_nn(core: str) -> None:
    for network, row in measured(core).items():
        for what in ("instructions", "cycles", "RAM"):
            assert row[f"{what}: balanced"] <= row[f"{what}: CMSIS-NN"], (network, what)
