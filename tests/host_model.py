# SPDX-License-Identifier: Apache-2.0
"""The generated C of a network, compiled for this machine and run in a child process.

    run = HostModel(tflite_bytes, workdir, kernels="cmsis-nn")
    outputs, operator_outputs = run(inputs)

The very C text that goes into firmware, with the address and undefined-behaviour sanitizers on.
Memory that the plan does not define is filled with 0xA5 first, so that a wrong plan shows.
"""

from __future__ import annotations

import os
import subprocess
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mcudeploy.board import Board, find_board
from mcudeploy.codegen.library import kernel_files
from mcudeploy.codegen.model import ModelSource, render_model
from mcudeploy.deployment import LoadedModel, Options, plan_model
from mcudeploy.frontend.reference import Reference, sample_inputs
from mcudeploy.memory.plan import Plan
from mcudeploy.resources import cache_folder
from mcudeploy.toolchain import cmsis_nn

MAIN = """
#include <stdio.h>
#include <string.h>
#include "model.h"
extern int8_t model_arena_sram[];
static void show(uint32_t index, const void *output, uint32_t bytes)
{
    fwrite(&index, 4, 1, stdout);
    fwrite(&bytes, 4, 1, stdout);
    fwrite(output, 1, bytes, stdout);
}
int main(int count, char **arguments)
{
    static uint8_t buffer[64u << 20];
    const int keep_state = count > 1 && arguments[1][0] == '1';
    model_reset();
    for (;;)
    {
        memset(model_arena_sram, 0xA5, MODEL_ARENA_SRAM_BYTES);
        if (!keep_state) model_reset();
#ifdef MODEL_INPUT_ROWS
        if (fread(buffer, 1, model_inputs[0].bytes, stdin) != model_inputs[0].bytes) return 0;
        uint32_t fed = 0, group = 1;
        for (int done = 0; !done; fed += group, group = group * 5 % 7)
        {
            uint32_t rows = group < MODEL_INPUT_ROWS - fed ? group : MODEL_INPUT_ROWS - fed;
            done = model_feed_rows_observed(buffer + fed * MODEL_INPUT_ROW_BYTES, rows, show);
            if (rows < group && !done) return 1;
        }
#else
        for (int i = 0; i < MODEL_INPUT_COUNT; i++)
        {
            if (fread(buffer, 1, model_inputs[i].bytes, stdin) != model_inputs[i].bytes) return 0;
            memcpy(model_inputs[i].data, buffer, model_inputs[i].bytes);
        }
        model_invoke_observed(show);
#endif
        for (uint32_t i = 0; i < MODEL_OUTPUT_COUNT; i++)
        {
            show(0x80000000u | i, model_outputs[i].data, model_outputs[i].bytes);
        }
    }
}
"""
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-attributes"]


def compile_host(sources: Sequence[Path], rest: Sequence[str], flags: Sequence[str]) -> None:
    """Run this machine's gcc over C99 sources; warnings of ours are errors."""
    include = cmsis_nn.source() / "Include"
    command = ["gcc", "-std=c99", "-O1", "-g", f"-I{include}", *flags, *map(str, sources), *rest]
    subprocess.run(command, check=True)


def library_objects(functions: set[str]) -> list[str]:
    """CMSIS-NN's objects for these functions; it shifts negative values, so UBSan stays off."""
    if not functions:
        return []
    tree = cmsis_nn.source()
    objects = []
    for path in cmsis_nn.closure(functions):
        if path.suffix != ".c":
            continue
        made = cache_folder("tests", "cmsis-nn-host") / f"{path.stem}.o"
        if not made.is_file():
            staging = made.with_suffix(f".{os.getpid()}.o")
            compile_host([tree / path], ["-c", "-o", str(staging)], ["-fsanitize=address"])
            staging.replace(made)
        objects.append(str(made))
    return objects


@dataclass(frozen=True)
class HostRun:
    """Outputs as bytes, and the concatenated outputs of each operator."""

    outputs: tuple[bytes, ...]
    operators: tuple[bytes, ...]

    @property
    def checksums(self) -> tuple[int, ...]:
        return tuple(zlib.crc32(raw) for raw in self.operators)


def roomy_board(core: str = "cortex-m3") -> Board:
    """A board with memory for any test network.

    Cores without DSP have the plain C variant, which is what the host compiles.
    """
    board = find_board("stm32f469")
    huge = [r.model_copy(update={"size": 1 << 26}) for r in board.regions("ram")[:1]]
    flash = [r.model_copy(update={"size": 1 << 26}) for r in board.regions("flash")[:1]]
    return board.model_copy(update={"memory": (*huge, *flash), "core_name": core})


class HostProgram:
    """A planned network as a host program."""

    def __init__(self, plan: Plan, folder: Path, *, sanitize: bool = True):
        self.plan = plan
        self.program = self._compile(folder, sanitize)

    def _compile(self, folder: Path, sanitize: bool) -> Path:
        plan = self.plan
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in render_model(ModelSource(plan, "network")).items():
            (folder / name).write_text(text)
        (folder / "main.c").write_text(MAIN)
        sources = [s for i in plan.implementations for s in i.sources]
        for name, content in kernel_files(sources).items():
            (folder / Path(name).name).write_bytes(content)
        functions = {s.partition(":")[2] for s in sources if s.startswith("cmsis-nn:")}
        program = folder / "network"
        compile_host(
            sorted(folder.glob("*.c")),
            [*library_objects(functions), "-lm", "-o", str(program)],
            [*WARNINGS, *(SANITIZE if sanitize else [])],
        )
        return program

    def __call__(
        self, inputs: Sequence[Sequence[npt.NDArray[Any]]], *, keep_state: bool = False
    ) -> list[HostRun]:
        """Run the inferences one after the other; each is a tuple of arrays.

        State is reset before each, with `keep_state` before the first alone.
        """
        raw = b"".join(np.ascontiguousarray(a).tobytes() for arrays in inputs for a in arrays)
        done = subprocess.run(
            [str(self.program), str(int(keep_state))], input=raw, capture_output=True, check=False
        )
        if done.returncode != 0:
            raise AssertionError(done.stderr.decode("utf-8", "replace")[-3000:])
        return list(self._parse(done.stdout, len(inputs)))

    def _parse(self, raw: bytes, count: int):
        graph = self.plan.graph
        at = 0
        for _ in range(count):
            operators = [b""] * len(graph.operators)
            outputs = []
            while len(outputs) < len(graph.outputs):
                index, size = np.frombuffer(raw, np.uint32, 2, at).tolist()
                data = raw[at + 8 : at + 8 + size]
                at += 8 + size
                if index & 0x80000000:
                    outputs.append(data)
                else:
                    operators[index] += data
            yield HostRun(tuple(outputs), tuple(operators))


class HostModel(HostProgram):
    """A .tflite as a host program. `options` are fields of `mcudeploy.Options`."""

    def __init__(self, model: bytes, folder: Path, *, sanitize: bool = True, **options: Any):
        self.deployment = plan_model(
            LoadedModel(model), "network.tflite", roomy_board(), Options(**options)
        )
        self.model = model
        super().__init__(self.deployment.plan, folder, sanitize=sanitize)

    def check_against_golden(self, samples: int) -> None:
        """Asserts that outputs are golden's bytes, for random inputs and the extremes."""
        inputs = sample_inputs(self.plan.graph, samples, seed=3)
        runs = self(inputs)
        with Reference(self.model) as golden:
            for arrays, run in zip(inputs, runs, strict=True):
                wanted = golden.infer(arrays).outputs
                assert [output.tobytes() for output in wanted] == list(run.outputs)
