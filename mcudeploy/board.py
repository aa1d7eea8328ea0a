# SPDX-License-Identifier: Apache-2.0
"""Boards as values: `Board`, `MemoryRegion`, `Core`, read from `boards/*.toml`.

A board has regions, not "RAM": each has an address, a size and rules (may DMA reach it, may code
run from it). Boards are data; adding one is adding a TOML file.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mcudeploy.errors import InputError
from mcudeploy.resources import resource_folder

_UNITS = {"": 1, "B": 1, "K": 1024, "KIB": 1024, "M": 1024**2, "MIB": 1024**2}


def parse_bytes(text: str | int) -> int:
    """A size such as `64K`, `512 KiB`, `2 MiB` or `4096` in bytes (K and M are powers of 1024)."""
    if isinstance(text, int):
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = match[2].upper() if match else ""
    if not match or unit not in _UNITS:
        raise ValueError(f"{text!r} is not a size; write it like 64K, 512KiB, 2M or 4096")
    return int(float(match[1]) * _UNITS[unit])


Bytes = Annotated[int, BeforeValidator(parse_bytes)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Core(_Value):
    """A processor core as compilers, kernels and emulators see it."""

    name: str
    compiler_flags: tuple[str, ...]
    dsp: bool
    fpu: bool
    mve: bool
    dwt: bool
    """Has the DWT cycle counter (ARMv7-M and ARMv8-M main line)."""
    caches: bool
    """Has instruction and data caches, which start-up enables."""
    unicorn_model: str | None
    renode_model: str | None
    """Renode's name of the core; None where it lacks instructions (Helium)."""

    @property
    def alignment(self) -> int:
        """The alignment in bytes that kernels want of their buffers."""
        return 16 if self.mve else 4


def _core(
    name: str,
    flags: str,
    *,
    dsp: bool,
    fpu: bool,
    mve: bool,
    dwt: bool,
    unicorn: str | None,
    renode: str | None,
    caches: bool = False,
) -> Core:
    return Core(
        name=name,
        compiler_flags=(*flags.split(), "-mthumb"),
        dsp=dsp,
        fpu=fpu,
        mve=mve,
        dwt=dwt,
        caches=caches,
        unicorn_model=unicorn,
        renode_model=renode,
    )


_M4F = "-mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16"
_M7F = "-mcpu=cortex-m7 -mfloat-abi=hard -mfpu=fpv5-d16"
_M7SP = "-mcpu=cortex-m7 -mfloat-abi=hard -mfpu=fpv5-sp-d16"
_M33F = "-mcpu=cortex-m33 -mfloat-abi=hard -mfpu=fpv5-sp-d16"
_M55 = "-mcpu=cortex-m55 -mfloat-abi=hard"
_SOFT = "-mfloat-abi=soft"

CORES: dict[str, Core] = {
    core.name: core
    for core in (
        _core("cortex-m0plus", f"-mcpu=cortex-m0plus {_SOFT}",
              dsp=False, fpu=False, mve=False, dwt=False,
              unicorn="UC_CPU_ARM_CORTEX_M0", renode="cortex-m0+"),
        _core("cortex-m3", f"-mcpu=cortex-m3 {_SOFT}",
              dsp=False, fpu=False, mve=False, dwt=True,
              unicorn="UC_CPU_ARM_CORTEX_M3", renode="cortex-m3"),
        _core("cortex-m4f", _M4F,
              dsp=True, fpu=True, mve=False, dwt=True,
              unicorn="UC_CPU_ARM_CORTEX_M4", renode="cortex-m4f"),
        _core("cortex-m7", _M7SP,
              dsp=True, fpu=True, mve=False, dwt=True, caches=True,
              unicorn="UC_CPU_ARM_CORTEX_M7", renode="cortex-m7"),
        _core("cortex-m7d", _M7F,
              dsp=True, fpu=True, mve=False, dwt=True, caches=True,
              unicorn="UC_CPU_ARM_CORTEX_M7", renode="cortex-m7"),
        _core("cortex-m33", _M33F,
              dsp=True, fpu=True, mve=False, dwt=True,
              unicorn="UC_CPU_ARM_CORTEX_M33", renode="cortex-m33"),
        _core("cortex-m55", _M55,
              dsp=True, fpu=True, mve=True, dwt=True, caches=True,
              unicorn=None, renode=None),
    )
}  # fmt: skip


class MemoryRegion(_Value):
    """A contiguous range of addresses with one set of rules."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    kind: Literal["flash", "ram"]
    address: int = Field(ge=0, lt=2**32)
    size: Bytes
    dma: bool = True
    """DMA controllers can reach it."""
    execute: bool = True
    external: bool = False
    """Behind an external bus (SDRAM, QSPI); used only when asked for."""
    wait_states: int = 0
    """Cycles that a read waits at the board's clock, caches aside."""

    @property
    def end(self) -> int:
        """One past the last address."""
        return self.address + self.size


class Uart(_Value):
    """The serial port that the debugger's USB bridge carries."""

    driver: str
    """The file in firmware/drivers/ without `.c`."""
    name: str
    address: int
    baud: int = 115200
    parameters: dict[str, int | str] = {}
    """What the driver needs besides (pins, alternate function, clock enable), as C macros."""


class Clock(_Value):
    """How the core gets its clock, and what it falls back to."""

    driver: str
    hz: int
    fallback_hz: int
    parameters: dict[str, int | str] = {}


class FlashCache(_Value):
    """The vendor's flash accelerator (ART and the like), for the cycle model."""

    line_bytes: int
    instruction_lines: int
    data_lines: int


class Emulation(_Value):
    """How each emulator knows the board; an emulator that is absent here cannot run it."""

    qemu_machine: str | None = None
    renode_uart: str | None = None
    """Renode's peripheral class of the UART."""
    renode: dict[str, int | str] = {}


class Board(_Value):
    """A development board: its core, its memory, and how firmware reaches the outside."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    vendor: str
    mcu: str
    core_name: str = Field(alias="core")
    boot: str | None = None
    """The file in firmware/drivers/ (without `.S`) that a boot ROM wants in front of the code."""
    aliases: tuple[str, ...] = ()
    url: str = ""
    notes: str = ""
    tried_on: str = "emulators, not silicon"
    platformio_platform: str | None = None
    platformio_board: str | None = None
    ma_per_mhz: float | None = None
    """Run-mode current from the datasheet, mA per MHz, for the energy estimate."""
    supply_volts: float = 3.3
    clock: Clock
    uart: Uart
    memory: tuple[MemoryRegion, ...]
    flash_cache: FlashCache | None = None
    emulation: Emulation = Emulation()

    @property
    def core(self) -> Core:
        return CORES[self.core_name]

    @property
    def driver_files(self) -> tuple[str, ...]:
        """The files of `firmware/drivers/` that the board's firmware is built from, sorted."""
        files = {"cycle_counter.c", f"{self.clock.driver}.c", f"{self.uart.driver}.c"}
        return tuple(sorted(files | ({f"{self.boot}.S"} if self.boot else set())))

    def regions(
        self, kind: Literal["flash", "ram"], *, external: bool = False
    ) -> tuple[MemoryRegion, ...]:
        """The regions of a kind in the file's order: the first is where code or data go."""
        return tuple(r for r in self.memory if r.kind == kind and (external or not r.external))

    def region(self, name: str) -> MemoryRegion:
        for region in self.memory:
            if region.name == name:
                return region
        raise InputError(
            f"board {self.name} has no memory region {name!r}",
            mend=f"its regions are {', '.join(r.name for r in self.memory)}",
        )

    @model_validator(mode="after")
    def _check(self) -> Board:
        if self.core_name not in CORES:
            raise ValueError(f"core {self.core_name!r} is not one of {', '.join(CORES)}")
        if not self.regions("flash") or not self.regions("ram"):
            raise ValueError("a board needs at least one internal flash and one internal ram")
        names = [region.name for region in self.memory]
        if len(set(names)) != len(names):
            raise ValueError(f"region names repeat: {', '.join(names)}")
        ordered = sorted(self.memory, key=lambda region: region.address)
        for low, high in pairwise(ordered):
            if low.end > high.address:
                raise ValueError(f"regions {low.name} and {high.name} overlap")
        return self


def read_board(path: Path) -> Board:
    """Read one board file. Raises InputError that names the file, the field and the fault."""
    try:
        return Board.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(
            f"cannot read the board file: {error.strerror}", where=str(path),
            mend="check the path, or name one of `mcudeploy boards`",
        ) from None  # fmt: skip
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"the board file is not valid TOML: {error}", where=str(path)) from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "board"
        raise InputError(
            f"the board file's {field} is wrong: {first['msg']}",
            where=str(path),
            mend="boards/stm32f469.toml is an example; CONTRIBUTING.md explains each field",
        ) from None


@cache
def board_names() -> dict[str, str]:
    """Every name and alias of a known board, with the board's own name."""
    names = {}
    for path in sorted(resource_folder("boards").glob("*.toml")):
        names[path.stem] = path.stem
        for alias in tomllib.loads(path.read_text(encoding="utf-8")).get("aliases", ()):
            names[alias] = path.stem
    return names


def find_board(name: str) -> Board:
    """The board of that name or alias, or of that TOML file. Unknown: the nearest are offered."""
    if name.endswith(".toml"):
        return read_board(Path(name))
    path = resource_folder("boards") / f"{name}.toml"
    if re.fullmatch(r"[a-z0-9_]+", name) and path.is_file():
        return read_board(path)
    names = board_names()
    key = name.lower().replace("-", "_")
    if key in names:
        return read_board(resource_folder("boards") / f"{names[key]}.toml")
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.4)
    offered = ", ".join(dict.fromkeys(names[n] for n in near))
    raise InputError(
        f"there is no board {name!r}",
        mend=(f"did you mean {offered}? " if offered else "")
        + "`mcudeploy boards` lists all of them; a path to a .toml file works too",
    )
