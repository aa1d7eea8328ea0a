# SPDX-License-Identifier: Apache-2.0
"""QEMU: Cortex-M55 with Helium, and a stricter second opinion for the other cores.

It runs Arm's MPS2 and MPS3 boards, which are boards like any other here. Its UART is connected to
us, and so is its monitor, which tells where a firmware hangs.

Counting: QEMU has no DWT, so the firmware counts with SysTick, that is in time. Under `-icount` an
instruction takes a fixed virtual time; with shift 7 that is 128 ns, more than two ticks of SysTick
at every board's clock, so that rounding gives the exact number of instructions.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mcudeploy.board import Board
from mcudeploy.emulator.base import TIME_LIMIT_SECONDS, FirmwareInfo
from mcudeploy.emulator.faults import describe_fault, describe_place
from mcudeploy.emulator.link import Link
from mcudeploy.emulator.process import Child, Listener, SocketStream
from mcudeploy.emulator.session import LinkSession
from mcudeploy.errors import EmulationError, ToolError
from mcudeploy.toolchain.elf import FirmwareImage, read_elf

PROGRAM = "qemu-system-arm"
_ICOUNT_SHIFT = 7
_CONNECT_SECONDS = 30.0
_MONITOR_SECONDS = 5.0
_POISON = 0xA5
_OLDEST = (7,)


class QemuEmulator:
    """The emulator `qemu`."""

    name = "qemu"

    def available(self) -> str | None:
        path = shutil.which(PROGRAM)
        if path is None:
            return f"{PROGRAM} is not installed"
        try:
            done = subprocess.run(
                [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", timeout=_CONNECT_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return f"{PROGRAM} does not run"
        match = re.search(r"(\d+)\.(\d+)", done.stdout)
        if match is None:
            return f"{PROGRAM} does not run"
        if (int(match[1]),) < _OLDEST:
            return f"{PROGRAM} {match[0]} is older than {_OLDEST[0]}"
        return None

    def supports(self, board: Board) -> str | None:
        if board.emulation.qemu_machine is None:
            return f"QEMU has no machine for {board.name}"
        return None

    def start(
        self,
        elf: Path,
        board: Board,
        *,
        poison: bool = False,
        time_limit_seconds: float = TIME_LIMIT_SECONDS,
    ) -> LinkSession:
        reason = self.available() or self.supports(board)
        if reason:
            raise ToolError(reason, mend="`mcudeploy doctor` tells what is there")
        machine = _Machine(read_elf(elf), board, poison, time_limit_seconds)
        link = Link(
            machine.stream,
            attempts=sys.maxsize,
            fault_error=lambda fault: describe_fault(fault, machine.image),
        )
        return LinkSession(link, scale=_instructions_per_count, finish=machine.finish)


def _instructions_per_count(info: FirmwareInfo) -> float:
    if info.counter != "systick":
        return 1.0
    return 1e9 / (info.clock_hz << _ICOUNT_SHIFT)


class _Machine:
    """A running QEMU with both its connections."""

    def __init__(
        self, image: FirmwareImage, board: Board, poison: bool, time_limit_seconds: float
    ) -> None:
        self.image = image
        uart, monitor = Listener(), Listener()
        try:
            folder = tempfile.TemporaryDirectory(prefix="mcudeploy-qemu-")
            command = _command(board, uart, monitor)
            command += _memory_arguments(image, board, Path(folder.name), poison)
            self._child = Child("QEMU", command, folder)
            try:
                self._monitor = monitor.accept(self._child, _CONNECT_SECONDS)
                connection = uart.accept(self._child, _CONNECT_SECONDS)
            except BaseException:
                self._child.end()
                raise
        finally:
            uart.close()
            monitor.close()
        self.stream = SocketStream(
            connection, self._child, time_limit_seconds, failure=self._failure
        )

    def _registers(self) -> tuple[int, int]:
        """Program counter and link register, asked of the monitor; zeros when it is silent."""
        self._monitor.settimeout(_MONITOR_SECONDS)
        said = b""
        try:
            self._monitor.sendall(b"info registers\n")
            while b"XPSR" not in said:
                said += self._monitor.recv(65536) or b"XPSR"
        except (TimeoutError, OSError):
            return 0, 0
        pc, lr = (re.search(rf"R{n}=([0-9a-f]{{8}})".encode(), said) for n in (15, 14))
        return (int(pc[1], 16), int(lr[1], 16)) if pc and lr else (0, 0)

    def _failure(self, problem: str) -> EmulationError:
        alive = self._child.alive
        return EmulationError(problem, where=self._where() if alive else self._child.last_words())

    def _where(self) -> str:
        return describe_place(self.image, *self._registers())

    def finish(self) -> None:
        """Raises EmulationError when the firmware does not come to its end."""
        end = self.image.symbol("emulation_done")
        deadline = time.monotonic() + _MONITOR_SECONDS
        while time.monotonic() < deadline:
            if self.image.function_at(self._registers()[0]) == end:
                return
        raise EmulationError("the firmware was told to end and did not", where=self._where())


def _command(board: Board, uart: Listener, monitor: Listener) -> list[str]:
    return [
        PROGRAM, "-machine", board.emulation.qemu_machine or "", "-display", "none",
        "-icount", f"shift={_ICOUNT_SHIFT}",
        "-chardev", f"socket,id=uart,host=127.0.0.1,port={uart.port},nodelay=on",
        "-serial", "chardev:uart",
        "-chardev", f"socket,id=monitor,host=127.0.0.1,port={monitor.port}",
        "-mon", "chardev=monitor,mode=readline",
    ]  # fmt: skip


def _memory_arguments(image: FirmwareImage, board: Board, folder: Path, poison: bool) -> list[str]:
    """What memory holds before the start: the programmed flash, and the poison in RAM.

    Given the ELF file, QEMU would also clear the RAM that the firmware reserves.
    """
    contents = [(s.load_address, s.data) for s in image.segments if s.data]
    if poison:
        ram = board.regions("ram")
        contents += [(region.address, bytes([_POISON]) * region.size) for region in ram]
    arguments = []
    for address, data in contents:
        path = folder / f"{address:08x}.bin"
        path.write_bytes(data)
        arguments += ["-device", f"loader,file={path},addr={address:#x},force-raw=on"]
    return arguments
