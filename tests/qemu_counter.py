# SPDX-License-Identifier: Apache-2.0
"""Counts kernel cases on QEMU's Cortex-M55 with Helium, which the embedded emulator lacks.

A bare program calls one case after the other. Under `-icount` an instruction takes 128 ns, more
than two ticks of SysTick, so that rounding gives the exact number of instructions.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from kernel_program import FLAGS, Case, arm_program, firmware_sources

from mcudeploy.board import CORES

CORE = CORES["cortex-m55"]
_NANOSECONDS, _HZ = 128, 32_000_000
_SCRIPT = """
ENTRY(reset)
SECTIONS {
  . = 0; .vectors : { KEEP(*(.vectors)) }
  . = 0x60000000; .text : { *(.text*) *(.rodata*) } .ARM.exidx : { *(.ARM.exidx*) }
  .data : { *(.data*) } .bss : { *(.bss*) *(COMMON) }
}
"""
_MAIN = """
#define REGISTER(address) (*(volatile uint32_t *)(address))

void reset(void);
__attribute__((used, section(".vectors"))) static void *const vectors[] = {
    (void *)0x20080000, (void *)reset, (void *)reset, (void *)reset};

static void semihost(uint32_t what, const void *argument)
{
    register uint32_t r0 __asm__("r0") = what;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

static void show(uint32_t value)
{
    char text[12] = "";
    char *at = text + 10;
    *at = '\\n';
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    semihost(4, at);
}

static void randomize(int8_t *bytes, uint32_t count)
{
    static uint32_t state = 1;
    for (; count > 0; count--) {
        state = state * 1664525u + 1013904223u;
        *bytes++ = (int8_t)(state >> 24);
    }
}

static void count(void (*one)(void))
{
    REGISTER(0xE000E014) = 0xFFFFFF;
    REGISTER(0xE000E018) = 0;
    REGISTER(0xE000E010) = 5;
    __asm__ volatile("dsb\\nisb" ::: "memory");
    const uint32_t before = REGISTER(0xE000E018);
    one();
    const uint32_t after = REGISTER(0xE000E018);
    REGISTER(0xE000E010) = 0;
    show((before - after) & 0xFFFFFF);
}

static void nothing(void)
{
    __asm__ volatile("");
}

void reset(void)
{
    REGISTER(0xE000ED88) |= 15u << 20; /* the FPU, and with it Helium */
    __asm__ volatile("dsb\\nisb" ::: "memory");
    count(nothing);
"""


class QemuError(AssertionError):
    """The program did not run to its end."""


def count_on_qemu(cases: Sequence[Case], folder: Path, more: Sequence[str] = ()) -> list[int]:
    """Instructions of each case on random input; none may take more than 4 million."""
    text = [arm_program(cases).replace("int main(void) { return 0; }", ""), _MAIN]
    for index, case in enumerate(cases):
        sizes = [a.size for a in case.inputs]
        text += [f"randomize(case{index}_in{i}, {size});" for i, size in enumerate(sizes)]
        text += [f"count(case{index});"]
    text += ["semihost(0x18, (const void *)0x20026);", "for (;;) {}", "}"]
    (folder / "program.c").write_text("\n".join(text))
    (folder / "program.ld").write_text(_SCRIPT)
    elf = folder / "program.elf"
    link = ["-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections,--no-warn-rwx-segments"]
    sources = [str(folder / "program.c"), *map(str, firmware_sources(cases))]
    done = subprocess.run(
        ["arm-none-eabi-gcc", "-O2", *CORE.compiler_flags, *FLAGS, "-ffunction-sections", *link,
         "-T", str(folder / "program.ld"), *sources, *more, "-lm", "-o", str(elf)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[:4000]
    ran = subprocess.run(
        ["qemu-system-arm", "-machine", "mps3-an547", "-icount", "shift=7", "-nographic",
         "-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native",
         "-kernel", str(elf)],
        check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    ticks = [int(line) for line in (ran.stdout + ran.stderr).split() if line.isdigit()]
    if len(ticks) != len(cases) + 1:
        raise QemuError((ran.stdout + ran.stderr)[:2000])
    per = _NANOSECONDS * _HZ / 1e9
    empty, *counts = (round(tick / per) for tick in ticks)
    return [one - empty + 1 for one in counts]  # `nothing` is one instruction, its return
