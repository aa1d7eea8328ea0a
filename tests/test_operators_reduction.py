# SPDX-License-Identifier: Apache-2.0
"""Reductions: any axes, kept or not, any scales."""

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
    activation,
    check,
    golden_only,
    nightly,
    powers_of_two,
    shapes,
    zero_points,
)
from tflite_builder import ModelBuilder

from mcudeploy.operators.reduction import reduce_walk


@st.composite
def reduction(draw: st.DrawFn, kind: str) -> Case:
    shape = draw(shapes(1, 4))
    if draw(st.integers(0, 3)) == 0:
        shape = (1, *draw(shapes(3, 3)))
        axes = [1, 2]
    else:
        axes = draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    given = [a - len(shape) if draw(st.booleans()) else a for a in axes]
    keep = draw(st.booleans())
    scale, point = draw(powers_of_two(-10, 3)), draw(zero_points)
    out_scale, out_point = scale, point
    if kind in ("MEAN", "SUM") and draw(st.integers(0, 3)):
        ratio = draw(st.sampled_from([-18.0, -6.0, -1.0, 0.0, 1.0, 4.0]))
        out_scale, out_point = float(np.float32(scale * 2.0**-ratio)), draw(zero_points)
    out = tuple(1 if a in axes else n for a, n in enumerate(shape) if keep or a not in axes)

    def build(b: ModelBuilder) -> Sequence[int]:
        x = activation(b, shape, scale=scale, zero_point=point)
        where = b.constant(np.array(given, np.int32))
        y = b.tensor(out, scale=out_scale, zero_point=out_point)
        return [b.operator(kind, [x, where], y, keep_dims=keep)]

    return Case(
        {"kind": kind, "in": shape, "axes": given, "keep_dims": keep,
         "scales": (scale, out_scale), "zero_points": (point, out_point)},
        build,
    )  # fmt: skip


@st.composite
def arg(draw: st.DrawFn, kind: str) -> Case:
    shape = draw(shapes(2, 4))
    axis = draw(st.integers(0, len(shape) - 1))
    given = axis - len(shape) if draw(st.booleans()) else axis
    q: dict[str, Any] = {"scale": draw(powers_of_two(-8, 2)), "zero_point": draw(zero_points)}

    def build(b: ModelBuilder) -> Sequence[int]:
        x = activation(b, shape, **q)
        y = b.tensor(shape[:axis] + shape[axis + 1 :], "int32")
        where = b.constant(np.array(given, np.int32))
        return [b.operator(kind, [x, where], y, output_type="int32")]

    return Case({"kind": kind, "in": shape, "axis": given}, build)


GROUPS = {
    "scaled": [reduction("MEAN"), reduction("SUM")],
    "chosen": [reduction("REDUCE_MAX"), reduction("REDUCE_MIN"), arg("ARG_MAX"), arg("ARG_MIN")],
}


@golden_only
@pytest.mark.parametrize("group", GROUPS)
def test_equals_golden_for_any_axes(group: str, tmp_path: Path):
    check(GROUPS[group], tmp_path)


@golden_only
@nightly
@pytest.mark.parametrize("group", GROUPS)
def test_equals_golden_for_many_axes(group: str, tmp_path: Path):
    check(GROUPS[group], tmp_path, count=NIGHTLY_CASES)


def test_neighbouring_axes_of_one_sort_are_one_loop():
    walk = reduce_walk((2, 3, 1, 4, 5), {1, 3})
    assert (walk.kept, walk.kept_stride) == ((2, 5), (60, 1))
    assert (walk.reduced, walk.reduced_stride) == ((12,), (5,))
