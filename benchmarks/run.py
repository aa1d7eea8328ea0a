# SPDX-License-Identifier: Apache-2.0
"""`make bench`: real networks through fit, generate, build and test, beside the peers' figures.

The networks are looked for in the folder that MCUDEPLOY_MODELS names. Every figure is of a firmware
that was linked, run on the embedded emulator and found bit-exact; instruction counts are exact,
milliseconds are estimates by the cycle model. Tables go to standard output, bench.json and
bench.png into the output folder.

    python benchmarks/run.py [--board nucleo_l4r5zi] [--kernels auto cmsis-nn] [--output out/bench]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from peers import PEERS, Peer
from picture import draw
from rich.console import Console

import mcudeploy
from mcudeploy.profiling import OperatorProfile
from mcudeploy.report.jsonify import document
from mcudeploy.report.terminal import table
from mcudeploy.toolchain.compare import PartComparison


@dataclass(frozen=True)
class Row:
    """One network, measured with one choice of kernels."""

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
    milliseconds: float | None
    layers: tuple[OperatorProfile, ...]


def linked(sizes: tuple[PartComparison, ...], part: str) -> int:
    return sum(row.linked_bytes for row in sizes if row.part == part)


def measure(peer: Peer, models: Path, board: str, kernels: str, folder: Path) -> Row:
    """Deploy one network and read its figures off the linked, verified firmware."""
    done = mcudeploy.deploy(
        models / f"{peer.model}.tflite", board, folder / f"{peer.short}-{kernels}", kernels=kernels
    )
    assert done.built is not None and done.tested is not None
    sizes, verdict = done.built.sizes, done.tested.verdicts[0]
    profile = mcudeploy.profile(done.project.folder)
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
        milliseconds=profile.milliseconds,
        layers=profile.operators,
    )


def show(rows: list[Row]) -> None:
    """Two tables: instructions, then memory."""
    out = Console(width=110, highlight=False)
    peers = {peer.short: peer for peer in PEERS}
    numbers = ("instructions", "per MAC", "CMSIS-NN called", "TFLM + CMSIS-NN", "ratio")
    made = table("model", "kernels", "exact", *numbers, right=numbers)
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
    numbers = ("arena", "TFLM arena", "bound", "runtime", "stack", "code", "estimate",
               "TFLM code", "weights")  # fmt: skip
    made = table("model", "kernels", *numbers, right=numbers)
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


def show_layers(ours: Row, theirs: Row) -> None:
    """Each operator of a network by both choices; fused or reordered ones are matched by name."""
    known = {layer.name: layer for layer in theirs.layers}
    numbers = ("instructions", "/MAC", "cycles", "other ", "/MAC ", "ratio", "cycles ratio")
    made = table("operator", "kernel", *numbers, right=numbers)
    for one in ours.layers:
        other = known.get(one.name)
        if other is None or not one.instructions or not other.instructions:
            continue
        cycles = one.cycles and other.cycles and f"{one.cycles / other.cycles:.2f}"
        made.add_row(
            f"{one.index} {one.kind}", one.kernel, f"{one.instructions:,}",
            f"{one.instructions / one.macs:.2f}" if one.macs else "",
            f"{one.cycles:,.0f}" if one.cycles else "", f"{other.instructions:,}",
            f"{other.instructions / other.macs:.2f}" if other.macs else "",
            f"{one.instructions / other.instructions:.2f}", cycles or "",
        )  # fmt: skip
    out = Console(width=140, highlight=False)
    out.print(f"\n{ours.model}: --kernels {ours.kernels}, the other is {theirs.kernels}")
    out.print(made)


def main() -> int:
    """Measure all networks; exit code 1 when one of them is not bit-exact."""
    parser = argparse.ArgumentParser(description="Real networks beside the peers' figures.")
    parser.add_argument("--board", default="nucleo_l4r5zi")
    parser.add_argument("--kernels", nargs="+", default=["auto", "cmsis-nn"])
    parser.add_argument("--output", type=Path, default=Path("out/bench"))
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
    per_model = [[row for row in rows if row.model == peer.short] for peer in PEERS]
    for ours, *others in per_model:
        for theirs in others:
            show_layers(ours, theirs)
    chosen.output.mkdir(parents=True, exist_ok=True)
    (chosen.output / "bench.json").write_text(
        document("bench", rows=rows, peers=PEERS) + "\n", encoding="utf-8"
    )
    draw(rows, chosen.output / "bench.png")
    print(f"\nwritten: {chosen.output}/bench.json, {chosen.output}/bench.png")
    return 0 if all(row.bit_exact for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
