# SPDX-License-Identifier: Apache-2.0
"""A firmware around a model written by hand, compiled without PlatformIO and code generation.

The runtime, the drivers, the linker script and board_config.h are the product's own. The model has
four operators that exercise the link: a table, two outputs, kept state, and a reduction; `Twin`
computes the same in Python.
"""

from __future__ import annotations

import subprocess
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from mcudeploy.board import Board
from mcudeploy.codegen.model import environment
from mcudeploy.resources import resource_folder

INPUT_BYTES = 600
MODEL_ID = "c0ffee42"
STACK_BYTES = 2048

HEADER = """\
/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_H
#define MODEL_H
#include <stdint.h>
#define MODEL_INPUT_COUNT 1
#define MODEL_OUTPUT_COUNT 2
#define EXTRA 0
#define MODEL_OPERATOR_COUNT (4 + EXTRA)
#define MODEL_STATEFUL 1
typedef struct
{
    void *data;
    uint32_t bytes;
    uint32_t elements;
    uint8_t dtype;
    uint8_t rank;
    int32_t shape[5];
    float scale;
    int32_t zero_point;
    const char *name;
} model_tensor_t;
typedef void (*model_observer_t)(uint32_t operator_index, const void *output, uint32_t bytes);
extern const model_tensor_t model_inputs[1];
extern const model_tensor_t model_outputs[2];
void model_invoke(void);
void model_invoke_observed(model_observer_t observe);
void model_reset(void);
#endif
"""

SOURCE = """\
/* SPDX-License-Identifier: Apache-2.0 */
#include "model.h"
#include <stddef.h>
#include <string.h>

#define N INPUT_BYTES
#define IN(name) __attribute__((aligned(16), section(name)))

IN(".bss.mcudeploy.arena.FIRST") int8_t model_arena_first[4 * N];
OTHER_ARENA
IN(".bss.mcudeploy.state.FIRST") int8_t model_state_first[16];
static int32_t initialised = 3;

static uint8_t *const a = (uint8_t *)model_arena_first;
static uint8_t *const b = (uint8_t *)model_arena_first + N;
static uint8_t *const c = (uint8_t *)OTHER_BLOCK;
static uint8_t *const sum = (uint8_t *)model_arena_first + 3 * N;

const model_tensor_t model_inputs[1] = {
    {model_arena_first, N, N, 0, 2, {1, N}, 0.5f, -3, "input"},
};
const model_tensor_t model_outputs[2] = {
    {model_arena_first + N, N, N, 0, 2, {1, N}, 0.25f, 7, "map"},
    {model_arena_first + 3 * N, 4, 1, 3, 1, {1}, 0.0f, 0, "sum"},
};

static void times(void)
{
    for (int i = 0; i < N; i++)
    {
        b[i] = (uint8_t)(a[i] * initialised);
    }
}
static void halves(void)
{
    for (int i = 0; i < N; i++)
    {
        c[i] = b[i] >> 1;
        a[i] = b[i] & 1;
    }
}
static void accumulate(void)
{
    for (int i = 0; i < N; i++)
    {
        model_state_first[i % 16] = (int8_t)(model_state_first[i % 16] + c[i]);
        b[i] = (uint8_t)(b[i] ^ model_state_first[i % 16]);
    }
}
static void reduce(void)
{
    uint32_t total = 0;
    for (int i = 0; i < N; i++)
    {
        total += b[i];
    }
    memcpy(sum, &total, 4);
}
FAULT_CODE
#define SHOW(k, pointer, bytes) \\
    do { if (observe != NULL) { observe(k, pointer, bytes); } } while (0)

__attribute__((noinline)) void model_invoke_observed(model_observer_t observe)
{
    times();
    SHOW(0, b, N);
    halves();
    SHOW(1, c, N);
    SHOW(1, a, N);
    accumulate();
    SHOW(2, b, N);
    reduce();
    FAULT_CALL
    SHOW(3, sum, 4);
    for (int k = 0; k < EXTRA; k++)
    {
        SHOW((uint32_t)(4 + k), sum, 4);
    }
}
__attribute__((noinline)) void model_invoke(void)
{
    model_invoke_observed(NULL);
}
void model_reset(void)
{
    memset(model_state_first, 5, 16);
}
"""


@dataclass
class Twin:
    """The hand-written model in Python: outputs, and the output bytes of every operator."""

    extra: int = 0
    state: list[int] = field(default_factory=lambda: [5] * 16)

    def infer(self, data: bytes) -> tuple[tuple[bytes, ...], list[bytes]]:
        b = bytes(v * 3 & 255 for v in data)
        c, a = bytes(v >> 1 for v in b), bytes(v & 1 for v in b)
        out = bytearray(b)
        for i in range(INPUT_BYTES):
            self.state[i % 16] = (self.state[i % 16] + c[i]) & 255
            out[i] ^= self.state[i % 16]
        total = sum(out).to_bytes(4, "little")
        shown = [b, c + a, bytes(out), total, *[total] * self.extra]
        return (bytes(out), total), shown

    def checksums(self, data: bytes) -> tuple[int, ...]:
        return tuple(zlib.crc32(block) for block in self.infer(data)[1])


def build(
    folder: Path,
    board: Board,
    *,
    extra: int = 0,
    fault_code: str = "",
    fault_call: str = "",
    selftest: bytes | None = None,
    flags: tuple[str, ...] = (),
) -> Path:
    """Compile and link the firmware; any warning of compiler or linker fails."""
    folder.mkdir(parents=True, exist_ok=True)
    ram = board.regions("ram")
    other = f'IN(".region.{ram[1].name}.arena") int8_t model_arena_other[N];' if ram[1:] else ""
    source = (
        SOURCE.replace("FIRST", ram[0].name)
        .replace("OTHER_ARENA", other)
        .replace("OTHER_BLOCK", "model_arena_other" if other else "model_arena_first + 2 * N")
        .replace("FAULT_CODE", fault_code)
        .replace("FAULT_CALL", fault_call)
        .replace("INPUT_BYTES", str(INPUT_BYTES))
    )
    env = environment()
    context = {"board": board, "stack_bytes": STACK_BYTES, "model_sha256": MODEL_ID * 8}
    files = {
        "model.h": HEADER.replace(
            "#define MODEL_OPERATOR", f"#define EXTRA {extra}\n#define MODEL_OPERATOR"
        ),
        "model.c": source,
        "selftest.h": _selftest(selftest, extra),
        "board_config.h": env.get_template("project/board_config.h.j2").render(context),
        "board.ld": env.get_template("project/board.ld.j2").render(context),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    firmware = resource_folder("firmware")
    sources = [folder / "model.c", *sorted((firmware / "runtime").glob("*.c"))]
    sources += [firmware / "drivers" / name for name in board.driver_files]
    elf = folder / "firmware.elf"
    command = [
        "arm-none-eabi-gcc", *board.core.compiler_flags, "-std=c99", "-O2", "-g",
        "-Wall", "-Wextra", "-Werror", "-Wl,--fatal-warnings",
        "-ffunction-sections", "-fdata-sections",
        "-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections",
        f"-Wl,-Map,{folder / 'firmware.map'}", "-T", str(folder / "board.ld"),
        f"-I{folder}", f"-I{firmware / 'runtime'}", f"-I{firmware / 'drivers'}",
        *flags, *map(str, sources), "-o", str(elf),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return elf


def _selftest(data: bytes | None, extra: int) -> str:
    if data is None:
        return "#define MODEL_SELFTEST 0\n"
    outputs, _ = Twin(extra).infer(data)
    crcs = ", ".join(f"0x{zlib.crc32(output):08x}u" for output in outputs)
    return (
        "#define MODEL_SELFTEST 1\n"
        f"static const uint8_t golden[] = {{ {', '.join(map(str, data))} }};\n"
        "static const void *const model_selftest_inputs[] = { golden };\n"
        f"static const uint32_t model_selftest_output_crcs[] = {{ {crcs} }};\n"
    )
