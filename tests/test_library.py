# SPDX-License-Identifier: Apache-2.0
"""`generate --as library`: networks inside other firmware, alone and two of them in one arena."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from in_process import run_here
from test_cli import dense_model
from tflite_builder import ModelBuilder

from mcudeploy import api
from mcudeploy.board import find_board
from mcudeploy.codegen.library import check_form
from mcudeploy.errors import InputError
from mcudeploy.frontend.reference import Reference, golden_unavailable, sample_inputs
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.toolchain import platformio

MAIN = """\
#include <stdio.h>
#include <string.h>
#include "first.h"
#include "second.h"

static int run(const model_tensor_t *input, const model_tensor_t *output, void (*invoke)(void))
{
    if (fread(input->data, 1, input->bytes, stdin) != input->bytes) return 0;
    invoke();
    return fwrite(output->data, 1, output->bytes, stdout) == output->bytes;
}

int main(void)
{
    first_reset();
    second_reset();
    while (run(&first_inputs[0], &first_outputs[0], first_invoke) &&
           run(&second_inputs[0], &second_outputs[0], second_invoke)) { }
    return 0;
}
"""
CMAKE = """\
cmake_minimum_required(VERSION 3.13)
project(firmware C)
add_subdirectory(first)
add_subdirectory(second)
add_executable(firmware main.c)
target_link_libraries(firmware PRIVATE mcudeploy_first mcudeploy_second m)
"""


def conv_model() -> bytes:
    """8x8x3, a convolution to 5 channels, a dense layer of 6: other kernels and another size."""
    random = np.random.default_rng(0)
    builder = ModelBuilder()
    x = builder.input((1, 8, 8, 3), scale=0.05, zero_point=4)
    w = builder.constant(random.integers(-127, 128, (5, 3, 3, 3)).astype(np.int8), scale=[0.01] * 5)
    b = builder.constant(random.integers(-500, 500, 5).astype(np.int32), scale=[0.0005] * 5)
    y = builder.operator("CONV_2D", [x, w, b], builder.tensor((1, 8, 8, 5), scale=0.1),
                         padding="SAME", stride_w=1, stride_h=1)  # fmt: skip
    v = builder.constant(random.integers(-127, 128, (6, 320)).astype(np.int8), scale=0.01)
    flat = builder.operator("RESHAPE", [y, builder.constant(np.array([1, 320], np.int32))],
                            builder.tensor((1, 320), scale=0.1))  # fmt: skip
    return builder.build([builder.operator("FULLY_CONNECTED", [flat, v],
                                           builder.tensor((1, 6), scale=0.5))])  # fmt: skip


MODELS = {"first": dense_model(), "second": conv_model()}


@pytest.fixture(scope="module")
def libraries(tmp_path_factory) -> Path:
    """A folder with both networks as libraries that share their arena."""
    folder = tmp_path_factory.mktemp("libraries")
    for name, model in MODELS.items():
        (folder / f"{name}.tflite").write_bytes(model)
        done = run_here("generate", folder / f"{name}.tflite", "-b", "stm32f469", "-o",
                        folder / name, "--as", "library", "--prefix", name,
                        "--share-arena")  # fmt: skip
        assert done.returncode == 0, done.stderr
    return folder


def arena_bytes(library: Path) -> int:
    return json.loads((library / "mcudeploy.json").read_text())["plan"]["arenas"]["sram"]


@pytest.mark.skipif(golden_unavailable() is not None, reason="no golden reference on this system")
@pytest.mark.skipif(shutil.which("cmake") is None, reason="CMake is not installed")
def test_two_networks_in_one_arena_are_bit_exact_in_turns(libraries, tmp_path):
    (libraries / "main.c").write_text(MAIN)
    (libraries / "CMakeLists.txt").write_text(CMAKE)
    build = tmp_path / "build"
    warnings = "-Wall -Wextra -Werror -Wno-unused-function"
    for command in (["cmake", "-S", libraries, "-B", build, f"-DCMAKE_C_FLAGS={warnings}"],
                    ["cmake", "--build", build]):  # fmt: skip
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    sent, wanted = b"", b""
    inputs = {name: sample_inputs(read_tflite(m, name), 4, 0) for name, m in MODELS.items()}
    with Reference(MODELS["first"]) as one, Reference(MODELS["second"]) as two:
        for a, b in zip(inputs["first"], inputs["second"], strict=True):
            for golden, arrays in ((one, a), (two, b)):
                sent += arrays[0].tobytes()
                wanted += golden.infer(arrays).outputs[0].tobytes()
    got = subprocess.run([build / "firmware"], input=sent, capture_output=True, check=True).stdout
    assert got == wanted


def test_platformio_finds_and_builds_both_and_the_arena_is_the_larger_one(libraries, tmp_path):
    whole = tmp_path / "whole"
    api.generate(libraries / "first.tflite", "stm32f469", whole)
    project = tmp_path / "firmware"
    for name in MODELS:
        shutil.copytree(libraries / name, project / "lib" / name)
    shutil.copytree(whole / "platform", project / "platform")
    (project / "platform/project.py").unlink()
    shutil.copy(whole / "board.ld", project)
    (project / "src").mkdir()
    (project / "src/main.c").write_text(
        '#include "first.h"\n#include "second.h"\n'
        "void Reset_Handler(void) { for (;;) { first_invoke(); second_invoke(); } }\n"
    )
    machine = " ".join(find_board("stm32f469").core.compiler_flags)
    (project / "platformio.ini").write_text(
        "[platformio]\ndefault_envs = offline\n[env:offline]\nplatform = ./platform\n"
        f"board = stm32f469\nbuild_flags = {machine} -Wall -Wextra\n"
        "extra_scripts = pre:flags.py\n"
    )
    # PlatformIO's own platforms hand the machine's flags to the linker; the offline one leaves that
    # to a script, as the script of a whole project does.
    (project / "flags.py").write_text(
        "Import('env')\n"
        f"env.Append(LINKFLAGS={[*machine.split(), '-nostartfiles', '--specs=nano.specs']!r})\n"
    )
    result = platformio.build(project)
    assert result.warnings == ()
    from elftools.elf.elffile import ELFFile

    with result.elf.open("rb") as stream:
        symbols = {s.name: s["st_size"] for s in ELFFile(stream).get_section_by_name(".symtab")
                   .iter_symbols()}  # fmt: skip
    arenas = [n for n in symbols if "arena" in n]
    assert arenas == ["mcudeploy_shared_arena_sram"]
    assert symbols[arenas[0]] == max(arena_bytes(libraries / name) for name in MODELS)
    assert {"first_invoke", "second_invoke"} <= set(symbols)


def test_every_build_system_has_its_manifest(libraries):
    library = libraries / "second"
    assert json.loads((library / "library.json").read_text())["build"]["srcDir"] == "src"
    assert "dot_a_linkage=true" in (library / "library.properties").read_text()
    assert "cmake: zephyr" in (library / "zephyr/module.yml").read_text()
    listed = [line.strip() for line in (library / "CMakeLists.txt").read_text().splitlines()]
    for path in library.rglob("*.c"):
        assert path.relative_to(library).as_posix() in listed


def test_a_library_has_no_main_no_runtime_and_no_driver(libraries):
    names = {path.name for path in (libraries / "second").rglob("*.[ch]")}
    assert "second.h" in names and not names & {"main.c", "startup.c", "link.c", "uart.h"}


@pytest.mark.parametrize(
    "prefix",
    ["", "Model", "1st", "a-b", "../up", "a b", 'x"', "stdint", "string", "mcud", "arm_x",
     "operator_0", "ä", "a" * 32],
)  # fmt: skip
def test_a_prefix_that_c_could_not_live_with_is_refused(prefix):
    with pytest.raises(InputError, match="prefix"):
        check_form(api.Form("library", prefix))


def test_a_prefix_of_a_kernel_is_refused(tmp_path):
    (tmp_path / "net.tflite").write_bytes(MODELS["second"])
    with pytest.raises(InputError, match="a kernel's file"):
        api.generate(tmp_path / "net.tflite", "stm32f469", tmp_path / "lib",
                     form=api.Form("library", "conv_s8"))  # fmt: skip


def test_a_whole_firmware_takes_no_prefix(tmp_path):
    (tmp_path / "net.tflite").write_bytes(MODELS["first"])
    done = run_here("generate", tmp_path / "net.tflite", "-b", "stm32f469", "-o", tmp_path / "out",
                    "--prefix", "net")  # fmt: skip
    assert done.returncode == 2 and "--as library" in done.stderr
