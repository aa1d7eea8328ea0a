# SPDX-License-Identifier: Apache-2.0
"""Renode: its files are checked without it, its backend against a stand-in that misbehaves like it.

With Renode installed the same firmware runs on it (marked `renode`).
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import robot
from hand_firmware import INPUT_BYTES, Twin, Variation, build, checksums

from mcudeploy.board import Board, board_names, find_board
from mcudeploy.codegen.emulation import GoldenInference, emulation_files, has_renode, platform
from mcudeploy.emulator import renode as backend
from mcudeploy.emulator.layouts import Block, register_blocks
from mcudeploy.emulator.peripherals import Registers
from mcudeploy.emulator.renode import RenodeEmulator
from mcudeploy.emulator.unicorn import UnicornEmulator
from mcudeploy.errors import EmulationError, ToolError

NAMES = [n for n in sorted(set(board_names().values())) if has_renode(find_board(n))]
DATA = [bytes((3 * k + 29 * i) & 255 for k in range(INPUT_BYTES)) for i in range(3)]


@pytest.fixture(scope="module")
def board() -> Board:
    return find_board("stm32f469")


@pytest.fixture(scope="module")
def elf(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("firmware"), board, selftest=DATA[2])


# --- the platform description ---------------------------------------------------------------------


_HEADER = re.compile(r"(\w+): ([\w.]+) @ sysbus(?: <?(0x[0-9A-F]{8})(?:, \+0x100>)?)?")


def entries(board: Board) -> dict[str, tuple[str, int, str]]:
    """Peripheral's name to class, address and body of a platform description."""
    found: dict[str, tuple[str, int, str]] = {}
    name, in_script = "", False
    for line in platform(board).decode().splitlines(keepends=True):
        header = _HEADER.fullmatch(line.rstrip())
        if header and not in_script:
            name = header[1]
            assert name not in found, f"{name} is there twice"
            found[name] = (header[2], int(header[3] or "0", 16), "")
        elif name and not line.startswith("//"):
            kind, address, body = found[name]
            found[name] = (kind, address, body + line)
            in_script ^= line.count("'''") == 1
            assert in_script or line[:4].isspace() or line.strip() in ("", "'''"), line
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_platform_has_the_boards_memory_and_uart(name: str) -> None:
    board = find_board(name)
    found = entries(board)
    for region in board.memory:
        kind, address, body = found[region.name]
        assert (kind, address) == ("Memory.MappedMemory", region.address)
        assert f"size: {region.size:#x}" in body.lower()
    kind, address, body = found[board.uart.name]
    assert (kind, address) == (board.emulation.renode_uart, board.uart.address)
    assert f"nvic@{board.emulation.renode['interrupt']}" in body
    assert f'cpuType: "{board.core.renode_model}"' in found["cpu"][2]
    assert f"PerformanceInMips: {board.clock.hz // 10**6}\n" in found["cpu"][2]
    assert ("dwt" in found) == board.core.dwt
    if board.core.dwt:
        assert f"frequency: {board.clock.hz}\n" in found["dwt"][2]


@pytest.mark.parametrize("name", NAMES)
def test_every_register_block_is_there_once(name: str) -> None:
    board = find_board(name)
    found = entries(board)
    blocks = register_blocks(board)
    assert len(found) == len(board.memory) + len(blocks) + 3 + board.core.dwt
    for block in blocks:
        kind, address, body = found[block.name]
        assert address == block.address
        assert f"size: {block.size:#x}" in body.lower()
        assert (kind == "Memory.MappedMemory") == (not block.reset and not block.follows)


def script_of(board: Board, block: Block) -> str:
    body = entries(board)[block.name][2]
    return body.partition("script: '''")[2].partition("'''")[0]


ALL_BLOCKS = [
    (name, block) for name in NAMES for block in register_blocks(find_board(name)) if block.follows
]


@pytest.mark.parametrize(("name", "block"), ALL_BLOCKS, ids=lambda v: getattr(v, "name", v))
def test_the_python_peripherals_do_what_unicorns_do(name: str, block: Block) -> None:
    """The script in the platform, run as Renode runs it, against the register model."""
    script = compile(script_of(find_board(name), block), block.name, "exec")
    scope: dict[str, object] = {}

    def ask(offset: int, *, write: int | None = None, init: bool = False) -> int:
        scope["request"] = request = SimpleNamespace(
            IsInit=init,
            IsWrite=not init and write is not None,
            IsRead=not init and write is None,
            Offset=offset,
            Value=write or 0,
        )
        exec(script, scope)
        return int(request.Value)

    ask(0, init=True)
    model = Registers(block)
    offsets = sorted({f.register for f in block.follows} | {f.to for f in block.follows})
    for value in (None, 0, 0xFFFFFFFF, 0x15010101, 0x2A020002, 0x00FAB000, 3):
        for offset in offsets:
            if value is not None:
                ask(offset, write=value)
                model.write(offset, value)
        for offset in (*offsets, *block.ones):
            assert ask(offset) == model.read(offset)


# --- the project's suite --------------------------------------------------------------------------


def write_suite(folder: Path, board: Board, outputs: tuple[bytes, ...]) -> Path:
    """The project's files for Renode, with the keywords of renode_keywords.py in the suite."""
    golden = GoldenInference((DATA[0],), outputs)
    for name, content in emulation_files(board, golden, title="twin", selftest=True).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    path = folder / "emulation/firmware.robot"
    keywords = Path(__file__).with_name("renode_keywords.py")
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("*** Settings ***\n", f"*** Settings ***\nLibrary    {keywords}\n")
    )
    return path


@pytest.fixture
def suite(tmp_path: Path, board: Board) -> Path:
    return write_suite(tmp_path, board, Twin().infer(DATA[0])[0])


def execute(suite: Path, **options: object) -> tuple[int, str]:
    """The number of tests that failed, and what Robot printed."""
    said = io.StringIO()
    status = robot.run(str(suite), output=None, report=None, log=None, stdout=said, stderr=said,
                       **options)  # fmt: skip
    return status, said.getvalue()


def test_the_suite_passes_and_reports_the_instructions(
    suite: Path, elf: Path, board: Board, capfd: pytest.CaptureFixture[str]
) -> None:
    status, said = execute(suite, variable=[f"ELF:{elf}"])
    assert status == 0, said
    assert "2 tests, 2 passed" in said
    with UnicornEmulator().start(elf, board) as session:
        counted = session.infer([DATA[0]], observe=False).instructions
    assert f"{counted} instructions per inference" in capfd.readouterr().out


def test_a_wrong_byte_fails_the_suite(tmp_path: Path, elf: Path, board: Board) -> None:
    first, second = Twin().infer(DATA[0])[0]
    suite = write_suite(tmp_path, board, (first, bytes([second[0] ^ 1]) + second[1:]))
    status, said = execute(suite, variable=[f"ELF:{elf}"])
    assert status == 1 and "never came" in said


def test_an_access_to_nothing_fails_the_suite(
    suite: Path, elf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNEXPECTED", "1")
    assert execute(suite, variable=[f"ELF:{elf}"])[0] == 2


def test_a_failed_self_test_fails_the_suite(suite: Path, board: Board, tmp_path: Path) -> None:
    wrong = build(tmp_path / "wrong", board, Variation(before="a[0] ^= 1;"), selftest=DATA[2])
    status, said = execute(suite, variable=[f"ELF:{wrong}"])
    assert status == 2 and "a failing string came" in said


def test_every_keyword_of_the_suite_is_known(suite: Path) -> None:
    assert execute(suite, dryrun=True)[0] == 0
    suite.write_text(suite.read_text().replace("Wait For Bytes On Uart", "Wait For Bites", 1))
    assert execute(suite, dryrun=True)[0] == 1


def test_the_script_loads_the_platform_beside_it(suite: Path, board: Board) -> None:
    script = (suite.parent / "board.resc").read_text(encoding="utf-8")
    assert "machine LoadPlatformDescription $ORIGIN/board.repl\n" in script
    assert "$elf?=$ORIGIN/../.pio/build/offline/firmware.elf\n" in script
    assert "VectorTableOffset" not in script
    pico = emulation_files(
        find_board("raspberry_pi_pico"), GoldenInference(), title="x", selftest=False
    )
    script_of_pico = pico["emulation/board.resc"]
    assert b'VectorTableOffset `sysbus GetSymbolAddress "vectors"`' in script_of_pico
    robot_of_pico = pico["emulation/firmware.robot"]
    assert b"MCUDEPLOY NO SELF-TEST" in robot_of_pico
    assert b"Send To Firmware            0" not in robot_of_pico


def test_a_board_that_renode_cannot_run_gets_no_files() -> None:
    board = find_board("mps3_an547")
    assert emulation_files(board, GoldenInference(), title="x", selftest=True) == {}
    assert "mps3_an547" in (RenodeEmulator().supports(board) or "")


# --- the backend, against a stand-in --------------------------------------------------------------


PATIENCE = 60.0
"""Seconds that nothing here takes, however busy the machine is."""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """`renode` on PATH is the stand-in; set MODE to have it misbehave."""
    if sys.platform == "win32":
        pytest.skip("the stand-in is a script with a shebang line")
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "renode"
    script = Path(__file__).with_name("renode_stand_in.py")
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    root = Path(__file__).resolve().parent.parent
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setattr(backend, "PROGRAM", str(program))
    monkeypatch.setattr(backend, "_START_SECONDS", PATIENCE)
    monkeypatch.setattr(backend, "_END_SECONDS", PATIENCE)
    monkeypatch.setattr(backend, "_ANSWER_SECONDS", 0.5)
    return monkeypatch


def test_a_firmware_runs_over_renodes_socket(
    stand_in: pytest.MonkeyPatch, elf: Path, board: Board
) -> None:
    twin = Twin()
    with RenodeEmulator().start(elf, board) as session:
        assert session.info().selftest == "passed"
        for data in DATA[:2]:
            outputs, shown = twin.infer(data)
            inference = session.infer([data])
            assert inference.outputs == outputs
            assert inference.checksums == checksums(shown)
        assert 15_000 < inference.instructions < 30_000


@pytest.mark.parametrize(
    ("mode", "said", "where"),
    [
        ("silent-end", "without the firmware's verdict", ""),
        ("status", "ended with status 3", ""),
        ("unexpected", "accessed addresses where the board has nothing", "0x40010000"),
        ("dies", "ended in mid-run", ""),
        ("abort", "crashed the core", "CPU abort"),
        ("hang", "hangs: no answer in 1 seconds", ""),
        ("no-port", "did not open port", ""),
    ],
)
def test_renodes_misbehaviour_is_never_a_pass(
    stand_in: pytest.MonkeyPatch, elf: Path, board: Board, mode: str, said: str, where: str
) -> None:
    stand_in.setenv("MODE", mode)
    if mode == "no-port":
        stand_in.setattr(backend, "_START_SECONDS", 2.0)
    limit = 1.0 if mode == "hang" else PATIENCE
    with (
        pytest.raises(EmulationError, match=said) as caught,
        RenodeEmulator().start(elf, board, time_limit_seconds=limit) as session,
    ):
        session.infer([DATA[0]])
        session.infer([DATA[1]])
    assert where in caught.value.where


def test_a_taken_port_is_tried_again_with_another(
    stand_in: pytest.MonkeyPatch, elf: Path, board: Board
) -> None:
    free_port, ports = backend._free_port, []

    def port() -> int:
        ports.append(free_port())
        if len(ports) == 1:
            stand_in.setenv("TAKEN_PORT", str(ports[0]))
        stand_in.setattr(backend, "_START_SECONDS", 1.0 if len(ports) == 1 else PATIENCE)
        return ports[-1]

    stand_in.setenv("MODE", "port-taken")
    stand_in.setattr(backend, "_free_port", port)
    with RenodeEmulator().start(elf, board) as session:
        assert session.infer([DATA[0]]).outputs == Twin().infer(DATA[0])[0]
    assert len(ports) == 2


def test_without_renode_the_mend_is_told(
    monkeypatch: pytest.MonkeyPatch, elf: Path, board: Board
) -> None:
    monkeypatch.setenv("PATH", "")
    assert RenodeEmulator().available() == "Renode is not installed"
    with pytest.raises(ToolError, match="not installed") as caught:
        RenodeEmulator().start(elf, board)
    assert "doctor" in caught.value.mend


# --- Renode itself --------------------------------------------------------------------------------


@pytest.mark.renode
@pytest.mark.parametrize("name", NAMES)
def test_the_self_test_passes_on_renode(name: str, tmp_path: Path) -> None:
    board = find_board(name)
    elf = build(tmp_path, board, selftest=DATA[2])
    with RenodeEmulator().start(elf, board) as session:
        assert session.info().selftest == "passed"
        outputs, shown = Twin().infer(DATA[0])
        inference = session.infer([DATA[0]])
    assert inference.outputs == outputs
    assert inference.checksums == checksums(shown)
    assert 15_000 < inference.instructions < 30_000
