# SPDX-License-Identifier: Apache-2.0
"""The options of a .tflite operator as snake-case attributes, for every operator there is.

The `tflite` package holds one generated class per options table, with one method per field
(`StrideW`, `FusedActivationFunction`, `NewShapeAsNumpy`). They are called by introspection, so a
new operator needs nothing here. Its modules are loaded one by one: importing the package as a
whole runs 180 modules, of which a model needs about ten.

An operator without an options table gets its kind's defaults; one with another kind's table is
malformed.
"""

from __future__ import annotations

import importlib.util
import math
import re
import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np

from mcudeploy.errors import ToolError
from mcudeploy.frontend.flatbuffer_table import FlatBuffer, Table

_ENUMS = {
    "fused_activation_function": "ActivationFunctionType",
    "padding": "Padding",
    "weights_format": "FullyConnectedOptionsWeightsFormat",
    "kernel_type": "LSTMKernelType",
    "mode": "MirrorPadMode",
}
_DTYPES = {"in_data_type", "out_data_type", "output_type", "out_type", "quantized_bias_type"}
_SHARED_OPTIONS = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "REDUCE_PROD": "ReducerOptions",
    "REDUCE_ANY": "ReducerOptions",
    "REDUCE_ALL": "ReducerOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
}
_AT_LEAST_ONE = re.compile(r"stride_[wh]|dilation_[wh]_factor|filter_(width|height)")
_EMPTY_TABLE = struct.pack("<HHi", 4, 4, 4)
_BROKEN = (struct.error, IndexError, ValueError, TypeError, OverflowError)


@cache
def _folder() -> Path:
    spec = importlib.util.find_spec("tflite")
    if spec is None or not spec.submodule_search_locations:
        raise ToolError("the Python package `tflite` is not installed", mend="pip install tflite")
    return Path(next(iter(spec.submodule_search_locations)))


@cache
def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"mcudeploy_tflite_{name}", _folder() / f"{name}.py"
    )
    if spec is None or spec.loader is None:
        raise ToolError(f"the Python package `tflite` lacks {name}", mend="pip install -U tflite")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def enum_names(name: str) -> Mapping[int, str]:
    """Value to name of the schema's enumeration `name`, e.g. `BuiltinOperator`."""
    members = vars(getattr(_module(name), name))
    return MappingProxyType({v: k for k, v in members.items() if isinstance(v, int)})


@cache
def _options_class_names() -> Mapping[str, str]:
    files = (path.stem for path in _folder().glob("*Options.py"))
    return MappingProxyType({name.lower(): name for name in files})


def _expected_options(kind: str) -> str | None:
    """The options class of an operator kind; None when it has none."""
    if kind in _SHARED_OPTIONS:
        return _SHARED_OPTIONS[kind]
    return _options_class_names().get(kind.replace("_", "").lower() + "options")


def _snake_case(name: str) -> str:
    """`DilationWFactor` -> `dilation_w_factor`, `Conv2D` -> `conv2_d` (never a field)."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


@cache
def _fields(class_name: str) -> tuple[tuple[str, str], ...]:
    """(attribute, method) pairs of an options class; vectors by their AsNumpy method."""
    members = vars(getattr(_module(class_name), class_name))
    methods = [name for name, member in members.items() if callable(member)]
    vectors = {name[: -len("AsNumpy")] for name in methods if name.endswith("AsNumpy")}
    pairs = []
    for name in methods:
        derived = any(name in (v + "Length", v + "IsNone", v + "AsNumpy") for v in vectors)
        if name.startswith("_") or name == "Init" or derived:
            continue
        pairs.append((_snake_case(name), name + "AsNumpy" if name in vectors else name))
    return tuple(pairs)


def _value(attribute: str, raw: Any) -> Any:
    """A field as a plain Python value: enumerations by name, vectors as tuples."""
    if attribute in _DTYPES and isinstance(raw, int):
        return enum_names("TensorType").get(raw, str(raw)).lower()
    if attribute in _ENUMS and isinstance(raw, int):
        return enum_names(_ENUMS[attribute]).get(raw, str(raw))
    if isinstance(raw, np.ndarray):
        return tuple(raw.tolist())
    if isinstance(raw, bytes):
        return raw.decode("utf-8", "replace")
    return raw


def read_options(buffer: FlatBuffer, operator: Table, kind: str) -> Mapping[str, Any]:
    """The attributes of one operator table of a model.

    Raises InputError when the table is malformed or belongs to another kind of operator.
    """
    class_name, table = _expected_options(kind), None
    for type_slot, table_slot, union in ((3, 4, "BuiltinOptions"), (11, 12, "BuiltinOptions2")):
        number = operator.scalar(type_slot, "B")
        found = enum_names(union).get(number) if number else None
        if found is None or not operator.has(table_slot):
            continue
        if class_name is not None and found != class_name:
            raise buffer.malformed(f"operator {kind} carries {found} instead of {class_name}")
        if found.lower() in _options_class_names():
            class_name, table = found, operator.table(table_slot)
    if class_name is None:
        return MappingProxyType({})
    reader = getattr(_module(class_name), class_name)()
    if table is None:
        reader.Init(_EMPTY_TABLE, 4)
    else:
        reader.Init(buffer.data, table.position)
    return MappingProxyType(_read_fields(buffer, reader, class_name, kind))


def _read_fields(buffer: FlatBuffer, reader: Any, class_name: str, kind: str) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for attribute, method in _fields(class_name):
        try:
            raw = getattr(reader, method)()
            if isinstance(raw, np.ndarray):
                buffer.charge(raw.nbytes)
            elif method.endswith("AsNumpy"):
                raw = ()
            value = _value(attribute, raw)
        except _BROKEN as error:
            raise buffer.malformed(f"the options of operator {kind}: {attribute}") from error
        if _AT_LEAST_ONE.fullmatch(attribute) and value < 1:
            raise buffer.malformed(f"operator {kind} has {attribute} {value}")
        if isinstance(value, float) and not math.isfinite(value):
            raise buffer.malformed(f"operator {kind} has {attribute} {value}")
        attributes[attribute] = value
    return attributes
