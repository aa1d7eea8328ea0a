# SPDX-License-Identifier: Apache-2.0
"""What operator families ask of an operator's tensors and attributes, in one place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy.typing as npt

from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator, Quantization, Tensor
from mcudeploy.operators.arithmetic import FUSED_ACTIVATIONS, same_padding
from mcudeploy.operators.base import OverlapRule


def tensor_at(graph: Graph, operator: Operator, position: int) -> Tensor | None:
    """The input at a position; None when it is absent."""
    if position >= len(operator.inputs) or operator.inputs[position] == NO_TENSOR:
        return None
    return graph.tensors[operator.inputs[position]]


def output_of(graph: Graph, operator: Operator, position: int = 0) -> Tensor:
    return graph.tensors[operator.outputs[position]]


def constant_at(graph: Graph, operator: Operator, position: int) -> npt.NDArray[Any] | None:
    """The constant data of an input; None when it is absent or computed."""
    tensor = tensor_at(graph, operator, position)
    return tensor.data if tensor is not None else None


def quantization_of(tensor: Tensor) -> Quantization:
    """The quantization of a tensor that the family's limits have found quantized."""
    assert tensor.quantization is not None
    return tensor.quantization


def activation_of(operator: Operator) -> str:
    return str(operator.attributes.get("fused_activation_function", "NONE"))


def spatial_padding(
    operator: Operator, in_hw: tuple[int, int], kernel: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)): explicit where a rewrite folded a PAD, else SAME or VALID."""
    attributes = operator.attributes
    if "pad_top" in attributes:
        return (
            (attributes["pad_top"], attributes["pad_bottom"]),
            (attributes["pad_left"], attributes["pad_right"]),
        )
    if attributes.get("padding") != "SAME":
        return (0, 0), (0, 0)
    return (
        same_padding(in_hw[0], kernel[0], strides(operator)[0], dilations(operator)[0]),
        same_padding(in_hw[1], kernel[1], strides(operator)[1], dilations(operator)[1]),
    )


def strides(operator: Operator) -> tuple[int, int]:
    return operator.attributes["stride_h"], operator.attributes["stride_w"]


def dilations(operator: Operator) -> tuple[int, int]:
    attributes = operator.attributes
    return attributes.get("dilation_h_factor", 1), attributes.get("dilation_w_factor", 1)


def dtype_limits(
    graph: Graph, operator: Operator, inputs: Sequence[int], dtype: str = "int8"
) -> Iterator[str]:
    """Phrases for the inputs at `inputs` and all outputs that are not quantized `dtype`."""
    tensors = [(f"input {p}", tensor_at(graph, operator, p)) for p in inputs]
    for p, index in enumerate(operator.outputs):
        tensors.append((f"output {p}", graph.tensors[index]))
    for role, tensor in tensors:
        if tensor is None:
            yield f"{role} is missing"
        elif tensor.dtype != dtype:
            yield f"{role} is {tensor.dtype}, not {dtype}"
        elif tensor.quantization is None:
            yield f"{role} has no scale and zero point"


def activation_limits(operator: Operator) -> Iterator[str]:
    if activation_of(operator) not in FUSED_ACTIVATIONS:
        yield f"its fused activation {activation_of(operator)} is not supported"


def batch_limits(graph: Graph, operator: Operator) -> Iterator[str]:
    """A feature map has four dimensions, the first of them 1."""
    tensor = tensor_at(graph, operator, 0)
    if tensor is not None and len(tensor.shape) != 4:
        yield f"input 0 has {len(tensor.shape)} dimensions, not 4 (NHWC)"
    elif tensor is not None and tensor.shape[0] != 1:
        yield f"input 0 has batch {tensor.shape[0]}, not 1"


def elementwise_overlap(*inputs: int) -> tuple[OverlapRule, ...]:
    """The rule of a kernel that reads each element before it writes the same one, ascending."""
    return tuple(OverlapRule(input=position, max_distance=0) for position in inputs)


def scale_limits(graph: Graph, operator: Operator, *positions: int) -> Iterator[str]:
    """For operators that leave stored values as they are: all scales must be the output's.

    `positions` are the inputs that count, all when none is given.
    """
    output = output_of(graph, operator).quantization
    for position in positions or range(len(operator.inputs)):
        source = tensor_at(graph, operator, position)
        if source is None or source.quantization is None or output is None:
            continue
        if (source.quantization.scale, source.quantization.zero_point) != (
            output.scale,
            output.zero_point,
        ):
            yield f"input {position} and its output have different scales or zero points"
