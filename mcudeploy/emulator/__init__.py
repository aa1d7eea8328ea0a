# SPDX-License-Identifier: Apache-2.0
"""The emulators by name."""

from __future__ import annotations

from mcudeploy.emulator.base import Emulator
from mcudeploy.emulator.qemu import QemuEmulator
from mcudeploy.emulator.unicorn import UnicornEmulator
from mcudeploy.errors import InputError

_EMULATORS: tuple[type[Emulator], ...] = (UnicornEmulator, QemuEmulator)

NAMES: tuple[str, ...] = ("unicorn", "qemu")


def get(name: str) -> Emulator:
    """The emulator of that name, installed or not. Raises InputError for an unknown name."""
    for emulator in (kind() for kind in _EMULATORS):
        if emulator.name == name:
            return emulator
    raise InputError(f"there is no emulator {name!r}", mend=f"it is one of {', '.join(NAMES)}")


def installed() -> tuple[Emulator, ...]:
    """The emulators that can be used on this machine, the built-in one first."""
    return tuple(e for e in map(get, NAMES) if e.available() is None)
