# SPDX-License-Identifier: Apache-2.0
"""A picture of a profile: a bar for each operator, what flash adds in a colour of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mcudeploy.profiling import OperatorProfile, Profile
from mcudeploy.report.picture import save_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COMPUTING, _WAITING = "#3b7dd8", "#e8a33d"


def plot_profile(profile: Profile, path: Path) -> None:
    """Draw a profile into a PNG, SVG or PDF file, as the file's ending says.

    Raises InputError for another ending or a place that cannot be written.
    """
    save_picture(path, lambda: _figure(profile))


def _figure(profile: Profile) -> Figure:
    from matplotlib.figure import Figure

    rows = profile.operators
    figure = Figure(figsize=(9.0, 1.6 + 0.26 * len(rows)), layout="constrained")
    axis = figure.subplots()
    places = list(range(len(rows)))
    if profile.cycles is None:
        axis.barh(places, [row.instructions for row in rows], color=_COMPUTING)
        axis.set_xlabel("instructions")
    else:
        scale = 1000 / profile.clock_hz * profile.calibration
        computing = [(row.zero_wait_cycles or 0.0) * scale for row in rows]
        waiting = [(row.milliseconds or 0.0) - at for row, at in zip(rows, computing, strict=True)]
        axis.barh(places, computing, color=_COMPUTING, label="computing")
        axis.barh(places, waiting, left=computing, color=_WAITING, label="waiting for flash")
        axis.set_xlabel("estimated milliseconds")
        axis.legend(frameon=False, fontsize=8, loc="lower right")
    for place, row in enumerate(rows):
        end = row.instructions if profile.cycles is None else row.milliseconds or 0.0
        axis.annotate(
            _label(row), (end, place), xytext=(3, 0), textcoords="offset points", va="center",
            fontsize=7,
        )  # fmt: skip
    axis.set_yticks(places, [f"{row.index} {row.kind}" for row in rows], fontsize=7)
    axis.invert_yaxis()
    axis.margins(x=0.16)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(_title(profile), fontsize=10)
    return figure


def _title(profile: Profile) -> str:
    text = f"{profile.model} on {profile.board}: {profile.instructions:,} instructions"
    if profile.milliseconds is not None:
        text += f", about {profile.milliseconds:,.2f} ms"
    return text


def _label(row: OperatorProfile) -> str:
    rate = row.instructions_per_mac
    return f"{100 * row.share:.1f} %" + (f", {rate:.2f} a MAC" if rate is not None else "")
