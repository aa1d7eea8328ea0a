# SPDX-License-Identifier: Apache-2.0
"""The peripherals that our firmware touches, at work, as small as their drivers allow.

Most registers just keep what was written; what follows from it is in the tables of layouts.py.
Accesses to any other address fault.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from mcudeploy.emulator.layouts import Block, Follow, UartLayout


class Device(Protocol):
    """What a block of addresses does when it is read and written, one register at a time."""

    def read(self, offset: int) -> int: ...

    def write(self, offset: int, value: int) -> None: ...


class Registers:
    """A `Block` at work."""

    def __init__(self, block: Block) -> None:
        self._values = dict(block.reset)
        self._ones = block.ones
        self._follows: dict[int, list[Follow]] = {}
        for follow in block.follows:
            self._follows.setdefault(follow.to, []).append(follow)

    def read(self, offset: int) -> int:
        value = self._values.get(offset, 0)
        for register, bit, _, to_bit, inverted in self._follows.get(offset, ()):
            shown = self._values.get(register, 0) >> bit & 1 ^ inverted
            value = value & ~(1 << to_bit) | shown << to_bit
        return value | self._ones.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        self._values[offset] = value


class Uart:
    """A UART without time: sending is instant, received bytes wait in a queue.

    `waiting` is called when the firmware asks again and again for data that is not there.
    """

    _IDLE_POLLS = 3

    def __init__(self, layout: UartLayout, waiting: Callable[[], None]) -> None:
        self._layout = layout
        self._waiting = waiting
        self._polls = 0
        both = layout.send_status == layout.receive_status
        self._without_data = (layout.can_send if both else 0) ^ layout.inverted
        self._with_data = self._without_data ^ layout.has_data
        self._registers: dict[int, int] = {}
        self.received: deque[int] = deque()
        self.sent = bytearray()

    def read(self, offset: int) -> int:
        layout = self._layout
        if offset == layout.receive_status:
            if self.received:
                return self._with_data
            self._polls += 1
            if self._polls >= self._IDLE_POLLS:
                self._polls = 0
                self._waiting()
            return self._without_data
        if offset == layout.receive:
            self._polls = 0
            return self.received.popleft() if self.received else 0
        if offset == layout.send_status:
            return layout.can_send ^ layout.inverted
        return self._registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        if offset == self._layout.send:
            self._polls = 0
            self.sent.append(value & 0xFF)
        else:
            self._registers[offset] = value


class Now(Protocol):
    """Instructions executed before the one that is accessing `address`."""

    def __call__(self, address: int, *, writing: bool) -> int: ...


class CycleCounter:
    """DWT: CYCCNT counts instructions."""

    ADDRESS, SIZE, CYCCNT = 0xE0001000, 0x1000, 4

    def __init__(self, now: Now) -> None:
        self._now = now
        self._offset = 0
        self._registers: dict[int, int] = {}

    def read(self, offset: int) -> int:
        if offset == self.CYCCNT:
            return (self._now(self.ADDRESS + offset, writing=False) - self._offset) & 0xFFFFFFFF
        return self._registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        if offset == self.CYCCNT:
            self._offset = self._now(self.ADDRESS + offset, writing=True) - value
        else:
            self._registers[offset] = value


class SystemControl:
    """The system control space: SysTick counts instructions, the rest keeps what is written.

    No interrupt is delivered. SysTick's would count wraps: `wrapped` is told how many there were,
    when the counter is read, which is the only time at which it matters.
    """

    ADDRESS, SIZE = 0xE000E000, 0x1000
    _CSR, _RVR, _CVR = 0x10, 0x14, 0x18

    def __init__(self, now: Now, wrapped: Callable[[int], None]) -> None:
        self._now, self._wrapped = now, wrapped
        self._start = 0
        self._registers: dict[int, int] = {}

    def read(self, offset: int) -> int:
        if offset == self._CVR and self._registers.get(self._CSR, 0) & 1:
            elapsed = self._now(self.ADDRESS + offset, writing=False) - self._start
            period = self._registers.get(self._RVR, 0) + 1
            self._wrapped(elapsed // period)
            return period - 1 - elapsed % period
        return self._registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        if offset in (self._CSR, self._CVR):
            self._start = self._now(self.ADDRESS + offset, writing=True)
        self._registers[offset] = value
