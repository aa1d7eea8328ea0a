# SPDX-License-Identifier: Apache-2.0
"""Runs kernel cases on an emulated Cortex-M core and counts instructions and estimated cycles.

Instructions are exact: those of each executed basic block. Cycles are those of
`mcudeploy.profiling.cycles`, with memory that never waits.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import unicorn
from elftools.elf.elffile import ELFFile
from kernel_program import FLAGS, POISON, Case, arm_program, firmware_sources, layout
from unicorn import arm_const

from mcudeploy.board import Core
from mcudeploy.profiling.cycles import cycle_model, disassemble

_CODE, _RAM = 0x08000000, 0x20000000
_STOP = 0x0FFFF000
_SCRIPT = """
ENTRY(main)
SECTIONS {
  . = 0x08000000; .text : { *(.text*) *(.rodata*) }
  .ARM.exidx : { *(.ARM.exidx*) }
  . = 0x20000000; .data : { *(.data*) } .bss : { *(.bss*) *(COMMON) }
}
"""


@dataclass(frozen=True, eq=False)
class Run:
    output: npt.NDArray[np.int8]
    instructions: int
    cycles: int


class CountedProgram:
    """Cases compiled for a core, each callable on its own."""

    def __init__(
        self,
        cases: Sequence[Case],
        core: Core,
        folder: Path,
        *,
        optimization: str = "-O2",
        more: Sequence[str] = (),
    ) -> None:
        self.cases = cases
        (folder / "program.c").write_text(arm_program(cases))
        (folder / "program.ld").write_text(_SCRIPT)
        elf = folder / "program.elf"
        flags = [optimization, *core.compiler_flags, *FLAGS, "-ffunction-sections"]
        link = ["-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections,--no-warn-rwx-segments"]
        sources = [str(folder / "program.c"), *map(str, firmware_sources(cases))]
        keep = [f"-Wl,-u,case{i}" for i in range(len(cases))]
        done = subprocess.run(
            ["arm-none-eabi-gcc", *flags, *link, *keep, "-T", str(folder / "program.ld"),
             *sources, *more, "-o", str(elf)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[:4000]
        with elf.open("rb") as file:
            parsed = ELFFile(file)
            self._symbols = {
                s.name: s["st_value"] for s in parsed.get_section_by_name(".symtab").iter_symbols()
            }
            self._segments = [
                (s["p_vaddr"], s.data()) for s in parsed.iter_segments() if s["p_type"] == "PT_LOAD"
            ]
        self._machine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
        assert core.unicorn_model is not None
        self._machine.ctl_set_cpu_model(getattr(arm_const, core.unicorn_model))
        self._machine.mem_map(_CODE, 8 << 20)
        self._machine.mem_map(_RAM, 32 << 20)
        self._machine.mem_map(_STOP & ~0xFFF, 0x1000)
        for address, data in self._segments:
            self._machine.mem_write(address, data)
        self._blocks: dict[tuple[int, int], tuple[int, int, int]] = {}
        model = cycle_model(core)
        assert model is not None
        self._model = model
        self._machine.hook_add(unicorn.UC_HOOK_BLOCK, self._block)
        self._instructions = self._cycles = self._expected = self._taken = 0

    def _block(self, machine: unicorn.Uc, address: int, size: int, _: object) -> None:
        cost = self._blocks.get((address, size))
        if cost is None:
            instructions = disassemble(bytes(machine.mem_read(address, size)), address)
            cycles = self._model.block(instructions)
            cost = len(instructions), cycles.through, cycles.taken
            self._blocks[address, size] = cost
        self._instructions += cost[0]
        self._cycles += cost[1] + (self._taken if address != self._expected else 0)
        self._expected, self._taken = address + size, cost[2]

    def _address(self, name: str) -> int:
        return int(self._symbols[name])

    def run(self, index: int) -> Run:
        """Calls case `index` with poisoned scratch and output."""
        case, name, machine = self.cases[index], f"case{index}", self._machine
        scratch = case.implementation.scratch_bytes
        if scratch:
            machine.mem_write(self._address(f"{name}_scratch"), bytes([POISON]) * scratch)
        places = {f"{name}_in{i}": 0 for i in range(len(case.inputs))}
        if case.distance is not None:
            size, in_at, out_at = layout(case)
            block = self._address(f"{name}_block")
            machine.mem_write(block, bytes([POISON]) * size)
            places[f"{name}_in0"], output = block + in_at, block + out_at
        else:
            output = self._address(f"{name}_out")
            machine.mem_write(output, bytes([POISON]) * case.output_bytes)
        for (place, known), array in zip(places.items(), case.inputs, strict=True):
            machine.mem_write(known or self._address(place), array.tobytes())
        self._call(self._address(name))
        data = bytes(machine.mem_read(output, case.output_bytes))
        return Run(np.frombuffer(data, dtype=np.int8), self._instructions, self._cycles)

    def _call(self, address: int) -> None:
        self._machine.reg_write(arm_const.UC_ARM_REG_SP, _RAM + (32 << 20) - 64)
        self._machine.reg_write(arm_const.UC_ARM_REG_LR, _STOP | 1)
        self._instructions = self._cycles = self._taken = 0
        self._expected = address & ~1
        self._machine.emu_start(address | 1, _STOP)
