# SPDX-License-Identifier: Apache-2.0
"""Recurrent classifiers of a sequence: 28 rows of a digit, one row a step.

Elman's network (RNN), LSTM (Hochreiter and Schmidhuber, 1997) and GRU (Cho et al., 2014), stacked
to `layers`. With attention (after Bahdanau, Cho and Bengio, 2015) the classifier sees the sum of
all steps' outputs, weighted by a softmax over their scores, instead of the last output.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Literal

from mcudeploy.graph import formulas
from mcudeploy.zoo.architecture import Architecture, Option, classes
from mcudeploy.zoo.claims import Claim
from mcudeploy.zoo.counting import GATES, Counts
from mcudeploy.zoo.net import Net, Value

Cell = Literal["rnn", "lstm", "gru"]


def recurrent_classifier(
    net: Net, cell: Cell, attention: bool, *, steps: int, features: int, units: int, layers: int,
    classes: int,
) -> Value:  # fmt: skip
    x = net.input(steps, features)
    for layer in range(layers):
        x = net.recurrent(x, cell, units, sequence=attention or layer < layers - 1)
    if attention:
        scores = net.reshape(net.dense(x, 1, name="score"), 1, steps)
        weights = net.activation(scores, "softmax")
        x = net.flatten(net.weighted_sum(x, weights))
    return net.dense(x, classes, activation="softmax")


_STEPS, _UNITS = 28, 32


def _recurrent_macs(counts: Counts) -> float:
    """MACs with the state alone: those of the recurrent matrices."""
    return sum(_STEPS * GATES[x.kind] * x.shape[-1] ** 2 for x in counts.layers if x.kind in GATES)


def _claims(cell: Cell, attention: bool) -> Iterator[Claim]:
    """The cost table's row, t steps, d layers, k units, against the member's layers."""
    for layers in (1, 2):
        cost = formulas.recurrent(_STEPS, _UNITS, layers)
        gates = GATES[cell]
        yield Claim(
            "MACs t*k*k*d", f"{cost.macs:,}", _recurrent_macs,
            "state matrices alone, t 28, k 32",
            f"{gates} gates, each with a k x k matrix: {gates} times the formula" * (gates > 1),
            {"layers": layers},
        )  # fmt: skip
        if attention:
            kept = formulas.recurrent_with_attention(_STEPS, _UNITS, layers)
            yield Claim(
                "activations t*k*d", f"{kept.activations:,}",
                lambda c: sum(_STEPS * x.shape[-1] for x in c.layers if x.kind in GATES),
                "every step's output is kept", "", {"layers": layers},
            )  # fmt: skip
        else:
            yield Claim(
                "activations k*d", f"{cost.activations:,}",
                lambda c: sum(x.shape[-1] for x in c.layers if x.kind in GATES),
                "the state of each layer at inference",
                "an LSTM keeps its memory cells besides" * (cell == "lstm"), {"layers": layers},
            )  # fmt: skip
    if attention:
        yield Claim(
            "MACs t*t*k*k*d", f"{formulas.recurrent_with_attention(_STEPS, _UNITS).macs:,}",
            lambda c: sum(
                x.macs for x in c.layers if x.name == "score" or x.kind == "weighted_sum"
            ),
            "scores and weighted sum",
            "the formula scores every state for every one of t outputs through a k x k matrix; a "
            "classifier has one output and scores linearly: 2*t*k",
        )  # fmt: skip


_NAMES = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}


def _entry(cell: Cell, attention: bool) -> Architecture:
    return Architecture(
        f"{cell}_attention" if attention else cell, "recurrent",
        f"{_NAMES[cell]} with attention" if attention else _NAMES[cell],
        "the cost table of recurrent layers",
        partial(recurrent_classifier, cell=cell, attention=attention),
        (
            Option("steps", _STEPS, "length of the sequence", low=2, high=4096, members=(28,)),
            Option("features", 28, "values in each step", low=1, high=4096),
            Option("units", _UNITS, "units of each layer", low=1, high=4096,
                   members=(16, 32, 64, 128)),
            Option("layers", 1, "recurrent layers", low=1, high=16, members=(1, 2)),
            classes(10),
        ),
        tuple(_claims(cell, attention)),
    )  # fmt: skip


_CELLS: tuple[Cell, ...] = ("rnn", "lstm", "gru")
ARCHITECTURES = tuple(_entry(cell, attention) for attention in (False, True) for cell in _CELLS)
