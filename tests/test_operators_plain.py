# SPDX-License-Identifier: Apache-2.0
"""Indices, masks and values that stay in float32: casts, comparisons, logic, selection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from operator_cases import (
    CASES_PER_LACKING_MODEL,
    NIGHTLY_CASES,
    Case,
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

ARITHMETIC = ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM")
COMPARISONS = ("LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "EQUAL", "NOT_EQUAL")


def some(random: int, shape: Sequence[int], dtype: str) -> np.ndarray:
    values = np.random.default_rng(random).uniform(-2, 3, shape)
    return (values if dtype == "float32" else np.round(values)).astype(dtype)


def shown(b: ModelBuilder, mask: int, shape: Sequence[int]) -> int:
    """A mask as int32: a model gives no bool."""
    y = b.tensor(shape, "int32")
    return b.operator("CAST", [mask], y, in_data_type="bool", out_data_type="int32")


@st.composite
def pairwise(draw: st.DrawFn, kind: str) -> Case:
    compares = kind in COMPARISONS
    dtype = draw(st.sampled_from(["int32", "float32", *(["int8"] * 2 if compares else [])]))
    shape, random = (1, *draw(shapes(1, 3))), draw(seeds)
    other = draw(st.sampled_from([shape, shape[-1:], ()]))
    out_dtype = "bool" if compares else dtype
    first = second = {"scale": draw(powers_of_two(-20, -0.1)), "zero_point": draw(zero_points)}
    if draw(st.booleans()):
        ratio = 2.0 ** draw(st.sampled_from([-3.0, -0.3, 0.05]))
        second = {"scale": first["scale"] * ratio, "zero_point": draw(zero_points)}

    def build(b: ModelBuilder) -> Sequence[int]:
        x = b.input(shape, dtype, **(first if dtype == "int8" else {}))
        y = b.constant(some(random, other, dtype))
        if dtype == "int8":
            y = b.constant(int8(random, other), **second)
        result = b.operator(kind, [x, y], b.tensor(shape, out_dtype))
        return [shown(b, result, shape) if out_dtype == "bool" else result]

    return Case(
        {"kind": kind, "dtype": dtype, "shapes": (shape, other), "quantized": (first, second),
         "seed": random},
        build,
    )  # fmt: skip


@st.composite
def cast(draw: st.DrawFn) -> Case:
    pairs = [("float32", "int32"), ("int32", "float32"), ("int8", "float32"), ("int8", "int32")]
    first, last = draw(st.sampled_from(pairs))
    shape = (1, *draw(shapes(1, 3)))

    def build(b: ModelBuilder) -> Sequence[int]:
        options = {"scale": 0.5} if first == "int8" else {}
        x = b.input(shape, first, **options)
        y = b.tensor(shape, last)
        return [b.operator("CAST", [x], y, in_data_type=first, out_data_type=last)]

    return Case({"kind": "CAST", "from": first, "to": last, "shape": shape}, build)


@st.composite
def select(draw: st.DrawFn, kind: str) -> Case:
    shape, random = (1, *draw(shapes(1, 3))), draw(seeds)

    def build(b: ModelBuilder) -> Sequence[int]:
        x = b.input(shape, scale=0.5, zero_point=3)
        condition = b.constant(np.random.default_rng(random).integers(0, 2, shape).astype(bool))
        data = np.random.default_rng(random).integers(-128, 128, shape).astype(np.int8)
        other = b.constant(data, scale=0.5, zero_point=3)
        y = b.tensor(shape, scale=0.5, zero_point=3)
        return [b.operator(kind, [condition, x, other], y)]

    return Case({"kind": kind, "shape": shape, "seed": random}, build)


@st.composite
def logic(draw: st.DrawFn, kind: str) -> Case:
    shape, random = (1, *draw(shapes(1, 3))), draw(seeds)

    def build(b: ModelBuilder) -> Sequence[int]:
        x = b.input(shape, "float32")
        zero = b.constant(np.zeros((), np.float32))
        mask = b.operator("LESS", [x, zero], b.tensor(shape, "bool"))
        reads = [mask]
        if kind != "LOGICAL_NOT":
            reads.append(
                b.constant(np.random.default_rng(random).integers(0, 2, shape).astype(bool))
            )
        return [shown(b, b.operator(kind, reads, b.tensor(shape, "bool")), shape)]

    return Case({"kind": kind, "shape": shape, "seed": random}, build)


STRATEGIES = [
    *(pairwise(kind) for kind in (*ARITHMETIC, *COMPARISONS)),
    *(logic(kind) for kind in ("LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT")),
    *(select(kind) for kind in ("SELECT", "SELECT_V2")),
    cast(),
]
LACKING = (*ARITHMETIC, "CAST", "SELECT", "SELECT_V2")


@golden_only
def test_equals_golden_for_any_shapes(tmp_path: Path):
    check(STRATEGIES, tmp_path, lacking=LACKING, per_model=CASES_PER_LACKING_MODEL)


@golden_only
@nightly
def test_equals_golden_for_many_shapes(tmp_path: Path):
    check(
        STRATEGIES, tmp_path, count=NIGHTLY_CASES, lacking=LACKING,
        per_model=CASES_PER_LACKING_MODEL,
    )  # fmt: skip
