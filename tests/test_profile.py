# SPDX-License-Identifier: Apache-2.0
"""`profile`: counts that sum up to the whole, blocks that are those executed, time that follows."""

import json

import numpy as np
import pytest
import unicorn
from hand_firmware import INPUT_BYTES, Variation
from hand_firmware import build as build_by_hand
from tflite_builder import ModelBuilder
from typer.testing import CliRunner
from unicorn import arm_const

import mcudeploy
from mcudeploy.board import find_board
from mcudeploy.board_flash import FlashStall
from mcudeploy.cli import app
from mcudeploy.codegen.manifest import read_manifest
from mcudeploy.emulator.counting import BlockCounter, compiled_available
from mcudeploy.emulator.link import Link
from mcudeploy.emulator.session import LinkSession
from mcudeploy.emulator.unicorn import Machine
from mcudeploy.errors import InputError
from mcudeploy.profiling import BlockTiming
from mcudeploy.profiling.cycles import cycle_model
from mcudeploy.profiling.recorder import OperatorRecorder
from mcudeploy.toolchain.elf import read_elf

_LOOP = """
__attribute__((naked, noinline)) static void loop(void)
{
    __asm volatile("ldr r0, =LOOPS\\n1: subs r0, #1\\nbne 1b\\nbx lr\\n.ltorg");
}
"""
_OPERATORS = 74


def two_layers():
    builder = ModelBuilder()
    x = builder.input((1, 8, 8, 4), scale=0.1, zero_point=-3)
    random = np.random.default_rng(0)
    kernel = random.integers(-127, 128, (8, 3, 3, 4)).astype(np.int8)
    w = builder.constant(kernel, scale=[0.01] * 8)
    b = builder.constant(np.zeros(8, np.int32), scale=[0.001] * 8)
    y = builder.operator(
        "CONV_2D", [x, w, b], builder.tensor((1, 8, 8, 8), scale=0.2), padding="SAME",
        stride_h=1, stride_w=1,
    )  # fmt: skip
    flat = builder.operator("RESHAPE", [y], builder.tensor((1, 512), scale=0.2))
    dense = builder.constant(random.integers(-127, 128, (10, 512)).astype(np.int8), scale=0.02)
    z = builder.operator(
        "FULLY_CONNECTED", [flat, dense, -1], builder.tensor((1, 10), scale=0.5, zero_point=4)
    )
    return builder.build(outputs=[z])


@pytest.fixture(scope="module")
def projects(tmp_path_factory):
    """A network built with our kernels and with CMSIS-NN's."""
    folder = tmp_path_factory.mktemp("profile")
    (folder / "net.tflite").write_bytes(two_layers())
    for kernels in ("auto", "cmsis-nn"):
        made = mcudeploy.generate(
            folder / "net.tflite", "nucleo_l4r5zi", folder / kernels, kernels=kernels
        )
        mcudeploy.build(made.folder)
    return folder


def test_operators_and_the_rest_sum_up_to_the_whole(projects):
    profile = mcudeploy.profile(projects / "auto")
    assert [row.kind for row in profile.operators] == ["CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    rows = profile.operators
    assert sum(row.instructions for row in rows) + profile.other_instructions == (
        profile.instructions
    )
    assert 0 <= profile.other_instructions < 100
    assert sum(row.share for row in rows) == pytest.approx(1, abs=0.01)
    assert sum(row.milliseconds or 0 for row in rows) == pytest.approx(
        profile.milliseconds, rel=0.01
    )
    (verdict,) = mcudeploy.test(projects / "auto", random=1).verdicts
    assert verdict.instructions == profile.instructions


def test_time_follows_from_cycles_and_clock_and_flash_only_adds(projects):
    profile = mcudeploy.profile(projects / "cmsis-nn")
    assert profile.milliseconds == pytest.approx(profile.cycles / 120e6 * 1000)
    assert profile.cycles > profile.zero_wait_cycles > profile.instructions
    words = sum(row.flash_words or 0 for row in profile.operators)
    # The weights alone are loaded several times over.
    assert words > (8 * 36 + 5120) / 4
    assert profile.cycles - profile.zero_wait_cycles == pytest.approx(5 * words, rel=0.01)
    assert profile.error_percent == 20


def test_energy_follows_from_the_current_that_the_boards_file_has(projects, monkeypatch):
    silent = mcudeploy.profile(projects / "auto")
    assert silent.microjoules is None
    manifest = read_manifest(projects / "auto")
    board = manifest.board_record.model_copy(update={"ma_per_mhz": 0.1})
    stated = manifest.model_copy(update={"board_record": board})
    monkeypatch.setattr("mcudeploy.profiling.read_manifest", lambda _: stated)
    profile = mcudeploy.profile(projects / "auto")
    assert profile.microjoules == pytest.approx(silent.milliseconds * 0.1 * 120 * 3.3)


def test_a_measurement_scales_times_and_nothing_else(projects):
    plain = mcudeploy.profile(projects / "auto")
    scaled = mcudeploy.profile(projects / "auto", calibrate=2 * plain.milliseconds)
    assert scaled.milliseconds == pytest.approx(2 * plain.milliseconds)
    assert scaled.calibration == pytest.approx(2)
    assert scaled.error_percent == 10
    assert scaled.cycles == plain.cycles
    with pytest.raises(InputError):
        mcudeploy.profile(projects / "auto", calibrate=0)


def test_a_project_that_is_not_built_is_refused(projects, tmp_path):
    made = mcudeploy.generate(projects / "net.tflite", "nucleo_l4r5zi", tmp_path / "new")
    with pytest.raises(InputError, match="has not been built"):
        mcudeploy.profile(made.folder)


def test_the_command_prints_a_table_json_a_picture_and_a_comparison(projects, tmp_path):
    picture = tmp_path / "profile.svg"
    arguments = ["profile", str(projects / "auto"), "--compare", str(projects / "cmsis-nn")]
    done = CliRunner().invoke(app, [*arguments, "--plot", str(picture)])
    assert done.exit_code == 0, done.output
    assert "FULLY_CONNECTED" in done.output and "about 20 %" in done.output
    assert "cmsis-nn" in done.output
    assert max(map(len, done.output.splitlines())) <= 80
    assert picture.read_text().count("CONV_2D") == 1
    done = CliRunner().invoke(app, [*arguments, "--json"])
    document = json.loads(done.output)
    assert document["schema"] == "mcudeploy.profile/1"
    assert document["profile"]["operators"][0]["instructions"] > 1000
    assert document["compared"]["kernels"] == "cmsis-nn"


def timed(tmp_path, loops, compiled):
    """What operator 3 of a firmware with a loop of that many rounds takes, on a Cortex-M4."""
    board = find_board("stm32f469")
    folder = tmp_path / f"{loops}"
    folder.mkdir(exist_ok=True)
    code = _LOOP.replace("LOOPS", str(loops))
    variation = Variation(code=code, within="loop();")
    machine = Machine(read_elf(build_by_hand(folder, board, variation)), board, compiled=compiled)
    recorder = OperatorRecorder(machine, _OPERATORS)
    with LinkSession(Link(machine), finish=machine.finish) as session:
        counts = session.infer([bytes(INPUT_BYTES)]).operator_instructions
    model = cycle_model(board.core)
    assert model is not None
    timing = BlockTiming(machine.image, model, FlashStall(0, 0, ""))
    rows = [timing.time(recorder.operators[index]) for index in range(_OPERATORS)]
    return counts, rows


@pytest.mark.parametrize("compiled", [True, False], ids=["c", "python"])
def test_recorded_blocks_are_those_of_the_operator(tmp_path, compiled):
    if compiled and not compiled_available():
        pytest.skip("no C compiler for this machine")
    counts, few = timed(tmp_path, 1000, compiled)
    _, many = timed(tmp_path, 3000, compiled)
    # Within a few instructions, those that call the observer, once for each output.
    for count, row in zip(counts, few, strict=True):
        assert 0 <= row.instructions - count < 40
    extra = [b.zero_wait_cycles - a.zero_wait_cycles for a, b in zip(few, many, strict=True)]
    # A round is SUBS, 1, and BNE, 1 and 2 more when taken.
    assert sorted(extra)[-1] == 2000 * 4
    assert sum(extra) == 2000 * 4


def test_c_and_python_record_the_same(tmp_path):
    if not compiled_available():
        pytest.skip("no C compiler for this machine")
    assert timed(tmp_path, 100, True) == timed(tmp_path, 100, False)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_load_in_an_it_block_leaves_nothing_behind_when_reads_are_watched(compiled):
    """cmp r0, 0; ite ne; ldrne r2, [r1]; moveq r2, 5; b .+2; movs r3, 1; movs r4, 2; nop"""
    code = bytes.fromhex("002814bf0a680522ffe70123022400bf")
    engine = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
    engine.ctl_set_cpu_model(arm_const.UC_CPU_ARM_CORTEX_M4)
    engine.mem_map(0x08000000, 0x1000)
    engine.mem_write(0x08000000, code + bytes([7]))
    counter = BlockCounter(engine, code, 0x08000000, compiled=compiled)
    counter.run_limit(1000)
    counter.watch_reads(0x08000000, 0x08001000)
    engine.reg_write(arm_const.UC_ARM_REG_R0, 1)
    engine.reg_write(arm_const.UC_ARM_REG_R1, 0x08000000)
    engine.emu_start(0x08000001, 0x0800000E)
    registers = [arm_const.UC_ARM_REG_R3, arm_const.UC_ARM_REG_R4]
    assert [engine.reg_read(one) for one in registers] == [1, 2]
    assert counter.blocks().watched_bytes == 4
