# SPDX-License-Identifier: Apache-2.0
"""The cycle model against loops counted by hand, instruction by instruction."""

import subprocess

import pytest

from mcudeploy.board import CORES, find_board
from mcudeploy.board_flash import flash_stall
from mcudeploy.profiling.cycles import cycle_model, disassemble

_DOT = "1: ldr r3, [r0], #4\nldr r4, [r1], #4\nsmlad r2, r3, r4, r2\ncmp r0, r5\nbne 1b"


def cycles(tmp_path, core, text):
    """(through, taken) of one block of assembly."""
    source, built, code = tmp_path / "block.s", tmp_path / "block.o", tmp_path / "block.bin"
    source.write_text(f".syntax unified\n.thumb\n{text}\n")
    flags = CORES[core].compiler_flags
    subprocess.run(["arm-none-eabi-gcc", *flags, "-c", source, "-o", built], check=True)
    subprocess.run(["arm-none-eabi-objcopy", "-O", "binary", built, code], check=True)
    model = cycle_model(CORES[core])
    assert model is not None
    found = model.block(disassemble(code.read_bytes()))
    return found.through, found.taken


@pytest.mark.parametrize(
    ("core", "text", "through", "taken"),
    [
        ("cortex-m4f", _DOT, 2 + 1 + 1 + 1 + 1, 2),
        ("cortex-m33", _DOT, 6, 2),
        ("cortex-m4f", "ldr r3, [r0]\nldr r4, [r3]\nldr r5, [r0]", 2 + 2 + 1, 2),
        ("cortex-m4f", "ldmia r0!, {r4-r7}\nldrd r8, r9, [r1]\nstrb r4, [r2]", 5 + 3 + 1, 2),
        ("cortex-m4f", "str r0, [r1, r2]\nstr r0, [r1, #8]\nstr r0, [r1], #4", 2 + 1 + 1, 2),
        ("cortex-m4f", "push {r4-r11, lr}\nmovs r0, #1\npop {r4-r11, pc}", 10 + 1 + 10, 2),
        ("cortex-m4f", "cmp r0, #0\nit eq\naddeq r1, r1, #1\nsdiv r0, r1, r2", 1 + 0 + 1 + 7, 2),
        ("cortex-m4f", "vldr s0, [r0]\nvmul.f32 s0, s0, s1\nvdiv.f32 s0, s0, s1", 2 + 1 + 14, 2),
        ("cortex-m4f", "smlal r0, r1, r2, r3\nssat r0, #8, r0\nbx lr", 1 + 1 + 1, 2),
        ("cortex-m3", "mla r0, r1, r2, r0\nsmull r0, r1, r2, r3\nmul r0, r1, r2", 2 + 4 + 1, 2),
        ("cortex-m0plus", "1: ldrb r3, [r0, r2]\nmuls r3, r1\nadds r2, #1\nbne 1b", 5, 1),
        ("cortex-m0plus", "strb r3, [r0]\nldmia r1!, {r2, r4}\npop {r4, pc}", 2 + 3 + 4, 1),
    ],
)  # fmt: skip
def test_a_block_takes_the_cycles_of_the_manual(tmp_path, core, text, through, taken):
    assert cycles(tmp_path, core, text) == (through, taken)


def test_m7_issues_two_independent_instructions_a_cycle(tmp_path):
    independent = "adds r0, r0, #1\nadds r1, r1, #1\nadds r2, r2, #1\nadds r3, r3, #1"
    chain = "adds r0, r0, #1\n" * 4
    multiplies = "mul r0, r0, r0\nmul r1, r1, r1"
    assert cycles(tmp_path, "cortex-m7", independent)[0] == 2
    assert cycles(tmp_path, "cortex-m7", chain)[0] == 4
    assert cycles(tmp_path, "cortex-m7", multiplies)[0] == 2
    # A load's result is there a cycle later than an addition's.
    assert cycles(tmp_path, "cortex-m7", "ldr r0, [r1]\nadd r0, r0, #1")[0] == 3


def test_m55_has_no_model():
    assert cycle_model(CORES["cortex-m55"]) is None


def test_flash_waits_by_wait_states_and_cache():
    small, large = find_board("nucleo_l4r5zi"), find_board("nucleo_h743zi")
    bare = small.model_copy(update={"flash_cache": None})
    assert (flash_stall(small).per_word, flash_stall(small).per_branch) == (5, 0)
    assert flash_stall(large).per_word == pytest.approx(2 * 4 / 32)
    assert (flash_stall(bare).per_word, flash_stall(bare).per_branch) == (5, 5)
    assert flash_stall(find_board("mps2_an386")).per_word == 0
