# SPDX-License-Identifier: Apache-2.0
"""The firmware around the model: what it takes, where it lies, how it starts, what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hand_firmware import INPUT_BYTES, STACK_BYTES, Twin, Variation, build

from mcudeploy.board import Board, find_board
from mcudeploy.budget import RUNTIME_RAM_BYTES
from mcudeploy.emulator import layouts
from mcudeploy.emulator import unicorn as backend
from mcudeploy.emulator.unicorn import UnicornEmulator
from mcudeploy.toolchain.elf import read_elf
from mcudeploy.toolchain.sizes import linked_sizes

DATA = bytes(k * 13 & 255 for k in range(INPUT_BYTES))
RUNTIME_CODE_BYTES = 6 * 1024


@pytest.fixture(scope="module")
def board() -> Board:
    return find_board("stm32f469")


@pytest.fixture(scope="module")
def elf(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("firmware"), board)


def test_the_runtime_keeps_to_its_budget(elf: Path, board: Board) -> None:
    sizes = linked_sizes(elf, board)
    assert sizes.of("sram", "data") + sizes.of("sram", "bss") <= RUNTIME_RAM_BYTES
    assert sizes.part("code") + sizes.part("constants") <= RUNTIME_CODE_BYTES
    assert sizes.of("sram", "stack") == STACK_BYTES


def test_arenas_lie_in_their_regions(elf: Path, board: Board) -> None:
    sizes = linked_sizes(elf, board)
    assert sizes.of("sram", "arena") == 4 * INPUT_BYTES
    assert sizes.of("ccm", "arena") == INPUT_BYTES
    assert sizes.of("sram", "state") == 16
    image = read_elf(elf)
    ccm = board.region("ccm")
    assert ccm.address <= image.address_of("model_arena_other") < ccm.end


def test_the_stack_is_at_the_start_of_ram_so_that_overflow_faults(elf: Path, board: Board) -> None:
    image = read_elf(elf)
    assert image.address_of("stack_bottom") == board.region("sram").address
    assert image.address_of("stack_top") == board.region("sram").address + STACK_BYTES


def test_the_vector_table_is_where_the_core_looks(elf: Path, board: Board) -> None:
    image = read_elf(elf)
    assert image.address_of("vectors") == board.region("flash").address
    first = next(s for s in image.segments if s.load_address == board.region("flash").address)
    assert int.from_bytes(first.data[:4], "little") == image.address_of("stack_top")
    assert int.from_bytes(first.data[4:8], "little") == image.address_of("Reset_Handler") | 1


def test_initialised_data_arrives_and_bss_is_zero(board: Board, tmp_path: Path) -> None:
    code = (
        "volatile int32_t seven = 7;\nvolatile uint8_t odd[3] = {1, 2, 3};\n"
        "volatile int32_t nothing_yet[5];\n"
    )
    within = (
        "sum[0] = (uint8_t)(seven + odd[2]);\nfor (int i = 0; i < 5; i++)\n"
        "{ sum[0] = (uint8_t)(sum[0] + nothing_yet[i]); }"
    )
    elf = build(tmp_path, board, Variation(code=code, within=within))
    with UnicornEmulator().start(elf, board, poison=True) as session:
        assert session.infer([DATA]).outputs[1][0] == 10


def test_a_failed_self_test_is_told(board: Board, tmp_path: Path) -> None:
    wrong = Variation(within="sum[0]++;")
    elf = build(tmp_path, board, wrong, selftest=DATA)
    with UnicornEmulator().start(elf, board) as session:
        assert session.info().selftest == "failed"
        assert "MCUDEPLOY FAIL" in session.link.text


def test_the_self_test_leaves_no_state_behind(board: Board, tmp_path: Path) -> None:
    elf = build(tmp_path, board, selftest=DATA)
    with UnicornEmulator().start(elf, board) as session:
        assert session.info().selftest == "passed"
        assert session.infer([DATA]).outputs == Twin().infer(DATA)[0]


STUCK = {"HSERDY": (0, 17), "PLLRDY": (0, 25), "SWS": (8, 3)}


@pytest.mark.parametrize("stuck", STUCK)
def test_a_clock_that_does_not_come_up_is_told_and_survived(
    elf: Path, board: Board, monkeypatch: pytest.MonkeyPatch, stuck: str
) -> None:
    def blocks(board: Board) -> tuple[layouts.Block, ...]:
        return tuple(
            replace(b, follows=tuple(f for f in b.follows if (f.to, f.to_bit) != STUCK[stuck]))
            if b.name == "rcc"
            else b
            for b in layouts.register_blocks(board)
        )

    monkeypatch.setattr(backend, "register_blocks", blocks)
    with UnicornEmulator().start(elf, board) as session:
        info = session.info()
        assert (info.clock_hz, info.clock_configured) == (16_000_000, False)
        assert "16000000 Hz, the fallback clock" in session.link.text
        assert session.infer([DATA]).outputs == Twin().infer(DATA)[0]
