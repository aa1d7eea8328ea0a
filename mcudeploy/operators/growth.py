# SPDX-License-Identifier: Apache-2.0
"""What kernels of ours cost in flash, against CMSIS-NN's alone.

Weights are packed for the kernels, with biases and requantization constants among them, so
constants are compared as a whole; code by the estimate of `code_size.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcudeploy.graph.ir import Graph
from mcudeploy.operators import support
from mcudeploy.operators.base import Implementation, Target
from mcudeploy.operators.code_size import code_bytes


@dataclass(frozen=True)
class Growth:
    """Bytes of flash beyond those with `--kernels cmsis-nn`; negative where less."""

    code_bytes: int
    constants_bytes: int

    @property
    def note(self) -> str:
        """One line for the report."""
        return (
            f"against CMSIS-NN's kernels alone: code {self.code_bytes:+,} bytes (estimated), "
            f"constants {self.constants_bytes:+,} bytes"
        )


def growth(graph: Graph, implementations: Sequence[Implementation], target: Target) -> Growth:
    """Of the kernels chosen for the operators of a graph, by position."""
    library = Target(target.core, "cmsis-nn", target.optimize)
    known = [
        (own, support.family(operator).implementations(graph, operator, library))
        for operator, own in zip(graph.operators, implementations, strict=True)
    ]
    # A loop over steps is planned, not offered: it counts on both sides.
    others = [offered[0] if offered else own for own, offered in known]
    return Growth(
        code_bytes(implementations, target.core) - code_bytes(others, target.core),
        _constants(implementations) - _constants(others),
    )


def _constants(implementations: Sequence[Implementation]) -> int:
    return sum(constant.bytes for one in implementations for constant in one.constants)
