# SPDX-License-Identifier: Apache-2.0
"""Predicted instructions of an implementation, without a build.

A kernel states in its `Implementation` either

- `work={"element": n, ...}`: how often each of its loops runs. What a round costs on each core is
  in `costs.json`, found by `benchmarks/fit_costs.py` from exact counts of compiled kernels on an
  emulator, over shapes drawn at random; or
- `instructions=...`, a formula of its own.

What states neither, or has not been measured on the core, is not predicted: None, never a guess.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from mcudeploy.board import Core
from mcudeploy.operators.base import Implementation

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
