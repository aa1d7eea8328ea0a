# SPDX-License-Identifier: Apache-2.0
"""A board at a serial port, played by the emulator behind a pseudo-terminal: also a bad line."""

import contextlib
import os
import random
import select
import threading
import tty

import pytest
from test_cli import dense_model

import mcudeploy
from mcudeploy.board import find_board
from mcudeploy.codegen.manifest import read_manifest
from mcudeploy.emulator import serial_port
from mcudeploy.emulator.serial_port import connect
from mcudeploy.emulator.unicorn import Machine
from mcudeploy.errors import LinkError
from mcudeploy.testing import built_firmware
from mcudeploy.toolchain.elf import read_elf

ANSWER_SECONDS = 0.1
"""How long the host waits before it asks again; a late answer comes after that."""


class PtyBoard:
    """The firmware on Unicorn, its UART on a pseudo-terminal.

    A share of the bytes is spoiled or dropped, a share of the answers cut or held back.
    """

    def __init__(self, project, spoil=0.0, drop=0.0, cut=0.0, late=0.0, seed=0):
        self._machine = Machine(read_elf(built_firmware(project)), find_board("stm32f469"))
        self._ours, theirs = os.openpty()
        tty.setraw(theirs)
        self.port = os.ttyname(theirs)
        self._theirs = theirs
        self._random = random.Random(seed)
        self._spoil, self._drop, self._cut, self._late = spoil, drop, cut, late
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _noisy(self, data):
        kept = bytearray()
        for byte in data:
            chance = self._random.random()
            if chance < self._drop:
                continue
            kept.append(byte ^ 0x55 if chance < self._drop + self._spoil else byte)
        return bytes(kept)

    def _serve(self):
        with contextlib.suppress(OSError):
            while not self._end.is_set():
                ready, _, _ = select.select([self._ours], [], [], 0.01)
                if ready:
                    self._machine.write(self._noisy(os.read(self._ours, 4096)))
                answer = self._noisy(self._machine.read(0))
                if answer and self._random.random() < self._cut:
                    answer = answer[: self._random.randrange(len(answer))]
                if answer and self._random.random() < self._late:
                    self._end.wait(2.5 * ANSWER_SECONDS)
                while answer:
                    answer = answer[os.write(self._ours, answer) :]

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join(5)
        os.close(self._ours)
        with contextlib.suppress(OSError):
            os.close(self._theirs)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return built_project(tmp_path_factory.mktemp("serial"), 8)


def built_project(folder, width):
    model = folder / f"dense{width}.tflite"
    model.write_bytes(dense_model(width))
    made = mcudeploy.generate(model, "stm32f469", folder / f"firmware{width}")
    mcudeploy.build(made.folder)
    return made.folder


def test_a_board_at_a_port_is_validated_like_an_emulator(project):
    with PtyBoard(project) as board:
        tested = mcudeploy.validate(project, port=board.port, random=20)
    (verdict,) = tested.verdicts
    assert tested.passed and verdict.inferences == 23 and verdict.distinct_outputs > 10


@pytest.mark.parametrize(
    "fault",
    [{"spoil": 0.01}, {"drop": 0.005}, {"cut": 0.02}, {"late": 0.02}],
    ids=["spoiled", "lost", "truncated", "delayed"],
)
def test_no_inference_is_wrong_or_lost_on_a_bad_line(project, fault, monkeypatch):
    monkeypatch.setattr(serial_port, "_ANSWER_SECONDS", ANSWER_SECONDS)
    with PtyBoard(project, **fault) as board:
        tested = mcudeploy.validate(project, port=board.port, random=30)
    assert tested.passed and tested.verdicts[0].inferences == 33


def test_another_firmware_is_told_apart(project, tmp_path):
    other = built_project(tmp_path, 4)
    with PtyBoard(other) as board, pytest.raises(LinkError, match="another firmware"):
        connect(board.port, read_manifest(project), built_firmware(project))


def test_a_port_that_is_not_there_is_named(project):
    with pytest.raises(LinkError, match="cannot be opened"):
        mcudeploy.validate(project, port="/dev/no-such-port")


def test_a_board_that_is_unplugged_ends_the_command_with_words(project):
    board = PtyBoard(project)
    with board:
        session = connect(board.port, read_manifest(project), built_firmware(project))
    with pytest.raises(LinkError):
        session.infer([bytes(16)])


def test_the_upload_command_can_be_shown(project):
    assert "upload" in mcudeploy.flash_command(project)
