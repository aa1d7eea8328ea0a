# SPDX-License-Identifier: Apache-2.0
"""A transformer encoder as a classifier of sequences: Vaswani et al., "Attention is all you need",
NIPS 2017, Section 3.1, blocks with the norm behind each sublayer's sum.

The classifier reads all positions at once, so they need no encoding. ReLU is the paper's; GELU
(BERT's) can be chosen.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcudeploy.graph import formulas
from mcudeploy.zoo.architecture import Architecture, Option, classes
from mcudeploy.zoo.claims import Claim
from mcudeploy.zoo.counting import Counts
from mcudeploy.zoo.net import Net, Value

_STEPS, _UNITS = 28, 32


def transformer(
    net: Net, *, steps: int, features: int, units: int, heads: int, blocks: int, widening: int,
    activation: str, classes: int,
) -> Value:  # fmt: skip
    x = net.dense(net.input(steps, features), units, name="embedding")
    for _ in range(blocks):
        x = net.layer_norm(net.add(x, net.attention(x, heads)))
        y = net.dense(x, widening * units, activation=activation, name="widen")
        x = net.layer_norm(net.add(x, net.dense(y, units, name="narrow")))
    return net.dense(net.flatten(x), classes, activation="softmax")


def _score_macs(counts: Counts) -> float:
    """MACs of the scores: one of the two products between positions."""
    projections = 4 * formulas.fully_connected(_UNITS, _UNITS, _STEPS).macs
    return sum((x.macs - projections) / 2 for x in counts.of("attention"))


def _claims() -> Iterator[Claim]:
    for blocks in (1, 2):
        cost = formulas.transformer(_STEPS, _UNITS, blocks)
        yield Claim(
            "MACs t*t*k*d", f"{cost.macs:,}", _score_macs,
            "scores between all positions, t 28, k 32", "", {"blocks": blocks},
        )  # fmt: skip
        yield Claim(
            "activations t*k*d", f"{cost.activations:,}",
            lambda c: sum(x.shape[0] * x.shape[1] for x in c.of("attention")),
            "one map of each block", "", {"blocks": blocks},
        )  # fmt: skip


ARCHITECTURES = (
    Architecture(
        "transformer", "transformer", "Transformer encoder",
        "Vaswani et al., NIPS 2017, arXiv:1706.03762", transformer,
        (
            Option("steps", _STEPS, "length of the sequence", low=1, high=4096, members=(28,)),
            Option("features", 28, "values in each step", low=1, high=4096),
            Option("units", _UNITS, "width of the model", low=1, high=4096, members=(16, 32, 64)),
            Option("heads", 4, "attention heads; they divide the units", low=1, high=64,
                   members=(4,)),
            Option("blocks", 1, "encoder blocks", low=1, high=24, members=(1, 2)),
            Option("widening", 2, "hidden units of the feed-forward layers, times the width",
                   low=1, high=8, members=(2,)),
            Option("activation", "relu", "of the feed-forward layers", ("relu", "gelu"),
                   members=("relu",)),
            classes(10),
        ),
        tuple(_claims()),
    ),
)  # fmt: skip
