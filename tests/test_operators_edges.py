# SPDX-License-Identifier: Apache-2.0
"""QUANTIZE and DEQUANTIZE between float32, int8, uint8 and int16."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
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

POINTS = {
    "int8": zero_points,
    "uint8": zero_points.map(lambda z: z + 128),
    "int16": st.just(0),
}
TO_FLOAT = ("int8", "uint8", "int16")
BETWEEN = [
    ("int8", "uint8"), ("uint8", "int8"), ("int8", "int16"), ("int16", "int8"),
]  # fmt: skip


@st.composite
def quantize(draw: st.DrawFn) -> Case:
    pairs = [("float32", "int8"), ("float32", "int16"), *BETWEEN]
    first, last = draw(st.sampled_from(pairs))
    shape = (1, *draw(shapes(1, 3)))
    scale = draw(powers_of_two(-12, 3))
    ratio = 2.0 ** draw(st.sampled_from([-12.0, -3.0, -0.2, 0.0, 1.5, 4.0]))
    source: dict[str, Any] = {}
    if first != "float32":
        source = {"scale": float(np.float32(scale * ratio)), "zero_point": draw(POINTS[first])}
    target = {"scale": scale, "zero_point": draw(POINTS[last])}

    def build(b: ModelBuilder) -> Sequence[int]:
        x = activation(b, shape, dtype=first, **source)
        return [b.operator("QUANTIZE", [x], b.tensor(shape, last, **target))]

    return Case({"kind": "QUANTIZE", "from": (first, source), "to": (last, target)}, build)


@st.composite
def dequantize(draw: st.DrawFn) -> Case:
    dtype = draw(st.sampled_from(TO_FLOAT))
    shape = (1, *draw(shapes(1, 3)))
    q = {"scale": draw(powers_of_two(-12, 3)), "zero_point": draw(POINTS[dtype])}

    def build(b: ModelBuilder) -> Sequence[int]:
        x = activation(b, shape, dtype=dtype, **q)
        return [b.operator("DEQUANTIZE", [x], b.tensor(shape, "float32"))]

    return Case({"kind": "DEQUANTIZE", "from": (dtype, q), "shape": shape}, build)


STRATEGIES = [quantize(), dequantize()]


@golden_only
def test_equals_golden_for_any_types_and_scales(tmp_path: Path):
    check(STRATEGIES, tmp_path)


@golden_only
@nightly
def test_equals_golden_for_many_types_and_scales(tmp_path: Path):
    check(STRATEGIES, tmp_path, count=NIGHTLY_CASES)
