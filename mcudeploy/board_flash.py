# SPDX-License-Identifier: Apache-2.0
"""What flash adds to cycles: waits of loads, and of instruction fetches after branches.

From the board's wait states and the vendor's flash cache:

- A data cache of a few lines (the STM32's ART: 8 of 32 bytes) does not help a network, whose
  weights are read in long rows, several channels in turn: every word loaded from flash waits. That
  is the model that came nearest to published milliseconds on the STM32L4R5 without fitting
  anything: +5 cycles for each 32-bit load at 120 MHz. Four single bytes count as one word: three
  of them are in the line that the first has fetched.
- Where the cache holds 4 KiB or more of data (the L1 cache of a Cortex-M7), a line is waited for
  once: wait states * 4 / line bytes for each word.
- Without a cache, each taken branch waits as well, for the prefetch to begin anew. With one, loops
  are taken to stay in it; those that do not cost 5 to 15 % more than is said here.
"""

from __future__ import annotations

from dataclasses import dataclass

from mcudeploy.board import Board

_HOLDS_WEIGHTS_BYTES = 4096


@dataclass(frozen=True)
class FlashStall:
    """Cycles for each 32-bit word that is loaded from flash, and for each taken branch."""

    per_word: float
    per_branch: float
    why: str


def flash_stall(board: Board) -> FlashStall:
    """The model of a board's flash."""
    flash = board.regions("flash")[0]
    waits, held = flash.wait_states, board.flash_cache
    if waits == 0:
        return FlashStall(0.0, 0.0, f"{flash.name} has no wait states")
    if held is None:
        why = f"+{waits} cycles a word loaded from flash and a taken branch: no flash cache"
        return FlashStall(float(waits), float(waits), why)
    per_branch = 0.0 if held.instruction_lines else float(waits)
    if held.data_lines * held.line_bytes < _HOLDS_WEIGHTS_BYTES:
        why = (
            f"+{waits} cycles a word loaded from flash: a data cache of "
            f"{held.data_lines * held.line_bytes} bytes holds no weights"
        )
        return FlashStall(float(waits), per_branch, why)
    per_word = waits * 4 / held.line_bytes
    why = f"+{waits} cycles a line of {held.line_bytes} bytes loaded from flash"
    return FlashStall(per_word, per_branch, why)
