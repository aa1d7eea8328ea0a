# SPDX-License-Identifier: Apache-2.0
"""The golden reference and the desktop interpreter, each in its child process."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from tflite_builder import ModelBuilder, one_operator

from mcudeploy.errors import ToolError
from mcudeploy.frontend import reference
from mcudeploy.frontend.reference import Reference, golden_unavailable, run_golden, sample_inputs
from mcudeploy.frontend.tflite import read_tflite

MODELS = os.environ.get("MCUDEPLOY_MODELS")
ALL_BYTES = np.arange(-128, 128, dtype=np.int8).reshape(1, 256)

golden_only = pytest.mark.skipif(golden_unavailable() is not None, reason=str(golden_unavailable()))


def tanh_model() -> bytes:
    return one_operator(
        "TANH", shape=(1, 256), scale=0.02, zero_point=3, out_scale=1 / 128, out_zero_point=0
    )


def chain(*kinds: str) -> bytes:
    """RELU-like operators one behind the other, all with one scale."""
    builder = ModelBuilder()
    at = builder.input((1, 256), scale=0.05, zero_point=-10)
    for kind in kinds:
        at = builder.operator(kind, [at], builder.tensor((1, 256), scale=0.05, zero_point=-10))
    return builder.build([at])


@golden_only
def test_golden_computes_what_the_operator_means():
    with Reference(tanh_model()) as golden:
        (output,) = golden.infer([ALL_BYTES]).outputs
    expected = np.tanh(0.02 * (ALL_BYTES.astype(float) - 3)) * 128
    assert output.dtype == np.int8 and output.shape == (1, 256)
    assert np.abs(output - np.clip(expected, -128, 127)).max() <= 1


@golden_only
def test_every_tensor_and_checksum_that_is_asked_for_is_given():
    with Reference(chain("RELU", "ABS")) as golden:
        run = golden.infer([ALL_BYTES], tensors=[1, 0], checksums=[[1], [1, 2]])
    relu = np.maximum(ALL_BYTES, -10)
    np.testing.assert_array_equal(run.tensors[1], relu)
    np.testing.assert_array_equal(run.tensors[0], ALL_BYTES)
    both = relu.tobytes() + run.outputs[0].tobytes()
    assert run.checksums == (zlib.crc32(relu.tobytes()), zlib.crc32(both))


@golden_only
@pytest.mark.parametrize("kinds", [("GELU",), ("RELU", "GELU"), ("GELU", "RELU", "EXP", "ABS")])
def test_an_operator_that_tflm_lacks_is_computed_by_litert_and_named(kinds: tuple[str, ...]):
    model = chain(*kinds)
    with Reference(model) as golden, Reference(model, "desktop") as desktop:
        lacking = {i: k for i, k in enumerate(kinds) if k in ("GELU", "EXP")}
        assert dict(golden.fallbacks) == lacking
        ours = golden.infer([ALL_BYTES], tensors=range(1, len(kinds) + 1))
        theirs = desktop.infer([ALL_BYTES], tensors=range(1, len(kinds) + 1))
    for index, value in ours.tensors.items():
        np.testing.assert_array_equal(value, theirs.tensors[index])


@golden_only
def test_a_network_of_more_buffers_than_tflm_plans_is_computed_in_runs():
    """TFLM plans 1,024 buffers: an LSTM of 28 unrolled steps in two layers has more."""
    with Reference(chain(*["RELU", "ABS"] * 600)) as golden:
        run = golden.infer([ALL_BYTES], tensors=[1, 1000])
    assert golden.fallbacks == {}
    relu = np.maximum(ALL_BYTES, -10)
    for value in (run.tensors[1], run.tensors[1000], *run.outputs):
        np.testing.assert_array_equal(value, relu)


@golden_only
def test_space_to_batch_pads_with_the_zero_point_where_tflm_would_not():
    builder = ModelBuilder()
    x = builder.input((1, 1, 2, 1), scale=0.1, zero_point=7)
    y = builder.tensor((2, 1, 2, 1), scale=0.1, zero_point=7)
    blocks = builder.constant(np.array([1, 2], np.int32))
    pads = builder.constant(np.array([[0, 0], [2, 0]], np.int32))
    builder.operator("SPACE_TO_BATCH_ND", [x, blocks, pads], y)
    with Reference(builder.build([y])) as golden:
        assert golden.fallbacks == {0: "SPACE_TO_BATCH_ND"}
        (output,) = golden.infer([np.array([[[[50], [51]]]], np.int8)]).outputs
    assert output.ravel().tolist() == [7, 50, 7, 51]


@golden_only
def test_an_open_batch_runs_with_batch_one():
    builder = ModelBuilder()
    x = builder.input((1, 4), scale=0.1)
    y = builder.tensor((1, 4), scale=0.1)
    builder.operator("RELU", [x], y)
    for index in (x, y):
        builder._tensors[index].shapeSignature = [-1, 4]
    with Reference(builder.build([y])) as golden:
        (output,) = golden.infer([np.array([[-5, 0, 5, 9]], np.int8)]).outputs
    assert output.tolist() == [[0, 0, 5, 9]]


def svdf_model() -> bytes:
    """One stateful filter: its output depends on the inferences before."""
    builder = ModelBuilder()
    x = builder.input((1, 2), scale=0.5)
    feature = builder.constant(np.array([[60, 70]], np.int8), scale=0.01)
    time = builder.constant(np.array([[9000, 9000, 9000]], np.int16), scale=1 / 32768)
    bias = builder.constant(np.zeros(1, np.int32), scale=0.01 / 32768)
    state = builder.tensor((1, 3), "int16", scale=0.01, is_variable=True)
    y = builder.tensor((1, 1), scale=0.1)
    builder.operator(
        "SVDF", [x, feature, time, bias, state], y, rank=1, fused_activation_function="RELU"
    )
    return builder.build([y])


@golden_only
def test_state_is_reset_between_inferences_unless_it_is_kept():
    ones = (np.full((1, 2), 16, np.int8),)
    apart = run_golden(svdf_model(), [ones] * 3)
    kept = run_golden(svdf_model(), [ones] * 3, keep_state=True)
    assert len({int(i.outputs[0].item()) for i in apart.inferences}) == 1
    assert len({int(i.outputs[0].item()) for i in kept.inferences}) == 3


@golden_only
def test_the_desktop_interpreter_is_compared_down_to_the_operator():
    model = chain("RELU", "ABS")
    run = run_golden(model, [(ALL_BYTES,)], compare=read_tflite(model, "net"))
    assert run.desktop is not None
    assert (run.desktop.largest_difference, run.desktop.first_operator) == (0, None)
    assert run.inferences[0].checksums == ()


@golden_only
def test_a_model_that_nothing_can_run_is_one_clear_error():
    with pytest.raises(ToolError, match="could not load"):
        Reference(one_operator(
            "SIN", shape=(1, 4), scale=0.1, zero_point=0, out_scale=0.1, out_zero_point=0
        ))  # fmt: skip


@golden_only
def test_bytes_that_are_no_model_are_one_clear_error():
    with pytest.raises(ToolError):
        Reference(b"\0\0\0\0TFL3" + bytes(64))


@golden_only
def test_an_input_of_the_wrong_size_is_one_clear_error_and_the_child_lives_on():
    with Reference(tanh_model()) as golden:
        with pytest.raises(ToolError, match="the model takes 256"):
            golden.infer([np.zeros((1, 3), np.int8)])
        assert golden.infer([ALL_BYTES]).outputs[0].shape == (1, 256)


@golden_only
def test_a_child_that_dies_is_one_clear_error():
    with Reference(tanh_model()) as golden:
        golden._process.kill()
        with pytest.raises(ToolError, match="died"):
            golden.infer([ALL_BYTES])


@golden_only
def test_a_child_that_hangs_is_ended():
    with Reference(tanh_model()) as golden:
        golden._timeout_s = 0.0
        golden._process.send_signal(19)  # SIGSTOP
        with pytest.raises(ToolError, match="signal 9"):
            golden.infer([ALL_BYTES])


def test_elsewhere_than_on_linux_x86_64_the_error_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reference.platform, "machine", lambda: "arm64")
    with pytest.raises(ToolError, match="needs Linux on x86-64"):
        Reference(tanh_model())


def test_inputs_begin_with_the_extremes_and_are_the_same_for_a_seed():
    graph = read_tflite(tanh_model(), "net")
    inputs = sample_inputs(graph, 4, seed=7)
    assert len(inputs) == 7
    assert [int(i[0].min()) for i in inputs[:3]] == [-128, 127, 3]
    assert all(i[0].min() == i[0].max() for i in inputs[:3])
    for once, again in zip(inputs, sample_inputs(graph, 4, seed=7), strict=True):
        np.testing.assert_array_equal(once[0], again[0])
    assert (inputs[3][0] != inputs[4][0]).any()


def test_inputs_of_a_float_edge_cover_what_it_quantizes_to():
    builder = ModelBuilder()
    x = builder.input((1, 64), dtype="float32")
    y = builder.tensor((1, 64), scale=0.5, zero_point=-10)
    builder.operator("QUANTIZE", [x], y)
    builder.operator("RELU", [y], builder.tensor((1, 64), scale=0.5, zero_point=-10))
    inputs = sample_inputs(read_tflite(builder.build([2]), "net"), 3, seed=1)
    assert inputs[0][0].dtype == np.float32
    assert inputs[0][0].max() < 0.5 * (-128 + 10) and inputs[1][0].min() > 0.5 * (127 + 10)


@golden_only
@pytest.mark.skipif(MODELS is None, reason="MCUDEPLOY_MODELS is not set")
def test_a_published_model_runs_with_all_its_intermediates():
    assert MODELS is not None
    model = (Path(MODELS) / "kws_ref_model.tflite").read_bytes()
    graph = read_tflite(model, "kws")
    groups = [operator.outputs for operator in graph.operators]
    run = run_golden(model, sample_inputs(graph, 3, seed=0), checksums=groups, compare=graph)
    assert not run.fallbacks
    assert run.desktop is not None and run.desktop.largest_difference == 0
    assert all(len(i.checksums) == len(groups) for i in run.inferences)
    assert len({i.checksums for i in run.inferences}) == len(run.inferences)
