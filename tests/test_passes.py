# SPDX-License-Identifier: Apache-2.0
"""Rewrites: each keeps every bit of the network's outputs, and does what it is for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from graph_models import graph_to_tflite
from hypothesis import given, settings
from hypothesis import strategies as st
from tflite_builder import ModelBuilder

from mcudeploy.errors import InputError
from mcudeploy.frontend.reference import Reference, golden_unavailable, sample_inputs
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import Graph
from mcudeploy.graph.passes import (
    drop_dead,
    drop_identities,
    fold_constants,
    fold_dilation,
    fold_pad,
    fuse_tables,
    pass_names,
    run_passes,
)
from mcudeploy.operators import lut
from mcudeploy.operators.one_to_one import table_for

EVERY_BYTE = np.arange(256, dtype=np.uint8).view(np.int8).reshape(1, 256)

golden_only = pytest.mark.skipif(golden_unavailable() is not None, reason=str(golden_unavailable()))


def kinds(graph: Graph) -> list[str]:
    return [operator.kind for operator in graph.operators]


def outputs_of(model: bytes, inputs: Sequence[Sequence[np.ndarray[Any, Any]]]) -> list[Any]:
    with Reference(model) as golden:
        return [golden.infer(arrays).outputs for arrays in inputs]


def assert_same_bits(model: bytes, graph: Graph, rewritten: Graph) -> None:
    """The golden reference gives the same for the model and for the rewritten graph."""
    inputs = sample_inputs(graph, 2, seed=3)
    after = outputs_of(graph_to_tflite(rewritten), inputs)
    for expected, found in zip(outputs_of(model, inputs), after, strict=True):
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)


class Network:
    """A builder of int8 networks with one scale for all activations."""

    def __init__(self, zero_point: int = -7) -> None:
        self.builder = ModelBuilder()
        self.zero_point = zero_point
        self.random = np.random.default_rng(11)

    def input(self, *shape: int) -> int:
        return self.builder.input(shape, scale=0.05, zero_point=self.zero_point)

    def tensor(self, *shape: int, scale: float = 0.05, zero_point: int | None = None) -> int:
        point = self.zero_point if zero_point is None else zero_point
        return self.builder.tensor(shape, scale=scale, zero_point=point)

    def integers(self, *values: Any) -> int:
        data = values[0] if len(values) == 1 else values
        return self.builder.constant(np.array(data, np.int32))

    def convolution(
        self, x: int, out_shape: Sequence[int], in_c: int, k_h: int, k_w: int,
        kind: str = "CONV_2D", **options: Any,
    ) -> int:  # fmt: skip
        depthwise = kind == "DEPTHWISE_CONV_2D"
        out_c = out_shape[-1]
        shape = (1, k_h, k_w, out_c) if depthwise else (out_c, k_h, k_w, in_c)
        data = self.random.integers(-127, 128, shape, dtype=np.int8)
        w = self.builder.constant(data, scale=[0.01] * out_c, axis=3 if depthwise else 0)
        bias = self.random.integers(-500, 500, out_c).astype(np.int32)
        b = self.builder.constant(bias, scale=[0.0005] * out_c)
        y = self.builder.tensor(out_shape, scale=0.2, zero_point=4)
        given_options = {"padding": "VALID", "stride_h": 1, "stride_w": 1, **options}
        if depthwise:
            given_options["depth_multiplier"] = out_c // in_c
        return self.builder.operator(kind, [x, w, b], y, **given_options)

    def graph(self, *outputs: int) -> tuple[bytes, Graph]:
        model = self.builder.build(outputs)
        return model, read_tflite(model, "net")


# --- the pipeline --------------------------------------------------------------------------------


def test_an_unknown_pass_is_refused_with_the_nearest_name():
    _, graph = tanh_twice()
    with pytest.raises(InputError, match="fold-pads") as caught:
        run_passes(graph, ["fold-pads"])
    assert "fold-pad" in caught.value.mend


def tanh_twice() -> tuple[bytes, Graph]:
    net = Network()
    a = net.builder.operator("RELU", [net.input(1, 8)], net.tensor(1, 8))
    return net.graph(net.builder.operator("LEAKY_RELU", [a], net.tensor(1, 8), alpha=0.25))


@pytest.mark.parametrize("name", pass_names())
def test_each_pass_can_be_switched_off_and_leaves_an_unconcerned_graph_as_it_is(name: str):
    net = Network()
    _, graph = net.graph(net.convolution(net.input(1, 4, 4, 2), (1, 2, 2, 3), 2, 3, 3))
    assert run_passes(graph, [name]) is graph
    _, graph = tanh_twice()
    assert (kinds(run_passes(graph, [name])) == ["RELU", "LEAKY_RELU"]) == (name == "fuse-tables")


def test_tensors_keep_the_index_that_golden_knows_them_by():
    _, graph = tanh_twice()
    rewritten = run_passes(graph)
    assert rewritten.tensors[rewritten.operators[-1].outputs[0]].source == graph.outputs[0]


# --- constants -----------------------------------------------------------------------------------


@golden_only
def test_the_shape_chain_of_a_dynamic_batch_folds_away():
    net = Network()
    b = net.builder
    x = net.input(1, 2, 3, 4)
    relu = b.operator("RELU", [x], net.tensor(1, 2, 3, 4))
    shape = b.operator("SHAPE", [relu], b.tensor((4,), "int32"), out_type="int32")
    first = b.operator(
        "STRIDED_SLICE", [shape, net.integers([0]), net.integers([1]), net.integers([1])],
        b.tensor((), "int32"), shrink_axis_mask=1,
    )  # fmt: skip
    packed = b.operator("PACK", [first, b.constant(np.array(24, np.int32))],
                        b.tensor((2,), "int32"), values_count=2, axis=0)  # fmt: skip
    y = b.operator("RESHAPE", [relu, packed], net.tensor(1, 24))
    model, graph = net.graph(b.operator("ABS", [y], net.tensor(1, 24)))
    folded = fold_constants.apply(graph)
    assert kinds(folded) == ["RELU", "RESHAPE", "ABS"]
    data = folded.tensors[packed].data
    assert data is not None and data.tolist() == [1, 24]
    assert_same_bits(model, graph, folded)


@golden_only
def test_a_dequantized_constant_has_the_reference_s_bits():
    builder = ModelBuilder()
    stored = np.arange(-128, 128, dtype=np.int8).reshape(1, 256)
    w = builder.constant(stored, scale=0.0123, zero_point=-5)
    real = builder.operator("DEQUANTIZE", [w], builder.tensor((1, 256), "float32"))
    x = builder.input((1, 256), "float32")
    y = builder.operator("ADD", [x, real], builder.tensor((1, 256), "float32"))
    # The float ADD is refused as a network of its own: an int8 operator stands beside it.
    z = builder.input((1, 256), scale=0.05, zero_point=0)
    r = builder.operator("ABS", [z], builder.tensor((1, 256), scale=0.05, zero_point=0))
    model = builder.build([y, r])
    folded = fold_constants.apply(read_tflite(model, "net"))
    assert kinds(folded) == ["ADD", "ABS"]
    zeros = [np.zeros((1, 256), np.float32), np.zeros((1, 256), np.int8)]
    np.testing.assert_array_equal(outputs_of(model, [zeros])[0][0], folded.tensors[real].data)


def test_a_constant_that_would_be_huge_is_not_computed():
    net = Network()
    b = net.builder
    x = net.input(1, 4)
    big = b.operator("FILL", [net.integers([1 << 20, 64]), b.constant(np.int8(3), scale=0.05)],
                     net.tensor(1 << 20, 64))  # fmt: skip
    _, graph = net.graph(b.operator("ABS", [x], net.tensor(1, 4)), big)
    assert fold_constants.apply(graph) is graph


# --- identities and dead operators ---------------------------------------------------------------


@golden_only
@pytest.mark.parametrize("last", [True, False])
def test_operators_that_change_nothing_are_dropped(last: bool):
    net = Network()
    b = net.builder
    at = b.operator("RELU", [net.input(1, 4, 4, 2)], net.tensor(1, 4, 4, 2))
    at = b.operator("QUANTIZE", [at], net.tensor(1, 4, 4, 2))
    at = b.operator("PAD", [at, net.integers([[0, 0]] * 4)], net.tensor(1, 4, 4, 2))
    at = b.operator("CONCATENATION", [at], net.tensor(1, 4, 4, 2), axis=3)
    at = b.operator("RESHAPE", [at], net.tensor(1, 4, 4, 2), new_shape=[1, 4, 4, 2])
    if not last:
        at = b.operator("ABS", [at], net.tensor(1, 4, 4, 2))
    model, graph = net.graph(at)
    dropped = drop_identities.apply(graph)
    assert kinds(dropped) == (["RELU"] if last else ["RELU", "ABS"])
    assert dropped.outputs == graph.outputs
    assert_same_bits(model, graph, dropped)


def test_what_looks_like_an_identity_and_is_none_stays():
    net = Network()
    b = net.builder
    x = net.input(1, 4, 4, 2)
    other_scale = b.operator("QUANTIZE", [x], net.tensor(1, 4, 4, 2, scale=0.06))
    turned = b.operator(
        "TRANSPOSE", [x, net.integers([0, 2, 1, 3])], net.tensor(1, 4, 4, 2)
    )  # fmt: skip
    copied = b.operator("RESHAPE", [x], net.tensor(1, 4, 4, 2), new_shape=[1, 4, 4, 2])
    _, graph = net.graph(other_scale, turned, copied)
    assert drop_identities.apply(graph) is graph


def test_operators_that_nothing_reads_are_dropped_with_what_only_they_read():
    net = Network()
    b = net.builder
    x = net.input(1, 4)
    used = b.operator("RELU", [x], net.tensor(1, 4))
    unused = b.operator("ABS", [x], net.tensor(1, 4))
    b.operator("RELU", [unused], net.tensor(1, 4))
    _, graph = net.graph(used)
    assert kinds(drop_dead.apply(graph)) == ["RELU"]


# --- dilation ------------------------------------------------------------------------------------


@golden_only
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_dealt_convolution_becomes_a_dilated_one(data: st.DataObject):
    draw = data.draw
    block = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    kernel = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    size = [draw(st.integers(1, 7)), draw(st.integers(1, 7))]
    same = draw(st.booleans())
    pads, crops, joined = [], [], []
    for b, k, n in zip(block, kernel, size, strict=True):
        before = (k - 1) * b // 2 if same else 0
        out = n if same else n - (k - 1) * b
        if out < 1:
            before, out = (k - 1) * b, n
        total = -(-(out + (k - 1) * b) // b) * b
        after = max(total, n + before) - n - before
        after += -(n + before + after) % b
        pads.append([before, after])
        joined.append(out)
        crops.append([0, n + before + after - (k - 1) * b - out])
    net = Network()
    b = net.builder
    kind = draw(st.sampled_from(["CONV_2D", "DEPTHWISE_CONV_2D"]))
    x = net.input(1, *size, 2)
    dealt = [(n + sum(p)) // d for n, p, d in zip(size, pads, block, strict=True)]
    blocks = block[0] * block[1]
    split = b.operator("SPACE_TO_BATCH_ND", [x, net.integers(block), net.integers(pads)],
                       net.tensor(blocks, *dealt, 2))  # fmt: skip
    convolved = [n - k + 1 for n, k in zip(dealt, kernel, strict=True)]
    c = net.convolution(split, (blocks, *convolved, 4), 2, *kernel, kind=kind)
    y = b.operator("BATCH_TO_SPACE_ND", [c, net.integers(block), net.integers(crops)],
                   net.tensor(1, *joined, 4, scale=0.2, zero_point=4))  # fmt: skip
    model, graph = net.graph(y)
    folded = fold_dilation.apply(graph)
    assert kinds(folded) == [kind]
    attributes = folded.operators[0].attributes
    assert [attributes["dilation_h_factor"], attributes["dilation_w_factor"]] == block
    assert_same_bits(model, graph, folded)


@golden_only
@pytest.mark.parametrize("high", [False, True], ids=["time as width", "time as height"])
def test_a_dealt_one_dimensional_convolution_becomes_a_dilated_one(high: bool):
    net = Network()
    b = net.builder

    def wide(batch: int, length: int, channels: int) -> tuple[int, ...]:
        return (batch, length, 1, channels) if high else (batch, 1, length, channels)

    x = net.input(1, 9, 2)
    split = b.operator("SPACE_TO_BATCH_ND", [x, net.integers([3]), net.integers([[6, 0]])],
                       net.tensor(3, 5, 2))  # fmt: skip
    axis = b.constant(np.int32(2 if high else 1))
    widened = b.operator("EXPAND_DIMS", [split, axis], net.tensor(*wide(3, 5, 2)))
    kernel = (3, 1) if high else (1, 3)
    c = net.convolution(widened, wide(3, 3, 4), 2, *kernel)
    narrow = b.operator("RESHAPE", [c], net.tensor(3, 3, 4, scale=0.2, zero_point=4),
                        new_shape=[3, 3, 4])  # fmt: skip
    y = b.operator("BATCH_TO_SPACE_ND", [narrow, net.integers([3]), net.integers([[0, 0]])],
                   net.tensor(1, 9, 4, scale=0.2, zero_point=4))  # fmt: skip
    model, graph = net.graph(y)
    folded = fold_dilation.apply(graph)
    assert kinds(folded) == ["RESHAPE", "CONV_2D", "RESHAPE"]
    assert_same_bits(model, graph, folded)


# --- padding -------------------------------------------------------------------------------------


@golden_only
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_padding_folds_into_the_convolution_that_follows(data: st.DataObject):
    draw = data.draw
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    pads = [[0, 0], *([draw(st.integers(0, 3)), draw(st.integers(0, 3))] for _ in "hw"), [0, 0]]
    k_h, k_w, stride = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    padding = draw(st.sampled_from(["VALID", "SAME"]))
    padded = [height + sum(pads[1]), width + sum(pads[2])]
    if padding == "VALID":
        k_h, k_w = min(k_h, padded[0]), min(k_w, padded[1])
        out = [(n - k) // stride + 1 for n, k in zip(padded, (k_h, k_w), strict=True)]
    else:
        out = [-(-n // stride) for n in padded]
    net = Network(zero_point=draw(st.sampled_from([-128, -7, 127])))
    x = net.input(1, height, width, 2)
    p = net.builder.operator("PAD", [x, net.integers(pads)], net.tensor(1, *padded, 2))
    kind = draw(st.sampled_from(["CONV_2D", "DEPTHWISE_CONV_2D"]))
    y = net.convolution(p, (1, *out, 4), 2, k_h, k_w, kind=kind, padding=padding,
                        stride_h=stride, stride_w=stride)  # fmt: skip
    model, graph = net.graph(y)
    folded = fold_pad.apply(graph)
    assert kinds(folded) == [kind]
    assert_same_bits(model, graph, folded)


@golden_only
def test_padding_folds_through_the_reshape_of_a_one_dimensional_layer():
    net = Network()
    b = net.builder
    x = net.input(1, 9, 2)
    p = b.operator("PAD", [x, net.integers([[0, 0], [2, 1], [0, 0]])], net.tensor(1, 12, 2))
    w = b.operator("EXPAND_DIMS", [p, b.constant(np.int32(1))], net.tensor(1, 1, 12, 2))
    model, graph = net.graph(net.convolution(w, (1, 1, 10, 4), 2, 1, 3))
    folded = fold_pad.apply(graph)
    assert kinds(folded) == ["RESHAPE", "CONV_2D"]
    assert_same_bits(model, graph, folded)


def test_padding_that_something_else_reads_or_that_is_no_zero_stays():
    net = Network()
    b = net.builder
    x = net.input(1, 4, 4, 2)
    pads = net.integers([[0, 0], [1, 1], [1, 1], [0, 0]])
    shared = b.operator("PAD", [x, pads], net.tensor(1, 6, 6, 2))
    y = net.convolution(shared, (1, 4, 4, 4), 2, 3, 3)
    z = b.operator("ABS", [shared], net.tensor(1, 6, 6, 2))
    value = b.constant(np.int8(5), scale=0.05, zero_point=-7)
    fives = b.operator("PADV2", [x, pads, value], net.tensor(1, 6, 6, 2))
    u = net.convolution(fives, (1, 4, 4, 4), 2, 3, 3)
    channels = b.operator(
        "PAD", [x, net.integers([[0, 0], [0, 0], [0, 0], [0, 1]])], net.tensor(1, 4, 4, 3)
    )
    v = net.convolution(channels, (1, 2, 2, 4), 3, 3, 3)
    _, graph = net.graph(y, z, u, v)
    assert fold_pad.apply(graph) is graph


# --- tables --------------------------------------------------------------------------------------

_CHAINABLE = ["RELU", "RELU6", "ABS", "HARD_SWISH", "QUANTIZE", "ELU", "TANH", "LOGISTIC"]
_FIXED = {"TANH": (1 / 128, 0), "LOGISTIC": (1 / 256, -128)}


@golden_only
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_chain_of_tables_becomes_one_table_with_the_same_bits(data: st.DataObject):
    builder = ModelBuilder()
    scale = data.draw(st.floats(0.01, 0.5))
    at = builder.input((1, 256), scale=scale, zero_point=data.draw(st.integers(-128, 127)))
    for kind in data.draw(st.lists(st.sampled_from(_CHAINABLE), min_size=2, max_size=4)):
        scale, point = _FIXED.get(
            kind, (scale * data.draw(st.floats(0.3, 2)), data.draw(st.integers(-128, 127)))
        )
        at = builder.operator(kind, [at], builder.tensor((1, 256), scale=scale, zero_point=point))
    model = builder.build([at])
    fused = fuse_tables.apply(read_tflite(model, "net"))
    assert kinds(fused) == ["TABLE"]
    ((expected,),) = outputs_of(model, [[EVERY_BYTE]])
    np.testing.assert_array_equal(expected.ravel(), table_for(fused, fused.operators[0]))


@golden_only
@pytest.mark.parametrize("kind", sorted(lut.FLOAT))
def test_a_float_island_becomes_one_table_with_the_same_bits(kind: str):
    random = np.random.default_rng(sum(map(ord, kind)))
    builder = ModelBuilder()
    outputs = []
    for _ in range(12):
        scale = float(2.0 ** random.uniform(-7, 1))
        never_negative = kind in ("LOG", "SQRT", "RSQRT")
        point = -128 if never_negative else int(random.integers(-128, 128))
        x = builder.input((1, 256), scale=scale, zero_point=point)
        real = builder.operator("DEQUANTIZE", [x], builder.tensor((1, 256), "float32"))
        options = {"approximate": True} if kind == "GELU" else {}
        got = builder.operator(kind, [real], builder.tensor((1, 256), "float32"), **options)
        out_scale = float(2.0 ** random.uniform(-7, 1))
        y = builder.tensor((1, 256), scale=out_scale, zero_point=int(random.integers(-128, 128)))
        outputs.append(builder.operator("QUANTIZE", [got], y))
    z = builder.input((1, 256), scale=0.05)
    outputs.append(builder.operator("ABS", [z], builder.tensor((1, 256), scale=0.05)))
    model = builder.build(outputs)
    fused = fuse_tables.apply(read_tflite(model, "net"))
    assert kinds(fused) == ["TABLE"] * 12 + ["ABS"]
    (expected,) = outputs_of(model, [[EVERY_BYTE] * 13])
    for operator, output in zip(fused.operators[:12], expected[:12], strict=True):
        np.testing.assert_array_equal(output.ravel(), table_for(fused, operator))


def test_a_chain_that_something_else_reads_in_the_middle_stays():
    net = Network()
    b = net.builder
    middle = b.operator("RELU", [net.input(1, 8)], net.tensor(1, 8))
    end = b.operator("ABS", [middle], net.tensor(1, 8))
    _, graph = net.graph(end, middle)
    assert fuse_tables.apply(graph) is graph
