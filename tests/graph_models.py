# SPDX-License-Identifier: Apache-2.0
"""A rewritten graph as a .tflite again, so that the golden reference can run it.

What rewrites add to TFLite's operators is written with TFLite's: explicit padding as a PAD before
the convolution. `TABLE` has no counterpart; tests of tables compare the table itself.
"""

from __future__ import annotations

from tflite_builder import ModelBuilder

from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator, Tensor

_ADDED = {"pad_top", "pad_bottom", "pad_left", "pad_right"}
_SHAPED = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"}


def graph_to_tflite(graph: Graph) -> bytes:
    """The model of a graph; only the tensors that its operators use are written."""
    return _Writer(graph).write()


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.builder = ModelBuilder()
        self.names: dict[int, int] = {NO_TENSOR: NO_TENSOR}

    def write(self) -> bytes:
        for index in self.graph.inputs:
            tensor = self.graph.tensors[index]
            self.names[index] = self.builder.input(
                tensor.shape, tensor.dtype, **_quantization(tensor)
            )
        for operator in self.graph.operators:
            self._operator(operator)
        return self.builder.build([self.names[i] for i in self.graph.outputs])

    def _tensor(self, index: int) -> int:
        if index not in self.names:
            tensor = self.graph.tensors[index]
            options = _quantization(tensor)
            if tensor.data is not None:
                self.names[index] = self.builder.constant(tensor.data, **options)
            else:
                self.names[index] = self.builder.tensor(tensor.shape, tensor.dtype, **options)
        return self.names[index]

    def _operator(self, operator: Operator) -> None:
        inputs = [self._tensor(i) for i in operator.inputs]
        outputs = [self._tensor(i) for i in operator.outputs]
        attributes = dict(operator.attributes)
        attributes.pop("quantized_bias_type", None)
        kind = operator.kind
        if "pad_top" in attributes:
            inputs[0] = self._padded(operator)
            attributes["padding"] = "VALID"
        if kind in _SHAPED:
            kind, inputs, attributes = "RESHAPE", inputs[:1], {}
            shape = self.graph.tensors[operator.outputs[0]].shape
            attributes["new_shape"] = list(shape)
        for name in _ADDED:
            attributes.pop(name, None)
        self.builder.operator(kind, inputs, outputs, **attributes)

    def _padded(self, operator: Operator) -> int:
        import numpy as np

        tensor = self.graph.tensors[operator.inputs[0]]
        a = operator.attributes
        pads = [(0, 0), (a["pad_top"], a["pad_bottom"]), (a["pad_left"], a["pad_right"]), (0, 0)]
        shape = [size + sum(pad) for size, pad in zip(tensor.shape, pads, strict=True)]
        padded = self.builder.tensor(shape, tensor.dtype, **_quantization(tensor))
        argument = self.builder.constant(np.array(pads, np.int32))
        self.builder.operator("PAD", [self._tensor(operator.inputs[0]), argument], padded)
        return padded


def _quantization(tensor: Tensor) -> dict[str, object]:
    found = tensor.quantization
    if found is None:
        return {}
    if found.per_channel:
        return {"scale": found.scales, "zero_point": found.zero_points, "axis": found.axis}
    return {"scale": found.scale, "zero_point": found.zero_point}
