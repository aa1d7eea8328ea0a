# SPDX-License-Identifier: Apache-2.0
"""FULLY_CONNECTED: rows of int8 times int8 weights (out x in), int32 bias, one scale or per row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mcudeploy.board import Core
from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.arithmetic import activation_range
from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OperatorFamily,
    Target,
    as_constant,
    register,
)
from mcudeploy.operators.helium_work import helium_dense_work, helium_product_work
from mcudeploy.operators.kernels.fully_connected import fully_connected_implementation
from mcudeploy.operators.kernels.fully_connected_mve import helium_fully_connected
from mcudeploy.operators.matmul import matmul, requantization
from mcudeploy.operators.shapes import (
    ConvQuantization,
    FullyConnectedShape,
    Int8Array,
    Int32Array,
    quantize_multipliers,
)
from mcudeploy.operators.view import (
    activation_limits,
    activation_of,
    constant_at,
    dtype_limits,
    output_of,
    quantization_of,
    tensor_at,
)
from mcudeploy.operators.work import Work, fully_connected_work, product_work

_CALL = """
static const cmsis_nn_fc_params params = {
    .input_offset = {{ input_offset }},
    .filter_offset = 0,
    .output_offset = {{ output_offset }},
    .activation = { .min = {{ low }}, .max = {{ high }} },
};
static const cmsis_nn_per_tensor_quant_params requantization = { .multiplier = {{ multiplier }}, .shift = {{ shift }} };
static const cmsis_nn_dims input = { .n = {{ s.batches }}, .h = 1, .w = 1, .c = {{ s.in_c }} };
static const cmsis_nn_dims kernel = { .n = {{ s.in_c }}, .h = 1, .w = 1, .c = {{ s.out_c }} };
static const cmsis_nn_dims bias = { .n = 1, .h = 1, .w = 1, .c = {{ s.out_c }} };
static const cmsis_nn_dims output = { .n = {{ s.batches }}, .h = 1, .w = 1, .c = {{ s.out_c }} };
const cmsis_nn_context context = { .buf = {{ "(void *)(uintptr_t)" ~ constants.row_sums if constants.row_sums is defined else "NULL" }}, .size = {{ sums_bytes }} };

(void)arm_fully_connected_s8(&context, &params, &requantization, &input, {{ inputs[0] }}, &kernel, {{ constants.weights }}, &bias,
    {{ constants.biases if constants.biases is defined else "NULL" }}, &output, {{ outputs[0] }});
"""  # noqa: E501

_PER_ROW_CALL = """
static const cmsis_nn_conv_params params = {
    .input_offset = {{ input_offset }},
    .output_offset = {{ output_offset }},
    .stride = { .w = 1, .h = 1 },
    .dilation = { .w = 1, .h = 1 },
    .activation = { .min = {{ low }}, .max = {{ high }} },
};
static const cmsis_nn_per_channel_quant_params requantization = {
    .multiplier = (int32_t *){{ constants.multipliers }},
    .shift = (int32_t *){{ constants.shifts }},
};
static const cmsis_nn_dims input = { .n = 1, .h = 1, .w = {{ s.batches }}, .c = {{ s.in_c }} };
static const cmsis_nn_dims kernel = { .n = {{ s.out_c }}, .h = 1, .w = 1, .c = {{ s.in_c }} };
static const cmsis_nn_dims bias = { .n = 1, .h = 1, .w = 1, .c = {{ s.out_c }} };
static const cmsis_nn_dims output = { .n = 1, .h = 1, .w = {{ s.batches }}, .c = {{ s.out_c }} };
const cmsis_nn_context context = { .buf = NULL, .size = 0 };

(void)arm_convolve_1x1_s8_fast(&context, &params, &requantization, &input, {{ inputs[0] }}, &kernel, {{ constants.weights }}, &bias,
    {{ constants.biases if constants.biases is defined else "NULL" }}, &output, {{ outputs[0] }});
"""  # noqa: E501


def fully_connected_shape(graph: Graph, operator: Operator) -> FullyConnectedShape:
    weights = tensor_at(graph, operator, 1)
    assert weights is not None
    out_c, in_c = weights.shape
    return FullyConnectedShape(
        in_c=in_c, out_c=out_c, batches=output_of(graph, operator).elements // out_c
    )


def fully_connected_quantization(graph: Graph, operator: Operator, out_c: int) -> ConvQuantization:
    """As TFLM prepares it, scales multiplied in double precision."""
    source, weights = tensor_at(graph, operator, 0), tensor_at(graph, operator, 1)
    assert source is not None and weights is not None
    output = output_of(graph, operator)
    scales = quantization_of(weights).scales
    in_scale, out_scale = quantization_of(source).scale, quantization_of(output).scale
    if len(scales) == 1:
        scales = scales * out_c
    reals = [in_scale * scale / out_scale for scale in scales]
    multipliers, shifts = quantize_multipliers(reals)
    low, high = activation_range(activation_of(operator), quantization_of(output))
    return ConvQuantization(
        input_zero_point=quantization_of(source).zero_point,
        output_zero_point=quantization_of(output).zero_point,
        multipliers=multipliers,
        shifts=shifts,
        activation_min=low,
        activation_max=high,
        weights_zero_point=quantization_of(weights).zero_point,
    )


def _library_work(shape: FullyConnectedShape, core: Core, *, per_row: bool) -> Work:
    if per_row:
        product = helium_product_work if core.mve else product_work
        return product(shape.batches, shape.out_c, shape.in_c)
    return helium_dense_work(shape) if core.mve else fully_connected_work(shape, dsp=core.dsp)


def cmsis_fully_connected(
    shape: FullyConnectedShape,
    quantization: ConvQuantization,
    weights: Int8Array,
    bias: Int32Array | None,
    core: Core,
) -> Implementation:
    """One scale: arm_fully_connected_s8; a scale per row: the same sums as a 1x1 convolution."""
    per_row = len(set(zip(quantization.multipliers, quantization.shifts, strict=True))) > 1
    constants = [Constant("weights", as_constant(weights, "int8"), "weights")]
    if bias is not None:
        constants.append(Constant("biases", as_constant(bias, "int32"), "biases"))
    if per_row:
        constants.append(
            Constant("multipliers", as_constant(quantization.multipliers, "int32"), "tables")
        )
        constants.append(Constant("shifts", as_constant(quantization.shifts, "int32"), "tables"))
    elif core.mve:
        # Helium adds input_offset * (sum of a row of weights); the sums are known here.
        row_sums = weights.astype(np.int32).sum(axis=1)
        constants.append(Constant("row_sums", as_constant(row_sums, "int32"), "tables"))
    function = "arm_convolve_1x1_s8_fast" if per_row else "arm_fully_connected_s8"
    return Implementation(
        kernel=function,
        snippet=_PER_ROW_CALL if per_row else _CALL,
        values={
            "s": shape,
            "input_offset": -quantization.input_zero_point,
            "output_offset": quantization.output_zero_point,
            "low": quantization.activation_min,
            "high": quantization.activation_max,
            "multiplier": quantization.multipliers[0],
            "shift": quantization.shifts[0],
            "sums_bytes": shape.out_c * 4 if core.mve else 0,
        },
        constants=tuple(constants),
        sources=(f"cmsis-nn:{function}",),
        headers=("arm_nnfunctions.h",),
        work=_library_work(shape, core, per_row=per_row),
        reason="CMSIS-NN",
    )


@register
class FullyConnected(OperatorFamily):
    """FULLY_CONNECTED; weights that are computed or have a zero point go to the matrix product."""

    kinds = ("FULLY_CONNECTED",)
    replacement = "a Dense layer with int8 weights"

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from dtype_limits(graph, operator, (0,))
        yield from activation_limits(operator)
        weights, bias = tensor_at(graph, operator, 1), tensor_at(graph, operator, 2)
        if weights is None or weights.dtype != "int8" or weights.quantization is None:
            yield f"its weights are {weights.dtype if weights else 'missing'}, not quantized int8"
        elif len(weights.shape) != 2:
            yield f"its weights have the shape {weights.shape}"
        elif weights.quantization.per_channel and not _is_plain(graph, operator):
            yield "its weights have a scale a row and are computed or not symmetric"
        if bias is not None and (bias.data is None or bias.dtype != "int32"):
            yield "its bias is not a constant of int32"
        if operator.attributes.get("weights_format", "DEFAULT") != "DEFAULT":
            yield "its weights are stored shuffled"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        shape = fully_connected_shape(graph, operator)
        quantization = fully_connected_quantization(graph, operator, shape.out_c)
        weights, bias = constant_at(graph, operator, 1), constant_at(graph, operator, 2)
        if not _is_plain(graph, operator):
            return (_product(graph, operator, shape, quantization, bias),)
        assert weights is not None
        library = cmsis_fully_connected(shape, quantization, weights, bias, target.core)
        fast = None
        if target.kernels == "auto":
            make = helium_fully_connected if target.core.mve else fully_connected_implementation
            fast = make(shape, quantization, weights, bias, target)
        return (library,) if fast is None else (fast, library)


def _is_plain(graph: Graph, operator: Operator) -> bool:
    """Constant weights with zero point 0, what the faster kernels want."""
    weights = tensor_at(graph, operator, 1)
    assert weights is not None
    return weights.data is not None and not any(quantization_of(weights).zero_points)


def _product(
    graph: Graph,
    operator: Operator,
    shape: FullyConnectedShape,
    quantization: ConvQuantization,
    bias: Int32Array | None,
) -> Implementation:
    parameters = {
        "rows": shape.batches, "columns": shape.out_c, "depth": shape.in_c,
        "a_row_stride": shape.in_c, "a_depth_stride": 1,
        "b_column_stride": shape.in_c, "b_depth_stride": 1,
        **requantization(graph, operator),
        "activation_min": quantization.activation_min,
        "activation_max": quantization.activation_max,
    }  # fmt: skip
    return matmul(graph, operator, parameters, bias=bias)
