# SPDX-License-Identifier: Apache-2.0
"""The squeeze-and-excite gate: Hu, Shen and Sun, "Squeeze-and-excitation networks", CVPR 2018.

The channels' means go through two fully connected layers (as 1x1 convolutions on a 1x1 map, which
is what they are) and scale the channels.
"""

from __future__ import annotations

from mcudeploy.zoo.net import Net, Value


def squeeze_excite(
    net: Net, x: Value, squeezed: int, *, inner: str = "relu", gate: str = "sigmoid"
) -> Value:
    """`x` with each channel scaled by what all channels' means say of it."""
    y = net.mean(x, keep=True)
    y = net.conv(y, squeezed, 1, activation=inner, name="squeeze")
    y = net.conv(y, x.channels, 1, activation=gate, name="excite")
    return net.multiply(x, y)
