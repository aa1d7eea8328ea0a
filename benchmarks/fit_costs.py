# SPDX-License-Identifier: Apache-2.0
"""Finds what the loops of kernels cost on each core: mcudeploy/operators/costs.json.

Random layers (tests/cost_layers.py) are compiled as projects are and run on the emulator. For each
kernel the counts are explained by its `work`: costs of at least zero that make the sum of squared
relative errors least (non-negative least squares; Lawson and Hanson 1974). With --check nothing is
written: predictions are compared with counts of other layers than those that were fitted.

    python benchmarks/fit_costs.py [--core cortex-m4f] [--kernel REGEX]
    python benchmarks/fit_costs.py --check [--core cortex-m4f]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from cost_layers import MAKERS, Layer, count_costs, layers

from mcudeploy.board import CORES, Core
from mcudeploy.operators import costs
from mcudeploy.operators.base import Implementation

TABLE = Path(costs.__file__).with_name("costs.json")
LAYERS = {
    "conv": 240,
    "conv 1x1": 70,
    "depthwise": 110,
    "depthwise 3x3": 60,
    "depthwise one": 60,
    "dense": 60,
    "dense per row": 40,
    "MEAN": 120,
    "ADD": 90,
    "MUL": 90,
    "PAD": 90,
    "TRANSPOSE": 90,
    "CONCATENATION": 90,
    "SLICE": 90,
    "GATHER": 150,
    "RESIZE_NEAREST_NEIGHBOR": 150,
}
OTHER_LAYERS = 30
CHECKED_LAYERS = 6
LEAST_COST = 0.005
FIT_SEED, CHECK_SEED = 1, 1_000_003

Measured = tuple[Layer, Implementation, tuple[int, ...]]


def measure(core: Core, seed: int, checked: bool, kernel: str) -> Iterator[list[Measured]]:
    """Layers of one maker after the other, each kernel with its count."""
    for number, maker in enumerate(MAKERS):
        random = np.random.default_rng(seed + number)
        count = CHECKED_LAYERS if checked else LAYERS.get(maker, OTHER_LAYERS)
        found = [
            (layer, one)
            for layer in layers([maker], count, random, core)
            for one in layer.implementations
            if re.search(kernel, one.kernel) and (checked or one.work)
        ]
        counts = count_costs(found, core, random)
        yield [(layer, one, n) for (layer, one), n in zip(found, counts, strict=True)]


def fit(rows: Sequence[Measured]) -> dict[str, list[float]]:
    """Cost of each part of one kernel's work: instructions, cycles."""
    names = list(dict.fromkeys(name for _, one, _ in rows for name in one.work))
    work = np.array([[one.work.get(name, 0.0) for name in names] for _, one, _ in rows])
    columns = []
    for column in range(len(rows[0][2])):
        counts = np.array([count[column] for *_, count in rows], float)
        solution, _ = nnls(work / counts[:, None], np.ones(len(rows)), maxiter=10_000)
        columns.append(solution.tolist())
    return {
        name: [round(cost, 2) for cost in costs]
        for name, *costs in zip(names, *columns, strict=True)
        if max(costs) >= LEAST_COST
    }


def errors(rows: Sequence[Measured], core: Core) -> dict[str, list[float]]:
    """Relative errors by kernel; those that are not predicted are left out."""
    found: dict[str, list[float]] = defaultdict(list)
    for _, one, counts in rows:
        predicted = costs.predicted_instructions(one, core)
        cycles = costs.predicted_cycles(one, core)
        if predicted is not None:
            found[one.kernel].append(predicted / counts[0] - 1)
        if cycles is not None:
            found[one.kernel + ", cycles"].append(cycles / counts[1] - 1)
    return found


def show(core: Core, found: dict[str, list[float]]) -> None:
    for kernel, values in sorted(found.items()):
        worst, beyond = max(values, key=abs), sum(abs(v) > 0.1 for v in values)
        print(
            f"{core.name:<14} {kernel:<38} {len(values):>3} layers, mean "
            f"{100 * np.mean(np.abs(values)):5.1f} %, worst {100 * worst:+6.1f} %, "
            f"{beyond} beyond 10 %",
            flush=True,
        )


def fit_core(core: Core, kernel: str) -> dict[str, dict[str, list[float]]]:
    grouped: dict[str, list[Measured]] = defaultdict(list)
    for rows in measure(core, FIT_SEED, False, kernel):
        for row in rows:
            grouped[row[1].kernel].append(row)
    return {name: fit(rows) for name, rows in sorted(grouped.items())}


def is_same(one: Core, other: Core) -> bool:
    """Cores that differ in their FPU alone run the same integer code."""
    return one.compiler_flags[0] == other.compiler_flags[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    cores = list(CORES)
    parser.add_argument("--core", choices=cores, action="append")
    parser.add_argument(
        "--kernel", default="", help="only kernels whose names have this (regular expression)"
    )
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    for name in given.core or [name for name in cores if name != "cortex-m7d"]:
        if given.check:
            found: dict[str, list[float]] = defaultdict(list)
            for rows in measure(CORES[name], CHECK_SEED, True, given.kernel):
                for kernel, values in errors(rows, CORES[name]).items():
                    found[kernel] += values
            show(CORES[name], found)
            continue
        fitted = fit_core(CORES[name], given.kernel)
        table = json.loads(TABLE.read_text(encoding="utf-8"))
        for same in (other for other, core in CORES.items() if is_same(core, CORES[name])):
            table[same] = {**table.get(same, {}), **fitted}
        text = json.dumps(table, indent=1, sort_keys=True)
        text = re.sub(r"\[[^]]*\]", lambda costs: " ".join(costs[0].split()), text)
        text = text.replace("[ ", "[").replace(" ]", "]")
        TABLE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
