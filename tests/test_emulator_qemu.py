# SPDX-License-Identifier: Apache-2.0
"""QEMU: Unicorn's answers and counts, Cortex-M55, and faults that the firmware reports."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hand_firmware import INPUT_BYTES, Twin, Variation, build, checksums
from process_ends import ends

from mcudeploy.board import Board, board_names, find_board
from mcudeploy.emulator import get
from mcudeploy.emulator import qemu as backend
from mcudeploy.emulator.qemu import QemuEmulator
from mcudeploy.emulator.unicorn import UnicornEmulator
from mcudeploy.errors import EmulationError, ToolError

pytestmark = pytest.mark.skipif(
    QemuEmulator().available() is not None, reason=str(QemuEmulator().available())
)
DATA = [bytes((9 * k + 5 * i) & 255 for k in range(INPUT_BYTES)) for i in range(3)]
MACHINES = [n for n in sorted(set(board_names().values())) if find_board(n).emulation.qemu_machine]
STATEMENTS = {
    "*(volatile int *)0x30000000 = 1": "nothing is (0x30000000)",
    "((void (*)(void))0x70000001)()": "ran code where nothing is",
    "undefined()": "has no|lacks",
    "unaligned()": "unaligned address",
    "fpu_off()": "FPU or a coprocessor that is off",
    "deeper(100)": "stack of 2,048 bytes overflowed",
}
CODE = """
static volatile int depth;
__attribute__((noinline)) static int deeper(int n)
{
    volatile char frame[64];
    frame[0] = (char)n;
    depth = n;
    return n == 0 ? frame[0] : deeper(n - 1) + frame[0];
}
__attribute__((naked, noinline)) static void undefined(void)
{
    __asm volatile("udf #0");
}
__attribute__((naked, noinline)) static void unaligned(void)
{
    __asm volatile("push {r4, r5}\\nmov r0, sp\\nadds r0, #1\\n"
                   "ldm r0, {r4, r5}\\npop {r4, r5}\\nbx lr");
}
__attribute__((naked, noinline)) static void fpu_off(void)
{
    __asm volatile("ldr r0, =0xE000ED88\\nmovs r1, #0\\nstr r1, [r0]\\ndsb\\nisb\\n"
                   "vmov s0, r1\\nbx lr\\n.ltorg");
}
__attribute__((noinline)) static void culprit(int number)
{
    switch (number)
    {
CASES
    case 90:
        for (;;) { __asm volatile(""); }
    default:
        break;
    }
}
""".replace(
    "CASES",
    "\n".join(f"    case {k}:\n        {do};\n        break;" for k, do in enumerate(STATEMENTS)),
)


def provoke(number: int) -> bytes:
    return bytes([0xFA, number]) + DATA[0][2:]


@pytest.fixture(scope="module")
def board() -> Board:
    return find_board("mps2_an386")


@pytest.fixture(scope="module")
def elf(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Path:
    variation = Variation(code=CODE, before="if (a[0] == 0xFA) { culprit(a[1]); }")
    return build(tmp_path_factory.mktemp("firmware"), board, variation, selftest=DATA[2])


@pytest.mark.parametrize("name", MACHINES)
def test_the_self_test_passes_and_counts_are_unicorns(name: str, tmp_path: Path) -> None:
    board = find_board(name)
    elf = build(tmp_path, board, selftest=DATA[2])
    twin = Twin()
    with QemuEmulator().start(elf, board, poison=True) as session:
        assert session.info().selftest == "passed"
        found = []
        for data in DATA[:2]:
            outputs, shown = twin.infer(data)
            found.append(session.infer([data]))
            assert found[-1].outputs == outputs
            assert found[-1].checksums == checksums(shown)
        assert session.operator_output(1, 1) == bytes(v * 3 & 1 for v in DATA[1])
    if UnicornEmulator().supports(board) is not None:
        assert 10_000 < found[0].instructions < 30_000
        return
    with UnicornEmulator().start(elf, board) as session:
        wanted = [session.infer([data]) for data in DATA[:2]]
    for ours, theirs in zip(found, wanted, strict=True):
        assert abs(ours.instructions - theirs.instructions) <= 1
        pairs = zip(ours.operator_instructions, theirs.operator_instructions, strict=True)
        assert max(abs(a - b) for a, b in pairs) <= 1


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_firmware_reports_its_faults(elf: Path, board: Board, statement: str) -> None:
    with (
        QemuEmulator().start(elf, board) as session,
        pytest.raises(EmulationError) as caught,
    ):
        session.infer([provoke(list(STATEMENTS).index(statement))])
    assert any(said in caught.value.problem for said in STATEMENTS[statement].split("|"))
    function = statement.split("(", maxsplit=1)[0]
    if function in ("undefined", "unaligned", "fpu_off"):
        assert function in caught.value.where


def test_a_hang_is_found_and_named(elf: Path, board: Board) -> None:
    with (
        QemuEmulator().start(elf, board, time_limit_seconds=1) as session,
        pytest.raises(EmulationError, match="hangs") as caught,
    ):
        session.infer([provoke(90)])
    assert "culprit" in caught.value.where


def test_a_firmware_that_never_ends_is_an_error(
    elf: Path, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_MONITOR_SECONDS", 0.3)
    with QemuEmulator().start(elf, board) as session:
        machine = session._finish.__self__  # type: ignore[union-attr]
        with pytest.raises(EmulationError, match="told to end and did not"):
            machine.finish()


def test_the_process_is_gone_afterwards(elf: Path, board: Board) -> None:
    with QemuEmulator().start(elf, board) as session:
        child = session._finish.__self__._child  # type: ignore[union-attr]
        assert child.alive
    assert not child.alive


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv of util-linux is not there")
def test_the_process_ends_when_we_are_killed(elf: Path, board: Board) -> None:
    source = (
        "import pathlib, sys, time\n"
        "from mcudeploy.board import find_board\n"
        "from mcudeploy.emulator.qemu import QemuEmulator\n"
        "session = QemuEmulator().start(pathlib.Path(sys.argv[1]), find_board(sys.argv[2]))\n"
        "print(session._finish.__self__._child._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    ours = subprocess.Popen(
        [sys.executable, "-c", source, str(elf), board.name], stdout=subprocess.PIPE, text=True
    )
    assert ours.stdout is not None
    emulator = int(ours.stdout.readline())
    assert "qemu" in Path(f"/proc/{emulator}/cmdline").read_text()
    ours.kill()
    ours.wait()
    ours.stdout.close()
    assert ends(emulator)


def test_an_emulator_that_dies_is_an_error(elf: Path, board: Board) -> None:
    with QemuEmulator().start(elf, board) as session:
        session._finish.__self__._child._process.kill()  # type: ignore[union-attr]
        with pytest.raises(EmulationError, match="ended in mid-run"):
            session.infer([DATA[0]])


def test_a_machine_that_qemu_does_not_know_is_an_error(elf: Path, board: Board) -> None:
    emulation = board.emulation.model_copy(update={"qemu_machine": "mps9-an999"})
    with pytest.raises(EmulationError, match="QEMU did not start") as caught:
        QemuEmulator().start(elf, board.model_copy(update={"emulation": emulation}))
    assert "mps9-an999" in caught.value.where or "machine" in caught.value.where


def test_the_stm32_drivers_work_on_qemus_stm32f405(tmp_path: Path) -> None:
    """QEMU's Netduino Plus 2 has an STM32F4's USART and no clock control: the clock falls back.

    Its UART also drops what comes before the firmware has opened it, so requests are sent again.
    """
    board = find_board("nucleo_f446re")
    netduino = board.model_copy(
        update={
            "name": "netduino_plus_2",
            "uart": board.uart.model_copy(update={"name": "usart1", "address": 0x40011000}),
            "emulation": board.emulation.model_copy(update={"qemu_machine": "netduinoplus2"}),
        }
    )
    elf = build(tmp_path, netduino, selftest=DATA[2])
    with QemuEmulator().start(elf, netduino) as session:
        info = session.info()
        assert (info.selftest, info.clock_hz, info.clock_configured) == (
            "passed",
            16_000_000,
            False,
        )
        assert session.infer([DATA[0]]).outputs == Twin().infer(DATA[0])[0]


def test_a_board_without_a_machine_is_refused() -> None:
    board = find_board("stm32f469")
    assert "stm32f469" in (get("qemu").supports(board) or "")
    with pytest.raises(ToolError, match="no machine"):
        get("qemu").start(Path("none.elf"), board)
