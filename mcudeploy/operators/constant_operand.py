# SPDX-License-Identifier: Apache-2.0
"""What an operator of two int8 tensors does to one of them where the other is constant.

Each value of the constant makes the operator a function of one int8, and 256 results say all of
it. Where every value that the constant has gives the same 256 results, the operator is a table.
The arithmetic is that of firmware/kernels/broadcast_s8.c, on whole arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from mcudeploy.graph.ir import Graph, Operator, Tensor, is_placeholder
from mcudeploy.operators import fixed_point as fp
from mcudeploy.operators.elementwise import binary_fields
from mcudeploy.operators.lut import INPUTS
from mcudeploy.operators.shapes import Int8Array
from mcudeploy.operators.view import output_of, tensor_at

Int64Array = npt.NDArray[np.int64]
_Fields = Mapping[str, int]
_Function = Callable[[_Fields, Int64Array, Int64Array], Int64Array]


def _rescaled(q: _Fields, side: str, value: Int64Array) -> Int64Array:
    centred = (value - q[f"{side}_zero_point"]) << q["left_shift"]
    return fp.multiply_by_quantized(centred, q[f"{side}_multiplier"], q[f"{side}_shift"])


def _stored(q: _Fields, scaled: Int64Array) -> Int64Array:
    shifted = fp.wrap_32(scaled + q["out_zero_point"])
    return np.clip(shifted, q["activation_min"], q["activation_max"])


def _result(q: _Fields, value: Int64Array) -> Int64Array:
    wrapped = fp.wrap_32(value)
    return _stored(q, fp.multiply_by_quantized(wrapped, q["out_multiplier"], q["out_shift"]))


def _product(q: _Fields, a: Int64Array, b: Int64Array) -> Int64Array:
    return _result(q, (a - q["a_zero_point"]) * (b - q["b_zero_point"]))


def _squared_difference(q: _Fields, a: Int64Array, b: Int64Array) -> Int64Array:
    difference = _rescaled(q, "a", a) - _rescaled(q, "b", b)
    return _result(q, difference * difference)


def _prelu(q: _Fields, a: Int64Array, b: Int64Array) -> Int64Array:
    x = a - q["a_zero_point"]
    below = x * (b - q["b_zero_point"])
    above = fp.multiply_by_quantized(x, q["a_multiplier"], q["a_shift"])
    scaled = fp.multiply_by_quantized(below, q["b_multiplier"], q["b_shift"])
    return _stored(q, np.where(x >= 0, above, scaled))


_FUNCTIONS: dict[str, _Function] = {
    "ADD": lambda q, a, b: _result(q, _rescaled(q, "a", a) + _rescaled(q, "b", b)),
    "SUB": lambda q, a, b: _result(q, _rescaled(q, "a", a) - _rescaled(q, "b", b)),
    "MUL": _product,
    "SQUARED_DIFFERENCE": _squared_difference,
    "PRELU": _prelu,
    "MAXIMUM": lambda q, a, b: np.maximum(a, b),
    "MINIMUM": lambda q, a, b: np.minimum(a, b),
}
KINDS = frozenset(_FUNCTIONS)


def constant_table(graph: Graph, operator: Operator) -> tuple[int, Int8Array] | None:
    """(position of the operand that is computed, its table); None where it is no table.

    `operator` is one of `KINDS` within its family's limits. A constant whose values are not known
    yet is one only if it has a single value.
    """
    a, b = tensor_at(graph, operator, 0), tensor_at(graph, operator, 1)
    output = output_of(graph, operator)
    assert a is not None and b is not None
    position, constant = (0, b) if b.is_constant else (1, a)
    source = (a, b)[position]
    if not constant.is_constant or source.is_constant or source.shape != output.shape:
        return None
    values = _values(constant)
    if values is None:
        return None
    fields = binary_fields(operator, a, b, output)
    # A row for each value that the constant has.
    x, y = INPUTS[np.newaxis, :], values[:, np.newaxis]
    sides = (x, y) if position == 0 else (y, x)
    tables = np.broadcast_to(_FUNCTIONS[operator.kind](fields, *sides), (len(values), len(INPUTS)))
    if (tables != tables[0]).any():
        return None
    return position, tables[0].astype(np.int8)


def _values(constant: Tensor) -> Int64Array | None:
    data = constant.data
    assert data is not None
    if is_placeholder(data):
        return None
    found: Int64Array = np.unique(data).astype(np.int64)
    return found
