# SPDX-License-Identifier: Apache-2.0
"""Python packages that mcudeploy runs on: which version is installed, how one is put right."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, None when it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def pip_command(distribution: str) -> str:
    """The command that installs a dependency in the version that mcudeploy asks for."""
    try:
        requirements = metadata.requires("mcudeploy") or []
    except metadata.PackageNotFoundError:
        requirements = []
    wanted = next(
        (
            requirement.partition(";")[0].strip()
            for requirement in requirements
            if re.match(rf"{re.escape(distribution)}\b(?!-)", requirement)
        ),
        distribution,
    )
    return f'{Path(sys.executable)} -m pip install --force-reinstall --no-deps "{wanted}"'
