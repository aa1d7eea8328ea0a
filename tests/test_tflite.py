# SPDX-License-Identifier: Apache-2.0
"""Reading .tflite files: what is read, what is refused and how, and files that lie."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_builder import ModelBuilder, one_operator

from mcudeploy.errors import InputError, McudeployError, UnsupportedModelError
from mcudeploy.frontend.flatbuffer_table import FlatBuffer
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.passes import run_passes
from mcudeploy.operators.support import check_operators

MODELS = os.environ.get("MCUDEPLOY_MODELS")


def convolution_model(**options: object) -> bytes:
    return convolution_builder(**options).build([3])


def convolution_builder(**options: object) -> ModelBuilder:
    """Tensors 0 to 3: image, weights, bias, output."""
    builder = ModelBuilder()
    x = builder.input((1, 8, 6, 3), scale=0.5, zero_point=-3, name="image")
    weights = np.arange(4 * 27, dtype=np.int8).reshape(4, 3, 3, 3)
    w = builder.constant(weights, scale=[0.01, 0.02, 0.03, 0.04], zero_point=0, axis=0)
    b = builder.constant(np.arange(4, dtype=np.int32), scale=[0.005, 0.01, 0.015, 0.02])
    y = builder.tensor((1, 4, 3, 4), scale=0.4, zero_point=7)
    builder.operator(
        "CONV_2D",
        [x, w, b],
        y,
        **{"padding": "SAME", "stride_w": 2, "stride_h": 2, **options},  # type: ignore[arg-type]
    )
    return builder


def float_model() -> bytes:
    builder = ModelBuilder()
    x = builder.input((1, 4), dtype="float32")
    w = builder.constant(np.ones((2, 4), np.float32))
    y = builder.tensor((1, 2), dtype="float32")
    builder.operator("FULLY_CONNECTED", [x, w, -1], y)
    return builder.build([y])


def test_shapes_types_scales_and_constants_are_read():
    graph = read_tflite(convolution_model(), "net")
    (operator,) = graph.operators
    image, weights, bias = (graph.tensors[i] for i in operator.inputs)
    assert (image.name, image.shape, image.dtype) == ("image", (1, 8, 6, 3), "int8")
    assert image.quantization is not None and image.quantization.zero_point == -3
    assert weights.quantization is not None
    assert weights.quantization.axis == 0
    assert weights.quantization.scales == tuple(np.float32([0.01, 0.02, 0.03, 0.04]).tolist())
    assert weights.data is not None and weights.data.ravel()[5] == 5
    assert not weights.data.flags.writeable
    assert bias.data is not None and bias.data.tolist() == [0, 1, 2, 3]
    assert graph.inputs == (0,) and [t.source for t in graph.tensors] == [0, 1, 2, 3]


def test_options_are_snake_case_with_enumerations_by_name_and_schema_defaults():
    attributes = (
        read_tflite(convolution_model(fused_activation_function="RELU6"), "net")
        .operators[0]
        .attributes
    )
    assert attributes["padding"] == "SAME"
    assert attributes["fused_activation_function"] == "RELU6"
    assert (attributes["stride_h"], attributes["dilation_h_factor"]) == (2, 1)


def test_an_absent_input_stays_absent():
    builder = ModelBuilder()
    x = builder.input((1, 4), scale=1.0)
    w = builder.constant(np.ones((2, 4), np.int8), scale=1.0)
    y = builder.tensor((1, 2), scale=1.0)
    builder.operator("FULLY_CONNECTED", [x, w, -1], y)
    assert read_tflite(builder.build([y]), "net").operators[0].inputs == (x, w, -1)


def test_float_edges_of_an_int8_network_are_accepted():
    builder = ModelBuilder()
    x = builder.input((1, 4), dtype="float32")
    q = builder.tensor((1, 4), scale=0.1)
    t = builder.tensor((1, 4), scale=1 / 128)
    y = builder.tensor((1, 4), dtype="float32")
    builder.operator("QUANTIZE", [x], q)
    builder.operator("TANH", [q], t)
    builder.operator("DEQUANTIZE", [t], y)
    assert len(read_tflite(builder.build([y]), "net").operators) == 3


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "not a TensorFlow Lite model"),
        (convolution_model()[:60], "damaged"),
        (convolution_model()[:-200], "damaged"),
    ],
)
def test_what_is_no_model_is_an_input_error(data: bytes, says: str):
    with pytest.raises(InputError, match=says) as caught:
        read_tflite(data, "net.tflite")
    assert "net.tflite" in str(caught.value) and caught.value.mend


def test_a_float_model_is_refused_with_the_command_that_quantizes_it():
    with pytest.raises(UnsupportedModelError, match="float32") as caught:
        read_tflite(float_model(), "net")
    assert "mcudeploy quantize" in caught.value.mend


def test_dynamic_range_quantization_is_refused():
    builder = ModelBuilder()
    x = builder.input((1, 4), dtype="float32")
    w = builder.constant(np.ones((2, 4), np.int8), scale=0.1)
    y = builder.tensor((1, 2), dtype="float32")
    builder.operator("FULLY_CONNECTED", [x, w, -1], y)
    with pytest.raises(UnsupportedModelError, match="dynamic-range"):
        read_tflite(builder.build([y]), "net")


def test_16x8_quantization_is_refused():
    builder = ModelBuilder()
    x = builder.input((1, 4), dtype="int16", scale=0.1)
    w = builder.constant(np.ones((2, 4), np.int8), scale=0.1)
    y = builder.tensor((1, 2), dtype="int16", scale=0.1)
    builder.operator("FULLY_CONNECTED", [x, w, -1], y)
    with pytest.raises(UnsupportedModelError, match="16x8"):
        read_tflite(builder.build([y]), "net")


def test_old_uint8_quantization_is_refused():
    builder = ModelBuilder()
    x = builder.input((1, 4), dtype="uint8", scale=0.1)
    y = builder.tensor((1, 4), dtype="uint8", scale=0.1)
    builder.operator("LOGISTIC", [x], y)
    with pytest.raises(UnsupportedModelError, match="uint8"):
        read_tflite(builder.build([y]), "net")


def test_all_reasons_come_in_one_message():
    builder = ModelBuilder()
    x = builder.input((1, 4), scale=0.1)
    y = builder.tensor((1, 4), scale=0.1)
    z = builder.tensor((1, 4), dtype="int4", scale=0.1)
    builder.operator("CUSTOM MyLayer", [x], y)
    builder.operator("RELU", [y], z)
    with pytest.raises(UnsupportedModelError) as caught:
        read_tflite(builder.build([z]), "net")
    assert "MyLayer" in str(caught.value) and "int4" in str(caught.value)


def test_an_operator_that_reads_what_is_written_later_is_malformed():
    builder = ModelBuilder()
    x = builder.input((1, 4), scale=0.1)
    a, b = (builder.tensor((1, 4), scale=0.1) for _ in range(2))
    builder.operator("RELU", [b], a)
    builder.operator("RELU", [x], b)
    with pytest.raises(InputError, match="before it is written"):
        read_tflite(builder.build([a]), "net")


def test_a_constant_of_the_wrong_size_is_malformed():
    builder = ModelBuilder()
    x = builder.input((1, 4), scale=0.1)
    w = builder.constant(np.ones((2, 4), np.int8), scale=0.1)
    builder._tensors[w].shape = [200, 4]
    y = builder.tensor((1, 2), scale=0.1)
    builder.operator("FULLY_CONNECTED", [x, w, -1], y)
    with pytest.raises(InputError, match="8 bytes instead of 800"):
        read_tflite(builder.build([y]), "net")


@pytest.mark.parametrize("stride", [0, -1])
def test_a_stride_below_one_is_malformed(stride: int):
    with pytest.raises(InputError, match="stride_h"):
        read_tflite(convolution_model(stride_h=stride), "net")


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_no_positive_number_is_malformed(scale: float):
    model = one_operator(
        "TANH", shape=(1, 4), scale=scale, zero_point=0, out_scale=1 / 128, out_zero_point=0
    )
    with pytest.raises(InputError, match="scale"):
        read_tflite(model, "net")


def test_an_operator_without_an_input_that_it_needs_is_malformed():
    builder = ModelBuilder()
    x = builder.input((1, 8, 6, 3), scale=0.5)
    y = builder.tensor((1, 4, 3, 4), scale=0.4)
    builder.operator("CONV_2D", [x], y, padding="SAME", stride_w=2, stride_h=2)
    with pytest.raises(InputError, match="1 inputs, it needs 2"):
        read_tflite(builder.build([y]), "net")


@pytest.mark.parametrize(
    ("tensor", "shape"), [(0, [1, 8, 6, 4]), (0, [1, 9, 9, 3]), (3, [1, 4, 3, 5]), (3, [1, 4, 12])]
)
def test_a_convolution_whose_shapes_do_not_belong_together_is_malformed(
    tensor: int, shape: list[int]
):
    builder = convolution_builder()
    builder._tensors[tensor].shape = shape
    with pytest.raises(InputError, match="CONV_2D"):
        read_tflite(builder.build([3]), "net")


def test_an_open_batch_becomes_one_also_where_it_is_mixed_with_space():
    builder = ModelBuilder()
    x = builder.input((1, 6, 2), scale=0.1)
    split = builder.tensor((1, 3, 2), scale=0.1)
    y = builder.tensor((1, 3, 2), scale=0.1)
    blocks = builder.constant(np.array([2], np.int32))
    crops = builder.constant(np.zeros((1, 2), np.int32))
    builder.operator("SPACE_TO_BATCH_ND", [x, blocks, crops], split)
    builder.operator("RELU", [split], y)
    for index in (x, split, y):
        shape = builder._tensors[index].shape
        builder._tensors[index].shapeSignature = [-1, *shape[1:]]
    graph = read_tflite(builder.build([y]), "net")
    assert graph.tensors[x].shape == (1, 6, 2)
    assert graph.tensors[split].shape == graph.tensors[y].shape == (2, 3, 2)


def test_an_open_batch_passes_a_split_whose_first_input_is_its_axis():
    builder = ModelBuilder()
    x = builder.input((1, 6), scale=0.1)
    parts = [builder.tensor((1, 3), scale=0.1) for _ in range(2)]
    axis = builder.constant(np.array(1, np.int32))
    builder.operator("SPLIT", [axis, x], parts, num_splits=2)
    for index in (x, *parts):
        builder._tensors[index].shapeSignature = [-1, builder._tensors[index].shape[1]]
    graph = read_tflite(builder.build(parts), "net")
    assert [graph.tensors[i].shape for i in parts] == [(1, 3), (1, 3)]


def test_an_open_dimension_other_than_the_batch_is_refused():
    builder = ModelBuilder()
    x = builder.input((1, 1, 2), scale=0.1, name="sequence")
    y = builder.tensor((1, 1, 2), scale=0.1)
    builder._tensors[x].shapeSignature = [1, -1, 2]
    builder.operator("RELU", [x], y)
    with pytest.raises(UnsupportedModelError, match="run time \\(sequence"):
        read_tflite(builder.build([y]), "net")


@pytest.mark.parametrize("shape", [(), (12,), (3, 4), (2, 3, 4)])
def test_an_input_of_fixed_shape_needs_no_batch(shape: tuple[int, ...]):
    builder = ModelBuilder()
    x = builder.input(shape, scale=0.1)
    graph = read_tflite(
        builder.build([builder.operator("RELU", [x], builder.tensor(shape, scale=0.1))]), "net"
    )
    assert graph.tensors[x].shape == shape


def test_an_open_batch_of_more_than_one_is_refused():
    builder = ModelBuilder()
    x, y = builder.input((4, 2), scale=0.1, name="many"), builder.tensor((4, 2), scale=0.1)
    builder._tensors[x].shapeSignature = [-1, 2]
    builder.operator("RELU", [x], y)
    with pytest.raises(UnsupportedModelError, match="run time \\(many"):
        read_tflite(builder.build([y]), "net")


def check_survives(data: bytes) -> None:
    """Any bytes give a graph that can be rewritten, or one of our errors."""
    with contextlib.suppress(McudeployError):
        check_operators(run_passes(read_tflite(data, "net")))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_altered_file_gives_anything_but_a_clear_error(data: st.DataObject):
    model = bytearray(convolution_model())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(model) - 4))
        word = data.draw(
            st.sampled_from([0, 1, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
            | st.integers(0, 2**32 - 1)
        )
        model[at : at + 4] = word.to_bytes(4, "little")
    check_survives(bytes(model))


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(convolution_model())))
def test_no_truncated_file_gives_anything_but_a_clear_error(length: int):
    check_survives(convolution_model()[:length])


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=8, max_size=300))
def test_no_random_file_gives_anything_but_a_clear_error(noise: bytes):
    check_survives(noise[:4] + b"TFL3" + noise[4:])


def test_a_file_whose_tables_share_one_large_vector_is_refused():
    """Ten thousand tables that point at the same megabyte would be read as ten gigabytes."""
    vector = (1 << 20).to_bytes(4, "little") + bytes(1 << 20)
    table = struct.pack("<IHHHHiI", 12, 6, 8, 4, 0, 8, 4) + vector
    shared = FlatBuffer(table, "net").root()
    assert len(shared.vector(0, "u1")) == 1 << 20
    with pytest.raises(InputError, match="share more data"):
        for _ in range(100):
            shared.vector(0, "u1")


def test_reading_imports_neither_tensorflow_nor_the_whole_schema():
    code = (
        "import sys; from mcudeploy.frontend.tflite import read_tflite;"
        "read_tflite(sys.stdin.buffer.read(), 'net');"
        "print(sorted({'tensorflow', 'tflite', 'ai_edge_litert'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=convolution_model(), capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "[]"


@pytest.mark.skipif(MODELS is None, reason="MCUDEPLOY_MODELS is not set")
@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("kws_ref_model.tflite", 13),
        ("vww_96_int8.tflite", 31),
        ("pretrainedResnet_quant.tflite", 16),
        ("ad01_int8.tflite", 10),
        ("micro_speech_quantized.tflite", 4),
        ("hello_world_int8.tflite", 3),
    ],
)
def test_published_models_are_read(name: str, operators: int):
    assert MODELS is not None
    graph = read_tflite((Path(MODELS) / name).read_bytes(), name)
    assert len(graph.operators) == operators
    assert "CONV_2D" in str(graph) or "FULLY_CONNECTED" in str(graph)
