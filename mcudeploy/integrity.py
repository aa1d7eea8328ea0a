# SPDX-License-Identifier: Apache-2.0
"""Is a project still what was generated, and does the same model give the same bytes again?

Three questions, each stronger than the one before: do the files have the hashes that the manifest
names; do the model, the board and the options of the manifest give these very files again; and does
building them again give the firmware that is there, byte for byte.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mcudeploy import __version__
from mcudeploy.codegen.manifest import MANIFEST_NAME, Form, Manifest, read_manifest
from mcudeploy.codegen.output import sha256, write_project
from mcudeploy.codegen.project import project_files
from mcudeploy.deployment import LoadedModel, Options, plan_model
from mcudeploy.errors import McudeployError
from mcudeploy.toolchain import platformio
from mcudeploy.toolchain.cmsis_nn import library_of

Progress = Callable[[str], None]
_BUILT_FROM = ("src/", "lib/", "include/", "platform/", "platformio.ini", "board.ld")


@dataclass(frozen=True)
class Integrity:
    """What is not as generated. `generated_anew` and `built_anew` say in words how it was tried.

    `added` are files that a build would take in; a user's tests and notes are not counted.
    `differing` come out differently now: from generating anew, or the firmware from building anew.
    """

    files: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    differing: tuple[str, ...]
    generated_anew: str
    built_anew: str

    @property
    def passed(self) -> bool:
        return not (self.changed or self.missing or self.added or self.differing)


def verify_project(
    folder: Path, *, build: bool = False, progress: Progress | None = None
) -> Integrity:
    """Answer the first two questions about a project, and with `build` the third.

    Raises InputError when the folder is no project, BuildError when it cannot be built.
    """
    manifest = read_manifest(folder)
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".pio" not in path.relative_to(folder).parts
    }
    present = [name for name in manifest.files if name in found]
    changed = [n for n in present if sha256(found[n].read_bytes()) != manifest.files[n]]
    known = {*manifest.files, MANIFEST_NAME}
    added = [n for n in found if n not in known and n.startswith(_BUILT_FROM)]
    anew, said = _generate(folder, manifest, progress)
    differing = [] if anew is None else _differing(folder, manifest, anew)
    built = "not built anew"
    if build and anew is not None:
        same, built = _build(folder, anew, progress)
        differing += [] if same else ["firmware.bin"]
    return Integrity(
        files=len(manifest.files),
        changed=tuple(changed),
        missing=tuple(name for name in manifest.files if name not in found),
        added=tuple(added),
        differing=tuple(differing),
        generated_anew=said,
        built_anew=built,
    )


def _generate(
    folder: Path, manifest: Manifest, progress: Progress | None
) -> tuple[Mapping[str, bytes] | None, str]:
    """The files that the manifest's model, board and options give now, and what was done."""
    if manifest.mcudeploy_version != __version__:
        return None, (
            f"not generated anew: made by mcudeploy {manifest.mcudeploy_version}, "
            f"this is {__version__}"
        )
    model = folder / "model.tflite"
    if not model.is_file() or sha256(model.read_bytes()) != manifest.model_sha256:
        return None, "not generated anew: its model.tflite is not the one it was made from"
    if progress is not None:
        progress("generating anew")
    options = Options(
        kernels=manifest.kernels,
        optimize=manifest.optimize,
        disabled_passes=manifest.passes_disabled,
        use_external=manifest.use_external,
        stream=manifest.stream,
        ram_budget=manifest.ram_budget,
        row_fed=manifest.row_fed,
    )
    loaded = LoadedModel(model.read_bytes(), calibration=manifest.calibration)
    try:
        deployment = plan_model(
            loaded, f"{manifest.model_name}.tflite", manifest.board_record, options
        )
        form = Form(manifest.layout, manifest.prefix, manifest.shares_arena)
        library = library_of(deployment.plan.implementations)
        files = project_files(deployment, library=library, labels=manifest.labels, form=form)
    except McudeployError as error:
        return None, f"not generated anew: {error.problem}"
    return files, "generated anew"


def _differing(folder: Path, manifest: Manifest, anew: Mapping[str, bytes]) -> list[str]:
    """Files whose new bytes are not the ones that the manifest names, the manifest among them."""
    names = [
        name
        for name in dict.fromkeys((*manifest.files, *anew))
        if name != MANIFEST_NAME
        and (name not in anew or sha256(anew[name]) != manifest.files.get(name))
    ]
    if (folder / MANIFEST_NAME).read_bytes() != anew[MANIFEST_NAME]:
        names.append(MANIFEST_NAME)
    return names


def _build(folder: Path, anew: Mapping[str, bytes], progress: Progress | None) -> tuple[bool, str]:
    """Build the new files elsewhere and compare the firmware with the project's own."""
    own = platformio.elf_path(folder.resolve()).with_suffix(".bin")
    if not own.is_file():
        return True, "not built anew: the project has no firmware yet"
    with tempfile.TemporaryDirectory(prefix="mcudeploy-verify-") as name:
        copy = Path(name) / "project"
        write_project(copy, anew)
        result = platformio.build(copy, progress=progress)
        same = result.elf.with_suffix(".bin").read_bytes() == own.read_bytes()
    return same, "built anew: the same firmware" if same else "built anew: ANOTHER firmware"
