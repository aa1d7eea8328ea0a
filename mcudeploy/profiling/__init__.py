# SPDX-License-Identifier: Apache-2.0
"""`mcudeploy profile`: instructions and estimated time of each operator of a built project.

Instructions are exact: those of one inference on an emulator. Cycles follow from the basic blocks
that were executed, by the model of the core (`cycles.py`) and of the board's flash
(`mcudeploy.board_flash`); milliseconds from the board's clock; energy from the datasheet's run-mode
current. Kernels have no branches that depend on data worth speaking of, so one inference on random
input stands for all.

The estimate's error is known for one part only, the STM32L4R5. With CMSIS-NN's kernels, on MLPerf
Tiny's four networks, it is within 4 % of what microTVM published and 2 to 22 % below what TFLM did,
which differ from each other by 4 to 28 % (`benchmarks/latency.py`). So 20 % is said as it is, and
10 % after `calibrate` scaled it by one measurement. For other parts nothing is claimed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mcudeploy import emulator as emulators
from mcudeploy.board import Board
from mcudeploy.board_flash import FlashStall, flash_stall
from mcudeploy.codegen.manifest import Manifest, OperatorRecord, read_manifest
from mcudeploy.emulator.base import Inference, Session
from mcudeploy.emulator.counting import Block
from mcudeploy.emulator.link import Link
from mcudeploy.emulator.session import LinkSession
from mcudeploy.emulator.unicorn import Machine
from mcudeploy.errors import InputError, ToolError
from mcudeploy.frontend.reference import sample_inputs
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.profiling.cycles import CycleModel, cycle_model, disassemble
from mcudeploy.profiling.recorder import OperatorBlocks, OperatorRecorder
from mcudeploy.toolchain.elf import FirmwareImage, read_elf
from mcudeploy.toolchain.platformio import elf_path

_COMPARED_WITH_MEASUREMENTS = ("STM32L4R5",)
_ERROR_PERCENT, _CALIBRATED_ERROR_PERCENT = 20, 10


@dataclass(frozen=True)
class OperatorProfile:
    """One operator. Cycles are None where the core has no model, rates without MACs."""

    index: int
    kind: str
    name: str
    kernel: str
    macs: int
    instructions: int
    predicted_instructions: float | None
    """What `fit` says without a build."""
    flash_words: float | None
    """Words of 32 bits that it loads from flash; single bytes count as quarters."""
    zero_wait_cycles: float | None
    cycles: float | None
    """With what flash adds."""
    milliseconds: float | None
    share: float
    """Of the whole: of cycles, or of instructions where there is no model."""
    instructions_per_mac: float | None
    cycles_per_mac: float | None


@dataclass(frozen=True)
class Profile:
    """A built project's time. `other_instructions` are those between the operators.

    `error_percent` is what is known of the error of `milliseconds`; None: nothing.
    """

    model: str
    board: str
    core: str
    kernels: str
    emulator: str
    clock_hz: int
    macs: int
    instructions: int
    other_instructions: int
    predicted_instructions: float | None
    """The sum of the operators' predictions, None when one has none."""
    operators: tuple[OperatorProfile, ...]
    zero_wait_cycles: float | None
    cycles: float | None
    zero_wait_milliseconds: float | None
    milliseconds: float | None
    microjoules: float | None
    """Energy of one inference, None where the datasheet's current is not known."""
    flash: str
    """How flash was counted."""
    error_percent: int | None
    calibration: float = 1.0
    """What estimated times were multiplied by, from a measurement on the board."""

    def calibrated(self, measured_milliseconds: float) -> Profile:
        """The same, scaled so that the whole takes what was measured on the board."""
        if not 0 < measured_milliseconds < math.inf:
            raise InputError(
                f"no inference takes {measured_milliseconds:g} ms", where="--calibrate",
                mend="give the milliseconds that one took on the board",
            )  # fmt: skip
        if not self.milliseconds:
            raise InputError(
                "there is no estimate that a measurement could calibrate", where="--calibrate",
                mend="this core has no cycle model: leave --calibrate out",
            )  # fmt: skip
        factor = measured_milliseconds / self.milliseconds

        def scaled(value: float | None) -> float | None:
            return None if value is None else value * factor

        return replace(
            self,
            operators=tuple(
                replace(one, milliseconds=scaled(one.milliseconds)) for one in self.operators
            ),
            zero_wait_milliseconds=scaled(self.zero_wait_milliseconds),
            milliseconds=measured_milliseconds,
            microjoules=scaled(self.microjoules),
            error_percent=None if self.error_percent is None else _CALIBRATED_ERROR_PERCENT,
            calibration=self.calibration * factor,
        )


def profile_project(
    project: Path,
    *,
    emulator: str = "unicorn",
    calibrate: float | None = None,
    progress: Callable[[str], None] | None = None,
) -> Profile:
    """Run a built project once and profile it.

    Raises InputError for a project that is not built, ToolError where the emulator cannot run it.
    """
    manifest = read_manifest(project)
    elf = elf_path(project.resolve())
    if not elf.is_file():
        raise InputError(
            "the project has not been built", where=str(project), mend=f"mcudeploy build {project}"
        )
    chosen = emulators.get(emulator)
    reason = chosen.available() or chosen.supports(manifest.board_record)
    if reason is not None:
        raise ToolError(
            f"{emulator} cannot run this firmware: {reason}", mend="choose another --emulator"
        )
    if progress is not None:
        progress(f"one inference on {emulator}")
    inputs = _inputs(project, manifest)
    if emulator == "unicorn":
        made = _recorded(manifest, elf, inputs)
    else:
        with chosen.start(elf, manifest.board_record) as session:
            made = _profile(manifest, emulator, session.infer(inputs), {})
    return made if calibrate is None else made.calibrated(calibrate)


def _inputs(project: Path, manifest: Manifest) -> list[bytes]:
    model = (project / "model.tflite").read_bytes()
    arrays = next(iter(sample_inputs(read_tflite(model, manifest.model_name), 1, 0)))
    return [array.tobytes() for array in arrays]


def _recorded(manifest: Manifest, elf: Path, inputs: list[bytes]) -> Profile:
    board = manifest.board_record
    machine = Machine(read_elf(elf), board)
    recorder = OperatorRecorder(machine, len(manifest.operators))
    link = Link(machine, fault_error=machine.reported_fault)
    session: Session = LinkSession(link, finish=machine.finish)
    with session:
        inference = session.infer(inputs)
    model = cycle_model(board.core)
    timed = {}
    if model is not None:
        timing = BlockTiming(machine.image, model, flash_stall(board))
        timed = {index: timing.time(blocks) for index, blocks in recorder.operators.items()}
    return _profile(manifest, "unicorn", inference, timed)


@dataclass(frozen=True)
class Timed:
    """What recorded blocks take: instructions, cycles without waits and with, words from flash."""

    instructions: int
    zero_wait_cycles: float
    cycles: float
    flash_words: float

    def scaled(self, instructions: int) -> Timed:
        """The same code for slightly fewer instructions: those that call the observer go off."""
        part = instructions / self.instructions if self.instructions else 0.0
        return Timed(
            instructions, self.zero_wait_cycles * part, self.cycles * part, self.flash_words
        )


class BlockTiming:
    """Cycles of recorded blocks of one firmware."""

    def __init__(self, image: FirmwareImage, model: CycleModel, stall: FlashStall) -> None:
        self._image, self._model, self._stall = image, model, stall
        self._known: dict[Block, tuple[int, int, int]] = {}

    def _block(self, block: Block) -> tuple[int, int, int]:
        """(instructions, cycles through, cycles more when its branch is taken)."""
        if block not in self._known:
            address, size = block
            segment = next(
                s for s in self._image.segments
                if s.load_address <= address < s.load_address + len(s.data)
            )  # fmt: skip
            start = address - segment.load_address
            instructions = disassemble(segment.data[start : start + size], address)
            cycles = self._model.block(instructions)
            self._known[block] = len(instructions), cycles.through, cycles.taken
        return self._known[block]

    def time(self, recorded: OperatorBlocks) -> Timed:
        instructions = cycles = branches = 0
        for block, (executions, taken) in recorded.blocks.items():
            count, through, more = self._block(block)
            instructions += executions * count
            cycles += executions * through + taken * more
            branches += taken
        words = recorded.flash_bytes / 4
        waits = words * self._stall.per_word + branches * self._stall.per_branch
        return Timed(instructions, cycles, cycles + waits, words)


def _profile(
    manifest: Manifest, emulator: str, inference: Inference, timed: Mapping[int, Timed]
) -> Profile:
    board = manifest.board_record
    counts = inference.operator_instructions
    known = [record.instructions for record in manifest.operators]
    exact = {
        index: timing.scaled(counts[index]) for index, timing in timed.items() if counts[index]
    }
    zero_wait = cycles = None
    if exact:
        whole = inference.instructions / sum(counts)  # what is between runs at the same rate
        zero_wait = whole * sum(timing.zero_wait_cycles for timing in exact.values())
        cycles = whole * sum(timing.cycles for timing in exact.values())
    total = cycles or float(inference.instructions)
    milliseconds = _milliseconds(cycles, board)
    return Profile(
        model=manifest.model_name,
        board=board.name,
        core=board.core.name,
        kernels=manifest.kernels,
        emulator=emulator,
        clock_hz=board.clock.hz,
        macs=manifest.macs,
        instructions=inference.instructions,
        other_instructions=inference.instructions - sum(counts),
        predicted_instructions=None if None in known else sum(one or 0.0 for one in known),
        operators=tuple(
            _row(record, count, exact.get(record.index), board, total)
            for record, count in zip(manifest.operators, counts, strict=True)
        ),
        zero_wait_cycles=zero_wait,
        cycles=cycles,
        zero_wait_milliseconds=_milliseconds(zero_wait, board),
        milliseconds=milliseconds,
        microjoules=_microjoules(milliseconds, board),
        flash=flash_stall(board).why,
        error_percent=_ERROR_PERCENT if exact and _is_compared(board) else None,
    )


def _row(
    record: OperatorRecord, instructions: int, timed: Timed | None, board: Board, total: float
) -> OperatorProfile:
    cycles = timed.cycles if timed else None
    work = instructions if cycles is None else cycles
    return OperatorProfile(
        index=record.index,
        kind=record.kind,
        name=record.name,
        kernel=record.kernel,
        macs=record.macs,
        instructions=instructions,
        predicted_instructions=record.instructions,
        flash_words=timed.flash_words if timed else None,
        zero_wait_cycles=timed.zero_wait_cycles if timed else None,
        cycles=cycles,
        milliseconds=_milliseconds(cycles, board),
        share=work / total if total else 0.0,
        instructions_per_mac=instructions / record.macs if record.macs else None,
        cycles_per_mac=cycles / record.macs if record.macs and cycles is not None else None,
    )


def _milliseconds(cycles: float | None, board: Board) -> float | None:
    return None if cycles is None else cycles / board.clock.hz * 1000


def _microjoules(milliseconds: float | None, board: Board) -> float | None:
    if milliseconds is None or board.ma_per_mhz is None:
        return None
    return milliseconds * board.ma_per_mhz * board.clock.hz / 1e6 * board.supply_volts


def _is_compared(board: Board) -> bool:
    return board.mcu.upper().startswith(_COMPARED_WITH_MEASUREMENTS)
