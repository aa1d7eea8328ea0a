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
        raise child.failure("did not start")

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
                list(command),
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

    def failure(self, what: str) -> EmulationError:
        """The error that says so, with the program's last words."""
        words = [line.strip() for line in self.said().splitlines() if line.strip()]
        return EmulationError(f"{self.name} {what}", where=words[-1] if words else "")

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
    """A UART on a connection: a `Stream` that knows when its firmware hangs.

    An emulated UART loses nothing, so silence means that the firmware is still computing; `where`
    tells at which place, for the error when it takes longer than the limit.
    """

    def __init__(
        self,
        connection: socket.socket,
        child: Child,
        time_limit_seconds: float,
        where: Callable[[], str],
    ) -> None:
        self._connection, self._child = connection, child
        self._time_limit = time_limit_seconds
        self._where = where

    def write(self, data: bytes) -> None:
        try:
            self._connection.settimeout(self._time_limit)
            self._connection.sendall(data)
        except OSError:
            raise self._child.failure("ended in mid-run") from None

    def read(self, timeout_seconds: float) -> bytes:
        """The timeout is that of a real line; here only the time limit counts."""
        self._connection.settimeout(self._time_limit)
        try:
            data = self._connection.recv(65536)
        except TimeoutError:
            raise EmulationError(
                f"the firmware hangs: no answer in {self._time_limit:g} seconds",
                where=self._where(),
            ) from None
        except OSError:
            data = b""
        if not data:
            raise self._child.failure("ended in mid-run")
        return data

    def close(self) -> None:
        self._connection.close()
        self._child.end()
