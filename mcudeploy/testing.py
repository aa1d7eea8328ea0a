# SPDX-License-Identifier: Apache-2.0
"""`test` and `validate`: a built project on one emulator, on all, or on its board.

`test` runs the project's own tests, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcudeploy import emulator as emulators
from mcudeploy.api import Tested
from mcudeploy.codegen.manifest import EdgeRecord, Manifest, read_manifest
from mcudeploy.errors import InputError, ToolError
from mcudeploy.frontend.calibration import read_arrays
from mcudeploy.frontend.reference import sample_inputs
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.toolchain.platformio import elf_path
from mcudeploy.verify import Verdict, verify

Array = npt.NDArray[Any]
Progress = Callable[[str], None]


def test_project(
    project: Path,
    *,
    emulator: str,
    data: str | Path | None,
    random: int,
    seed: int,
    progress: Progress | None,
) -> Tested:
    """See `mcudeploy.api.test`."""
    manifest = read_manifest(project)
    elf = built_firmware(project)
    model = read_model(project)
    inputs = _inputs(manifest, model, data, random, seed)
    verdicts: list[Verdict] = []
    skipped: list[tuple[str, str]] = []
    for name in emulators.NAMES if emulator == "all" else (emulator,):
        chosen = emulators.get(name)
        reason = chosen.available() or chosen.supports(manifest.board_record)
        if reason is not None:
            if emulator != "all":
                raise ToolError(
                    f"{name} cannot run this firmware: {reason}",
                    mend="choose another --emulator, or see `mcudeploy doctor`",
                )
            skipped.append((name, reason))
            continue

        def told(done: int, of: int, name: str = name) -> None:
            if progress is not None:
                progress(f"{name}: inference {done} of {of}")

        with chosen.start(elf, manifest.board_record, poison=True) as session:
            verdicts.append(verify(manifest, model, session, inputs, emulator=name, progress=told))
    own = _project_tests(project, verdicts[0].emulator, progress) if verdicts else None
    return Tested(manifest, tuple(verdicts), own, tuple(skipped))


test_project.__test__ = False  # type: ignore[attr-defined]


def validate_project(
    project: Path,
    *,
    port: str,
    baud: int | None,
    data: str | Path | None,
    random: int,
    seed: int,
    progress: Progress | None,
) -> Tested:
    """See `mcudeploy.api.validate`."""
    from mcudeploy.emulator.serial_port import connect

    manifest = read_manifest(project)
    elf = built_firmware(project)
    model = read_model(project)
    inputs = _inputs(manifest, model, data, random, seed)

    def told(done: int, of: int) -> None:
        if progress is not None:
            progress(f"{port}: inference {done} of {of}")

    with connect(port, manifest, elf, baud=baud) as session:
        verdict = verify(manifest, model, session, inputs, emulator=port, progress=told)
    return Tested(manifest, (verdict,))


def _inputs(
    manifest: Manifest, model: bytes, data: str | Path | None, random: int, seed: int
) -> list[tuple[Array, ...]]:
    """The extremes, random inputs, and the user's own."""
    inputs = list(sample_inputs(read_tflite(model, manifest.model_name), random, seed))
    return inputs + (user_inputs(Path(data), manifest) if data is not None else [])


def built_firmware(project: Path) -> Path:
    """The project's ELF file. Raises InputError when it has not been built."""
    elf = elf_path(project.resolve())
    if not elf.is_file():
        raise InputError(
            "the project has not been built", where=str(project), mend=f"mcudeploy build {project}"
        )
    return elf


def read_model(project: Path) -> bytes:
    try:
        return (project / "model.tflite").read_bytes()
    except OSError as error:
        raise InputError(
            f"the project's model.tflite cannot be read: {error.strerror}", where=str(project)
        ) from None


def user_inputs(path: Path, manifest: Manifest) -> list[tuple[Array, ...]]:
    """The samples of an .npz as the model declares its inputs: float data is quantized.

    One array per input under its name, or under `x` for a single input.
    """
    arrays = read_arrays(path)
    columns = []
    for position, edge in enumerate(manifest.inputs):
        key = next((k for k in (edge.name, f"x{position}", "x", "x_test") if k in arrays), None)
        if key is None:
            raise InputError(
                f"the data has no array for input {edge.name!r}",
                where=str(path),
                mend=f"numpy.savez(PATH, x=...) with samples of shape {edge.shape[1:]}",
            )
        columns.append(stored_values(arrays[key], edge, path))
    count = min(len(column) for column in columns)
    return [tuple(column[i] for column in columns) for i in range(count)]


def stored_values(values: Array, edge: EdgeRecord, source: str | Path) -> Array:
    """Samples as the model stores them: float data for an integer input is quantized."""
    wanted = edge.shape[1:] if edge.shape[:1] == (1,) else edge.shape
    if int(np.prod(values.shape[1:])) != int(np.prod(wanted)):
        raise InputError(
            f"the data's samples have shape {values.shape[1:]}, the model takes {wanted}",
            where=str(source),
        )
    shaped = values.reshape(len(values), *edge.shape)
    if not edge.scale or shaped.dtype == np.dtype(edge.dtype):
        return shaped.astype(edge.dtype)
    limits = np.iinfo(edge.dtype)
    scaled = shaped.astype(np.float32) / np.float32(edge.scale)
    rounded = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)) + edge.zero_point
    stored: Array = np.clip(rounded, limits.min, limits.max).astype(edge.dtype)
    return stored


def _project_tests(
    project: Path, emulator: str, progress: Progress | None
) -> tuple[str, bool] | None:
    """Run `tests/` of the project in a process of its own; None when it has none."""
    folder = project.resolve() / "tests"
    if not folder.is_dir():
        return None
    if progress is not None:
        progress("the project's own tests")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(
        [*command, f"--mcudeploy-emulator={emulator}"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        cwd=project,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    text = done.stdout + done.stderr
    return (text if done.returncode else _last_line(text.splitlines())), done.returncode == 0


def _last_line(lines: Sequence[str]) -> str:
    return lines[-1].strip("= ") if lines else ""
