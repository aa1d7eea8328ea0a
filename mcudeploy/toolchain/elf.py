# SPDX-License-Identifier: Apache-2.0
"""A linked firmware as a value: what must be loaded where, and which name lies at which address."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from mcudeploy.errors import InputError

_THUMB = 1


@dataclass(frozen=True)
class Segment:
    """A LOAD segment. `data` lies at `load_address` after programming (in flash, for initialised
    data too) and at `address` when the program runs, where it takes `memory_bytes`.
    """

    address: int
    load_address: int
    data: bytes
    memory_bytes: int
    executable: bool
    writable: bool


@dataclass(frozen=True)
class Section:
    """An output section that takes memory. `stored` is false for zeroed and unloaded memory."""

    name: str
    address: int
    size: int
    stored: bool
    executable: bool


@dataclass(frozen=True)
class Symbol:
    """A name with its place; the Thumb bit of a function is not part of `address`."""

    name: str
    address: int
    size: int
    is_function: bool
    is_global: bool


@dataclass(frozen=True)
class FirmwareImage:
    """What an emulator and a report need to know of an ELF file. `entry` is without Thumb bit."""

    path: Path
    entry: int
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]

    @cached_property
    def _by_name(self) -> Mapping[str, Symbol]:
        # Where a static and a global symbol share a name, the global one is meant.
        ordered = sorted(self.symbols, key=lambda symbol: symbol.is_global)
        return {symbol.name: symbol for symbol in ordered}

    @cached_property
    def _functions(self) -> tuple[tuple[int, Symbol], ...]:
        found = (symbol for symbol in self.symbols if symbol.is_function)
        return tuple(sorted(((s.address, s) for s in found), key=lambda pair: pair[0]))

    def symbol(self, name: str) -> Symbol:
        """The symbol of that name. Raises InputError when the firmware has none."""
        if name not in self._by_name:
            raise InputError(
                f"the firmware has no symbol {name!r}",
                where=str(self.path),
                mend="was it built from a project that mcudeploy generated?",
            )
        return self._by_name[name]

    def address_of(self, name: str) -> int:
        """The address of a symbol, for a function without the Thumb bit."""
        return self.symbol(name).address

    def has(self, name: str) -> bool:
        return name in self._by_name

    def function_at(self, address: int) -> Symbol | None:
        """The function whose code holds `address` (with or without Thumb bit), None outside."""
        address &= ~_THUMB
        position = bisect_right(self._functions, address, key=lambda pair: pair[0])
        if position == 0:
            return None
        start, symbol = self._functions[position - 1]
        # Hand-written assembly may leave the size out; then the next function ends it.
        inside = address < start + symbol.size if symbol.size else True
        return symbol if inside else None

    def describe(self, address: int) -> str:
        """An address for a person: `arm_convolve_s8+0x1e`, or the bare number where no name is."""
        symbol = self.function_at(address)
        if symbol is None:
            return f"0x{address:08x}"
        offset = (address & ~_THUMB) - symbol.address
        return f"{symbol.name}+0x{offset:x}" if offset else symbol.name


def read_elf(path: Path) -> FirmwareImage:
    """Read a firmware. Raises InputError when the file is no 32-bit Arm ELF executable."""
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            if elf["e_machine"] != "EM_ARM" or elf["e_type"] != "ET_EXEC":
                raise InputError("this is no Arm firmware", where=str(path))
            return FirmwareImage(
                path=path,
                entry=elf["e_entry"] & ~_THUMB,
                segments=_segments(elf),
                sections=_sections(elf),
                symbols=_symbols(elf),
            )
    except OSError as error:
        raise InputError(
            f"cannot read the firmware: {error.strerror}",
            where=str(path),
            mend="`mcudeploy build DIR` makes it",
        ) from None
    # pyelftools lets errors of its parser through when a header points outside of the file.
    except (ELFError, ValueError, KeyError, AttributeError, OverflowError, AssertionError) as error:
        raise InputError(f"the firmware is no valid ELF file: {error}", where=str(path)) from None


def _segments(elf: ELFFile) -> tuple[Segment, ...]:
    return tuple(
        Segment(
            address=segment["p_vaddr"],
            load_address=segment["p_paddr"],
            data=segment.data(),
            memory_bytes=segment["p_memsz"],
            executable=bool(segment["p_flags"] & 1),
            writable=bool(segment["p_flags"] & 2),
        )
        for segment in elf.iter_segments()
        if segment["p_type"] == "PT_LOAD" and segment["p_memsz"]
    )


def _sections(elf: ELFFile) -> tuple[Section, ...]:
    return tuple(
        Section(
            name=section.name,
            address=section["sh_addr"],
            size=section["sh_size"],
            stored=section["sh_type"] != "SHT_NOBITS",
            executable=bool(section["sh_flags"] & SH_FLAGS.SHF_EXECINSTR),
        )
        for section in elf.iter_sections()
        if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_size"]
    )


def _symbols(elf: ELFFile) -> tuple[Symbol, ...]:
    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection):
        raise InputError("the firmware was stripped of its symbols")
    found = []
    for symbol in table.iter_symbols():
        kind = symbol["st_info"]["type"]
        # Names that start with $ mark where code and data change; they name nothing.
        if kind in ("STT_FUNC", "STT_OBJECT", "STT_NOTYPE") and symbol.name[:1] not in ("", "$"):
            is_function = kind == "STT_FUNC"
            found.append(
                Symbol(
                    name=symbol.name,
                    address=symbol["st_value"] & ~_THUMB if is_function else symbol["st_value"],
                    size=symbol["st_size"],
                    is_function=is_function,
                    is_global=symbol["st_info"]["bind"] != "STB_LOCAL",
                )
            )
    return tuple(found)
