# SPDX-License-Identifier: Apache-2.0
"""The network as a value: `Graph`, `Operator`, `Tensor`, `Quantization`.

All of it is immutable. Tensors are named by their index in `Graph.tensors`, operators by their
index in `Graph.operators`; `Graph.operators` is an execution order. Shapes are NHWC where a
tensor is a feature map. A rewrite (see `passes/`) makes a new `Graph`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy.typing as npt

NO_TENSOR = -1
"""The index of an optional input that is absent, as in TFLite."""

DTYPE_BYTES: Mapping[str, int] = MappingProxyType(
    {"int8": 1, "uint8": 1, "bool": 1, "int16": 2, "int32": 4, "int64": 8, "float32": 4}
)


@dataclass(frozen=True)
class Quantization:
    """real = scale * (stored - zero_point); one pair per tensor, or one per slice of `axis`."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None = None

    @property
    def scale(self) -> float:
        """The scale of a tensor that is quantized as a whole."""
        return self.scales[0]

    @property
    def zero_point(self) -> int:
        """The zero point of a tensor that is quantized as a whole."""
        return self.zero_points[0]

    @property
    def per_channel(self) -> bool:
        return len(self.scales) > 1


def is_placeholder(data: npt.NDArray[Any]) -> bool:
    """Whether a constant's size alone is known: all its elements are one in memory."""
    return data.size > 1 and not any(data.strides)


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value that flows through the network, or a constant of it.

    `source` is the tensor's index in the .tflite file, so that the golden reference can be asked
    for the same value; None for a tensor that a rewrite made. `data` is a read-only array of
    `shape` for a constant. `is_variable` marks state kept between inferences.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantization: Quantization | None = None
    data: npt.NDArray[Any] | None = None
    is_variable: bool = False
    source: int | None = None

    @property
    def is_constant(self) -> bool:
        return self.data is not None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * DTYPE_BYTES[self.dtype]

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape)) or "scalar"
        return f"{self.name} {self.dtype}[{shape}]"


@dataclass(frozen=True, eq=False)
class Operator:
    """One step: `kind` is TFLite's name (`CONV_2D`); `attributes` its options, in snake case.

    `source` is the operator's index in the .tflite file (None for one that a rewrite made).
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    source: int | None = None
    version: int = 1


@dataclass(frozen=True, eq=False)
class Graph:
    """A whole network with batch 1, ready to be planned."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def tensor(self, index: int) -> Tensor:
        return self.tensors[index]

    def producer(self, index: int) -> int | None:
        """The operator that writes tensor `index`; None for inputs, constants and state."""
        for position, operator in enumerate(self.operators):
            if index in operator.outputs:
                return position
        return None

    def consumers(self, index: int) -> tuple[int, ...]:
        """The operators that read tensor `index`, in order."""
        return tuple(p for p, operator in enumerate(self.operators) if index in operator.inputs)

    def activations(self) -> Iterator[int]:
        """The tensors that need RAM while the network runs: neither constant nor unused."""
        used = set(self.inputs) | set(self.outputs)
        for operator in self.operators:
            used.update(operator.inputs)
            used.update(operator.outputs)
        for index in sorted(used):
            if index != NO_TENSOR and not self.tensors[index].is_constant:
                yield index

    def with_operators(self, operators: tuple[Operator, ...]) -> Graph:
        return replace(self, operators=operators)

    def describe(self, operator: Operator) -> str:
        """Where an operator stands, for messages: `#3 CONV_2D (-> dense/BiasAdd)`."""
        position = operator.source
        number = f"#{position} " if position is not None else ""
        return f"{number}{operator.kind} (-> {self.tensors[operator.outputs[0]].name})"

    def __str__(self) -> str:
        lines = [f"graph {self.name}"]
        lines += [f"  input  %{i} {self.tensors[i]}" for i in self.inputs]
        for position, operator in enumerate(self.operators):
            reads = ", ".join(f"%{i}" for i in operator.inputs if i != NO_TENSOR)
            writes = ", ".join(f"%{i} {self.tensors[i]}" for i in operator.outputs)
            lines.append(f"  {position:3d}  {operator.kind}({reads}) -> {writes}")
        lines += [f"  output %{i} {self.tensors[i]}" for i in self.outputs]
        return "\n".join(lines)
