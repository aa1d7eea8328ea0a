# SPDX-License-Identifier: Apache-2.0
"""Recurrent and attention layers into operators, as TFLite's converter makes them.

A recurrent layer is unrolled: the sequence is unpacked once, and each step repeats the cell's
operators with the same weights. The first state is zero, so the first step lacks the products
with it. Keras computes the gates as it does in `keras.layers`: LSTM i, f, c, o with one bias; GRU
z, r, h with two (`reset_after`).

Two habits of the converter are left out, since they come and go with the data: an LSTM's first
SPLIT may run in float32 between DEQUANTIZE and QUANTIZE, and a sum of maps of 1 x 1 pixels may
reshape one side.
"""

from __future__ import annotations

from mcudeploy.zoo.graph_builder import GraphBuilder
from mcudeploy.zoo.net import Layer


def lower_recurrent(graph: GraphBuilder, x: int, layer: Layer, stacked: bool) -> int:
    """The unrolled steps of an RNN, LSTM or GRU; the last output, or all of them.

    Between layers that are `stacked` a sequence stays as it is packed, (t, 1, k).
    """
    name, units = layer.name, layer.shape[-1]
    features = graph.shape(x)[-1]
    steps = graph.tensors[x].elements // features
    turned = x
    if graph.shape(x) != (steps, 1, features):
        turned = graph.reshape(x, (steps, 1, features), f"{name}/steps")
    inputs = graph.emit_many(
        "UNPACK", (turned,), [(1, features)] * steps, f"{name}/step", num=steps, axis=0
    )
    cell = _CELLS[layer.options["cell"], layer.options["sequence"]](graph, name, features, units)
    outputs = []
    for number, value in enumerate(inputs):
        graph.begin_step(number)
        outputs.append(cell.step(value))
        if layer.options["sequence"]:
            graph.in_a_row(outputs[-1])
    graph.begin_step(None)
    if not layer.options["sequence"]:
        return outputs[-1]
    packed = graph.emit(
        "PACK", outputs, (steps, 1, units), f"{name}/pack", values_count=steps, axis=0
    )
    if stacked:
        return packed
    return graph.reshape(packed, (1, steps, units), f"{name}/sequence")


class _Cell:
    """Weights of a cell, made once, and its state from step to step."""

    gates = 1

    def __init__(self, graph: GraphBuilder, name: str, features: int, units: int) -> None:
        self.graph, self.name, self.units = graph, name, units
        rows = self.gates * units
        self.kernel = graph.weights(f"{name}/kernel", (rows, features))
        self.recurrent = graph.weights(f"{name}/recurrent", (rows, units))
        self.rows = rows
        self.state: int | None = None

    def step(self, x: int) -> int:
        raise NotImplementedError

    def _product(self, x: int, weights: int, what: str, *, bias: bool = False) -> int:
        """One matrix product. The converter gives every step its own copy of a bias."""
        name = f"{self.name}/{what}"
        shape = (1, self.rows)
        if not bias:
            return self.graph.fully_connected(x, shape, name, weights=weights)
        read = self.graph.tensors[x].quantization
        assert read is not None
        vector = self.graph.bias(f"{name}/bias", self.rows, read.scale)
        return self.graph.fully_connected(x, shape, name, weights=weights, bias=vector)

    def _split(self, x: int) -> tuple[int, ...]:
        return self.graph.emit_many(
            "SPLIT", (self.graph.numbers(1), x), [(1, self.units)] * self.gates,
            f"{self.name}/gates", num_splits=self.gates,
        )  # fmt: skip


class _Rnn(_Cell):
    """h = tanh(x W + b + h U)."""

    def step(self, x: int) -> int:
        graph = self.graph
        if self.state is None:
            total = self._product(x, self.kernel, "input", bias=True)
        else:
            past = self._product(self.state, self.recurrent, "state")
            total = self._product(x, self.kernel, "input", bias=True)
            total = graph.add(total, past, f"{self.name}/sum")
        self.state = graph.unary("TANH", total, f"{self.name}/h")
        return self.state


class _SequenceRnn(_Rnn):
    """An RNN whose outputs are packed: TANH's scale is fixed, PACK wants that of the sequence."""

    def step(self, x: int) -> int:
        self.state = self.graph.unary("QUANTIZE", super().step(x), f"{self.name}/requantized")
        return self.state


class _Lstm(_Cell):
    """c = f c + i tanh(c~); h = o tanh(c); gates in the order i, f, c~, o."""

    gates = 4
    memory: int | None = None

    def step(self, x: int) -> int:
        graph, name = self.graph, self.name
        if self.state is None or self.memory is None:
            total = self._product(x, self.kernel, "input", bias=True)
        else:
            past = self._product(self.state, self.recurrent, "state")
            past = graph.reshape(past, (self.rows,), f"{name}/past")
            total = graph.add(self._product(x, self.kernel, "input"), past, f"{name}/sum")
            bias = graph.constant(f"{name}/bias", (self.rows,))
            total = graph.add(total, bias, f"{name}/biased")
        i, f, c, o = self._split(total)
        i = graph.unary("LOGISTIC", i, f"{name}/i")
        kept = None
        if self.memory is not None:
            f = graph.unary("LOGISTIC", f, f"{name}/f")
            kept = graph.multiply(f, self.memory, f"{name}/kept")
        o = graph.unary("LOGISTIC", o, f"{name}/o")
        c = graph.unary("TANH", c, f"{name}/candidate")
        new = graph.multiply(i, c, f"{name}/new")
        self.memory = new if kept is None else graph.add(kept, new, f"{name}/c")
        squashed = graph.unary("TANH", self.memory, f"{name}/squashed")
        self.state = graph.multiply(o, squashed, f"{name}/h")
        return self.state


class _Gru(_Cell):
    """h = z h + (1 - z) tanh(x_h + r (h U_h)); gates in the order z, r, h."""

    gates = 3

    def step(self, x: int) -> int:
        graph, name, units = self.graph, self.name, self.units
        past = None if self.state is None else self._past(self.state)
        x_z, x_r, x_h = self._split(self._product(x, self.kernel, "input", bias=True))
        if past is None:
            # The state's product is its bias alone.
            past = (
                graph.constant(f"{name}/bias_z", (1, units)),
                graph.constant(f"{name}/bias_r", (1, units)),
                graph.constant(f"{name}/bias_h", (1, units)),
            )
        z = graph.unary("LOGISTIC", graph.add(x_z, past[0], f"{name}/z_sum"), f"{name}/z")
        kept = None
        if self.state is not None:
            kept = graph.multiply(z, self.state, f"{name}/kept")
        one = graph.constant(f"{name}/one", ())
        rest = graph.emit(
            "SUB", (one, z), (1, units), f"{name}/rest", fused_activation_function="NONE",
            pot_scale_int16=True,
        )  # fmt: skip
        r = graph.unary("LOGISTIC", graph.add(x_r, past[1], f"{name}/r_sum"), f"{name}/r")
        reset = graph.multiply(r, past[2], f"{name}/reset")
        h = graph.unary("TANH", graph.add(x_h, reset, f"{name}/h_sum"), f"{name}/candidate")
        h = graph.multiply(rest, h, f"{name}/new")
        self.state = h if kept is None else graph.add(kept, h, f"{name}/h")
        return self.state

    def _past(self, state: int) -> tuple[int, int, int]:
        product = self._product(state, self.recurrent, "state", bias=True)
        u = self.units
        return (
            self._slice(product, 0, u), self._slice(product, u, 2 * u),
            self._slice(product, 2 * u, 0),
        )  # fmt: skip

    def _slice(self, x: int, begin: int, end: int) -> int:
        """Columns `begin` to `end` of a row. Masked are the row and what lies at either border."""
        numbers = self.graph.numbers
        return self.graph.emit(
            "STRIDED_SLICE", (x, numbers([0, begin]), numbers([0, end]), numbers([1, 1])),
            (1, self.units), f"{self.name}/slice", begin_mask=1 if begin else 3,
            end_mask=1 if end else 3,
            ellipsis_mask=0, new_axis_mask=0, shrink_axis_mask=0, offset=False,
        )  # fmt: skip


_CELLS: dict[tuple[str, bool], type[_Cell]] = {
    ("rnn", False): _Rnn,
    ("rnn", True): _SequenceRnn,
    ("lstm", False): _Lstm,
    ("lstm", True): _Lstm,
    ("gru", False): _Gru,
    ("gru", True): _Gru,
}


def lower_attention(graph: GraphBuilder, x: int, layer: Layer) -> int:
    """keras.layers.MultiHeadAttention(heads, k / heads)(x, x)."""
    name, heads = layer.name, layer.options["heads"]
    _, steps, units = graph.shape(x)
    split = (1, steps, heads, units // heads)

    def projection(value: int, what: str) -> int:
        weights = graph.weights(f"{name}/{what}/weights", (units, units))
        bias = graph.bias(f"{name}/{what}/bias", units)
        return graph.fully_connected(
            value, (1, steps, units), f"{name}/{what}", weights=weights, bias=bias
        )

    key = graph.reshape(projection(x, "key"), split, f"{name}/key_heads")
    query = graph.reshape(projection(x, "query"), split, f"{name}/query_heads")
    query = graph.transpose(query, (0, 2, 1, 3), f"{name}/query_turned")
    key = graph.transpose(key, (0, 2, 3, 1), f"{name}/key_turned")
    scores = graph.batch_matmul(query, key, f"{name}/scores")
    scores = graph.multiply(scores, graph.constant(f"{name}/scale", ()), f"{name}/scaled")
    weights = graph.softmax(scores, f"{name}/softmax")
    value = graph.reshape(projection(x, "value"), split, f"{name}/value_heads")
    value = graph.transpose(value, (0, 2, 1, 3), f"{name}/value_turned")
    mixed = graph.batch_matmul(weights, value, f"{name}/mixed")
    mixed = graph.transpose(mixed, (0, 2, 1, 3), f"{name}/mixed_turned")
    return projection(graph.reshape(mixed, (1, steps, units), f"{name}/joined"), "output")


def lower_layer_norm(graph: GraphBuilder, x: int, layer: Layer) -> int:
    """keras.layers.LayerNormalization over the last axis, with its float island for NEG."""
    name = layer.name
    _, steps, units = graph.shape(x)
    column = (1, steps, 1)
    mean = graph.mean(x, (2,), column, f"{name}/mean")
    negated = graph.emit("DEQUANTIZE", (mean,), column, f"{name}/float", dtype="float32")
    negated = graph.emit("NEG", (negated,), column, f"{name}/negated", dtype="float32")
    negated = graph.unary("QUANTIZE", negated, f"{name}/minus_mean")
    squares = graph.emit("SQUARED_DIFFERENCE", (x, mean), graph.shape(x), f"{name}/squares")
    variance = graph.mean(squares, (2,), column, f"{name}/variance")
    variance = graph.add(variance, graph.constant(f"{name}/epsilon", ()), f"{name}/safe_variance")
    inverse = graph.unary("RSQRT", variance, f"{name}/inverse")
    gain = graph.multiply(inverse, graph.constant(f"{name}/gain", (1, 1, units)), f"{name}/gain_of")
    shift = graph.multiply(negated, gain, f"{name}/shift")
    shift = graph.add(shift, graph.constant(f"{name}/offset", (1, 1, units)), f"{name}/shifted")
    return graph.add(graph.multiply(x, gain, f"{name}/scaled"), shift, name)
