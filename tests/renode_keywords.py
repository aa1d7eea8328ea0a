# SPDX-License-Identifier: Apache-2.0
"""Renode's Robot keywords, so far as a project's suite uses them, carried out on Unicorn.

So a suite is executed without Renode: its bytes, its commands and its verdict, not Renode itself.
UNEXPECTED in the environment is the number of accesses to nothing that the machine then reports.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from robot.api.deco import keyword, library

from mcudeploy.board import find_board
from mcudeploy.emulator.unicorn import Machine
from mcudeploy.toolchain.elf import read_elf


@library(scope="TEST")
class renode_keywords:  # noqa: N801 - Robot wants the class named as the module
    def __init__(self) -> None:
        self._elf = Path()
        self._machine: Machine | None = None
        self._sent = bytearray()
        self._received = bytearray()
        self._failing: list[bytes] = []
        self._binary: bool | None = None

    @keyword
    def execute_command(self, command: str, machine: str | None = None) -> str:
        if found := re.fullmatch(r"\$elf=@(\S+)", command):
            self._elf = Path(found[1])
        elif found := re.fullmatch(r"include @(\S+\.resc)", command):
            script = Path(found[1]).read_text(encoding="utf-8")
            name = re.search(r'^mach create "(\S+)"$', script, re.MULTILINE)[1]
            self._machine = Machine(read_elf(self._elf), find_board(name))
        elif found := re.fullmatch(r"sysbus\.\w+ WriteChar (\d+)", command):
            self._sent.append(int(found[1]))
        elif found := re.fullmatch(r'sysbus GetSymbolAddress "(\w+)"', command):
            return f"0x{read_elf(self._elf).address_of(found[1]):08X}\n"
        elif found := re.fullmatch(r"sysbus ReadByte (0x[0-9a-f]+)", command):
            return f"0x{self._machine._engine.mem_read(int(found[1], 16), 1)[0]:02X}\n"
        elif re.fullmatch(r"sysbus Unexpected(Reads|Writes)", command):
            return os.environ.get("UNEXPECTED", "0") + "\n"
        else:
            raise AssertionError(f"what would Renode do with {command!r}?")
        return ""

    @keyword
    def create_log_tester(self, timeout: float, default_pause_emulation: bool = False) -> int:
        return 0

    @keyword
    def register_failing_log_string(self, pattern: str) -> None: ...

    @keyword
    def should_not_be_in_log(self, pattern: str, timeout: float | None = None) -> None: ...

    @keyword
    def create_terminal_tester(
        self,
        uart: str,
        timeout: float | None = None,
        binaryMode: bool = False,  # noqa: N803
    ) -> int:
        assert self._machine, "no machine was created"
        assert uart.startswith("sysbus.")
        self._binary = binaryMode
        return 0

    @keyword
    def register_failing_uart_string(self, pattern: str) -> None:
        self._failing.append(pattern.encode())

    @keyword
    def start_emulation(self) -> None: ...

    @keyword
    def wait_for_line_on_uart(self, content: str, timeout: float | None = None) -> None:
        assert self._binary is False, "waits for text on a tester in binary mode"
        self._wait(content.encode())

    @keyword
    def wait_for_bytes_on_uart(self, content: str, timeout: float | None = None) -> None:
        assert self._binary is True, "waits for bytes on a tester in text mode"
        self._wait(bytes.fromhex(content))

    def _wait(self, wanted: bytes) -> None:
        self._machine.write(bytes(self._sent))
        self._sent.clear()
        self._received += self._machine.read(1)
        assert not any(bad in self._received for bad in self._failing), "a failing string came"
        place = self._received.find(wanted)
        assert place >= 0, f"{wanted.hex()} never came, only {self._received.hex()}"
        del self._received[: place + len(wanted)]
