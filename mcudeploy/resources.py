# SPDX-License-Identifier: Apache-2.0
"""Where the files are that are not Python: templates, boards, firmware, and the user's cache.

In a checkout they are top-level folders; in an installed wheel they lie inside the package.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource_folder(name: str) -> Path:
    """The folder `templates`, `boards` or `firmware`."""
    inside = _PACKAGE / "data" / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def cache_folder(*parts: str) -> Path:
    """The user's cache folder for mcudeploy, made when missing (MCUDEPLOY_CACHE overrides it)."""
    chosen = os.environ.get("MCUDEPLOY_CACHE")
    if chosen:
        base = Path(chosen)
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "mcudeploy"
    elif sys.platform == "darwin":
        base = Path.home() / "Library/Caches/mcudeploy"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mcudeploy"
    folder = base.joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
