# SPDX-License-Identifier: Apache-2.0
"""OverFeat, the fast model: Sermanet, Eigen, Zhang, Mathieu, Fergus and LeCun, "OverFeat:
integrated recognition, localization and detection using convolutional networks", ICLR 2014.
"""

from __future__ import annotations

from mcudeploy.zoo.architecture import Architecture, channels, classes, resolution
from mcudeploy.zoo.claims import conv_kernels, conv_macs, kernels, macs
from mcudeploy.zoo.net import Net, Value


def overfeat_fast(net: Net, *, resolution: int, channels: int, classes: int) -> Value:
    x = net.input(resolution, resolution, channels)
    x = net.conv(x, 96, 11, 4, padding="valid", activation="relu")
    x = net.max_pool(x, 2, 2)
    x = net.conv(x, 256, 5, padding="valid", activation="relu")
    x = net.max_pool(x, 2, 2)
    x = net.conv(x, 512, 3, activation="relu")
    x = net.conv(x, 1024, 3, activation="relu")
    x = net.conv(x, 1024, 3, activation="relu")
    x = net.flatten(net.max_pool(x, 2, 2))
    x = net.dense(x, 3072, activation="relu")
    x = net.dense(x, 4096, activation="relu")
    return net.dense(x, classes, activation="softmax")


ARCHITECTURES = (
    Architecture(
        "overfeat_fast", "overfeat", "OverFeat fast", "Sermanet et al., ICLR 2014, arXiv:1312.6229",
        overfeat_fast, (resolution(231, low=71), channels(), classes()),
        (kernels("146M"), macs("2.8G"), conv_kernels("16M"), conv_macs("2.67G")),
    ),
)  # fmt: skip
