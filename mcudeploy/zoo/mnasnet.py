# SPDX-License-Identifier: Apache-2.0
"""MnasNet: Tan et al., "MnasNet: platform-aware neural architecture search for mobile", CVPR 2019,
Figure 7 (A1) and the small model of its published code.
"""

from __future__ import annotations

from functools import partial

from mcudeploy.zoo.architecture import Architecture, channels, classes, resolution, width
from mcudeploy.zoo.claims import Claim, macs, top1, trainable
from mcudeploy.zoo.mobilenet_v2 import inverted_residual
from mcudeploy.zoo.net import Net, Value, divisible

Stage = tuple[int, int, int, int, int, bool]
_A1: tuple[Stage, ...] = (
    # expansion, kernel, filters, repeats, stride, squeeze-and-excite
    (1, 3, 16, 1, 1, False), (6, 3, 24, 2, 2, False), (3, 5, 40, 3, 2, True),
    (6, 3, 80, 4, 2, False), (6, 3, 112, 2, 1, True), (6, 5, 160, 3, 2, True),
    (6, 3, 320, 1, 1, False),
)  # fmt: skip
_SMALL: tuple[Stage, ...] = (
    (1, 3, 8, 1, 1, False), (3, 3, 16, 1, 2, False), (6, 3, 16, 2, 2, False),
    (6, 5, 32, 4, 2, True), (6, 3, 32, 3, 1, True), (6, 5, 88, 3, 2, True),
    (6, 3, 144, 1, 1, False),
)  # fmt: skip


def mnasnet(
    net: Net, stem: int, stages: tuple[Stage, ...], *, width: float, resolution: int,
    channels: int, classes: int,
) -> Value:  # fmt: skip
    x = net.input(resolution, resolution, channels)
    x = net.conv(x, divisible(stem * width), 3, 2, norm=True, activation="relu")
    for expansion, kernel, filters, repeats, stride, gated in stages:
        for unit in range(repeats):
            x = inverted_residual(
                net, x, expansion * x.channels, divisible(filters * width), kernel,
                stride if unit == 0 else 1, activation="relu",
                squeezed=max(1, x.channels // 4) if gated else 0,
            )  # fmt: skip
    x = net.conv(x, 1280, 1, norm=True, activation="relu")
    return net.dense(net.mean(x), classes, activation="softmax")


_OTHERS = (
    "the layers give 311.6M, and the paper prints 312M; 315M stands in MobileNetV3's comparison"
)
_PRINTED = (
    "the layers of the published code give 2.03M and 68.3M (2.01M weights alone); the paper prints "
    "no table of this model, so what its own count left out is not known"
)


def _entry(
    name: str, title: str, stem: int, stages: tuple[Stage, ...], *claims: Claim
) -> Architecture:
    return Architecture(
        name, "mnasnet", title, "Tan et al., CVPR 2019, arXiv:1807.11626",
        partial(mnasnet, stem=stem, stages=stages),
        (width(1.0, 0.35, 0.5, 0.75), resolution(224, 224, 192, 160, 128, 96, low=16), channels(),
         classes()),
        claims,
    )  # fmt: skip


ARCHITECTURES = (
    _entry(
        "mnasnet_a1", "MnasNet-A1", 32, _A1,
        trainable("3.9M"), macs("315M", _OTHERS), top1("75.2"),
    ),
    _entry(
        "mnasnet_small", "MnasNet-small", 8, _SMALL,
        trainable("1.9M", _PRINTED), macs("65.1M", _PRINTED), top1("64.9"),
    ),
)  # fmt: skip
