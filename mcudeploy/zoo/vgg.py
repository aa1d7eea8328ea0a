# SPDX-License-Identifier: Apache-2.0
"""VGG-16: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image
recognition", ICLR 2015, configuration D.
"""

from __future__ import annotations

from mcudeploy.zoo.architecture import Architecture, channels, classes, resolution
from mcudeploy.zoo.claims import conv_kernels, conv_macs, kernels, macs
from mcudeploy.zoo.net import Net, Value


def vgg16(net: Net, *, resolution: int, channels: int, classes: int) -> Value:
    x = net.input(resolution, resolution, channels)
    for convolutions, filters in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(convolutions):
            x = net.conv(x, filters, 3, activation="relu")
        x = net.max_pool(x, 2, 2)
    x = net.flatten(x)
    x = net.dense(x, 4096, activation="relu")
    x = net.dense(x, 4096, activation="relu")
    return net.dense(x, classes, activation="softmax")


ARCHITECTURES = (
    Architecture(
        "vgg16", "vgg", "VGG-16", "Simonyan and Zisserman, ICLR 2015, arXiv:1409.1556", vgg16,
        (resolution(224, low=32), channels(), classes()),
        (kernels("138M"), macs("15.5G"), conv_kernels("14.7M"), conv_macs("15.3G")),
    ),
)  # fmt: skip
