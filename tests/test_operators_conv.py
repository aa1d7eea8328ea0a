# SPDX-License-Identifier: Apache-2.0
"""Convolutions, dense layers and pooling: any shape, stride, padding, dilation and scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from operator_cases import (
    NIGHTLY_CASES,
    Case,
    activations,
    check,
    golden_only,
    int8,
    nightly,
    powers_of_two,
    seeds,
    zero_points,
)
from tflite_builder import ModelBuilder

from mcudeploy.errors import UnsupportedModelError
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.operators.support import check_operators

sizes = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9])
channels = st.sampled_from([1, 2, 3, 4, 5, 8, 13])


def requantization(draw: st.DrawFn, count: int) -> tuple[float, list[float], float]:
    """Input scale, weight scales and output scale: multipliers from 2^-20 to above 1."""
    in_scale = draw(powers_of_two(-10, 2))
    out_scale = draw(powers_of_two(-10, 2))
    ratio = draw(st.sampled_from([-20.0, -12.0, -9.0, -8.0, -7.0, -5.0, -2.0, 0.5]))
    spread = np.random.default_rng(draw(seeds)).uniform(-2, 0, count)
    weights = [float(np.float32(2.0 ** (ratio + s) * out_scale / in_scale)) for s in spread]
    return in_scale, weights, out_scale


def biases(random: int, count: int, scales: Sequence[float], ratio: float) -> np.ndarray[Any, Any]:
    """Within some outputs of zero, so that not everything saturates."""
    values = np.random.default_rng(random).uniform(-100, 100, count) * ratio / np.array(scales)
    return np.clip(values, -(2**28), 2**28).astype(np.int32)


@st.composite
def geometry(draw: st.DrawFn, most_kernel: int = 5) -> dict[str, Any]:
    kernel = (draw(st.integers(1, most_kernel)), draw(st.integers(1, most_kernel)))
    if draw(st.booleans()):
        dilation, stride = (1, 1), (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    else:
        dilation, stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3))), (1, 1)
    padding = draw(st.sampled_from(["SAME", "VALID"]))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    least = reach if padding == "VALID" else [1, 1]
    height, width = (draw(sizes) + n - 1 for n in least)
    if draw(st.integers(0, 3)) == 0 and least[0] == 1:
        height = 1
    out = [
        -(-(n - (r - 1 if padding == "VALID" else 0)) // s)
        for n, r, s in zip((height, width), reach, stride, strict=True)
    ]
    return {
        "in": (height, width), "kernel": kernel, "stride": stride, "dilation": dilation,
        "padding": padding, "out": tuple(out),
    }  # fmt: skip


def convolution(
    draw: st.DrawFn,
    kind: str,
    in_c: int,
    out_c: int,
    weight_shape: Sequence[int],
    g: dict[str, Any],
) -> Case:
    per_channel = draw(st.booleans())
    in_scale, scales, out_scale = requantization(draw, out_c if per_channel else 1)
    in_point, out_point, random = draw(zero_points), draw(zero_points), draw(seeds)
    activation = draw(activations)
    # TFLM's depthwise convolution dies without a bias.
    biased = draw(st.integers(0, 3)) > 0 or kind == "DEPTHWISE_CONV_2D"
    options: dict[str, Any] = {
        "padding": g["padding"],
        "stride_h": g["stride"][0], "stride_w": g["stride"][1],
        "dilation_h_factor": g["dilation"][0], "dilation_w_factor": g["dilation"][1],
        "fused_activation_function": activation,
    }  # fmt: skip
    if kind == "DEPTHWISE_CONV_2D":
        options["depth_multiplier"] = out_c // in_c
    axis = 3 if kind == "DEPTHWISE_CONV_2D" else 0

    def build(b: ModelBuilder) -> Sequence[int]:
        x = b.input((1, *g["in"], in_c), scale=in_scale, zero_point=in_point)
        w = b.constant(int8(random, weight_shape), scale=scales, axis=axis)
        products = [in_scale * s for s in scales] if per_channel else [in_scale * scales[0]] * out_c
        values = biases(random, out_c, products, out_scale)
        bias_scale = products if per_channel else products[0]
        bias = b.constant(values, scale=bias_scale) if biased else -1
        y = b.tensor((1, *g["out"], out_c), scale=out_scale, zero_point=out_point)
        return [b.operator(kind, [x, w, bias], y, **options)]

    return Case(
        {
            "kind": kind, "in_c": in_c, "weights": tuple(weight_shape), **g,
            "activation": activation, "zero_points": (in_point, out_point), "biased": biased,
            "per_channel": per_channel,
            "scales": (in_scale, scales[0], out_scale), "seed": random,
        },
        build,
    )  # fmt: skip


@st.composite
def conv_2d(draw: st.DrawFn) -> Case:
    g = draw(geometry())
    in_c, out_c = draw(channels), draw(channels)
    return convolution(draw, "CONV_2D", in_c, out_c, (out_c, *g["kernel"], in_c), g)


@st.composite
def grouped_conv_2d(draw: st.DrawFn) -> Case:
    g = draw(geometry(3))
    groups, per_in, per_out = (draw(st.integers(n, 4)) for n in (2, 1, 1))
    in_c, out_c = groups * per_in, groups * per_out
    return convolution(draw, "CONV_2D", in_c, out_c, (out_c, *g["kernel"], per_in), g)


@st.composite
def depthwise(draw: st.DrawFn) -> Case:
    g = draw(geometry())
    in_c, multiplier = draw(channels), draw(st.sampled_from([1, 1, 2, 3, 4]))
    out_c = in_c * multiplier
    return convolution(draw, "DEPTHWISE_CONV_2D", in_c, out_c, (1, *g["kernel"], out_c), g)


@st.composite
def fully_connected(draw: st.DrawFn) -> Case:
    in_c, out_c = draw(st.integers(1, 40)), draw(channels)
    batches = draw(st.sampled_from([1, 1, 2, 3, 5]))
    per_channel = draw(st.booleans())
    in_scale, scales, out_scale = requantization(draw, out_c if per_channel else 1)
    in_point, out_point, random = draw(zero_points), draw(zero_points), draw(seeds)
    activation, biased = draw(activations), draw(st.booleans())
    keeps = draw(st.booleans())

    def build(b: ModelBuilder) -> Sequence[int]:
        shape = (1, batches) if keeps else (batches,)
        x = b.input((1, batches, in_c), scale=in_scale, zero_point=in_point)
        w = b.constant(int8(random, (out_c, in_c)), scale=scales, axis=0)
        products = [in_scale * s for s in scales]
        values = biases(random, out_c, products if per_channel else products * out_c, out_scale)
        bias = b.constant(values, scale=products) if biased else -1
        y = b.tensor((*shape, out_c), scale=out_scale, zero_point=out_point)
        return [
            b.operator(
                "FULLY_CONNECTED", [x, w, bias], y,
                fused_activation_function=activation, keep_num_dims=keeps,
            )
        ]  # fmt: skip

    return Case(
        {
            "kind": "FULLY_CONNECTED", "batches": batches, "in_c": in_c, "out_c": out_c,
            "scales": (in_scale, scales[0], out_scale), "per_channel": per_channel,
            "zero_points": (in_point, out_point), "activation": activation, "biased": biased,
            "keeps": keeps, "seed": random,
        },
        build,
    )  # fmt: skip


@st.composite
def transpose_conv(draw: st.DrawFn) -> Case:
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = draw(st.sampled_from(["SAME", "VALID"]))
    size = (draw(sizes), draw(sizes))
    extra = [draw(st.integers(0, s - 1)) for s in stride]
    out = tuple(
        n * s - e if padding == "SAME" else (n - 1) * s + k + (e if k <= s else 0)
        for n, s, k, e in zip(size, stride, kernel, extra, strict=True)
    )
    in_c, out_c, per_channel = draw(channels), draw(channels), draw(st.booleans())
    in_scale, scales, out_scale = requantization(draw, out_c if per_channel else 1)
    in_point, out_point, random = draw(zero_points), draw(zero_points), draw(seeds)
    biased = draw(st.booleans())
    # Keras fuses an activation whose range is that of the output: it clamps nothing.
    fused = draw(st.sampled_from(["NONE", "RELU"])) if out_point == -128 else "NONE"

    def build(b: ModelBuilder) -> Sequence[int]:
        shape = b.constant(np.array([1, *out, out_c], np.int32))
        x = b.input((1, *size, in_c), scale=in_scale, zero_point=in_point)
        w = b.constant(int8(random, (out_c, *kernel, in_c)), scale=scales, axis=0)
        products = [in_scale * s for s in (scales if per_channel else scales * out_c)]
        inputs = [shape, w, x]
        if biased:
            inputs.append(b.constant(biases(random, out_c, products, out_scale), scale=products))
        y = b.tensor((1, *out, out_c), scale=out_scale, zero_point=out_point)
        return [
            b.operator(
                "TRANSPOSE_CONV", inputs, y, padding=padding,
                stride_h=stride[0], stride_w=stride[1], fused_activation_function=fused,
            )
        ]  # fmt: skip

    return Case(
        {
            "kind": "TRANSPOSE_CONV", "in": size, "in_c": in_c, "out": out, "out_c": out_c,
            "kernel": kernel, "stride": stride, "padding": padding, "biased": biased,
            "zero_points": (in_point, out_point), "scales": (in_scale, scales[0], out_scale),
            "fused": fused, "seed": random,
        },
        build,
    )  # fmt: skip


def pooling(kind: str) -> st.SearchStrategy[Case]:
    @st.composite
    def strategy(draw: st.DrawFn) -> Case:
        g = draw(geometry().filter(lambda g: g["dilation"] == (1, 1)))
        depth, scale, point = draw(channels), draw(powers_of_two(-8, 2)), draw(zero_points)
        activation = draw(activations)

        def build(b: ModelBuilder) -> Sequence[int]:
            x = b.input((1, *g["in"], depth), scale=scale, zero_point=point)
            y = b.tensor((1, *g["out"], depth), scale=scale, zero_point=point)
            return [
                b.operator(
                    kind, [x], y, padding=g["padding"],
                    stride_h=g["stride"][0], stride_w=g["stride"][1],
                    filter_height=g["kernel"][0], filter_width=g["kernel"][1],
                    fused_activation_function=activation,
                )
            ]  # fmt: skip

        return Case(
            {"kind": kind, **g, "channels": depth, "scale": scale, "zero_point": point,
             "activation": activation},
            build,
        )  # fmt: skip

    return strategy()


STRATEGIES = {
    "CONV_2D": conv_2d(),
    "CONV_2D grouped": grouped_conv_2d(),
    "DEPTHWISE_CONV_2D": depthwise(),
    "TRANSPOSE_CONV": transpose_conv(),
    "FULLY_CONNECTED": fully_connected(),
    "AVERAGE_POOL_2D": pooling("AVERAGE_POOL_2D"),
    "MAX_POOL_2D": pooling("MAX_POOL_2D"),
}


GROUPS = [
    ("auto", ("CONV_2D", "CONV_2D grouped", "TRANSPOSE_CONV")),
    ("auto", ("DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "AVERAGE_POOL_2D", "MAX_POOL_2D")),
    ("cmsis-nn", ("CONV_2D", "DEPTHWISE_CONV_2D")),
    ("cmsis-nn", ("FULLY_CONNECTED", "AVERAGE_POOL_2D", "MAX_POOL_2D")),
]


@golden_only
@pytest.mark.parametrize(("kernels", "kinds"), GROUPS, ids=str)
def test_equals_golden_for_any_parameters(kernels: str, kinds: tuple[str, ...], tmp_path: Path):
    check([STRATEGIES[kind] for kind in kinds], tmp_path, kernels=kernels)


@golden_only
@nightly
@pytest.mark.parametrize(("kernels", "kinds"), GROUPS, ids=str)
def test_equals_golden_for_many_parameters(kernels: str, kinds: tuple[str, ...], tmp_path: Path):
    strategies = [STRATEGIES[kind] for kind in kinds]
    check(strategies, tmp_path, kernels=kernels, count=NIGHTLY_CASES)


def test_an_activation_that_clamps_what_the_reference_would_not_is_refused():
    b = ModelBuilder()
    shape = b.constant(np.array([1, 4, 4, 1], np.int32))
    w = b.constant(np.ones((1, 2, 2, 1), np.int8), scale=1.0)
    y = b.tensor((1, 4, 4, 1), scale=1.0, zero_point=0)
    x = b.input((1, 2, 2, 1), scale=1.0)
    options = {"stride_h": 2, "stride_w": 2, "fused_activation_function": "RELU"}
    model = b.build([b.operator("TRANSPOSE_CONV", [shape, w, x], y, padding="SAME", **options)])
    with pytest.raises(UnsupportedModelError, match="RELU clamps, which the reference ignores"):
        check_operators(read_tflite(model, "transposed"))
