# SPDX-License-Identifier: Apache-2.0
"""The four networks of MLPerf Tiny: Banbury et al., "MLPerf Tiny benchmark", NeurIPS 2021
(arXiv:2106.07597), layer by layer as its reference models have them.
"""

from __future__ import annotations

from mcudeploy.zoo.architecture import Architecture, Option, channels, classes, resolution
from mcudeploy.zoo.claims import Claim, macs
from mcudeploy.zoo.mobilenet_v1 import separable_body
from mcudeploy.zoo.net import Net, Value


def ds_cnn(net: Net, *, frames: int, features: int, filters: int, classes: int) -> Value:
    """Keyword spotting: 49 frames of 10 MFCCs."""
    x = net.input(frames, features, 1)
    x = net.conv(x, filters, (10, 4), 2, norm=True, activation="relu")
    for _ in range(4):
        x = net.depthwise(x, 3, norm=True, activation="relu")
        x = net.conv(x, filters, 1, norm=True, activation="relu")
    return _head(net, x, classes)


def visual_wake_words(
    net: Net, *, width: float, resolution: int, channels: int, classes: int
) -> Value:
    """Person or not: MobileNetV1 at a quarter of its width."""
    return _head(net, separable_body(net, width, resolution, channels), classes)


def resnet8(net: Net, *, resolution: int, channels: int, classes: int, filters: int) -> Value:
    """CIFAR-10: three residual stacks of one unit."""
    x = net.input(resolution, resolution, channels)
    x = net.conv(x, filters, 3, norm=True, activation="relu")
    for stack in range(3):
        width, stride = filters << stack, 2 if stack else 1
        y = net.conv(x, width, 3, stride, norm=True, activation="relu")
        y = net.conv(y, width, 3, norm=True)
        x = net.conv(x, width, 1, stride) if stack else x
        x = net.add(x, y, activation="relu")
    return _head(net, x, classes)


def autoencoder(net: Net, *, features: int, units: int, code: int) -> Value:
    """Anomaly detection: 5 frames of 128 mel bands, squeezed through a code of 8."""
    x = net.input(features)
    for width in (*[units] * 4, code, *[units] * 4):
        x = net.dense(x, width, norm=True, activation="relu")
    return net.dense(x, features)


def _head(net: Net, x: Value, classes: int) -> Value:
    """Average pooling over the whole map, as the reference models write it."""
    size = x.shape[0], x.shape[1]
    x = net.flatten(net.average_pool(x, size, size))
    return net.dense(x, classes, activation="softmax")


_PAPER = "Banbury et al., NeurIPS 2021, arXiv:2106.07597"


_SHAPE = "the published count holds the 8 bytes of the RESHAPE's shape too"


def _weights_bytes(published: str, explanation: str = "") -> Claim:
    return Claim("weights, bytes", published, lambda c: c.weights_bytes,
                 "int8 weights and int32 biases, batch norm folded", explanation)  # fmt: skip


ARCHITECTURES = (
    Architecture(
        "ds_cnn", "ds_cnn", "DS-CNN (MLPerf Tiny, keyword spotting)", _PAPER, ds_cnn,
        (
            Option("frames", 49, "time steps", low=10, high=1024),
            Option("features", 10, "MFCCs in each frame", low=4, high=256),
            Option("filters", 64, "channels of every layer", low=1, high=1024,
                   members=(64, 32, 48, 96, 172)),
            classes(12),
        ),
        (macs("2,656,768"), _weights_bytes("24,376", _SHAPE)),
    ),
    Architecture(
        "vww", "vww", "MobileNetV1 0.25 (MLPerf Tiny, visual wake words)", _PAPER,
        visual_wake_words,
        (
            Option("width", 0.25, "multiplies the channels of every layer", low=0.05, high=4.0,
                   members=(0.25, 0.5)),
            resolution(96, 96, 64, 80, 128, 160, low=16), channels(), classes(2),
        ),
        (macs("7,489,664"), _weights_bytes("219,072", _SHAPE)),
    ),
    Architecture(
        "resnet8", "resnet8", "ResNet8 (MLPerf Tiny, image classification)", _PAPER, resnet8,
        (
            resolution(32, 32, 48, 64, low=4), channels(), classes(10),
            Option("filters", 16, "channels of the first stack", low=1, high=256,
                   members=(16, 8, 24, 32)),
        ),
        (macs("12,501,632"), _weights_bytes("78,752", _SHAPE)),
    ),
    Architecture(
        "autoencoder", "autoencoder", "Autoencoder (MLPerf Tiny, anomaly detection)", _PAPER,
        autoencoder,
        (
            Option("features", 640, "values in and out", low=1, high=65536),
            Option("units", 128, "units of the hidden layers", low=1, high=4096,
                   members=(128, 64, 32)),
            Option("code", 8, "units of the narrowest layer", low=1, high=4096),
        ),
        (macs("264,192"), _weights_bytes("270,880")),
    ),
)  # fmt: skip
