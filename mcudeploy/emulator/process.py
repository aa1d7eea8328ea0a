# SPDX-License-Identifier: Apache-2.0
"""An emulator that is a program of its own, with its UART on a TCP connection to us.

We listen and the program connects, so no port is chosen that another program may take meanwhile.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import IO

from mcudeploy.errors import EmulationError, ToolError
from mcudeploy.processes import ending_with_us

_HOST = "127.0.0.1"
_END_SECONDS = 5.0


class Listener:
    """A port of this machine that a child process is to connect to."""

    def __init__(self) -> None:
        self._server = socket.create_server((_HOST, 0))
        self.port = int(self._server.getsockname()[1])

    def accept(self, child: Child, timeout_seconds: float) -> socket.socket:
        """The connection. Raises EmulationError when the child ends or does not connect."""
        deadline = time.monotonic() + timeout_seconds
        self._server.settimeout(0.1)
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                connection, _ = self._server.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
            if not child.alive:
                break
        raise EmulationError(f"{child.name} did not start", where=child.last_words())

    def close(self) -> None:
        self._server.close()


class Child:
    """The program, what it said on its error output, and its end, which removes `folder`."""

    def __init__(
        self, name: str, command: Sequence[str], folder: tempfile.TemporaryDirectory[str]
    ) -> None:
        self.name = name
        self._folder = folder
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                ending_with_us(command),
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            self._said.close()
            folder.cleanup()
            raise ToolError(
                f"{name} cannot be started: {error.strerror}", where=command[0]
            ) from None

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout_seconds: float) -> bool:
        """Whether it ended by itself in time."""
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def said(self) -> str:
        """All its output so far."""
        self._said.seek(0)
        return self._said.read().decode("utf-8", "replace")

    def last_words(self) -> str:
        """The last line of its output."""
        words = [line.strip() for line in self.said().splitlines() if line.strip()]
        return words[-1] if words else ""

    def end(self) -> None:
        """Stop it if it still runs. May be called again."""
        if self.alive:
            self._process.terminate()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._said.close()
        self._folder.cleanup()


class SocketStream:
    """A UART on a connection: a `Stream` that tells a firmware that hangs from one that is slow.

    `failure` makes the error of a problem, with its place; `on_silence` may raise one when nothing
    came for a while.
    """

    def __init__(
        self,
        connection: socket.socket,
        child: Child,
        time_limit_seconds: float,
        *,
        failure: Callable[[str], EmulationError],
        on_silence: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection, self._child = connection, child
        self._time_limit = time_limit_seconds
        self._failure, self._on_silence = failure, on_silence
        self._silent_since = time.monotonic()

    def write(self, data: bytes) -> None:
        try:
            self._connection.settimeout(self._time_limit)
            self._connection.sendall(data)
        except OSError:
            raise self._ended() from None

    def read(self, timeout_seconds: float) -> bytes:
        """Raises EmulationError when the emulator ended or was silent beyond the time limit."""
        self._connection.settimeout(min(timeout_seconds, self._time_limit))
        try:
            data = self._connection.recv(65536)
        except TimeoutError:
            self._on_silence()
            if time.monotonic() - self._silent_since >= self._time_limit:
                raise self._failure(
                    f"the firmware hangs: no answer in {self._time_limit:g} seconds"
                ) from None
            return b""
        except OSError:
            data = b""
        if not data:
            raise self._ended()
        self._silent_since = time.monotonic()
        return data

    def _ended(self) -> EmulationError:
        self._child.wait(_END_SECONDS)
        return self._failure(f"{self._child.name} ended in mid-run")

    def close(self) -> None:
        self._connection.close()
        self._child.end()
