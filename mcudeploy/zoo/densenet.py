# SPDX-License-Identifier: Apache-2.0
"""DenseNet-121: Huang, Liu, van der Maaten and Weinberger, "Densely connected convolutional
networks", CVPR 2017, Table 1 (DenseNet-BC, growth 32, compression 0.5).
"""

from __future__ import annotations

from mcudeploy.zoo.architecture import Architecture, Option, channels, classes, resolution
from mcudeploy.zoo.claims import trainable
from mcudeploy.zoo.net import Net, Value


def densenet121(net: Net, *, resolution: int, channels: int, classes: int, growth: int) -> Value:
    x = net.input(resolution, resolution, channels)
    x = net.conv(x, 2 * growth, 7, 2, norm=True, activation="relu")
    x = net.max_pool(x, 3, 2, "same")
    for block, repeat in enumerate((6, 12, 24, 16)):
        if block:
            x = net.conv(_norm_relu(net, x), x.channels // 2, 1, bias=False)
            x = net.average_pool(x, 2, 2)
        for _ in range(repeat):
            y = net.conv(_norm_relu(net, x), 4 * growth, 1, norm=True, activation="relu")
            x = net.concat(x, net.conv(y, growth, 3, bias=False))
    x = net.mean(_norm_relu(net, x))
    return net.dense(x, classes, activation="softmax")


def _norm_relu(net: Net, x: Value) -> Value:
    return net.activation(net.norm(x), "relu")


ARCHITECTURES = (
    Architecture(
        "densenet121", "densenet", "DenseNet-121", "Huang et al., CVPR 2017, arXiv:1608.06993",
        densenet121,
        (
            resolution(224, low=32), channels(), classes(),
            Option("growth", 32, "channels that each layer adds", low=1, high=256),
        ),
        (trainable("7,978,856"),),
    ),
)  # fmt: skip
