# SPDX-License-Identifier: Apache-2.0
"""A target of targets.py under atheris, which keeps what reaches new code.

python fuzz/coverage.py tflite -max_total_time=300 fuzz/work/tflite fuzz/corpus/tflite

The arguments behind the target are libFuzzer's. Needs the package `atheris`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent))

with atheris.instrument_imports(include=["mcudeploy"], enable_loader_override=False):
    from targets import TARGETS, run_one


def main() -> None:
    """Fuzz until libFuzzer's limits are reached; a finding ends the process."""
    target = sys.argv.pop(1)
    if target not in TARGETS:
        sys.exit(f"no target {target!r}: {', '.join(TARGETS)}")
    atheris.Setup(sys.argv, lambda data: run_one(target, data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
