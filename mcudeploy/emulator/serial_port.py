# SPDX-License-Identifier: Apache-2.0
"""A real board: the same link over a serial port (pyserial), unplugging and silence included.

The board counts cycles, not instructions: where emulators report instructions, this session reports
what its cycle counter says.
"""

from __future__ import annotations

from pathlib import Path

import serial

from mcudeploy.codegen.manifest import Manifest
from mcudeploy.emulator.faults import describe_fault
from mcudeploy.emulator.link import Link
from mcudeploy.emulator.session import LinkSession
from mcudeploy.errors import LinkError
from mcudeploy.toolchain.elf import read_elf

_ANSWER_SECONDS = 2.0
_WRITE_SECONDS = 10.0


class SerialStream:
    """A serial port as a `Stream`. Raises LinkError when it cannot be opened or goes away."""

    def __init__(self, port: str, baud: int) -> None:
        self._name = port
        try:
            self._port = serial.Serial(port, baud, timeout=0, write_timeout=_WRITE_SECONDS)
        except (serial.SerialException, OSError, ValueError) as error:
            raise LinkError(
                f"the serial port cannot be opened: {error}",
                where=port,
                mend="is the board plugged in, is the name right, may you use the port (group "
                "dialout on Linux), and does no other program hold it?",
            ) from None

    def read(self, timeout_seconds: float) -> bytes:
        """Bytes as soon as some are there; empty when none came in time."""
        try:
            self._port.timeout = timeout_seconds
            first = bytes(self._port.read(1))
            return first + bytes(self._port.read(self._port.in_waiting)) if first else b""
        except (serial.SerialException, OSError) as error:
            raise self._gone(error) from None

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
            self._port.flush()
        except (serial.SerialException, OSError) as error:
            raise self._gone(error) from None

    def close(self) -> None:
        self._port.close()

    def _gone(self, error: Exception) -> LinkError:
        return LinkError(
            f"the serial port went away: {error}",
            where=self._name,
            mend="plug the board in again and repeat the command",
        )


def connect(port: str, manifest: Manifest, elf: Path, *, baud: int | None = None) -> LinkSession:
    """A session with the board at `port`, which must run the project's own firmware.

    Raises LinkError when nothing answers or another firmware does, EmulationError when the
    firmware reports a fault (by the function it happened in).
    """
    image = read_elf(elf)
    stream = SerialStream(port, baud or manifest.board_record.uart.baud)
    link = Link(
        stream,
        timeout_seconds=_ANSWER_SECONDS,
        fault_error=lambda fault: describe_fault(fault, image),
    )
    session = LinkSession(link)
    info = session.info()
    if info.model_id != int(manifest.model_sha256[:8], 16) or info.board != manifest.board:
        stream.close()
        raise LinkError(
            f"another firmware answers: it is for {info.board}, model {info.model_id:08x}; this "
            f"project is for {manifest.board}, model {manifest.model_sha256[:8]}",
            where=port,
            mend="`mcudeploy flash DIR` puts this project's firmware on the board",
        )
    return session
