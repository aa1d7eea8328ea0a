# SPDX-License-Identifier: Apache-2.0
"""The host's side of the serial link (docs/link-protocol.md), over any stream of bytes.

One request is under way at a time. It is sent again, unchanged, when its answer does not come or
comes damaged; the firmware knows a repeated request by its CRC and repeats its answer instead of
carrying it out twice. Every transfer can so be repeated until it succeeds, and none is lost or done
twice. On a noisy line long frames rarely arrive whole: pieces are halved when a frame had to be
repeated and grow again when frames pass.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from mcudeploy.emulator.frames import PAYLOAD_MAX, Decoder, Frame, Garbage, encode
from mcudeploy.errors import EmulationError, LinkError, McudeployError

PROTOCOL = 1
_ANSWER = 0x80
_READY, _FAULT, _ERROR = 0xF0, 0xF1, 0xF2
_RESEND_ERRORS = (1, 2)
_ERRORS = {
    1: "a frame arrived damaged",
    2: "a frame was too long",
    3: "it does not know this request",
    4: "an argument of the request is out of range",
    5: "not while an inference is, or is not, paused",
}
_PIECE_MIN, _PIECE_MAX = 16, PAYLOAD_MAX - 5
_SILENT_ATTEMPTS = 6
_DOUBLINGS = 5
_DAMAGED_ATTEMPTS = 100
_BANNER = b"MCUDEPLOY"
ROWS_MAX = (PAYLOAD_MAX - 8) // 8


class Request(IntEnum):
    """The types of request; the answer to one has the same type with bit 7 set."""

    INFO = 0x01
    TENSOR = 0x02
    INPUT = 0x03
    RUN = 0x04
    CONTINUE = 0x05
    OUTPUT = 0x06
    INTERMEDIATE = 0x07
    STACK = 0x08
    RESET = 0x09
    EXIT = 0x0A


class Stream(Protocol):
    """A line to a firmware: an emulated UART, a socket, a serial port."""

    def read(self, timeout_seconds: float) -> bytes:
        """Bytes as soon as some are there; empty when none came in time, or none will come."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Fault:
    """What a firmware reports of its own fault. The status registers are 0 on Armv6-M."""

    exception: int
    pc: int
    lr: int
    sp: int
    cfsr: int = 0
    hfsr: int = 0
    mmfar: int = 0
    bfar: int = 0


@dataclass
class LinkStatistics:
    """What the line did. `resent` requests; of `damaged` and `silent`, why."""

    requests: int = 0
    resent: int = 0
    damaged: int = 0
    silent: int = 0


class Link:
    """Requests and answers. `fault_error` turns a reported fault into the error to raise."""

    def __init__(
        self,
        stream: Stream,
        *,
        timeout_seconds: float = 1.0,
        attempts: int = _SILENT_ATTEMPTS,
        fault_error: Callable[[Fault], McudeployError] | None = None,
    ) -> None:
        self._stream = stream
        self._timeout, self._attempts = timeout_seconds, attempts
        self._fault_error = fault_error or _plain_fault
        self._decoder = Decoder()
        self._waiting: list[Frame | Garbage] = []
        self._sequence = 0
        self._connected = False
        self._text = bytearray()
        self.failed = False
        self.piece_bytes = _PIECE_MAX
        self.statistics = LinkStatistics()

    @property
    def text(self) -> str:
        """What the firmware printed while it started."""
        return self._text.decode("ascii", "replace")

    def request(self, kind: Request, payload: bytes = b"") -> bytes:
        """Send a request until it is answered; the answer's payload.

        The wait doubles with each silence. Raises LinkError when no answer can be had or the
        firmware refuses, and what `fault_error` makes of a fault.
        """
        self._sequence = (self._sequence + 1) & 0xFF
        self.statistics.requests += 1
        self.failed = True  # until it is answered
        answer = self._exchange(encode(kind, self._sequence, payload), kind)
        self.failed = False
        return answer

    def _exchange(self, frame: bytes, kind: Request) -> bytes:
        silent = damaged = 0
        while silent < self._attempts and damaged < _DAMAGED_ATTEMPTS:
            self._stream.write(frame)
            answer = self._await(kind, self._timeout * 2 ** min(silent, _DOUBLINGS))
            if isinstance(answer, bytes):
                self._connected = True
                if not silent and not damaged:
                    self.piece_bytes = min(self.piece_bytes + 8, _PIECE_MAX)
                return answer
            self.piece_bytes = max(self.piece_bytes // 2, _PIECE_MIN)
            self.statistics.resent += 1
            damaged += answer
            silent += not answer
            self.statistics.damaged += answer
            self.statistics.silent += not answer
        raise self._no_answer(kind, damaged)

    def _no_answer(self, kind: Request, damaged: int) -> LinkError:
        if damaged >= _DAMAGED_ATTEMPTS:
            return LinkError(
                f"the line to the firmware is too noisy: {kind.name} failed {damaged} times",
                mend="check the cable and the baud rate",
            )
        if self._connected:
            return LinkError(
                f"the firmware stopped answering (request {kind.name})",
                mend="was the board unplugged or reset?",
            )
        return LinkError(
            "no firmware of mcudeploy answers",
            mend="is it the right port, and was the project's firmware flashed?",
        )

    def _await(self, kind: Request, timeout_seconds: float) -> bytes | bool:
        """The answer; True when something arrived damaged, False when nothing came in time."""
        while True:
            while self._waiting:
                outcome = self._judge(self._waiting.pop(0), kind)
                if outcome is not None:
                    return outcome
            data = self._stream.read(timeout_seconds)
            if not data:
                return False
            self._waiting += self._decoder.feed(data)

    def _judge(self, item: Frame | Garbage, kind: Request) -> bytes | bool | None:
        """The answer, True for a damaged frame, None for what has no meaning for this request."""
        if isinstance(item, Garbage):
            start = item.data.find(_BANNER)
            if start < 0:
                return True
            self._text += item.data[start:]
            return None
        if item.kind == _FAULT:
            words = [w for (w,) in struct.iter_unpack("<I", item.payload[: len(item.payload) & ~3])]
            raise self._fault_error(Fault(*words[:8]))
        if item.kind == _READY and self._connected:
            raise LinkError(f"the board was reset (during request {kind.name})", mend="start again")
        if item.kind == _ERROR and item.payload:
            code = item.payload[0]
            if code in _RESEND_ERRORS:
                return True
            if item.sequence == self._sequence:
                raise LinkError(
                    f"the firmware refused {kind.name}: {_ERRORS.get(code, f'error {code}')}"
                )
            return None
        if item.kind == kind | _ANSWER and item.sequence == self._sequence:
            return item.payload
        return None  # the answer to a request that was answered already

    def close(self) -> None:
        self._stream.close()


def _plain_fault(fault: Fault) -> McudeployError:
    return EmulationError(
        f"the firmware faulted (exception {fault.exception})",
        where=f"pc 0x{fault.pc:08x}, lr 0x{fault.lr:08x}",
    )
