# SPDX-License-Identifier: Apache-2.0
"""Networks with the layers of MLPerf Tiny's and TFLM's, and single layers of 60 shapes.

Their weights are drawn from a seed, so they are the same on every machine: what is counted over
them can be written down. Activations have a deviation of some 40 steps wherever one looks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tflite_builder import ModelBuilder

from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import Graph

_SCALE = 0.1
_DEVIATION = 40.0


class Chain:
    """A network layer by layer; `at` is the tensor that the next one reads."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name = name
        self._builder = ModelBuilder()
        self._random = np.random.default_rng(sum(map(ord, name)))
        self._shapes: dict[int, tuple[int, ...]] = {}
        self.at = self._builder.input((1, *shape), scale=_SCALE, zero_point=-5)
        self._shapes[self.at] = shape

    def graph(self) -> Graph:
        return read_tflite(self._builder.build([self.at]), self.name)

    def _output(self, shape: tuple[int, ...], zero_point: int, scale: float = _SCALE) -> int:
        index = self._builder.tensor((1, *shape), scale=scale, zero_point=zero_point)
        self._shapes[index] = shape
        return index

    def _weights(self, shape: tuple[int, ...], taps: int, axis: int, *, rows: bool) -> list[int]:
        """Weights and a bias; `rows` gives each output channel a scale of its own."""
        values = np.clip(self._random.normal(0, _DEVIATION, shape), -127, 127).astype(np.int8)
        count = shape[axis]
        spread = self._random.uniform(0.7, 1.4, count if rows else 1)
        scales = (spread / (_DEVIATION * taps**0.5)).tolist()
        bias = self._random.normal(0, 20 * _DEVIATION * taps**0.5, count).astype(np.int32)
        return [
            self._builder.constant(values, scale=scales, axis=axis),
            self._builder.constant(bias, scale=[_SCALE * scale for scale in scales]),
        ]

    def conv(
        self, channels: int, kernel: tuple[int, int] = (3, 3), stride: int = 1,
        padding: str = "SAME", relu: bool = True, depthwise: bool = False,
    ) -> Chain:  # fmt: skip
        """A convolution; for a depthwise one `channels` counts outputs of each input channel."""
        h, w, c = self._shapes[self.at]
        reach = (1, 1) if padding == "SAME" else kernel
        size = [-(-(n - k + 1) // stride) for n, k in zip((h, w), reach, strict=True)]
        options = {"padding": padding, "stride_h": stride, "stride_w": stride,
                   "dilation_h_factor": 1, "dilation_w_factor": 1,
                   "fused_activation_function": "RELU" if relu else "NONE"}  # fmt: skip
        if depthwise:
            out_c = c * channels
            constants = self._weights((1, *kernel, out_c), kernel[0] * kernel[1], 3, rows=True)
            options["depth_multiplier"] = channels
        else:
            out_c, taps = channels, kernel[0] * kernel[1] * c
            constants = self._weights((out_c, *kernel, c), taps, 0, rows=True)
        kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        output = self._output((size[0], size[1], out_c), -128 if relu else 7)
        self.at = self._builder.operator(kind, [self.at, *constants], output, **options)
        return self

    def depthwise(
        self, kernel: tuple[int, int] = (3, 3), stride: int = 1, multiplier: int = 1
    ) -> Chain:
        return self.conv(multiplier, kernel, stride, depthwise=True)

    def dense(self, units: int, *, relu: bool = False) -> Chain:
        flat = int(np.prod(self._shapes[self.at]))
        if len(self._shapes[self.at]) > 1:
            output = self._output((flat,), -128)
            self.at = self._builder.operator("RESHAPE", [self.at], output, new_shape=[1, flat])
        constants = self._weights((units, flat), flat, 0, rows=False)
        self.at = self._builder.operator(
            "FULLY_CONNECTED", [self.at, *constants], self._output((units,), -128 if relu else 7),
            fused_activation_function="RELU" if relu else "NONE",
        )  # fmt: skip
        return self

    def pool(self, kernel: tuple[int, int], kind: str = "AVERAGE_POOL_2D") -> Chain:
        h, w, c = self._shapes[self.at]
        output = self._output((h // kernel[0], w // kernel[1], c), -128)
        self.at = self._builder.operator(
            kind, [self.at], output, padding="VALID", stride_h=kernel[0], stride_w=kernel[1],
            filter_height=kernel[0], filter_width=kernel[1],
        )  # fmt: skip
        return self

    def add(self, other: int) -> Chain:
        output = self._output(self._shapes[self.at], -128, 1.3 * _SCALE)
        self.at = self._builder.operator(
            "ADD", [other, self.at], output, fused_activation_function="RELU"
        )
        return self

    def softmax(self) -> Chain:
        output = self._output(self._shapes[self.at], -128, 1 / 256)
        self.at = self._builder.operator("SOFTMAX", [self.at], output, beta=1.0)
        return self


def keyword_spotting() -> Graph:
    """DS-CNN."""
    chain = Chain("keyword_spotting", (49, 10, 1)).conv(64, (10, 4), 2)
    for _ in range(4):
        chain.depthwise().conv(64, (1, 1))
    return chain.pool((25, 5)).dense(12).softmax().graph()


def wake_words() -> Graph:
    """MobileNetV1 of width 0.25 at 96x96."""
    chain = Chain("wake_words", (96, 96, 3)).conv(8, stride=2)
    blocks = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2))
    for channels, stride in (*blocks, *[(128, 1)] * 5, (256, 2), (256, 1)):
        chain.depthwise(stride=stride).conv(channels, (1, 1))
    return chain.pool((3, 3)).dense(2).softmax().graph()


def pictures() -> Graph:
    """ResNet8."""
    chain = Chain("pictures", (32, 32, 3)).conv(16)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        before = chain.at
        after = chain.conv(channels, stride=stride).conv(channels, relu=False).at
        chain.at = before
        if stride > 1:
            chain.conv(channels, (1, 1), stride, relu=False)
        chain.add(after)
    return chain.pool((8, 8)).dense(10).softmax().graph()


def anomalies() -> Graph:
    """The dense autoencoder."""
    chain = Chain("anomalies", (640,))
    for units in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        chain.dense(units, relu=True)
    return chain.dense(640).graph()


def speech() -> Graph:
    """TFLM's micro_speech: one input channel, depthwise to eight."""
    return Chain("speech", (49, 40, 1)).depthwise((10, 8), 2, 8).dense(4).softmax().graph()


def sine() -> Graph:
    """TFLM's hello_world."""
    return Chain("sine", (1,)).dense(16, relu=True).dense(16, relu=True).dense(1).graph()


NETWORKS: dict[str, Callable[[], Graph]] = {
    "keyword_spotting": keyword_spotting,
    "wake_words": wake_words,
    "pictures": pictures,
    "anomalies": anomalies,
    "speech": speech,
    "sine": sine,
}


@dataclass(frozen=True)
class LayerShape:
    """A layer of the sweep. `channels` is (in, out), depthwise (in, multiplier)."""

    kind: str
    size: tuple[int, int]
    channels: tuple[int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"

    @property
    def text(self) -> str:
        size, channels, kernel = ("x".join(map(str, v)) for v in
                                  (self.size, self.channels, self.kernel))  # fmt: skip
        return f"{self.kind} {size} {channels} {kernel} stride {self.stride} {self.padding}"

    def graph(self) -> Graph:
        if self.kind == "dense":
            return Chain(self.text, self.channels[:1]).dense(self.channels[1]).graph()
        chain = Chain(self.text, (*self.size, self.channels[0]))
        depthwise = self.kind == "depthwise"
        return chain.conv(
            self.channels[1], self.kernel, self.stride, self.padding, depthwise=depthwise
        ).graph()


def _conv(
    h: int, w: int, i: int, o: int, kh: int, kw: int, stride: int = 1, padding: str = "SAME"
) -> LayerShape:
    return LayerShape("conv", (h, w), (i, o), (kh, kw), stride, padding)


def _depthwise(
    h: int, w: int, c: int, m: int, kh: int, kw: int, stride: int = 1, padding: str = "SAME"
) -> LayerShape:
    return LayerShape("depthwise", (h, w), (c, m), (kh, kw), stride, padding)


def _dense(i: int, o: int) -> LayerShape:
    return LayerShape("dense", (1, 1), (i, o))


SWEEP = (
    _conv(1, 1, 1, 1, 1, 1), _conv(1, 1, 256, 256, 1, 1), _conv(1, 1, 7, 5, 1, 1),
    _conv(3, 3, 256, 64, 1, 1), _conv(6, 6, 128, 128, 1, 1), _conv(12, 12, 64, 64, 1, 1),
    _conv(7, 7, 30, 50, 1, 1), _conv(24, 24, 32, 16, 1, 1), _conv(28, 28, 16, 24, 1, 1),
    _conv(48, 48, 8, 16, 1, 1), _conv(56, 56, 3, 8, 1, 1), _conv(112, 112, 1, 4, 1, 1),
    _conv(112, 112, 4, 1, 1, 1), _conv(14, 14, 48, 13, 1, 1), _conv(14, 14, 6, 96, 1, 1),
    _conv(16, 16, 16, 32, 1, 1, 2), _conv(13, 13, 10, 10, 1, 1, 2),
    _conv(96, 96, 3, 8, 3, 3, 2), _conv(112, 112, 3, 8, 3, 3, 2), _conv(112, 112, 1, 4, 3, 3, 2),
    _conv(32, 32, 3, 16, 3, 3), _conv(28, 28, 1, 6, 5, 5), _conv(28, 28, 1, 8, 3, 3, 1, "VALID"),
    _conv(32, 32, 16, 16, 3, 3), _conv(16, 16, 16, 32, 3, 3, 2), _conv(16, 16, 32, 32, 3, 3),
    _conv(8, 8, 64, 64, 3, 3), _conv(8, 8, 5, 7, 3, 3), _conv(10, 10, 6, 16, 5, 5, 1, "VALID"),
    _conv(5, 5, 9, 3, 2, 2), _conv(20, 20, 3, 6, 7, 7, 2), _conv(9, 9, 2, 2, 7, 7),
    _conv(4, 4, 12, 40, 4, 4, 1, "VALID"), _conv(49, 10, 1, 64, 10, 4, 2),
    _conv(1, 128, 9, 16, 1, 5), _conv(1, 64, 16, 32, 1, 3, 1, "VALID"), _conv(1, 200, 3, 8, 1, 7),
    _conv(1, 96, 4, 8, 1, 3, 2), _conv(2, 2, 3, 3, 3, 3),
    _depthwise(48, 48, 8, 1, 3, 3), _depthwise(48, 48, 16, 1, 3, 3, 2),
    _depthwise(24, 24, 32, 1, 3, 3), _depthwise(12, 12, 64, 1, 3, 3, 2),
    _depthwise(6, 6, 128, 1, 3, 3), _depthwise(3, 3, 256, 1, 3, 3), _depthwise(25, 5, 64, 1, 3, 3),
    _depthwise(14, 14, 30, 1, 5, 5), _depthwise(7, 7, 6, 1, 7, 7), _depthwise(5, 5, 3, 1, 3, 3),
    _depthwise(56, 56, 6, 1, 3, 3, 1, "VALID"), _depthwise(4, 4, 13, 1, 3, 3, 2),
    _depthwise(49, 40, 1, 8, 10, 8, 2), _depthwise(9, 9, 4, 2, 3, 3),
    _depthwise(1, 100, 12, 1, 1, 5), _depthwise(2, 2, 64, 1, 3, 3),
    _dense(1, 16), _dense(16, 1), _dense(64, 12), _dense(255, 31), _dense(1024, 10),
)  # fmt: skip
"""From 1 to 256 channels, kernels from 1x1 to 10x8, maps from 1x1 to 112x112."""
