# SPDX-License-Identifier: Apache-2.0
"""A .tflite file into a `Graph`.

The file is untrusted: every table, vector, index, shape and buffer length is checked (see
`flatbuffer_table.py`), operators must stand in an order in which they can run, and each tensor
has one writer. What is well formed but cannot become int8 firmware is refused with all its
reasons at once (see `tflite_support.py`). Constants are views of the file's bytes, not copies.

Source of the slots: TensorFlow Lite's schema.fbs, version 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mcudeploy.errors import InputError
from mcudeploy.frontend.flatbuffer_options import enum_names, read_options
from mcudeploy.frontend.flatbuffer_table import FlatBuffer, Table
from mcudeploy.frontend.tflite_operands import malformed_operands
from mcudeploy.frontend.tflite_shapes import close_shapes
from mcudeploy.frontend.tflite_support import check_supported
from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator, Quantization, Tensor

_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_MAX_RANK = 8
_MAX_ELEMENTS = 1 << 31
_ELEMENT_DTYPES = {
    "float32": "<f4", "float16": "<f2", "float64": "<f8", "bool": "?", "int8": "i1", "uint8": "u1",
    "int16": "<i2", "uint16": "<u2", "int32": "<i4", "uint32": "<u4", "int64": "<i8",
    "uint64": "<u8",
}  # fmt: skip
_ZERO_POINT_RANGE = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}


@dataclass(frozen=True)
class _OperatorCode:
    kind: str
    version: int


def read_tflite(data: bytes, name: str, *, deployable: bool = True) -> Graph:
    """The network of a .tflite file; `name` is what messages and the graph call it.

    With `deployable` off a float network and its like are read too, to be compared or examined.
    Raises InputError when `data` is no well-formed .tflite file, UnsupportedModelError when it is
    one that cannot be deployed (float, hybrid, 16x8, control flow, custom operators, ...).
    """
    if len(data) == 0:
        raise InputError(f"{name} is empty", where=name, mend="give a .tflite model")
    if data[4:8] != _IDENTIFIER:
        raise InputError(
            f"{name} is not a TensorFlow Lite model",
            where=name,
            mend="give an int8 .tflite file, or the Keras model that it is made from",
        )
    return _Reader(FlatBuffer(data, name), name).read(deployable)


class _Reader:
    """One pass over one file."""

    def __init__(self, buffer: FlatBuffer, name: str) -> None:
        self.buffer = buffer
        self.name = name
        self.open: dict[int, tuple[int, ...]] = {}
        self.sparse: set[int] = set()

    def read(self, deployable: bool) -> Graph:
        model = self.buffer.root()
        version = model.scalar(0, "I")
        if version != _SCHEMA_VERSION:
            raise self.buffer.malformed(f"schema version {version}, not {_SCHEMA_VERSION}")
        buffers = [self._bytes_of(table) for table in model.tables(4)]
        codes = [_operator_code(table) for table in model.tables(1)]
        subgraphs = list(model.tables(2))
        if not subgraphs:
            raise self.buffer.malformed("it holds no subgraph")
        main = subgraphs[0]
        tensors = tuple(
            self._tensor(table, index, buffers) for index, table in enumerate(main.tables(0))
        )
        operators = tuple(
            self._operator(table, index, codes, len(tensors))
            for index, table in enumerate(main.tables(3))
        )
        inputs = self._indices(main, 1, len(tensors), "the model's inputs")
        outputs = self._indices(main, 2, len(tensors), "the model's outputs")
        graph = Graph(self.name, tensors, operators, inputs, outputs)
        self._check_order(graph)
        graph, dynamic = close_shapes(graph, self.open)
        if deployable:
            check_supported(graph, len(subgraphs), dynamic, frozenset(self.sparse))
            self._check_quantization(graph)
        for problem in malformed_operands(graph):
            raise self.buffer.malformed(problem)
        return graph

    def _bytes_of(self, table: Table) -> npt.NDArray[np.uint8]:
        offset, size = table.scalar(1, "Q"), table.scalar(2, "Q")
        if offset > 1:  # files over 2 GiB keep constants behind the tables
            return np.frombuffer(self.buffer.span(offset, size), np.uint8)
        return table.vector(0, "u1")

    def _indices(
        self, table: Table, slot: int, count: int, what: str, *, optional: bool = False
    ) -> tuple[int, ...]:
        indices = tuple(table.vector(slot, "i4").tolist())
        for index in indices:
            if not 0 <= index < count and not (optional and index == NO_TENSOR):
                raise self.buffer.malformed(f"{what} name tensor {index} of {count}")
        return indices

    def _tensor(self, table: Table, index: int, buffers: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
        name = table.text(3)
        where = f"tensor {index} ({name})"
        code = table.scalar(1, "b")
        dtype = enum_names("TensorType").get(code, "").lower()
        if not dtype:
            raise self.buffer.malformed(f"{where} has the unknown type {code}")
        shape = self._shape(table, index, where)
        number = table.scalar(2, "I")
        if number >= max(len(buffers), 1):
            raise self.buffer.malformed(f"{where} names buffer {number} of {len(buffers)}")
        content = buffers[number] if buffers else np.empty(0, np.uint8)
        is_variable = table.scalar(5, "?", False)
        if table.has(6):
            self.sparse.add(index)
        return Tensor(
            name=name,
            shape=shape,
            dtype=dtype,
            quantization=self._quantization(table, shape, where),
            data=None if is_variable else self._constant(content, shape, dtype, index, where),
            is_variable=is_variable,
            source=index,
        )

    def _shape(self, table: Table, index: int, where: str) -> tuple[int, ...]:
        shape = tuple(table.vector(0, "i4").tolist())
        signature = tuple(table.vector(7, "i4").tolist())
        if len(shape) > _MAX_RANK:
            raise self.buffer.malformed(f"{where} has {len(shape)} dimensions")
        if any(d < -1 for d in shape) or math.prod(max(d, 1) for d in shape) >= _MAX_ELEMENTS:
            raise self.buffer.malformed(f"{where} has the shape {list(shape)}")
        if -1 in signature and len(signature) == len(shape):
            self.open[index] = signature
        elif -1 in shape:
            self.open[index] = shape
        return tuple(1 if d == -1 else d for d in shape)

    def _constant(
        self, content: npt.NDArray[np.uint8], shape: tuple[int, ...], dtype: str, index: int,
        where: str,
    ) -> npt.NDArray[Any] | None:  # fmt: skip
        if content.size == 0 or dtype not in _ELEMENT_DTYPES or index in self.sparse:
            # No bytes: an activation, unless it is a constant of no elements (a scalar's axes).
            empty = 0 in shape and dtype in _ELEMENT_DTYPES
            return np.empty(shape, _ELEMENT_DTYPES[dtype]) if empty else None
        kind = np.dtype(_ELEMENT_DTYPES[dtype])
        wanted = math.prod(shape) * kind.itemsize
        if content.nbytes != wanted:
            raise self.buffer.malformed(f"{where} has {content.nbytes} bytes instead of {wanted}")
        return np.frombuffer(content.data, kind).reshape(shape)

    def _quantization(
        self, table: Table, shape: tuple[int, ...], where: str
    ) -> Quantization | None:
        parameters = table.table(4)
        if parameters is None:
            return None
        scales = tuple(parameters.vector(2, "f4").tolist())
        zero_points = tuple(parameters.vector(3, "i8").tolist())
        if not scales:
            return None
        if len(zero_points) not in (0, 1, len(scales)):
            raise self.buffer.malformed(
                f"{where} has {len(scales)} scales and {len(zero_points)} zero points"
            )
        if len(zero_points) != len(scales):
            zero_points = (zero_points or (0,)) * len(scales)
        if len(scales) == 1:
            return Quantization(scales, zero_points)
        axis = parameters.scalar(6, "i")
        if not 0 <= axis < len(shape) or len(scales) != shape[axis]:
            raise self.buffer.malformed(
                f"{where} of shape {list(shape)} has {len(scales)} scales along axis {axis}"
            )
        return Quantization(scales, zero_points, axis)

    def _operator(
        self, table: Table, index: int, codes: Sequence[_OperatorCode], tensors: int
    ) -> Operator:
        number = table.scalar(0, "I")
        if number >= len(codes):
            raise self.buffer.malformed(f"operator {index} names code {number} of {len(codes)}")
        code = codes[number]
        what = f"operator {index} ({code.kind})"
        inputs = self._indices(table, 1, tensors, f"the inputs of {what}", optional=True)
        outputs = self._indices(table, 2, tensors, f"the outputs of {what}")
        if not outputs:
            raise self.buffer.malformed(f"{what} has no output")
        custom = code.kind.startswith("CUSTOM")
        attributes = {} if custom else read_options(self.buffer, table, code.kind)
        return Operator(code.kind, inputs, outputs, attributes, index, code.version)

    def _check_order(self, graph: Graph) -> None:
        """Every operator reads what is there already; every tensor has one writer."""
        ready = {i for i, t in enumerate(graph.tensors) if t.is_constant or t.is_variable}
        written = set(graph.inputs) | {i for i in ready if graph.tensors[i].is_constant}
        ready |= written | {NO_TENSOR}
        for operator in graph.operators:
            for index in operator.inputs:
                if index not in ready:
                    raise self.buffer.malformed(
                        f"{graph.describe(operator)} reads tensor {index} before it is written"
                    )
            for index in operator.outputs:
                if index in written:
                    raise self.buffer.malformed(f"tensor {index} is written twice")
            written.update(operator.outputs)
            ready.update(operator.outputs)
        missing = [i for i in graph.outputs if i not in ready]
        if missing:
            raise self.buffer.malformed(f"nothing writes the output tensor {missing[0]}")
        if len(set(graph.inputs)) != len(graph.inputs):
            raise self.buffer.malformed("an input is listed twice")

    def _check_quantization(self, graph: Graph) -> None:
        """Scales that arithmetic can use, zero points that the type can hold."""
        for index in {i for o in graph.operators for i in (*o.inputs, *o.outputs) if i >= 0}:
            tensor = graph.tensors[index]
            if tensor.quantization is None or tensor.dtype not in _ZERO_POINT_RANGE:
                continue
            low, high = _ZERO_POINT_RANGE[tensor.dtype]
            if not all(math.isfinite(s) and s > 0 for s in tensor.quantization.scales):
                raise self.buffer.malformed(f"tensor {index} ({tensor.name}) has a scale <= 0")
            if not all(low <= z <= high for z in tensor.quantization.zero_points):
                raise self.buffer.malformed(
                    f"tensor {index} ({tensor.name}) has a zero point outside {low} to {high}"
                )


def _operator_code(table: Table) -> _OperatorCode:
    """The kind of an operator code; codes up to 126 also stand in a byte-sized field."""
    number = max(table.scalar(0, "b"), table.scalar(3, "i"))
    kind = enum_names("BuiltinOperator").get(number, f"BUILTIN_{number}")
    if kind == "CUSTOM":
        kind = f"CUSTOM {table.text(1)}"
    return _OperatorCode(kind, table.scalar(2, "i", 1))
