# SPDX-License-Identifier: Apache-2.0
"""60 layer shapes: the kernel that is chosen beside CMSIS-NN's, counted on one emulated core.

    python benchmarks/sweep.py [--core cortex-m4f] [--json FILE]

Both must give the same bytes. Instructions are exact; cycles are those of the core's model with
memory that never waits. The exit code is 1 when a layer is slower than CMSIS-NN's by either.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from layer_counts import count_layers, fastest
from layer_networks import SWEEP

from mcudeploy.board import CORES, Core
from mcudeploy.operators.base import Target
from mcudeploy.report.terminal import table


@dataclass(frozen=True)
class Row:
    """One layer by the chosen kernel and by CMSIS-NN's."""

    layer: str
    macs: int
    kernel: str
    instructions: int
    cycles: int
    cmsis_instructions: int
    cmsis_cycles: int

    @property
    def ratio(self) -> float:
        return self.instructions / self.cmsis_instructions

    @property
    def cycles_ratio(self) -> float:
        return self.cycles / self.cmsis_cycles


def measure(core: Core) -> list[Row]:
    graphs = [shape.graph() for shape in SWEEP]
    counts = count_layers(
        [(graph, fastest(graph, Target(core, kernels)))  # type: ignore[arg-type]
         for graph in graphs for kernels in ("auto", "cmsis-nn")],
        core,
    )  # fmt: skip
    rows = []
    for shape, (*_, ours), (*_, theirs) in zip(SWEEP, counts[0::2], counts[1::2], strict=True):
        if (ours.output != theirs.output).any():
            raise SystemExit(f"{shape.text}: {ours.kernel} and {theirs.kernel} differ")
        rows.append(Row(shape.text, ours.macs, ours.kernel, ours.instructions, ours.cycles,
                        theirs.instructions, theirs.cycles))  # fmt: skip
    return rows


def geometric_mean(values: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def show(rows: Sequence[Row], core: Core) -> None:
    numbers = ("instructions", "/MAC", "CMSIS-NN", "ratio", "cycles", "CMSIS-NN ", "ratio ")
    made = table("layer", "kernel", *numbers, right=numbers)
    for row in rows:
        made.add_row(
            row.layer, row.kernel.removeprefix("mcud_").removesuffix("_s8"),
            f"{row.instructions:,}", f"{row.instructions / row.macs:.2f}",
            f"{row.cmsis_instructions:,}", f"{row.ratio:.2f}",
            f"{row.cycles:,}", f"{row.cmsis_cycles:,}", f"{row.cycles_ratio:.2f}",
        )  # fmt: skip
    out = Console(width=150, highlight=False)
    out.print(made)
    mean, cycles_mean = (
        geometric_mean(ratios)
        for ratios in ([row.ratio for row in rows], [row.cycles_ratio for row in rows])
    )
    out.print(
        f"{core.name}: {len(rows)} layers, geometric mean {mean:.3f} of CMSIS-NN's instructions,"
        f" {cycles_mean:.3f} of its cycles; {sum(row.ratio > 1 for row in rows)} slower by"
        f" instructions, {sum(row.cycles_ratio > 1 for row in rows)} by cycles"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    cores = [name for name, core in CORES.items() if core.unicorn_model is not None]
    parser.add_argument("--core", choices=cores, default="cortex-m4f")
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    given = parser.parse_args()
    rows = measure(CORES[given.core])
    show(rows, CORES[given.core])
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return int(any(max(row.ratio, row.cycles_ratio) > 1 for row in rows))


if __name__ == "__main__":
    sys.exit(main())
