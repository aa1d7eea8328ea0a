# SPDX-License-Identifier: Apache-2.0
"""Computes at deployment what depends on constants alone.

SHAPE of a tensor is a constant, as all shapes are known; what a dynamic batch leaves behind
(SHAPE, STRIDED_SLICE, PACK, then RESHAPE) folds away from there. Only data movement, integers and
the exactly rounded DEQUANTIZE are computed: what is folded has the reference's bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator, Tensor
from mcudeploy.graph.rewrite import Draft

NAME = "fold-constants"

Array = npt.NDArray[Any]
_Compute = Callable[[Sequence[Array], Mapping[str, Any], Tensor], Array]

_LARGEST_BYTES = 4 << 20
"""A FILL of a few bytes can ask for gigabytes: beyond this size nothing is folded."""
_FAILURES = (ValueError, IndexError, TypeError, KeyError, OverflowError)


def apply(graph: Graph) -> Graph:
    draft = Draft(graph)
    for operator in graph.operators:
        results = _evaluate(draft, operator)
        if results is None:
            continue
        for index, value in zip(operator.outputs, results, strict=True):
            value = np.array(value, order="C")  # ascontiguousarray would make a scalar a vector
            value.setflags(write=False)
            draft.set_tensor(index, replace(draft.tensors[index], data=value))
        draft.swap(operator)
    return draft.graph


def _evaluate(draft: Draft, operator: Operator) -> list[Array] | None:
    """The values of an operator's outputs; None when they are not known now."""
    targets = [draft.tensors[i] for i in operator.outputs]
    if any(i in draft.outputs for i in operator.outputs):
        return None
    if sum(t.elements * 8 for t in targets) > _LARGEST_BYTES:
        return None
    try:
        if operator.kind == "SHAPE":
            shape = draft.tensors[operator.inputs[0]].shape
            return _checked([np.array(shape, targets[0].dtype)], targets)
        values = [draft.tensors[i].data for i in operator.inputs if i != NO_TENSOR]
        known = [value for value in values if value is not None]
        if not known or len(known) != len(values):
            return None
        if operator.kind == "DEQUANTIZE":
            return _checked([_dequantize(known[0], draft.tensors[operator.inputs[0]])], targets)
        if operator.kind == "UNPACK":
            axis = operator.attributes["axis"]
            return _checked(list(np.moveaxis(known[0], axis, 0)), targets)
        if operator.kind in _MOVES and _keeps_scale(draft, operator):
            return _checked(
                [_MOVES[operator.kind](known, operator.attributes, targets[0])], targets
            )
        if operator.kind in _INTEGER and targets[0].dtype in ("int32", "int64"):
            return _checked(
                [_INTEGER[operator.kind](known, operator.attributes, targets[0])], targets
            )
    except _FAILURES:
        return None  # ill-formed arguments: the operator's family says what is wrong
    return None


def _checked(values: list[Array], targets: Sequence[Tensor]) -> list[Array] | None:
    """The values, if they have the types and shapes that the graph states."""
    for value, target in zip(values, targets, strict=True):
        if str(value.dtype) != target.dtype or value.shape != target.shape:
            return None
    return values


def _keeps_scale(draft: Draft, operator: Operator) -> bool:
    """Moving stored values is moving real ones."""
    first = draft.tensors[operator.inputs[0]].quantization
    if operator.kind == "FILL":
        first = draft.tensors[operator.inputs[1]].quantization
    return first == draft.tensors[operator.outputs[0]].quantization


def _dequantize(value: Array, tensor: Tensor) -> Array:
    """scale * (stored - zero point), rounded once to single precision."""
    if value.dtype == np.float16:
        return value.astype(np.float32)
    quantization = tensor.quantization
    if quantization is None:
        raise TypeError(f"{tensor.name} is not quantized")
    shape = [1] * value.ndim
    if quantization.axis is not None:
        shape[quantization.axis] = -1
    scales = np.reshape(quantization.scales, shape if quantization.per_channel else ())
    points = np.reshape(quantization.zero_points, shape if quantization.per_channel else ())
    return np.asarray(scales * (value.astype(np.int64) - points), np.float32)


def _strided_slice(v: Sequence[Array], attributes: Mapping[str, Any], target: Tensor) -> Array:
    if attributes["ellipsis_mask"] or attributes["new_axis_mask"] or attributes.get("offset"):
        raise ValueError("masks that no shape chain has")
    source, begin, end, strides = v
    slices = []
    for axis, (first, last, step) in enumerate(
        zip(begin.tolist(), end.tolist(), strides.tolist(), strict=True)
    ):
        bit = 1 << axis
        if attributes["shrink_axis_mask"] & bit:
            slices.append(slice(first, first + 1 or None))
            continue
        start = None if attributes["begin_mask"] & bit else first
        slices.append(slice(start, None if attributes["end_mask"] & bit else last, step))
    return source[tuple(slices)].reshape(target.shape)


_MOVES: dict[str, _Compute] = {
    "RESHAPE": lambda v, a, t: v[0].reshape(t.shape),
    "SQUEEZE": lambda v, a, t: v[0].reshape(t.shape),
    "EXPAND_DIMS": lambda v, a, t: v[0].reshape(t.shape),
    "TRANSPOSE": lambda v, a, t: np.transpose(v[0], v[1].ravel().tolist()),
    "STRIDED_SLICE": _strided_slice,
    "PACK": lambda v, a, t: np.stack(v, axis=a["axis"]),
    "CONCATENATION": lambda v, a, t: np.concatenate(v, axis=a["axis"]),
    "FILL": lambda v, a, t: np.full(t.shape, v[1]),
    "GATHER": lambda v, a, t: np.take(v[0], v[1], axis=a["axis"]),
    "SLICE": lambda v, a, t: v[0][
        tuple(slice(b, b + n) for b, n in zip(v[1].tolist(), t.shape, strict=True))
    ],
}

_INTEGER: dict[str, _Compute] = {
    "ADD": lambda v, a, t: v[0] + v[1],
    "SUB": lambda v, a, t: v[0] - v[1],
    "MUL": lambda v, a, t: v[0] * v[1],
    "MAXIMUM": lambda v, a, t: np.maximum(v[0], v[1]),
    "MINIMUM": lambda v, a, t: np.minimum(v[0], v[1]),
    "REDUCE_PROD": lambda v, a, t: np.prod(
        v[0], axis=tuple(v[1].ravel().tolist()), keepdims=a["keep_dims"], dtype=v[0].dtype
    ),
    "CAST": lambda v, a, t: v[0].astype(t.dtype),
}
