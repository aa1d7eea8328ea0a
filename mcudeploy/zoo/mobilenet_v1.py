# SPDX-License-Identifier: Apache-2.0
"""MobileNetV1: Howard et al., "MobileNets: efficient convolutional neural networks for mobile
vision applications", 2017, arXiv:1704.04861: Table 1, and the plain and shallow twins of its
comparisons.
"""

from __future__ import annotations

from mcudeploy.zoo.architecture import Architecture, Option, channels, classes, resolution, width
from mcudeploy.zoo.claims import (
    Claim,
    kernels,
    macs,
    macs_without_classifier,
    top1,
    trainable,
)
from mcudeploy.zoo.net import Net, Value

_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
_SHALLOW = _BLOCKS[:6] + _BLOCKS[11:]
"""Without the five blocks of 14 x 14 x 512."""


def mobilenet_v1(
    net: Net, *, width: float, resolution: int, channels: int, classes: int, variant: str
) -> Value:
    x = separable_body(net, width, resolution, channels, variant)
    return net.dense(net.mean(x), classes, activation="softmax")


def separable_body(
    net: Net, width: float, resolution: int, channels: int, variant: str = "separable"
) -> Value:
    """All layers but the head."""
    x = net.input(resolution, resolution, channels)
    x = net.conv(x, max(1, int(32 * width)), 3, 2, norm=True, activation="relu")
    for filters, stride in _SHALLOW if variant == "shallow" else _BLOCKS:
        filters = max(1, int(filters * width))
        if variant == "plain":
            x = net.conv(x, filters, 3, stride, norm=True, activation="relu")
        else:
            x = net.depthwise(x, 3, stride, norm=True, activation="relu")
            x = net.conv(x, filters, 1, norm=True, activation="relu")
    return x


def _macs_share(kind: str, published: str, explanation: str = "") -> Claim:
    return Claim(
        f"share of MACs, {kind}", published, lambda c: c.by_kind()[kind][0] / c.macs,
        "all layers", explanation,
    )  # fmt: skip


def _kernels_share(kind: str, published: str, explanation: str = "") -> Claim:
    return Claim(
        f"share of parameters, {kind}", published, lambda c: c.by_kind()[kind][1] / c.kernels,
        "weights alone, no biases, no batch norm", explanation,
    )  # fmt: skip


_CUT = "{} with the classifier, cut off where the others are rounded; {} without it"

ARCHITECTURES = (
    Architecture(
        "mobilenet_v1", "mobilenet_v1", "MobileNetV1", "Howard et al., 2017, arXiv:1704.04861",
        mobilenet_v1,
        (
            width(1.0, 0.75, 0.5, 0.25), resolution(224, 224, 192, 160, 128, low=16),
            channels(), classes(),
            Option("variant", "separable", "plain: 3x3 convolutions; shallow: five blocks fewer",
                   ("separable", "plain", "shallow"), members=("separable",)),
        ),
        (
            trainable("4.2M"), macs("569M"), top1("70.6"),
            trainable("2.6M", width=0.75), macs("325M", width=0.75), top1("68.4", width=0.75),
            trainable("1.3M", width=0.5), macs("149M", width=0.5), top1("63.7", width=0.5),
            trainable("0.5M", width=0.25), macs("41M", width=0.25), top1("50.6", width=0.25),
            macs("418M", resolution=192), top1("69.1", resolution=192),
            macs("290M", _CUT.format("290.68M", "289.66M"), resolution=160),
            top1("67.2", resolution=160),
            macs("186M", resolution=128), top1("64.4", resolution=128),
            kernels("1.32M", width=0.5, resolution=160),
            macs("76M", _CUT.format("76.52M", "76.00M"), width=0.5, resolution=160),
            top1("60.2", width=0.5, resolution=160),
            _macs_share("conv 1x1", "94.86%"), _kernels_share("conv 1x1", "74.59%"),
            _macs_share("depthwise 3x3", "3.06%"), _kernels_share("depthwise 3x3", "1.06%"),
            _macs_share("conv 3x3", "1.19%",
                        "10,838,016 of 568.74M are 1.91 %: two digits look swapped, the printed "
                        "four shares sum to 99.29 %"),
            _kernels_share("conv 3x3", "0.02%"),
            _macs_share("dense", "0.18%"), _kernels_share("dense", "24.33%"),
            trainable("29.3M", variant="plain"),
            macs_without_classifier("4866M", variant="plain"), top1("71.7", variant="plain"),
            trainable("2.9M", variant="shallow"), macs("307M", variant="shallow"),
            top1("65.3", variant="shallow"),
        ),
    ),
)  # fmt: skip
