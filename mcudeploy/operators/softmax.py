# SPDX-License-Identifier: Apache-2.0
"""SOFTMAX and LOG_SOFTMAX over the last axis, int8 to int8."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OperatorFamily,
    Target,
    as_constant,
    register,
)
from mcudeploy.operators.fixed_point import (
    Int64Array,
    divide_by_power_of_two,
    exp_of_negative,
    multiply_by_quantized,
)
from mcudeploy.operators.kernels.softmax import softmax_implementation
from mcudeploy.operators.shapes import SoftmaxQuantization, SoftmaxShape, quantize_multiplier
from mcudeploy.operators.view import (
    dtype_limits,
    elementwise_overlap,
    output_of,
    quantization_of,
    tensor_at,
)
from mcudeploy.operators.work import softmax_work

_CALL = """
arm_softmax_s8({{ inputs[0] }}, {{ s.rows }}, {{ s.depth }}, {{ q.multiplier }}, {{ q.left_shift }}, {{ q.diff_min }}, {{ outputs[0] }});
"""  # noqa: E501

_INTEGER_BITS = 5


def softmax_quantization(beta: float, input_scale: float) -> SoftmaxQuantization:
    """As TFLite's PreprocessSoftmaxScaling and CalculateInputRadius with 5 integer bits."""
    real = min(beta * input_scale * (1 << (31 - _INTEGER_BITS)), (1 << 31) - 1.0)
    multiplier, left_shift = quantize_multiplier(real)
    radius = ((1 << _INTEGER_BITS) - 1) * (1 << (31 - _INTEGER_BITS)) / (1 << left_shift)
    return SoftmaxQuantization(multiplier, left_shift, -int(radius))


@register
class Softmax(OperatorFamily):
    """SOFTMAX; the output's scale is 1/256 and its zero point -128, as TFLite demands."""

    kinds = ("SOFTMAX",)

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from dtype_limits(graph, operator, (0,))
        output = output_of(graph, operator)
        fixed = output.quantization
        if fixed and (abs(fixed.scale - 1 / 256) > 1e-6 or fixed.zero_point != -128):
            yield "its output is not quantized with scale 1/256 and zero point -128"
        source = tensor_at(graph, operator, 0)
        if source is not None and source.quantization:
            beta = operator.attributes.get("beta", 1.0)
            if beta * source.quantization.scale * (1 << (31 - _INTEGER_BITS)) < 1.0:
                yield "its input's scale is too small for 5 integer bits"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        source = tensor_at(graph, operator, 0)
        assert source is not None
        depth = source.shape[-1]
        shape = SoftmaxShape(rows=source.elements // depth, depth=depth)
        quantization = softmax_quantization(
            operator.attributes.get("beta", 1.0), quantization_of(source).scale
        )
        library = Implementation(
            kernel="arm_softmax_s8",
            snippet=_CALL,
            values={"s": shape, "q": quantization},
            overlaps=elementwise_overlap(0),
            sources=("cmsis-nn:arm_softmax_s8",),
            headers=("arm_nnfunctions.h",),
            work=softmax_work(shape, min(1.0, (1 - quantization.diff_min) / 256)),
            reason="CMSIS-NN",
        )
        fast = None
        if target.kernels == "auto":
            fast = softmax_implementation(shape, quantization, target)
        return (library,) if fast is None else (fast, library)


_LOG_CALL = """
static const mcud_log_softmax_s8_t params = {
    .exponentials = {{ constants.exponentials }},
    .rows = {{ rows }}, .depth = {{ depth }},
    .multiplier = {{ q.multiplier }}, .shift = {{ q.left_shift }},
    .reverse_multiplier = {{ reverse[0] }}, .reverse_shift = {{ reverse[1] }},
    .diff_min = {{ q.diff_min }},
};

mcud_log_softmax_s8(&params, {{ inputs[0] }}, {{ outputs[0] }});
"""

_BITS = 31
_DIFFERENCES = 256
_SUM_INTEGER_BITS = 12
_LOG_SCALE, _LOG_ZERO_POINT = 1 / 16, 127


def log_softmax_exponentials(q: SoftmaxQuantization) -> Int64Array:
    """exp of the differences 0, -1, ..., -255 in Q12.19; 0 below the least that counts."""
    differences = -np.arange(_DIFFERENCES, dtype=np.int64)
    scaled = multiply_by_quantized(differences, q.multiplier, q.left_shift)
    exponentials = divide_by_power_of_two(exp_of_negative(scaled, _INTEGER_BITS), _SUM_INTEGER_BITS)
    return np.where(differences >= q.diff_min, exponentials, 0)


@register
class LogSoftmax(OperatorFamily):
    """LOG_SOFTMAX; the output's scale is 1/16 and its zero point 127, as TFLite demands."""

    kinds = ("LOG_SOFTMAX",)

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from dtype_limits(graph, operator, (0,))
        output = output_of(graph, operator)
        fixed = output.quantization
        if fixed and (fixed.scale, fixed.zero_point) != (_LOG_SCALE, _LOG_ZERO_POINT):
            yield "its output is not quantized with scale 1/16 and zero point 127"
        source = tensor_at(graph, operator, 0)
        if source is None or not source.shape:
            yield "its input has no dimension"
        elif source.quantization:
            left_shift = softmax_quantization(1.0, source.quantization.scale).left_shift
            if not 0 < left_shift < _BITS:
                yield "its input's scale is too small or too large for 5 integer bits"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        source = tensor_at(graph, operator, 0)
        assert source is not None
        depth = source.shape[-1]
        quantization = softmax_quantization(1.0, quantization_of(source).scale)
        inverse = (1 << (_BITS - quantization.left_shift)) / quantization.multiplier
        table = log_softmax_exponentials(quantization)
        return (
            Implementation(
                kernel="mcud_log_softmax_s8",
                snippet=_LOG_CALL,
                values={
                    "rows": source.elements // depth,
                    "depth": depth,
                    "q": quantization,
                    "reverse": quantize_multiplier(inverse),
                },
                constants=(Constant("exponentials", as_constant(table, "int32"), "tables"),),
                overlaps=elementwise_overlap(0),
                sources=("kernels/log_softmax_s8.c",),
                headers=("log_softmax_s8.h",),
                reason="the only kernel",
            ),
        )
