# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2: Sandler, Howard, Zhu, Zhmoginov and Chen, "MobileNetV2: inverted residuals and
linear bottlenecks", CVPR 2018, Table 2.
"""

from __future__ import annotations

from mcudeploy.zoo.architecture import Architecture, channels, classes, resolution, width
from mcudeploy.zoo.claims import kernels, macs, top1
from mcudeploy.zoo.net import Net, Value, divisible
from mcudeploy.zoo.squeeze_excite import squeeze_excite

_STAGES = (
    # expansion, filters, repeats, stride
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip


def mobilenet_v2(net: Net, *, width: float, resolution: int, channels: int, classes: int) -> Value:
    x = net.input(resolution, resolution, channels)
    x = net.conv(x, divisible(32 * width), 3, 2, norm=True, activation="relu6")
    for expansion, filters, repeats, stride in _STAGES:
        for unit in range(repeats):
            x = inverted_residual(
                net, x, expansion * x.channels, divisible(filters * width), 3,
                stride if unit == 0 else 1, activation="relu6",
            )  # fmt: skip
    x = net.conv(x, divisible(1280 * max(1.0, width)), 1, norm=True, activation="relu6")
    return net.dense(net.mean(x), classes, activation="softmax")


def inverted_residual(
    net: Net, x: Value, expanded: int, filters: int, kernel: int, stride: int, *, activation: str,
    squeezed: int = 0, gate: str = "sigmoid", inner: str = "relu",
) -> Value:  # fmt: skip
    """Widen, filter by channel, optionally gate (`squeezed` > 0), narrow linearly; a shortcut
    where the shape stays. The block of MobileNetV2 and V3, MnasNet, ProxylessNAS, EfficientNet."""
    y = x
    if expanded != x.channels:
        y = net.conv(y, expanded, 1, norm=True, activation=activation)
    y = net.depthwise(y, kernel, stride, norm=True, activation=activation)
    if squeezed:
        y = squeeze_excite(net, y, squeezed, inner=inner, gate=gate)
    y = net.conv(y, filters, 1, norm=True)
    return net.add(x, y) if y.shape == x.shape else y


_WIDE = (
    "no convention gives 6.9M: weights {}; the same table's 585M MACs come to 582.2M, so the "
    "network is the same"
)

ARCHITECTURES = (
    Architecture(
        "mobilenet_v2", "mobilenet_v2", "MobileNetV2",
        "Sandler et al., CVPR 2018, arXiv:1801.04381", mobilenet_v2,
        (
            width(1.0, 0.35, 0.5, 0.75, 1.3, 1.4), resolution(224, 224, 192, 160, 128, 96, low=16),
            channels(), classes(),
        ),
        (
            kernels("3.4M", "weights alone are 3.47M, which the paper cuts off; 3.50M trainable"),
            macs("300M", "300.8M with the classifier, 299.5M without: a round figure"),
            top1("72.0"),
            kernels("6.9M", _WIDE.format("6.06M, all stored 6.16M"), width=1.4),
            macs("585M", "582.2M with widths rounded to 8; the paper does not print its rounded "
                 "widths", width=1.4),
            top1("74.7", width=1.4),
            kernels("1.6M", "1.66M, cut off", width=0.35),
            macs("59.2M", "59.29M, cut off", width=0.35), top1("60.8", width=0.35),
        ),
    ),
)  # fmt: skip
