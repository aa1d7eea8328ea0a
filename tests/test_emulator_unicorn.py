# SPDX-License-Identifier: Apache-2.0
"""Unicorn: right answers, exact counts, and every fault named by the function it happened in."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import unicorn
from hand_firmware import INPUT_BYTES, STACK_BYTES, Twin, Variation, build, checksums

from mcudeploy.board import Board, find_board
from mcudeploy.emulator import counting, get, installed
from mcudeploy.emulator.link import Link
from mcudeploy.emulator.session import LinkSession
from mcudeploy.emulator.unicorn import Machine, UnicornEmulator
from mcudeploy.errors import EmulationError, InputError, LinkError
from mcudeploy.toolchain.elf import read_elf

DATA = [bytes((7 * k + 31 * i) & 255 for k in range(INPUT_BYTES)) for i in range(4)]
LOOP = """
__attribute__((naked, noinline)) static void loop(void)
{
    __asm volatile("ldr r0, =LOOPS\\n1: subs r0, #1\\nbne 1b\\nbx lr\\n.ltorg");
}
"""
FAULTS = {
    "*(volatile int *)0x30000000 = 1": "wrote to 0x30000000, where stm32f469 has no memory",
    "depth = *(volatile int *)(depth & 4)": "read from 0x00000000, where stm32f469 has no memory",
    "(void)*(volatile int *)0x20050000": "read from 0x20050000, where stm32f469 has no memory",
    "*(volatile int *)0x10010000 = 1": "wrote to 0x10010000, where stm32f469 has no memory",
    "*(volatile int *)0x08000000 = 1": "wrote to 0x08000000, which is in flash",
    "((void (*)(void))0x10000001)()": "ran code at 0x10000000, which is in ccm",
    "(void)*(volatile int *)0x40010000": "read from 0x40010000, a peripheral",
    "*(volatile int *)0x40023400 = 1": "wrote to 0x40023400, a peripheral",
    '__asm volatile("udf #0")': "cortex-m4f has no such instruction",
    "deeper(100)": f"below the stack of {STACK_BYTES:,} bytes: it overflowed",
    'for (;;) { __asm volatile(""); }': "hangs: no answer in 0.3 seconds",
    "wide()": "",
    "emulation_done(3)": "",
}
"""What the firmware does when its input starts with 0xFA and the number of the entry."""
CULPRIT = """
void emulation_done(int code);
static volatile int depth;
__attribute__((noinline)) static int deeper(int n)
{
    volatile char frame[64];
    frame[0] = (char)n;
    depth = n;
    return n == 0 ? frame[0] : deeper(n - 1) + frame[0];
}
__attribute__((noinline)) static void wide(void)
{
    volatile char frame[1000];
    frame[0] = 1;
    depth = frame[0];
}
__attribute__((noinline)) static void culprit(int number)
{
    switch (number)
    {
CASES
    default:
        break;
    }
}
""".replace(
    "CASES",
    "\n".join(f"    case {k}:\n        {do};\n        break;" for k, do in enumerate(FAULTS)),
)


def provoke(statement: str) -> bytes:
    return bytes([0xFA, list(FAULTS).index(statement)]) + DATA[0][2:]


@pytest.fixture(scope="module")
def board() -> Board:
    return find_board("stm32f469")


@pytest.fixture(scope="module")
def elf(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Path:
    variation = Variation(code=CULPRIT, before="if (a[0] == 0xFA) { culprit(a[1]); }")
    return build(tmp_path_factory.mktemp("firmware"), board, variation, selftest=DATA[3])


@pytest.mark.parametrize("compiled", [True, False], ids=["c", "python"])
def test_outputs_checksums_and_intermediates_are_the_models(
    elf: Path, board: Board, compiled: bool
) -> None:
    if compiled and not counting.compiled_available():
        pytest.skip("no C compiler for this machine")
    twin = Twin()
    with UnicornEmulator(compiled=compiled).start(elf, board) as session:
        for data in DATA[:2]:
            outputs, shown = twin.infer(data)
            inference = session.infer([data])
            assert inference.outputs == outputs
            assert inference.checksums == checksums(shown)
        assert session.operator_output(0) == shown[0]
        assert session.operator_output(1, 0) + session.operator_output(1, 1) == shown[1]
        assert session.operator_output(73) == shown[73]
        assert session.infer([DATA[2]], observe=False).outputs == twin.infer(DATA[2])[0]


def test_c_and_python_count_the_same(elf: Path, board: Board) -> None:
    if not counting.compiled_available():
        pytest.skip("no C compiler for this machine")
    counts = []
    for compiled in (True, False):
        with UnicornEmulator(compiled=compiled).start(elf, board) as session:
            counts.append(session.infer([DATA[0]]))
    assert counts[0] == counts[1]


def test_without_a_compiler_python_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, elf: Path, board: Board
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MCUDEPLOY_CACHE", str(tmp_path))
    counting._library.cache_clear()
    try:
        machine = Machine(read_elf(elf), board)
        assert not machine.counter.compiled
    finally:
        counting._library.cache_clear()


def test_a_loop_of_known_length_is_counted_exactly(board: Board, tmp_path: Path) -> None:
    """Two instructions a turn, in the operator and in the whole."""
    counts = []
    for turns in (1000, 4000):
        code = LOOP.replace("LOOPS", str(turns))
        elf = build(tmp_path / str(turns), board, Variation(code=code, within="loop();"))
        with UnicornEmulator().start(elf, board) as session:
            counts.append(session.infer([DATA[0]]))
    short, long = counts
    assert long.instructions - short.instructions == 6000
    differences = [
        b - a for a, b in zip(short.operator_instructions, long.operator_instructions, strict=True)
    ]
    assert differences[:4] == [0, 0, 0, 6000]
    assert not any(differences[4:])


def test_the_whole_is_counted_from_entry_to_return(elf: Path, board: Board) -> None:
    """The firmware's own figure against the counter at model_invoke's entry and return."""
    image = read_elf(elf)
    machine = Machine(image, board)
    entry = image.address_of("model_invoke")
    seen: dict[int, int] = {}
    back = 0

    def block(engine: Any, address: int, size: int, _: object) -> None:
        nonlocal back
        if address == entry:
            back = engine.reg_read(unicorn.arm_const.UC_ARM_REG_LR) & ~1
        if address in (entry, back):
            figures = machine.counter._figures
            seen[address] = figures.instructions - figures.block_instructions

    machine._engine.hook_add(unicorn.UC_HOOK_BLOCK, block)
    with LinkSession(Link(machine), finish=machine.finish) as session:
        counted = session.infer([DATA[0]], observe=False).instructions
    assert counted == seen[back] - seen[entry]


def test_operators_and_the_whole_agree(elf: Path, board: Board) -> None:
    with UnicornEmulator().start(elf, board) as session:
        inference = session.infer([DATA[0]])
    rest = inference.instructions - sum(inference.operator_instructions)
    assert abs(rest) <= 4 * session.info().operators


def test_poisoned_memory_changes_nothing(elf: Path, board: Board) -> None:
    with UnicornEmulator().start(elf, board, poison=True) as session:
        assert session.infer([DATA[0]]).outputs == Twin().infer(DATA[0])[0]
        assert session.info().selftest == "passed"


def test_poison_shows_a_read_of_unwritten_memory(board: Board, tmp_path: Path) -> None:
    elf = build(
        tmp_path, board, Variation(within="sum[0] = (uint8_t)model_arena_first[4 * N - 1];")
    )
    outputs = []
    for poison in (False, True):
        with UnicornEmulator().start(elf, board, poison=poison) as session:
            outputs.append(session.infer([DATA[0]]).outputs[1][0])
    assert outputs == [0, 0xA5]


def test_a_reset_forgets_the_state(elf: Path, board: Board) -> None:
    with UnicornEmulator().start(elf, board) as session:
        first = session.infer([DATA[0]])
        assert session.infer([DATA[0]]).outputs != first.outputs
        session.reset()
        assert session.infer([DATA[0]]) == first


@pytest.mark.parametrize(("statement", "said"), [pair for pair in FAULTS.items() if pair[1]])
def test_faults_name_address_and_function(
    elf: Path, board: Board, statement: str, said: str
) -> None:
    with (
        UnicornEmulator().start(elf, board, time_limit_seconds=0.3) as session,
        pytest.raises(EmulationError) as caught,
    ):
        session.infer([provoke(statement)])
    assert said in caught.value.problem
    function = "deeper" if "deeper" in statement else "culprit"
    assert caught.value.where.startswith(f"in {function}") or "called from culprit" in str(
        caught.value
    )


def test_the_stacks_high_water_mark_follows_its_use(elf: Path, board: Board) -> None:
    with UnicornEmulator().start(elf, board) as session:
        before = session.stack_bytes()
        session.infer([provoke("wide()")])
        after = session.stack_bytes()
    assert before < 700
    assert 1000 < after < before + 1100


def test_a_missing_exit_is_an_error(elf: Path, board: Board) -> None:
    machine = Machine(read_elf(elf), board)
    machine.read(1)
    with pytest.raises(EmulationError, match="told to end and did not"):
        machine.finish()


def test_an_end_with_a_status_is_an_error(elf: Path, board: Board) -> None:
    machine = Machine(read_elf(elf), board)
    with LinkSession(Link(machine)) as session, pytest.raises(LinkError, match="stopped"):
        session.infer([provoke("emulation_done(3)")])
    with pytest.raises(EmulationError, match="status 3"):
        machine.finish()


def test_firmware_for_another_board_is_refused(elf: Path) -> None:
    board = find_board("stm32f469")
    low = [r.model_copy(update={"address": 0}) if r.kind == "flash" else r for r in board.memory]
    with pytest.raises(InputError, match="built for another board"):
        UnicornEmulator().start(elf, board.model_copy(update={"memory": tuple(low)}))


def test_inputs_of_the_wrong_size_are_refused(elf: Path, board: Board) -> None:
    with UnicornEmulator().start(elf, board) as session:
        with pytest.raises(InputError, match="600"):
            session.infer([b"abc"])
        with pytest.raises(InputError, match="no output"):
            session.infer([DATA[0]])
            session.operator_output(2, 1)


def test_emulators_are_found_by_name() -> None:
    assert get("unicorn").name == "unicorn"
    assert "unicorn" in [emulator.name for emulator in installed()]
    with pytest.raises(InputError, match="'simics'"):
        get("simics")


@pytest.mark.skipif("CI" in os.environ, reason="a figure of this machine")
def test_counting_in_c_is_fast(board: Board, tmp_path: Path) -> None:
    """At least 40 million instructions a second even on a busy machine (alone: over 120)."""
    if not counting.compiled_available():
        pytest.skip("no C compiler for this machine")
    code = LOOP.replace("LOOPS", "20000000")
    elf = build(tmp_path, board, Variation(code=code, within="if (observe == NULL) { loop(); }"))
    with UnicornEmulator().start(elf, board) as session:
        start = time.perf_counter()
        inference = session.infer([DATA[0]], observe=False)
        seconds = time.perf_counter() - start
    assert inference.instructions / seconds > 40e6
