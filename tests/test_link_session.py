# SPDX-License-Identifier: Apache-2.0
"""The link over a line that corrupts, loses, repeats and delays: a right answer or an error."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hand_firmware import EXTRA_OPERATORS, INPUT_BYTES, MODEL_ID, Twin, build, checksums

from mcudeploy.board import Board, find_board
from mcudeploy.emulator.frames import Decoder, Frame, encode
from mcudeploy.emulator.link import Link, Request, Stream
from mcudeploy.emulator.session import LinkSession
from mcudeploy.emulator.unicorn import Machine
from mcudeploy.errors import EmulationError, LinkError
from mcudeploy.toolchain.elf import read_elf

DATA = [bytes((5 * k + 17 * i) & 255 for k in range(INPUT_BYTES)) for i in range(20)]


@pytest.fixture(scope="module")
def board() -> Board:
    return find_board("stm32f469")


@pytest.fixture(scope="module")
def elf(board: Board, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("firmware"), board, selftest=DATA[0])


@pytest.fixture
def machine(elf: Path, board: Board) -> Machine:
    return Machine(read_elf(elf), board)


class Noisy:
    """A stream whose bytes go through `spoil` in both directions."""

    def __init__(self, inner: Stream, spoil: Callable[[bytes], bytes]) -> None:
        self.inner, self.spoil = inner, spoil

    def write(self, data: bytes) -> None:
        self.inner.write(self.spoil(data))

    def read(self, timeout_seconds: float) -> bytes:
        return self.spoil(self.inner.read(timeout_seconds))

    def close(self) -> None:
        self.inner.close()


def corrupting(rate: float, seed: int) -> Callable[[bytes], bytes]:
    generator = random.Random(seed)

    def spoil(data: bytes) -> bytes:
        return bytes(
            generator.randrange(256) if generator.random() < rate else byte for byte in data
        )

    return spoil


def losing(rate: float, seed: int) -> Callable[[bytes], bytes]:
    generator = random.Random(seed)
    return lambda data: bytes(byte for byte in data if generator.random() >= rate)


def inserting(rate: float, seed: int) -> Callable[[bytes], bytes]:
    generator = random.Random(seed)

    def spoil(data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            out.append(byte)
            if generator.random() < rate:
                out += generator.randbytes(3)
        return bytes(out)

    return spoil


def test_the_firmware_describes_itself(machine: Machine) -> None:
    with LinkSession(Link(machine), finish=machine.finish) as session:
        info = session.info()
        text = session.link.text
    assert (info.board, info.model_id) == ("stm32f469", int(MODEL_ID, 16))
    assert (info.selftest, info.counter, info.stateful) == ("passed", "dwt", True)
    assert (info.clock_hz, info.clock_configured) == (180_000_000, True)
    assert info.operators == 4 + EXTRA_OPERATORS
    (only,), (first, second) = info.inputs, info.outputs
    assert (only.name, only.shape, only.dtype) == ("input", (1, INPUT_BYTES), "int8")
    assert (only.scale, only.zero_point, only.bytes) == (0.5, -3, INPUT_BYTES)
    assert (first.name, second.dtype, second.bytes) == ("map", "int32", 4)
    assert text.startswith("MCUDEPLOY stm32f469 180000000 Hz\r\nMCUDEPLOY PASS\r\n")


@pytest.mark.parametrize(
    "spoil",
    [corrupting(0.01, 1), corrupting(0.03, 2), losing(0.01, 3), inserting(0.01, 4)],
    ids=["1 % corrupted", "3 % corrupted", "1 % lost", "1 % inserted"],
)
def test_no_wrong_answer_over_a_noisy_line(
    machine: Machine, spoil: Callable[[bytes], bytes]
) -> None:
    """The model keeps state: an inference done twice or left out shows in all that follow."""
    twin = Twin()
    with LinkSession(Link(Noisy(machine, spoil))) as session:
        for data in DATA[:4]:
            outputs, shown = twin.infer(data)
            inference = session.infer([data])
            assert inference.outputs == outputs
            assert inference.checksums == checksums(shown)
        assert session.operator_output(2) == shown[2]
        assert session.link.statistics.resent > 0


@pytest.mark.slow(reason="1,000 inferences over a noisy line")
def test_a_thousand_inferences_with_one_percent_corrupted(machine: Machine) -> None:
    twin = Twin()
    with LinkSession(Link(Noisy(machine, corrupting(0.01, 5)))) as session:
        for i in range(1000):
            data = bytes((11 * k + 3 * i) & 255 for k in range(INPUT_BYTES))
            outputs, shown = twin.infer(data)
            inference = session.infer([data], observe=i % 50 == 0)
            assert inference.outputs == outputs
            assert inference.checksums in ((), checksums(shown))


class Firmware:
    """A `Machine` asked frame by frame."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.decoder = Decoder()
        self.ask(b"")

    def ask(self, data: bytes) -> list[Frame]:
        self.machine.write(data)
        items = self.decoder.feed(self.machine.read(1))
        return [item for item in items if isinstance(item, Frame)]


def test_a_repeated_request_is_answered_and_not_carried_out_again(machine: Machine) -> None:
    firmware = Firmware(machine)
    twin = Twin()
    for offset in range(0, INPUT_BYTES, 200):
        piece = b"\0" + offset.to_bytes(4, "little") + DATA[0][offset : offset + 200]
        firmware.ask(encode(Request.INPUT, 1, piece))
    run = encode(Request.RUN, 2, bytes([0, 31, 0, 0, 0]))
    (first,) = firmware.ask(run)
    assert firmware.ask(run) == [first]
    assert firmware.ask(run + run) == [first, first]
    twin.infer(DATA[0])
    shown = firmware.ask(encode(Request.OUTPUT, 3, b"\1" + bytes(4) + b"\4\0"))
    assert shown[0].payload == Twin().infer(DATA[0])[0][1]


def test_the_kept_answer_outlives_damaged_frames(machine: Machine) -> None:
    firmware = Firmware(machine)
    reset = encode(Request.RESET, 9)
    (answer,) = firmware.ask(reset)
    damaged = bytearray(reset)
    damaged[3] ^= 0x10
    assert [f.payload for f in firmware.ask(bytes(damaged))] == [b"\1"]
    assert [f.payload for f in firmware.ask(encode(1, 10, bytes(400)))] == [b"\2"]
    assert firmware.ask(reset) == [answer]


@pytest.mark.parametrize(
    ("kind", "payload", "code"),
    [
        (0x00, b"", 3),
        (0x0B, b"", 3),
        (0x7F, b"", 3),
        (Request.TENSOR, b"\0", 4),
        (Request.TENSOR, b"\0\1", 4),
        (Request.TENSOR, b"\1\2", 4),
        (Request.TENSOR, b"\2\0", 4),
        (Request.INPUT, b"", 4),
        (Request.INPUT, b"\1" + bytes(4), 4),
        (Request.INPUT, b"\0" + (INPUT_BYTES + 1).to_bytes(4, "little"), 4),
        (Request.INPUT, b"\0" + INPUT_BYTES.to_bytes(4, "little") + b"x", 4),
        (Request.INPUT, b"\0\xff\xff\xff\xff" + b"x", 4),
        (Request.RUN, b"", 4),
        (Request.RUN, bytes([0, 0, 0, 0, 0]), 4),
        (Request.RUN, bytes([0, 32, 0, 0, 0]), 4),
        (Request.CONTINUE, b"", 5),
        (Request.INTERMEDIATE, bytes(6), 5),
        (Request.OUTPUT, b"\2" + bytes(6), 4),
        (Request.OUTPUT, b"\0" + bytes(4) + b"\1\1", 4),
        (Request.OUTPUT, b"\0" + INPUT_BYTES.to_bytes(4, "little") + b"\1\0", 4),
        (Request.OUTPUT, b"\0\xff\xff\xff\xff\2\0", 4),
        (Request.EXIT, b"", 4),
    ],
)
def test_bad_requests_are_refused_and_change_nothing(
    machine: Machine, kind: int, payload: bytes, code: int
) -> None:
    firmware = Firmware(machine)
    (error,) = firmware.ask(encode(kind, 7, payload))
    assert error == Frame(0xF2, 7, bytes([code]))
    (answer,) = firmware.ask(encode(Request.INFO, 8))
    assert answer.kind == Request.INFO | 0x80


def test_a_paused_run_refuses_what_would_spoil_it(machine: Machine) -> None:
    firmware = Firmware(machine)
    (paused,) = firmware.ask(encode(Request.RUN, 1, bytes([1, 31, 0, 0, 0])))
    assert paused.payload[0] == 2
    for sequence, (kind, payload) in enumerate(
        [(Request.INPUT, bytes(6)), (Request.RUN, bytes([0, 1, 0, 0, 0])), (Request.RESET, b"")], 2
    ):
        assert firmware.ask(encode(kind, sequence, payload))[0].payload == b"\5"
    (info,) = firmware.ask(encode(Request.INFO, 9))
    assert info.payload[1] & 1


def test_a_host_that_finds_a_paused_run_lets_it_end(machine: Machine) -> None:
    firmware = Firmware(machine)
    firmware.ask(encode(Request.RUN, 1, bytes([1, 31, 0, 0, 0])))
    with LinkSession(Link(machine), finish=machine.finish) as session:
        session.reset()
        assert session.infer([DATA[0]]).outputs == Twin().infer(DATA[0])[0]


class Scripted:
    """A stream that answers every write by what a function makes of the request."""

    def __init__(self, answer: Callable[[Frame], bytes]) -> None:
        self._answer = answer
        self._waiting = b""

    def write(self, data: bytes) -> None:
        for item in Decoder().feed(data):
            assert isinstance(item, Frame)
            self._waiting += self._answer(item)

    def read(self, timeout_seconds: float) -> bytes:
        waiting, self._waiting = self._waiting, b""
        return waiting

    def close(self) -> None:
        self._waiting = b""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda f: b"", "no firmware of mcudeploy answers"),
        (lambda f: b"login: \0", "too noisy"),
        (lambda f: encode(f.kind | 0x80, f.sequence, b"\7" + bytes(30)), "another version"),
        (lambda f: encode(f.kind | 0x80, f.sequence, b""), "another version"),
        (lambda f: encode(0xF2, f.sequence, b"\3"), "does not know this request"),
    ],
    ids=["silence", "something else talks", "other version", "short", "refusal"],
)
def test_a_wrong_firmware_is_said_to_be_one(answer: Callable[[Frame], bytes], said: str) -> None:
    with pytest.raises(LinkError, match=said):
        LinkSession(Link(Scripted(answer)))


def test_answers_to_repeated_requests_are_ignored(machine: Machine) -> None:
    """Every request arrives twice, as after a retry that came too early."""

    class Twice(Noisy):
        def read(self, timeout_seconds: float) -> bytes:
            return self.inner.read(timeout_seconds)

    twin = Twin()
    with LinkSession(Link(Twice(machine, lambda data: data + data))) as session:
        for data in DATA[:2]:
            assert session.infer([data]).outputs == twin.infer(data)[0]


def test_a_reported_fault_ends_the_session() -> None:
    words = [3, 0x08001234, 0x08000123, 0x20000100, 0x00020000, 0x40000000, 0, 0]
    payload = b"".join(word.to_bytes(4, "little") for word in words)
    with pytest.raises(EmulationError, match="faulted") as caught:
        LinkSession(Link(Scripted(lambda f: encode(0xF1, 0, payload))))
    assert "0x08001234" in caught.value.where


def test_a_reset_in_mid_session_is_told(elf: Path, board: Board, machine: Machine) -> None:
    stream = Noisy(machine, lambda data: data)
    with LinkSession(Link(stream)) as session:
        session.stack_bytes()
        stream.inner = Machine(read_elf(elf), board)
        with pytest.raises(LinkError, match="reset"):
            session.stack_bytes()
