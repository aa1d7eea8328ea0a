# SPDX-License-Identifier: Apache-2.0
"""LeNet-5: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
recognition", Proceedings of the IEEE 86(11), 1998. C3 is connected in full, as it is built today.
"""

from __future__ import annotations

from mcudeploy.zoo.architecture import Architecture, Option, channels, classes, resolution
from mcudeploy.zoo.claims import Claim, layer_parameters, macs, output, with_biases
from mcudeploy.zoo.net import Net, Value


def lenet5(
    net: Net, *, resolution: int, channels: int, classes: int, activation: str, output: str
) -> Value:
    x = net.input(resolution, resolution, channels)
    x = net.conv(x, 6, 5, padding="valid", activation=activation, name="c1")
    x = net.average_pool(x, 2, 2, name="s2")
    x = net.conv(x, 16, 5, padding="valid", activation=activation, name="c3")
    x = net.average_pool(x, 2, 2, name="s4")
    x = net.conv(x, 120, 5, padding="valid", activation=activation, name="c5")
    x = net.dense(net.flatten(x), 84, activation=activation, name="f6")
    return net.dense(x, classes, activation=output, name="output")


_FLOAT = "float32, batch 1"

ARCHITECTURES = (
    Architecture(
        "lenet5", "lenet", "LeNet-5", "LeCun et al., Proc. IEEE 86(11), 1998", lenet5,
        (
            resolution(32, low=32), channels(1), classes(10),
            Option("activation", "tanh", "of the hidden layers", ("tanh", "relu", "sigmoid"),
                   members=("tanh",)),
            Option("output", "sigmoid", "activation of the last layer", ("sigmoid", "softmax"),
                   members=("sigmoid",)),
        ),
        (
            layer_parameters("c1", "156"), layer_parameters("c3", "2,416"),
            layer_parameters("c5", "48,120"), layer_parameters("f6", "10,164"),
            layer_parameters("output", "850"),
            output("c1", "28x28x6"), output("s2", "14x14x6"), output("c3", "10x10x16"),
            output("s4", "5x5x16"), output("c5", "1x1x120"), output("f6", "84"),
            output("output", "10"),
            with_biases("61,706"), macs("416,520"),
            Claim("bytes of parameters", "246,824 B", lambda c: c.parameters_bytes, _FLOAT),
            Claim("bytes of parameters", "241.0 KiB", lambda c: c.parameters_bytes, _FLOAT),
            Claim("bytes of the peak pair of feature maps", "23,520 B",
                  lambda c: 4 * c.largest_pair, "float32, a layer's input and output"),
            Claim("bytes of parameters and peak pair", "270,344 B",
                  lambda c: c.parameters_bytes + 4 * c.largest_pair, _FLOAT),
        ),
    ),
)  # fmt: skip
