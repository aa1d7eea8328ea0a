# SPDX-License-Identifier: Apache-2.0
"""Saves the pictures of this package: their formats, and the same bytes for the same content."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcudeploy.errors import InputError
from mcudeploy.files import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMATS = (".png", ".svg", ".pdf")
_DATES: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def check_format(path: Path) -> str:
    """The ending that says which picture it is. Raises InputError for one that is none."""
    ending = path.suffix.lower()
    if ending not in _FORMATS:
        raise InputError(
            f"a picture cannot be written as {path.suffix or 'a file without ending'}",
            where=str(path),
            mend=f"end the file's name with one of {', '.join(_FORMATS)}",
        )
    return ending


def save_picture(path: Path, draw: Callable[[], Figure]) -> None:
    """Write what `draw` draws as PNG, SVG or PDF, as the file's ending says.

    Raises InputError for another ending, before anything is drawn, or a place that cannot be
    written.
    """
    ending = check_format(path)
    import matplotlib

    picture = io.BytesIO()
    # No dates, and element names from a fixed salt.
    with matplotlib.rc_context({"svg.hashsalt": "mcudeploy", "svg.fonttype": "none"}):
        draw().savefig(picture, dpi=150, format=ending[1:], metadata=_DATES.get(ending, {}))
    write_file(path, picture.getvalue(), "picture")
