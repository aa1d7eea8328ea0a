# SPDX-License-Identifier: Apache-2.0
"""Products of matrices, either of them constant, transposed, broadcast."""

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

from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.operators.broadcast import broadcast_shape
from mcudeploy.operators.support import macs

sizes = st.sampled_from([1, 2, 3, 4, 5, 8, 13])


@st.composite
def scaling(draw: st.DrawFn) -> dict[str, Any]:
    scales = draw(powers_of_two(-8, 1)), draw(powers_of_two(-8, 1))
    ratio = draw(st.sampled_from([-18.0, -9.0, -7.0, -4.0, 0.5]))
    out = float(np.float32(scales[0] * scales[1] * 2.0**-ratio))
    return {"scales": (*scales, out), "zero_points": [draw(zero_points) for _ in range(3)]}


@st.composite
def batch_matmul(draw: st.DrawFn) -> Case:
    rows, depth, columns = draw(sizes), draw(sizes), draw(sizes)
    whole = draw(shapes(0, 2, st.integers(1, 3)))
    a_batch = tuple(1 if draw(st.integers(0, 3)) == 0 else n for n in whole)
    b_batch = tuple(1 if draw(st.integers(0, 3)) == 0 else n for n in whole)
    adj_x, adj_y = draw(st.booleans()), draw(st.booleans())
    a = (*a_batch, *((depth, rows) if adj_x else (rows, depth)))
    b = (*b_batch, *((columns, depth) if adj_y else (depth, columns)))
    batch = broadcast_shape(a_batch, b_batch)
    assert batch is not None
    out = (*batch, rows, columns)
    q, random = draw(scaling()), draw(seeds)
    constant = draw(st.sampled_from([None, None, 1]))

    def build(builder: ModelBuilder) -> Sequence[int]:
        reads = []
        for position, shape in enumerate((a, b)):
            own = {"scale": q["scales"][position], "zero_point": q["zero_points"][position]}
            if position == constant:
                reads.append(builder.constant(int8(random, shape), **own))
            else:
                reads.append(activation(builder, shape, **own))
        y = builder.tensor(out, scale=q["scales"][2], zero_point=q["zero_points"][2])
        return [builder.operator("BATCH_MATMUL", reads, y, adj_x=adj_x, adj_y=adj_y)]

    return Case(
        {"kind": "BATCH_MATMUL", "a": a, "b": b, "adj": (adj_x, adj_y), "constant": constant, **q},
        build,
    )


@st.composite
def dense_of_computed_weights(draw: st.DrawFn) -> Case:
    rows, depth, columns = draw(sizes), draw(sizes), draw(sizes)
    q, random, fused = draw(scaling()), draw(seeds), draw(activations)
    computed = draw(st.booleans())
    biased = draw(st.booleans())

    def build(b: ModelBuilder) -> Sequence[int]:
        scales, points = q["scales"], q["zero_points"]
        x = b.input((1, rows, depth), scale=scales[0], zero_point=points[0])
        own = {"scale": scales[1], "zero_point": points[1]}
        if computed:
            w = activation(b, (columns, depth), **own)
        else:
            w = b.constant(int8(random, (columns, depth)), **own)
        bias = -1
        if biased:
            values = np.random.default_rng(random).integers(-1000, 1000, columns, np.int32)
            bias = b.constant(values, scale=scales[0] * scales[1])
        y = b.tensor((rows, columns), scale=scales[2], zero_point=points[2])
        return [b.operator("FULLY_CONNECTED", [x, w, bias], y, fused_activation_function=fused)]

    return Case(
        {"kind": "FULLY_CONNECTED", "sizes": (rows, depth, columns), "computed": computed,
         "activation": fused, "biased": biased, **q},
        build,
    )  # fmt: skip


STRATEGIES = [batch_matmul(), dense_of_computed_weights()]


@golden_only
def test_equals_golden_for_any_operands(tmp_path: Path):
    check(STRATEGIES, tmp_path)


@golden_only
@nightly
def test_equals_golden_for_many_operands(tmp_path: Path):
    check(STRATEGIES, tmp_path, count=NIGHTLY_CASES)


def test_a_product_counts_its_multiplications():
    builder = ModelBuilder()
    x = builder.input((1, 4, 6), scale=0.1)
    w = builder.constant(int8(0, (1, 6, 5)), scale=0.1)
    y = builder.operator("BATCH_MATMUL", [x, w], builder.tensor((1, 4, 5), scale=0.1))
    graph = read_tflite(builder.build([y]), "product")
    assert macs(graph, graph.operators[0]) == 4 * 6 * 5
