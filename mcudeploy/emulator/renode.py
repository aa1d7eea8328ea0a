# SPDX-License-Identifier: Apache-2.0
"""Renode: whole boards with their interrupts and peripherals, in a process of its own.

The platform is the one that a project carries in `emulation/`. Renode listens on a port for the
UART; a hook on `emulation_done` prints the verdict and ends the process. What Renode does not tell,
we find out: it goes on for ever after an error in a script or a CPU abort, and returns 0 also when
the firmware never ended. So nothing counts but the verdict line, the log is searched for accesses
to memory that does not exist, and our own clock limits every step.

An instruction takes one cycle of the core there, so the firmware's cycle counter counts
instructions.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

from mcudeploy.board import Board
from mcudeploy.codegen.emulation import has_renode, platform
from mcudeploy.emulator.base import TIME_LIMIT_SECONDS
from mcudeploy.emulator.faults import describe_fault
from mcudeploy.emulator.link import Link
from mcudeploy.emulator.process import Child, SocketStream
from mcudeploy.emulator.session import LinkSession
from mcudeploy.errors import EmulationError, LinkError, ToolError
from mcudeploy.toolchain.elf import FirmwareImage, read_elf

PROGRAM = "renode"
_START_SECONDS = 60.0
_END_SECONDS = 30.0
_ANSWER_SECONDS = 2.0
_STARTS = 2
"""A port may be taken between its choice and Renode's start; then another one is tried."""
_VIRTUAL_SECONDS = 1_000_000
_POISON = 0xA5

_VERDICT = re.compile(r"^EXIT code=(\d+) unexp=(\d+) insns=(\d+)\s*$", re.MULTILINE)
_BAD_ACCESS = re.compile(r"^.*non existing peripheral.*$", re.MULTILINE)
_ABORT = re.compile(r"^.*CPU abort.*$", re.MULTILINE)

_SCRIPT = """\
mach create "{name}"
machine LoadPlatformDescription @{repl}
emulation SetGlobalAdvanceImmediately true
logFile @{log} true
{poison}sysbus LoadELF @{elf}
{vectors}emulation CreateServerSocketTerminal {port} "term" false
connector Connect sysbus.{uart} term
sysbus.cpu AddHook `sysbus GetSymbolAddress "emulation_done"` "{verdict}"
emulation RunFor "{seconds}"
python "{limit}"
"""
_PRINT_VERDICT = (
    "import System; from System.Threading import Thread, ThreadStart; "
    "c = int(cpu.GetRegister(0).RawValue); "
    "u = machine.SystemBus.UnexpectedReads + machine.SystemBus.UnexpectedWrites; "
    "n = cpu.ExecutedInstructions; "
    "System.Console.WriteLine('EXIT code=%d unexp=%d insns=%d' % (c, u, n)); "
    "Thread(ThreadStart(lambda: System.Environment.Exit(c or (100 if u else 0)))).Start()"
)
_PRINT_LIMIT = (
    "import System; from System.Threading import Thread, ThreadStart; "
    "System.Console.WriteLine('VIRTUAL LIMIT'); "
    "Thread(ThreadStart(lambda: System.Environment.Exit(124))).Start()"
)


class RenodeEmulator:
    """The emulator `renode`."""

    name = "renode"

    def available(self) -> str | None:
        return None if shutil.which(PROGRAM) else "Renode is not installed"

    def supports(self, board: Board) -> str | None:
        return None if has_renode(board) else f"Renode cannot run {board.name}"

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
            raise ToolError(reason, mend="`mcudeploy doctor` tells how to get Renode 1.16.1")
        image = read_elf(elf)
        for attempt in range(1, _STARTS + 1):
            machine = _Machine(image, board, poison, time_limit_seconds)
            try:
                return _session(machine)
            except (EmulationError, LinkError):
                if attempt == _STARTS:
                    raise
        raise AssertionError


def _session(machine: _Machine) -> LinkSession:
    link = Link(
        machine.connect(),
        timeout_seconds=_ANSWER_SECONDS,
        attempts=sys.maxsize,
        fault_error=lambda fault: describe_fault(fault, machine.image),
    )
    return LinkSession(link, finish=machine.finish)


class _Machine:
    """A running Renode."""

    def __init__(
        self, image: FirmwareImage, board: Board, poison: bool, time_limit_seconds: float
    ) -> None:
        self.image = image
        self._time_limit = time_limit_seconds
        folder = tempfile.TemporaryDirectory(prefix="mcudeploy-renode-")
        path = Path(folder.name)
        self._log = path / "renode.log"
        self._port = _free_port()
        (path / "board.repl").write_bytes(platform(board))
        script = path / "run.resc"
        script.write_text(self._script(board, path, poison), encoding="utf-8")
        self._child = Child(
            "Renode",
            [
                shutil.which(PROGRAM) or PROGRAM, "--config", str(path / "renode.config"),
                "--plain", "--disable-xwt", "--hide-log", "-e", f"include @{script}",
            ],
            folder,
        )  # fmt: skip

    def _script(self, board: Board, folder: Path, poison: bool) -> str:
        poisoned = ""
        if poison:
            for region in board.regions("ram"):
                data = folder / f"{region.name}.bin"
                data.write_bytes(bytes([_POISON]) * region.size)
                poisoned += f"sysbus LoadBinary @{data} {region.address:#x}\n"
        vectors = 'sysbus.cpu VectorTableOffset `sysbus GetSymbolAddress "vectors"`\n'
        return _SCRIPT.format(
            name=board.name,
            repl=folder / "board.repl",
            log=self._log,
            poison=poisoned,
            elf=self.image.path.resolve(),
            vectors=vectors if board.boot else "",
            port=self._port,
            uart=board.uart.name,
            verdict=_PRINT_VERDICT,
            seconds=_VIRTUAL_SECONDS,
            limit=_PRINT_LIMIT,
        )

    def connect(self) -> SocketStream:
        """The UART, as soon as Renode listens. Raises EmulationError when it never does."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._child.alive:
            with contextlib.suppress(OSError):
                connection = socket.create_connection(("127.0.0.1", self._port), 1.0)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return SocketStream(
                    connection,
                    self._child,
                    self._time_limit,
                    failure=self._failure,
                    on_silence=self._check_for_abort,
                )
            time.sleep(0.05)
        error = self._failure(f"Renode did not open port {self._port} for the UART")
        self._child.end()
        raise error

    def _check_for_abort(self) -> None:
        if _ABORT.search(self._read_log()):
            raise self._failure("the firmware crashed the core")

    # --- the verdict --------------------------------------------------------------------------

    def finish(self) -> None:
        """Raises EmulationError unless Renode prints a verdict, and it is a good one."""
        if not self._child.wait(_END_SECONDS):
            raise self._failure("the firmware was told to end and did not")
        verdict = _VERDICT.search(self._child.said())
        if verdict is None:
            raise self._failure("Renode ended without the firmware's verdict")
        code, unexpected = int(verdict[1]), int(verdict[2])
        if code:
            raise self._failure(f"the firmware ended with status {code}")
        if unexpected or _BAD_ACCESS.search(self._read_log()):
            raise self._failure("the firmware accessed addresses where the board has nothing")

    def _failure(self, problem: str) -> EmulationError:
        return EmulationError(problem, where=self._first_complaint() or self._child.last_words())

    def _first_complaint(self) -> str:
        log = self._read_log()
        match = _BAD_ACCESS.search(log) or _ABORT.search(log)
        return match[0].strip() if match else ""

    def _read_log(self) -> str:
        try:
            return self._log.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
