# SPDX-License-Identifier: Apache-2.0
"""Predicted instructions of an implementation, without a build.

A kernel states in its `Implementation` either

- `work={"element": n, ...}`: how often each of its loops runs. What a round costs on each core is
  in `costs.json`, found by `benchmarks/fit_costs.py` from exact counts of compiled kernels on an
  emulator, over shapes drawn at random; or
- `instructions=...`, a formula of its own.

What states neither, or has not been measured on the core, is not predicted: None, never a guess.

Milliseconds follow by rates: cycles an instruction when no memory waits, and words loaded from
flash an instruction, as `profile` found them on MLPerf Tiny's networks. They are rougher than what
`profile` says of a build: expect a quarter more or less.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from mcudeploy.board import Board, Core
from mcudeploy.board_flash import flash_stall
from mcudeploy.operators.base import Implementation


@dataclass(frozen=True)
class _Rates:
    """Per instruction: cycles without waits, words from flash, branches taken."""

    cycles: float
    flash_words: float
    branches: float = 0.07


_LIBRARY, _OWN = "arm_", "mcud_"
_ARMV7EM = {_LIBRARY: _Rates(1.19, 0.064), _OWN: _Rates(1.44, 0.105)}
_M7 = {_LIBRARY: _Rates(0.72, 0.064), _OWN: _Rates(0.87, 0.105)}
_RATES: Mapping[str, Mapping[str, _Rates]] = {
    "cortex-m0plus": {_LIBRARY: _Rates(1.38, 0.055), _OWN: _Rates(1.34, 0.070)},
    "cortex-m3": {_LIBRARY: _Rates(1.57, 0.135), _OWN: _Rates(1.61, 0.161)},
    "cortex-m4f": _ARMV7EM,
    "cortex-m33": _ARMV7EM,
    "cortex-m7": _M7,
    "cortex-m7d": _M7,
}

_TABLE = Path(__file__).with_name("costs.json")


@cache
def _costs() -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    """Core, kernel, part: instructions of one round."""
    table: Mapping[str, Mapping[str, Mapping[str, float]]]
    table = json.loads(_TABLE.read_text(encoding="utf-8"))
    return table


def predicted_instructions(implementation: Implementation, core: Core) -> float | None:
    """Instructions of one execution on a core, None where nobody knows."""
    if implementation.instructions is not None:
        return implementation.instructions
    if not implementation.snippet:
        return 0.0
    parts = _costs().get(core.name, {}).get(implementation.kernel)
    if not implementation.work or parts is None:
        return None
    return sum(parts.get(name, 0.0) * count for name, count in implementation.work.items())


def predicted_milliseconds(implementation: Implementation, board: Board) -> float | None:
    """About how long one execution takes at the board's clock, None where nobody knows."""
    instructions = predicted_instructions(implementation, board.core)
    rates = _RATES.get(board.core.name)
    if instructions is None or rates is None:
        return None
    rate = rates[_LIBRARY if implementation.kernel.startswith(_LIBRARY) else _OWN]
    stall = flash_stall(board)
    waits = rate.flash_words * stall.per_word + rate.branches * stall.per_branch
    return instructions * (rate.cycles + waits) / board.clock.hz * 1000


def fastest_first(
    implementations: Sequence[Implementation], core: Core
) -> tuple[Implementation, ...]:
    """With their predictions, in order of these; as given where one has none."""
    costed = [
        replace(one, instructions=predicted_instructions(one, core)) for one in implementations
    ]
    if any(one.instructions is None for one in costed):
        return tuple(costed)
    return tuple(sorted(costed, key=lambda one: one.instructions or 0.0))
