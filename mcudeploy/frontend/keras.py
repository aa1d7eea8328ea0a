# SPDX-License-Identifier: Apache-2.0
"""What a model path is, told from its content: `detect`.

The ending of a name is a hint and nothing more: a JPEG renamed `.h5` is a JPEG. Each format is
known by its first bytes (or by the members of its archive or folder), and by a length that its
own header states, so that a truncated file is caught here, before TensorFlow is started. Nothing
is decompressed and nothing is parsed beyond headers.
"""

from __future__ import annotations

import re
import struct
import zipfile
from enum import StrEnum
from pathlib import Path, PurePosixPath

from mcudeploy.errors import InputError

MAX_MODEL_BYTES = 2 << 30
"""No network for a microcontroller comes near this; larger files are refused unread."""

_MAX_COMPRESSION_RATIO = 200
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_EXPORT_MEND = (
    "give mcudeploy a Keras model (.h5, .keras), a SavedModel folder or an int8 .tflite: "
)


class ModelKind(StrEnum):
    """The formats that mcudeploy reads."""

    KERAS_H5 = "keras-h5"
    KERAS_ZIP = "keras"
    SAVED_MODEL = "saved-model"
    TFLITE = "tflite"

    @property
    def needs_tensorflow(self) -> bool:
        return self is not ModelKind.TFLITE


def detect(path: Path | str) -> ModelKind:
    """The kind of the model at `path`, by content.

    Raises InputError (what it is instead, and what to do) for a path that does not exist, an
    empty or truncated file, another framework's model, or something that is no model at all.
    """
    path = Path(path)
    if path.is_dir():
        return _detect_folder(path)
    head, size = _read_head(path)
    if size == 0:
        raise InputError(
            "the model file is empty", where=str(path), mend="save the model again and retry"
        )
    if size > MAX_MODEL_BYTES:
        raise InputError(
            f"the model file has {size:,} bytes; mcudeploy reads files up to 2 GiB",
            where=str(path),
            mend="microcontrollers hold a few MiB: choose a smaller network",
        )
    if head.startswith(_HDF5_SIGNATURE):
        _check_hdf5_length(path, head, size)
        return ModelKind.KERAS_H5
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _detect_archive(path)
    if head[4:8] == b"TFL3":
        return ModelKind.TFLITE
    raise _refusal(path, head)


def _read_head(path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            return file.read(4096), path.stat().st_size
    except FileNotFoundError:
        raise InputError(
            "the model does not exist", where=str(path), mend="check the path"
        ) from None
    except OSError as error:
        raise InputError(
            f"the model cannot be read: {error.strerror}", where=str(path), mend="check the path"
        ) from None


def _detect_folder(path: Path) -> ModelKind:
    if (path / "saved_model.pb").is_file():
        return ModelKind.SAVED_MODEL
    raise InputError(
        "the folder is no SavedModel: it holds no saved_model.pb",
        where=str(path),
        mend="name the model file itself, or export the model with model.export(FOLDER)",
    )


def _check_hdf5_length(path: Path, head: bytes, size: int) -> None:
    """Compare the end-of-file address of the superblock (HDF5 format, section II.A) with `size`."""
    version = head[8] if len(head) > 8 else 255
    position = {0: 40, 1: 44, 2: 28, 3: 28}.get(version)
    offset_bytes = head[13] if version < 2 and len(head) > 13 else head[9:10] and head[9]
    if position is not None and offset_bytes == 8 and len(head) >= position + 8:
        (end,) = struct.unpack_from("<Q", head, position)
        if end <= size:
            return
        raise InputError(
            f"the file is truncated: its header promises {end:,} bytes and {size:,} are there",
            where=str(path),
            mend="copy or save the model again",
        )
    raise InputError(
        "the file begins like HDF5, but its header is damaged or truncated",
        where=str(path),
        mend="copy or save the model again",
    )


def _detect_archive(path: Path) -> ModelKind:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise InputError(
            "the file is a damaged or truncated zip archive (a .keras file is one)",
            where=str(path),
            mend="copy or save the model again",
        ) from None
    names = {member.filename for member in members}
    if any(PurePosixPath(name).name in ("data.pkl", "constants.pkl") for name in names):
        raise _foreign(path, "PyTorch", "rebuild it in Keras, or convert it with litert-torch")
    if "config.json" not in names or not any(n.startswith("model.weights") for n in names):
        raise InputError(
            "the file is a zip archive, but no Keras model: it lacks config.json or its weights",
            where=str(path),
            mend="save the whole model with model.save('model.keras')",
        )
    check_archive(path, members)
    return ModelKind.KERAS_ZIP


def check_archive(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse an archive whose members leave its folder, hide behind each other or explode."""

    def refuse(problem: str, member: str) -> InputError:
        return InputError(
            problem, where=f"{path}, member {member!r}", mend="do not use this file: save it anew"
        )

    seen: set[str] = set()
    for member in members:
        name = member.filename
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name:
            raise refuse("the archive holds a path that leads out of it", name)
        if (member.external_attr >> 16) & 0o170000 == 0o120000:
            raise refuse("the archive holds a symbolic link", name)
        if name in seen:
            raise refuse("the archive holds the same name twice", name)
        if member.flag_bits & 1:
            raise refuse("the archive is encrypted", name)
        if member.file_size > max(1 << 20, member.compress_size * _MAX_COMPRESSION_RATIO):
            raise refuse("a member of the archive grows without measure when unpacked", name)
        seen.add(name)
    total = sum(member.file_size for member in members)
    if total > MAX_MODEL_BYTES:
        raise refuse(f"the archive unpacks to {total:,} bytes", members[0].filename)


def _foreign(path: Path, framework: str, way: str) -> InputError:
    return InputError(
        f"this is a model of {framework}, which mcudeploy does not read",
        where=str(path),
        mend=_EXPORT_MEND + way,
    )


_KNOWN_HEADS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a bitmap picture"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "an ELF program"),
    (b"\x93NUMPY", "a NumPy array (calibration data?)"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file: run `git lfs pull`"),
    (b"{", "a JSON text: an architecture without weights"),
    (b"<", "a page of markup, perhaps a failed download"),
)


def _refusal(path: Path, head: bytes) -> InputError:
    """What the file is instead, as far as its first bytes and its ending tell."""
    ending = path.suffix.lower()
    if ending == ".onnx" or re.match(rb"\x08[\x01-\x20]\x12.[ -~]{2}", head, re.DOTALL):
        return _foreign(path, "ONNX", "export from the source framework, or convert with onnx2tf")
    if ending in (".pt", ".pth") or re.match(rb"\x80[\x02-\x05]", head):
        way = "rebuild it in Keras, or convert it with litert-torch"
        return _foreign(path, "PyTorch (or a Python pickle)", way)
    if re.match(rb".{8}\{\"", head, re.DOTALL):
        return _foreign(path, "safetensors (weights alone)", "load them into a Keras model")
    unknown = "of no format that mcudeploy knows"
    if ending == ".pb":
        unknown = "a lone protobuf: name the SavedModel folder that holds it"
    what = next((what for start, what in _KNOWN_HEADS if head.startswith(start)), unknown)
    return InputError(
        f"this is no model: the file is {what}",
        where=str(path),
        mend="give a .h5, .keras or int8 .tflite file, or a SavedModel folder",
    )
