# SPDX-License-Identifier: Apache-2.0
"""Layers into the operators of their int8 deployment, as TFLite's converter makes them.

Batch norm folds into the convolution or fully connected layer before it, ReLU and ReLU6 fuse into
the operator before them, when nobody else reads what lies between. Batch norm elsewhere is MUL and
ADD by constants. Swish is LOGISTIC and MUL; a hard sigmoid behind a convolution is its fused ReLU6
and a MUL by 1/6. The rest is one operator a layer. What the converter does was observed on its
output (TensorFlow 2.21), and tests compare the two for members of every kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from mcudeploy.graph.ir import Graph
from mcudeploy.zoo.graph_builder import GraphBuilder
from mcudeploy.zoo.net import Layer, Network
from mcudeploy.zoo.sequence_lowering import lower_attention, lower_layer_norm, lower_recurrent

_FUSABLE = {"relu": "RELU", "relu6": "RELU6", "hard_sigmoid": "RELU6"}
_UNARY = {
    "relu": "RELU", "relu6": "RELU6", "tanh": "TANH", "sigmoid": "LOGISTIC",
    "hard_swish": "HARD_SWISH",
}  # fmt: skip


def lower(network: Network) -> Graph:
    """The shape graph of a network's int8 deployment, batch 1."""
    return _Lowering(network).run()


class _Lowering:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.graph = GraphBuilder(network.name)
        self.tensors: dict[int, int] = {}
        """Tensor of each layer's output; absorbed layers have their absorber's."""
        readers = Counter(i for layer in network.layers for i in layer.inputs)
        self.sole_reader = {
            layer.inputs[0]: position
            for position, layer in enumerate(network.layers)
            if len(layer.inputs) == 1 and readers[layer.inputs[0]] == 1
        }

    def run(self) -> Graph:
        for position, layer in enumerate(self.network.layers):
            if position not in self.tensors:
                self._LOWER[layer.kind](self, position, layer)
        return self.graph.finish(0, self.tensors[len(self.network.layers) - 1])

    def _sources(self, layer: Layer) -> tuple[int, ...]:
        return tuple(self.tensors[i] for i in layer.inputs)

    def _follower(self, position: int, kind: str) -> int | None:
        """The only reader of a layer, when it is of `kind`."""
        reader = self.sole_reader.get(position)
        if reader is not None and self.network.layers[reader].kind == kind:
            return reader
        return None

    def _fuse(self, position: int, *, norm: bool) -> tuple[list[int], str, bool]:
        """The layers that the operator of layer `position` absorbs, its fused function, and
        whether a MUL by 1/6 completes it."""
        absorbed = [position]
        folded = self._follower(position, "norm") if norm else None
        if folded is not None:
            absorbed.append(folded)
        reader = self._follower(absorbed[-1], "activation")
        if reader is None:
            return absorbed, "NONE", False
        function = self.network.layers[reader].options["function"]
        if function not in _FUSABLE:
            return absorbed, "NONE", False
        return [*absorbed, reader], _FUSABLE[function], function == "hard_sigmoid"

    def _settle(self, absorbed: list[int], tensor: int, sixth: bool = False) -> None:
        if sixth:
            tensor = self.graph.multiply(
                tensor, self.graph.constant("one_sixth", ()), f"{self.graph.tensors[tensor].name}/6"
            )
        self.tensors.update(dict.fromkeys(absorbed, tensor))

    def _input(self, position: int, layer: Layer) -> None:
        self.tensors[position] = self.graph.activation(layer.name, (1, *layer.shape))

    def _conv(self, position: int, layer: Layer) -> None:
        (x,) = self._sources(layer)
        absorbed, fused, sixth = self._fuse(position, norm=True)
        (r, s), (stride_h, stride_w) = layer.options["kernel"], layer.options["stride"]
        m = layer.shape[-1]
        depthwise = layer.kind == "depthwise"
        if depthwise:
            weights = self.graph.weights(f"{layer.name}/weights", (1, r, s, m), axis=3)
            own: dict[str, Any] = {"depth_multiplier": 1}
        else:
            group_c = self.graph.shape(x)[-1] // layer.options["groups"]
            weights = self.graph.weights(f"{layer.name}/weights", (m, r, s, group_c))
            own = {"quantized_bias_type": "float32"}
        y = self.graph.emit(
            "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
            (x, weights, self.graph.bias(f"{layer.name}/bias", m)), (1, *layer.shape), layer.name,
            padding=layer.options["padding"].upper(), stride_w=stride_w, stride_h=stride_h,
            dilation_w_factor=1, dilation_h_factor=1, fused_activation_function=fused, **own,
        )  # fmt: skip
        self._settle(absorbed, y, sixth)

    def _dense(self, position: int, layer: Layer) -> None:
        (x,) = self._sources(layer)
        absorbed, fused, sixth = self._fuse(position, norm=True)
        units = layer.shape[-1]
        weights = self.graph.weights(f"{layer.name}/weights", (units, self.graph.shape(x)[-1]))
        bias = self.graph.bias(f"{layer.name}/bias", units)
        y = self.graph.fully_connected(
            x, (1, *layer.shape), layer.name, weights=weights, bias=bias, fused=fused
        )
        self._settle(absorbed, y, sixth)

    def _norm(self, position: int, layer: Layer) -> None:
        """Batch norm that nothing before it absorbs."""
        (x,) = self._sources(layer)
        absorbed, fused, sixth = self._fuse(position, norm=False)
        c = (layer.shape[-1],)
        y = self.graph.multiply(x, self.graph.constant(f"{layer.name}/scale", c), layer.name)
        shift = self.graph.constant(f"{layer.name}/shift", c)
        self._settle(absorbed, self.graph.add(y, shift, f"{layer.name}/add", fused), sixth)

    def _activation(self, position: int, layer: Layer) -> None:
        (x,), function = self._sources(layer), layer.options["function"]
        if function == "softmax":
            y = self.graph.softmax(x, layer.name)
        elif function == "swish":
            gate = self.graph.unary("LOGISTIC", x, f"{layer.name}/gate")
            y = self.graph.multiply(x, gate, layer.name)
        elif function == "hard_sigmoid":
            three = self.graph.constant("three", ())
            y = self.graph.add(x, three, f"{layer.name}/add", "RELU6")
            y = self.graph.multiply(y, self.graph.constant("one_sixth", ()), layer.name)
        elif function == "gelu":
            y = self.graph.unary("GELU", x, layer.name, approximate=False)
        else:
            y = self.graph.unary(_UNARY[function], x, layer.name)
        self.tensors[position] = y

    def _pool(self, position: int, layer: Layer) -> None:
        (x,) = self._sources(layer)
        (r, s), (stride_h, stride_w) = layer.options["kernel"], layer.options["stride"]
        kind = "MAX_POOL_2D" if layer.options["how"] == "max" else "AVERAGE_POOL_2D"
        self.tensors[position] = self.graph.emit(
            kind, (x,), (1, *layer.shape), layer.name, padding=layer.options["padding"].upper(),
            stride_w=stride_w, stride_h=stride_h, filter_width=s, filter_height=r,
            fused_activation_function="NONE",
        )  # fmt: skip

    def _mean(self, position: int, layer: Layer) -> None:
        (x,) = self._sources(layer)
        axes = tuple(range(1, len(self.graph.shape(x)) - 1))
        # Keras writes a single axis as a scalar.
        self.tensors[position] = self.graph.mean(
            x, axes if len(axes) > 1 else axes[0], (1, *layer.shape), layer.name
        )

    def _add(self, position: int, layer: Layer) -> None:
        absorbed, fused, sixth = self._fuse(position, norm=False)
        x, y = self._sources(layer)
        self._settle(absorbed, self.graph.add(x, y, layer.name, fused), sixth)

    def _multiply(self, position: int, layer: Layer) -> None:
        absorbed, fused, sixth = self._fuse(position, norm=False)
        x, gate = self._sources(layer)
        self._settle(absorbed, self.graph.multiply(x, gate, layer.name, fused), sixth)

    def _concat(self, position: int, layer: Layer) -> None:
        self.tensors[position] = self.graph.emit(
            "CONCATENATION", self._sources(layer), (1, *layer.shape), layer.name,
            axis=-1, fused_activation_function="NONE",
        )  # fmt: skip

    def _reshape(self, position: int, layer: Layer) -> None:
        (x,) = self._sources(layer)
        if self._follower(position, "dense") and layer.shape[-1] == self.graph.shape(x)[-1]:
            # FULLY_CONNECTED does not mind leading axes of size 1.
            self.tensors[position] = x
            return
        self.tensors[position] = self.graph.reshape(x, (1, *layer.shape), layer.name)

    def _permute(self, position: int, layer: Layer) -> None:
        (x,) = self._sources(layer)
        self.tensors[position] = self.graph.transpose(x, (0, *layer.options["axes"]), layer.name)

    def _recurrent(self, position: int, layer: Layer) -> None:
        (x,) = self._sources(layer)
        stacked = self._follower(position, "recurrent") is not None
        self.tensors[position] = lower_recurrent(self.graph, x, layer, stacked)

    def _attention(self, position: int, layer: Layer) -> None:
        (x,) = self._sources(layer)
        self.tensors[position] = lower_attention(self.graph, x, layer)

    def _layer_norm(self, position: int, layer: Layer) -> None:
        (x,) = self._sources(layer)
        self.tensors[position] = lower_layer_norm(self.graph, x, layer)

    def _weighted_sum(self, position: int, layer: Layer) -> None:
        weights, x = self._sources(layer)
        self.tensors[position] = self.graph.batch_matmul(weights, x, layer.name)

    _LOWER: ClassVar[Mapping[str, Callable[[_Lowering, int, Layer], None]]] = {
        "input": _input,
        "conv": _conv,
        "depthwise": _conv,
        "dense": _dense,
        "norm": _norm,
        "activation": _activation,
        "pool": _pool,
        "mean": _mean,
        "add": _add,
        "multiply": _multiply,
        "concat": _concat,
        "reshape": _reshape,
        "permute": _permute,
        "recurrent": _recurrent,
        "attention": _attention,
        "layer_norm": _layer_norm,
        "weighted_sum": _weighted_sum,
    }
