# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed: each target takes bytes and may raise nothing but an McudeployError.

`tflite` goes all the way from a file's bytes to the verdict: reader, rewrites, kernel choice, plan,
independent check, budget; then once more row by row. The rest are the readers of everything else
that a stranger can send.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from mcudeploy import gate
from mcudeploy.board import find_board, read_board
from mcudeploy.codegen.manifest import MANIFEST_NAME, read_manifest
from mcudeploy.deployment import LoadedModel, Options, plan_model
from mcudeploy.emulator.frames import Decoder, Frame, decode, encode
from mcudeploy.errors import McudeployError, PlanError
from mcudeploy.memory.csvfile import pack_csv

_FOLDER = Path(tempfile.mkdtemp(prefix="mcudeploy-fuzz-"))
_BOARD = find_board("stm32f469")


def _file(data: bytes, name: str) -> Path:
    path = _FOLDER / name
    path.write_bytes(data)
    return path


def tflite(data: bytes) -> None:
    """A model file, up to its verdict: all maps whole, then as many row by row as can be."""
    for options in (Options(), Options(stream="max")):
        plan_model(LoadedModel(data), "fuzzed.tflite", _BOARD, options)


def board(data: bytes) -> None:
    """A board file."""
    read_board(_file(data, "board.toml"))


def manifest(data: bytes) -> None:
    """A project's manifest."""
    read_manifest(_file(data, MANIFEST_NAME).parent)


def baseline(data: bytes) -> None:
    """A baseline of `check`."""
    gate.read_baseline(_file(data, "baseline.json"))


def buffers(data: bytes) -> None:
    """A packing problem as CSV."""
    pack_csv(_file(data, "buffers.csv"), 1)


def frames(data: bytes) -> None:
    """The host's frame decoder: whatever it accepts, it would have sent so."""
    for found in Decoder().feed(data):
        if isinstance(found, Frame):
            again = decode(encode(found.kind, found.sequence, found.payload)[1:-1])
            assert again == found, "a frame that reads differently when it is sent again"


TARGETS: dict[str, Callable[[bytes], None]] = {
    "tflite": tflite,
    "board": board,
    "manifest": manifest,
    "baseline": baseline,
    "buffers": buffers,
    "frames": frames,
}


def run_one(target: str, data: bytes) -> str:
    """The name of the error that refused the data, or `accepted`; anything else is raised."""
    try:
        TARGETS[target](data)
    except McudeployError as error:
        if isinstance(error, PlanError):
            raise  # whatever the file holds: a plan that the checker refuses is a defect
        assert error.problem, "an error that says nothing"
        json.dumps(str(error))
        return type(error).__name__
    return "accepted"
