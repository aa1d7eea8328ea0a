# SPDX-License-Identifier: Apache-2.0
"""Operators with a constant that is the same for every element are tables, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_model import HostModel
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_cases import activations, golden_only, powers_of_two, zero_points
from tflite_builder import ModelBuilder

from mcudeploy.board import CORES
from mcudeploy.frontend.reference import Reference
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import Graph
from mcudeploy.graph.passes import run_passes, tabulate_constants
from mcudeploy.operators import lut
from mcudeploy.operators.base import Target, family_of
from mcudeploy.operators.constant_operand import KINDS
from mcudeploy.operators.one_to_one import table_for

EVERY_BYTE = np.arange(256, dtype=np.uint8).view(np.int8).reshape(1, 256)
FUSED = {"ADD", "SUB", "MUL"}
ONE_SCALE = {"MAXIMUM", "MINIMUM"}
OPERATORS_IN_ONE_MODEL = 25


@st.composite
def scalar(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """Quantizations, the constant and its side."""
    scales = [draw(powers_of_two(-10, 4)) for _ in range(3)]
    points = [draw(zero_points) for _ in range(3)]
    if kind in ONE_SCALE:
        scales, points = [scales[0]] * 3, [points[0]] * 3
    return {
        "scales": scales,
        "points": points,
        "value": draw(st.integers(-128, 127)),
        "first": kind != "PRELU" and draw(st.booleans()),
        "fused": draw(activations) if kind in FUSED else None,
    }


def add_scalar(b: ModelBuilder, kind: str, case: dict[str, Any], elements: int = 256) -> int:
    (s_x, s_c, s_y), (z_x, z_c, z_y) = case["scales"], case["points"]
    x = b.input((1, elements), scale=s_x, zero_point=z_x)
    shape = (1,) if kind == "PRELU" else (1, 1)
    c = b.constant(np.full(shape, case["value"], np.int8), scale=s_c, zero_point=z_c)
    options = {} if case["fused"] is None else {"fused_activation_function": case["fused"]}
    y = b.tensor((1, elements), scale=s_y, zero_point=z_y)
    return b.operator(kind, [c, x] if case["first"] else [x, c], y, **options)


def kinds(graph: Graph) -> list[str]:
    return [operator.kind for operator in graph.operators]


@golden_only
@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=1, deadline=None)
@given(data=st.data())
def test_the_table_of_an_operator_with_a_scalar_is_golden_s(kind: str, data: st.DataObject):
    check_tables(kind, [data.draw(scalar(kind)) for _ in range(OPERATORS_IN_ONE_MODEL)])


def check_tables(kind: str, cases: Sequence[dict[str, Any]]) -> None:
    b = ModelBuilder()
    model = b.build([add_scalar(b, kind, case) for case in cases])
    graph = tabulate_constants.apply(read_tflite(model, kind))
    assert kinds(graph) == ["TABLE"] * len(cases)
    with Reference(model) as golden:
        outputs = golden.infer([EVERY_BYTE] * len(cases)).outputs
    for operator, output, case in zip(graph.operators, outputs, cases, strict=True):
        np.testing.assert_array_equal(output.ravel(), table_for(graph, operator), str(case))


@golden_only
@pytest.mark.slow(reason="500 scalars of each kind")
@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_the_tables_of_many_operators_with_a_scalar_are_golden_s(kind: str, data: st.DataObject):
    check_tables(kind, [data.draw(scalar(kind)) for _ in range(50)])


def network(steps: Sequence[tuple[str, np.ndarray[Any, Any]]], elements: int) -> bytes:
    """A chain of MUL and ADD with constants, then TANH."""
    b = ModelBuilder()
    x = b.input((1, elements), scale=0.02, zero_point=3)
    for kind, values in steps:
        constant = b.constant(values, scale=0.01)
        x = b.operator(kind, [x, constant], b.tensor((1, elements), scale=0.02, zero_point=3))
    return b.build([b.operator("TANH", [x], b.tensor((1, elements), scale=1 / 128))])


def scalar_of(value: int) -> np.ndarray[Any, Any]:
    return np.full((1, 1), value, np.int8)


@golden_only
def test_a_multiplication_and_an_addition_join_the_activation_in_one_table(tmp_path: Path):
    model = network([("MUL", scalar_of(87)), ("ADD", scalar_of(-40))], 40)
    program = HostModel(model, tmp_path)
    assert kinds(program.plan.graph) == ["TABLE"]
    program.check_against_golden(4)


@pytest.mark.parametrize(
    ("values", "elements", "left"),
    [
        (scalar_of(87), 300, ["TABLE"]),
        (np.full((1, 300), 87, np.int8), 300, ["TABLE"]),
        (np.arange(300, dtype=np.int64).astype(np.int8).reshape(1, 300), 300, ["MUL", "TANH"]),
    ],
    ids=["a scalar", "a vector of one value", "a vector"],
)
def test_the_constant_must_be_one_for_every_element(
    values: np.ndarray[Any, Any], elements: int, left: list[str]
):
    graph = read_tflite(network([("MUL", values)], elements), "net")
    assert kinds(run_passes(graph)) == left
    assert kinds(run_passes(graph, ["tabulate-constants"])) == ["MUL", "TANH"]


def test_a_few_elements_beside_no_table_stay_because_a_table_takes_256_bytes():
    case = {"scales": [0.1] * 3, "points": [0] * 3, "value": 9, "first": False, "fused": "NONE"}
    for elements, left in ((255, ["MUL"]), (256, ["TABLE"])):
        b = ModelBuilder()
        model = b.build([add_scalar(b, "MUL", case, elements)])
        assert kinds(run_passes(read_tflite(model, "net"))) == left


def test_an_operator_that_changes_the_scale_alone_costs_nothing():
    # 64 * 2^-6 is one: what is stored stays, whatever the number of elements.
    case = {
        "scales": [0.5, 2.0**-6, 0.5], "points": [7, 0, 7], "value": 64, "first": False,
        "fused": "NONE",
    }  # fmt: skip
    b = ModelBuilder()
    graph = tabulate_constants.apply(read_tflite(b.build([add_scalar(b, "MUL", case, 10)]), "net"))
    (operator,) = graph.operators
    assert np.array_equal(table_for(graph, operator), lut.INPUTS)
    family = family_of("TABLE")
    assert family is not None
    best, *_ = family.implementations(graph, operator, Target(CORES["cortex-m4f"]))
    assert best.kernel == "none"
