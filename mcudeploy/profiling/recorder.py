# SPDX-License-Identifier: Apache-2.0
"""Which basic blocks each operator executes, from an observed inference on Unicorn.

The generated code calls an observer after each operator, with its index. Blocks are counted by the
emulator all the time; here the counts are looked at when the observer is entered and when it has
returned, and an operator's are what was added in between. Counts are exact; with them come the few
instructions that call the observer.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field

from mcudeploy.emulator.counting import Block, BlockCounts
from mcudeploy.emulator.unicorn import Machine
from mcudeploy.errors import EmulationError

_OBSERVER = "observe"
_ENTRIES = ("model_invoke_observed", "model_feed_rows_observed")
"""What an inference enters; with rows that are fed, the second for each of them."""
_PARTS = re.compile(r"(show|advance|stream)_\d+|finish")
"""Functions of the network that may call the observer where they are not part of an entry."""


@dataclass
class OperatorBlocks:
    """Executions and taken branches of each block, and the bytes read from flash."""

    blocks: dict[Block, tuple[int, int]] = field(
        default_factory=lambda: defaultdict(lambda: (0, 0))
    )
    flash_bytes: int = 0

    def add(self, before: BlockCounts, after: BlockCounts) -> None:
        if after.unrecorded != before.unrecorded:
            raise EmulationError("the firmware runs more code than can be recorded")
        for block, (executions, taken) in after.blocks.items():
            old = before.blocks.get(block, (0, 0))
            if executions > old[0]:
                known = self.blocks.get(block, (0, 0))
                self.blocks[block] = (known[0] + executions - old[0], known[1] + taken - old[1])
        self.flash_bytes += after.watched_bytes - before.watched_bytes


class OperatorRecorder:
    """Records the operators of every observed inference on `machine` from now on."""

    def __init__(self, machine: Machine, operators: int) -> None:
        self._machine, self._count = machine, operators
        self.operators: dict[int, OperatorBlocks] = defaultdict(OperatorBlocks)
        image = machine.image
        entry = image.symbol(next((n for n in _ENTRIES if image.has(n)), _ENTRIES[0]))
        observer = image.symbol(_OBSERVER)
        parts = [s for s in image.symbols if s.is_function and _PARTS.fullmatch(s.name)]
        self._start = entry.address & ~1
        self._return: int | None = None
        self._before: BlockCounts | None = None
        for segment in machine.image.segments:
            if segment.data:
                begin = segment.load_address
                machine.counter.watch_reads(begin, begin + len(segment.data))
        for function in (entry, *parts):
            begin = function.address & ~1
            machine.on_block(begin, begin + function.size, self._inside)
        machine.on_block(observer.address & ~1, (observer.address & ~1) + 1, self._observed)

    def _inside(self, address: int) -> None:
        """A block of the network's own functions: the first one, or the one after the observer."""
        if address in (self._start, self._return):
            self._before, self._return = self._without_current(), None

    def _observed(self, address: int) -> None:
        operator = self._machine.register("R0")
        if self._before is None or operator >= self._count:  # the link calibrates its counter
            return
        self.operators[operator].add(self._before, self._without_current())
        self._before = None
        self._return = self._machine.register("LR") & ~1

    def _without_current(self) -> BlockCounts:
        """The counts before the block that was just entered."""
        counter = self._machine.counter
        counts = counter.blocks()
        blocks = dict(counts.blocks)
        executions, taken = blocks[counter.block]
        blocks[counter.block] = executions - 1, taken
        return BlockCounts(blocks, counts.unrecorded, counts.watched_bytes)
