# SPDX-License-Identifier: Apache-2.0
"""BATCH_MATMUL, and what FULLY_CONNECTED shares with it: products of two int8 matrices.

Both sides may be computed or constant, stored as they are or transposed (`adj_x`, `adj_y`); batch
dimensions broadcast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OperatorFamily,
    Target,
    as_constant,
    register,
)
from mcudeploy.operators.broadcast import broadcast_shape, broadcast_walk
from mcudeploy.operators.shapes import Int32Array, quantize_multiplier
from mcudeploy.operators.view import dtype_limits, output_of, quantization_of, tensor_at

_CALL = """
static const mcud_matmul_s8_t params = {
    .biases = {{ constants.biases if constants.biases is defined else "NULL" }},
{% for name, value in p.items() %}
    .{{ name }} = {{ value }},
{% endfor %}
};

{% for extent in extents %}
{{ "    " * loop.index0 }}for (int32_t i{{ loop.index0 }} = 0; i{{ loop.index0 }} < {{ extent }}; i{{ loop.index0 }}++)
{% endfor %}
{{ "    " * extents | length }}mcud_matmul_s8(&params, {{ a }}{{ a_offset }}, {{ b }}{{ b_offset }}, {{ outputs[0] }}{{ out_offset }});
"""  # noqa: E501


def _offset(strides: Sequence[int]) -> str:
    return "".join(f" + i{n} * {stride}" for n, stride in enumerate(strides) if stride)


def matmul(
    graph: Graph,
    operator: Operator,
    parameters: dict[str, Any],
    *,
    batches: Sequence[tuple[int, int, int, int]] = (),
    bias: Int32Array | None = None,
) -> Implementation:
    """The product of inputs 0 and 1; `parameters` are fields of mcud_matmul_s8_t.

    `batches` are loops around it: (extent, stride of a, of b, of the output), in elements.
    """
    constants = []
    texts = []
    for position in (0, 1):
        tensor = tensor_at(graph, operator, position)
        assert tensor is not None
        if tensor.data is None:
            texts.append(f"{{{{ inputs[{position}] }}}}")
            continue
        name = f"operand_{position}"
        constants.append(Constant(name, as_constant(tensor.data, "int8"), "weights"))
        texts.append(f"{{{{ constants.{name} }}}}")
    if bias is not None:
        constants.append(Constant("biases", as_constant(bias, "int32"), "biases"))
    return Implementation(
        kernel="mcud_matmul_s8",
        snippet=_CALL.replace("{{ a }}", texts[0]).replace("{{ b }}", texts[1]),
        values={
            "p": parameters,
            "extents": [loop[0] for loop in batches],
            "a_offset": _offset([loop[1] for loop in batches]),
            "b_offset": _offset([loop[2] for loop in batches]),
            "out_offset": _offset([loop[3] for loop in batches]),
        },
        constants=tuple(constants),
        sources=("kernels/matmul_s8.c",),
        headers=("matmul_s8.h",),
        work=_work(parameters, math.prod(loop[0] for loop in batches)),
        reason="takes any operands on any core",
    )


def _work(p: Mapping[str, int], products: int) -> Mapping[str, float]:
    outputs = products * p["rows"] * p["columns"]
    return {"call": products, "output": outputs, "product": outputs * p["depth"]}


def requantization(graph: Graph, operator: Operator) -> dict[str, int]:
    """Zero points and multiplier as TFLM's GetQuantizedConvolutionMultipler prepares them."""
    a, b = tensor_at(graph, operator, 0), tensor_at(graph, operator, 1)
    assert a is not None and b is not None
    first, second = quantization_of(a), quantization_of(b)
    output = quantization_of(output_of(graph, operator))
    multiplier, shift = quantize_multiplier(first.scale * second.scale / output.scale)
    return {
        "a_zero_point": first.zero_point,
        "b_zero_point": second.zero_point,
        "out_zero_point": output.zero_point,
        "multiplier": multiplier,
        "shift": shift,
    }


def _matrix(shape: Sequence[int], adjoint: bool) -> tuple[int, int, int, int]:
    """(rows, columns, row stride, column stride) of the last two dimensions, as multiplied."""
    rows, columns = shape[-2:]
    return (columns, rows, 1, columns) if adjoint else (rows, columns, columns, 1)


@register
class BatchMatmul(OperatorFamily):
    """BATCH_MATMUL."""

    kinds = ("BATCH_MATMUL",)
    replacement = "int8 operands with a scale each"

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from dtype_limits(graph, operator, (0, 1))
        a, b = tensor_at(graph, operator, 0), tensor_at(graph, operator, 1)
        if a is None or b is None:
            return
        if min(len(a.shape), len(b.shape)) <= 1:
            yield f"{a.shape} or {b.shape} is no matrix"
            return
        for tensor in (a, b):
            if tensor.quantization is not None and tensor.quantization.per_channel:
                yield f"{tensor.name} is quantized per channel"
        rows, depth, *_ = _matrix(a.shape, operator.attributes["adj_x"])
        other, columns, *_ = _matrix(b.shape, operator.attributes["adj_y"])
        batches = broadcast_shape(a.shape[:-2], b.shape[:-2])
        if depth != other or batches is None:
            yield f"{a.shape} and {b.shape} do not go together"
        elif (*batches, rows, columns) != output_of(graph, operator).shape:
            yield f"its output is not {(*batches, rows, columns)}"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        a, b = tensor_at(graph, operator, 0), tensor_at(graph, operator, 1)
        assert a is not None and b is not None
        rows, depth, a_row, a_depth = _matrix(a.shape, operator.attributes["adj_x"])
        _, columns, b_depth, b_column = _matrix(b.shape, operator.attributes["adj_y"])
        walk = broadcast_walk(a.shape[:-2], b.shape[:-2])
        sizes = math.prod(a.shape[-2:]), math.prod(b.shape[-2:]), rows * columns
        batches, step = [], 1
        for extent, first, second in reversed(
            list(zip(walk.extent, walk.a_stride, walk.b_stride, strict=True))
        ):
            if extent > 1:
                batches.append((extent, first * sizes[0], second * sizes[1], step * sizes[2]))
            step *= extent
        parameters = {
            "rows": rows, "columns": columns, "depth": depth,
            "a_row_stride": a_row, "a_depth_stride": a_depth,
            "b_column_stride": b_column, "b_depth_stride": b_depth,
            **requantization(graph, operator),
            "activation_min": -128, "activation_max": 127,
        }  # fmt: skip
        return (matmul(graph, operator, parameters, batches=batches[::-1]),)
