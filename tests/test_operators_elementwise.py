# SPDX-License-Identifier: Apache-2.0
"""Operators of two tensors: any scales, any broadcast, either operand a constant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_model import HostModel
from hypothesis import strategies as st
from operator_cases import (
    NIGHTLY_CASES,
    Case,
    activation,
    activations,
    check,
    golden_only,
    int8,
    nightly,
    powers_of_two,
    seeds,
    shapes,
    zero_points,
)
from tflite_builder import ModelBuilder

from mcudeploy.errors import UnsupportedModelError
from mcudeploy.frontend.reference import Reference
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.operators.broadcast import broadcast_shape, broadcast_walk
from mcudeploy.operators.support import check_operators

WITH_ACTIVATION = {"ADD", "SUB", "MUL", "DIV"}
SAME_SCALES = {"MAXIMUM", "MINIMUM"}
DIMENSIONS_OF_TFLM = 4


@st.composite
def operand_shapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Equal, a channel vector, a scalar, or sizes of 1 anywhere in either."""
    whole = draw(shapes(1, DIMENSIONS_OF_TFLM))
    form = draw(st.sampled_from(["equal", "channels", "scalar", "product", "mixed"]))
    if form == "product":
        whole = (draw(st.integers(2, 5)), draw(st.integers(2, 5)))
        return (whole[0], 1), (1, whole[1])
    if form == "equal":
        return whole, whole
    if form == "channels":
        return whole, whole[-1:]
    if form == "scalar":
        return whole, draw(st.sampled_from([(), (1,)]))
    ones = st.lists(st.booleans(), min_size=len(whole), max_size=len(whole))
    a, b = draw(ones), draw(ones)
    return (
        tuple(1 if one else n for one, n in zip(a, whole, strict=True)),
        tuple(1 if one else n for one, n in zip(b, whole, strict=True)),
    )


def divisor(random: int, shape: Sequence[int], zero_point: int) -> np.ndarray[Any, Any]:
    """No zero: that is refused where it is constant."""
    values = int8(random, shape)
    return np.where(values == zero_point, np.int8(zero_point ^ 1), values).astype(np.int8)


@st.composite
def binary(draw: st.DrawFn, kind: str) -> Case:
    first, second = draw(operand_shapes())
    if kind != "PRELU" and draw(st.booleans()):
        first, second = second, first
    a_scale = draw(powers_of_two(-10, 3))
    b_scale = a_scale * 2.0 ** draw(st.sampled_from([-12.0, -5.0, -1.0, 0.0, 0.3, 4.0]))
    ratio = draw(st.sampled_from([-18.0, -8.0, -2.0, -0.3, 0.0, 1.0, 3.0]))
    real = {
        "MUL": a_scale * b_scale,
        "PRELU": a_scale,
        "DIV": a_scale / b_scale,
        "SQUARED_DIFFERENCE": max(a_scale, b_scale) ** 2,
    }.get(kind, max(a_scale, b_scale))
    out_scale = float(np.float32(real * 2.0**-ratio))
    points = [draw(zero_points) for _ in range(3)]
    if kind in SAME_SCALES:
        a_scale = b_scale = out_scale
        points = points[:1] * 3
    scales = [float(np.float32(s)) for s in (a_scale, b_scale, out_scale)]
    constant = draw(st.sampled_from([None, None, 0, 1]))
    if kind == "PRELU":
        constant = 1
    fused, random = draw(activations), draw(seeds)
    options = {"fused_activation_function": fused} if kind in WITH_ACTIVATION else {}

    def build(b: ModelBuilder) -> Sequence[int]:
        inputs = []
        for position, shape in enumerate((first, second)):
            quantization: dict[str, Any] = {
                "scale": scales[position], "zero_point": points[position]
            }  # fmt: skip
            if position != constant:
                inputs.append(activation(b, shape, **quantization))
                continue
            data = int8(random, shape)
            if kind == "DIV" and position == 1:
                data = divisor(random, shape, points[1])
            inputs.append(b.constant(data, **quantization))
        y = b.tensor(broadcast_shape(first, second), scale=scales[2], zero_point=points[2])
        return [b.operator(kind, inputs, y, **options)]

    return Case(
        {"kind": kind, "shapes": (first, second), "constant": constant, "scales": scales,
         "zero_points": points, **options, "seed": random},
        build,
    )  # fmt: skip


GROUPS = [
    ("auto", ("ADD", "SUB", "MUL")),
    ("auto", ("DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU")),
    ("cmsis-nn", ("ADD", "MUL")),
]


@golden_only
@pytest.mark.parametrize(("kernels", "kinds"), GROUPS, ids=str)
def test_equals_golden_for_any_shapes_and_scales(
    kernels: str, kinds: tuple[str, ...], tmp_path: Path
):
    check([binary(kind) for kind in kinds], tmp_path, kernels=kernels)


@golden_only
@nightly
@pytest.mark.parametrize(("kernels", "kinds"), GROUPS, ids=str)
def test_equals_golden_for_many_shapes_and_scales(
    kernels: str, kinds: tuple[str, ...], tmp_path: Path
):
    check([binary(kind) for kind in kinds], tmp_path, kernels=kernels, count=NIGHTLY_CASES)


@pytest.mark.parametrize(
    ("a", "b", "loops"),
    [
        ((2, 3, 4), (2, 3, 4), 1),
        ((2, 3, 4), (4,), 2),
        ((2, 3, 4), (), 1),
        ((2, 3, 4), (2, 1, 1), 2),
        ((2, 1, 4), (1, 3, 1), 3),
    ],
)
def test_loops_that_both_operands_walk_alike_are_merged(
    a: tuple[int, ...], b: tuple[int, ...], loops: int
):
    assert len(broadcast_walk(a, b).extent) == loops


def test_a_division_by_a_constant_with_a_zero_is_refused():
    b = ModelBuilder()
    x = b.input((1, 2), scale=0.1, zero_point=0)
    divisor = b.constant(np.array([[5, 3]], np.int8), scale=0.1, zero_point=3)
    y = b.operator("DIV", [x, divisor], b.tensor((1, 2), scale=0.1, zero_point=0))
    with pytest.raises(UnsupportedModelError, match="its divisor has a zero"):
        check_operators(read_tflite(b.build([y]), "division"))


@pytest.mark.parametrize("out_scale", [2.0**-22, 2.0**27])
def test_a_quotient_out_of_the_reference_s_reach_is_refused(out_scale: float):
    b = ModelBuilder()
    x, divisor = (b.input((1, 2), scale=1.0, zero_point=0) for _ in range(2))
    y = b.operator("DIV", [x, divisor], b.tensor((1, 2), scale=out_scale, zero_point=0))
    with pytest.raises(UnsupportedModelError, match="scales do not suit"):
        check_operators(read_tflite(b.build([y]), "division"))


@golden_only
@pytest.mark.parametrize("out_scale", [2.0**-21, 2.0**-3, 1.0, 2.0**8, 2.0**26])
def test_a_computed_divisor_may_be_zero_as_far_as_the_reference_goes(
    out_scale: float, tmp_path: Path
):
    b = ModelBuilder()
    x, divisor = (b.input((1, 256), scale=1.0, zero_point=p) for p in (3, -7))
    y = b.operator("DIV", [x, divisor], b.tensor((1, 256), scale=out_scale, zero_point=5))
    model = b.build([y])
    numerators = np.arange(-128, 128).astype(np.int8)[None]
    inputs = [(numerators, np.full((1, 256), d, np.int8)) for d in (-128, -8, -7, -6, 127)]
    runs = HostModel(model, tmp_path)(inputs)
    with Reference(model) as golden:
        for arrays, run in zip(inputs, runs, strict=True):
            assert run.outputs[0] == golden.infer(arrays).outputs[0].tobytes(), arrays[1][0, 0]


def test_shapes_that_do_not_go_together_have_no_broadcast():
    assert broadcast_shape((2, 3), (3, 2)) is None
