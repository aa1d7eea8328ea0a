# SPDX-License-Identifier: Apache-2.0
"""Tables of one-to-one functions: the reference's bytes for all 256 inputs, at any scales."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from kernel_emulator import CountedProgram
from kernel_program import Case, run_on_host
from tflite_builder import ModelBuilder, one_operator

from mcudeploy.board import CORES
from mcudeploy.errors import UnsupportedModelError
from mcudeploy.frontend.reference import Reference, golden_unavailable
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import Quantization
from mcudeploy.operators import lut
from mcudeploy.operators.base import Target, family_of
from mcudeploy.operators.costs import predicted_instructions
from mcudeploy.operators.one_to_one import table_for
from mcudeploy.operators.support import check_operators

EVERY_BYTE = np.arange(256, dtype=np.uint8).view(np.int8).reshape(1, 256)
NEVER_NEGATIVE = {"RSQRT", "LOG", "SQRT"}
FREE_OUTPUT = {"RSQRT", "LOG", "SQRT", "EXP"}
FIXED_OUTPUT = {"TANH": (1 / 128, 0), "LOGISTIC": (1 / 256, -128)}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "LEAKY_RELU": [{"alpha": 0.2}, {"alpha": 1.75}, {"alpha": -0.5}],
    "GELU": [{"approximate": True}, {"approximate": False}],
}
CASES = [(kind, options) for kind in lut.kinds() for options in OPTIONS.get(kind, [{}])]

NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
"""A failure names its quantization; shrinking would start hundreds of interpreters."""

golden_only = pytest.mark.skipif(golden_unavailable() is not None, reason=str(golden_unavailable()))

zero_points = st.sampled_from([-128, -127, -1, 0, 1, 127]) | st.integers(-128, 127)


@st.composite
def quantizations(draw: st.DrawFn, kind: str) -> tuple[Quantization, Quantization]:
    """Input and output: scales from 2^-14 to 2^4, ratios from 2^-8 to 2^20.

    Simple ratios make ties, where roundings differ.
    """
    scale = float(np.float32(2.0 ** draw(st.floats(-14, 4))))
    simple = st.sampled_from([1.0, 0.25, 0.5, 0.75, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 7.0, 8.0])
    low = -6 if kind == "HARD_SWISH" else -8
    ratio = draw(simple | st.floats(low, 20).map(lambda power: 2.0**power))
    out = 2.0 ** draw(st.floats(-10, 5)) if kind in FREE_OUTPUT else scale * ratio
    out_scale, out_point = FIXED_OUTPUT.get(kind, (float(np.float32(out)), draw(zero_points)))
    point = -128 if kind in NEVER_NEGATIVE else draw(zero_points)
    if kind == "NEG":
        point, out_scale, out_point = 0, scale, 0
    return Quantization((scale,), (point,)), Quantization((out_scale,), (out_point,))


def parallel_model(
    kind: str, pairs: Sequence[tuple[Quantization, Quantization]], options: dict[str, Any]
) -> bytes:
    """One operator of `kind` for each pair, side by side."""
    builder = ModelBuilder()
    outputs = []
    for source, target in pairs:
        x = builder.input((1, 256), scale=source.scale, zero_point=source.zero_point)
        y = builder.tensor((1, 256), scale=target.scale, zero_point=target.zero_point)
        outputs.append(builder.operator(kind, [x], y, **options))
    return builder.build(outputs)


@golden_only
@pytest.mark.parametrize(("kind", "options"), CASES, ids=str)
@settings(max_examples=2, deadline=None, phases=NO_SHRINKING)
@given(data=st.data())
def test_table_equals_the_reference_for_every_input(
    kind: str, options: dict[str, Any], data: st.DataObject
):
    pairs = data.draw(st.lists(quantizations(kind), min_size=20, max_size=20))
    model = parallel_model(kind, pairs, options)
    with Reference(model) as golden:
        outputs = golden.infer([EVERY_BYTE] * len(pairs)).outputs
    graph = read_tflite(model, kind)
    for operator, output, pair in zip(graph.operators, outputs, pairs, strict=True):
        np.testing.assert_array_equal(output.ravel(), table_for(graph, operator), str(pair))


@golden_only
@pytest.mark.slow(reason="a thousand quantizations of each kind")
@pytest.mark.parametrize(("kind", "options"), CASES, ids=str)
@settings(max_examples=20, deadline=None, phases=NO_SHRINKING)
@given(data=st.data())
def test_table_equals_the_reference_for_many_quantizations(
    kind: str, options: dict[str, Any], data: st.DataObject
):
    pairs = data.draw(st.lists(quantizations(kind), min_size=50, max_size=50))
    model = parallel_model(kind, pairs, options)
    with Reference(model) as golden:
        outputs = golden.infer([EVERY_BYTE] * len(pairs)).outputs
    graph = read_tflite(model, kind)
    for operator, output, pair in zip(graph.operators, outputs, pairs, strict=True):
        np.testing.assert_array_equal(output.ravel(), table_for(graph, operator), str(pair))


def test_a_chain_of_tables_is_their_composition():
    halves = Quantization((0.5,), (3,))
    first = lut.table_of("RELU", halves, halves, {})
    second = lut.table_of("TANH", halves, Quantization((1 / 128,), (0,)), {})
    composed = lut.compose(first, second)
    for value in range(-128, 128):
        assert composed[value & 255] == second[int(first[value & 255]) & 255]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            one_operator(
                "TANH", shape=(1, 4), scale=0.1, zero_point=0, out_scale=0.1, out_zero_point=0
            ),
            "scale 0.0078125",
        ),
        (
            one_operator(
                "HARD_SWISH", shape=(1, 4), scale=2.0, zero_point=0, out_scale=0.01,
                out_zero_point=0,
            ),
            "128 times",
        ),
        (
            one_operator(
                "NEG", shape=(1, 4), scale=0.1, zero_point=3, out_scale=0.1, out_zero_point=3
            ),
            "negates",
        ),
    ],
)  # fmt: skip
def test_what_the_reference_cannot_compute_is_refused(model: bytes, says: str):
    with pytest.raises(UnsupportedModelError, match=says):
        check_operators(read_tflite(model, "net"))


def table_case(values: np.ndarray[Any, np.dtype[np.int8]], distance: int | None) -> Case:
    """A look-up of `values` through the table of a LOGISTIC."""
    count = values.size
    model = one_operator(
        "LOGISTIC", shape=(1, count), scale=0.05, zero_point=7, out_scale=1 / 256,
        out_zero_point=-128,
    )  # fmt: skip
    graph = read_tflite(model, "net")
    operator = graph.operators[0]
    family = family_of(operator.kind)
    assert family is not None
    target = Target(CORES["cortex-m4f"])
    return Case(family.implementations(graph, operator, target)[0], (values,), count, distance)


def expected(case: Case) -> np.ndarray[Any, np.dtype[np.int8]]:
    table = case.implementation.constants[0].data
    result: np.ndarray[Any, np.dtype[np.int8]] = table[case.inputs[0].view(np.uint8)]
    return result


@pytest.mark.parametrize("counts", [range(1, 40)])
def test_kernel_looks_up_any_number_of_bytes_in_place_and_before_its_input(
    counts: range, tmp_path: Path
):
    random = np.random.default_rng(5)
    cases = [
        table_case(random.integers(-128, 128, count, dtype=np.int8), distance)
        for count in counts
        for distance in (None, 0, -1, -4, -7)
    ]
    for case, output in zip(cases, run_on_host(cases, tmp_path), strict=True):
        np.testing.assert_array_equal(output, expected(case))


def test_the_overlap_rule_allows_what_the_kernel_survives():
    (rule,) = table_case(np.zeros(4, np.int8), None).implementation.overlaps
    assert (rule.input, rule.max_distance, rule.min_distance) == (0, 0, None)


def test_kernel_costs_on_the_core_what_it_says(tmp_path: Path):
    case = table_case(np.random.default_rng(1).integers(-128, 128, 4096, dtype=np.int8), 0)
    run = CountedProgram([case], CORES["cortex-m4f"], tmp_path).run(0)
    np.testing.assert_array_equal(run.output, expected(case))
    said = predicted_instructions(case.implementation, CORES["cortex-m4f"])
    assert said is not None
    assert abs(run.instructions - said) <= 0.1 * said
