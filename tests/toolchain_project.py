# SPDX-License-Identifier: Apache-2.0
"""A small firmware written by hand, in the layout of a generated project.

It has what the toolchain looks at: an arena and kept state in their sections, weights, biases and
tables, initialised data, and a call of CMSIS-NN. Code generation has no part in it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import jinja2

from mcudeploy.board import CORES, Board
from mcudeploy.resources import resource_folder
from mcudeploy.toolchain import cmsis_nn

ARENA_BYTES = 4096
CCM_BYTES = 512
STATE_BYTES = 96
WEIGHTS_BYTES = 1200
BIASES_BYTES = 32
TABLES_BYTES = 256
STACK_BYTES = 2048

LINKER_SCRIPT = """\
/* SPDX-License-Identifier: Apache-2.0 */
ENTRY(Reset_Handler)
MEMORY {
    flash (rx) : ORIGIN = 0x08000000, LENGTH = 2M
    sram (rwx) : ORIGIN = 0x20000000, LENGTH = 320K
    ccm (rw) : ORIGIN = 0x10000000, LENGTH = 64K
}
SECTIONS {
    .text : { KEEP(*(.vectors)) *(.text .text.*) . = ALIGN(4); } > flash
    .rodata : { *(.rodata .rodata.*) . = ALIGN(4); } > flash
    .stack (NOLOAD) : { stack_bottom = .; . += STACK_BYTES; stack_top = .; } > sram
    .data : { data_start = .; *(.data .data.*) . = ALIGN(4); data_end = .; } > sram AT > flash
    data_load = LOADADDR(.data);
    .bss (NOLOAD) : { bss_start = .; *(.bss .bss.*) *(COMMON) . = ALIGN(4); bss_end = .; } > sram
    .region.ccm (NOLOAD) : { *(.region.ccm.*) } > ccm
}
""".replace("STACK_BYTES", str(STACK_BYTES))

MAIN = f"""\
/* SPDX-License-Identifier: Apache-2.0 */
#include "arm_nnfunctions.h"
#include "answer.h"

#define IN(name) __attribute__((aligned(4), section(name)))

extern uint32_t stack_top, data_start, data_end, data_load, bss_start, bss_end;

int8_t model_arena_sram[{ARENA_BYTES}] IN(".bss.mcudeploy.arena.sram");
int8_t model_arena_ccm[{CCM_BYTES}] IN(".region.ccm.arena");
int8_t model_state_sram[{STATE_BYTES}] IN(".bss.mcudeploy.state.sram");
const int8_t model_0_weights[{WEIGHTS_BYTES}]
    IN(".rodata.mcudeploy.weights.model_0_weights") = {{1, 2, 3}};
const int32_t model_0_bias[{BIASES_BYTES // 4}] IN(".rodata.mcudeploy.biases.model_0_bias") = {{7}};
const int32_t model_0_multiplier[{TABLES_BYTES // 4}]
    IN(".rodata.mcudeploy.tables.model_0_multiplier") = {{1073741824}};

volatile int32_t initialised = 42;
volatile int32_t verdict;

static void run(void)
{{
    const cmsis_nn_context context = {{model_arena_ccm, sizeof model_arena_ccm}};
    const cmsis_nn_conv_params parameters = {{0, 0, {{1, 1}}, {{0, 0}}, {{1, 1}}, {{-128, 127}}}};
    int32_t shift[8] = {{0}};
    const cmsis_nn_per_channel_quant_params quantization = {{(int32_t *)model_0_multiplier, shift}};
    const cmsis_nn_dims input = {{1, 8, 8, 3}}, filter = {{8, 3, 3, 3}}, bias = {{1, 1, 1, 8}};
    const cmsis_nn_dims output = {{1, 6, 6, 8}};
    verdict = arm_convolve_wrapper_s8(&context, &parameters, &quantization, &input,
                                      model_arena_sram, &filter, model_0_weights, &bias,
                                      model_0_bias, &output, model_arena_sram + 2048);
    model_state_sram[0] = (int8_t)answer();
}}

void Reset_Handler(void)
{{
    for (uint32_t *to = &data_start, *from = &data_load; to < &data_end;) *to++ = *from++;
    for (uint32_t *to = &bss_start; to < &bss_end;) *to++ = 0;
    initialised++;
    run();
    for (;;) {{
    }}
}}

__attribute__((section(".vectors"), used)) static void *const vectors[2] = {{
    &stack_top, (void *)Reset_Handler}};
"""


def small_board(core: str = "cortex-m4f") -> Board:
    return Board.model_validate(
        {
            "name": "small",
            "title": "A small board",
            "vendor": "nobody",
            "mcu": "none",
            "core": core,
            "url": "",
            "platformio_platform": "platformio/ststm32@^19.0.0",
            "platformio_board": "disco_f469ni",
            "clock": {"driver": "clock", "hz": 16_000_000, "fallback_hz": 16_000_000},
            "uart": {"driver": "uart", "name": "USART3", "address": 0x40004800},
            "memory": [
                {"name": "flash", "kind": "flash", "address": 0x08000000, "size": "2M"},
                {"name": "sram", "kind": "ram", "address": 0x20000000, "size": "320K"},
                {"name": "ccm", "kind": "ram", "address": 0x10000000, "size": "64K", "dma": False},
            ],
        }
    )


def write_project(folder: Path, core: str = "cortex-m4f") -> Path:
    """The project, ready to be built for `core` (a key of CORES)."""
    board = small_board(core)
    assert core in CORES
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resource_folder("templates") / "project"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    templates = ["platformio.ini.j2", "platform/platform.json.j2", "platform/project.py.j2"]
    templates += ["platform/builder/main.py.j2", "platform/boards/NAME.json.j2"]
    for template in templates:
        target = folder / template.removesuffix(".j2").replace("NAME", board.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = environment.get_template(template).render(
            board=board, project_name="small", optimize="-O2"
        )
        target.write_text(text, encoding="utf-8")
    files = {
        "board.ld": LINKER_SCRIPT,
        "src/main.c": MAIN,
        "lib/answer/answer.h": "int answer(void);\n",
        "lib/answer/answer.c": '#include "answer.h"\n\nint answer(void)\n{\n    return 42;\n}\n',
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    for file in cmsis_nn.closure(["arm_convolve_wrapper_s8"]):
        target = folder / "lib" / "cmsis_nn" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(cmsis_nn.source() / file, target)
    return folder
