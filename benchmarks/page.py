# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/comparison.md, between marks that name what they hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from peers import PEERS, PEERS_CORE

PAGE = Path(__file__).resolve().parent.parent / "docs" / "comparison.md"
NAMES = {
    "kws": "keyword spotting (DS-CNN)",
    "vww": "visual wake words (MobileNetV1 0.25)",
    "ic": "image classification (ResNet8)",
    "ad": "anomaly detection (autoencoder)",
    "micro_speech": "micro_speech",
    "hello_world": "hello_world",
}
_VARIANTS = {"balanced": "balanced", "speed": "speed", "cmsis-nn": "CMSIS-NN"}
_CORES = {"cortex-m4f": "Cortex-M4F", "cortex-m3": "Cortex-M3", "cortex-m0plus": "Cortex-M0+"}


class Measured(Protocol):
    """What the page tells of a network."""

    @property
    def model(self) -> str: ...
    @property
    def core(self) -> str: ...
    @property
    def variant(self) -> str: ...
    @property
    def instructions(self) -> int: ...
    @property
    def cycles(self) -> float | None: ...
    @property
    def arena_bytes(self) -> int: ...


def write_page(rows: Sequence[Measured]) -> str:
    """Replaces the tables of cores that all networks ran on by CMSIS-NN, too; says which."""
    text, written = PAGE.read_text(encoding="utf-8"), []
    for core in _CORES:
        known = {(row.model, row.variant): row for row in rows if row.core == core}
        variants = [
            name for name in _VARIANTS if all((peer.short, name) in known for peer in PEERS)
        ]
        if "balanced" in variants and "cmsis-nn" in variants:
            text = put(text, core, "\n".join(_table(core, variants, known)))
            written.append(core)
    PAGE.write_text(text, encoding="utf-8")
    return f"{PAGE.name} ({', '.join(written) or 'nothing'})"


def put(text: str, mark: str, block: str) -> str:
    """The text with `block` between the marks."""
    pattern = f"(<!-- bench {mark} -->\n).*?(<!-- /bench -->)"
    found, count = re.subn(
        pattern, lambda match: f"{match[1]}{block}\n{match[2]}", text, flags=re.S
    )
    if count != 1:
        raise SystemExit(f"{PAGE.name} has no place for {mark}")
    return found


def _table(core: str, variants: Sequence[str], known: dict[tuple[str, str], Measured]) -> list[str]:
    peers_too = core == PEERS_CORE
    names = [_VARIANTS[variant] for variant in variants]
    heads = ["network", *(f"instructions: {name}" for name in names)]
    heads += ["TFLM + CMSIS-NN"] if peers_too else []
    heads += [f"{what}: {name}" for what in ("cycles", "RAM") for name in names]
    lines = [f"{_CORES[core]}:", "", _line(heads), "|---" + "|---:" * (len(heads) - 1) + "|"]
    for peer in PEERS:
        measured = [known[peer.short, variant] for variant in variants]
        cells = [NAMES[peer.short], *(f"{row.instructions:,}" for row in measured)]
        cells += [f"{peer.tflm_instructions:,}"] if peers_too else []
        cells += [f"{row.cycles:,.0f}" if row.cycles else "" for row in measured]
        lines.append(_line([*cells, *(f"{row.arena_bytes:,}" for row in measured)]))
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
