# SPDX-License-Identifier: Apache-2.0
"""`detect` tells what a model path is by content, and refuses the rest with a mend."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import h5py
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcudeploy.errors import InputError
from mcudeploy.frontend.keras import ModelKind, detect


def _archive(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


_KERAS = {"config.json": b"{}", "metadata.json": b"{}", "model.weights.h5": b"w"}


def test_formats_are_known_by_content_whatever_the_ending(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "model.bin", "w") as file:
        file.attrs["model_config"] = "{}"
    assert detect(tmp_path / "model.bin") is ModelKind.KERAS_H5
    assert detect(_archive(tmp_path / "model.h5", _KERAS)) is ModelKind.KERAS_ZIP
    (tmp_path / "a.h5").write_bytes(struct.pack("<I", 28) + b"TFL3" + bytes(64))
    assert detect(tmp_path / "a.h5") is ModelKind.TFLITE
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"x")
    assert detect(folder) is ModelKind.SAVED_MODEL


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("m.h5", b"", "empty"),
        ("m.h5", b"\xff\xd8\xff\xe0" + bytes(100), "JPEG"),
        ("m.h5", b"\x89PNG\r\n\x1a\n" + bytes(100), "PNG"),
        ("m.h5", b"\x89HDF\r\n\x1a\n", "damaged"),
        ("m.h5", b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
        ("m.onnx", b"\x08\x07\x12\x07pytorch", "ONNX"),
        ("renamed.h5", b"\x08\x07\x12\x07pytorch", "ONNX"),
        ("m.pt", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "PyTorch"),
        ("m.bin", struct.pack("<Q", 40) + b'{"__metadata__":{}}', "safetensors"),
        ("m.keras", b"PK\x03\x04 and no more", "damaged or truncated"),
        ("m.pb", b"\x0a\x10\x12\x04node", "SavedModel folder"),
    ],
)
def test_anything_else_is_refused_with_what_it_is_and_what_to_do(
    tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=problem) as raised:
        detect(path)
    assert str(path) in raised.value.where
    assert raised.value.mend


def test_pytorch_archives_missing_files_and_empty_folders_are_refused(tmp_path: Path) -> None:
    torch = _archive(tmp_path / "m.pth", {"m/data.pkl": b"", "m/version": b"3"})
    with pytest.raises(InputError, match="PyTorch"):
        detect(torch)
    with pytest.raises(InputError, match="does not exist"):
        detect(tmp_path / "nowhere.h5")
    with pytest.raises(InputError, match=r"no saved_model\.pb"):
        detect(tmp_path)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_a_truncated_h5_is_found_from_its_header(tmp_path: Path, keep: float, version: str) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w", libver=version) as file:
        file["weights"] = list(range(5000))
    assert detect(path) is ModelKind.KERAS_H5
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(InputError, match="truncated"):
        detect(path)


@pytest.mark.parametrize("name", ["../evil.h5", "/etc/passwd", "a\\..\\b", "C:evil"])
def test_an_archive_that_leads_out_of_itself_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="leads out of it"):
        detect(_archive(tmp_path / "m.keras", {**_KERAS, name: b"x"}))


def test_archives_with_links_bombs_and_doubled_names_are_refused(tmp_path: Path) -> None:
    bomb = {**_KERAS, "assets/big": bytes(16 << 20)}
    with pytest.raises(InputError, match="without measure"):
        detect(_archive(tmp_path / "bomb.keras", bomb, zipfile.ZIP_DEFLATED))
    path = _archive(tmp_path / "link.keras", _KERAS)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="symbolic link"):
        detect(path)
    path = _archive(tmp_path / "twice.keras", _KERAS)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("config.json", b"{}")
    with pytest.raises(InputError, match="twice"):
        detect(path)


def _mutated() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in _KERAS.items():
            archive.writestr(name, content)
    return buffer.getvalue()


_STARTS = [b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"\x00\x00\x00\x00TFL3", b"\x08", b"\x80", b""]


@given(start=st.sampled_from([*_STARTS, _mutated()[:200]]), rest=st.binary(max_size=300))
def test_no_bytes_whatsoever_raise_anything_but_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.h5"
    path.write_bytes(start + rest)
    try:
        assert detect(path) in ModelKind
    except InputError as error:
        assert error.mend
