# SPDX-License-Identifier: Apache-2.0
"""Our kernels beside CMSIS-NN's, layer by layer, counted on one emulated core.

    python benchmarks/kernels.py [--core cortex-m4f] [--json FILE] MODEL.tflite ...

Each operator of each network is run alone on random input by the kernel that `--kernels auto`
would choose first and by the one that `--kernels cmsis-nn` would; both must give the same bytes.
Instructions are exact; cycles are the zero-wait estimate of tests/kernel_emulator.py.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from kernel_emulator import CountedProgram
from kernel_program import Case

from mcudeploy.board import CORES, Core
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator
from mcudeploy.operators import support
from mcudeploy.operators.base import Implementation, Target
from mcudeploy.toolchain import cmsis_nn


@dataclass(frozen=True)
class Row:
    """One operator by one choice of kernels."""

    model: str
    operator: int
    kind: str
    shape: str
    macs: int
    kernel: str
    instructions: int
    cycles: int
    constants_bytes: int
    scratch_bytes: int
    predicted: float | None


def cmsis_files(implementations: Sequence[Implementation]) -> list[str]:
    """CMSIS-NN's C files that the implementations need, and where its headers are."""
    functions = {
        source.removeprefix("cmsis-nn:")
        for implementation in implementations
        for source in implementation.sources
        if source.startswith("cmsis-nn:")
    }
    root = cmsis_nn.source()
    files = [str(root / f) for f in cmsis_nn.closure(sorted(functions)) if f.suffix == ".c"]
    return ["-I", str(root / "Include"), *files]


def cases_of(graph: Graph, target: Target, random: np.random.Generator) -> dict[int, Case]:
    """A case for each operator that computes; inputs that are constants stay in flash."""
    cases = {}
    for position, operator in enumerate(graph.operators):
        made = support.family(operator).implementations(graph, operator, target)[0]
        reads = [i for i in operator.inputs if i != NO_TENSOR and not graph.tensor(i).is_constant]
        if not made.sources or not reads:
            continue
        inputs = tuple(
            random.integers(-128, 128, graph.tensor(i).elements).astype(np.int8) for i in reads
        )
        cases[position] = Case(made, inputs, graph.tensor(operator.outputs[0]).elements)
    return cases


def describe(graph: Graph, operator: Operator) -> str:
    shapes = [graph.tensor(i).shape for i in (*operator.inputs[:2], operator.outputs[0])]
    return " ".join("x".join(map(str, shape)) for shape in shapes)


def measure(path: Path, core: Core) -> list[Row]:
    """Rows of a network: for each operator ours and CMSIS-NN's, in turn."""
    graph = read_tflite(path.read_bytes(), path.stem)
    rows = []
    outputs: dict[int, np.ndarray] = {}
    for kernels in ("auto", "cmsis-nn"):
        cases = cases_of(graph, Target(core, kernels), np.random.default_rng(1))  # type: ignore[arg-type]
        needed = cmsis_files([case.implementation for case in cases.values()])
        with tempfile.TemporaryDirectory() as folder:
            program = CountedProgram(list(cases.values()), core, Path(folder), more=needed)
            for index, (position, case) in enumerate(cases.items()):
                operator = graph.operators[position]
                run = program.run(index)
                known = outputs.setdefault(position, run.output)
                if (run.output != known).any():
                    raise SystemExit(f"{graph.describe(operator)}: the kernels differ")
                rows.append(
                    Row(
                        model=path.stem,
                        operator=position,
                        kind=operator.kind,
                        shape=describe(graph, operator),
                        macs=support.macs(graph, operator),
                        kernel=case.implementation.kernel,
                        instructions=run.instructions,
                        cycles=run.cycles,
                        constants_bytes=sum(c.bytes for c in case.implementation.constants),
                        scratch_bytes=case.implementation.scratch_bytes,
                        predicted=case.implementation.instructions,
                    )
                )
    half = len(rows) // 2
    return [row for pair in zip(rows[:half], rows[half:], strict=True) for row in pair]


def show(rows: Sequence[Row]) -> None:
    ours, theirs = rows[0::2], rows[1::2]
    print(f"{rows[0].model}")
    head = ("#", "operator", "instr", "/MAC", "cycles", "/MAC", "CMSIS-NN", "/MAC", "ratio")
    print("{:>3} {:<54} {:>10} {:>6} {:>10} {:>6} {:>10} {:>6} {:>6}".format(*head))
    for a, b in zip(ours, theirs, strict=True):
        macs = a.macs or 1
        print(
            f"{a.operator:>3} {a.kind[:16] + ' ' + a.shape[:36]:<54} {a.instructions:>10,}"
            f" {a.instructions / macs:>6.2f} {a.cycles:>10,} {a.cycles / macs:>6.2f}"
            f" {b.instructions:>10,} {b.instructions / macs:>6.2f}"
            f" {a.instructions / b.instructions:>6.2f}"
        )
    macs = sum(row.macs for row in ours)
    total, cycles = sum(r.instructions for r in ours), sum(r.cycles for r in ours)
    cmsis, cmsis_cycles = sum(r.instructions for r in theirs), sum(r.cycles for r in theirs)
    growth = sum(r.constants_bytes for r in ours) - sum(r.constants_bytes for r in theirs)
    print(
        f"    all: {total:,} instructions ({total / macs:.2f} a MAC), {cycles:,} cycles"
        f" ({cycles / macs:.2f}); CMSIS-NN {cmsis:,} ({cmsis_cycles:,} cycles);"
        f" constants {growth:+,} B\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--core", choices=sorted(CORES), default="cortex-m4f")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    for path in given.models:
        rows.append(measure(path, CORES[given.core]))
        show(rows[-1])
    if given.json:
        given.json.write_text(json.dumps([asdict(r) for one in rows for r in one], indent=1) + "\n")


if __name__ == "__main__":
    main()
