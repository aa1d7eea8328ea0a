# SPDX-License-Identifier: Apache-2.0
"""mcudeploy: neural networks on microcontrollers, planned, proven and emitted.

The functions of the command line as a library: `mcudeploy.fit(model, board) -> FitReport` and so
on. They are loaded when first used, so that importing mcudeploy costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


_FUNCTIONS = (
    "advise",
    "boards",
    "build",
    "check",
    "deploy",
    "fit",
    "flash",
    "flash_command",
    "generate",
    "plan_offline",
    "prepare",
    "profile",
    "quantize",
    "test",
    "validate",
    "verify_project",
)


def __getattr__(name: str) -> Any:
    """The functions of `mcudeploy.api`, loaded when first used."""
    if name not in _FUNCTIONS:
        raise AttributeError(f"module 'mcudeploy' has no attribute {name!r}")
    return getattr(import_module("mcudeploy.api"), name)
