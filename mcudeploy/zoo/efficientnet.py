# SPDX-License-Identifier: Apache-2.0
"""EfficientNet: Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural
networks", ICML 2019: Table 1 (B0), Equation 3 (compound scaling), Table 2 (B0 to B7).

`efficientnet_compound` is B0 scaled by any compound coefficient: the paper's are positive, those of
a microcontroller negative.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from mcudeploy.zoo.architecture import Architecture, Option, channels, classes, resolution
from mcudeploy.zoo.claims import Claim, kernels, macs, parameters, top1, trainable
from mcudeploy.zoo.mobilenet_v2 import inverted_residual
from mcudeploy.zoo.net import Net, Value, divisible

_STAGES = (
    # expansion, kernel, filters, repeats, stride
    (1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2), (6, 3, 320, 1, 1),
)  # fmt: skip
_MEMBERS = (
    # width, depth, resolution as published (rounded from the compound scaling)
    (1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260), (1.2, 1.4, 300), (1.4, 1.8, 380),
    (1.6, 2.2, 456), (1.8, 2.6, 528), (2.0, 3.1, 600),
)  # fmt: skip
BASE_RESOLUTION = 224


@dataclass(frozen=True)
class Scaling:
    """How depth (alpha), width (beta) and resolution (gamma) grow with one step of resources."""

    alpha: float = 1.2
    beta: float = 1.1
    gamma: float = 1.15

    @property
    def flops_factor(self) -> float:
        """What one step multiplies the MACs with: alpha * beta^2 * gamma^2, about 2."""
        return self.alpha * self.beta**2 * self.gamma**2

    def at(self, phi: float) -> tuple[float, float, int]:
        """Depth factor, width factor and resolution in pixels at compound coefficient `phi`."""
        return (
            self.alpha**phi, self.beta**phi, round(BASE_RESOLUTION * self.gamma**phi)
        )  # fmt: skip


def admissible(
    target: float = 2.0, tolerance: float = 0.1, step: float = 0.05, most: float = 1.5
) -> Iterator[Scaling]:
    """The grid of scalings, each coefficient >= 1, whose MACs grow about `target`-fold a step."""
    values = [round(1 + step * i, 10) for i in range(round((most - 1) / step) + 1)]
    for alpha, beta, gamma in itertools.product(values, repeat=3):
        scaling = Scaling(alpha, beta, gamma)
        if abs(scaling.flops_factor - target) <= tolerance:
            yield scaling


def search_scaling(
    score: Callable[[Scaling], float], target: float = 2.0, tolerance: float = 0.1
) -> Scaling:
    """The admissible scaling with the highest `score` (the paper's: accuracy of B0 scaled once)."""
    return max(admissible(target, tolerance), key=score)


def efficientnet(
    net: Net, width: float, depth: float, *, resolution: int, channels: int, classes: int
) -> Value:
    x = net.input(resolution, resolution, channels)
    x = net.conv(x, divisible(32 * width), 3, 2, norm=True, activation="swish")
    for expansion, kernel, filters, repeats, stride in _STAGES:
        for unit in range(math.ceil(repeats * depth)):
            x = inverted_residual(
                net, x, expansion * x.channels, divisible(filters * width), kernel,
                stride if unit == 0 else 1, activation="swish",
                squeezed=max(1, x.channels // 4), inner="swish",
            )  # fmt: skip
    x = net.conv(x, divisible(1280 * width), 1, norm=True, activation="swish")
    return net.dense(net.mean(x), classes, activation="softmax")


def compound(
    net: Net, *, phi: float, alpha: float, beta: float, gamma: float, channels: int, classes: int
) -> Value:
    """B0 with depth, width and resolution scaled together."""
    depth, width, side = Scaling(alpha, beta, gamma).at(phi)
    return efficientnet(
        net, width, depth, resolution=side, channels=channels, classes=classes
    )  # fmt: skip


_SCALED = (
    "the width, depth and input of the published code give {}; leaving out the classifier or the "
    "gates does not bridge the difference, and the paper does not say how it counted"
)

_CLAIMS: tuple[tuple[Claim, ...], ...] = (
    (trainable("5.3M"), macs("0.39G"), top1("77.1")),
    (trainable("7.8M"), macs("0.70G", _SCALED.format("0.687G")), top1("79.1")),
    (parameters("9.2M"), macs("1.0G"), top1("80.1")),
    (trainable("12M"), macs("1.8G"), top1("81.6")),
    (trainable("19M"), macs("4.2G", _SCALED.format("4.39G")), top1("82.9")),
    (trainable("30M"), macs("9.9G", _SCALED.format("10.27G")), top1("83.6")),
    (trainable("43M"), macs("19G"), top1("84.0")),
    (kernels("66M"), macs("37G", _SCALED.format("37.7G")), top1("84.3")),
)

_PHI = (0.0, -1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0)

_COMPOUND = Architecture(
    "efficientnet_compound", "efficientnet", "EfficientNet by compound scaling",
    "Tan and Le, ICML 2019, arXiv:1905.11946, Equation 3", compound,
    (
        Option("phi", 0.0, "steps of resources from B0, each about doubling the MACs",
               low=-10, high=7, members=_PHI),
        Option("alpha", 1.2, "depth grows by it with each step", low=1, high=3),
        Option("beta", 1.1, "width grows by it with each step", low=1, high=3),
        Option("gamma", 1.15, "resolution grows by it with each step", low=1, high=3),
        channels(), classes(),
    ),
)  # fmt: skip

ARCHITECTURES = (
    *(Architecture(
        f"efficientnet_b{number}", "efficientnet", f"EfficientNet-B{number}",
        "Tan and Le, ICML 2019, arXiv:1905.11946", partial(efficientnet, width=width, depth=depth),
        (resolution(pixels, low=16), channels(), classes()), _CLAIMS[number],
    )
    for number, (width, depth, pixels) in enumerate(_MEMBERS)),
    _COMPOUND,
)  # fmt: skip
