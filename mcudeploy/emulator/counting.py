# SPDX-License-Identifier: Apache-2.0
"""Exact instruction counts from Unicorn: a callback before every basic block.

The callback is in C (`block_counter.c`), compiled once with the host's compiler into the user's
cache and loaded by ctypes; where there is no compiler, the same in Python is six times slower. Both
keep the same figures: instructions of all blocks entered, and which block is the current one. For
an access of the cycle counter in the middle of a block, `executed` takes off what of the block is
still to come; the instruction is found by the address that it accesses.

Besides, each block has its executions and how many of them ended with a branch taken (`blocks`):
what a cycle model needs.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import unicorn
from unicorn import arm_const
from unicorn.unicorn_py3 import unicorn as binding

from mcudeploy.resources import cache_folder

_TABLE_ENTRIES = 16384
_WIDE = 0x1D
_IT_BITS = 0x0600FC00


class _Entry(ctypes.Structure):
    _fields_ = (
        ("address", ctypes.c_uint32),
        ("bytes", ctypes.c_uint32),
        ("instructions", ctypes.c_uint32),
        ("executions", ctypes.c_uint64),
        ("taken", ctypes.c_uint64),
    )


class _State(ctypes.Structure):
    """counter_t of block_counter.c."""

    _fields_ = (
        ("instructions", ctypes.c_uint64),
        ("limit", ctypes.c_uint64),
        ("block_address", ctypes.c_uint32),
        ("block_bytes", ctypes.c_uint32),
        ("block_instructions", ctypes.c_uint32),
        ("stop", ctypes.c_uint32),
        ("code", ctypes.c_void_p),
        ("code_address", ctypes.c_uint32),
        ("code_bytes", ctypes.c_uint32),
        ("unrecorded", ctypes.c_uint64),
        ("watched_bytes", ctypes.c_uint64),
        ("last", ctypes.c_void_p),
        ("last_end", ctypes.c_uint32),
        ("status_register", ctypes.c_int32),
        ("emu_stop", ctypes.c_void_p),
        ("mem_read", ctypes.c_void_p),
        ("reg_read", ctypes.c_void_p),
        ("reg_write", ctypes.c_void_p),
        ("table", _Entry * _TABLE_ENTRIES),
    )


class _Figures(Protocol):
    instructions: int
    limit: int
    block_address: int
    block_bytes: int
    block_instructions: int
    stop: int
    unrecorded: int
    watched_bytes: int


class _PythonState:
    def __init__(self) -> None:
        self.instructions = self.limit = self.unrecorded = self.watched_bytes = 0
        self.block_address = self.block_bytes = self.block_instructions = self.stop = 0


Block = tuple[int, int]
"""Address and bytes of a basic block."""


@dataclass(frozen=True)
class BlockCounts:
    """Of each block of flash its executions and how many of them ended with a branch taken.

    `watched_bytes` are those that were read from the watched addresses, `unrecorded`
    the executions of blocks that are in no row.
    """

    blocks: Mapping[Block, tuple[int, int]]
    unrecorded: int
    watched_bytes: int


_ENTRY = np.dtype(
    [("address", "<u4"), ("bytes", "<u4"), ("instructions", "<u8"), ("executions", "<u8"),
     ("taken", "<u8")]
)  # fmt: skip
"""_Entry for numpy; a pad follows its 32 bits of instructions, always zero."""


def instruction_offsets(code: bytes) -> list[int]:
    """Where each Thumb instruction of `code` starts."""
    offsets = []
    position = 0
    while position + 1 < len(code):
        offsets.append(position)
        position += 4 if code[position + 1] >> 3 >= _WIDE else 2
    return offsets


class BlockCounter:
    """Counts what `engine` executes. `code` is the unchanging code, at `code_address`."""

    def __init__(self, engine: Any, code: bytes, code_address: int, *, compiled: bool) -> None:
        self._engine = engine
        self._code, self._code_address = code, code_address
        self._access = (0, 0, -1)
        library = _library() if compiled else None
        self.compiled = library is not None
        if library is None:
            self._figures: _Figures = _PythonState()
            self._known: dict[tuple[int, int], list[int]] = {}
            self._last: tuple[list[int] | None, int] = (None, 0)
            engine.hook_add(unicorn.UC_HOOK_BLOCK, self._enter)
        else:
            self._library = library
            self._figures = self._hook(library)

    def _hook(self, library: ctypes.CDLL) -> _State:
        state = _State()
        self._buffer = ctypes.create_string_buffer(self._code, len(self._code))
        state.code = ctypes.cast(self._buffer, ctypes.c_void_p).value
        state.code_address = self._code_address
        state.code_bytes = len(self._code)
        state.status_register = arm_const.UC_ARM_REG_XPSR
        for name in ("emu_stop", "mem_read", "reg_read", "reg_write"):
            function = getattr(binding.uclib, f"uc_{name}")
            setattr(state, name, ctypes.cast(function, ctypes.c_void_p).value)
        self._add_c_hook(unicorn.UC_HOOK_BLOCK, library.mcudeploy_block, state, 1, 0)
        return state

    def _add_c_hook(self, kind: int, function: Any, state: _State, begin: int, end: int) -> None:
        handle = ctypes.c_size_t()
        status = binding.uclib.uc_hook_add(
            self._engine._uch,
            ctypes.byref(handle),
            kind,
            function,
            ctypes.byref(state),
            ctypes.c_uint64(begin),
            ctypes.c_uint64(end),
        )
        if status != unicorn.UC_ERR_OK:
            raise unicorn.UcError(status)

    def _enter(self, engine: Any, address: int, size: int, _: object) -> None:
        """The C callback in Python."""
        figures = self._figures
        if figures.stop or figures.instructions >= figures.limit:
            engine.emu_stop()
            return
        last, last_end = self._last
        if last is not None and last_end != address:
            last[2] += 1
        entry = self._known.get((address, size))
        if entry is None:
            entry = [len(instruction_offsets(self._bytes(address, size))), 0, 0]
            if self._in_flash(address, size):
                self._known[address, size] = entry
            else:
                figures.unrecorded += 1
        entry[1] += 1
        self._last = (entry, address + size)
        figures.block_address, figures.block_bytes = address, size
        figures.block_instructions = entry[0]
        figures.instructions += entry[0]

    def blocks(self) -> BlockCounts:
        """What was executed so far, the current block with it."""
        figures = self._figures
        if isinstance(figures, _State):
            table = np.frombuffer(figures.table, _ENTRY)
            table = table[table["instructions"] > 0]
            columns = (table[name].tolist() for name in ("address", "bytes", "executions", "taken"))
            blocks = {
                (a, b): (executions, taken)
                for a, b, executions, taken in zip(*columns, strict=True)
            }
        else:
            blocks = {block: (entry[1], entry[2]) for block, entry in self._known.items()}
        return BlockCounts(blocks, figures.unrecorded, figures.watched_bytes)

    def watch_reads(self, begin: int, end: int) -> None:
        """Count the bytes that loads read from [begin, end) from now on."""
        if isinstance(self._figures, _State):
            self._add_c_hook(
                unicorn.UC_HOOK_MEM_READ, self._library.mcudeploy_read, self._figures, begin,
                end - 1,
            )  # fmt: skip
        else:
            self._engine.hook_add(unicorn.UC_HOOK_MEM_READ, self._read, begin=begin, end=end - 1)

    def _read(
        self, engine: Any, access: int, address: int, size: int, value: int, _: object
    ) -> None:
        """The C callback in Python."""
        self._figures.watched_bytes += size
        status = engine.reg_read(arm_const.UC_ARM_REG_XPSR)
        if status & _IT_BITS:
            engine.reg_write(arm_const.UC_ARM_REG_XPSR, status & ~_IT_BITS)

    def _in_flash(self, address: int, size: int) -> bool:
        return 0 <= address - self._code_address <= len(self._code) - size

    def _bytes(self, address: int, size: int) -> bytes:
        if self._in_flash(address, size):
            return self._code[address - self._code_address :][:size]
        return bytes(self._engine.mem_read(address, size))

    @property
    def instructions(self) -> int:
        """Of all blocks entered, the current one with all its instructions."""
        return self._figures.instructions

    @property
    def block_address(self) -> int:
        """Where the current block starts."""
        return self._figures.block_address

    @property
    def block(self) -> Block:
        """The current block."""
        return self._figures.block_address, self._figures.block_bytes

    def run_limit(self, instructions: int) -> None:
        """Go on for at most about that many instructions; a pending stop is forgotten."""
        self._figures.stop = 0
        self._figures.limit = self._figures.instructions + instructions

    @property
    def limit_reached(self) -> bool:
        return self._figures.instructions >= self._figures.limit

    def stop(self) -> None:
        """Stop before the next block. (Stopping in the middle of one would repeat a part of it.)"""
        self._figures.stop = 1

    def executed(self, address: int, *, writing: bool) -> int:
        """Instructions before the one that reads or writes a word at `address` right now."""
        figures = self._figures
        start = figures.instructions - figures.block_instructions
        code = self._bytes(figures.block_address, figures.block_bytes)
        # A block may do so twice: look behind the access before, if it was in this same execution.
        block, at, last = self._access
        after = last if (block, at) == (figures.block_address, figures.instructions) else -1
        position = after + 1
        for index, offset in enumerate(instruction_offsets(code)):
            if index > after and self._accesses(code[offset : offset + 4], address, writing):
                position = index
                break
        self._access = (figures.block_address, figures.instructions, position)
        return start + position

    def _accesses(self, instruction: bytes, address: int, writing: bool) -> bool:
        """Whether an LDR (STR) with these bytes reads (writes) `address`, as registers are now."""
        low = int.from_bytes(instruction[:2], "little")
        high = int.from_bytes(instruction[2:4], "little")
        loading = not writing
        if low >> 11 == 0b01100 | loading:  # Rt, [Rn, #imm5]
            return self._register(low >> 3 & 7) + (low >> 6 & 31) * 4 == address
        if low >> 9 == 0b0101000 | loading << 2:  # Rt, [Rn, Rm]
            both = self._register(low >> 3 & 7) + self._register(low >> 6 & 7)
            return both & 0xFFFFFFFF == address
        if low >> 4 == 0xF8C | loading:  # Rt, [Rn, #imm12]
            return self._register(low & 15) + (high & 0xFFF) == address
        if low >> 4 == 0xF84 | loading and high & 0xF00 == 0xC00:  # Rt, [Rn, #-imm8]
            return self._register(low & 15) - (high & 0xFF) == address
        return False

    def _register(self, number: int) -> int:
        return int(self._engine.reg_read(_REGISTERS[number]))


_REGISTERS = tuple(getattr(arm_const, f"UC_ARM_REG_R{number}") for number in range(16))


@cache
def _library() -> ctypes.CDLL | None:
    """The compiled callback; None when there is no compiler or what it made does not load."""
    source = Path(__file__).with_name("block_counter.c")
    name = hashlib.sha256(source.read_bytes() + sys.platform.encode()).hexdigest()[:16]
    suffix = ".dll" if sys.platform == "win32" else ".so"
    library = cache_folder("block-counter") / f"{name}{suffix}"
    try:
        if not library.is_file():
            _compile(source, library)
        loaded = ctypes.CDLL(str(library))
        _ = loaded.mcudeploy_block, loaded.mcudeploy_read
    except (OSError, AttributeError, subprocess.SubprocessError):
        return None
    return loaded


def _compile(source: Path, library: Path) -> None:
    """Raises OSError or SubprocessError where it cannot."""
    compiler = next((path for c in ("cc", "gcc", "clang") if (path := shutil.which(c))), None)
    if compiler is None:
        raise OSError("no compiler")
    handle, partial = tempfile.mkstemp(suffix=library.suffix, dir=library.parent)
    os.close(handle)
    try:
        command = [compiler, "-O2", "-shared", "-fPIC", "-o", partial, str(source)]
        subprocess.run(
            command, check=True, timeout=60, stdin=subprocess.DEVNULL, capture_output=True
        )
        Path(partial).replace(library)
    finally:
        Path(partial).unlink(missing_ok=True)


def compiled_available() -> bool:
    """Whether counting runs at full speed on this machine."""
    return _library() is not None
