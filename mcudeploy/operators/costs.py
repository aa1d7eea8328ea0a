# SPDX-License-Identifier: Apache-2.0
"""Predicted instructions and cycles of an implementation, without a build.

A kernel states in its `Implementation` either

- `work={"element": n, ...}`: how often each of its loops runs. What a round costs on each core, in
  instructions and in cycles, is in `costs.json`, found by `benchmarks/fit_costs.py` from exact
  counts of compiled kernels on an emulator, over shapes drawn at random; or
- `instructions=...`, a formula of its own.

What states neither, or has not been measured on the core, is not predicted: None, never a guess.
Where a core has a cycle model (`profiling/cycles.py`), kernels are chosen by cycles: fewer
instructions may take longer.

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
def _costs() -> Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]:
    """Core, kernel, part: instructions of one round and, where there is a model, cycles."""
    table: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
    table = json.loads(_TABLE.read_text(encoding="utf-8"))
    return table


def _predicted(implementation: Implementation, core: Core, column: int) -> float | None:
    if not implementation.snippet:
        return 0.0
    parts = _costs().get(core.name, {}).get(implementation.kernel)
    if not implementation.work or not parts:
        return None
    if any(len(costs) <= column for costs in parts.values()):
        return None
    return sum(
        parts[name][column] * count for name, count in implementation.work.items() if name in parts
    )


def predicted_instructions(implementation: Implementation, core: Core) -> float | None:
    """Instructions of one execution on a core, None where nobody knows."""
    if implementation.instructions is not None:
        return implementation.instructions
    return _predicted(implementation, core, 0)


def predicted_cycles(implementation: Implementation, core: Core) -> float | None:
    """Cycles of one execution with memory that never waits, None where there is no model."""
    if implementation.cycles is not None:
        return implementation.cycles
    return _predicted(implementation, core, 1)


def predicted_milliseconds(implementation: Implementation, board: Board) -> float | None:
    """About how long one execution takes at the board's clock, None where nobody knows."""
    instructions = predicted_instructions(implementation, board.core)
    rates = _RATES.get(board.core.name)
    if instructions is None or rates is None:
        return None
    rate = rates[_LIBRARY if implementation.kernel.startswith(_LIBRARY) else _OWN]
    stall = flash_stall(board)
    waits = rate.flash_words * stall.per_word + rate.branches * stall.per_branch
    cycles = predicted_cycles(implementation, board.core)
    if cycles is None:
        cycles = instructions * rate.cycles
    return (cycles + instructions * waits) / board.clock.hz * 1000


def fastest_first(
    implementations: Sequence[Implementation], core: Core
) -> tuple[Implementation, ...]:
    """With predictions, in order of cycles, else of instructions; as given where one has none."""
    costed = [
        replace(
            one, instructions=predicted_instructions(one, core), cycles=predicted_cycles(one, core)
        )
        for one in implementations
    ]
    for figures in ([one.cycles for one in costed], [one.instructions for one in costed]):
        known = [figure for figure in figures if figure is not None]
        if len(known) == len(costed):
            order = sorted(range(len(costed)), key=known.__getitem__)
            return tuple(costed[number] for number in order)
    return tuple(costed)
