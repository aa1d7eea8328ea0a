# SPDX-License-Identifier: Apache-2.0
"""What a Keras file may ask for when it is loaded: nothing that runs code of its own.

A Keras file describes its layers as JSON, and Keras imports and calls what that names. The safe
mode of `.keras` does not reach `.h5`, and Keras 2 files can name any function of TensorFlow; so
the description is read here first, with h5py and json alone, and refused where it names code
outside Keras. Weights are refused where they point out of their file.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from mcudeploy.errors import InputError, UnsupportedModelError
from mcudeploy.frontend.keras import MAX_MODEL_BYTES, ModelKind

_SAVE_WHOLE = "save the whole model with model.save('model.keras')"
_EXPORT = (
    "express the layer with Keras' own layers, or export the model with model.export(FOLDER) and "
    "give that SavedModel folder"
)
_QUANTIZATION_AWARE = ("QuantizeLayer", "QuantizeWrapper", "QuantizeWrapperV2")
_MODULES = ("keras", "tf_keras", "tensorflow_model_optimization", "builtins")
_FUNCTION_FAMILIES = (
    "math", "nn", "linalg", "image", "bitwise", "signal", "sparse", "dtypes", "quantization",
    "__operators__", "keras", "compat",
)  # fmt: skip
_FORBIDDEN_FUNCTIONS = ("py_function", "numpy_function", "print", "load_library", "load_op_library")


@dataclass(frozen=True)
class Description:
    """A Keras file's own account of itself."""

    config: dict[str, Any]
    keras_version: str
    quantization_aware: bool

    @property
    def is_keras_2(self) -> bool:
        return not self.keras_version.startswith("3")


def describe(path: Path, kind: ModelKind, name: str) -> Description:
    """Read and check the description of a .h5 or .keras file; `name` is for messages."""
    if kind is ModelKind.KERAS_H5:
        config, version = _read_h5(path, name)
    else:
        config, version = _read_archive(path, name)
    quantization_aware = False
    for node, layer in walk(config):
        _check_node(node, layer, name)
        quantization_aware |= node.get("class_name") in _QUANTIZATION_AWARE
    return Description(config, version, quantization_aware)


def walk(node: Any, layer: str = "") -> Iterator[tuple[dict[str, Any], str]]:
    """Each object of a configuration that names a class, with the layer that it belongs to."""
    if isinstance(node, list):
        for item in node:
            yield from walk(item, layer)
    elif isinstance(node, dict):
        config = node.get("config")
        if isinstance(node.get("class_name"), str):
            if isinstance(config, dict) and isinstance(config.get("name"), str):
                layer = config["name"]
            yield node, layer
        for item in node.values():
            yield from walk(item, layer)


def _check_node(node: dict[str, Any], layer: str, name: str) -> None:
    kind = node["class_name"]
    where = f"{name}, layer {layer!r} ({kind})"
    if kind in ("Lambda", "__lambda__"):
        raise UnsupportedModelError(
            "the model holds a Lambda layer: Python code in the file, which is never executed",
            where=f"{name}, layer {layer!r} (Lambda)",
            mend=_EXPORT,
        )
    if kind == "QuantizedDTypePolicy":
        raise UnsupportedModelError(
            "the model was quantized by Keras' own model.quantize(), which keeps no ranges of "
            "activations",
            where=where,
            mend="give the model as it was before model.quantize()",
        )
    module = node.get("module")
    registered = node.get("registered_name")
    custom = isinstance(registered, str) and ">" in registered
    if custom and registered.split(">")[0].lower() in ("keras", "vis"):  # type: ignore[union-attr]
        custom = False
    foreign = isinstance(module, str) and module.split(".")[0] not in _MODULES
    if custom or foreign:
        raise UnsupportedModelError(
            f"the class {kind} is not part of Keras, and its code is not in the file",
            where=where,
            mend=_EXPORT,
        )
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        config = node.get("config")
        function = config.get("function") if isinstance(config, dict) else None
        _check_function(str(function), where)


def _check_function(function: str, where: str) -> None:
    """TensorFlow functions that Keras 2 recorded: arithmetic only, no files and no Python."""
    family, dot, _ = function.partition(".")
    last = function.rsplit(".", 1)[-1]
    if last in _FORBIDDEN_FUNCTIONS or (dot and family not in _FUNCTION_FAMILIES):
        raise UnsupportedModelError(
            f"the model calls tf.{function}, which is not arithmetic", where=where, mend=_EXPORT
        )


def _read_h5(path: Path, name: str) -> tuple[dict[str, Any], str]:
    try:
        with h5py.File(path, "r") as file:
            check_weights(file, name)
            text = file.attrs.get("model_config")
            version = _text(file.attrs.get("keras_version", "2"))
            weights = file.get("model_weights", file)
            version = _text(weights.attrs.get("keras_version", version))
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise _damaged(name, error) from error
    if text is None:
        raise InputError(
            "the .h5 file holds weights alone, without the model that they belong to",
            where=name,
            mend=_SAVE_WHOLE,
        )
    return _parse(_text(text), name), version


def _read_archive(path: Path, name: str) -> tuple[dict[str, Any], str]:
    try:
        with zipfile.ZipFile(path) as archive:
            config = archive.read("config.json").decode()
            metadata = _parse(archive.read("metadata.json").decode(), name)
            for member in archive.namelist():
                if member.endswith(".h5"):
                    with h5py.File(io.BytesIO(archive.read(member)), "r") as file:
                        check_weights(file, name)
    except (OSError, RuntimeError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise _damaged(name, error) from error
    return _parse(config, name), str(metadata.get("keras_version", "3"))


def check_weights(file: h5py.File, name: str) -> None:
    """Refuse weights that lie outside their file or are larger than any model."""
    total = 0

    def visit(path: str, item: Any) -> None:
        nonlocal total
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise _outside(name, path)
            total += item.size * item.dtype.itemsize
            if total > MAX_MODEL_BYTES:
                raise InputError("the file declares more than 2 GiB of weights", where=name)
            return
        for key in item:
            if isinstance(item.get(key, getlink=True), h5py.ExternalLink):
                raise _outside(name, f"{path}/{key}")

    visit("", file)
    file.visititems(visit)


def _outside(name: str, path: str) -> InputError:
    return InputError(
        "the file takes weights from other files",
        where=f"{name}, {path}",
        mend="do not use this file: save it anew",
    )


def _damaged(name: str, error: Exception) -> InputError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(
        f"the file is damaged: {reason}", where=name, mend="copy or save the model again"
    )


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(name, error) from error
    if not isinstance(parsed, dict):
        raise InputError("the model's description is no JSON object", where=name, mend=_SAVE_WHOLE)
    return parsed


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
