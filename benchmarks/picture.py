# SPDX-License-Identifier: Apache-2.0
"""The benchmark as a picture: instructions a MAC, and estimated beside published milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import matplotlib as mpl
from peers import PEERS

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

_COLOURS = ("#1b6ca8", "#4c9bd1", "#8fb8d6", "#c9c9c9", "#e0a458", "#7d9d6b", "#b56576")
_WIDTH = 0.8

Bars = list[tuple[str, dict[str, float]]]


class Measured(Protocol):
    """What is drawn of a network with one choice of kernels."""

    @property
    def model(self) -> str: ...
    @property
    def variant(self) -> str: ...
    @property
    def macs(self) -> int: ...
    @property
    def instructions(self) -> int: ...
    @property
    def milliseconds(self) -> float | None: ...


def draw(rows: Sequence[Measured], path: Path) -> None:
    """Two panels of grouped bars, a group for each network, to a PNG."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(14, 5), layout="constrained")
    _bars(left, _instructions(rows), "{:.2f}")
    left.set_title("Instructions a MAC on Cortex-M4F, counted")
    _bars(right, _milliseconds(rows), "{:.3g}")
    right.set_title("ms on NUCLEO-L4R5ZI: mcudeploy estimated, the others published")
    right.set_yscale("log")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _instructions(rows: Sequence[Measured]) -> Bars:
    series: dict[str, dict[str, float]] = {}
    macs = {row.model: row.macs for row in rows}
    for row in rows:
        series.setdefault(f"mcudeploy, {row.variant}", {})[row.model] = row.instructions / row.macs
    series["TFLM + CMSIS-NN"] = {p.short: p.tflm_instructions / macs[p.short] for p in PEERS}
    return list(series.items())


def _milliseconds(rows: Sequence[Measured]) -> Bars:
    series: dict[str, dict[str, float]] = {}
    published = {peer.short: peer.ms for peer in PEERS if peer.ms}
    for row in rows:
        if row.milliseconds is not None and row.model in published:
            series.setdefault(f"mcudeploy, {row.variant}", {})[row.model] = row.milliseconds
    for model, figures in published.items():
        for peer, value in figures.items():
            series.setdefault(peer, {})[model] = value
    return list(series.items())


def _bars(axes: Axes, series: Bars, form: str) -> None:
    models = list(dict.fromkeys(model for _, values in series for model in values))
    width = _WIDTH / len(series)
    for number, (name, values) in enumerate(series):
        places = [models.index(m) - _WIDTH / 2 + width * (number + 0.5) for m in values]
        bars = axes.bar(places, list(values.values()), width, label=name, color=_COLOURS[number])
        axes.bar_label(bars, [form.format(v) for v in values.values()], fontsize=7, rotation=90,
                       padding=2)  # fmt: skip
    axes.set_xticks(range(len(models)), models)
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
