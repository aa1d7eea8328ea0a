# SPDX-License-Identifier: Apache-2.0
"""Cycles of a basic block on each core, with memory that never waits.

A block is disassembled once and its cycles are two figures: those of running through it, and those
that a branch at its end adds when it is taken. Executions and taken branches are counted exactly,
so loops need no guess; inside a block each instruction has its cycles by a table:

=================  ==========  ======  ==========================================================
instruction        M3 M4 M33   M0+     remark
=================  ==========  ======  ==========================================================
ALU, shift, SIMD   1           1
multiply           1 (a)       1       (a) M3: MLA 2, SMULL 4, SMLAL 5
LDR, LDRB, ...     2 or 1 (b)  2       (b) 1 after a load whose result it does not address with
STR, STRB, ...     1 or 2 (c)  2       (c) 2 with an offset in a register
LDRD, STRD         3           -
LDM, STM, PUSH     1 + n       1 + n
branch             1, +2       1, +1   when taken; so do BL (M0+: one more), BX, and loads of PC
UDIV, SDIV         7           -       of 2 to 12
IT                 0           -
FPU                1 (d)       -       (d) loads 2, VMLA 3, VDIV and VSQRT 14
=================  ==========  ======  ==========================================================

Sources: the technical reference manuals of Cortex-M0+ r0p1, M3 r2p1 and M4 r0p1. Arm publishes no
table for Cortex-M33; the M4's came to within -10 to +1 % of what was measured on one. None for
Cortex-M7 either: `DualIssue` walks the block in order, two instructions a cycle where the second
does not need the first and both do not want the same unit, with one cycle from a load or a multiply
to its use. Of CMSIS-NN on one, only networks of about the same layers as ours were published: the
estimates are 22 % below to 5 % above (`benchmarks/latency.py`). Cortex-M55 has no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from mcudeploy.board import Core

_LOADS = frozenset({"ldr", "ldrb", "ldrh", "ldrsb", "ldrsh"})
_STORES = frozenset({"str", "strb", "strh"})
_PAIRS = frozenset({"ldrd", "strd"})
_MULTIPLE = ("ldm", "stm", "push", "pop", "vldm", "vstm", "vpush", "vpop")
_DIVIDES = frozenset({"udiv", "sdiv"})
_CALLS = frozenset({"bl", "blx"})
_TABLE_BRANCHES = frozenset({"tbb", "tbh"})


@dataclass(frozen=True)
class Instruction:
    """What timing needs to know of an instruction. `address` are the registers it addresses by."""

    name: str
    text: str
    reads: frozenset[str]
    writes: frozenset[str]

    @property
    def is_load(self) -> bool:
        return self.name in _LOADS

    @property
    def is_multiply(self) -> bool:
        return self.name.startswith(("mul", "ml", "sm", "uml", "umu", "uma"))

    @property
    def is_memory(self) -> bool:
        return (
            self.name in _LOADS | _STORES | _PAIRS
            or self.name.startswith(_MULTIPLE)
            or self.name in ("vldr", "vstr")
        )

    @property
    def listed(self) -> int:
        """Registers of a list, words for the FPU's double ones."""
        inside = self.text[self.text.index("{") + 1 : self.text.index("}")].split(",")
        return sum(2 if register.strip().startswith("d") else 1 for register in inside)


@dataclass(frozen=True)
class BlockCycles:
    """Cycles of one execution, and what a branch at the end adds when it is taken."""

    through: int
    taken: int


class CycleModel(Protocol):
    """How a core spends its cycles."""

    def block(self, instructions: Sequence[Instruction]) -> BlockCycles: ...


@dataclass(frozen=True)
class InOrder:
    """One instruction at a time, by a table; `name` picks the core's column."""

    load: int = 2
    following_load: int = 1
    store: int = 1
    indexed_store: int = 2
    taken: int = 2
    call: int = 1
    """BL and BLX without `taken`."""
    pop_pc: int = 0
    """More for a POP that loads the program counter, without `taken`."""
    multiply: tuple[tuple[str, int], ...] = ()
    """Multiplies of more than one cycle, by how their names begin."""

    def block(self, instructions: Sequence[Instruction]) -> BlockCycles:
        cycles, before = 0, None
        for instruction in instructions:
            cycles += self._one(instruction, before)
            before = instruction
        return BlockCycles(cycles, self.taken)

    def _one(self, one: Instruction, before: Instruction | None) -> int:
        name = one.name
        if one.is_load:
            follows = before is not None and before.is_load and not before.writes & one.reads
            return self.following_load if follows else self.load
        if name in _STORES:
            return self.indexed_store if _register_offset(one) else self.store
        if name in _PAIRS:
            return 3
        if name.startswith(_MULTIPLE):
            return 1 + one.listed + (self.pop_pc if "pc" in one.writes else 0)
        if name in _CALLS:
            return self.call
        return self._computing(name)

    def _computing(self, name: str) -> int:
        if name in _DIVIDES:
            return 7
        if name.startswith("it"):
            return 0
        if name in _TABLE_BRANCHES:
            return 2
        for prefix, cycles in (*self.multiply, *_FPU):
            if name.startswith(prefix):
                return cycles
        return 1


_FPU = (
    ("vldr", 2), ("vstr", 2), ("vmla", 3), ("vmls", 3), ("vnml", 3), ("vfm", 3), ("vfn", 3),
    ("vdiv", 14), ("vsqrt", 14),
)  # fmt: skip


def _register_offset(store: Instruction) -> bool:
    inside = store.text.partition("[")[2].partition("]")[0].split(",")
    return len(inside) > 1 and "#" not in inside[1]


@dataclass(frozen=True)
class DualIssue:
    """Two instructions a cycle, in order. A taken branch that is predicted costs one cycle."""

    latency: int = 2
    """Cycles from a load or a multiply to what needs its result."""
    taken: int = 1

    def block(self, instructions: Sequence[Instruction]) -> BlockCycles:
        ready: dict[str, int] = {}
        cycle = 0
        issued: list[Instruction] = []
        for one in instructions:
            if one.name.startswith("it"):
                continue
            earliest = max((ready.get(register, 0) for register in one.reads), default=0)
            if earliest > cycle or not self._pairs(issued, one):
                cycle, issued = max(cycle + bool(issued), earliest), []
            issued.append(one)
            slow = one.is_multiply or one.is_memory
            for register in one.writes:
                ready[register] = cycle + (self.latency if slow else 1)
            cycle += self._more(one)
        return BlockCycles(cycle + bool(issued), self.taken)

    def _pairs(self, issued: Sequence[Instruction], one: Instruction) -> bool:
        if not issued:
            return True
        if len(issued) == 2 or self._more(one) or self._more(issued[0]):
            return False
        both = (issued[0], one)
        return not (
            all(i.is_multiply for i in both) or all(i.is_memory and not i.is_load for i in both)
        )

    def _more(self, one: Instruction) -> int:
        """Cycles that an instruction keeps others from being issued."""
        if one.name in _DIVIDES:
            return 6
        if one.name.startswith(("vdiv", "vsqrt")):
            return 13
        return (one.listed - 1) // 2 if one.name.startswith(_MULTIPLE) else 0


_ARMV7M = InOrder()
_MODELS: dict[str, CycleModel] = {
    "cortex-m0plus": InOrder(following_load=2, store=2, indexed_store=2, taken=1, call=2, pop_pc=1),
    "cortex-m3": InOrder(
        multiply=(("mla", 2), ("mls", 2), ("smull", 4), ("umull", 4), ("smlal", 5), ("umlal", 5))
    ),
    "cortex-m4f": _ARMV7M,
    "cortex-m33": _ARMV7M,
    "cortex-m7": DualIssue(),
    "cortex-m7d": DualIssue(),
}


def cycle_model(core: Core) -> CycleModel | None:
    """The model of a core, None where there is none."""
    return _MODELS.get(core.name)


@cache
def _disassembler() -> Any:
    import capstone

    made = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    made.detail = True
    return made


def disassemble(code: bytes, address: int = 0) -> tuple[Instruction, ...]:
    """Thumb code as instructions; names are without condition and width."""
    made = _disassembler()
    found = []
    for one in made.disasm(code, address):
        reads, writes = one.regs_access()
        found.append(
            Instruction(
                made.insn_name(one.id),
                one.op_str,
                frozenset(map(one.reg_name, reads)),
                frozenset(map(one.reg_name, writes)),
            )
        )
    return tuple(found)
