# SPDX-License-Identifier: Apache-2.0
"""Reads and writes whole files that a user names, with the error that a user can act on."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mcudeploy.errors import InputError


def read_file(path: Path, what: str = "file") -> bytes:
    """The bytes of a file. Raises InputError, which calls it `what`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read the {what}: {error.strerror}", where=str(path), mend="check the path"
        ) from None


def write_file(path: Path, data: bytes, what: str = "file") -> None:
    """Write a file as a whole: there is the old one or the new one, never half of it.

    Raises InputError, which calls it `what`.
    """
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
        raise InputError(
            f"cannot write the {what}: {error.strerror}",
            where=str(path),
            mend="choose another place",
        ) from None
