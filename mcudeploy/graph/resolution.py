# SPDX-License-Identifier: Apache-2.0
"""The same network for a smaller input: new shapes by propagation, the weights unchanged.

For questions of size alone: the network would have to be trained anew. Only networks whose maps end
in a pooling over all of space can be asked, because a dense layer over a map has weights for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator, Tensor

_SAME_SHAPE = (
    "TABLE", "RELU", "RELU6", "TANH", "LOGISTIC", "HARD_SWISH", "LEAKY_RELU", "QUANTIZE",
    "DEQUANTIZE", "SOFTMAX", "ADD", "SUB", "MUL", "PRELU", "ELU", "GELU",
)  # fmt: skip
_WINDOWS = ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D")


def at_resolution(graph: Graph, height: int, width: int) -> Graph | None:
    """The graph for an input of `height` x `width`; None where its shapes do not follow."""
    if len(graph.inputs) != 1 or len(graph.tensors[graph.inputs[0]].shape) != 4:
        return None
    tensors = list(graph.tensors)
    source = tensors[graph.inputs[0]]
    tensors[graph.inputs[0]] = replace(source, shape=(1, height, width, source.shape[3]))
    operators = []
    for operator in graph.operators:
        made = _propagate(operator, graph, tensors)
        if made is None:
            return None
        operators.append(made)
    return replace(graph, tensors=tuple(tensors), operators=tuple(operators))


def _propagate(operator: Operator, graph: Graph, tensors: list[Tensor]) -> Operator | None:
    """The operator at the new size, its output's shape set; None when that is not known."""
    old = graph.tensors[operator.inputs[0]]
    new = tensors[operator.inputs[0]].shape
    output = operator.outputs[0]
    if old.shape == new and all(
        i == NO_TENSOR or graph.tensors[i].shape == tensors[i].shape for i in operator.inputs
    ):
        return operator
    if operator.kind in _SAME_SHAPE:
        shapes = [tensors[i].shape for i in operator.inputs if i != NO_TENSOR]
        biggest = max(shapes, key=lambda s: (len(s), *s))
        tensors[output] = replace(tensors[output], shape=biggest)
        return operator
    if operator.kind == "MEAN" and len(new) == 4:
        # Axes over all of space leave a shape without it.
        gone = graph.tensors[output].elements == old.shape[3]
        return operator if gone else None
    if operator.kind in _WINDOWS:
        return _window(operator, old.shape, new, graph, tensors)
    if operator.kind == "CONCATENATION":
        shapes = [tensors[i].shape for i in operator.inputs]
        depth = sum(shape[-1] for shape in shapes)
        tensors[output] = replace(tensors[output], shape=(*shapes[0][:-1], depth))
        return operator
    return None


def _window(
    operator: Operator,
    old: tuple[int, ...],
    new: tuple[int, ...],
    graph: Graph,
    tensors: list[Tensor],
) -> Operator | None:
    attributes: Mapping[str, object] = operator.attributes
    output = operator.outputs[0]
    out = graph.tensors[output].shape
    if (
        "filter_height" in attributes
        and out[1:3] == (1, 1)
        and old[1] == attributes["filter_height"]
    ):
        changed = {**attributes, "filter_height": new[1], "filter_width": new[2]}
        return replace(operator, attributes=changed)
    spatial = []
    for axis in (1, 2):
        # What a window leaves of an axis is linear in it: keep the offset that it has now.
        stride = int(attributes[("stride_h", "stride_w")[axis - 1]])  # type: ignore[call-overload]
        spatial.append((new[axis] - old[axis]) // stride + out[axis])
    if min(spatial) < 1:
        return None
    tensors[output] = replace(tensors[output], shape=(1, *spatial, out[3]))
    return operator
