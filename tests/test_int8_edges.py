# SPDX-License-Identifier: Apache-2.0
"""`--io int8`: a model's edges without the conversions that its converter put there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_model import HostModel
from operator_cases import golden_only
from tflite_builder import ModelBuilder
from typer.testing import CliRunner

from mcudeploy.cli import app
from mcudeploy.frontend.int8_edges import strip_edges
from mcudeploy.frontend.reference import Reference
from mcudeploy.frontend.tflite import read_tflite

SHAPE = (1, 4, 4, 3)
QUANTIZED = {"scale": 0.05, "zero_point": 3}
EDGES: dict[str, dict[str, Any]] = {
    "float32": {},
    "uint8": {"scale": 0.05, "zero_point": 131},
    "int16": {"scale": 0.001, "zero_point": 0},
}


def converted(builder: ModelBuilder, tensor: int, dtype: str) -> int:
    """An output of type `dtype` made of an int8 tensor."""
    kind = "DEQUANTIZE" if dtype == "float32" else "QUANTIZE"
    return builder.operator(kind, [tensor], builder.tensor(SHAPE, dtype, **EDGES[dtype]))


def edged(builder: ModelBuilder, taken: str, given: str) -> int:
    """Two operators in int8 between edges of other types."""
    x = builder.input(SHAPE, taken, **EDGES[taken])
    within = builder.operator("QUANTIZE", [x], builder.tensor(SHAPE, **QUANTIZED))
    other = builder.operator("ABS", [within], builder.tensor(SHAPE, **QUANTIZED))
    sum_ = builder.operator("ADD", [other, within], builder.tensor(SHAPE, **QUANTIZED))
    return converted(builder, sum_, given)


def kinds(model: bytes) -> list[str]:
    return [one.kind for one in read_tflite(model, "net").operators]


@golden_only
@pytest.mark.parametrize("given", EDGES)
@pytest.mark.parametrize("taken", EDGES)
def test_what_is_left_computes_what_it_computed_between_the_conversions(
    taken: str, given: str, tmp_path: Path
):
    builder = ModelBuilder()
    whole = builder.build([edged(builder, taken, given)])
    stripped = strip_edges(whole, "net")
    graph = read_tflite(stripped, "net")
    assert [graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)] == ["int8", "int8"]
    assert kinds(stripped) == ["ABS", "ADD"]
    HostModel(stripped, tmp_path).check_against_golden(samples=2)

    declared = read_tflite(whole, "net")
    x = np.random.default_rng(1).integers(0, 100, SHAPE).astype(taken)
    inner = [declared.operators[0].outputs[0], declared.operators[-1].inputs[0]]
    with Reference(whole) as before, Reference(stripped) as after:
        seen = before.infer([x], tensors=inner).tensors
        (got,) = after.infer([seen[inner[0]]]).outputs
        np.testing.assert_array_equal(got, seen[inner[1]])


def test_a_model_of_int8_stays_the_file_that_it_is():
    builder = ModelBuilder()
    x = builder.input(SHAPE, **QUANTIZED)
    y = builder.operator("ABS", [x], builder.tensor(SHAPE, **QUANTIZED))
    model = builder.build([y])
    assert strip_edges(model, "net") is model


def test_a_conversion_that_is_all_of_a_network_stays():
    builder = ModelBuilder()
    x = builder.input(SHAPE, "float32")
    model = builder.build([builder.operator("QUANTIZE", [x], builder.tensor(SHAPE, **QUANTIZED))])
    assert kinds(strip_edges(model, "net")) == ["QUANTIZE"]


def test_an_input_that_is_read_in_its_own_type_stays():
    builder = ModelBuilder()
    x = builder.input(SHAPE, "float32")
    within = builder.operator("QUANTIZE", [x], builder.tensor(SHAPE, **QUANTIZED))
    y = builder.operator("ABS", [within], builder.tensor(SHAPE, **QUANTIZED))
    doubled = builder.operator("ADD", [x, x], builder.tensor(SHAPE, "float32"))
    model = builder.build([y, doubled])
    assert strip_edges(model, "net") is model


def test_of_two_outputs_of_one_tensor_the_second_keeps_its_type():
    builder = ModelBuilder()
    x = builder.input(SHAPE, **QUANTIZED)
    y = builder.operator("ABS", [x], builder.tensor(SHAPE, **QUANTIZED))
    model = strip_edges(
        builder.build([converted(builder, y, "float32"), converted(builder, y, "uint8")]), "net"
    )
    graph = read_tflite(model, "net")
    assert [graph.tensors[i].dtype for i in graph.outputs] == ["int8", "uint8"]
    assert kinds(model) == ["ABS", "QUANTIZE"]


def test_the_command_line_plans_declared_edges_or_int8(tmp_path: Path):
    builder = ModelBuilder()
    file = tmp_path / "edged.tflite"
    file.write_bytes(builder.build([edged(builder, "float32", "float32")]))
    operators = []
    for option in ([], ["--io", "int8"]):
        done = CliRunner().invoke(app, ["fit", str(file), "-b", "stm32f469", "--json", *option])
        assert done.exit_code == 0, done.output
        operators.append([one["kind"] for one in json.loads(done.stdout)["report"]["operators"]])
    assert operators == [["QUANTIZE", "ABS", "ADD", "DEQUANTIZE"], ["ABS", "ADD"]]
