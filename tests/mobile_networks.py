# SPDX-License-Identifier: Apache-2.0
"""MobileNets V1 and V2 of any width as .tflite files with random weights: shapes are what counts.

Weights are drawn so that maps neither vanish nor saturate with depth.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tflite_builder import ModelBuilder

_SCALE = 0.05
_V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2),
       (1024, 1))  # fmt: skip
"""Filters of the pointwise layer and stride of the depthwise layer before it."""
_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
       (6, 320, 1, 1))  # fmt: skip
"""Expansion, filters, repeats, stride."""
Map = tuple[int, int, int]
"""A tensor, its side and its channels."""


class _Mobile:
    def __init__(self, resolution: int) -> None:
        self.random = np.random.default_rng(1)
        self.b = ModelBuilder()
        self.x: Map = (
            self.b.input((1, resolution, resolution, 3), scale=_SCALE, zero_point=-3),
            resolution, 3,
        )  # fmt: skip

    def conv(self, x: Map, filters: int, kernel: int = 1, stride: int = 1, *,
             activation: str = "RELU6") -> Map:  # fmt: skip
        """`filters` 0: depthwise."""
        tensor, side, channels = x
        out_c, out = filters or channels, -(-side // stride)
        shape = (1, kernel, kernel, out_c) if not filters else (out_c, kernel, kernel, channels)
        scale = 2.0 / (127 * (kernel * kernel * (channels if filters else 1)) ** 0.5)
        weights = self.random.integers(-127, 128, shape).astype(np.int8)
        bias = self.random.integers(-500, 500, out_c).astype(np.int32)
        inputs = [
            tensor,
            self.b.constant(weights, scale=[scale] * out_c, axis=0 if filters else 3),
            self.b.constant(bias, scale=[scale * _SCALE] * out_c),
        ]
        made = self.b.tensor((1, out, out, out_c), scale=_SCALE, zero_point=-3)
        kind = "CONV_2D" if filters else "DEPTHWISE_CONV_2D"
        more = {} if filters else {"depth_multiplier": 1}
        self.b.operator(
            kind, inputs, made, padding="SAME", stride_h=stride, stride_w=stride,
            dilation_h_factor=1, dilation_w_factor=1, fused_activation_function=activation, **more,
        )  # fmt: skip
        return made, out, out_c

    def end(self, x: Map, classes: int = 10) -> bytes:
        tensor, _, channels = x
        axes = self.b.constant(np.array([1, 2], np.int32))
        mean = self.b.tensor((1, channels), scale=_SCALE, zero_point=-3)
        self.b.operator("MEAN", [tensor, axes], mean, keep_dims=False)
        scale = 1.0 / (127 * channels**0.5)
        weights = self.random.integers(-127, 128, (classes, channels)).astype(np.int8)
        inputs = [
            mean,
            self.b.constant(weights, scale=scale),
            self.b.constant(np.zeros(classes, np.int32), scale=scale * _SCALE),
        ]
        made = self.b.tensor((1, classes), scale=_SCALE)
        self.b.operator("FULLY_CONNECTED", inputs, made, fused_activation_function="NONE")
        return self.b.build([made])


def mobilenet_v1(width: float, resolution: int) -> bytes:
    net = _Mobile(resolution)
    x = net.conv(net.x, int(32 * width), 3, 2)
    for filters, stride in _V1:
        x = net.conv(net.conv(x, 0, 3, stride), int(filters * width))
    return net.end(x)


def mobilenet_v2(channels: Callable[[int], int], resolution: int) -> bytes:
    """`channels`: how many a layer has in place of the paper's."""
    net = _Mobile(resolution)
    x = net.conv(net.x, channels(32), 3, 2)
    for expansion, filters, repeats, stride in _V2:
        for unit in range(repeats):
            y = net.conv(x, expansion * x[2]) if expansion > 1 else x
            y = net.conv(y, 0, 3, stride if unit == 0 else 1)
            y = net.conv(y, channels(filters), activation="NONE")
            if y[1:] == x[1:]:
                made = net.b.tensor((1, y[1], y[1], y[2]), scale=_SCALE, zero_point=-3)
                net.b.operator("ADD", [x[0], y[0]], made, fused_activation_function="NONE")
                y = (made, y[1], y[2])
            x = y
    return net.end(net.conv(x, max(1280, channels(1280))))


def keras_channels(width: float) -> Callable[[int], int]:
    """Multiples of 8, as Keras rounds them."""

    def rounded(channels: int) -> int:
        wanted = channels * width
        near = max(8, int(wanted + 4) // 8 * 8)
        return near + 8 if near < 0.9 * wanted else near

    return rounded
