# SPDX-License-Identifier: Apache-2.0
"""Runs `Implementation`s alone: on the host under sanitizers, and counted on an emulated core.

A program holds one C function per case, with the snippet as the generated project would have it.
On the host each buffer is its own heap block, so that the address sanitizer sees every byte out of
bounds; where a case says how far its output lies from its input, both share a block.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import numpy.typing as npt

from mcudeploy.operators.base import Implementation

FIRMWARE = Path(__file__).resolve().parent.parent / "firmware"
_C_TYPES = {"int8": "int8_t", "int16": "int16_t", "int32": "int32_t", "uint8": "uint8_t"}
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-I", str(FIRMWARE / "kernels"))
POISON = 0xA5


@dataclass(frozen=True, eq=False)
class Case:
    """One call: `distance` is output address - address of input 0, None keeps them apart.

    A kernel that writes its output over its input is given it there.
    """

    implementation: Implementation
    inputs: tuple[npt.NDArray[np.int8], ...]
    output_bytes: int
    distance: int | None = None

    def __post_init__(self) -> None:
        for place in self.implementation.placed:
            if place.written:
                object.__setattr__(self, "distance", place.distance)


def _constants(case: Case, name: str) -> str:
    lines = []
    for constant in case.implementation.constants:
        values = ",".join(map(str, constant.data.ravel().tolist()))
        lines.append(
            f"static const {_C_TYPES[str(constant.data.dtype)]} {name}_{constant.name}"
            f"[{constant.data.size}] __attribute__((aligned({constant.alignment}))) = {{{values}}};"
        )
    return "\n".join(lines)


def _function(case: Case, name: str) -> str:
    implementation = case.implementation
    body = jinja2.Template(implementation.snippet, undefined=jinja2.StrictUndefined).render(
        **implementation.values,
        inputs=[f"{name}_in{i}" for i in range(len(case.inputs))],
        outputs=[f"{name}_out"],
        scratch=f"{name}_scratch" if implementation.scratch_bytes else "NULL",
        constants={c.name: f"{name}_{c.name}" for c in implementation.constants},
    )
    return f"void {name}(void);\nvoid {name}(void)\n{{\n{body}\n}}\n"


def _header(cases: Sequence[Case]) -> str:
    headers = dict.fromkeys(h for case in cases for h in case.implementation.headers)
    return "\n".join(
        ["#include <stdint.h>", "#include <stddef.h>", *(f'#include "{h}"' for h in headers)]
    )


def firmware_sources(cases: Sequence[Case]) -> list[Path]:
    """The C files of ours that the cases need."""
    named = dict.fromkeys(s for case in cases for s in case.implementation.sources)
    return [FIRMWARE / source for source in named if source.endswith(".c") and ":" not in source]


def layout(case: Case) -> tuple[int, int, int]:
    """(bytes of the block that input 0 and the output share, input's offset, output's offset)."""
    distance = case.distance or 0
    start = max(0, -distance)
    first = case.inputs[0].size
    return max(start + first, start + distance + case.output_bytes), start, start + distance


def run_on_host(cases: Sequence[Case], folder: Path) -> list[npt.NDArray[np.int8]]:
    """The outputs, computed here under the address and undefined-behaviour sanitizers."""
    text = [_header(cases), "#include <stdio.h>", "#include <stdlib.h>", "#include <string.h>"]
    main = ["int main(void)", "{"]
    given = bytearray()
    for index, case in enumerate(cases):
        name = f"case{index}"
        buffers = {f"{name}_in{i}": a.size for i, a in enumerate(case.inputs)}
        scratch = case.implementation.scratch_bytes
        text += [_constants(case, name)]
        text += [f"static int8_t *{b};" for b in (*buffers, f"{name}_out")]
        if scratch:
            text += [f"static int8_t *{name}_scratch;"]
            main += [f"{name}_scratch = malloc({scratch});"]
            main += [f"memset({name}_scratch, {POISON}, {scratch});"]
        text += [_function(case, name)]
        if case.distance is not None:
            size, in_at, out_at = layout(case)
            main += [
                f"int8_t *block{index} = malloc({size});",
                f"memset(block{index}, {POISON}, {size});",
                f"{name}_in0 = block{index} + {in_at}; {name}_out = block{index} + {out_at};",
            ]
        else:
            main += [f"{name}_in0 = malloc({case.inputs[0].size});"]
            main += [f"{name}_out = malloc({case.output_bytes});"]
        main += [f"{b} = malloc({n});" for b, n in list(buffers.items())[1:]]
        main += [f"if (fread({b}, 1, {n}, stdin) != {n}) return 1;" for b, n in buffers.items()]
        main += [f"{name}();", f"fwrite({name}_out, 1, {case.output_bytes}, stdout);"]
        for array in case.inputs:
            given += array.tobytes()
    source = folder / "host.c"
    source.write_text("\n".join([*text, *main, "return 0;", "}"]))
    binary = folder / "host"
    sanitize = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    command = ["gcc", "-O1", "-g", *FLAGS, *sanitize, str(source)]
    subprocess.run(
        [*command, *map(str, firmware_sources(cases)), "-o", str(binary)],
        check=True, text=True,
    )  # fmt: skip
    done = subprocess.run(
        [str(binary)], input=bytes(given), capture_output=True, check=False,
        env={"ASAN_OPTIONS": "detect_leaks=0"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")[:4000]
    return _split(np.frombuffer(done.stdout, dtype=np.int8), [c.output_bytes for c in cases])


def _split(joined: npt.NDArray[np.int8], sizes: list[int]) -> list[npt.NDArray[np.int8]]:
    assert joined.size == sum(sizes)
    return list(np.split(joined, np.cumsum(sizes)[:-1]))


def arm_program(cases: Sequence[Case]) -> str:
    """The C text of a bare program with one function and static buffers per case."""
    text = [_header(cases), "int main(void);", "int main(void) { return 0; }"]
    for index, case in enumerate(cases):
        name = f"case{index}"
        text += [_constants(case, name)]
        buffers = {f"{name}_in{i}": a.size for i, a in enumerate(case.inputs)}
        buffers[f"{name}_scratch"] = case.implementation.scratch_bytes
        if case.distance is not None:
            size, in_at, out_at = layout(case)
            buffers[f"{name}_block"] = size
            text += [f"#define {name}_in0 ({name}_block + {in_at})"]
            text += [f"#define {name}_out ({name}_block + {out_at})"]
            del buffers[f"{name}_in0"]
        else:
            buffers[f"{name}_out"] = case.output_bytes
        text += [f"int8_t {b}[{n}] __attribute__((aligned(4)));" for b, n in buffers.items() if n]
        text += [_function(case, name)]
    return "\n".join(text)
