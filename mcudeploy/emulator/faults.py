# SPDX-License-Identifier: Apache-2.0
"""Names for the places and causes of faults."""

from __future__ import annotations

from mcudeploy.emulator.link import Fault
from mcudeploy.errors import EmulationError
from mcudeploy.toolchain.elf import FirmwareImage

_CAUSES = (
    (0, "ran code from memory that allows none"),
    (1, "accessed memory that allows no such access"),
    (8, "ran code where nothing is"),
    (9, "accessed an address where nothing is"),
    (10, "accessed an address where nothing is"),
    (16, "ran an instruction that the core lacks"),
    (17, "jumped to an address without the Thumb bit"),
    (19, "used the FPU or a coprocessor that is off"),
    (24, "accessed an unaligned address"),
    (25, "divided by zero"),
)
"""Bits of CFSR (Armv7-M Architecture Reference Manual, B3.2.15)."""
_BFAR_VALID, _MMFAR_VALID = 1 << 15, 1 << 7


def describe_place(image: FirmwareImage, pc: int, lr: int) -> str:
    """The function at `pc` and the one that `lr` returns to."""
    place = f"in {image.describe(pc)}"
    return place + (f", called from {image.describe(lr)}" if image.function_at(lr) else "")


def describe_fault(fault: Fault, image: FirmwareImage) -> EmulationError:
    """A fault that the firmware reported itself, with names for its addresses."""
    where = describe_place(image, fault.pc, fault.lr)
    bottom, top = image.address_of("stack_bottom"), image.address_of("stack_top")
    if not bottom <= fault.sp <= top:
        return EmulationError(
            f"the firmware's stack of {top - bottom:,} bytes overflowed", where=where
        )
    causes = [text for bit, text in _CAUSES if fault.cfsr >> bit & 1]
    problem = "the firmware faulted"
    if causes:
        problem += ": it " + " and ".join(causes)
    if fault.cfsr & _BFAR_VALID:
        problem += f" (0x{fault.bfar:08x})"
    elif fault.cfsr & _MMFAR_VALID:
        problem += f" (0x{fault.mmfar:08x})"
    return EmulationError(problem, where=where)
