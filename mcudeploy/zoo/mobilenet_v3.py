# SPDX-License-Identifier: Apache-2.0
"""MobileNetV3: Howard et al., "Searching for MobileNetV3", ICCV 2019, Tables 1 and 2."""

from __future__ import annotations

from functools import partial

from mcudeploy.zoo.architecture import Architecture, channels, classes, resolution, width
from mcudeploy.zoo.claims import Claim, kernels, macs, top1, trainable
from mcudeploy.zoo.mobilenet_v2 import inverted_residual
from mcudeploy.zoo.net import Net, Value, divisible

_RE, _HS = "relu", "hard_swish"
_LARGE = (
    # kernel, expanded, filters, squeeze-and-excite, activation, stride
    (3, 16, 16, False, _RE, 1), (3, 64, 24, False, _RE, 2), (3, 72, 24, False, _RE, 1),
    (5, 72, 40, True, _RE, 2), (5, 120, 40, True, _RE, 1), (5, 120, 40, True, _RE, 1),
    (3, 240, 80, False, _HS, 2), (3, 200, 80, False, _HS, 1), (3, 184, 80, False, _HS, 1),
    (3, 184, 80, False, _HS, 1), (3, 480, 112, True, _HS, 1), (3, 672, 112, True, _HS, 1),
    (5, 672, 160, True, _HS, 2), (5, 960, 160, True, _HS, 1), (5, 960, 160, True, _HS, 1),
)  # fmt: skip
_SMALL = (
    (3, 16, 16, True, _RE, 2), (3, 72, 24, False, _RE, 2), (3, 88, 24, False, _RE, 1),
    (5, 96, 40, True, _HS, 2), (5, 240, 40, True, _HS, 1), (5, 240, 40, True, _HS, 1),
    (5, 120, 48, True, _HS, 1), (5, 144, 48, True, _HS, 1), (5, 288, 96, True, _HS, 2),
    (5, 576, 96, True, _HS, 1), (5, 576, 96, True, _HS, 1),
)  # fmt: skip

Block = tuple[int, int, int, bool, str, int]


def mobilenet_v3(
    net: Net, blocks: tuple[Block, ...], head: int, *, width: float, resolution: int,
    channels: int, classes: int,
) -> Value:  # fmt: skip
    x = net.input(resolution, resolution, channels)
    x = net.conv(x, divisible(16 * width), 3, 2, norm=True, activation=_HS)
    narrow = 16
    for kernel, expanded, filters, gated, activation, stride in blocks:
        # The ratio of the table is kept; it applies to the rounded width.
        expanded, narrow = divisible(expanded / narrow * x.channels), filters
        x = inverted_residual(
            net, x, expanded, divisible(filters * width), kernel, stride, activation=activation,
            squeezed=divisible(expanded / 4) if gated else 0, gate="hard_sigmoid",
        )  # fmt: skip
    x = net.conv(x, 6 * x.channels, 1, norm=True, activation=_HS)
    x = net.conv(net.mean(x, keep=True), divisible(head * max(1.0, width)), 1, activation=_HS)
    return net.dense(net.flatten(x), classes, activation="softmax")


_LAYERS = (
    "the layers of the paper's own table come to 216.6M (its authors' code says 217M); 219M is "
    "printed beside them, and no choice of classifier or gates bridges the 1.1 %"
)


def _entry(size: str, blocks: tuple[Block, ...], head: int, *claims: Claim) -> Architecture:
    return Architecture(
        f"mobilenet_v3_{size}", "mobilenet_v3", f"MobileNetV3-{size.capitalize()}",
        "Howard et al., ICCV 2019, arXiv:1905.02244",
        partial(mobilenet_v3, blocks=blocks, head=head),
        (width(1.0, 0.75), resolution(224, 224, 192, 160, 128, 96, low=16), channels(), classes()),
        claims,
    )  # fmt: skip


ARCHITECTURES = (
    _entry(
        "large", _LARGE, 1280,
        kernels("5.4M", "weights alone are 5.451M, which the paper cuts off; 5.483M trainable"),
        macs("219M", _LAYERS), top1("75.2"),
        trainable("4.0M", width=0.75), macs("155M", width=0.75), top1("73.3", width=0.75),
    ),
    _entry(
        "small", _SMALL, 1024,
        trainable("2.5M"),
        macs("56M", "56.51M with the classifier, 55.49M without: 56M lies between"), top1("67.4"),
        trainable("2.0M", width=0.75),
        macs("44M", "43.40M with the classifier, 42.38M without; the paper does not print its "
             "rounded widths", width=0.75),
        top1("65.4", width=0.75),
    ),
)  # fmt: skip
