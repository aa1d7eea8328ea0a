# SPDX-License-Identifier: Apache-2.0
"""Puts a generated project on disk so that there is either the old one or the new one.

The new project is written into a folder beside the target and renamed into place. A target that
holds anything else than a project of ours is refused. What a user added stays: files that the old
project's manifest does not name, and any file under `tests/` that was changed by hand.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mcudeploy.codegen.manifest import MANIFEST_NAME, Manifest, read_manifest
from mcudeploy.errors import InputError


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def with_hashes(manifest: Manifest, files: Mapping[str, bytes]) -> bytes:
    """mcudeploy.json with the hashes of all other files."""
    hashes = {name: sha256(content) for name, content in sorted(files.items())}
    return (
        manifest.model_copy(update={"files": hashes})
        .model_dump_json(indent=2, by_alias=True)
        .encode()
        + b"\n"
    )


def write_file(path: Path, data: bytes) -> None:
    """Write one file as a whole: there is the old one or the new one, never half of it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, staging = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            os.chmod(staging, 0o644)
            os.replace(staging, path)
        except BaseException:
            Path(staging).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"cannot write the file: {error.strerror}", where=str(path)) from None


def write_project(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` (paths relative to `folder`, mcudeploy.json among them) as a whole.

    Raises InputError when the folder holds something else or cannot be written.
    """
    folder = folder.resolve()
    old = _existing(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise InputError(
            f"cannot write the output folder: {error.strerror}",
            where=str(folder),
            mend="choose another one with -o",
        ) from None
    try:
        staging.chmod(0o755)
        for name, content in files.items():
            path = staging / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if old is not None:
            _keep_what_users_added(folder, staging, old)
        _swap(staging, folder)
    except OSError as error:
        raise InputError(
            f"writing the project failed: {error.strerror}", where=str(folder)
        ) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _existing(folder: Path) -> Manifest | None:
    """The manifest of the project that is there; None for nothing or an empty folder."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise InputError("the output is a file, not a folder", where=str(folder))
    if not any(folder.iterdir()):
        return None
    if not (folder / MANIFEST_NAME).is_file():
        raise InputError(
            "the output folder holds something else than a project of mcudeploy",
            where=str(folder),
            mend="choose an empty or new folder with -o",
        )
    return read_manifest(folder)


def _keep_what_users_added(folder: Path, staging: Path, old: Manifest) -> None:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name == MANIFEST_NAME or name.startswith(".pio/"):
            continue
        generated = old.files.get(name)
        edited_test = name.startswith("tests/") and generated != sha256(path.read_bytes())
        if generated is None or edited_test:
            target = staging / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def _swap(staging: Path, folder: Path) -> None:
    """Rename into place; the build folder moves along, so that the next build is incremental."""
    if not folder.exists():
        os.replace(staging, folder)
        return
    if (folder / ".pio").is_dir():
        os.replace(folder / ".pio", staging / ".pio")
    retired = folder.with_name(f".{folder.name}.old-{os.getpid()}")
    os.replace(folder, retired)
    try:
        os.replace(staging, folder)
    except OSError:
        os.replace(retired, folder)
        raise
    shutil.rmtree(retired, ignore_errors=True)
