# SPDX-License-Identifier: Apache-2.0
"""What an emulator is to the rest: it starts a firmware and gives a `Session` with it.

A session runs inferences on the firmware over its serial link. Behind it may stand an emulated UART
or a real one; the figures are then executed instructions or elapsed cycles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, Self

from mcudeploy.board import Board

TIME_LIMIT_SECONDS = 300.0
"""Wall time that a firmware may stay silent before it counts as hanging."""


@dataclass(frozen=True)
class TensorInfo:
    """An input or output as the firmware describes it: real = scale * (stored - zero_point)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int
    bytes: int


@dataclass(frozen=True)
class FirmwareInfo:
    """What a firmware says of itself.

    `model_id` is the first 32 bits of the SHA-256 of model.tflite. `clock_configured` is False
    when the firmware runs on the oscillator that the part starts with.
    """

    board: str
    model_id: int
    selftest: Literal["absent", "passed", "failed"]
    clock_hz: int
    clock_configured: bool
    counter: Literal["none", "dwt", "systick"]
    stateful: bool
    row_fed: bool
    """The input comes row by row while the network runs."""
    operators: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclass(frozen=True)
class Inference:
    """One inference. `checksums`: zlib.crc32 of each operator's outputs, concatenated in order.

    `instructions` are those from model_invoke's first to its last (cycles on a real board);
    `operator_instructions` those between two operators' ends. Both tuples are empty when the
    inference was not observed.
    """

    outputs: tuple[bytes, ...]
    checksums: tuple[int, ...]
    instructions: int
    operator_instructions: tuple[int, ...]


class Session(Protocol):
    """A running firmware. Leaving the context ends it; so does `close`."""

    def info(self) -> FirmwareInfo:
        """What the firmware says of itself."""

    def infer(self, inputs: Sequence[bytes], *, observe: bool = True) -> Inference:
        """Run the model once on the bytes of its inputs.

        Without `observe` nothing is counted or summed operator by operator, which is faster.
        """

    def operator_output(self, operator: int, output: int = 0) -> bytes:
        """The bytes of an operator's output in the last inference, which is run again."""

    def reset(self) -> None:
        """Forget the state that is kept between inferences."""

    def stack_bytes(self) -> int:
        """The most bytes of stack that were in use at once since the firmware started."""

    def close(self) -> None:
        """End the firmware. Raises EmulationError when it does not end as it should."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Emulator(Protocol):
    """One way of running a firmware without its board."""

    @property
    def name(self) -> str: ...

    def available(self) -> str | None:
        """None when it can be used, else the reason why not."""

    def supports(self, board: Board) -> str | None:
        """None when it can run firmware for that board, else the reason why not."""

    def start(
        self,
        elf: Path,
        board: Board,
        *,
        poison: bool = False,
        time_limit_seconds: float = TIME_LIMIT_SECONDS,
    ) -> Session:
        """Boot a firmware.

        `poison` fills RAM with 0xA5 instead of zeros, so that reading what was never written shows.
        Raises ToolError when the emulator cannot be used, EmulationError when the firmware fails.
        """
