# SPDX-License-Identifier: Apache-2.0
"""Every board file: well formed, plausible, and a firmware for it builds and passes its self-test.

Addresses are checked against what the part's family has where, not against the file itself.
"""

from __future__ import annotations

import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
import unicorn
from hand_firmware import INPUT_BYTES, Twin, Variation, build, checksums
from test_cli import dense_model
from unicorn import arm_const

from mcudeploy import api
from mcudeploy import emulator as emulators
from mcudeploy.board import Board, board_names, find_board, parse_bytes, read_board
from mcudeploy.emulator.layouts import UARTS, register_blocks
from mcudeploy.emulator.unicorn import UnicornEmulator
from mcudeploy.errors import InputError
from mcudeploy.frontend.reference import golden_unavailable, sample_inputs
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.resources import resource_folder
from mcudeploy.toolchain.elf import read_elf
from mcudeploy.verify import verify

NAMES = sorted(set(board_names().values()))
IN_CI = ("nucleo_l4r5zi", "stm32f746g_disco", "nucleo_u575zi_q", "raspberry_pi_pico")
"""A core each; `make nightly` does the others."""
DATA = bytes(k * 11 & 255 for k in range(INPUT_BYTES))
REGIONS = {
    "stm32f469": {"flash": 2048, "sram": 320, "ccm": 64},
    "nucleo_f446re": {"flash": 512, "sram": 128},
    "nucleo_f401re": {"flash": 512, "sram": 96},
    "nucleo_f411re": {"flash": 512, "sram": 128},
    "stm32f746g_disco": {"flash": 1024, "sram": 320},
    "nucleo_h743zi": {
        "flash": 2048, "axi_sram": 512, "dtcm": 128, "d2_sram": 288, "d3_sram": 64,
    },
    "nucleo_l4r5zi": {"flash": 2048, "sram": 640},
    "nucleo_l476rg": {"flash": 1024, "sram": 96, "sram2": 32},
    "nucleo_g474re": {"flash": 512, "sram": 128},
    "nucleo_u575zi_q": {"flash": 2048, "sram": 768, "sram4": 16},
    "nucleo_f103rb": {"flash": 128, "sram": 20},
    "nrf52840_dk": {"flash": 1024, "sram": 256},
    "nano33ble": {"flash": 960, "sram": 256},
    "raspberry_pi_pico": {"flash": 2048, "sram": 264},
}  # fmt: skip
"""KiB, from the datasheets."""


def test_there_are_the_boards_that_people_own() -> None:
    assert len(NAMES) >= 16
    assert set(REGIONS) <= set(NAMES)
    cores = {find_board(name).core_name for name in NAMES}
    assert cores >= {
        "cortex-m0plus", "cortex-m3", "cortex-m4f", "cortex-m7", "cortex-m33", "cortex-m55",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_plausible(name: str) -> None:
    board = find_board(name)
    assert board.name == name
    assert board.url.startswith("https://")
    assert "not silicon" in board.tried_on
    assert 1_000_000 <= board.clock.fallback_hz <= board.clock.hz <= 600_000_000
    for region in board.memory:
        assert region.address % 1024 == 0
        assert region.size % 1024 == 0
        assert 4 * 1024 <= region.size <= 64 * 1024**2
        assert region.kind == "ram" or region.execute
        assert region.end <= 0x40000000  # peripherals start there on every Cortex-M
    drivers = resource_folder("firmware") / "drivers"
    assert all((drivers / file).is_file() for file in board.driver_files)
    assert board.uart.driver in UARTS
    assert board.uart.baud == 115200
    for address in (board.uart.address, *(block.address for block in register_blocks(board))):
        assert 0x40000000 <= address < 0x60000000
        assert address % 0x100 == 0
    assert (board.platformio_board is None) == (board.platformio_platform is None)


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_of_current_has_its_source_beside_it(name: str) -> None:
    lines = (resource_folder("boards") / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    for before, line in pairwise(lines):
        if line.startswith("ma_per_mhz"):
            assert before.startswith("# "), line


@pytest.mark.parametrize("name", NAMES)
def test_register_blocks_do_not_overlap(name: str) -> None:
    board = find_board(name)
    blocks = [(b.address, b.address + b.size) for b in register_blocks(board)]
    blocks.append((board.uart.address, board.uart.address + UARTS[board.uart.driver].size))
    ordered = sorted(blocks)
    assert all(low[1] <= high[0] for low, high in pairwise(ordered))


@pytest.mark.parametrize("name", REGIONS)
def test_regions_have_the_datasheets_sizes(name: str) -> None:
    found = {region.name: region.size // 1024 for region in find_board(name).memory}
    assert found == REGIONS[name]


def test_aliases_are_unique_and_lead_to_the_board() -> None:
    seen: dict[str, str] = {}
    for name in NAMES:
        for alias in find_board(name).aliases:
            assert alias not in seen, f"{alias} is of {seen[alias]} and {name}"
            assert alias not in NAMES
            assert find_board(alias).name == name
            assert find_board(alias.upper().replace("_", "-")).name == name
            seen[alias] = name


def test_the_kernels_core_flags_are_the_parts() -> None:
    """Single precision on F746, double on H743, DSP on M4 and up, Helium on M55 only."""
    assert "-mfpu=fpv5-sp-d16" in find_board("stm32f746g_disco").core.compiler_flags
    assert "-mfpu=fpv5-d16" in find_board("nucleo_h743zi").core.compiler_flags
    assert not find_board("nucleo_f103rb").core.dsp
    assert [n for n in NAMES if find_board(n).core.mve] == ["mps3_an547"]


def _run_self_test(board: Board, folder: Path) -> None:
    elf = build(folder, board, selftest=DATA)
    outputs, shown = Twin().infer(DATA)
    with UnicornEmulator().start(elf, board, poison=True) as session:
        info = session.info()
        inference = session.infer([DATA])
    assert info.selftest == "passed"
    assert (info.board, info.clock_hz, info.clock_configured) == (
        board.name, board.clock.hz, True,
    )  # fmt: skip
    assert info.counter == ("dwt" if board.core.dwt else "systick")
    assert inference.outputs == outputs
    assert inference.checksums == checksums(shown)
    assert 15_000 < inference.instructions < 30_000


ON_UNICORN = [name for name in NAMES if UnicornEmulator().supports(find_board(name)) is None]


@pytest.mark.parametrize("name", [n for n in ON_UNICORN if n in IN_CI])
def test_the_self_test_passes_on_its_own_memory_map(name: str, tmp_path: Path) -> None:
    _run_self_test(find_board(name), tmp_path)


@pytest.mark.slow(reason="every board; four of them run always")
@pytest.mark.parametrize("name", [n for n in ON_UNICORN if n not in IN_CI])
def test_the_self_test_passes_on_every_board(name: str, tmp_path: Path) -> None:
    _run_self_test(find_board(name), tmp_path)


@pytest.mark.skipif(golden_unavailable() is not None, reason=str(golden_unavailable()))
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in IN_CI else pytest.mark.slow("four run always"))
        for name in NAMES
    ],
)
def test_a_network_builds_and_passes_on_every_board(name: str, tmp_path: Path) -> None:
    """All the way: PlatformIO's build, linked sizes, the self-test, and every operator's output."""
    (tmp_path / "net.tflite").write_bytes(dense_model())
    emulator = "unicorn" if name in ON_UNICORN else "qemu"
    reason = emulators.get(emulator).available()
    if reason is not None:
        pytest.skip(reason)
    project = api.generate(tmp_path / "net.tflite", name, tmp_path / "firmware")
    built = api.build(project.folder)
    assert built.as_predicted and built.fits and built.warnings == ()
    inputs = list(sample_inputs(read_tflite(dense_model(), "net"), 3, 0))
    with emulators.get(emulator).start(built.elf, find_board(name), poison=True) as session:
        assert session.info().selftest == "passed"
        verdict = verify(project.manifest, dense_model(), session, inputs, emulator=emulator)
    assert verdict.bit_exact and verdict.inferences == len(inputs)


def test_systick_counts_on_past_its_24_bits(tmp_path: Path) -> None:
    """Cortex-M0+ has no DWT; SysTick wraps each 16.8 million instructions."""
    board = find_board("raspberry_pi_pico")
    code = (
        "__attribute__((naked, noinline)) static void loop(void)\n{\n"
        '    __asm volatile("ldr r0, =20000000\\n1: sub r0, #1\\nbne 1b\\nbx lr\\n.ltorg");\n}\n'
    )
    elf = build(tmp_path, board, Variation(code=code, within="loop();"))
    with UnicornEmulator().start(elf, board) as session:
        inference = session.infer([DATA])
    assert 40_000_000 < inference.instructions < 40_100_000
    assert 40_000_000 < inference.operator_instructions[3] < 40_100_000


# --- RP2040's second boot stage -------------------------------------------------------------------


def _crc32_mpeg2(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return crc


@pytest.fixture(scope="module")
def pico_elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("pico"), find_board("raspberry_pi_pico"))


def test_the_second_stage_has_the_crc_that_the_boot_rom_checks(pico_elf: Path) -> None:
    image = read_elf(pico_elf)
    first = min(image.segments, key=lambda segment: segment.load_address)
    assert first.load_address == 0x10000000
    stage = first.data[:256]
    assert int.from_bytes(stage[252:], "little") == _crc32_mpeg2(stage[:252])
    assert image.address_of("vectors") == 0x10000100


def test_the_second_stage_sets_up_flash_and_starts_the_firmware(pico_elf: Path) -> None:
    """Run as the boot ROM does: copied to the end of SRAM, with nothing else set up."""
    image = read_elf(pico_elf)
    first = min(image.segments, key=lambda segment: segment.load_address)
    engine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
    engine.ctl_set_cpu_model(arm_const.UC_CPU_ARM_CORTEX_M0)
    engine.mem_map(0x10000000, 0x100000, unicorn.UC_PROT_READ)
    engine.mem_map(0x20000000, 0x42000)
    engine.mem_write(0x10000000, first.data)
    engine.mem_write(0x20041F00, first.data[:252])
    written: list[tuple[int, int]] = []

    def record(base: int) -> object:
        return lambda uc, offset, size, value, _: written.append((base + offset, value))

    engine.mmio_map(0x18000000, 0x1000, None, None, record(0x18000000), None)
    engine.mmio_map(0xE000E000, 0x1000, None, None, record(0xE000E000), None)
    with pytest.raises(unicorn.UcError):  # flash allows no execution here: that ends the run
        engine.emu_start(0x20041F01, 0xFFFFFFFF, count=1000)
    assert engine.reg_read(arm_const.UC_ARM_REG_PC) == image.address_of("Reset_Handler")
    assert engine.reg_read(arm_const.UC_ARM_REG_SP) == image.address_of("stack_top")
    assert written == [
        (0x18000008, 0), (0x18000014, 4), (0x18000000, 0x001F0300), (0x18000004, 0),
        (0x180000F4, 0x03000218), (0x18000008, 1), (0xE000ED08, 0x10000100),
    ]  # fmt: skip


# --- reading board files --------------------------------------------------------------------------


def test_sizes_are_read_in_powers_of_1024() -> None:
    assert [parse_bytes(text) for text in ("64K", "512 KiB", "2M", "2 MiB", "4096", "1.5K")] == [
        65536, 524288, 2097152, 2097152, 4096, 1536,
    ]  # fmt: skip
    for text in ("64 KB", "x", "-1", "1G", ""):
        with pytest.raises(ValueError, match="is not a size"):
            parse_bytes(text)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "ccm"', 'name = "sram"', "repeat"),
        ("0x1000_0000", "0x2004_0000", "overlap"),
        ('core = "cortex-m4f"', 'core = "cortex-a9"', "cortex-a9"),
        ('kind = "flash"', 'kind = "ram"', "at least one internal flash"),
        ('size = "64 KiB"', 'size = "64 KB"', "memory.1.size"),
        ('title = "', 'titel = "', "titel|title"),
        ("[clock]", "[clock", "TOML"),
        ('vendor = "STMicroelectronics"\n', "", "vendor"),
    ],
)
def test_a_wrong_file_is_refused_with_field_and_fault(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    text = (resource_folder("boards") / "stm32f469.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=said) as caught:
        read_board(path)
    assert str(path) in caught.value.where


def test_a_board_of_ones_own_is_read_from_its_file(tmp_path: Path) -> None:
    text = (resource_folder("boards") / "stm32f469.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('name = "stm32f469"', 'name = "mine"'), encoding="utf-8")
    assert find_board(str(path)).name == "mine"


def test_an_unknown_board_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        find_board("stm32f496")
    assert "stm32f469" in caught.value.mend
    with pytest.raises(InputError):
        find_board("../secrets")


def test_assembled_sources_need_no_flag_of_their_own(tmp_path: Path) -> None:
    source = resource_folder("firmware") / "drivers" / "rp2040_boot2.S"
    command = ["arm-none-eabi-gcc", "-c", str(source), "-o", str(tmp_path / "boot2.o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
