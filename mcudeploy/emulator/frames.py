# SPDX-License-Identifier: Apache-2.0
"""Frames on a serial line, the host's side of firmware/runtime/frame.c.

A frame is `0x00 COBS(type, sequence, payload, CRC-32) 0x00`. COBS (Cheshire and Baker, 1999) cuts
the bytes at every zero into blocks of at most 254 and puts a length code before each, so no zero is
left inside, and a zero always ends a frame: after any noise the next frame is read again.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

PAYLOAD_MAX = 256
_BLOCK_MAX = 254
_OVERHEAD = 2 + 4
_CODED_MAX = PAYLOAD_MAX + _OVERHEAD + 3


@dataclass(frozen=True)
class Frame:
    """A frame whose CRC was right."""

    kind: int
    sequence: int
    payload: bytes


@dataclass(frozen=True)
class Garbage:
    """Bytes up to a delimiter that are no frame."""

    data: bytes


def cobs_encode(data: bytes) -> bytes:
    """`data` without any zero byte."""
    out = bytearray()
    blocks = data.split(b"\0")
    for position, block in enumerate(blocks):
        last = position == len(blocks) - 1
        while len(block) > _BLOCK_MAX or (len(block) == _BLOCK_MAX and not last):
            out += bytes([_BLOCK_MAX + 1]) + block[:_BLOCK_MAX]
            block = block[_BLOCK_MAX:]
        if len(block) == _BLOCK_MAX:  # full and last: nothing stands behind it
            out += bytes([_BLOCK_MAX + 1]) + block
        else:
            out += bytes([len(block) + 1]) + block
    return bytes(out)


def cobs_decode(data: bytes) -> bytes | None:
    """The inverse of `cobs_encode`; None for what it never produces."""
    out = bytearray()
    position = 0
    while position < len(data):
        code = data[position]
        end = position + code
        if code == 0 or end > len(data):
            return None
        out += data[position + 1 : end]
        if code <= _BLOCK_MAX and end < len(data):
            out.append(0)
        position = end
    return bytes(out)


def encode(kind: int, sequence: int, payload: bytes = b"") -> bytes:
    """A frame with both its delimiters."""
    body = bytes([kind, sequence]) + payload
    coded = cobs_encode(body + zlib.crc32(body).to_bytes(4, "little"))
    return b"\0" + coded + b"\0"


def decode(coded: bytes) -> Frame | Garbage:
    """What stood between two delimiters."""
    body = cobs_decode(coded)
    if body is None or len(body) < _OVERHEAD:
        return Garbage(coded)
    if zlib.crc32(body[:-4]).to_bytes(4, "little") != body[-4:]:
        return Garbage(coded)
    return Frame(body[0], body[1], body[2:-4])


class Decoder:
    """Cuts a stream of bytes into frames and garbage."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Frame | Garbage]:
        """Take received bytes; what they completed, in order. Empty frames are no news."""
        found: list[Frame | Garbage] = []
        *ended, rest = data.split(b"\0")
        for piece in ended:
            self._pending += piece
            if self._pending:
                found.append(decode(bytes(self._pending)))
                self._pending.clear()
        self._pending += rest
        return found
