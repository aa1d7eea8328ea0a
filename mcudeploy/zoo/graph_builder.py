# SPDX-License-Identifier: Apache-2.0
"""A `Graph` under construction: operators as TFLite's converter writes them, values left out.

Weights and biases have the right shape and one value that all share, so that VGG-16 costs nothing.
Scales are placeholders: 1/16 everywhere, but for the functions whose output scale TFLite fixes, for
a fused ReLU, whose range the converter gives all of int8, so that nothing is left to clamp, and for
what a softmax reads: 1/7, since how many exponentials its table holds follows from that scale.
In the time steps of a recurrent layer each tensor has a scale and zero point of its own, as what
differs between steps is what a loop over them keeps in tables. All are of single precision, as in
a file.
Shapes, kinds, attributes and connections are real; nothing else is asked of a shape graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator, Quantization, Tensor

_ACTIVATION = Quantization((1 / 16,), (0,))
_LOGITS = Quantization((float(np.float32(1 / 7)),), (0,))
"""Trained classifiers of 4 to 12 classes have 0.09 to 0.29 (DS-CNN 0.145, ResNet8 0.17)."""
_CONSTANT = Quantization((1 / 128,), (0,))
_FIXED = {
    "TANH": Quantization((1 / 128,), (0,)),
    "LOGISTIC": Quantization((1 / 256,), (-128,)),
    "SOFTMAX": Quantization((1 / 256,), (-128,)),
}
_FUSED = {
    "RELU": Quantization((1 / 16,), (-128,)),
    "RELU6": Quantization((float(np.float32(6 / 255)),), (-128,)),
}
_KEPT = frozenset((
    "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESHAPE", "TRANSPOSE", "STRIDED_SLICE", "SLICE", "SPLIT",
    "UNPACK", "SQUEEZE", "EXPAND_DIMS", "GATHER",
))  # fmt: skip
"""Their outputs have the scale of their input."""
_WEIGHT_SCALES = (1 / 128, float(np.float32(1 / 160)))
"""In turn, since real scales differ from channel to channel, and constants with them."""


def _weight_scales(channels: int) -> tuple[float, ...]:
    return tuple(_WEIGHT_SCALES[channel % 2] for channel in range(channels))


class GraphBuilder:
    """Tensors and operators in execution order. Shapes have their batch of 1."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self._constants: dict[tuple[Any, ...], int] = {}
        self._step: int | None = None

    def begin_step(self, number: int | None) -> None:
        """Activations get quantizations of their own; with None the usual one again."""
        self._step = number

    def _ordinary(self) -> Quantization:
        """What an activation has that nothing fixes."""
        if self._step is None:
            return _ACTIVATION
        number = len(self.tensors)
        return Quantization((_ACTIVATION.scale * (1 + number % 8191 / 8192),), (number % 7 - 3,))

    def in_a_row(self, tensor: int) -> None:
        """All tensors that a PACK gathers have one scale."""
        self.tensors[tensor] = replace(self.tensors[tensor], quantization=_ACTIVATION)

    def finish(self, source: int, output: int) -> Graph:
        return Graph(self.name, tuple(self.tensors), tuple(self.operators), (source,), (output,))

    def activation(
        self, name: str, shape: Sequence[int], quantization: Quantization | None = _ACTIVATION,
        dtype: str = "int8",
    ) -> int:  # fmt: skip
        """A tensor that lives in RAM."""
        self.tensors.append(Tensor(name, tuple(shape), dtype, quantization))
        return len(self.tensors) - 1

    def shape(self, tensor: int) -> tuple[int, ...]:
        return self.tensors[tensor].shape

    def weights(self, name: str, shape: Sequence[int], axis: int = 0) -> int:
        """Int8 weights with one scale for each slice along `axis`."""
        channels = shape[axis]
        quantization = Quantization(
            _weight_scales(channels), (0,) * channels, axis if channels > 1 else None
        )
        return self._filled(name, shape, "int8", quantization)

    def bias(self, name: str, channels: int, scale: float = _ACTIVATION.scale) -> int:
        """Int32 biases with the scales that follow from the input's `scale` and the weights.

        Those of two scales differ, as they do in a file.
        """
        scales = tuple(scale * weights for weights in _weight_scales(channels))
        axis = 0 if channels > 1 else None
        quantization = Quantization(scales, (0,) * channels, axis)
        value = round(scale * 2**20) - round(_ACTIVATION.scale * 2**20)
        return self._filled(name, (channels,), "int32", quantization, value)

    def constant(self, name: str, shape: Sequence[int]) -> int:
        """An int8 constant that an elementwise operator reads."""
        return self._filled(name, shape, "int8", _CONSTANT)

    def _filled(
        self, name: str, shape: Sequence[int], dtype: str, q: Quantization, value: int = 0
    ) -> int:
        data = np.broadcast_to(np.array(value, dtype), tuple(shape))
        self.tensors.append(Tensor(name, tuple(shape), dtype, q, data))
        return len(self.tensors) - 1

    def numbers(self, values: npt.ArrayLike) -> int:
        """An int32 constant such as axes or a shape; equal ones share a tensor, as in TFLite."""
        data = np.array(values, np.int32)
        key = (data.shape, *data.ravel().tolist())
        if key not in self._constants:
            data.setflags(write=False)
            name = f"constant_{len(self._constants)}"
            self.tensors.append(Tensor(name, data.shape, "int32", None, data))
            self._constants[key] = len(self.tensors) - 1
        return self._constants[key]

    def _scale(self, kind: str, inputs: Sequence[int]) -> Quantization:
        """The quantization of an int8 output, as far as TFLite fixes it."""
        if kind in _KEPT:
            of = (self.tensors[i] for i in inputs if not self.tensors[i].is_constant)
            return next((t.quantization for t in of if t.quantization), _ACTIVATION)
        if kind == "CONCATENATION":
            return self._shared(inputs)
        return _FIXED.get(kind) or self._ordinary()

    def _shared(self, tensors: Sequence[int]) -> Quantization:
        """What all that a CONCATENATION joins have in common: that of the first."""
        shared = self.tensors[tensors[0]].quantization
        assert shared is not None
        for tensor in tensors:
            self.tensors[tensor] = replace(self.tensors[tensor], quantization=shared)
        return shared

    def emit(
        self, kind: str, inputs: Sequence[int], shape: Sequence[int], name: str, *,
        dtype: str = "int8", version: int = 1, **attributes: Any,
    ) -> int:  # fmt: skip
        """One operator with one output."""
        quantization = self._scale(kind, inputs) if dtype == "int8" else None
        if self._step is None:
            fused = str(attributes.get("fused_activation_function"))
            quantization = _FUSED.get(fused, quantization)
        output = self.activation(name, shape, quantization, dtype)
        self.operators.append(Operator(kind, tuple(inputs), (output,), attributes, version=version))
        return output

    def emit_many(
        self, kind: str, inputs: Sequence[int], shapes: Sequence[Sequence[int]], name: str,
        **attributes: Any,
    ) -> tuple[int, ...]:  # fmt: skip
        """One operator with several outputs, e.g. SPLIT."""
        quantization = self._scale(kind, inputs)
        outputs = tuple(
            self.activation(f"{name}_{i}", shape, quantization) for i, shape in enumerate(shapes)
        )
        self.operators.append(Operator(kind, tuple(inputs), outputs, attributes))
        return outputs

    # Operators that several layers are made of.

    def fully_connected(
        self, x: int, shape: Sequence[int], name: str, *, weights: int, bias: int = NO_TENSOR,
        fused: str = "NONE",
    ) -> int:  # fmt: skip
        """FULLY_CONNECTED over the last axis."""
        return self.emit(
            "FULLY_CONNECTED", (x, weights, bias), shape, name,
            fused_activation_function=fused, weights_format="DEFAULT",
            keep_num_dims=len(shape) > 2, asymmetric_quantize_inputs=False,
            quantized_bias_type="float32",
        )  # fmt: skip

    def reshape(self, x: int, shape: Sequence[int], name: str) -> int:
        if math.prod(shape) != self.tensors[x].elements:
            raise ValueError(f"{name}: {self.shape(x)} does not reshape to {tuple(shape)}")
        return self.emit("RESHAPE", (x, self.numbers(shape)), shape, name, new_shape=())

    def transpose(self, x: int, axes: Sequence[int], name: str) -> int:
        shape = tuple(self.shape(x)[a] for a in axes)
        return self.emit("TRANSPOSE", (x, self.numbers(axes)), shape, name)

    def add(self, x: int, y: int, name: str, fused: str = "NONE") -> int:
        shape = np.broadcast_shapes(self.shape(x), self.shape(y))
        return self.emit(
            "ADD", (x, y), shape, name, fused_activation_function=fused, pot_scale_int16=True
        )

    def multiply(self, x: int, y: int, name: str, fused: str = "NONE") -> int:
        shape = np.broadcast_shapes(self.shape(x), self.shape(y))
        return self.emit("MUL", (x, y), shape, name, fused_activation_function=fused)

    def unary(self, kind: str, x: int, name: str, **attributes: Any) -> int:
        return self.emit(kind, (x,), self.shape(x), name, **attributes)

    def softmax(self, x: int, name: str) -> int:
        """SOFTMAX over the last axis, of logits as a trained network has them."""
        logits: int | None = x
        while logits is not None:
            self.tensors[logits] = replace(self.tensors[logits], quantization=_LOGITS)
            made = next((o for o in self.operators if logits in o.outputs), None)
            logits = made.inputs[0] if made is not None and made.kind in _KEPT else None
        return self.emit("SOFTMAX", (x,), self.shape(x), name, beta=1.0)

    def mean(self, x: int, axes: int | Sequence[int], shape: Sequence[int], name: str) -> int:
        keep = len(shape) == len(self.shape(x))
        return self.emit("MEAN", (x, self.numbers(axes)), shape, name, keep_dims=keep)

    def batch_matmul(self, x: int, y: int, name: str, adj_y: bool = False) -> int:
        columns = self.shape(y)[-2 if adj_y else -1]
        shape = (*self.shape(x)[:-1], columns)
        return self.emit(
            "BATCH_MATMUL", (x, y), shape, name, adj_x=False, adj_y=adj_y,
            asymmetric_quantize_inputs=False,
        )  # fmt: skip
