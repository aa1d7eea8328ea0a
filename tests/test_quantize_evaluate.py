# SPDX-License-Identifier: Apache-2.0
"""`evaluate` says what quantization cost, and which operator cost it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import twins
from hypothesis import given
from hypothesis import strategies as st

from mcudeploy.errors import InputError
from mcudeploy.frontend.evaluate import Evaluation, dequantize_array, evaluate, quantize_array
from mcudeploy.frontend.quantize import quantize
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import Quantization, Tensor


@dataclass
class Judged:
    """LeNet's twin, quantized and judged against its own float predictions."""

    tflite: bytes
    float_tflite: bytes
    evaluation: Evaluation
    data: Path


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    folder = tmp_path_factory.mktemp("evaluate")
    twin = twins.twin("lenet")
    with np.load(twin.data) as samples:
        x = samples["x"][:60]
    data = folder / "data.npz"
    np.savez(data, x=x, y=np.zeros(len(x), np.int64))
    quantized = quantize(twin.keras, twin.data, evaluate=data)
    assert quantized.evaluation is not None and quantized.float_tflite is not None
    return Judged(quantized.tflite, quantized.float_tflite, quantized.evaluation, data)


def test_float_and_int8_agree_and_every_operator_is_compared(judged: Judged) -> None:
    evaluation = judged.evaluation
    assert evaluation.samples == 60 and evaluation.unmatched_operators == 0
    assert evaluation.agreement is not None and evaluation.agreement >= 0.9
    assert evaluation.float_accuracy is not None and evaluation.int8_accuracy is not None
    assert abs(evaluation.float_accuracy - evaluation.int8_accuracy) <= 0.1
    kinds = [operator.kind for operator in evaluation.operators]
    assert kinds == [op.kind for op in read_tflite(judged.tflite, "m").operators]
    for operator in evaluation.operators:
        assert 0 < operator.relative_error < 0.1
        assert 0 <= operator.added_error <= operator.relative_error
        assert operator.rms_steps <= operator.max_steps
    worst = evaluation.costliest(2)
    assert worst[0].added_error == max(operator.added_error for operator in evaluation.operators)
    assert json.loads(json.dumps(evaluation.to_json()))["samples"] == 60


def test_a_tflite_alone_gets_its_accuracy_and_the_same_one(judged: Judged) -> None:
    alone = evaluate(judged.tflite, judged.data)
    assert alone.int8_accuracy == judged.evaluation.int8_accuracy
    assert alone.float_accuracy is None and alone.agreement is None and not alone.operators


def test_labels_may_be_indices_columns_or_one_hot(judged: Judged, tmp_path: Path) -> None:
    with np.load(judged.data) as data:
        x = data["x"][:12]
    y = np.arange(12) % 10
    found = set()
    for labels in (y, y[:, None].astype(np.float32), np.eye(10)[y]):
        np.savez(tmp_path / "d.npz", x=x, y=labels)
        found.add(evaluate(judged.tflite, tmp_path / "d.npz").int8_accuracy)
    assert len(found) == 1 and None not in found
    np.savez(tmp_path / "d.npz", x=x)
    assert evaluate(judged.tflite, tmp_path / "d.npz").int8_accuracy is None


@pytest.mark.parametrize(
    ("labels", "problem"),
    [(np.arange(12), "10 classes"), (np.arange(5), "12 samples but 5 labels")],
)
def test_labels_that_do_not_suit_are_refused(
    judged: Judged, tmp_path: Path, labels: object, problem: str
) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((12, 32, 32, 1)), y=labels)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=problem):
        evaluate(judged.tflite, tmp_path / "d.npz")


def test_the_operator_that_costs_the_accuracy_is_found(judged: Judged) -> None:
    """With the weights of the second convolution mirrored, that operator is the costliest."""
    graph = read_tflite(judged.tflite, "m")
    position = [i for i, op in enumerate(graph.operators) if op.kind == "CONV_2D"][1]
    weights = graph.tensor(graph.operators[position].inputs[1]).data
    assert weights is not None
    content = np.ascontiguousarray(weights).tobytes()
    assert judged.tflite.count(content) == 1
    broken = judged.tflite.replace(content, np.ascontiguousarray(weights[:, ::-1]).tobytes())
    evaluation = evaluate(broken, judged.data, float_tflite=judged.float_tflite)
    assert evaluation.costliest(1)[0].index == position
    assert evaluation.costliest(1)[0].relative_error > 0.3


_TENSOR = st.builds(
    lambda scale, point: Tensor("t", (4,), "int8", Quantization((scale,), (point,))),
    st.floats(1e-4, 10),
    st.integers(-128, 127),
)


@given(tensor=_TENSOR, stored=st.lists(st.integers(-128, 127), min_size=1, max_size=30))
def test_quantizing_what_was_dequantized_gives_it_back(tensor: Tensor, stored: list[int]) -> None:
    given_back = quantize_array(dequantize_array(np.array(stored, np.int8), tensor), tensor)
    assert given_back.tolist() == stored


def test_values_are_rounded_half_away_from_zero_and_clamped() -> None:
    tensor = Tensor("t", (1,), "int8", Quantization((1.0,), (0,)))
    values = np.array([0.5, 1.5, -0.5, -1.5, 300, -300])
    assert quantize_array(values, tensor).tolist() == [1, 2, -1, -2, 127, -128]


@pytest.mark.parametrize("name", twins.NAMES)
def test_twins_have_activations_that_live_at_any_depth(name: str) -> None:
    graph = read_tflite(twins.twin(name).tflite, name)
    for operator in graph.operators:
        quantization = graph.tensor(operator.outputs[0]).quantization
        assert quantization is not None and 1e-3 < quantization.scale < 1
