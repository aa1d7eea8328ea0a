# SPDX-License-Identifier: Apache-2.0
"""Puts a generated project on disk so that there is either the old one or the new one.

The new project is written into a folder beside the target, and the two are exchanged in one step. A
command that is killed leaves the old or the new one, and perhaps a hidden folder beside it that the
next command removes; a lock lets two commands on one folder take turns. A target that
holds anything else than a project of ours is refused. What a user added stays: files that the old
project's manifest does not name, and any file under `tests/` that was changed by hand.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mcudeploy.codegen.manifest import MANIFEST_NAME, Manifest, read_manifest
from mcudeploy.errors import InputError
from mcudeploy.locking import locked_project

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""As linux/fcntl.h and linux/fs.h number them; see renameat2(2)."""


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


def write_project(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` (paths relative to `folder`, mcudeploy.json among them) as a whole.

    Raises InputError when the folder holds something else or cannot be written.
    """
    folder = folder.resolve()
    with locked_project(folder):
        try:
            _recover(folder)
            old = _existing(folder)
            folder.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=_leftover(folder, "new-"), dir=folder.parent))
        except OSError as error:
            raise InputError(
                f"cannot write the output folder: {error.strerror}",
                where=str(folder),
                mend="choose another one with -o",
            ) from None
        try:
            _fill(staging, files)
            if old is not None:
                _keep_what_users_added(folder, staging, old)
            _swap(staging, folder)
        except OSError as error:
            raise InputError(
                f"writing the project failed: {error.strerror}", where=str(folder)
            ) from None
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _leftover(folder: Path, kind: str) -> str:
    """The beginning of the names of what lies beside `folder` while it is written."""
    return f".{folder.name}.mcudeploy-{kind}"


def _fill(staging: Path, files: Mapping[str, bytes]) -> None:
    staging.chmod(0o755)
    for name, content in files.items():
        path = staging / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _recover(folder: Path) -> None:
    """Tidy up after a command that was killed here; the lock is held, so nobody is writing."""
    if not folder.parent.is_dir():
        return
    retired = folder.with_name(_leftover(folder, "old"))
    if retired.is_dir() and not folder.exists():
        os.replace(retired, folder)
    for path in folder.parent.iterdir():
        if path.name.startswith(_leftover(folder, "")):
            shutil.rmtree(path, ignore_errors=True)


def _existing(folder: Path) -> Manifest | None:
    """The manifest of the project that is there; None for nothing or an empty folder."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise InputError(
            "the output is a file, not a folder", where=str(folder),
            mend="choose an empty or new folder with -o",
        )  # fmt: skip
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
    """Put the new folder into the old one's place; `staging` is then the old one, or gone.

    The build folder moves along, so that the next build is incremental, but for the firmware
    itself: that one was made from the old project.
    """
    if not folder.exists():
        os.replace(staging, folder)
        return
    if not _exchange(staging, folder):
        retired = folder.with_name(_leftover(folder, "old"))
        os.replace(folder, retired)
        try:
            os.replace(staging, folder)
        except BaseException:
            os.replace(retired, folder)
            raise
        os.replace(retired, staging)
    if (staging / ".pio").is_dir():
        for firmware in (staging / ".pio").glob("build/*/firmware.*"):
            firmware.unlink()
        os.replace(staging / ".pio", folder / ".pio")


def _exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step, so that no moment is without either. False where the system
    or the file system cannot: then there are two renames, and `_recover` for those who fall in
    between."""
    if sys.platform != "linux":
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    status = rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    return bool(status == 0)
