# SPDX-License-Identifier: Apache-2.0
"""ResNet-18, -34 and -50: He, Zhang, Ren and Sun, "Deep residual learning for image recognition",
CVPR 2016, Table 1, with projections where the shape changes (option B).
"""

from __future__ import annotations

from functools import partial

from mcudeploy.zoo.architecture import Architecture, Option, channels, classes, resolution
from mcudeploy.zoo.claims import Claim, conv_kernels, conv_macs, kernels, macs
from mcudeploy.zoo.net import Net, Value
from mcudeploy.zoo.squeeze_excite import squeeze_excite

_FILTERS = (64, 128, 256, 512)


def resnet(
    net: Net, repeats: tuple[int, ...], bottleneck: bool, *, resolution: int, channels: int,
    classes: int, stride_in: str = "1x1", se_ratio: int = 0,
) -> Value:  # fmt: skip
    x = net.input(resolution, resolution, channels)
    x = net.conv(x, 64, 7, 2, norm=True, activation="relu")
    x = net.max_pool(x, 3, 2, "same")
    for stage, (repeat, filters) in enumerate(zip(repeats, _FILTERS, strict=True)):
        for unit in range(repeat):
            stride = 2 if stage and not unit else 1
            y = (
                _bottleneck(net, x, filters, stride, stride_in)
                if bottleneck
                else _basic(net, x, filters, stride)
            )
            if se_ratio:
                y = squeeze_excite(net, y, y.channels // se_ratio)
            if x.shape != y.shape:
                x = net.conv(x, y.channels, 1, stride, norm=True)
            x = net.add(x, y, activation="relu")
    return net.dense(net.mean(x), classes, activation="softmax")


def _basic(net: Net, x: Value, filters: int, stride: int) -> Value:
    x = net.conv(x, filters, 3, stride, norm=True, activation="relu")
    return net.conv(x, filters, 3, norm=True)


def _bottleneck(net: Net, x: Value, filters: int, stride: int, stride_in: str) -> Value:
    first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
    x = net.conv(x, filters, 1, first, norm=True, activation="relu")
    x = net.conv(x, filters, 3, second, norm=True, activation="relu")
    return net.conv(x, 4 * filters, 1, norm=True)


_PAPER = "He et al., CVPR 2016, arXiv:1512.03385"
_COMMON = (resolution(224, low=32), channels(), classes())
_STRIDE = Option(
    "stride_in", "1x1", "which convolution of a bottleneck strides", ("1x1", "3x3"),
    members=("1x1",),
)  # fmt: skip


def _entry(depth: int, repeats: tuple[int, ...], *claims: Claim) -> Architecture:
    bottleneck = depth >= 50
    return Architecture(
        f"resnet{depth}", "resnet", f"ResNet-{depth}", _PAPER,
        partial(resnet, repeats=repeats, bottleneck=bottleneck),
        (*_COMMON, _STRIDE) if bottleneck else _COMMON, claims,
    )  # fmt: skip


ARCHITECTURES = (
    _entry(18, (2, 2, 2, 2), macs("1.8G")),
    _entry(34, (3, 4, 6, 3), macs("3.6G", "3.664G, which the paper cuts off")),
    _entry(
        50, (3, 4, 6, 3), kernels("25.5M"), macs("3.9G"), conv_kernels("23.5M"),
        conv_macs("3.86G"), macs("4.09G", stride_in="3x3"),
    ),
)  # fmt: skip
