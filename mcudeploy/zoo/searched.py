# SPDX-License-Identifier: Apache-2.0
"""What `explore --search` finds: inverted residuals with a kernel, expansion, width and depth of
their own in each stage, after Lin, Chen, Lin, Cohn, Gan and Han, "MCUNet: tiny deep learning on IoT
devices", NeurIPS 2020, whose search space this is a small part of.

A network is written as a code, `r128 s16 k3e1w16d1 k5e4w24d2 ... h256` with `-` between the words:
resolution, stem channels, for each stage the kernel, expansion, width and depth, and the channels
of the last 1x1 convolution (0: none). Strides are those of MobileNetV2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mcudeploy.errors import InputError
from mcudeploy.zoo.architecture import Architecture, Option, channels, classes
from mcudeploy.zoo.mobilenet_v2 import inverted_residual
from mcudeploy.zoo.net import Net, Value

STRIDES = (1, 2, 2, 2, 1, 2, 1)
_CODE = re.compile(r"r(\d+)-s(\d+)-((?:k\d+e\d+w\d+d\d+-)+)h(\d+)")
_STAGE = re.compile(r"k(\d+)e(\d+)w(\d+)d(\d+)")
_DEFAULT = "r224-s8-k3e1w8d4-k5e3w24d4-k5e4w32d1-k3e6w48d2-k3e3w80d4-k3e1w96d4-k5e2w96d4-h128"
"""Found within 320 KiB of RAM and 1 MiB of flash by `--seed 0 --evaluations 60`."""
_MOST = {"resolution": 1024, "channels": 4096, "kernel": 15, "expansion": 16, "depth": 32}


@dataclass(frozen=True)
class Stage:
    """Blocks of one width; only the first of them has the stage's stride."""

    kernel: int
    expansion: int
    width: int
    depth: int


@dataclass(frozen=True)
class Genome:
    """A network of the search space."""

    resolution: int
    stem: int
    stages: tuple[Stage, ...]
    head: int

    @property
    def code(self) -> str:
        stages = (f"k{s.kernel}e{s.expansion}w{s.width}d{s.depth}" for s in self.stages)
        return "-".join((f"r{self.resolution}", f"s{self.stem}", *stages, f"h{self.head}"))


def parse(code: str) -> Genome:
    """A genome from its code. Raises InputError for a word that is no code, or too large a one."""
    match = _CODE.fullmatch(code)
    stages = [] if match is None else [Stage(*map(int, s)) for s in _STAGE.findall(match[3])]
    if match is None or len(stages) != len(STRIDES):
        raise InputError(
            f"{code!r} is no code of a searched network", where="zoo architecture searched",
            mend=f"write it like {_DEFAULT}",
        )  # fmt: skip
    genome = Genome(int(match[1]), int(match[2]), tuple(stages), int(match[4]))
    sizes = [
        (genome.resolution, "resolution", 16), (genome.stem, "channels", 1),
        (genome.head, "channels", 0), *((s.width, "channels", 1) for s in stages),
        *((s.kernel, "kernel", 1) for s in stages), *((s.depth, "depth", 1) for s in stages),
        *((s.expansion, "expansion", 1) for s in stages),
    ]  # fmt: skip
    for size, what, least in sizes:
        if not least <= size <= _MOST[what]:
            raise InputError(
                f"{what} {size} is out of range", where=f"code {code}",
                mend=f"choose {least} to {_MOST[what]}",
            )  # fmt: skip
    return genome


def searched(net: Net, *, code: str, channels: int, classes: int) -> Value:
    genome = parse(code)
    x = net.input(genome.resolution, genome.resolution, channels)
    x = net.conv(x, genome.stem, 3, 2, norm=True, activation="relu6")
    for stage, stride in zip(genome.stages, STRIDES, strict=True):
        for unit in range(stage.depth):
            x = inverted_residual(
                net, x, stage.expansion * x.channels, stage.width, stage.kernel,
                stride if unit == 0 else 1, activation="relu6",
            )  # fmt: skip
    if genome.head:
        x = net.conv(x, genome.head, 1, norm=True, activation="relu6")
    return net.dense(net.mean(x), classes, activation="softmax")


ARCHITECTURES = (
    Architecture(
        "searched", "searched", "What a search found", "found by `mcudeploy explore --search`",
        searched,
        (
            Option("code", _DEFAULT, "the network as the search prints it"), channels(), classes(),
        ),
    ),
)  # fmt: skip
