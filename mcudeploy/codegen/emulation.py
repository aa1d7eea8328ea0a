# SPDX-License-Identifier: Apache-2.0
"""The project's `emulation/`: the board for Renode, and a Robot suite that runs the firmware there.

The suite needs nothing of mcudeploy: one inference is written into it as the bytes that go over the
serial link (docs/link-protocol.md) and those that must come back, for the same input as the
firmware's self-test. What the inference counted is read from the answer that the firmware keeps
(`exchange_last`). A workflow beside it runs all of this on a public CI service, with Renode by
version and hash.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mcudeploy import __version__
from mcudeploy.board import Board
from mcudeploy.codegen.model import environment
from mcudeploy.codegen.renode_release import RENODE
from mcudeploy.emulator.frames import encode
from mcudeploy.emulator.layouts import register_blocks

_INPUT, _RUN, _OUTPUT, _ANSWER, _READY = 0x03, 0x04, 0x06, 0x80, 0xF0
_PIECE_BYTES = 240
_ROWS = 31
_RUN_ANSWER_HEAD = 6
"""Bytes of RUN's answer on the line that do not depend on what was counted."""
_SECONDS, _BYTES_PER_SECOND = 120, 50
_VIRTUAL_SECONDS = 600


@dataclass(frozen=True)
class GoldenInference:
    """The bytes of one inference's inputs and outputs; without them only the boot is tested."""

    inputs: tuple[bytes, ...] = ()
    outputs: tuple[bytes, ...] = ()


def has_renode(board: Board) -> bool:
    """Whether Renode can run the board's firmware."""
    return board.core.renode_model is not None and board.emulation.renode_uart is not None


def emulation_files(
    board: Board, golden: GoldenInference, *, title: str, selftest: bool
) -> dict[str, bytes]:
    """The files by their paths in the project; none for a board that Renode cannot run."""
    if not has_renode(board):
        return {}
    sent = sum(len(data) for data in (*golden.inputs, *golden.outputs))
    context: dict[str, Any] = {
        "board": board,
        "blocks": register_blocks(board),
        "title": title,
        "selftest": selftest,
        "ready": _expected(_READY, 0, b""),
        "exchange": _exchange(golden),
        "tests": 2 if golden.inputs else 1,
        "version": __version__,
        "renode": RENODE,
        "seconds": _SECONDS + sent // _BYTES_PER_SECOND,
        "virtual_seconds": _VIRTUAL_SECONDS,
    }
    names = ("board.repl", "board.resc", "firmware.robot")
    files = {f"emulation/{name}": _render(name, context) for name in names}
    return files | {".github/workflows/renode.yml": _render("workflow.yml", context)}


def platform(board: Board) -> bytes:
    """The board's platform description alone."""
    return _render("board.repl", {"board": board, "blocks": register_blocks(board)})


def _render(name: str, context: dict[str, Any]) -> bytes:
    template = environment().get_template(f"project/emulation/{name}.j2")
    return template.render(context).encode()


def _exchange(golden: GoldenInference) -> list[dict[str, Any]]:
    """What to send, in hexadecimal, and what must be among the bytes that come back."""
    steps: list[dict[str, Any]] = []

    def step(kind: int, payload: bytes, answer: bytes) -> None:
        sequence = (len(steps) + 1) & 0xFF
        frame = encode(kind, sequence, payload).hex().upper()
        expected = _expected(kind | _ANSWER, sequence, answer)
        if kind == _RUN:
            expected = expected[: 2 * _RUN_ANSWER_HEAD]
        steps.append({"send": frame, "expect": expected, "counts": kind == _RUN})

    for index, offset, piece in _pieces(golden.inputs):
        step(_INPUT, struct.pack("<BI", index, offset) + piece, b"")
    if steps:
        # Done, no rows, operator 0; then the count, which is not known here.
        step(_RUN, struct.pack("<BBHB", 0, _ROWS, 0, 0), bytes(4) + b"\xff\xff\xff\xff")
    for index, offset, piece in _pieces(golden.outputs):
        step(_OUTPUT, struct.pack("<BIH", index, offset, len(piece)), piece)
    return steps


def _pieces(blocks: Sequence[bytes]) -> list[tuple[int, int, bytes]]:
    return [
        (index, offset, block[offset : offset + _PIECE_BYTES])
        for index, block in enumerate(blocks)
        for offset in range(0, len(block), _PIECE_BYTES)
    ]


def _expected(kind: int, sequence: int, payload: bytes) -> str:
    return encode(kind, sequence, payload)[1:].hex().upper()
