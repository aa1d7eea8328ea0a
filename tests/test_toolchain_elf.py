# SPDX-License-Identifier: Apache-2.0
"""Sizes and symbols of a linked firmware, against what the linker's own tools say."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest
import toolchain_project as project
from hypothesis import given, settings
from hypothesis import strategies as st

from mcudeploy.errors import BuildError, InputError, McudeployError
from mcudeploy.toolchain.elf import FirmwareImage, read_elf
from mcudeploy.toolchain.platformio import build
from mcudeploy.toolchain.sizes import linked_sizes


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(project.write_project(tmp_path_factory.mktemp("firmware"))).elf


@pytest.fixture(scope="module")
def image(elf: Path) -> FirmwareImage:
    return read_elf(elf)


# --- sizes ----------------------------------------------------------------------------------------


def test_every_part_is_found_in_its_region_to_the_byte(elf: Path) -> None:
    sizes = linked_sizes(elf, project.small_board())
    assert sizes.of("sram", "arena") == project.ARENA_BYTES
    assert sizes.of("sram", "state") == project.STATE_BYTES
    assert sizes.of("sram", "stack") == project.STACK_BYTES
    assert sizes.of("sram", "data") == 4  # initialised
    assert sizes.of("sram", "bss") == 4  # verdict
    assert dict(sizes.regions["ccm"]) == {"arena": project.CCM_BYTES}
    assert sizes.of("flash", "weights") == project.WEIGHTS_BYTES
    assert sizes.of("flash", "biases") == project.BIASES_BYTES
    assert sizes.of("flash", "tables") == project.TABLES_BYTES
    assert sizes.of("flash", "data") == 4  # its initial value
    assert sizes.part("arena") == project.ARENA_BYTES + project.CCM_BYTES


def test_the_parts_of_a_region_add_up_to_what_the_linker_placed_there(elf: Path) -> None:
    sizes = linked_sizes(elf, project.small_board())
    listed = subprocess.run(
        ["arm-none-eabi-size", "-B", "-d", elf], capture_output=True, text=True, check=True
    ).stdout.split("\n")[1]
    text, data, bss = map(int, listed.split()[:3])
    assert sizes.total("flash") == text + data
    assert sizes.total("sram") + sizes.total("ccm") == data + bss


def test_code_is_told_by_object_file(elf: Path) -> None:
    sizes = linked_sizes(elf, project.small_board())
    assert sum(sizes.code.values()) == sizes.of("flash", "code")
    kernel = next(n for n in sizes.code if n.endswith("arm_convolve_wrapper_s8.o"))
    assert sizes.code[kernel] > 0
    # The compiled but never called is not in the firmware.
    assert not [n for n in sizes.code if n.endswith("arm_q7_to_q15_with_offset.o")]


def test_a_firmware_of_another_board_is_told_apart(elf: Path) -> None:
    board = project.small_board()
    elsewhere = board.model_copy(
        update={"memory": tuple(r for r in board.memory if r.name != "ccm")}
    )
    with pytest.raises(BuildError, match="no memory"):
        linked_sizes(elf, elsewhere)


def test_a_missing_map_is_said(elf: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="map"):
        linked_sizes(elf, project.small_board(), map_file=tmp_path / "none.map")


# --- symbols and segments -------------------------------------------------------------------------


def test_addresses_become_function_names(image: FirmwareImage) -> None:
    start = image.address_of("arm_convolve_s8")
    size = image.symbol("arm_convolve_s8").size
    assert start % 2 == 0 and image.entry == image.address_of("Reset_Handler")
    assert image.describe(start) == image.describe(start | 1) == "arm_convolve_s8"
    assert image.describe(start + 6) == "arm_convolve_s8+0x6"
    inside = image.function_at(start + size - 1)
    outside = image.function_at(start + size)
    assert inside is not None and inside.name == "arm_convolve_s8"
    assert outside is None or outside.name != "arm_convolve_s8"
    assert image.describe(0xE000_0000) == "0xe0000000"


def test_every_function_that_nm_lists_is_found(image: FirmwareImage) -> None:
    listed = subprocess.run(
        ["arm-none-eabi-nm", "--defined-only", image.path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for line in listed.splitlines():
        address, kind, name = line.split()
        if kind == "T" and name[0] != "$":
            assert image.address_of(name) == int(address, 16) & ~1


def test_an_unknown_symbol_is_named(image: FirmwareImage) -> None:
    assert not image.has("model_invoke")
    with pytest.raises(InputError, match="model_invoke"):
        image.address_of("model_invoke")


def test_segments_hold_what_flash_must_hold(image: FirmwareImage, tmp_path: Path) -> None:
    """The same bytes at the same addresses as objcopy writes for a programmer."""
    binary = tmp_path / "firmware.bin"
    subprocess.run(["arm-none-eabi-objcopy", "-O", "binary", image.path, binary], check=True)
    stored = [s for s in image.segments if s.data]
    base = min(s.load_address for s in stored)
    flash = bytearray(max(s.load_address + len(s.data) for s in stored) - base)
    for segment in stored:
        offset = segment.load_address - base
        flash[offset : offset + len(segment.data)] = segment.data
    assert bytes(flash) == binary.read_bytes()
    data = next(s for s in image.segments if s.address != s.load_address)
    assert (data.address, data.writable, data.executable) == (
        image.address_of("data_start"),
        True,
        False,
    )


# --- files that are none --------------------------------------------------------------------------


def test_a_file_that_is_missing_or_something_else_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "x.elf"
    with pytest.raises(InputError, match="cannot read"):
        read_elf(other)
    other.write_bytes(b"")
    with pytest.raises(InputError, match="no valid ELF"):
        read_elf(other)
    with pytest.raises(InputError, match="no Arm firmware"):
        read_elf(Path("/bin/true"))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_gives_an_error_or_an_image_but_no_crash(
    elf: Path, data: st.DataObject
) -> None:
    content = bytearray(elf.read_bytes())
    if data.draw(st.booleans(), "truncate"):
        content = content[: data.draw(st.integers(0, len(content)), "length")]
    else:
        headers = st.one_of(st.integers(0, 200), st.integers(len(content) - 2000, len(content) - 1))
        for position in data.draw(st.lists(headers, min_size=1, max_size=8), "positions"):
            content[position] ^= data.draw(st.integers(1, 255), "flip")
    damaged = elf.with_name("damaged.elf")
    damaged.write_bytes(content)
    with contextlib.suppress(McudeployError):
        read_elf(damaged)
