# SPDX-License-Identifier: Apache-2.0
"""Estimated milliseconds on NUCLEO-L4R5ZI beside published ones: is the cycle model to be trusted?

First table: CMSIS-NN's kernels, which TFLM and microTVM call too, by our model and as published;
the distance is the model's error plus all that differs between the builds. Second: our kernels by
the same model beside the fastest published stacks, which were measured on silicon: ours are not.
Third: a Cortex-M7, where only networks of about the same layers were published.

    python benchmarks/latency.py [--json FILE]          needs MCUDEPLOY_MODELS
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from peers import FASTEST, M7, M7_BOARD, M7_HZ, PEERS, PEERS_BOARD, SAME_KERNELS, Peer
from rich.console import Console

import mcudeploy
from mcudeploy import zoo
from mcudeploy.board import find_board
from mcudeploy.operators.base import Target
from mcudeploy.operators.costs import predicted_milliseconds
from mcudeploy.operators.support import candidates
from mcudeploy.report.jsonify import document
from mcudeploy.report.terminal import table


@dataclass(frozen=True)
class Row:
    """One network with one choice of kernels; milliseconds are estimates, `published` are not."""

    model: str
    kernels: str
    instructions: int
    predicted_instructions: float | None
    cycles_per_instruction: float
    zero_wait_milliseconds: float
    milliseconds: float
    published: dict[str, float]

    def distance(self, peer: str) -> str:
        """How far the estimate is from a published figure, in percent of that."""
        return f"{100 * (self.milliseconds / self.published[peer] - 1):+.0f} %"


def measure(peer: Peer, models: Path, kernels: str, folder: Path) -> Row:
    project = mcudeploy.generate(
        models / f"{peer.model}.tflite",
        PEERS_BOARD,
        folder / f"{peer.short}-{kernels}",
        kernels=kernels,
    )
    mcudeploy.build(project.folder)
    profile = mcudeploy.profile(project.folder)
    assert profile.cycles and profile.zero_wait_cycles and profile.milliseconds
    return Row(
        model=peer.short,
        kernels=kernels,
        instructions=profile.instructions,
        predicted_instructions=profile.predicted_instructions,
        cycles_per_instruction=profile.zero_wait_cycles / profile.instructions,
        zero_wait_milliseconds=profile.zero_wait_milliseconds or 0.0,
        milliseconds=profile.milliseconds,
        published=peer.ms,
    )


def show(title: str, rows: list[Row], peers: tuple[str, ...]) -> None:
    out = Console(width=110, highlight=False)
    out.print(title)
    columns = ("instructions", "predicted", "CPI", "no wait ms", "estimate ms")
    beside = [text for peer in peers for text in (peer, "distance")]
    made = table("model", *columns, *beside, right=(*columns, *beside))
    for row in rows:
        error = ""
        if row.predicted_instructions is not None:
            error = f"{100 * (row.predicted_instructions / row.instructions - 1):+.1f} %"
        figures = [t for p in peers for t in (f"{row.published[p]:.2f}", row.distance(p))]
        made.add_row(
            row.model, f"{row.instructions:,}", error, f"{row.cycles_per_instruction:.2f}",
            f"{row.zero_wait_milliseconds:.2f}", f"{row.milliseconds:.2f}", *figures,
        )  # fmt: skip
    out.print(made)


def show_m7() -> None:
    """The prediction of `fit`, at the clock of the published measurements."""
    board = find_board(M7_BOARD)
    board = board.model_copy(update={"clock": board.clock.model_copy(update={"hz": M7_HZ})})
    numbers = ("width", "resolution", "estimate ms", "published ms", "distance")
    made = table("network", *numbers, right=numbers)
    for one in M7:
        graph = zoo.graph(one.name, width=one.width, resolution=one.resolution)
        kernels = candidates(graph, Target(board.core, "cmsis-nn", sizes_only=True))
        times = [predicted_milliseconds(offered[0], board) for offered in kernels]
        estimate = sum(time or 0.0 for time in times)
        assert None not in times
        made.add_row(
            one.name, f"{one.width}", f"{one.resolution}", f"{estimate:.1f}", f"{one.ms:.0f}",
            f"{100 * (estimate / one.ms - 1):+.0f} %",
        )  # fmt: skip
    out = Console(width=110, highlight=False)
    out.print(f"\nCMSIS-NN's kernels on {M7_BOARD} at {M7_HZ // 1_000_000} MHz, and published")
    out.print(made)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    models = os.environ.get("MCUDEPLOY_MODELS")
    if not models:
        print("MCUDEPLOY_MODELS names no folder of real models", file=sys.stderr)
        return 2
    rows: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kernels in ("cmsis-nn", "auto"):
            rows[kernels] = [
                measure(peer, Path(models), kernels, Path(folder)) for peer in PEERS if peer.ms
            ]
    show("CMSIS-NN's kernels, estimated, and published", rows["cmsis-nn"], SAME_KERNELS)
    show("\nours, estimated, and the fastest published", rows["auto"], FASTEST)
    show_m7()
    if given.json:
        given.json.write_text(document("latency", rows=rows["cmsis-nn"] + rows["auto"]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
