# SPDX-License-Identifier: Apache-2.0
"""Checks that operators have the operands that their kinds are about.

What stands right of the reader may then take for granted that the inputs it reads by position are
there, that feature maps have four dimensions, that no tensor between operators is empty, and that
the sizes of a convolution, a pooling, a dense layer and an elementwise operator belong together: a
file that lies about them is malformed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from mcudeploy.graph.ir import DTYPE_BYTES, NO_TENSOR, Graph, Operator

Shape = tuple[int, ...]

_TWO_INPUTS = {
    "ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU", "CONV_2D",
    "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL", "PAD", "MIRROR_PAD", "TRANSPOSE",
    "MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "ARG_MAX", "ARG_MIN", "GATHER",
    "EXPAND_DIMS", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "TILE", "REVERSE_V2", "SPLIT",
    "FILL", "BROADCAST_TO",
}  # fmt: skip
_THREE_INPUTS = {
    "PADV2", "SLICE", "SPLIT_V", "TRANSPOSE_CONV", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND",
}  # fmt: skip
_MAPS = {"CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D"}
_ELEMENTWISE = {"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"}
_SAME_SHAPE = {
    "RELU", "RELU6", "RELU_N1_TO_1", "TANH", "LOGISTIC", "HARD_SWISH", "LEAKY_RELU", "ELU", "GELU",
    "QUANTIZE", "DEQUANTIZE", "SOFTMAX", "LOG_SOFTMAX", "ABS", "NEG", "EXP", "LOG", "SQRT", "RSQRT",
    "REVERSE_V2",
}  # fmt: skip
_PADS = {"PAD", "PADV2", "MIRROR_PAD"}
_SAME_ELEMENTS = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"}
_INDEXED = {
    "RESHAPE", "EXPAND_DIMS", "SLICE", "STRIDED_SLICE", "PAD", "MIRROR_PAD", "TRANSPOSE", "TILE",
    "BROADCAST_TO", "REVERSE_V2", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR", "MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "ARG_MAX", "ARG_MIN",
}  # fmt: skip
_MOST_WINDOW = 4096
_LONGEST_DIMENSION = 1 << 22
_MOST_TENSOR_BYTES = 1 << 26
"""No microcontroller holds more; what is counted or unrolled by element stays in bounds."""


def malformed_operands(graph: Graph) -> Iterator[str]:
    """What is wrong with the operands of a graph's operators, a phrase each."""
    for operator in graph.operators:
        problem = _missing(operator) or _shapes(graph, operator)
        if problem:
            yield f"{graph.describe(operator)} {problem}"


def _missing(operator: Operator) -> str:
    wanted = 4 if operator.kind == "STRIDED_SLICE" else 3 if operator.kind in _THREE_INPUTS else 1
    if operator.kind in _TWO_INPUTS:
        wanted = 2
    if len(operator.inputs) < wanted:
        return f"has {len(operator.inputs)} inputs, it needs {wanted}"
    if NO_TENSOR in operator.inputs[:wanted]:
        return "lacks an input that it cannot be without"
    if len(set(operator.outputs)) < len(operator.outputs):
        return "writes one tensor twice"
    if operator.kind in _INDEXED and operator.inputs[0] in operator.inputs[1:]:
        return "takes its input for its own shape or indices"
    return ""


def _shapes(graph: Graph, operator: Operator) -> str:
    reads = [graph.tensors[i].shape for i in operator.inputs if i != NO_TENSOR]
    writes = graph.tensors[operator.outputs[0]].shape
    kind = operator.kind
    flowing = [graph.tensors[i] for i in _flowing(graph, operator)]
    # A type that nothing can compute with is no defect of the file: another check refuses it.
    sizes = [tensor.elements * DTYPE_BYTES.get(tensor.dtype, 1) for tensor in flowing]
    if 0 in sizes:
        return "reads or makes a tensor without elements"
    shapes = [tensor.shape for tensor in flowing]
    longest = max((size for shape in shapes for size in shape), default=0)
    if longest > _LONGEST_DIMENSION:
        return f"reads or makes a tensor with a dimension of {longest:,}"
    if max(sizes, default=0) > _MOST_TENSOR_BYTES:
        return f"reads or makes a tensor of {max(sizes):,} bytes"
    if kind in _SAME_SHAPE and reads[0] != writes:
        return f"gives the shape {list(writes)} for {list(reads[0])}"
    if kind in _SAME_ELEMENTS and math.prod(reads[0]) != math.prod(writes):
        return f"gives the shape {list(writes)} for {list(reads[0])}"
    if kind in _ELEMENTWISE and _broadcast(reads[0], reads[1]) != writes:
        return f"gives the shape {list(writes)} for {list(reads[0])} and {list(reads[1])}"
    if kind in _PADS and reads[1] != (len(reads[0]), 2):
        return f"has paddings of the shape {list(reads[1])} for {list(reads[0])}"
    if kind == "FULLY_CONNECTED":
        return _dense(reads, writes)
    if kind in ("PACK", "UNPACK"):
        parts, whole = (reads, writes) if kind == "PACK" else ([writes], reads[0])
        return _stacked(operator, parts, whole)
    if kind in _MAPS:
        return _map(operator, reads, writes)
    if kind == "TRANSPOSE_CONV":
        weights, source = reads[1:3]
        if not len(weights) == len(source) == len(writes) == 4 or (
            (weights[0], weights[3]) != (writes[3], source[3])
        ):
            return f"has weights of the shape {list(weights)} for {list(source)}, {list(writes)}"
    return ""


def _flowing(graph: Graph, operator: Operator) -> Iterator[int]:
    """The tensors that an operator computes with: the first input even where it is a constant."""
    for index in dict.fromkeys((*operator.inputs, *operator.outputs)):
        first = index == operator.inputs[0]
        if index != NO_TENSOR and (first or not graph.tensors[index].is_constant):
            yield index


def _broadcast(a: Shape, b: Shape) -> Shape | None:
    rank = max(len(a), len(b))
    result = []
    for x, y in zip((1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b, strict=True):
        if x != y and 1 not in (x, y):
            return None
        result.append(y if x == 1 else x)
    return tuple(result)


def _dense(reads: list[Shape], target: Shape) -> str:
    source, weights = reads[:2]
    if len(weights) != 2 or 0 in weights or not target or target[-1] != weights[0]:
        return f"has weights of the shape {list(weights)} for an output {list(target)}"
    rows = math.prod(target) // weights[0]
    if rows * weights[1] != math.prod(source):
        return f"has weights of the shape {list(weights)} for an input {list(source)}"
    if len(reads) > 2 and reads[2] != (weights[0],):
        return f"has biases of the shape {list(reads[2])} for {weights[0]} outputs"
    return ""


def _stacked(operator: Operator, parts: list[Shape], whole: Shape) -> str:
    axis = operator.attributes.get("axis", 0)
    axis += len(whole) if axis < 0 else 0
    count = max(len(operator.inputs), len(operator.outputs))
    if 0 <= axis < len(whole) and whole[axis] == count:
        rest = whole[:axis] + whole[axis + 1 :]
        if all(part == rest for part in parts):
            return ""
    return f"has parts of the shape {list(parts[0])} and a whole {list(whole)}"


def _map(operator: Operator, reads: list[Shape], writes: Shape) -> str:
    source, attributes = reads[0], operator.attributes
    if len(source) != 4 or len(writes) != 4 or source[0] != writes[0] or 0 in source + writes:
        return f"makes {list(writes)} of {list(source)}"
    if operator.kind.endswith("POOL_2D"):
        kernel = (attributes["filter_height"], attributes["filter_width"])
        fits = source[3] == writes[3]
    else:
        weights = reads[1]
        depthwise = operator.kind == "DEPTHWISE_CONV_2D"
        if len(weights) != 4 or 0 in weights:
            return f"has weights of the shape {list(weights)}"
        kernel = weights[1:3]
        out_c, in_c = (weights[3], source[3]) if depthwise else (weights[0], weights[3])
        fits = out_c == writes[3] and (out_c if depthwise else source[3]) % in_c == 0
        if fits and not depthwise:
            fits = out_c % (source[3] // in_c) == 0  # as many channels out of each group
        if len(reads) > 2:
            fits = fits and reads[2] == (out_c,)
    if not fits:
        return f"has weights or biases that do not belong to {list(source)} and {list(writes)}"
    for size, out, k, axis in zip(source[1:3], writes[1:3], kernel, "hw", strict=True):
        stride = attributes[f"stride_{axis}"]
        reach = (k - 1) * attributes.get(f"dilation_{axis}_factor", 1) + 1
        if max(k, reach) > _MOST_WINDOW:
            return f"has a window of {max(k, reach):,} values"
        valid = attributes["padding"] == "VALID"
        if out != (-(-(size - reach + 1) // stride) if valid else -(-size // stride)):
            return f"makes {out} of {size} values with a kernel of {k} and a stride of {stride}"
    return ""
