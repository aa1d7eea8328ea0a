# SPDX-License-Identifier: Apache-2.0
"""The samples that a network is quantized or judged with: read, checked, scaled and recorded.

A source is an `.npz`, an `.npy`, a folder of images, or nothing (synthetic, seeded). Whatever it
is, it becomes one array per model input of shape (samples, *input shape), and a `CalibrationRecord`
that says in the manifest what the ranges of the int8 network came from.

Keys of an .npz: an array named as the model's input; with one input also `x`, `x_train`, or the
only array there is. Nothing is guessed beyond that and no array is reshaped.
Scaling: arrays are used as they stand and images become 0..1, unless told otherwise.
"""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mcudeploy.errors import InputError

Scaling = Literal["none", "0..1", "-1..1"]
Samples = dict[str, npt.NDArray[Any]]

DEFAULT_SAMPLES = 200
SYNTHETIC_SAMPLES = 32
IMAGE_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_MAX_IMAGES = 100_000
_MAX_ARRAY_BYTES = 8 << 30
_COLOUR_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class ModelInput:
    """One input of a model. `shape` is that of one sample, without the batch."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}{list(self.shape)}"


@dataclass(frozen=True)
class CalibrationRecord:
    """Where the ranges of an int8 network came from.

    `kind` is npz, npy, images, synthetic, or training (quantization-aware: the ranges are in the
    model). `source` is a name without its folder and `sha256` the hash of what was read, both
    empty where nothing was. `samples` of `available` were used, evenly spaced. `minimum` and
    `maximum` are of the scaled values over all inputs.
    """

    kind: Literal["npz", "npy", "images", "synthetic", "training"]
    source: str = ""
    sha256: str = ""
    samples: int = 0
    available: int = 0
    scaling: str = "none"
    synthetic: bool = False
    seed: int | None = None
    minimum: float | None = None
    maximum: float | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object, for the manifest."""
        return asdict(self)

    def __str__(self) -> str:
        if self.kind == "training":
            return "ranges learned in quantization-aware training"
        if self.synthetic:
            return f"{self.samples} synthetic samples (seed {self.seed})"
        span = f"values {self.minimum:g} to {self.maximum:g}, scaling: {self.scaling}"
        return f"{self.samples} of {self.available} samples of {self.source} ({span})"


def check_source(path: Path | str) -> Path:
    """`path` as a path, when it exists and is a kind of source that can be read."""
    path = Path(path)
    if not path.exists():
        raise InputError("the data does not exist", where=str(path), mend="check the path")
    if not path.is_dir() and path.suffix.lower() not in (".npz", ".npy"):
        raise InputError(
            f"data in a {path.suffix or 'nameless'} file cannot be read",
            where=str(path),
            mend="give an .npz, an .npy or a folder of images",
        )
    return path


def load(
    source: Path | str,
    inputs: Sequence[ModelInput],
    *,
    samples: int = DEFAULT_SAMPLES,
    scaling: Scaling | None = None,
) -> tuple[Samples, CalibrationRecord]:
    """At most `samples` evenly spaced samples of `source` for `inputs`, and the record of them.

    Raises InputError when the source is unreadable, or its shapes, types or values do not suit.
    """
    path = check_source(source)
    if samples < 1:
        raise InputError("the number of calibration samples must be at least 1", where=str(path))
    check_scaling(scaling)
    if path.is_dir():
        return _load_images(path, inputs, samples, scaling or "0..1")
    arrays = read_arrays(path)
    chosen = {spec.name: pick_array(arrays, spec, inputs, path) for spec in inputs}
    available = check_lengths(chosen, path)
    picks = evenly_spaced(available, samples)
    scaled = {
        spec.name: scale_array(chosen[spec.name][picks], spec, scaling, path) for spec in inputs
    }
    low, high = _range(scaled)
    record = CalibrationRecord(
        kind="npz" if path.suffix.lower() == ".npz" else "npy",
        source=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        samples=len(picks),
        available=available,
        scaling=scaling or "none",
        minimum=low,
        maximum=high,
    )
    return scaled, record


def synthetic(inputs: Sequence[ModelInput], *, seed: int = 0) -> tuple[Samples, CalibrationRecord]:
    """Seeded samples: floats uniform in -1..1, uint8 in 0..255, other integers 0 or 1."""
    generator = np.random.default_rng(seed)
    made: Samples = {}
    for spec in inputs:
        shape = (SYNTHETIC_SAMPLES, *spec.shape)
        if spec.dtype.startswith("float"):
            made[spec.name] = generator.uniform(-1, 1, shape).astype(spec.dtype)
        else:
            top = 256 if spec.dtype == "uint8" else 2
            made[spec.name] = generator.integers(0, top, shape).astype(spec.dtype)
    low, high = _range(made)
    record = CalibrationRecord(
        kind="synthetic",
        samples=SYNTHETIC_SAMPLES,
        available=SYNTHETIC_SAMPLES,
        synthetic=True,
        seed=seed,
        minimum=low,
        maximum=high,
    )
    return made, record


def read_arrays(path: Path) -> Samples:
    """The arrays of an .npz or .npy by key (`x` for an .npy). Pickled objects are refused."""
    try:
        with path.open("rb") as file:
            if not file.read(6).startswith((b"PK", b"\x93NUMPY")):
                raise ValueError("it is neither an .npz nor an .npy")
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"x": loaded}
        with loaded:
            unpacked = sum(member.file_size for member in loaded.zip.infolist())
            if unpacked > _MAX_ARRAY_BYTES:
                raise InputError(f"the archive unpacks to {unpacked:,} bytes", where=str(path))
            return {key: loaded[key] for key in loaded.files}
    except FileNotFoundError:
        raise InputError(
            "the data does not exist", where=str(path), mend="check the path"
        ) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        reason = reason.splitlines()[0]
        raise InputError(
            f"the arrays cannot be read: {reason}",
            where=str(path),
            mend="save plain numeric arrays with numpy.savez(PATH, x=...)",
        ) from None


def pick_array(
    arrays: Mapping[str, npt.NDArray[Any]],
    spec: ModelInput,
    inputs: Sequence[ModelInput],
    path: Path,
) -> npt.NDArray[Any]:
    """The array for one input, of shape (samples, *spec.shape)."""
    keys = [spec.name] if len(inputs) > 1 else [spec.name, "x", "x_train"]
    key = next((key for key in keys if key in arrays), None)
    if key is None and len(inputs) == 1 and len(arrays) == 1:
        key = next(iter(arrays))
    if key is None:
        raise InputError(
            f"no array for the model's input {spec.name!r}; there are: {', '.join(arrays)}",
            where=str(path),
            mend=f"name it {' or '.join(repr(k) for k in keys)} in the .npz",
        )
    array = arrays[key]
    where = f"{path}, array {key!r}"
    if array.dtype.kind not in "fiub":
        raise InputError(f"the array holds {array.dtype}, not numbers", where=where)
    if array.shape == spec.shape:
        array = array[np.newaxis]
    if array.shape[1:] != spec.shape:
        wanted = ("samples", *spec.shape)
        raise InputError(
            f"the array has shape {_shape(array.shape)}, but the model's input {spec.name!r} "
            f"needs {_shape(wanted)}",
            where=where,
            mend=_shape_mend(array.shape, spec.shape),
        )
    return array


def _shape(shape: Sequence[object]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def _shape_mend(given: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if wanted[-1:] == (1,) and given[1:] == wanted[:-1]:
        return "add the channel axis: x = x[..., numpy.newaxis]"
    if len(given) == 4 and (*given[2:], given[1]) == wanted:
        return "put the channels last: x = x.transpose(0, 2, 3, 1)"
    return "bring the array to the input's shape as for training, samples first"


def check_lengths(arrays: Mapping[str, npt.NDArray[Any]], path: Path) -> int:
    """The common number of samples."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise InputError(f"the inputs have different numbers of samples: {listed}", where=str(path))
    count = next(iter(lengths.values()))
    if count == 0:
        raise InputError("the data holds no sample", where=str(path))
    return count


def check_scaling(scaling: str | None) -> None:
    """Refuse a scaling that is not one of the known ones."""
    if scaling is not None and scaling not in get_args(Scaling):
        known = ", ".join(get_args(Scaling))
        raise InputError(f"unknown scaling {scaling!r}", mend=f"choose one of: {known}")


def scale_array(
    array: npt.NDArray[Any], spec: ModelInput, scaling: Scaling | None, path: Path
) -> npt.NDArray[Any]:
    """`array` in the input's dtype; a scaling other than none takes its values as 0..255."""
    if not spec.dtype.startswith("float"):
        if array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
            raise InputError(
                f"the array holds {array.dtype} fractions, but the model's input {spec.name!r} "
                f"takes {spec.dtype}",
                where=str(path),
                mend="convert the array as for training",
            )
        limits = np.iinfo(spec.dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise InputError(f"values beyond {spec.dtype}", where=f"{path}, input {spec.name!r}")
        return array.astype(spec.dtype)
    values: npt.NDArray[Any] = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(
            "the data holds NaN or infinity",
            where=f"{path}, input {spec.name!r}",
            mend="remove those samples",
        )
    if scaling in ("0..1", "-1..1"):
        if array.dtype != np.uint8:
            raise InputError(
                f"the scaling {scaling} is for pixels (uint8); the array holds {array.dtype}",
                where=f"{path}, input {spec.name!r}",
                mend="leave the scaling out: the values are used as they stand",
            )
        values = values / 255 if scaling == "0..1" else values / 127.5 - 1
    return values.astype(spec.dtype)


def evenly_spaced(available: int, wanted: int) -> npt.NDArray[np.int64]:
    """Indices of at most `wanted` samples spread over all, so that data sorted by class is covered.

    First and last are included; all of them when no more are available.
    """
    if available <= wanted:
        return np.arange(available)
    return np.linspace(0, available - 1, wanted).round().astype(np.int64)


def _range(samples: Mapping[str, npt.NDArray[Any]]) -> tuple[float, float]:
    low = min(float(array.min()) for array in samples.values())
    return low, max(float(array.max()) for array in samples.values())


def _load_images(
    folder: Path, inputs: Sequence[ModelInput], samples: int, scaling: Scaling
) -> tuple[Samples, CalibrationRecord]:
    if len(inputs) != 1 or len(inputs[0].shape) != 3 or inputs[0].shape[2] not in _COLOUR_MODES:
        listed = ", ".join(map(str, inputs))
        raise InputError(
            f"images suit one input of shape (height, width, 1 or 3); the model has: {listed}",
            where=str(folder),
            mend="give the samples as an .npz",
        )
    spec = inputs[0]
    files = sorted(
        (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS),
        key=lambda path: path.relative_to(folder).as_posix(),
    )
    if not files or len(files) > _MAX_IMAGES:
        raise InputError(
            f"the folder holds {len(files)} images ({' '.join(IMAGE_ENDINGS)})",
            where=str(folder),
            mend=f"put 100 to {_MAX_IMAGES} typical images there",
        )
    digest = hashlib.sha256()
    pictures = []
    for index in evenly_spaced(len(files), samples):
        name = files[index].relative_to(folder).as_posix()
        digest.update(f"{name}\0{hashlib.sha256(files[index].read_bytes()).hexdigest()}\n".encode())
        pictures.append(_read_image(files[index], spec))
    array = scale_array(
        np.stack(pictures), spec, scaling if spec.dtype.startswith("float") else None, folder
    )
    height, width, channels = spec.shape
    record = CalibrationRecord(
        kind="images",
        source=folder.name,
        sha256=digest.hexdigest(),
        samples=len(pictures),
        available=len(files),
        scaling=f"{_COLOUR_MODES[channels]}, resized to {height}x{width} (bilinear, aspect not "
        f"kept), pixels {'0..255' if scaling == 'none' else scaling}",
        minimum=float(array.min()),
        maximum=float(array.max()),
    )
    return {spec.name: array}, record


def _read_image(path: Path, spec: ModelInput) -> npt.NDArray[np.uint8]:
    """One picture as uint8 of the input's shape: converted to grey or RGB, then resized."""
    from PIL import Image

    height, width, channels = spec.shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                picture = opened.convert(_COLOUR_MODES[channels])
                picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning) as error:
        raise InputError(
            f"an image cannot be read: {str(error).splitlines()[0]}",
            where=str(path),
            mend="remove or replace it",
        ) from None
    return np.asarray(picture, dtype=np.uint8).reshape(spec.shape)
