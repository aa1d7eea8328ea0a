# SPDX-License-Identifier: Apache-2.0
"""A FlatBuffers reader that trusts nothing it reads.

A FlatBuffer is a tree of tables. A table starts with a signed 32-bit distance back to its vtable;
the vtable holds its own size, the table's size, and for each field a 16-bit offset from the
table's start (0: the field has its default). A field is a scalar in place, or an unsigned 32-bit
distance forward to a table, a string or a vector (a 32-bit count, then the elements).

Every access is checked against the file's end, so a malformed file raises `InputError` and
nothing else. Well-formed files never share much between tables, malicious ones can point a
million tables at one large vector; a budget on the bytes read through vectors stops those.

Source: https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mcudeploy.errors import InputError

_SHARING = 16
"""How many times over a file's bytes may be read through vectors."""


class FlatBuffer:
    """The bytes of a file with checked reads. `what` names the file in messages."""

    def __init__(self, data: bytes, what: str) -> None:
        self.data = data
        self.what = what
        self._budget = _SHARING * len(data) + (1 << 20)

    def malformed(self, problem: str) -> InputError:
        """The error for a broken file."""
        return InputError(
            f"{self.what} is damaged: {problem}",
            where=self.what,
            mend="copy or convert the model again; the file is incomplete or was altered",
        )

    def scalar(self, form: str, position: int) -> Any:
        """One little-endian scalar of struct format `form`."""
        if position < 0 or position + struct.calcsize("<" + form) > len(self.data):
            raise self.malformed(f"an offset points outside the file (byte {position})")
        return struct.unpack_from("<" + form, self.data, position)[0]

    def span(self, position: int, length: int) -> memoryview:
        """`length` bytes from `position`, not copied; they count against the budget."""
        if position < 0 or length < 0 or position + length > len(self.data):
            raise self.malformed(f"{length} bytes at byte {position} reach past the file's end")
        self.charge(length)
        return memoryview(self.data)[position : position + length]

    def charge(self, length: int) -> None:
        """Count `length` bytes against the budget."""
        self._budget -= length
        if self._budget < 0:
            raise self.malformed("its tables share more data than a converter ever writes")

    def root(self) -> Table:
        return Table(self, self.scalar("I", 0))


class Table:
    """One table: fields by slot number, as the schema counts them."""

    def __init__(self, buffer: FlatBuffer, position: int) -> None:
        self.buffer = buffer
        self.position = position
        self._vtable = position - buffer.scalar("i", position)
        size = buffer.scalar("H", self._vtable)
        self._extent = buffer.scalar("H", self._vtable + 2)
        buffer.span(self._vtable, size)
        buffer.span(position, self._extent)
        self._slots = (size - 4) // 2

    def _field(self, slot: int) -> int | None:
        if slot >= self._slots:
            return None
        offset: int = self.buffer.scalar("H", self._vtable + 4 + 2 * slot)
        if offset >= self._extent and offset:
            raise self.buffer.malformed(f"a field lies outside its table at byte {self.position}")
        return self.position + offset if offset else None

    def scalar(self, slot: int, form: str, default: Any = 0) -> Any:
        """A number or bool (`?`) of struct format `form`."""
        at = self._field(slot)
        return default if at is None else self.buffer.scalar(form, at)

    def _target(self, slot: int) -> int | None:
        at = self._field(slot)
        return None if at is None else at + int(self.buffer.scalar("I", at))

    def address(self, slot: int) -> int | None:
        """The byte of the file at which a table, vector or string begins; None when absent."""
        return self._target(slot)

    def has(self, slot: int) -> bool:
        return self._field(slot) is not None

    def table(self, slot: int) -> Table | None:
        at = self._target(slot)
        return None if at is None else Table(self.buffer, at)

    def vector(self, slot: int, dtype: str) -> npt.NDArray[Any]:
        """A vector of scalars as a read-only array over the file's bytes; empty when absent."""
        at = self._target(slot)
        kind = np.dtype(dtype).newbyteorder("<")
        if at is None:
            return np.empty(0, kind)
        length = self.buffer.scalar("I", at)
        return np.frombuffer(self.buffer.span(at + 4, length * kind.itemsize), kind)

    def tables(self, slot: int) -> Iterator[Table]:
        """A vector of tables, one after the other."""
        at = self._target(slot)
        if at is None:
            return
        length = self.buffer.scalar("I", at)
        self.buffer.span(at + 4, 4 * length)
        for entry in range(at + 4, at + 4 + 4 * length, 4):
            yield Table(self.buffer, entry + self.buffer.scalar("I", entry))

    def text(self, slot: int) -> str:
        """A string; bytes that are not UTF-8 are replaced. Empty when absent."""
        return bytes(self.vector(slot, "u1")).decode("utf-8", "replace")
