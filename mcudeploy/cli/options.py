# SPDX-License-Identifier: Apache-2.0
"""The arguments that several commands share, each said once."""

from __future__ import annotations

import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mcudeploy.errors import InputError


class Kernels(StrEnum):
    """Whose kernels compute the network."""

    auto = "auto"
    cmsis_nn = "cmsis-nn"


class Optimize(StrEnum):
    """What kernels are chosen for."""

    speed = "speed"
    balanced = "balanced"
    size = "size"


class StreamMode(StrEnum):
    """Whether maps are computed row by row."""

    off = "off"
    auto = "auto"
    max = "max"


class Io(StrEnum):
    """The types at the edges of the network."""

    declared = "declared"
    int8 = "int8"


class Dtype(StrEnum):
    """The type that sizes are counted for."""

    int8 = "int8"
    float32 = "float32"


class WeightsIn(StrEnum):
    """The memory that holds the parameters."""

    flash = "flash"
    ram = "ram"


class Layout(StrEnum):
    """What is generated."""

    project = "project"
    library = "library"


class Scale(StrEnum):
    """What becomes of pixels 0..255 before the network sees them."""

    none = "none"
    unit = "0..1"
    symmetric = "-1..1"


def writable(path: Path | None) -> Path | None:
    """A file that can be written, as far as one sees beforehand: work of minutes is not done first.

    Raises InputError for a folder, and for a place where no file can be made.
    """
    if path is None:
        return None
    if path.is_dir():
        raise InputError(
            "the output is a folder, not a file", where=str(path), mend="name a file in it"
        )
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(
            "no file can be written there", where=str(path),
            mend=f"{folder} is {'read-only for you' if folder.is_dir() else 'a file'}: "
            "choose another folder",
        )  # fmt: skip
    return path


def _picture(path: Path | None) -> Path | None:
    """The same for a picture. Raises InputError for an ending that is none of a picture."""
    from mcudeploy.report.picture import check_format

    if path is not None:
        check_format(path)
    return writable(path)


def _emulator(name: str) -> str:
    """The name of an emulator, or `all`. Raises InputError for another."""
    from mcudeploy.emulator import get

    if name != "all":
        get(name)
    return name


Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="A Keras model (.h5, .keras, SavedModel folder) or an int8 .tflite."
    ),
]
Project = Annotated[
    Path, typer.Argument(metavar="DIR", help="A project folder that `generate` wrote.")
]
BoardName = Annotated[
    str,
    typer.Option(
        "--board", "-b", metavar="BOARD", help="A board (see `mcudeploy boards`) or a .toml file."
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where it goes.")]
TfliteOutput = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="FILE", callback=writable, help="The .tflite."),
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", callback=_picture, help="Draw it (.png, .svg, .pdf)."),
]
Calibration = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="DATA",
        help="Real inputs to quantize with: an .npz, an .npy or a folder of images.",
    ),
]
Synthetic = Annotated[
    bool,
    typer.Option(
        "--synthetic-calibration",
        metavar="",
        help="Quantize on random input: sizes and speed hold, the accuracy is worthless.",
    ),
]
Scaling = Annotated[
    Scale | None,
    typer.Option("--scaling", help="How pixels 0..255 are scaled before the network sees them."),
]
Evaluate = Annotated[
    Path | None,
    typer.Option(
        "--evaluate", metavar="DATA", help="An .npz of x and y: float and int8 accuracy on it."
    ),
]
KernelChoice = Annotated[
    Kernels, typer.Option("--kernels", help="Whose kernels: the fastest that fit, or CMSIS-NN's.")
]
Optimization = Annotated[Optimize, typer.Option("--optimize", help="What kernels are chosen for.")]
Edges = Annotated[
    Io, typer.Option("--io", help="int8 leaves out what converts inputs and outputs to it.")
]
DisabledPasses = Annotated[
    list[str] | None,
    typer.Option("--disable-pass", metavar="PASS", help="Leave a graph rewrite out (repeatable)."),
]
RamBudget = Annotated[
    str | None,
    typer.Option("--ram", metavar="SIZE", help="Pretend the board has this much RAM, e.g. 64K."),
]
FlashBudget = Annotated[
    str | None,
    typer.Option("--flash", metavar="SIZE", help="Pretend the board has this much flash."),
]
UseExternal = Annotated[
    bool,
    typer.Option(
        "--use-external", metavar="", help="Let the plan use the board's external memories."
    ),
]
Streaming = Annotated[
    StreamMode,
    typer.Option(
        "--stream",
        help="Compute maps row by row, so that they are never whole in RAM: auto where it is "
        "needed to fit, max for the least RAM.",
    ),
]
ArenaBudget = Annotated[
    str | None,
    typer.Option(
        "--ram-budget", metavar="SIZE", help="Stream as much as it takes for this arena, e.g. 16K."
    ),
]
RowFed = Annotated[
    bool,
    typer.Option(
        "--row-fed", metavar="", help="Take the input row by row; it is never whole in RAM."
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FILE", help="A text file with one class name per line."),
]
AsJson = Annotated[
    bool, typer.Option("--json", metavar="", help="Print one JSON object and nothing else.")
]
Html = Annotated[
    Path | None,
    typer.Option(
        "--html", metavar="FILE", callback=writable, help="Write the report as one HTML file."
    ),
]
TestData = Annotated[
    Path | None,
    typer.Option("--data", metavar="DATA", help="An .npz of x (and y): compare on these too."),
]
RandomInputs = Annotated[
    int, typer.Option("--random", min=0, help="How many random inputs besides the extremes.")
]
EmulatorName = Annotated[
    str,
    typer.Option(
        "--emulator", "-e", callback=_emulator,
        help="unicorn, qemu, renode, or all that are installed.",
    ),
]  # fmt: skip
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of what is random.")]


def as_typed() -> tuple[str, ...]:
    """The command line that is being run, as a shell would take it."""
    return (shlex.join(["mcudeploy", *sys.argv[1:]]),)
