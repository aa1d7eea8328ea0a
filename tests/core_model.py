# SPDX-License-Identifier: Apache-2.0
"""A planned network compiled for a Cortex-M core and run on Unicorn, without firmware around it.

The very C text that goes into firmware, with the kernels and the CMSIS-NN variant of that core.
Inputs are written to, and outputs read from, the places that the plan gives them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import unicorn
from elftools.elf.elffile import ELFFile
from unicorn import arm_const

from mcudeploy.board import Core
from mcudeploy.codegen.library import kernel_files
from mcudeploy.codegen.model import ModelSource, arena_symbol, render_model, state_symbol
from mcudeploy.memory.plan import Placement, Plan
from mcudeploy.resources import cache_folder
from mcudeploy.toolchain import cmsis_nn

_CODE, _RAM, _STOP = 0x08000000, 0x20000000, 0x0FFFF000
_RAM_BYTES = 64 << 20
_COMPILER = "arm-none-eabi-gcc"
_SCRIPT = """
ENTRY(model_invoke)
SECTIONS {
  . = 0x08000000; .text : { *(.text*) *(.rodata*) }
  .ARM.exidx : { *(.ARM.exidx*) }
  . = 0x20000000; .data : { *(.data*) } .bss : { *(.bss*) *(.region*) *(COMMON) }
}
"""
_POISON = 0xA5


def _library(functions: set[str], core: Core) -> list[str]:
    """CMSIS-NN's objects for these functions, compiled once for each core."""
    tree = cmsis_nn.source()
    objects = []
    for path in cmsis_nn.closure(functions) if functions else ():
        if path.suffix != ".c":
            continue
        made = cache_folder("tests", f"cmsis-nn-{core.name}") / f"{path.stem}.o"
        if not made.is_file():
            staging = made.with_suffix(f".{os.getpid()}.o")
            subprocess.run(
                [_COMPILER, "-O2", "-std=c99", *core.compiler_flags, f"-I{tree / 'Include'}",
                 "-c", str(tree / path), "-o", str(staging)],
                check=True,
            )  # fmt: skip
            staging.replace(made)
        objects.append(str(made))
    return objects


def _write(plan: Plan, folder: Path) -> tuple[list[Path], set[str]]:
    """The model's C and its kernels; returns the C files and CMSIS-NN's functions."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in render_model(ModelSource(plan, "network")).items():
        (folder / name).write_text(text)
    sources = [s for i in plan.implementations for s in i.sources]
    for name, content in kernel_files(sources).items():
        (folder / Path(name).name).write_bytes(content)
    functions = {s.partition(":")[2] for s in sources if s.startswith("cmsis-nn:")}
    return sorted(folder.glob("*.c")), functions


class CoreProgram:
    """A planned network on an emulated core."""

    def __init__(self, plan: Plan, folder: Path, core: Core):
        self.plan = plan
        sources, functions = _write(plan, folder)
        script, elf = folder / "program.ld", folder / "program.elf"
        script.write_text(_SCRIPT)
        subprocess.run(
            [_COMPILER, "-O2", "-std=c99", "-Wall", "-Wextra", "-Werror", *core.compiler_flags,
             f"-I{cmsis_nn.source() / 'Include'}", "-nostartfiles", "--specs=nano.specs",
             "-Wl,--no-warn-rwx-segments", "-Wl,-u,model_reset", "-T", str(script),
             *map(str, sources), *_library(functions, core), "-lm", "-o", str(elf)],
            check=True,
        )  # fmt: skip
        self._load(elf, core)

    def _load(self, elf: Path, core: Core) -> None:
        self._machine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
        assert core.unicorn_model is not None
        self._machine.ctl_set_cpu_model(getattr(arm_const, core.unicorn_model))
        self._machine.mem_map(_CODE, 16 << 20)
        self._machine.mem_map(_RAM, _RAM_BYTES)
        self._machine.mem_map(_STOP & ~0xFFF, 0x1000)
        with elf.open("rb") as file:
            parsed = ELFFile(file)
            table = parsed.get_section_by_name(".symtab")
            self._symbols = {s.name: int(s["st_value"]) for s in table.iter_symbols()}
            for segment in parsed.iter_segments():
                if segment["p_type"] == "PT_LOAD" and segment["p_filesz"]:
                    self._machine.mem_write(segment["p_vaddr"], segment.data())

    def _address(self, index: int) -> tuple[int, Placement]:
        if index in self.plan.state:
            place = self.plan.state[index]
            within = place.offset - self.plan.state_begin(place.region)
            return self._symbols[state_symbol("model", place.region)] + within, place
        place = self.plan.tensors[index]
        return self._symbols[arena_symbol("model", place.region)] + place.offset, place

    def _call(self, name: str) -> None:
        self._machine.reg_write(arm_const.UC_ARM_REG_SP, _RAM + _RAM_BYTES - 64)
        self._machine.reg_write(arm_const.UC_ARM_REG_LR, _STOP | 1)
        self._machine.emu_start(self._symbols[name] | 1, _STOP)

    def __call__(self, inputs: Sequence[Sequence[npt.NDArray[Any]]]) -> list[tuple[bytes, ...]]:
        """The outputs of each inference; state is reset before each."""
        found = []
        for arrays in inputs:
            for region, size in self.plan.arenas.items():
                arena = self._symbols[arena_symbol("model", region)]
                self._machine.mem_write(arena, bytes([_POISON]) * size)
            self._call("model_reset")
            for index, array in zip(self.plan.graph.inputs, arrays, strict=True):
                self._machine.mem_write(
                    self._address(index)[0], np.ascontiguousarray(array).tobytes()
                )
            self._call("model_invoke")
            outputs = [self._address(index) for index in self.plan.graph.outputs]
            found.append(
                tuple(bytes(self._machine.mem_read(at, place.bytes)) for at, place in outputs)
            )
        return found
