# SPDX-License-Identifier: Apache-2.0
"""GoogLeNet (Inception v1): Szegedy et al., "Going deeper with convolutions", CVPR 2015, Table 1.

Without the auxiliary classifiers, which training alone needs, and without local response
normalization, which has neither weights nor MACs.
"""

from __future__ import annotations

from mcudeploy.zoo.architecture import Architecture, channels, classes, resolution
from mcudeploy.zoo.claims import conv_kernels, conv_macs, kernels, macs
from mcudeploy.zoo.net import Net, Value

_STAGES = (
    # 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, behind the pool
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)  # fmt: skip


def googlenet(net: Net, *, resolution: int, channels: int, classes: int) -> Value:
    x = net.input(resolution, resolution, channels)
    x = net.conv(x, 64, 7, 2, activation="relu")
    x = net.max_pool(x, 3, 2, "same")
    x = net.conv(x, 64, 1, activation="relu")
    x = net.conv(x, 192, 3, activation="relu")
    for stage in _STAGES:
        x = net.max_pool(x, 3, 2, "same")
        for filters in stage:
            x = inception(net, x, *filters)
    return net.dense(net.mean(x), classes, activation="softmax")


def inception(
    net: Net, x: Value, one: int, r3: int, three: int, r5: int, five: int, pool: int
) -> Value:
    """Four views of one map, behind each other."""
    a = net.conv(x, one, 1, activation="relu")
    b = net.conv(net.conv(x, r3, 1, activation="relu"), three, 3, activation="relu")
    c = net.conv(net.conv(x, r5, 1, activation="relu"), five, 5, activation="relu")
    d = net.conv(net.max_pool(x, 3, 1, "same"), pool, 1, activation="relu")
    return net.concat(a, b, c, d)


_MACS = (
    "the layers of the paper's Table 1 come to 1.58G, another table prints 1.55G; 1.43G is a "
    "survey's, and neither the classifier (1.0M) nor the padding makes up for 0.15G"
)

ARCHITECTURES = (
    Architecture(
        "googlenet", "googlenet", "GoogLeNet v1", "Szegedy et al., CVPR 2015, arXiv:1409.4842",
        googlenet, (resolution(224, low=32), channels(), classes()),
        (kernels("7M"), macs("1.43G", _MACS), conv_kernels("6.0M"), conv_macs("1.43G", _MACS)),
    ),
)  # fmt: skip
