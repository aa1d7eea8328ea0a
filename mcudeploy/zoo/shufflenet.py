# SPDX-License-Identifier: Apache-2.0
"""ShuffleNet: Zhang, Zhou, Lin and Sun, "ShuffleNet: an extremely efficient convolutional neural
network for mobile devices", CVPR 2018, Table 1; with squeeze-and-excite (Hu et al., CVPR 2018).
"""

from __future__ import annotations

import math

from mcudeploy.zoo.architecture import Architecture, Option, channels, classes, resolution, width
from mcudeploy.zoo.claims import Claim, macs, macs_without_classifier, top1_error
from mcudeploy.zoo.net import Net, Value
from mcudeploy.zoo.squeeze_excite import squeeze_excite

_STAGE2 = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
"""Channels of stage 2 by number of groups; each further stage doubles them."""


def shufflenet(
    net: Net, *, groups: int, width: float, resolution: int, channels: int, classes: int,
    stem: int, depth: str, se_ratio: int,
) -> Value:  # fmt: skip
    x = net.input(resolution, resolution, channels)
    x = net.conv(x, stem, 3, 2, norm=True, activation="relu")
    x = net.max_pool(x, 3, 2, "same")
    for stage, units in enumerate((4, 8, 4)):
        filters = max(1, round(_STAGE2[groups] * width / groups)) * groups * 2**stage
        for unit in range(units // 2 if depth == "shallow" else units):
            first = stage == 0 and unit == 0
            name = f"stage{stage + 2}"
            x = shuffle_unit(net, x, filters, groups, 2 if unit == 0 else 1, first, se_ratio, name)
    return net.dense(net.mean(x), classes, activation="softmax")


def shuffle_unit(
    net: Net, x: Value, filters: int, groups: int, stride: int, first: bool, se_ratio: int,
    name: str,
) -> Value:  # fmt: skip
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1. A stride appends to the pooled input.

    The bottleneck has a quarter of the channels, rounded up to whole groups. The very first 1x1
    is not grouped: it has too few input channels.
    """
    added = filters - x.channels if stride == 2 else filters
    narrow = math.ceil(filters / (4 * groups)) * groups
    y = net.conv(
        x, narrow, 1, groups=1 if first else groups, norm=True, activation="relu",
        name=f"{name}/compress",
    )  # fmt: skip
    y = net.channel_shuffle(y, groups) if groups > 1 else y
    y = net.depthwise(y, 3, stride, norm=True, name=f"{name}/depthwise")
    y = net.conv(y, added, 1, groups=groups, norm=True, name=f"{name}/expand")
    if stride != 1:
        y = net.concat(net.average_pool(x, 3, 2, "same"), y, name=f"{name}/concat")
    if se_ratio:
        y = squeeze_excite(net, y, max(1, filters // se_ratio))
    return net.add(x, y, activation="relu") if stride == 1 else net.activation(y, "relu")


def _stages(groups: int, published: str) -> Claim:
    return Claim(
        "channels of stages 2, 3, 4", published,
        lambda c: "/".join(str(c.outputs[f"stage{s}"][-1]) for s in (2, 3, 4)), "as written", "",
        {"groups": groups},
    )  # fmt: skip


_HALF = (
    "136/272/544 channels with conv1 scaled to 12 come to 37.5M (36.9M without the classifier), "
    "with conv1 left at 24 to 42.8M: the paper does not print how it rounds conv1 and bottlenecks"
)
_SHALLOW = (
    "half the units at half the width come to 26.7M; 40M is met at 0.67 of the width (39.96M "
    "without the classifier): the paper widens its 26-layer twin and does not print by how much"
)
_QUARTER = (
    "conv1's width decides and is not printed: 8 gives 12.4M, 6 and 12 would give 11.6M and 14.1M "
    "but do not leave whole groups, 24 gives 19.0M"
)

ARCHITECTURES = (
    Architecture(
        "shufflenet", "shufflenet", "ShuffleNet", "Zhang et al., CVPR 2018, arXiv:1707.01083",
        shufflenet,
        (
            Option("groups", 3, "groups of the 1x1 convolutions", (1, 2, 3, 4, 8)),
            width(1.0, 0.25, 0.5, 1.5, 2.0), resolution(224, 224, 160, 128, 96, low=32),
            channels(), classes(),
            Option("stem", 24, "channels of the first convolution", low=1, high=1024),
            Option("depth", "full", "shallow: half the units of each stage", ("full", "shallow"),
                   members=("full",)),
            Option("se_ratio", 0, "reduction of a squeeze-and-excite gate, 0 for none", low=0,
                   high=64, members=(0,)),
        ),
        (
            *(macs_without_classifier(published, groups=groups)
              for groups, published in ((1, "143M"), (2, "140M"), (3, "137M"), (4, "133M"),
                                        (8, "137M"))),
            _stages(1, "144/288/576"), _stages(2, "200/400/800"), _stages(3, "240/480/960"),
            _stages(4, "272/544/1088"), _stages(8, "384/768/1536"),
            macs("524M", width=2.0, stem=48), top1_error("26.3", width=2.0),
            macs("292M", width=1.5), top1_error("28.5", width=1.5),
            macs("140M", "the paper's other table prints 137M for the same network (136.83M "
                 "without the classifier); 140 is its row's budget", groups=8),
            top1_error("32.4", groups=8),
            macs("38M", _HALF, groups=4, width=0.5, stem=12),
            top1_error("41.6", groups=4, width=0.5),
            macs("40M", _SHALLOW, width=0.5, depth="shallow"),
            top1_error("42.8", width=0.5, depth="shallow"),
            macs("13M", _QUARTER, groups=8, width=0.25, stem=8),
            top1_error("52.7", groups=8, width=0.25),
            macs("527M", width=2.0, stem=48, se_ratio=16),
            top1_error("24.7", width=2.0, stem=48, se_ratio=16),
        ),
    ),
)  # fmt: skip
