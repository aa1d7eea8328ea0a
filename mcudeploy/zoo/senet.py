# SPDX-License-Identifier: Apache-2.0
"""SENet: Hu, Shen and Sun, "Squeeze-and-excitation networks", CVPR 2018: ResNet-50 with a gate of
reduction 16 behind each residual branch. `shufflenet` takes the same gate (`se_ratio`).
"""

from __future__ import annotations

from functools import partial

from mcudeploy.zoo.architecture import Architecture, Option, channels, classes, resolution
from mcudeploy.zoo.claims import macs, trainable
from mcudeploy.zoo.resnet import resnet

ARCHITECTURES = (
    Architecture(
        "se_resnet50", "senet", "SE-ResNet-50", "Hu et al., CVPR 2018, arXiv:1709.01507",
        partial(resnet, repeats=(3, 4, 6, 3), bottleneck=True),
        (
            resolution(224, low=32), channels(), classes(),
            Option("se_ratio", 16, "reduction of the gate", (4, 8, 16, 32)),
        ),
        (
            macs("3.87G", "3.860G in weights; with the gates' averages and products with the maps, "
                 "5.52M each, 3.872G"),
            trainable("28.1M"),
        ),
    ),
)  # fmt: skip
