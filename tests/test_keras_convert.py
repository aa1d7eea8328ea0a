# SPDX-License-Identifier: Apache-2.0
"""Keras files of every kind become int8 networks of batch 1, or are refused with the layer."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcudeploy.errors import InputError, McudeployError, UnsupportedModelError
from mcudeploy.frontend.evaluate import dequantize_array, quantize_array
from mcudeploy.frontend.quantize import QuantizedModel, quantize
from mcudeploy.frontend.reference import Reference
from mcudeploy.frontend.tflite import read_tflite

DATA = Path(__file__).with_name("data")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models of tests/keras_files.py."""
    folder = tmp_path_factory.mktemp("keras")
    script = Path(__file__).with_name("keras_files.py")
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def _run(quantized: QuantizedModel, x: np.ndarray) -> np.ndarray:
    """The dequantized first output for each row of x."""
    graph = read_tflite(quantized.tflite, "model")
    source, target = graph.tensor(graph.inputs[0]), graph.tensor(graph.outputs[0])
    with Reference(quantized.tflite) as reference:
        rows = [reference.infer([quantize_array(row[None], source)]).outputs[0] for row in x]
    return np.concatenate([dequantize_array(row, target) for row in rows])


def test_a_keras_2_file_with_depthwise_convolution_becomes_int8_of_batch_1(files: Path) -> None:
    quantized = quantize(files / "depthwise_keras2.h5", synthetic=True)
    graph = read_tflite(quantized.tflite, "model")
    assert [operator.kind for operator in graph.operators] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "RESHAPE",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]
    assert {graph.tensor(i).dtype for i in (*graph.inputs, *graph.outputs)} == {"int8"}
    assert graph.tensor(graph.inputs[0]).shape == (1, 12, 12, 2)
    weights = graph.tensor(graph.operators[0].inputs[1]).quantization
    assert weights is not None and len(weights.scales) == 6
    assert "tf_keras" in quantized.notes[0]
    assert quantized.calibration.synthetic


def test_the_same_inputs_give_the_same_bytes_wherever_they_lie(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, x=np.random.default_rng(0).random((20, 5, 4)))
    copy = tmp_path / "another name.h5"
    copy.write_bytes((files / "lstm_keras2.h5").read_bytes())
    first = quantize(files / "lstm_keras2.h5", data)
    monkeypatch.setenv("PYTHONHASHSEED", "77")
    monkeypatch.chdir(tmp_path)
    second = quantize(copy.name, "data.npz")
    assert first.tflite == second.tflite
    assert first.calibration == second.calibration


@pytest.mark.parametrize("name", ["lstm_keras2.h5", "gru.keras"])
def test_recurrent_layers_are_unrolled_with_their_weights(files: Path, name: str) -> None:
    with np.load(files / "expected.npz") as expected:
        x, y = expected[f"{name}:x"], expected[f"{name}:y"]
    np.savez(files / "sequence.npz", x=x)
    quantized = quantize(files / name, files / "sequence.npz")
    assert any("unrolled" in note for note in quantized.notes)
    kinds = {operator.kind for operator in read_tflite(quantized.tflite, name).operators}
    assert "WHILE" not in kinds
    assert np.abs(_run(quantized, x) - y).max() < 0.05 * np.abs(y).max() + 0.02


def test_several_inputs_and_outputs_keep_the_order_of_the_model(files: Path) -> None:
    quantized = quantize(files / "two.keras", synthetic=True)
    assert [spec.name for spec in quantized.inputs] == ["z first", "a second"]
    graph = read_tflite(quantized.tflite, "two")
    assert [graph.tensor(i).shape for i in graph.inputs] == [(1, 8), (1, 4)]
    assert [graph.tensor(i).shape for i in graph.outputs] == [(1, 2), (1, 3)]


def test_quantization_aware_models_bring_their_own_ranges() -> None:
    """The file was written by tensorflow_model_optimization; y are its own predictions."""
    quantized = quantize(DATA / "quantization_aware.h5")
    assert quantized.calibration.kind == "training"
    with np.load(DATA / "quantization_aware.npz") as saved:
        assert np.abs(_run(quantized, saved["x"]) - saved["y"]).max() <= 2 / 256


def test_mixed_precision_is_converted_in_float32(files: Path) -> None:
    quantized = quantize(files / "mixed.keras", synthetic=True)
    assert "mixed precision" in quantized.notes[0]
    kinds = {operator.kind for operator in read_tflite(quantized.tflite, "mixed").operators}
    assert kinds == {"CONV_2D", "RESHAPE"}


def test_a_custom_layer_is_refused_in_a_file_and_accepted_as_saved_model(files: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="Plus is not part of Keras") as raised:
        quantize(files / "custom.keras", synthetic=True)
    assert "'plus'" in raised.value.where and "model.export" in raised.value.mend
    assert quantize(files / "custom_saved", synthetic=True).kind == "saved-model"


_REFUSALS: list[tuple[str, type[McudeployError], str, str]] = [
    ("lambda.h5", UnsupportedModelError, "Lambda", "doubler"),
    ("lambda.keras", UnsupportedModelError, "Lambda", "doubler"),
    ("function.h5", UnsupportedModelError, "not arithmetic", "TFOpLambda"),
    ("linked.h5", InputError, "from other files", "elsewhere"),
    ("alone.weights.h5", InputError, "weights alone", "alone"),
    ("open.keras", InputError, "shape is open", "input"),
    ("nan.keras", InputError, "NaN", "diverged"),
    ("loop_saved", UnsupportedModelError, "loop", "lstm"),
    ("units.keras", McudeployError, "OOM when allocating", "units"),
    ("wide.keras", InputError, "more memory than a file of its size", "wide"),
    ("writer_saved", UnsupportedModelError, "WriteFile", "writer"),
]


@pytest.mark.parametrize(("name", "kind", "problem", "where"), _REFUSALS)
def test_what_cannot_or_must_not_be_converted_is_refused_with_its_place(
    files: Path, name: str, kind: type[McudeployError], problem: str, where: str
) -> None:
    with pytest.raises(kind, match=problem) as raised:
        quantize(files / name, synthetic=True)
    assert where in raised.value.where
    assert raised.value.mend


def test_vanishing_activations_are_an_error_but_with_synthetic_data_a_warning(
    files: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "data.npz", x=np.ones((3, 4)))
    with pytest.raises(InputError, match=r"activations vanish after operator #0.*trained\?"):
        quantize(files / "vanishing.keras", tmp_path / "data.npz")
    quantized = quantize(files / "vanishing.keras", synthetic=True)
    assert "is it trained?" in quantized.warnings[0]


def test_without_data_the_user_is_asked_for_it_by_shape(files: Path) -> None:
    with pytest.raises(InputError, match="calibration data") as raised:
        quantize(files / "depthwise.h5")
    assert "[12, 12, 2]" in raised.value.mend and "--synthetic-calibration" in raised.value.mend


def test_data_of_the_wrong_shape_is_refused_with_both_shapes(files: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((3, 28, 28, 1)))
    with pytest.raises(InputError, match=r"\(3, 28, 28, 1\).*\(samples, 12, 12, 2\)"):
        quantize(files / "depthwise.h5", tmp_path / "data.npz")


@pytest.mark.parametrize("name", ["mnist_dw.h5", "pretrainedResnet.h5"])
def test_keras_2_files_of_other_people_convert(
    real_model: Callable[[str], Path], name: str
) -> None:
    quantized = quantize(real_model(name), synthetic=True)
    graph = read_tflite(quantized.tflite, name)
    assert not {operator.kind for operator in graph.operators} & {"SHAPE", "PACK", "STRIDED_SLICE"}
    assert graph.tensor(graph.outputs[0]).shape == (1, 10)
