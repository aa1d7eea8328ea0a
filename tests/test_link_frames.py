# SPDX-License-Identifier: Apache-2.0
"""Frames: what the host writes the firmware reads and the other way round, and noise never passes.

The firmware's frame.c is compiled for the host and driven through ctypes.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcudeploy.emulator.frames import (
    PAYLOAD_MAX,
    Decoder,
    Frame,
    Garbage,
    cobs_decode,
    cobs_encode,
    decode,
    encode,
)
from mcudeploy.resources import resource_folder

INCOMPLETE, READY, CORRUPT, OVERSIZED = range(4)
_ZEROS_MATTER = st.one_of(st.just(0), st.just(255), st.integers(0, 255))
data_blocks = st.one_of(
    st.binary(max_size=600),
    st.lists(_ZEROS_MATTER, max_size=600).map(bytes),
    st.integers(0, 520).map(lambda n: b"\x01" * n),
    st.integers(0, 520).map(lambda n: b"\x00" * n),
)
payloads = data_blocks.map(lambda data: data[:PAYLOAD_MAX])
bytes_of_kind = st.integers(0, 255)


class FirmwareFrames:
    """frame.c on the host."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._decoder = ctypes.create_string_buffer(1024)

    def receive(self, data: bytes) -> list[tuple[int, bytes]]:
        """(status, header and payload) of everything that a delimiter ended."""
        found = []
        for byte in data:
            status = self._library.frame_decode(self._decoder, ctypes.c_uint8(byte))
            if status != INCOMPLETE:
                length = int.from_bytes(self._decoder.raw[262:264], "little")
                found.append((status, self._decoder.raw[:length]))
        return found

    def send(self, frame: bytes) -> bytes:
        sent = bytearray()
        callback = ctypes.CFUNCTYPE(None, ctypes.c_uint8)(sent.append)
        buffer = ctypes.create_string_buffer(frame, len(frame) + 4)
        self._library.frame_send(buffer, ctypes.c_uint32(len(frame)), callback)
        return bytes(sent)

    def crc(self, data: bytes) -> int:
        self._library.crc32_update.restype = ctypes.c_uint32
        return int(self._library.crc32_update(ctypes.c_uint32(0), data, ctypes.c_uint32(len(data))))


@pytest.fixture(scope="session")
def firmware_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler for this machine")
    library = tmp_path_factory.mktemp("frames") / "frames.so"
    runtime = resource_folder("firmware") / "runtime"
    sources = [str(runtime / name) for name in ("frame.c", "crc32.c")]
    flags = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, *sources, "-o", str(library)], check=True)
    return library


@pytest.fixture(scope="session")
def fresh(firmware_library: Path) -> Callable[[], FirmwareFrames]:
    return lambda: FirmwareFrames(firmware_library)


@given(data_blocks)
def test_cobs_leaves_no_zero_and_reads_back(data: bytes) -> None:
    coded = cobs_encode(data)
    assert 0 not in coded
    assert len(coded) <= len(data) + len(data) // 254 + 1
    assert cobs_decode(coded) == data


@given(bytes_of_kind, bytes_of_kind, payloads)
def test_a_frame_reads_back(kind: int, sequence: int, payload: bytes) -> None:
    assert Decoder().feed(encode(kind, sequence, payload)) == [Frame(kind, sequence, payload)]


@given(kind=bytes_of_kind, sequence=bytes_of_kind, payload=payloads)
def test_firmware_and_host_understand_each_other(
    fresh: Callable[[], FirmwareFrames], kind: int, sequence: int, payload: bytes
) -> None:
    firmware = fresh()
    body = bytes([kind, sequence]) + payload
    assert firmware.receive(encode(kind, sequence, payload)) == [(READY, body)]
    assert firmware.send(body) == encode(kind, sequence, payload)


@given(data=st.binary(max_size=300))
def test_the_firmware_computes_zlibs_crc(fresh: Callable[[], FirmwareFrames], data: bytes) -> None:
    assert fresh().crc(data) == zlib.crc32(data)


@given(noise=st.binary(max_size=2000), payload=payloads)
def test_the_frame_after_any_noise_arrives(
    fresh: Callable[[], FirmwareFrames], noise: bytes, payload: bytes
) -> None:
    """The leading delimiter ends whatever stood before."""
    received = fresh().receive(noise + encode(1, 2, payload))
    assert received[-1] == (READY, b"\x01\x02" + payload)
    assert all(status in (CORRUPT, OVERSIZED) for status, _ in received[:-1])
    assert Decoder().feed(noise + encode(1, 2, payload))[-1] == Frame(1, 2, payload)


@given(noise=st.binary(max_size=3000))
def test_noise_is_no_frame(fresh: Callable[[], FirmwareFrames], noise: bytes) -> None:
    received = fresh().receive(noise + b"\0")
    assert all(status in (CORRUPT, OVERSIZED) for status, _ in received)
    assert all(isinstance(item, Garbage) for item in Decoder().feed(noise + b"\0"))


@settings(max_examples=200)
@given(payload=payloads, where=st.integers(0, 10_000), change=st.integers(1, 255))
def test_a_changed_byte_never_passes(
    fresh: Callable[[], FirmwareFrames], payload: bytes, where: int, change: int
) -> None:
    frame = bytearray(encode(1, 2, payload))
    inside = 1 + where % (len(frame) - 2)
    frame[inside] ^= change
    assert not any(status == READY for status, _ in fresh().receive(bytes(frame)))
    assert not any(isinstance(item, Frame) for item in Decoder().feed(bytes(frame)))


@given(size=st.integers(PAYLOAD_MAX + 1, 5000))
def test_an_oversized_frame_is_named_so(fresh: Callable[[], FirmwareFrames], size: int) -> None:
    firmware = fresh()
    assert [s for s, _ in firmware.receive(encode(1, 2, b"\x07" * size))] == [OVERSIZED]
    assert firmware.receive(encode(1, 2, b"ok")) == [(READY, b"\x01\x02ok")]


def test_truncated_frames_are_corrupt(fresh: Callable[[], FirmwareFrames]) -> None:
    whole = encode(1, 2, bytes(range(200)))
    for length in range(2, len(whole) - 1):
        assert [s for s, _ in fresh().receive(whole[:length] + b"\0")] == [CORRUPT]
        assert decode(whole[1:length]) == Garbage(whole[1:length])
