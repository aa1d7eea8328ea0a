# SPDX-License-Identifier: Apache-2.0
"""ProxylessNAS (mobile): Cai, Zhu and Han, "ProxylessNAS: direct neural architecture search on
target task and hardware", ICLR 2019, Figure 4(c).
"""

from __future__ import annotations

from mcudeploy.zoo.architecture import Architecture, channels, classes, resolution, width
from mcudeploy.zoo.claims import kernels, macs, top1
from mcudeploy.zoo.mobilenet_v2 import inverted_residual
from mcudeploy.zoo.net import Net, Value, divisible

_STAGES = (
    # filters, stride of the first block, (expansion, kernel) of each block
    (16, 1, ((1, 3),)),
    (32, 2, ((3, 5), (3, 3))),
    (40, 2, ((3, 7), (3, 3), (3, 5), (3, 5))),
    (80, 2, ((6, 7), (3, 5), (3, 5), (3, 5))),
    (96, 1, ((6, 5), (3, 5), (3, 5), (3, 5))),
    (192, 2, ((6, 7), (6, 7), (3, 7), (3, 7))),
    (320, 1, ((6, 7),)),
)  # fmt: skip


def proxylessnas_mobile(
    net: Net, *, width: float, resolution: int, channels: int, classes: int
) -> Value:
    x = net.input(resolution, resolution, channels)
    x = net.conv(x, divisible(32 * width), 3, 2, norm=True, activation="relu6")
    for filters, stride, blocks in _STAGES:
        for unit, (expansion, kernel) in enumerate(blocks):
            x = inverted_residual(
                net, x, expansion * x.channels, divisible(filters * width), kernel,
                stride if unit == 0 else 1, activation="relu6",
            )  # fmt: skip
    x = net.conv(x, divisible(1280 * max(1.0, width)), 1, norm=True, activation="relu6")
    return net.dense(net.mean(x), classes, activation="softmax")


ARCHITECTURES = (
    Architecture(
        "proxylessnas_mobile", "proxylessnas", "ProxylessNAS mobile",
        "Cai et al., ICLR 2019, arXiv:1812.00332", proxylessnas_mobile,
        (width(1.0, 0.35, 0.5, 0.75, 1.4), resolution(224, 224, 192, 160, 128, 96, low=16),
         channels(), classes()),
        (kernels("4.0M"), macs("320M"), top1("74.6")),
    ),
)  # fmt: skip
