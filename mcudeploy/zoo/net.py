# SPDX-License-Identifier: Apache-2.0
"""How an architecture is written down: once, as a list of layers with their shapes.

An architecture file calls the methods of `Net` in the order of its paper. Each call appends one
`Layer` (or a short run of them: convolution, batch norm, activation) and hands back a `Value`,
the layer's output, whose shape is known at once. Nothing is computed. The same list then becomes
counts (`counting.py`), the int8 graph of its deployment (`lowering.py`) or a Keras model
(`keras_backend.py`), so the three cannot drift apart.

Shapes are HWC for feature maps, (t, k) for sequences and (k,) for vectors, batch left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from mcudeploy.errors import InputError

Padding = Literal["same", "valid"]
Size = int | tuple[int, int]
Shape = tuple[int, ...]

ACTIVATIONS = (
    "relu", "relu6", "tanh", "sigmoid", "softmax", "hard_swish", "hard_sigmoid", "swish", "gelu",
)  # fmt: skip
"""What `Net.activation` takes; swish is SiLU, sigmoid is TFLite's LOGISTIC."""


@dataclass(frozen=True)
class Value:
    """The output of layer `index`."""

    index: int
    shape: Shape

    @property
    def channels(self) -> int:
        return self.shape[-1]


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer: what it is, what it reads (positions of earlier layers), what it gives."""

    kind: str
    name: str
    inputs: tuple[int, ...]
    shape: Shape
    options: Mapping[str, Any]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Network:
    """A finished architecture: its layers in order, the last one its output."""

    name: str
    layers: tuple[Layer, ...]

    @property
    def input_shape(self) -> Shape:
        return self.layers[0].shape


def divisible(channels: float, divisor: int = 8) -> int:
    """`channels` rounded to a multiple of `divisor`, never below 90 % (MobileNetV2's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


class Net:
    """The builder. One input; the last value made is the output."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._layers: list[Layer] = []
        self._names: dict[str, int] = {}

    def finish(self, output: Value) -> Network:
        """The network that ends in `output`."""
        if output.index != len(self._layers) - 1:
            raise ValueError(f"{self.name}: layers were added behind the output")
        return Network(self.name, tuple(self._layers))

    def _add(self, kind: str, inputs: tuple[Value, ...], shape: Shape, **options: Any) -> Value:
        if any(size < 1 for size in shape):
            raise InputError(
                f"{self.name} shrinks to nothing with these options",
                where=f"layer {kind}, output {'x'.join(map(str, shape))}",
                mend="choose a larger resolution or width",
            )
        stem = options.pop("name", None) or kind
        self._names[stem] = self._names.get(stem, 0) + 1
        name = stem if self._names[stem] == 1 else f"{stem}_{self._names[stem]}"
        positions = tuple(value.index for value in inputs)
        self._layers.append(Layer(kind, name, positions, shape, MappingProxyType(options)))
        return Value(len(self._layers) - 1, shape)

    def input(self, *shape: int) -> Value:
        return self._add("input", (), shape)

    def conv(
        self, x: Value, filters: int, kernel: Size, stride: Size = 1, *, padding: Padding = "same",
        groups: int = 1, norm: bool = False, bias: bool | None = None,
        activation: str | None = None, name: str | None = None,
    ) -> Value:  # fmt: skip
        """R x S convolution; a bias unless batch norm follows, or `bias` says otherwise."""
        if x.channels % groups or filters % groups:
            raise InputError(
                f"{groups} groups do not divide {x.channels} input and {filters} output channels",
                where=f"{self.name}, {name or 'conv'}",
                mend="choose another number of groups or another width",
            )
        shape = (*_slide(x.shape[:2], _pair(kernel), _pair(stride), padding), filters)
        y = self._add(
            "conv", (x,), shape, kernel=_pair(kernel), stride=_pair(stride), padding=padding,
            groups=groups, bias=not norm if bias is None else bias, name=name,
        )  # fmt: skip
        return self._finish(y, norm, activation)

    def depthwise(
        self, x: Value, kernel: Size, stride: Size = 1, *, padding: Padding = "same",
        norm: bool = False, activation: str | None = None, name: str | None = None,
    ) -> Value:  # fmt: skip
        """One R x S filter for each channel."""
        shape = (*_slide(x.shape[:2], _pair(kernel), _pair(stride), padding), x.channels)
        y = self._add(
            "depthwise", (x,), shape, kernel=_pair(kernel), stride=_pair(stride), padding=padding,
            bias=not norm, name=name,
        )  # fmt: skip
        return self._finish(y, norm, activation)

    def dense(
        self, x: Value, units: int, *, norm: bool = False, activation: str | None = None,
        name: str | None = None,
    ) -> Value:  # fmt: skip
        """Fully connected over the last axis, at each position of a sequence."""
        y = self._add("dense", (x,), (*x.shape[:-1], units), bias=not norm, name=name)
        return self._finish(y, norm, activation)

    def _finish(self, y: Value, norm: bool, activation: str | None) -> Value:
        y = self.norm(y) if norm else y
        return self.activation(y, activation) if activation else y

    def norm(self, x: Value) -> Value:
        """Batch normalization with its four parameters a channel."""
        return self._add("norm", (x,), x.shape)

    def activation(self, x: Value, function: str) -> Value:
        if function not in ACTIVATIONS:
            raise ValueError(f"no activation {function!r}")
        return self._add("activation", (x,), x.shape, function=function, name=function)

    def max_pool(
        self, x: Value, size: Size, stride: Size, padding: Padding = "valid",
        name: str | None = None,
    ) -> Value:  # fmt: skip
        return self._pool("max", x, size, stride, padding, name)

    def average_pool(
        self, x: Value, size: Size, stride: Size, padding: Padding = "valid",
        name: str | None = None,
    ) -> Value:  # fmt: skip
        return self._pool("average", x, size, stride, padding, name)

    def _pool(
        self, how: str, x: Value, size: Size, stride: Size, padding: Padding, name: str | None
    ) -> Value:
        shape = (*_slide(x.shape[:2], _pair(size), _pair(stride), padding), x.channels)
        return self._add(
            "pool", (x,), shape, how=how, kernel=_pair(size), stride=_pair(stride),
            padding=padding, name=name or f"{how}_pool",
        )  # fmt: skip

    def mean(self, x: Value, *, keep: bool = False) -> Value:
        """Global average over all but the last axis; `keep` leaves those axes, of size 1."""
        shape = (1,) * (len(x.shape) - 1) * keep + x.shape[-1:]
        return self._add("mean", (x,), shape, keep=keep, rank=len(x.shape))

    def add(self, *values: Value, activation: str | None = None) -> Value:
        """The sum of two maps of one shape."""
        return self._finish(self._add("add", values, values[0].shape), False, activation)

    def multiply(self, x: Value, gate: Value) -> Value:
        """`x` times `gate`, which may be 1 x 1 x C."""
        return self._add("multiply", (x, gate), x.shape)

    def concat(self, *values: Value, name: str | None = None) -> Value:
        """Maps behind each other along the channels."""
        channels = sum(value.channels for value in values)
        return self._add("concat", values, (*values[0].shape[:-1], channels), name=name)

    def reshape(self, x: Value, *shape: int) -> Value:
        return self._add("reshape", (x,), shape)

    def flatten(self, x: Value) -> Value:
        return self._add("reshape", (x,), (math.prod(x.shape),), name="flatten")

    def permute(self, x: Value, *axes: int) -> Value:
        """Axes in a new order, counted from 1 (0 is the batch), as Keras counts them."""
        return self._add("permute", (x,), tuple(x.shape[a - 1] for a in axes), axes=axes)

    def channel_shuffle(self, x: Value, groups: int) -> Value:
        """Channel i of group j becomes channel j of group i (ShuffleNet)."""
        h, w, c = x.shape
        y = self.reshape(x, h, w, groups, c // groups)
        return self.reshape(self.permute(y, 1, 2, 4, 3), h, w, c)

    def recurrent(
        self, x: Value, cell: Literal["rnn", "lstm", "gru"], units: int, *, sequence: bool = False
    ) -> Value:
        """A recurrent layer over (t, k); `sequence` gives all steps' outputs, not only the last."""
        shape = (x.shape[0], units) if sequence else (units,)
        return self._add("recurrent", (x,), shape, cell=cell, sequence=sequence, name=cell)

    def attention(self, x: Value, heads: int) -> Value:
        """Multi-head self-attention over (t, k) with its four projections."""
        if x.channels % heads:
            raise InputError(
                f"{heads} heads do not divide {x.channels} units", where=self.name,
                mend="choose a number of units that is a multiple of the heads",
            )  # fmt: skip
        return self._add("attention", (x,), x.shape, heads=heads)

    def layer_norm(self, x: Value) -> Value:
        return self._add("layer_norm", (x,), x.shape)

    def weighted_sum(self, x: Value, weights: Value) -> Value:
        """sum over t of weights[t] * x[t]: (t, k) and weights (1, t) give (1, k)."""
        return self._add("weighted_sum", (weights, x), (1, x.channels))


def _slide(
    size: tuple[int, ...], kernel: tuple[int, int], stride: tuple[int, int], padding: Padding
) -> tuple[int, int]:
    """Rows and columns of the output of a sliding window."""
    e, f = (
        -(-i // s) if padding == "same" else (i - k) // s + 1
        for i, k, s in zip(size, kernel, stride, strict=True)
    )
    return e, f
