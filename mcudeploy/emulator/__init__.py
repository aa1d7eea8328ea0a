# SPDX-License-Identifier: Apache-2.0
"""The emulators by name, each loaded when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from mcudeploy.errors import InputError

if TYPE_CHECKING:
    from mcudeploy.emulator.base import Emulator

_CLASSES = {
    "unicorn": "UnicornEmulator",
    "qemu": "QemuEmulator",
    "renode": "RenodeEmulator",
}
NAMES: tuple[str, ...] = tuple(_CLASSES)


def get(name: str) -> Emulator:
    """The emulator of that name, installed or not. Raises InputError for an unknown name."""
    if name not in _CLASSES:
        raise InputError(f"there is no emulator {name!r}", mend=f"it is one of {', '.join(NAMES)}")
    module = importlib.import_module(f"mcudeploy.emulator.{name}")
    emulator: Emulator = getattr(module, _CLASSES[name])()
    return emulator


def installed() -> tuple[Emulator, ...]:
    """The emulators that can be used on this machine, the built-in one first."""
    return tuple(emulator for emulator in map(get, NAMES) if emulator.available() is None)
