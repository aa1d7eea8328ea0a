# SPDX-License-Identifier: Apache-2.0
"""Where the peripherals are that our firmware touches, and how little they have to do.

Most registers just keep what was written. What drivers wait for, an oscillator that gets ready or a
clock switch that took place, is a table of *follows*: this bit reads as that other bit was written.
The tables are by driver. Unicorn's peripherals (peripherals.py) and Renode's platform files
(codegen/emulation.py) are made from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mcudeploy.board import Board


class Follow(NamedTuple):
    """A read of register `to` shows bit `to_bit` as bit `bit` of `register` was last written."""

    register: int
    bit: int
    to: int
    to_bit: int
    inverted: bool = False


@dataclass(frozen=True)
class Block:
    """A block of registers: `size` bytes at `address`.

    `reset` gives registers (by offset) that do not start at zero; `ones` bits that always read 1.
    """

    name: str
    address: int
    size: int
    reset: Mapping[int, int] = field(default_factory=dict)
    follows: tuple[Follow, ...] = ()
    ones: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class UartLayout:
    """Where a UART has its registers, and which bits tell of room and of data.

    A bit that reads 1 for "no room" or "no data" stands in `inverted` too.
    """

    size: int
    receive: int
    send: int
    receive_status: int
    has_data: int
    send_status: int
    can_send: int
    inverted: int = 0


UARTS: dict[str, UartLayout] = {
    "stm32_usart_v1": UartLayout(
        0x400, receive=0x04, send=0x04,
        receive_status=0x00, has_data=1 << 5, send_status=0x00, can_send=3 << 6,
    ),
    "stm32_usart_v2": UartLayout(
        0x400, receive=0x24, send=0x28,
        receive_status=0x1C, has_data=1 << 5, send_status=0x1C, can_send=3 << 6,
    ),
    "cmsdk_uart": UartLayout(
        0x1000, receive=0x00, send=0x00,
        receive_status=0x04, has_data=1 << 1, send_status=0x04, can_send=1 << 0, inverted=1 << 0,
    ),
    "nrf52_uart": UartLayout(
        0x1000, receive=0x518, send=0x51C,
        receive_status=0x108, has_data=1, send_status=0x11C, can_send=1,
    ),
    "pl011_uart": UartLayout(
        0x1000, receive=0x00, send=0x00, receive_status=0x18, has_data=1 << 4,
        send_status=0x18, can_send=1 << 5, inverted=1 << 4 | 1 << 5,
    ),
}  # fmt: skip
"""By driver."""


def _same(register: int, bits: tuple[tuple[int, int], ...]) -> tuple[Follow, ...]:
    """Bits of a register that follow other bits of the same one."""
    return tuple(Follow(register, bit, register, to) for bit, to in bits)


_STM32_GPIO = 0x400
_CLOCKS: dict[str, tuple[Block, ...]] = {
    "stm32f4_clock": (
        Block(
            "rcc", 0x40023800, 0x400, {0x00: 0x83},
            _same(0x00, ((0, 1), (16, 17), (24, 25))) + _same(0x08, ((0, 2), (1, 3))),
        ),
        Block(
            "pwr", 0x40007000, 0x400, {0x00: 0xC000},
            (Follow(0x00, 16, 0x04, 16), Follow(0x00, 17, 0x04, 17)), ones={0x04: 0x4000},
        ),
        Block("flash_interface", 0x40023C00, 0x400),
    ),
    "stm32l4_clock": (
        Block(
            "rcc", 0x40021000, 0x400, {0x00: 0x63},
            _same(0x00, ((0, 1), (8, 10), (16, 17), (24, 25))) + _same(0x08, ((0, 2), (1, 3))),
        ),
        Block("pwr", 0x40007000, 0x400, {0x00: 0x200, 0x80: 0x100}),
        Block("flash_interface", 0x40022000, 0x400),
    ),
    "stm32h7_clock": (
        Block(
            "rcc", 0x58024400, 0x400, {0x00: 0x25},
            _same(0x00, ((0, 2), (7, 8), (16, 17), (24, 25)))
            + _same(0x10, ((0, 3), (1, 4), (2, 5))),
        ),
        Block("pwr", 0x58024800, 0x400, {0x0C: 0x6}, ones={0x04: 0x2000, 0x18: 0x2000}),
        Block("flash_interface", 0x52002000, 0x400),
    ),
    "stm32u5_clock": (
        Block(
            "rcc", 0x46020C00, 0x400, {0x00: 0x35},
            _same(0x00, ((0, 2), (8, 10), (24, 25))) + _same(0x1C, ((0, 2), (1, 3))),
        ),
        Block("pwr", 0x46020800, 0x400, follows=_same(0x0C, ((18, 14),)), ones={0x0C: 0x8000}),
        Block("flash_interface", 0x40022000, 0x400),
        Block("icache", 0x40030400, 0x400),
    ),
    "stm32f1_clock": (
        Block(
            "rcc", 0x40021000, 0x400, {0x00: 0x83},
            _same(0x00, ((0, 1), (16, 17), (24, 25))) + _same(0x04, ((0, 2), (1, 3))),
        ),
        Block("flash_interface", 0x40022000, 0x400),
    ),
    "nrf52_clock": (
        Block("clock", 0x40000000, 0x1000, follows=(Follow(0x000, 0, 0x100, 0),)),
        Block("nvmc", 0x4001E000, 0x1000),
        Block("gpio", 0x50000000, 0x1000),
    ),
    "rp2040_clock": (
        Block(
            "resets", 0x4000C000, 0x1000, {0x00: 0x01FFFFFF},
            tuple(Follow(0x00, bit, 0x08, bit, inverted=True) for bit in range(25)),
        ),
        Block(
            "clocks", 0x40008000, 0x1000,
            follows=(
                Follow(0x30, 1, 0x38, 2),
                Follow(0x3C, 0, 0x44, 1),
                Follow(0x3C, 0, 0x44, 0, inverted=True),
            ),
        ),
        Block("xosc", 0x40024000, 0x1000, follows=(Follow(0x00, 12, 0x04, 31),)),
        Block(
            "pll_sys", 0x40028000, 0x1000, {0x04: 0x2D},
            (Follow(0x04, 0, 0x00, 31, inverted=True),),
        ),
        Block("io_bank0", 0x40014000, 0x1000),
    ),
    "fixed_clock": (),
}  # fmt: skip
"""By driver."""


def register_blocks(board: Board) -> tuple[Block, ...]:
    """The blocks that keep registers: the clock driver's, and the GPIO of an STM32's UART."""
    clock = _CLOCKS[board.clock.driver]
    if not board.uart.driver.startswith("stm32"):
        return clock
    ports = sorted({int(board.uart.parameters[name]) for name in ("tx_gpio", "rx_gpio")})
    return clock + tuple(Block(f"gpio_{port:08x}", port, _STM32_GPIO) for port in ports)
