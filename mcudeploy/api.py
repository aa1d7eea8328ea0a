# SPDX-License-Identifier: Apache-2.0
"""What the commands do, as functions: one per command, values in, values out.

import mcudeploy
report = mcudeploy.fit("lenet.h5", "stm32f469")
project = mcudeploy.generate("lenet.h5", "stm32f469", "firmware", calibration="train.npz")
mcudeploy.build(project.folder)
assert mcudeploy.test(project.folder).passed
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcudeploy.board import Board, find_board, parse_bytes
from mcudeploy.budget import FitReport
from mcudeploy.codegen.manifest import MANIFEST_NAME, Form, read_manifest
from mcudeploy.deployment import Deployment, Options, deploy_plan
from mcudeploy.errors import InputError
from mcudeploy.files import read_file, write_file
from mcudeploy.outcomes import Built, Deployed, Project, Tested

if TYPE_CHECKING:
    from mcudeploy.advice import Remedy
    from mcudeploy.frontend.quantize import QuantizedModel
    from mcudeploy.gate import Checked
    from mcudeploy.integrity import Integrity
    from mcudeploy.profiling import Profile

__all__ = [
    "Built", "Deployed", "Form", "Options", "Project", "Tested", "advise", "boards", "build",
    "check", "deploy", "fit", "flash", "flash_command", "generate", "plan_offline", "prepare",
    "profile", "quantize", "test", "validate", "verify_project",
]  # fmt: skip

Progress = Callable[[str], None]
PathLike = str | Path


def _chosen(options: Options | None, overrides: Mapping[str, Any]) -> Options:
    base = options or Options()
    try:
        values: dict[str, Any] = {
            key: Path(value) if key in ("calibration", "evaluate") and value is not None else value
            for key, value in overrides.items()
        }
        return replace(base, **values)
    except TypeError as error:
        raise InputError(f"no such option: {error}") from None


def prepare(
    model: PathLike,
    board: str | Path | Board,
    options: Options | None = None,
    *,
    progress: Progress | None = None,
    **overrides: Any,
) -> Deployment:
    """Load, quantize where needed, plan and budget; sizes hold with any calibration.

    `overrides` are fields of `Options`. Raises McudeployError.
    """
    chosen = _chosen(options, overrides)
    return deploy_plan(Path(model), board, chosen, allow_synthetic=True, progress=progress)


def fit(
    model: PathLike, board: str | Path | Board, options: Options | None = None, **overrides: Any
) -> FitReport:
    """Does the model fit the board? `overrides` are fields of `Options`, e.g. `ram="64K"`."""
    return prepare(model, board, options, **overrides).report


def advise(deployment: Deployment, *, progress: Progress | None = None) -> tuple[Remedy, ...]:
    """What would make a network fit that does not: each remedy planned, its bytes computed."""
    from mcudeploy.advice import advise as run

    return run(deployment, progress)


def quantize(
    model: PathLike,
    output: PathLike,
    options: Options | None = None,
    *,
    progress: Progress | None = None,
    **overrides: Any,
) -> QuantizedModel:
    """Quantize a Keras model and write the int8 .tflite to `output`."""
    from mcudeploy.frontend.quantize import quantize as run

    chosen = _chosen(options, overrides)
    quantized = run(
        model,
        chosen.calibration,
        synthetic=chosen.synthetic_calibration,
        scaling=chosen.scaling,
        evaluate=chosen.evaluate,
        progress=progress,
    )
    write_file(Path(output), quantized.tflite)
    return quantized


def generate(
    model: PathLike,
    board: str | Path | Board,
    output: PathLike,
    options: Options | None = None,
    *,
    labels: PathLike | None = None,
    form: Form | None = None,
    progress: Progress | None = None,
    **overrides: Any,
) -> Project:
    """Write the firmware project of a model, or a library of it for another firmware.

    Refuses synthetic calibration unless it is chosen.
    """
    from mcudeploy.codegen.project import generate_project
    from mcudeploy.toolchain.cmsis_nn import library_of

    chosen = _chosen(options, overrides)
    deployment = deploy_plan(Path(model), board, chosen, allow_synthetic=False, progress=progress)
    if progress is not None:
        progress("writing the project")
    manifest = generate_project(
        deployment,
        Path(output),
        library=library_of(deployment.plan.implementations),
        labels=_read_labels(labels),
        form=form,
    )
    return Project(Path(output), manifest, deployment)


def _read_labels(path: PathLike | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the labels: {getattr(error, 'strerror', None) or 'it is no text'}",
            where=str(path), mend="give a text file with one class name per line",
        ) from None  # fmt: skip
    return tuple(line.strip() for line in lines if line.strip())


def build(project: PathLike, *, progress: Progress | None = None) -> Built:
    """Build a project with PlatformIO and compare predicted with linked sizes."""
    from mcudeploy.toolchain import platformio
    from mcudeploy.toolchain.compare import compare_sizes
    from mcudeploy.toolchain.sizes import linked_sizes

    folder = Path(project)
    manifest = read_manifest(folder)
    board = manifest.board_record
    result = platformio.build(folder, progress=progress)
    linked = linked_sizes(result.elf, board, map_file=result.map)
    return Built(
        elf=result.elf,
        seconds=result.seconds,
        warnings=result.warnings,
        sizes=compare_sizes(manifest, linked),
        used_bytes={region.name: linked.total(region.name) for region in board.memory},
        capacity_bytes={region.name: region.size for region in board.memory},
    )


def test(
    project: PathLike,
    *,
    emulator: str = "unicorn",
    data: PathLike | None = None,
    random: int = 50,
    seed: int = 0,
    progress: Progress | None = None,
) -> Tested:
    """Run a built project on an emulator and compare every operator's output with golden."""
    from mcudeploy.testing import test_project

    return test_project(
        Path(project), emulator=emulator, data=data, random=random, seed=seed, progress=progress
    )


def profile(
    project: PathLike,
    *,
    emulator: str = "unicorn",
    calibrate: float | None = None,
    progress: Progress | None = None,
) -> Profile:
    """Instructions and estimated time of a built project, operator by operator.

    `calibrate` is what an inference took on the board, in milliseconds: it scales all times.
    """
    from mcudeploy.profiling import profile_project

    return profile_project(Path(project), emulator=emulator, calibrate=calibrate, progress=progress)


def validate(
    project: PathLike,
    *,
    port: str,
    baud: int | None = None,
    data: PathLike | None = None,
    random: int = 50,
    seed: int = 0,
    progress: Progress | None = None,
) -> Tested:
    """The test of `test` on a real board; `instructions` of its verdict are the board's cycles."""
    from mcudeploy.testing import validate_project

    return validate_project(
        Path(project),
        port=port,
        baud=baud,
        data=data,
        random=random,
        seed=seed,
        progress=progress,
    )


def flash_command(project: PathLike) -> list[str]:
    """The command that `flash` runs. Raises ToolError for a board that PlatformIO does not know."""
    from mcudeploy.toolchain.upload import upload_command

    return upload_command(Path(project), read_manifest(Path(project)).board_record)


def flash(project: PathLike, *, progress: Progress | None = None) -> None:
    """Put a project's firmware on its board. Raises ToolError when that fails."""
    from mcudeploy.toolchain.upload import upload

    upload(Path(project), read_manifest(Path(project)).board_record, progress=progress)


def deploy(
    model: PathLike,
    board: str | Path | Board,
    output: PathLike,
    options: Options | None = None,
    *,
    labels: PathLike | None = None,
    emulator: str = "unicorn",
    progress: Progress | None = None,
    **overrides: Any,
) -> Deployed:
    """generate, build and test, the samples of `evaluate` among the inputs that are compared.

    A model that does not fit is generated, so that one can look, but not built.
    """
    project = generate(model, board, output, options, labels=labels, progress=progress, **overrides)
    if not project.deployment.report.fits:
        return Deployed(project)
    built = build(project.folder, progress=progress)
    data = project.deployment.options.evaluate
    tested = test(project.folder, emulator=emulator, data=data, progress=progress)
    return Deployed(project, built, tested)


def plan_offline(model: PathLike, output: PathLike) -> int:
    """Write a .tflite that carries our plan for stock TFLM; the bytes of its activations.

    Raises InputError for an unreadable or damaged file.
    """
    from mcudeploy.frontend.tflite import read_tflite
    from mcudeploy.memory import offline

    path = Path(model)
    data = read_file(path, "model")
    plan = offline.plan_offline(read_tflite(data, path.name, deployable=False))
    write_file(Path(output), offline.write_offline_plan(data, plan))
    return plan.packing.height


def check(
    target: PathLike,
    board: str | Path | Board | None = None,
    options: Options | None = None,
    *,
    max_ram: str | int | None = None,
    max_flash: str | int | None = None,
    max_instructions: int | None = None,
    max_ms: float | None = None,
    baseline: PathLike | None = None,
    growth_percent: float = 0.0,
    progress: Progress | None = None,
    **overrides: Any,
) -> Checked:
    """Hold a project, or a model on `board`, to limits (bytes or text like `64K`) and a baseline.

    `baseline` is a file that `check --json` wrote, or another project.
    """
    from mcudeploy import __version__, gate

    limits = gate.Limits(
        _size(max_ram, "--max-ram"), _size(max_flash, "--max-flash"), max_instructions,
        max_ms, growth_percent,
    )  # fmt: skip
    path = Path(target)
    if board is None and path.is_file():
        raise InputError(
            "a model is held to limits on a board", where=str(path),
            mend="name it: --board BOARD",
        )  # fmt: skip
    if board is not None and (path / MANIFEST_NAME).is_file():
        raise InputError(
            "a project has its board already", where=str(path), mend="leave --board out"
        )
    if board is None:
        measures = gate.measure_project(path, progress)
    else:
        deployment = prepare(path, board, options, progress=progress, **overrides)
        measures = gate.measure_deployment(deployment, __version__)
    old = gate.read_baseline(Path(baseline), progress) if baseline is not None else None
    return gate.check(measures, limits, old)


def _size(text: str | int | None, option: str) -> int | None:
    try:
        return None if text is None else parse_bytes(text)
    except ValueError as error:
        raise InputError(str(error), where=option) from None


def verify_project(
    project: PathLike, *, build: bool = False, progress: Progress | None = None
) -> Integrity:
    """Is a project still what was generated; with `build`, does it give the same firmware again?"""
    from mcudeploy import integrity

    return integrity.verify_project(Path(project), build=build, progress=progress)


def boards(name: str | None = None) -> tuple[Board, ...]:
    """All boards in order of name, or the one that is named."""
    if name is not None:
        return (find_board(name),)
    from mcudeploy.board import board_names

    return tuple(find_board(n) for n in sorted(set(board_names().values())))
