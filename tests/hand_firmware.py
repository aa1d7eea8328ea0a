# SPDX-License-Identifier: Apache-2.0
"""A firmware around a model written by hand, compiled without PlatformIO and code generation.

The runtime, the drivers, the linker script and board_config.h are the product's own. The model has
operators that exercise the link: a product, two outputs, kept state, a reduction, and many that
compute nothing. `Twin` computes the same in Python.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from mcudeploy.board import Board
from mcudeploy.codegen.model import environment
from mcudeploy.resources import resource_folder

INPUT_BYTES = 600
EXTRA_OPERATORS = 70
"""More than one answer holds, so that observed runs pause."""
MODEL_ID = "c0ffee42"
STACK_BYTES = 2048

HEADER = """\
/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_H
#define MODEL_H
#include <stdint.h>
#define MODEL_INPUT_COUNT 1
#define MODEL_OUTPUT_COUNT 2
#define EXTRA EXTRA_OPERATORS
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
OWN_CODE
#define SHOW(k, pointer, bytes) \\
    do { if (observe != NULL) { observe(k, pointer, bytes); } } while (0)

__attribute__((noinline)) void model_invoke_observed(model_observer_t observe)
{
    BEFORE
    times();
    SHOW(0, b, N);
    halves();
    SHOW(1, c, N);
    SHOW(1, a, N);
    accumulate();
    SHOW(2, b, N);
    reduce();
    WITHIN
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

    state: list[int] = field(default_factory=lambda: [5] * 16)

    def infer(self, data: bytes) -> tuple[tuple[bytes, ...], list[bytes]]:
        b = bytes(v * 3 & 255 for v in data)
        c, a = bytes(v >> 1 for v in b), bytes(v & 1 for v in b)
        out = bytearray(b)
        for i in range(INPUT_BYTES):
            self.state[i % 16] = (self.state[i % 16] + c[i]) & 255
            out[i] ^= self.state[i % 16]
        total = sum(out).to_bytes(4, "little")
        shown = [b, c + a, bytes(out), total, *[total] * EXTRA_OPERATORS]
        return (bytes(out), total), shown


def checksums(shown: list[bytes]) -> tuple[int, ...]:
    """What the firmware reports of operators with these output bytes."""
    return tuple(zlib.crc32(block) for block in shown)


@dataclass(frozen=True)
class Variation:
    """C text put into the model: functions, and statements before and within an inference."""

    code: str = ""
    before: str = ""
    within: str = ""


def build(
    folder: Path,
    board: Board,
    variation: Variation = Variation(),
    *,
    selftest: bytes | None = None,
) -> Path:
    """Compile and link the firmware; any warning of compiler or linker fails."""
    folder.mkdir(parents=True, exist_ok=True)
    common = _common_files(board)
    ram = board.regions("ram")
    other = f'IN(".region.{ram[1].name}.arena") int8_t model_arena_other[N];' if ram[1:] else ""
    source = (
        SOURCE.replace("FIRST", ram[0].name)
        .replace("OTHER_ARENA", other)
        .replace("OTHER_BLOCK", "model_arena_other" if other else "model_arena_first + 2 * N")
        .replace("OWN_CODE", variation.code)
        .replace("BEFORE", variation.before)
        .replace("WITHIN", variation.within)
        .replace("INPUT_BYTES", str(INPUT_BYTES))
    )
    (folder / "model.c").write_text(source, encoding="utf-8")
    (folder / "selftest.h").write_text(_selftest(selftest), encoding="utf-8")
    runtime = resource_folder("firmware") / "runtime"
    elf = folder / "firmware.elf"
    own = [str(folder / "model.c"), str(runtime / "selftest_run.c")]
    link = ["-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections", "-Wl,--fatal-warnings"]
    link += [f"-Wl,-Map,{folder / 'firmware.map'}", "-T", str(common / "board.ld")]
    _gcc(board, common, [f"-I{folder}", *own, *map(str, common.glob("*.o")), *link, "-o", str(elf)])
    return elf


_common: dict[str, Path] = {}


def _common_files(board: Board) -> Path:
    """A folder with all that does not change from one variation to the next."""
    key = board.model_dump_json()
    if key not in _common:
        _common[key] = _make_common_files(board)
    return _common[key]


def _make_common_files(board: Board) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"mcudeploy-{board.name}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    env = environment()
    context = {"board": board, "stack_bytes": STACK_BYTES, "model_sha256": MODEL_ID * 8}
    context["external"] = ()
    header = HEADER.replace("EXTRA_OPERATORS", str(EXTRA_OPERATORS))
    (folder / "model.h").write_text(header, encoding="utf-8")
    for name in ("board_config.h", "board.ld"):
        text = env.get_template(f"project/{name}.j2").render(context)
        (folder / name).write_text(text, encoding="utf-8")
    firmware = resource_folder("firmware")
    sources = [f for f in (firmware / "runtime").glob("*.c") if f.stem != "selftest_run"]
    sources += [firmware / "drivers" / name for name in board.driver_files]
    for source in sources:
        _gcc(board, folder, ["-c", str(source), "-o", str(folder / f"{source.stem}.o")])
    return folder


def _gcc(board: Board, folder: Path, arguments: list[str]) -> None:
    firmware = resource_folder("firmware")
    command = [
        "arm-none-eabi-gcc", *board.core.compiler_flags, "-std=c99", "-O2", "-g",
        "-Wall", "-Wextra", "-Werror", "-ffunction-sections", "-fdata-sections",
        f"-I{folder}", f"-I{firmware / 'runtime'}", f"-I{firmware / 'drivers'}", *arguments,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr


def _selftest(data: bytes | None) -> str:
    if data is None:
        return "#define MODEL_SELFTEST 0\n"
    outputs, _ = Twin().infer(data)
    crcs = ", ".join(f"0x{zlib.crc32(output):08x}u" for output in outputs)
    return (
        "#define MODEL_SELFTEST 1\n#define MODEL_SELFTEST_SEED 1u\n"
        f"static const uint8_t golden[] = {{ {', '.join(map(str, data))} }};\n"
        "static const void *const model_selftest_inputs[] = { golden };\n"
        f"static const uint32_t model_selftest_output_crcs[] = {{ {crcs} }};\n"
    )
