# SPDX-License-Identifier: Apache-2.0
"""What an architecture costs, under every convention that papers count with.

Papers disagree on whether biases, batch-norm parameters, their moving statistics and the
classifier count. All of it is kept apart here, layer by layer, so that a published figure can be
met with the convention that it used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mcudeploy.graph import formulas
from mcudeploy.zoo.net import Layer, Network, Shape

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
"""Weight matrices of a recurrent cell, each for the input and for the state."""


@dataclass(frozen=True)
class LayerCount:
    """One layer that holds weights. `norms` counts one of the four batch-norm vectors."""

    name: str
    kind: str
    shape: Shape
    macs: int
    kernels: int
    biases: int = 0
    norms: int = 0

    @property
    def parameters(self) -> int:
        """Kernels and biases (the figure of a paper's layer table)."""
        return self.kernels + self.biases


@dataclass(frozen=True)
class Counts:
    """The counts of one member. Numbers of values unless `_bytes` says otherwise."""

    layers: tuple[LayerCount, ...]
    norms: int
    """Channels under batch norm; layer norms, without moving statistics, count in `layers`."""
    largest_pair: int
    """The most values that one layer's inputs and output have together, in-place layers aside."""
    outputs: Mapping[str, Shape]
    """The output of every layer by name; a module's is that of its last layer."""

    @property
    def kernels(self) -> int:
        """Weights alone: neither biases nor normalization."""
        return sum(layer.kernels for layer in self.layers)

    @property
    def biases(self) -> int:
        return sum(layer.biases for layer in self.layers)

    @property
    def trainable(self) -> int:
        """Kernels, biases, and the scale and shift of each batch norm."""
        return self.kernels + self.biases + 2 * self.norms

    @property
    def parameters(self) -> int:
        """All that Keras counts: the trainable ones and batch norm's moving statistics."""
        return self.trainable + 2 * self.norms

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)

    @property
    def classifier(self) -> LayerCount:
        """The last layer that holds weights."""
        return self.layers[-1]

    @property
    def macs_without_classifier(self) -> int:
        return self.macs - self.classifier.macs

    @property
    def parameters_bytes(self) -> int:
        """Kernels and biases as float32, batch norm folded away."""
        return 4 * (self.kernels + self.folded_biases)

    @property
    def folded_biases(self) -> int:
        """Biases once every batch norm is folded into the layer before it."""
        return self.biases + self.norms

    @property
    def weights_bytes(self) -> int:
        """Int8 weights and int32 biases, batch norm folded into the layers before it."""
        return self.kernels + 4 * self.folded_biases

    def by_kind(self) -> dict[str, tuple[int, int]]:
        """MACs and kernels of each kind of layer: `conv 1x1`, `depthwise 3x3`, `dense`, …"""
        totals: dict[str, tuple[int, int]] = {}
        for layer in self.layers:
            macs, kernels = totals.get(layer.kind, (0, 0))
            totals[layer.kind] = (macs + layer.macs, kernels + layer.kernels)
        return totals

    def of(self, *prefixes: str) -> tuple[LayerCount, ...]:
        """The layers whose kind begins with one of `prefixes`."""
        return tuple(layer for layer in self.layers if layer.kind.startswith(prefixes))

    def named(self, name: str) -> LayerCount:
        """The sum over the layers called `name` or `name/…`."""
        found = [x for x in self.layers if x.name == name or x.name.startswith(name + "/")]
        if not found:
            raise KeyError(name)
        return LayerCount(
            name, found[-1].kind, found[-1].shape, sum(x.macs for x in found),
            sum(x.kernels for x in found), sum(x.biases for x in found),
        )  # fmt: skip


def count(network: Network) -> Counts:
    """The counts of a network."""
    layers: list[LayerCount] = []
    outputs: dict[str, Shape] = {}
    norms = largest_pair = 0
    for layer in network.layers:
        outputs[layer.name] = outputs[layer.name.split("/")[0]] = layer.shape
        sources = tuple(network.layers[i] for i in layer.inputs)
        if layer.kind == "norm":
            norms += layer.shape[-1]
        if layer.kind in _COUNTS:
            layers.append(_COUNTS[layer.kind](layer, sources[0].shape))
        if layer.kind not in ("norm", "activation", "reshape", "input"):
            pair = layer.elements + sum(source.elements for source in sources)
            largest_pair = max(largest_pair, pair)
    return Counts(tuple(layers), norms, largest_pair, outputs)


def _conv(layer: Layer, source: Shape) -> LayerCount:
    (e, f, m), (r, s) = layer.shape, layer.options["kernel"]
    groups = layer.options["groups"] if layer.kind == "conv" else source[-1]
    cost = formulas.convolution(e, f, r, s, source[-1], m, groups)
    kind = f"{layer.kind} {r}x{s}"
    return LayerCount(
        layer.name, kind, layer.shape, cost.macs, cost.weights, m * layer.options["bias"]
    )


def _dense(layer: Layer, source: Shape) -> LayerCount:
    units = layer.shape[-1]
    cost = formulas.fully_connected(source[-1], units, layer.elements // units)
    biases = units * layer.options["bias"]
    return LayerCount(layer.name, "dense", layer.shape, cost.macs, cost.weights, biases)


def _recurrent(layer: Layer, source: Shape) -> LayerCount:
    """t steps of the input's and the state's matrices (the first state is zero, and counted)."""
    (steps, features), units = source, layer.shape[-1]
    cell = layer.options["cell"]
    kernels = GATES[cell] * units * (features + units)
    biases = GATES[cell] * units * (2 if cell == "gru" else 1)
    return LayerCount(layer.name, cell, layer.shape, steps * kernels, kernels, biases)


def _attention(layer: Layer, source: Shape) -> LayerCount:
    """Four projections k x k, and the two products of t x t x k."""
    steps, units = source
    projections = formulas.fully_connected(units, units, steps)
    products = formulas.transformer(steps, units)
    macs = 4 * projections.macs + 2 * products.macs
    kernels, biases = 4 * projections.weights, 4 * units
    return LayerCount(layer.name, "attention", layer.shape, macs, kernels, biases)


def _layer_norm(layer: Layer, source: Shape) -> LayerCount:
    return LayerCount(layer.name, "layer_norm", layer.shape, 0, 0, 2 * source[-1])


def _weighted_sum(layer: Layer, source: Shape) -> LayerCount:
    return LayerCount(layer.name, "weighted_sum", layer.shape, source[-1] * layer.shape[-1], 0)


_COUNTS: dict[str, Callable[[Layer, Shape], LayerCount]] = {
    "conv": _conv,
    "depthwise": _conv,
    "dense": _dense,
    "recurrent": _recurrent,
    "attention": _attention,
    "layer_norm": _layer_norm,
    "weighted_sum": _weighted_sum,
}
