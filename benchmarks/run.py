# SPDX-License-Identifier: Apache-2.0
"""`make bench`: real networks through fit, generate, build and test, beside the peers' figures.

The networks are looked for in the folder that MCUDEPLOY_MODELS names. Every figure is of a firmware
that was linked, run on the embedded emulator and found bit-exact; instruction counts are exact,
milliseconds are estimates by the cycle model. Tables go to standard output, bench.json and
bench.png into the output folder, and those of docs/comparison.md are rewritten where its boards
and variants were measured.

    python benchmarks/run.py [--board nucleo_l4r5zi] [--variant balanced speed cmsis-nn]
                             [--output out/bench]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from page import write_page
from peers import PEERS, PEERS_CORE, Peer
from picture import draw
from rich.console import Console

import mcudeploy
from mcudeploy.board import find_board
from mcudeploy.profiling import OperatorProfile
from mcudeploy.report.jsonify import document
from mcudeploy.report.terminal import table
from mcudeploy.toolchain.compare import PartComparison

VARIANTS: dict[str, dict[str, str]] = {
    "balanced": {},
    "speed": {"optimize": "speed"},
    "cmsis-nn": {"kernels": "cmsis-nn"},
}
"""What is measured, with the options that differ from the default."""
ON_OTHER_CORES = ("balanced", "cmsis-nn")
INFERENCES = 10
"""On random input, and some more on the ends of its range; each is compared with the reference."""
BOARDS = ("nucleo_l4r5zi", "mps2_an385", "raspberry_pi_pico")
"""Cortex-M4F, of which the peers' figures are; Cortex-M3 and M0+ without DSP instructions."""


@dataclass(frozen=True)
class Row:
    """One network on one board, measured with one choice of kernels."""

    model: str
    board: str
    core: str
    variant: str
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
    cycles: float | None
    milliseconds: float | None
    layers: tuple[OperatorProfile, ...]


def linked(sizes: tuple[PartComparison, ...], part: str) -> int:
    return sum(row.linked_bytes for row in sizes if row.part == part)


def measure(peer: Peer, models: Path, board: str, variant: str, folder: Path) -> Row:
    """Read a network's figures off its linked, verified firmware; the project's own tests rest."""
    project = mcudeploy.generate(
        models / f"{peer.model}.tflite",
        board,
        folder / f"{peer.short}-{board}-{variant}",
        **VARIANTS[variant],
    )
    sizes = mcudeploy.build(project.folder).sizes
    shutil.rmtree(project.folder / "tests")
    tested = mcudeploy.test(project.folder, random=INFERENCES)
    verdict = tested.verdicts[0]
    profile = mcudeploy.profile(project.folder)
    return Row(
        model=peer.short,
        board=board,
        core=find_board(board).core.name,
        variant=variant,
        bit_exact=verdict.passed,
        distinct_outputs=verdict.distinct_outputs,
        inferences=verdict.inferences,
        arena_bytes=linked(sizes, "activations and scratch"),
        runtime_bytes=linked(sizes, "runtime"),
        stack_bytes=verdict.stack_bytes,
        code_bytes=linked(sizes, "code"),
        estimated_code_bytes=sum(r.predicted_bytes for r in sizes if r.part == "code"),
        weights_bytes=sum(linked(sizes, part) for part in ("weights", "biases", "tables")),
        macs=tested.manifest.macs,
        instructions=verdict.instructions,
        cycles=profile.zero_wait_cycles,
        milliseconds=profile.milliseconds,
        layers=profile.operators,
    )


def show(rows: list[Row]) -> None:
    """Two tables: instructions, then memory."""
    out = Console(width=110, highlight=False)
    peers = {peer.short: peer for peer in PEERS}
    theirs = {row.model: row for row in rows if row.variant == "cmsis-nn"}
    numbers = ("instructions", "per MAC", "cycles", "of CMSIS-NN", "TFLM + CMSIS-NN", "of TFLM")
    made = table("model", "variant", "exact", *numbers, right=numbers)
    for row in rows:
        tflm = peers[row.model].tflm_instructions if row.core == PEERS_CORE else None
        other = theirs.get(row.model)
        made.add_row(
            row.model, row.variant, f"{'yes' if row.bit_exact else 'NO'} ({row.distinct_outputs})",
            f"{row.instructions:,}", f"{row.instructions / row.macs:.2f}",
            f"{row.cycles:,.0f}" if row.cycles else "",
            f"{row.instructions / other.instructions:.3f}" if other else "",
            f"{tflm:,}" if tflm else "", f"{row.instructions / tflm:.3f}" if tflm else "",
        )  # fmt: skip
    out.print(f"instructions per inference, {rows[0].board}, {rows[0].core} (in brackets: outputs)")
    out.print(made)
    numbers = ("arena", "TFLM arena", "bound", "runtime", "stack", "code", "estimate",
               "TFLM code", "weights")  # fmt: skip
    made = table("model", "variant", *numbers, right=numbers)
    for row in rows:
        peer = peers[row.model]
        bound = peer.lower_bound_bytes
        made.add_row(
            row.model, row.variant, f"{row.arena_bytes:,}", f"{peer.tflm_arena_bytes:,}",
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
    out.print(f"\n{ours.model} on {ours.core}: {ours.variant}, the other is {theirs.variant}")
    out.print(made)


def measure_board(board: str, variants: list[str], models: Path) -> list[Row]:
    """All networks that fit the board, shown."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for peer in PEERS:
            for variant in variants:
                rows.append(measure(peer, models, board, variant, Path(folder)))
    show(rows)
    for peer in PEERS:
        ours, *others = [row for row in rows if row.model == peer.short]
        for theirs in others:
            show_layers(ours, theirs)
    return rows


def main() -> int:
    """Measure all networks; exit code 1 when one of them is not bit-exact."""
    parser = argparse.ArgumentParser(description="Real networks beside the peers' figures.")
    parser.add_argument("--board", nargs="+", default=BOARDS)
    parser.add_argument("--variant", nargs="+", choices=VARIANTS)
    parser.add_argument("--output", type=Path, default=Path("out/bench"))
    chosen = parser.parse_args()
    models = os.environ.get("MCUDEPLOY_MODELS")
    if not models:
        print("skipped: MCUDEPLOY_MODELS names no folder of real models", file=sys.stderr)
        return 0
    rows = []
    written = ""
    for board in chosen.board:
        beside_peers = find_board(board).core.name == PEERS_CORE
        variants = chosen.variant or list(VARIANTS if beside_peers else ON_OTHER_CORES)
        rows += measure_board(board, variants, Path(models))
        written = write_page(rows)
    chosen.output.mkdir(parents=True, exist_ok=True)
    (chosen.output / "bench.json").write_text(
        document("bench", rows=rows, peers=PEERS) + "\n", encoding="utf-8"
    )
    beside = [row for row in rows if row.core == PEERS_CORE]
    if beside:
        draw(beside, chosen.output / "bench.png")
    print(f"\nwritten: {chosen.output}/bench.json, bench.png if on {PEERS_CORE}, {written}")
    return 0 if all(row.bit_exact for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
