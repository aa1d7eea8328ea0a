# SPDX-License-Identifier: Apache-2.0
"""Calls of CMSIS-NN's convolutions: which function, how much scratch, and the C text.

The choice that CMSIS-NN's wrappers make at run time is made here, so that the linker keeps only
what is called. Scratch sizes are those of its `*_get_buffer_size` functions, variant by variant
(a test runs these functions and compares). Source: CMSIS-NN V.12.5.1, `arm_nnfunctions.h`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mcudeploy.board import Core
from mcudeploy.operators.base import Constant, Implementation, Target, as_constant
from mcudeploy.operators.helium_work import (
    helium_convolution_work,
    helium_depthwise_work,
    helium_product_work,
)
from mcudeploy.operators.shapes import ConvQuantization, ConvShape, Int8Array, Int32Array
from mcudeploy.operators.work import Work, convolution_work, depthwise_work, product_work

_DW_BLOCK_MVE = 124
"""CH_IN_BLOCK_MVE: the channels that the Helium depthwise kernel takes at a time."""

_PARAMETERS = """
static const {{ params_type }} params = {
    .input_offset = {{ input_offset }},
    .output_offset = {{ output_offset }},
{% if ch_mult is defined %}
    .ch_mult = {{ ch_mult }},
{% endif %}
    .stride = { .w = {{ s.stride_w }}, .h = {{ s.stride_h }} },
    .padding = { .w = {{ s.pad_left }}, .h = {{ s.pad_top }} },
    .dilation = { .w = {{ s.dilation_w }}, .h = {{ s.dilation_h }} },
    .activation = { .min = {{ low }}, .max = {{ high }} },
};
static const cmsis_nn_per_channel_quant_params requantization = {
    .multiplier = (int32_t *){{ constants.multipliers }},
    .shift = (int32_t *){{ constants.shifts }},
};
static const cmsis_nn_dims input = { .n = 1, .h = {{ s.in_h }}, .w = {{ s.in_w }}, .c = {{ s.in_c }} };
static const cmsis_nn_dims kernel = { .n = {{ kernel_n }}, .h = {{ s.k_h }}, .w = {{ s.k_w }}, .c = {{ kernel_c }} };
static const cmsis_nn_dims bias = { .n = 1, .h = 1, .w = 1, .c = {{ s.out_c }} };
static const cmsis_nn_dims output = { .n = 1, .h = {{ s.out_h }}, .w = {{ s.out_w }}, .c = {{ s.out_c }} };
const cmsis_nn_context context = { .buf = {{ scratch }}, .size = {{ scratch_bytes }} };

(void){{ function }}(&context, &params, &requantization, &input, {{ inputs[0] }}, &kernel, {{ constants.weights }}, &bias,
    {{ constants.biases if constants.biases is defined else "NULL" }}, &output, {{ outputs[0] }});
"""  # noqa: E501


def _constants(
    quantization: ConvQuantization, weights: Int8Array, bias: Int32Array | None
) -> tuple[Constant, ...]:
    constants = [
        Constant("weights", as_constant(weights, "int8"), "weights"),
        Constant("multipliers", as_constant(quantization.multipliers, "int32"), "tables"),
        Constant("shifts", as_constant(quantization.shifts, "int32"), "tables"),
    ]
    if bias is not None:
        constants.append(Constant("biases", as_constant(bias, "int32"), "biases"))
    return tuple(constants)


def _implementation(
    function: str,
    shape: ConvShape,
    quantization: ConvQuantization,
    constants: tuple[Constant, ...],
    scratch: int,
    work: Work,
    **values: Any,
) -> Implementation:
    return Implementation(
        kernel=function,
        snippet=_PARAMETERS,
        values={
            "function": function,
            "s": shape,
            "input_offset": -quantization.input_zero_point,
            "output_offset": quantization.output_zero_point,
            "low": quantization.activation_min,
            "high": quantization.activation_max,
            "scratch_bytes": scratch,
            **values,
        },
        constants=constants,
        scratch_bytes=scratch,
        sources=(f"cmsis-nn:{function}",),
        headers=("arm_nnfunctions.h",),
        work=work,
        reason="CMSIS-NN",
    )


def convolution_function(shape: ConvShape) -> str:
    """The function that arm_convolve_wrapper_s8 would call."""
    undilated = shape.dilation_h == 1 and shape.dilation_w == 1
    no_padding = shape.pad_top == 0 and shape.pad_left == 0
    if shape.k_h == 1 and shape.k_w == 1 and no_padding and undilated:
        plain = shape.stride_h == 1 and shape.stride_w == 1
        return "arm_convolve_1x1_s8_fast" if plain else "arm_convolve_1x1_s8"
    if (
        shape.in_h == 1
        and shape.k_h == 1
        and shape.dilation_w == 1
        and shape.stride_w * shape.in_c % 4 == 0
    ):
        return "arm_convolve_1_x_n_s8"
    return "arm_convolve_s8"


def convolution_function_work(shape: ConvShape, core: Core) -> Work:
    """The work of `convolution_function`: 1x1 is a product, by rows where it has a stride."""
    function = convolution_function(shape)
    product = helium_product_work if core.mve else product_work
    if function == "arm_convolve_1x1_s8_fast":
        return product(shape.out_h * shape.out_w, shape.out_c, shape.in_c)
    if function == "arm_convolve_1x1_s8":
        return product(shape.out_w, shape.out_c, shape.in_c, calls=shape.out_h)
    return helium_convolution_work(shape) if core.mve else convolution_work(shape)


def convolution_scratch(shape: ConvShape, core: Core) -> int:
    """Bytes that arm_convolve_wrapper_s8_get_buffer_size gives for the core's variant."""
    function = convolution_function(shape)
    if function in ("arm_convolve_1x1_s8_fast", "arm_convolve_1x1_s8"):
        return 0
    columns = shape.k_h * shape.k_w * shape.in_c
    if core.mve:
        return 0 if function == "arm_convolve_1_x_n_s8" else 4 * 8 * -(-columns // 8)
    return 2 * 2 * (-(-columns // 4) * 4)


def cmsis_convolution(
    shape: ConvShape,
    quantization: ConvQuantization,
    weights: Int8Array,
    bias: Int32Array | None,
    target: Target,
) -> Implementation:
    """CONV_2D without groups. `weights` are OHWI int8, `bias` int32 of length out_c or None."""
    return _implementation(
        convolution_function(shape),
        shape,
        quantization,
        _constants(quantization, weights, bias),
        convolution_scratch(shape, target.core),
        convolution_function_work(shape, target.core),
        params_type="cmsis_nn_conv_params",
        kernel_n=shape.out_c,
        kernel_c=shape.in_c,
    )


def _in_optimized_3x3(shape: ConvShape) -> bool:
    return shape.k_h == 3 and shape.k_w == 3 and shape.pad_top <= 1 and shape.pad_left <= 1


def depthwise_function(shape: ConvShape, core: Core) -> str:
    """The function that arm_depthwise_conv_wrapper_s8 would call."""
    undilated = shape.dilation_h == 1 and shape.dilation_w == 1
    if shape.depth_multiplier != 1 or not undilated:
        return "arm_depthwise_conv_s8"
    if _in_optimized_3x3(shape) and not core.mve:
        return "arm_depthwise_conv_3x3_s8"
    return "arm_depthwise_conv_s8_opt"


def depthwise_scratch(shape: ConvShape, core: Core) -> int:
    """Bytes that arm_depthwise_conv_wrapper_s8_get_buffer_size gives for the core's variant."""
    if depthwise_function(shape, core) != "arm_depthwise_conv_s8_opt":
        return 0
    if core.mve:
        return 4 * _DW_BLOCK_MVE * shape.k_h * shape.k_w
    return 2 * shape.in_c * shape.k_h * shape.k_w if core.dsp else 0


def cmsis_depthwise(
    shape: ConvShape,
    quantization: ConvQuantization,
    weights: Int8Array,
    bias: Int32Array | None,
    target: Target,
) -> Implementation:
    """DEPTHWISE_CONV_2D. `weights` are 1HWC int8 with C = in_c * multiplier."""
    if bias is None:
        # The optimized kernels read biases without asking whether there are any.
        bias = np.zeros(shape.out_c, np.int32)
    function = depthwise_function(shape, target.core)
    with_helium = target.core.mve and function == "arm_depthwise_conv_s8_opt"
    return _implementation(
        function,
        shape,
        quantization,
        _constants(quantization, weights, bias),
        depthwise_scratch(shape, target.core),
        helium_depthwise_work(shape) if with_helium else depthwise_work(shape, function),
        params_type="cmsis_nn_dw_conv_params",
        kernel_n=1,
        kernel_c=shape.out_c,
        ch_mult=shape.depth_multiplier,
    )
