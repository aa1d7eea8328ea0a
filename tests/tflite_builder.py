# SPDX-License-Identifier: Apache-2.0
"""Small .tflite models made from Python, for tests of readers, kernels and references.

    b = ModelBuilder()
    x = b.input((1, 8, 8, 3), scale=0.5, zero_point=-3)
    w = b.constant(weights, scale=[0.01] * 4, axis=0)      # scales per channel along axis 0
    y = b.operator("CONV_2D", [x, w, bias], b.tensor((1, 8, 8, 4), scale=0.4),
                   padding="SAME", stride_w=1, stride_h=1, fused_activation_function="RELU")
    model = b.build(outputs=[y])

Options are the schema's fields in snake case; enumerations are given by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

_TYPES = {
    name.lower(): value for name, value in vars(schema.TensorType).items() if isinstance(value, int)
}
_ENUMS = {
    "fused_activation_function": schema.ActivationFunctionType,
    "padding": schema.Padding,
    "weights_format": schema.FullyConnectedOptionsWeightsFormat,
    "mode": schema.MirrorPadMode,
    "in_data_type": schema.TensorType,
    "out_data_type": schema.TensorType,
    "output_type": schema.TensorType,
    "out_type": schema.TensorType,
}
_OPTIONS = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MINIMUM": "MaximumMinimumOptions",
}
_LAST_BYTE_SIZED_CODE = 126


class ModelBuilder:
    """Collects tensors and operators; `build` gives the file's bytes."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]
        self._operators: list[Any] = []
        self._codes: list[Any] = []
        self._inputs: list[int] = []

    def tensor(
        self,
        shape: Sequence[int],
        dtype: str = "int8",
        scale: float | Sequence[float] | None = None,
        zero_point: int | Sequence[int] = 0,
        axis: int = 0,
        name: str = "",
        is_variable: bool = False,
    ) -> int:
        """An activation; returns its index."""
        record = schema.TensorT()
        record.shape = list(shape)
        record.type = _TYPES[dtype]
        record.name = (name or f"t{len(self._tensors)}").encode()
        record.isVariable = is_variable
        record.buffer = 0
        if scale is not None:
            scales = [scale] if isinstance(scale, (int, float)) else list(scale)
            points = [zero_point] * len(scales) if isinstance(zero_point, int) else list(zero_point)
            quantization = schema.QuantizationParametersT()
            quantization.scale = [float(s) for s in scales]
            quantization.zeroPoint = [int(p) for p in points]
            quantization.quantizedDimension = axis
            record.quantization = quantization
        self._tensors.append(record)
        return len(self._tensors) - 1

    def input(self, shape: Sequence[int], dtype: str = "int8", **options: Any) -> int:
        """An input of the model; returns its index."""
        index = self.tensor(shape, dtype, **options)
        self._inputs.append(index)
        return index

    def constant(self, data: npt.ArrayLike, **options: Any) -> int:
        """A constant with the array's shape and dtype; returns its index."""
        array = np.array(data, order="C")
        index = self.tensor(array.shape, str(array.dtype), **options)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self._buffers.append(buffer)
        self._tensors[index].buffer = len(self._buffers) - 1
        return index

    def operator(
        self, kind: str, inputs: Sequence[int], outputs: int | Sequence[int], **options: Any
    ) -> int:
        """One operator; -1 is an absent input. Returns its first output's index."""
        record = schema.OperatorT()
        record.opcodeIndex = self._code(kind)
        record.inputs = list(inputs)
        record.outputs = [outputs] if isinstance(outputs, int) else list(outputs)
        self._set_options(record, kind, options)
        self._operators.append(record)
        return int(record.outputs[0])

    def build(self, outputs: Sequence[int], inputs: Sequence[int] | None = None) -> bytes:
        """The .tflite file with these outputs."""
        graph = schema.SubGraphT()
        graph.name = b"main"
        graph.tensors = self._tensors
        graph.operators = self._operators
        graph.inputs = list(self._inputs if inputs is None else inputs)
        graph.outputs = list(outputs)
        model = schema.ModelT()
        model.version = 3
        model.description = b"test"
        model.operatorCodes = self._codes
        model.subgraphs = [graph]
        model.buffers = self._buffers
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _code(self, kind: str) -> int:
        code = schema.OperatorCodeT()
        code.version = 1
        if kind.startswith("CUSTOM "):
            kind, code.customCode = kind.split(" ", 1)
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, _LAST_BYTE_SIZED_CODE + 1)
        self._codes.append(code)
        return len(self._codes) - 1

    def _set_options(self, record: Any, kind: str, options: dict[str, Any]) -> None:
        wanted = _OPTIONS.get(kind, kind.replace("_", "") + "Options").lower()
        names = {name.lower(): name for name in vars(schema.BuiltinOptions)}
        if wanted not in names:
            if options:
                raise ValueError(f"{kind} has no options")
            return
        name = names[wanted]
        table = getattr(schema, name + "T")()
        for key, value in options.items():
            field = _camel_case(key)
            if not hasattr(table, field):
                raise ValueError(f"{kind} has no option {key}")
            if isinstance(value, str):
                value = getattr(_ENUMS[key], value.upper())
            setattr(table, field, value)
        record.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        record.builtinOptions = table


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def one_operator(
    kind: str,
    *,
    shape: Sequence[int],
    scale: float,
    zero_point: int,
    out_scale: float,
    out_zero_point: int,
    out_shape: Sequence[int] | None = None,
    **options: Any,
) -> bytes:
    """An int8 model of one operator with one input and one output."""
    builder = ModelBuilder()
    x = builder.input(shape, scale=scale, zero_point=zero_point)
    y = builder.tensor(out_shape or shape, scale=out_scale, zero_point=out_zero_point)
    builder.operator(kind, [x], y, **options)
    return builder.build([y])
