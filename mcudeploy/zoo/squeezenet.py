# SPDX-License-Identifier: Apache-2.0
"""SqueezeNet: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and
<0.5MB model size", 2016, arXiv:1602.07360: Table 1, and Section 6 for the bypasses.

The paper's input of 224 does not give its own 111 x 111 maps; 227 without padding does, as in its
published Caffe model.
"""

from __future__ import annotations

from mcudeploy.zoo.architecture import Architecture, Option, channels, classes, resolution
from mcudeploy.zoo.claims import Claim, layer_parameters, output, top1, with_biases
from mcudeploy.zoo.net import Net, Value

_POOLED = {"1.0": ("conv1", "fire4", "fire8"), "1.1": ("conv1", "fire3", "fire5")}


def squeezenet(
    net: Net, *, resolution: int, channels: int, classes: int, version: str, bypass: str,
    squeeze_ratio: float, share_3x3: float,
) -> Value:  # fmt: skip
    x = net.input(resolution, resolution, channels)
    filters, kernel = (96, 7) if version == "1.0" else (64, 3)
    x = net.conv(x, filters, kernel, 2, padding="valid", activation="relu", name="conv1")
    x = net.max_pool(x, 3, 2, name="pool_conv1")
    for number in range(2, 10):
        name = f"fire{number}"
        expand = 128 * (number // 2)
        y = fire(net, x, max(1, round(squeeze_ratio * expand)), expand, share_3x3, name)
        if bypass != "none" and x.shape == y.shape:
            y = net.add(x, y)
        elif bypass == "complex":
            y = net.add(net.conv(x, expand, 1, name=f"{name}_bypass"), y)
        x = net.max_pool(y, 3, 2, name=f"pool_{name}") if name in _POOLED[version] else y
    x = net.conv(x, classes, 1, activation="relu", name="conv10")
    return net.activation(net.mean(x), "softmax")


def fire(net: Net, x: Value, squeeze: int, expand: int, share_3x3: float, name: str) -> Value:
    """A squeezing 1x1 convolution, then 1x1 and 3x3 ones side by side."""
    wide = min(expand - 1, max(1, round(share_3x3 * expand)))
    x = net.conv(x, squeeze, 1, activation="relu", name=f"{name}/squeeze")
    one = net.conv(x, expand - wide, 1, activation="relu", name=f"{name}/expand1x1")
    three = net.conv(x, wide, 3, activation="relu", name=f"{name}/expand3x3")
    return net.concat(one, three, name=f"{name}/concat")


_PARAMETERS = (
    ("conv1", "14,208"), ("fire2", "11,920"), ("fire3", "12,432"), ("fire4", "45,344"),
    ("fire5", "49,440"), ("fire6", "104,880"), ("fire7", "111,024"), ("fire8", "188,992"),
    ("fire9", "197,184"), ("conv10", "513,000"),
)  # fmt: skip
_OUTPUTS = (
    ("conv1", "111x111x96"), ("pool_conv1", "55x55x96"), ("fire2", "55x55x128"),
    ("fire3", "55x55x128"), ("fire4", "55x55x256"), ("pool_fire4", "27x27x256"),
    ("fire5", "27x27x256"), ("fire6", "27x27x384"), ("fire7", "27x27x384"),
    ("fire8", "27x27x512"), ("pool_fire8", "13x13x512"), ("fire9", "13x13x512"),
    ("conv10", "13x13x1000"),
)  # fmt: skip
_MIB = "the paper's MB are MiB: the same bytes are 4.76 MiB"


def _bytes(published: str, explanation: str = "", **options: str) -> Claim:
    return Claim(
        "size", published, lambda c: c.parameters_bytes, "float32 weights and biases", explanation,
        options,
    )  # fmt: skip


ARCHITECTURES = (
    Architecture(
        "squeezenet", "squeezenet", "SqueezeNet", "Iandola et al., 2016, arXiv:1602.07360",
        squeezenet,
        (
            resolution(227, low=48), channels(), classes(),
            Option("version", "1.0", "1.1 pools earlier, at 2.4 times fewer MACs", ("1.0", "1.1")),
            Option("bypass", "none", "shortcuts around the fire modules",
                   ("none", "simple", "complex")),
            Option("squeeze_ratio", 0.125, "squeeze filters to expand filters", low=0.01, high=1,
                   members=(0.125, 0.25, 0.5, 0.75, 1.0)),
            Option("share_3x3", 0.5, "3x3 filters among the expand filters", low=0, high=1,
                   members=(0.5, 0.01, 0.12, 0.25, 0.75, 0.99)),
        ),
        (
            with_biases("1,248,424"),
            *(layer_parameters(name, published) for name, published in _PARAMETERS),
            *(output(name, published) for name, published in _OUTPUTS),
            _bytes("4.8 MB", _MIB),
            _bytes("4.8 MiB"),
            _bytes(
                "7.7 MB",
                "1,589,672 parameters are 6.06 MiB; 1x1 bypasses on fire2, 4, 6 and 8 as the paper "
                "draws them add 341,248; 7.7 MB would hold 1,925,000",
                bypass="complex",
            ),
            with_biases("1,589,672", bypass="complex"),
            top1("57.5"), top1("60.4", bypass="simple"), top1("58.8", bypass="complex"),
        ),
    ),
)  # fmt: skip
