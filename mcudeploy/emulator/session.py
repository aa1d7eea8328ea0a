# SPDX-License-Identifier: Apache-2.0
"""A `Session` over a serial link: the same for every emulator and for a real board.

The firmware times each operator in an observed run, and the whole of model_invoke in a plain one.
What both differ by, the few instructions that show an operator's output, is the same in every
inference of a session: it is found once, by running the first inference both ways, and added to the
operators' sum from then on. Where the model keeps state, runs are repeated from the same state: the
inputs since the last reset are kept and played again.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal, Self

from mcudeploy.emulator.base import FirmwareInfo, Inference, TensorInfo
from mcudeploy.emulator.link import PROTOCOL, ROWS_MAX, Link, Request
from mcudeploy.errors import EmulationError, InputError, LinkError

_DONE, _FULL, _STOPPED, _HUNGRY = 0, 1, 2, 3
_OBSERVED = 1
_NEVER = 0xFFFF
_PAUSED, _STATEFUL, _ROW_FED = 1, 2, 4
_DTYPES = ("int8", "uint8", "int16", "int32", "float32")
_SELFTEST: tuple[Literal["absent", "passed", "failed"], ...] = ("absent", "passed", "failed")
_COUNTER: tuple[Literal["none", "dwt", "systick"], ...] = ("none", "dwt", "systick")


class LinkSession:
    """Inferences over a `Link`. `scale` tells how many instructions a count of its counter is.

    `finish` is called after the firmware was told to end; None leaves it running (a real board).
    """

    def __init__(
        self,
        link: Link,
        *,
        scale: Callable[[FirmwareInfo], float] = lambda info: 1.0,
        finish: Callable[[], None] | None = None,
    ) -> None:
        self.link = link
        self._finish = finish
        self._closed = False
        try:
            self._info = self._connect()
        except BaseException:
            self._abandon()
            raise
        self._scale = scale(self._info)
        self._unobserved: int | None = None
        self._history: list[tuple[bytes, ...]] = []
        self._rows: list[bytes] = []
        self._hungry = False

    def _connect(self) -> FirmwareInfo:
        answer = self.link.request(Request.INFO)
        if len(answer) < 20 or answer[0] != PROTOCOL:
            raise LinkError(
                "the firmware speaks another version of the link's protocol",
                mend="build and flash it with this version of mcudeploy",
            )
        if answer[1] & _PAUSED:  # somebody left in the middle of an inference
            self._continue_to_end()
        operators, _, clock_hz, model_id = struct.unpack_from("<HHII", answer, 8)
        return FirmwareInfo(
            board=answer[20:].decode("ascii", "replace"),
            model_id=model_id,
            selftest=_SELFTEST[answer[2]],
            clock_hz=clock_hz,
            clock_configured=bool(answer[3]),
            counter=_COUNTER[answer[4]],
            stateful=bool(answer[1] & _STATEFUL),
            row_fed=bool(answer[1] & _ROW_FED),
            operators=operators,
            inputs=tuple(self._tensor(0, i) for i in range(answer[5])),
            outputs=tuple(self._tensor(1, i) for i in range(answer[6])),
        )

    def _tensor(self, direction: int, index: int) -> TensorInfo:
        answer = self.link.request(Request.TENSOR, bytes([direction, index]))
        size, scale, zero_point, dtype, rank = struct.unpack_from("<IfiBB", answer)
        shape = struct.unpack_from(f"<{rank}i", answer, 14)
        return TensorInfo(
            name=answer[14 + 4 * rank :].decode("ascii", "replace"),
            shape=shape,
            dtype=_DTYPES[dtype],
            scale=scale,
            zero_point=zero_point,
            bytes=size,
        )

    def info(self) -> FirmwareInfo:
        return self._info

    def infer(self, inputs: Sequence[bytes], *, observe: bool = True) -> Inference:
        blocks = tuple(bytes(block) for block in inputs)
        self._check(blocks)
        if observe and self._unobserved is None:
            inference = self._first_observed(blocks)
        else:
            inference = self._run(blocks, observe)
        self._history = [*self._history, blocks] if self._info.stateful else [blocks]
        return inference

    def _check(self, blocks: tuple[bytes, ...]) -> None:
        wanted = [tensor.bytes for tensor in self._info.inputs]
        if [len(block) for block in blocks] != wanted:
            raise InputError(
                f"the firmware takes inputs of {wanted} bytes, "
                f"{[len(block) for block in blocks]} were given"
            )

    def _first_observed(self, blocks: tuple[bytes, ...]) -> Inference:
        """Run both ways from the same state, and note what the observed way does not count."""
        plain = self._run(blocks, observe=False)
        self._replay(self._history if self._info.stateful else [])
        observed = self._run(blocks, observe=True)
        if plain.outputs != observed.outputs:
            raise EmulationError(
                "model_invoke and model_invoke_observed give different outputs",
                mend="this is a defect of mcudeploy; please report it with the model",
            )
        self._unobserved = plain.instructions - observed.instructions
        return Inference(
            observed.outputs,
            observed.checksums,
            plain.instructions,
            observed.operator_instructions,
        )

    def _run(self, blocks: tuple[bytes, ...], observe: bool) -> Inference:
        self._send_inputs(blocks)
        if observe:
            rows = self._observed_rows()
            counts = tuple(round(count * self._scale) for _, count in rows)
            total = sum(counts) + (self._unobserved or 0)
        else:
            rows, counts = [], ()
            answer = self._run_plain()
            # The firmware takes off a function that only returns: one instruction.
            total = round(struct.unpack_from("<I", answer, 4)[0] * self._scale) + 1
        return Inference(self._outputs(), tuple(crc for crc, _ in rows), total, counts)

    def _send_inputs(self, blocks: tuple[bytes, ...]) -> None:
        if self._info.row_fed:
            rows = self._info.inputs[0].shape[1]
            size = len(blocks[0]) // rows
            self._rows = [blocks[0][size * row : size * (row + 1)] for row in range(rows)]
            return
        for index, block in enumerate(blocks):
            self._send_input(index, block)

    def _send_input(self, index: int, block: bytes) -> None:
        offset = 0
        while offset < len(block):
            piece = block[offset : offset + self.link.piece_bytes]
            self.link.request(Request.INPUT, struct.pack("<BI", index, offset) + piece)
            offset += len(piece)

    def _go_on(self) -> bytes:
        """Continue a paused run, with the next row of the input if it waits for one."""
        if self._hungry:
            self._send_input(0, self._rows.pop(0))
        return self._state_of(self.link.request(Request.CONTINUE))

    def _state_of(self, answer: bytes) -> bytes:
        self._hungry = answer[0] == _HUNGRY
        return answer

    def _run_plain(self) -> bytes:
        answer = self._state_of(self.link.request(Request.RUN, bytes([0, ROWS_MAX, 0, 0, 0])))
        while answer[0] != _DONE:
            answer = self._go_on()
        return answer

    def _outputs(self) -> tuple[bytes, ...]:
        return tuple(
            self._fetch(Request.OUTPUT, bytes([index]), tensor.bytes)
            for index, tensor in enumerate(self._info.outputs)
        )

    def _fetch(self, kind: Request, head: bytes, size: int) -> bytes:
        data = b""
        while len(data) < size:
            count = min(self.link.piece_bytes, size - len(data))
            data += self.link.request(kind, head + struct.pack("<IH", len(data), count))
        return data

    def _start_observed(self, stop_operator: int, stop_output: int) -> tuple[int, bytes]:
        rows = max(1, min(ROWS_MAX, self.link.piece_bytes // 8))
        request = struct.pack("<BBHB", _OBSERVED, rows, stop_operator, stop_output)
        answer = self._state_of(self.link.request(Request.RUN, request))
        return answer[0], answer

    def _observed_rows(self) -> list[tuple[int, int]]:
        """CRC-32 and count of every operator."""
        rows: list[tuple[int, int]] = []
        state, answer = self._start_observed(_NEVER, 0)
        while True:
            rows += struct.iter_unpack("<II", answer[8:])
            if state == _DONE:
                break
            answer = self._go_on()
            state = answer[0]
        if len(rows) != self._info.operators:
            raise LinkError(
                f"the firmware reported {len(rows)} of {self._info.operators} operators",
                mend="this is a defect of mcudeploy; please report it with the model",
            )
        return rows

    def _continue_to_end(self) -> None:
        while self.link.request(Request.CONTINUE)[0] != _DONE:
            pass

    def operator_output(self, operator: int, output: int = 0) -> bytes:
        if not self._history:
            raise InputError("no inference was run yet")
        *before, last = self._history
        self._replay(before)
        self._send_inputs(last)
        state, answer = self._start_observed(operator, output)
        pieces = []  # one, or each row of a streamed operator
        while state != _DONE:
            if state == _STOPPED:
                size = struct.unpack_from("<I", answer, 4)[0]
                pieces.append(self._fetch(Request.INTERMEDIATE, b"", size))
            answer = self._go_on()
            state = answer[0]
        if not pieces:
            raise InputError(f"operator {operator} has no output {output}")
        return b"".join(pieces)

    def _replay(self, inputs: Sequence[tuple[bytes, ...]]) -> None:
        """Bring the model's state to where it is after `inputs`."""
        if self._info.stateful:
            self.link.request(Request.RESET)
            for blocks in inputs:
                self._send_inputs(blocks)
                self._run_plain()

    def reset(self) -> None:
        self.link.request(Request.RESET)
        self._history = []

    def stack_bytes(self) -> int:
        used, _ = struct.unpack("<II", self.link.request(Request.STACK))
        return int(used)

    def close(self) -> None:
        if self._closed:
            return
        try:
            if self._finish is not None and not self.link.failed:
                self.link.request(Request.EXIT, b"\0")
                self._finish()
        finally:
            self._abandon()

    def _abandon(self) -> None:
        self._closed = True
        self.link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._abandon()
