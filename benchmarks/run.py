# SPDX-License-Identifier: Apache-2.0
"""`make bench`: real networks through fit, generate, build and test, beside the peers' figures.

The networks are looked for in the folder that MCUDEPLOY_MODELS names. Every figure is of a firmware
that was linked, run on the embedded emulator and found bit-exact; instruction counts are exact.

    python benchmarks/run.py [--board nucleo_l4r5zi] [--kernels auto] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from peers import PEERS, Peer
from rich.console import Console

import mcudeploy
from mcudeploy.report.jsonify import document
from mcudeploy.report.terminal import table
from mcudeploy.toolchain.compare import PartComparison


@dataclass(frozen=True)
class Row:
    """One network, measured."""

    model: str
    board: str
    kernels: str
    bit_exact: bool
    distinct_outputs: int
    inferences: int
    arena_bytes: int
    runtime_bytes: int
    stack_bytes: int
    code_bytes: int
    estimated_code_bytes: int
    weights_bytes: int
    macs: int
    instructions: int


def linked(sizes: tuple[PartComparison, ...], part: str) -> int:
    return sum(row.linked_bytes for row in sizes if row.part == part)


def measure(peer: Peer, models: Path, board: str, kernels: str, folder: Path) -> Row:
    """Deploy one network and read its figures off the linked, verified firmware."""
    done = mcudeploy.deploy(
        models / f"{peer.model}.tflite", board, folder / f"{peer.short}-{kernels}", kernels=kernels
    )
    assert done.built is not None and done.tested is not None
    sizes, verdict = done.built.sizes, done.tested.verdicts[0]
    return Row(
        model=peer.short,
        board=board,
        kernels=kernels,
        bit_exact=verdict.passed,
        distinct_outputs=verdict.distinct_outputs,
        inferences=verdict.inferences,
        arena_bytes=linked(sizes, "activations and scratch"),
        runtime_bytes=linked(sizes, "runtime"),
        stack_bytes=verdict.stack_bytes,
        code_bytes=linked(sizes, "code"),
        estimated_code_bytes=sum(r.predicted_bytes for r in sizes if r.part == "code"),
        weights_bytes=sum(linked(sizes, part) for part in ("weights", "biases", "tables")),
        macs=done.tested.manifest.macs,
        instructions=verdict.instructions,
    )


def show(rows: list[Row]) -> None:
    """Two tables: instructions, then memory."""
    out = Console(width=110, highlight=False)
    peers = {peer.short: peer for peer in PEERS}
    made = table("model", "kernels", "exact", "instructions", "per MAC", "CMSIS-NN called",
                 "TFLM + CMSIS-NN", "ratio",
                 right=("instructions", "per MAC", "CMSIS-NN called", "TFLM + CMSIS-NN", "ratio"))  # fmt: skip
    for row in rows:
        peer = peers[row.model]
        direct = peer.cmsis_instructions
        made.add_row(
            row.model, row.kernels, f"{'yes' if row.bit_exact else 'NO'} ({row.distinct_outputs})",
            f"{row.instructions:,}", f"{row.instructions / row.macs:.2f}",
            f"{direct:,}" if direct else "", f"{peer.tflm_instructions:,}",
            f"{row.instructions / peer.tflm_instructions:.3f}",
        )  # fmt: skip
    out.print(f"instructions per inference on {rows[0].board} (distinct outputs in brackets)")
    out.print(made)
    made = table("model", "kernels", "arena", "TFLM arena", "bound", "runtime", "stack", "code",
                 "estimate", "TFLM code", "weights",
                 right=("arena", "TFLM arena", "bound", "runtime", "stack", "code", "estimate",
                        "TFLM code", "weights"))  # fmt: skip
    for row in rows:
        peer = peers[row.model]
        bound = peer.lower_bound_bytes
        made.add_row(
            row.model, row.kernels, f"{row.arena_bytes:,}", f"{peer.tflm_arena_bytes:,}",
            f"{bound:,}" if bound else "", f"{row.runtime_bytes:,}", f"{row.stack_bytes:,}",
            f"{row.code_bytes:,}", f"{row.estimated_code_bytes:,}", f"{peer.tflm_code_bytes:,}",
            f"{row.weights_bytes:,}",
        )  # fmt: skip
    out.print("\nbytes: RAM (arena with scratch, runtime, stack used) and flash")
    out.print(made)


def main() -> int:
    """Measure all networks; exit code 1 when one of them is not bit-exact."""
    parser = argparse.ArgumentParser(description="Real networks beside the peers' figures.")
    parser.add_argument("--board", default="nucleo_l4r5zi")
    parser.add_argument("--kernels", nargs="+", default=["auto", "cmsis-nn"])
    parser.add_argument("--json", type=Path, help="write the rows there, too")
    chosen = parser.parse_args()
    models = os.environ.get("MCUDEPLOY_MODELS")
    if not models:
        print("skipped: MCUDEPLOY_MODELS names no folder of real models", file=sys.stderr)
        return 0
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for peer in PEERS:
            for kernels in chosen.kernels:
                rows.append(measure(peer, Path(models), chosen.board, kernels, Path(folder)))
    show(rows)
    if chosen.json:
        chosen.json.write_text(document("bench", rows=rows) + "\n", encoding="utf-8")
    return 0 if all(row.bit_exact for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
