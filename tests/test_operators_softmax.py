# SPDX-License-Identifier: Apache-2.0
"""SOFTMAX and LOG_SOFTMAX: any rank, any scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st
from operator_cases import (
    NIGHTLY_CASES,
    Case,
    activation,
    check,
    golden_only,
    nightly,
    powers_of_two,
    shapes,
    zero_points,
)
from tflite_builder import ModelBuilder

OUTPUTS = {"SOFTMAX": (1 / 256, -128), "LOG_SOFTMAX": (1 / 16, 127)}


@st.composite
def softmax(draw: st.DrawFn, kind: str) -> Case:
    shape = draw(shapes(1, 4, st.sampled_from([1, 2, 3, 5, 10, 33])))
    scale, point = draw(powers_of_two(-12, 3)), draw(zero_points)
    beta = draw(st.sampled_from([1.0, 1.0, 0.5, 2.0]))
    options = {"beta": beta} if kind == "SOFTMAX" else {}

    def build(b: ModelBuilder) -> Sequence[int]:
        x = activation(b, shape, scale=scale, zero_point=point)
        out_scale, out_point = OUTPUTS[kind]
        y = b.tensor(shape, scale=out_scale, zero_point=out_point)
        return [b.operator(kind, [x], y, **options)]

    return Case({"kind": kind, "shape": shape, "scale": scale, **options}, build)


STRATEGIES = [softmax("SOFTMAX"), softmax("LOG_SOFTMAX")]


@golden_only
def test_equals_golden_for_any_shape_and_scale(tmp_path: Path):
    check(STRATEGIES, tmp_path)


@golden_only
@nightly
def test_equals_golden_for_many_shapes_and_scales(tmp_path: Path):
    check(STRATEGIES, tmp_path, count=NIGHTLY_CASES)
