# SPDX-License-Identifier: Apache-2.0
"""The peripherals that our firmware touches, as small as their drivers allow.

Most registers just keep what was written. What drivers wait for, an oscillator that gets ready or a
clock switch that took place, is a table of *follows*: this bit reads as that other bit was written.
The tables are by driver, and Renode's platform files are written from the same ones. Accesses to
any other address fault.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mcudeploy.board import Board


@dataclass(frozen=True)
class Block:
    """A block of registers: `size` bytes at `address`.

    `reset` gives registers (by offset) that do not start at zero. `follows`: a read of register
    `to` shows bit `to_bit` as bit `bit` of register `register` was last written.
    """

    name: str
    address: int
    size: int
    reset: Mapping[int, int] = field(default_factory=dict)
    follows: tuple[tuple[int, int, int, int], ...] = ()


class Device(Protocol):
    """What a block of addresses does when it is read and written, one register at a time."""

    def read(self, offset: int) -> int: ...

    def write(self, offset: int, value: int) -> None: ...


class Registers:
    """A `Block` at work."""

    def __init__(self, block: Block) -> None:
        self._values = dict(block.reset)
        self._follows: dict[int, list[tuple[int, int, int]]] = {}
        for register, bit, to, to_bit in block.follows:
            self._follows.setdefault(to, []).append((register, bit, to_bit))

    def read(self, offset: int) -> int:
        value = self._values.get(offset, 0)
        for register, bit, to_bit in self._follows.get(offset, ()):
            value &= ~(1 << to_bit)
            value |= (self._values.get(register, 0) >> bit & 1) << to_bit
        return value

    def write(self, offset: int, value: int) -> None:
        self._values[offset] = value


@dataclass(frozen=True)
class UartLayout:
    """Where a UART has its registers, and the bits that tell of room and of data.

    A bit that reads 1 for "no room" or "no data" stands in `inverted`.
    """

    size: int
    status: int
    can_send: int
    has_data: int
    receive: int
    send: int
    inverted: int = 0
    ready: Mapping[int, int] = field(default_factory=dict)
    """Other registers that must not read as zero."""


class Uart:
    """A UART without time: sending is instant, received bytes wait in a queue.

    `waiting` is called when the firmware asks again and again for data that is not there.
    """

    _IDLE_POLLS = 3

    def __init__(self, layout: UartLayout, waiting: Callable[[], None]) -> None:
        self._layout = layout
        self._waiting = waiting
        self._polls = 0
        self._registers: dict[int, int] = dict(layout.ready)
        self.received: deque[int] = deque()
        self.sent = bytearray()

    def read(self, offset: int) -> int:
        layout = self._layout
        if offset == layout.status:
            return self._status()
        if offset == layout.receive:
            self._polls = 0
            return self.received.popleft() if self.received else 0
        return self._registers.get(offset, 0)

    def _status(self) -> int:
        layout = self._layout
        if not self.received:
            self._polls += 1
            if self._polls >= self._IDLE_POLLS:
                self._polls = 0
                self._waiting()
        value = layout.can_send | (layout.has_data if self.received else 0)
        return value ^ layout.inverted

    def write(self, offset: int, value: int) -> None:
        if offset == self._layout.send:
            self._polls = 0
            self.sent.append(value & 0xFF)
        else:
            self._registers[offset] = value


class CycleCounter:
    """DWT: CYCCNT counts instructions. `now` gives those executed before the current one."""

    ADDRESS, SIZE, CYCCNT = 0xE0001000, 0x1000, 4

    def __init__(self, now: Callable[[int], int]) -> None:
        self._now = now
        self._offset = 0
        self._registers: dict[int, int] = {}

    def read(self, offset: int) -> int:
        if offset == self.CYCCNT:
            return (self._now(self.ADDRESS + offset) - self._offset) & 0xFFFFFFFF
        return self._registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        if offset == self.CYCCNT:
            self._offset = self._now(self.ADDRESS + offset) - value
        else:
            self._registers[offset] = value


class SystemControl:
    """The system control space: SysTick counts instructions, the rest keeps what is written.

    No interrupt is delivered. SysTick's would count wraps: `wrapped` is told how many there were,
    when the counter is read, which is the only time at which it matters.
    """

    ADDRESS, SIZE = 0xE000E000, 0x1000
    _CSR, _RVR, _CVR = 0x10, 0x14, 0x18

    def __init__(self, now: Callable[[int], int], wrapped: Callable[[int], None]) -> None:
        self._now, self._wrapped = now, wrapped
        self._start = 0
        self._registers: dict[int, int] = {}

    def read(self, offset: int) -> int:
        if offset == self._CVR and self._registers.get(self._CSR, 0) & 1:
            elapsed = self._now(self.ADDRESS + offset) - self._start
            period = self._registers.get(self._RVR, 0) + 1
            self._wrapped(elapsed // period)
            return period - 1 - elapsed % period
        return self._registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        if offset in (self._CSR, self._CVR):
            self._start = self._now(self.ADDRESS + offset)
        self._registers[offset] = value


_USART_V1 = UartLayout(size=0x400, status=0x00, can_send=0xC0, has_data=0x20, receive=4, send=4)

UARTS: dict[str, UartLayout] = {
    "stm32_usart_v1": _USART_V1,
}

_CLOCKS: dict[str, tuple[Block, ...]] = {
    "stm32f4_clock": (
        Block(
            "rcc", 0x40023800, 0x400, {0x00: 0x83},
            follows=((0, 0, 0, 1), (0, 16, 0, 17), (0, 24, 0, 25), (8, 0, 8, 2), (8, 1, 8, 3)),
        ),
        Block(
            "pwr", 0x40007000, 0x400, {0x00: 0xC000, 0x04: 0x4000},
            follows=((0, 16, 4, 16), (0, 17, 4, 17)),
        ),
        Block("flash_interface", 0x40023C00, 0x400),
    ),
}  # fmt: skip


def register_blocks(board: Board) -> tuple[Block, ...]:
    """The blocks that keep registers: those of the clock's driver, and the GPIO of the UART."""
    gpio = {
        value: Block(f"gpio_{value:08x}", value, 0x400)
        for name, value in sorted(board.uart.parameters.items())
        if name.endswith("_gpio") and isinstance(value, int)
    }
    return (*_CLOCKS.get(board.clock.driver, ()), *gpio.values())
