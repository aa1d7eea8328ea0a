# SPDX-License-Identifier: Apache-2.0
"""An estimate of the code that a network's kernels take in flash, before anything is built.

`code_sizes.json` holds the .text of each entry point with all that it calls, measured by
`benchmarks/code_sizes.py` for each core with the compiler flags of the generated project. What
several entry points call is counted for each, so the estimate errs on the safe side; `build`
prints by how much.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from mcudeploy.board import Core
from mcudeploy.operators.base import Implementation

CALL_BYTES = 72
"""What one operator's own function takes: its parameters in flash and the call."""


@cache
def _sizes() -> Mapping[str, Mapping[str, int]]:
    path = Path(__file__).with_name("code_sizes.json")
    table: Mapping[str, Mapping[str, int]] = json.loads(path.read_text(encoding="utf-8"))
    return table


def code_bytes(implementations: Sequence[Implementation], core: Core) -> int:
    """Estimated bytes of code: start-up, link and C library, kernels, one call per operator."""
    table = _sizes()[core.name]
    sources = {source for i in implementations for source in i.sources}
    kernels = sum(table.get(source, 0) for source in sources)
    calls = sum(i.code_bytes or CALL_BYTES for i in implementations if i.snippet)
    return table["runtime"] + kernels + calls
