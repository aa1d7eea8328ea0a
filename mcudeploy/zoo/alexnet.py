# SPDX-License-Identifier: Apache-2.0
"""AlexNet: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional
neural networks", NIPS 2012. Grouped over two GPUs in the paper; ungrouped as often rebuilt.

Local response normalization has neither weights nor MACs in the published counts and no int8
operator; it is left out. The input is 227 wide, as the 55 x 55 maps of the paper need.
"""

from __future__ import annotations

from mcudeploy.zoo.architecture import Architecture, Option, channels, classes, resolution
from mcudeploy.zoo.claims import conv_kernels, conv_macs, kernels, macs
from mcudeploy.zoo.net import Net, Value


def alexnet(net: Net, *, resolution: int, channels: int, classes: int, groups: int) -> Value:
    x = net.input(resolution, resolution, channels)
    x = net.conv(x, 96, 11, 4, padding="valid", activation="relu", name="conv1")
    x = net.max_pool(x, 3, 2)
    x = net.conv(x, 256, 5, groups=groups, activation="relu", name="conv2")
    x = net.max_pool(x, 3, 2)
    x = net.conv(x, 384, 3, activation="relu", name="conv3")
    x = net.conv(x, 384, 3, groups=groups, activation="relu", name="conv4")
    x = net.conv(x, 256, 3, groups=groups, activation="relu", name="conv5")
    x = net.flatten(net.max_pool(x, 3, 2))
    x = net.dense(x, 4096, activation="relu", name="fc6")
    x = net.dense(x, 4096, activation="relu", name="fc7")
    return net.dense(x, classes, activation="softmax", name="fc8")


ARCHITECTURES = (
    Architecture(
        "alexnet", "alexnet", "AlexNet", "Krizhevsky et al., NIPS 2012", alexnet,
        (
            resolution(227, low=63), channels(), classes(),
            Option("groups", 2, "2 as in the paper, 1 for the ungrouped network", (2, 1)),
        ),
        (
            kernels("61M"), macs("724M"), conv_kernels("2.3M"), conv_macs("666M"),
            conv_macs("1,077M", groups=1), conv_kernels("3.7M", groups=1),
        ),
    ),
)  # fmt: skip
