# SPDX-License-Identifier: Apache-2.0
"""Our kernels compute TFLite's bytes, on the host under sanitizers and on emulated cores.

A program of many random layers is compiled at once, so each hypothesis example is a seed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from kernel_emulator import CountedProgram
from kernel_program import Case, run_on_host
from tflite_builder import ModelBuilder

from mcudeploy.board import CORES
from mcudeploy.frontend.reference import golden_unavailable, run_golden
from mcudeploy.operators.base import Implementation, Target
from mcudeploy.operators.costs import predicted_instructions
from mcudeploy.operators.kernels.conv import conv_implementations
from mcudeploy.operators.kernels.depthwise import depthwise_implementations
from mcudeploy.operators.kernels.fully_connected import fully_connected_implementation
from mcudeploy.operators.kernels.pool import (
    mean_implementation,
    mean_quantization,
    pool_implementation,
)
from mcudeploy.operators.kernels.softmax import softmax_implementation
from mcudeploy.operators.shapes import (
    ConvShape,
    FullyConnectedShape,
    MeanShape,
    PoolShape,
    SoftmaxShape,
)
from mcudeploy.operators.softmax import softmax_quantization

pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc for the host"),
    pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc"),
]
LAYERS = 25
seeds = given(seed=st.integers(0, 2**32 - 1))
one_program = settings(
    max_examples=2, deadline=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
Made = tuple[Implementation, cases.Layer]
Make = Callable[[cases.Random, Target], Made | None]


def convolution(random: cases.Random, target: Target = cases.M4F) -> Made | None:
    """By tiles of two pixels where that is offered: for single rows, but it serves whole maps."""
    layer = cases.convolution(random)
    assert isinstance(layer.shape, ConvShape)
    made = conv_implementations(
        layer.shape, layer.quantization, layer.weights, layer.bias, target,
        single_rows=bool(random.integers(2)),
    )  # fmt: skip
    return (made[-1], layer) if made else None


def whole_convolution(random: cases.Random, target: Target = cases.M4F) -> Made | None:
    layer = cases.convolution(random)
    assert isinstance(layer.shape, ConvShape)
    made = conv_implementations(layer.shape, layer.quantization, layer.weights, layer.bias, target)
    return (made[0], layer) if made else None


def depthwise(random: cases.Random, target: Target = cases.M4F) -> Made | None:
    layer = cases.convolution(random, depthwise=True)
    assert isinstance(layer.shape, ConvShape)
    made = depthwise_implementations(
        layer.shape, layer.quantization, layer.weights, layer.bias, target,
        single_rows=bool(random.integers(2)),
    )  # fmt: skip
    return (made[int(random.integers(len(made)))], layer) if made else None


def depthwise_in_parts(random: cases.Random, target: Target = cases.M4F) -> Made | None:
    """The kernel for single rows, which takes a row some columns at a time."""
    layer = cases.convolution(random, depthwise=True)
    assert isinstance(layer.shape, ConvShape)
    made = depthwise_implementations(
        layer.shape, layer.quantization, layer.weights, layer.bias, target, single_rows=True
    )
    found = [one for one in made if one.kernel == "mcud_depthwise_rows_s8"]
    if not found:
        return None
    form = found[0].rows
    assert form is not None and form.narrowed is not None
    return form.narrowed(int(random.integers(1, layer.shape.out_w + 1))), layer


def dense(random: cases.Random, target: Target = cases.M4F) -> Made | None:
    layer = cases.dense(random)
    assert isinstance(layer.shape, FullyConnectedShape)
    made = fully_connected_implementation(
        layer.shape, layer.quantization, layer.weights, layer.bias, target
    )
    return None if made is None else (made, layer)


def batch(make: Make, seed: int, target: Target = cases.M4F) -> list[Made]:
    """LAYERS served layers; most that are drawn must be served."""
    random = np.random.default_rng(seed)
    drawn = [make(random, target) for _ in range(LAYERS + 15)]
    served = [one for one in drawn if one is not None]
    assert len(served) >= LAYERS
    return served[:LAYERS]


def check(
    program: list[Case],
    expected: list[np.ndarray],
    folder: Path,
    targets: Sequence[Target] = (cases.M4F,),
) -> None:
    """Every case gives its bytes on the host and on the cores."""
    counted = [CountedProgram(program, target.core, folder) for target in targets]
    for index, (host, truth) in enumerate(zip(run_on_host(program, folder), expected, strict=True)):
        where = program[index].implementation.values
        np.testing.assert_array_equal(host, truth, err_msg=f"host {where}")
        for target, core in zip(targets, counted, strict=True):
            output = core.run(index).output
            np.testing.assert_array_equal(output, truth, err_msg=f"{target.core.name} {where}")


def overlapped(made: Implementation, layer: cases.Layer, beyond: int) -> Case:
    if made.is_in_place:
        return Case(made, (layer.x,), layer.expected.size)
    rule = made.overlaps[0]
    if rule.max_distance is not None:
        return Case(made, (layer.x,), layer.expected.size, rule.max_distance + beyond)
    assert rule.min_distance is not None
    return Case(made, (layer.x,), layer.expected.size, rule.min_distance - beyond)


def depthwise_in_place(random: cases.Random, target: Target) -> Made | None:
    """One of the kernels that write a map over itself, of a layer that has any."""
    layer = cases.convolution(random, depthwise=True)
    assert isinstance(layer.shape, ConvShape)
    made = depthwise_implementations(
        layer.shape, layer.quantization, layer.weights, layer.bias, target
    )
    found = [one for one in made if one.is_in_place]
    return (found[int(random.integers(len(found)))], layer) if found else None


FAMILIES = pytest.mark.parametrize("make", [convolution, depthwise, dense])
WITH_DSP, WITHOUT = (cases.M4F,), (cases.M3, cases.M0PLUS)
ALL = (*WITH_DSP, *WITHOUT)
ON_CORES = pytest.mark.parametrize("targets", [WITH_DSP, WITHOUT], ids=["dsp", "plain"])
"""Cores without DSP instructions have kernels of their own, the same for all."""


@ON_CORES
@FAMILIES
@seeds
@one_program
def test_layers_of_any_shape_give_the_reference_bytes(
    make: Make, targets: Sequence[Target], seed: int, tmp_path: Path
) -> None:
    layers = batch(make, seed, targets[0])
    program = [Case(made, (layer.x,), layer.expected.size) for made, layer in layers]
    check(program, [layer.expected for _, layer in layers], tmp_path, targets)


@pytest.mark.parametrize("make", [depthwise_in_place, depthwise_in_parts])
@seeds
@one_program
def test_depthwise_layers_in_place_and_in_parts_of_rows_give_the_reference_bytes(
    make: Make, seed: int, tmp_path: Path
) -> None:
    random = np.random.default_rng(seed)
    layers: list[Made] = []
    while len(layers) < LAYERS // 2:
        drawn = make(random, cases.M4F)
        layers += [] if drawn is None else [drawn]
    program = [Case(made, (layer.x,), layer.expected.size) for made, layer in layers]
    check(program, [layer.expected for _, layer in layers], tmp_path)


@ON_CORES
@FAMILIES
@seeds
@one_program
def test_output_may_overlap_input_to_the_last_permitted_byte(
    make: Make, targets: Sequence[Target], seed: int, tmp_path: Path
) -> None:
    layers = batch(make, seed, targets[0])
    program = [overlapped(made, layer, 0) for made, layer in layers]
    check(program, [layer.expected for _, layer in layers], tmp_path, targets)


@ON_CORES
@FAMILIES
def test_one_byte_beyond_the_overlap_rule_breaks_some_layer(
    make: Make, targets: Sequence[Target], tmp_path: Path
) -> None:
    layers = batch(make, 7, targets[0])
    outputs = run_on_host([overlapped(made, layer, 1) for made, layer in layers], tmp_path)
    wrong = [(out != layer.expected).any() for out, (_, layer) in zip(outputs, layers, strict=True)]
    assert any(wrong)


_ROW_BY_ROW = """
static int8_t kept[{{ ring }} * {{ s.in_w * s.in_c }}];
const mcud_map rolling = { kept, in.row_bytes, {{ ring }} };
int32_t fed = 0;
for (int32_t y = 0; y < {{ s.out_h }}; y++) {
    const int32_t last = y * {{ s.stride_h }} - {{ s.pad_top }} + {{ (s.k_h - 1) * s.dilation_h }};
    for (; fed <= last && fed < {{ s.in_h }}; fed++) {
        memcpy(mcud_row(&rolling, fed), in.base + fed * in.row_bytes, (size_t)in.row_bytes);
    }
    {{ function }}(&params, rolling, out, y, y + 1{{ tail }});
}
"""


@ON_CORES
@pytest.mark.parametrize("make", [convolution, depthwise])
@seeds
@one_program
def test_rows_one_by_one_from_a_rolling_buffer_give_the_same_bytes(
    make: Make, targets: Sequence[Target], seed: int, tmp_path: Path
) -> None:
    program, expected = [], []
    for made, layer in batch(make, seed, targets[0]):
        if made.rows is None:
            continue
        rolling = cases.with_call(made, _ROW_BY_ROW)
        assert isinstance(layer.shape, ConvShape)
        ring = (layer.shape.k_h - 1) * layer.shape.dilation_h + 1
        scratch = f", case{len(program)}_scratch" if made.scratch_bytes else ""
        values = {**made.values, "ring": ring, "function": made.kernel, "tail": scratch}
        program.append(Case(replace(rolling, values=values), (layer.x,), layer.expected.size))
        expected.append(layer.expected)
    check(program, expected, tmp_path, targets)


@seeds
@one_program
def test_pooling_gives_the_reference_bytes_overlapped_too(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    program, expected = [], []
    while len(program) < LAYERS:
        conv = cases.conv_shape(random, depthwise=True)
        if conv.dilation_h > 1:
            continue
        shape = PoolShape(
            conv.in_h, conv.in_w, conv.in_c, conv.out_h, conv.out_w, conv.k_h, conv.k_w,
            conv.stride_h, conv.stride_w, conv.pad_top, conv.pad_left,
        )  # fmt: skip
        kind = ("average", "max")[cases.pick(random, 0, 1)]
        low, high = cases.pick(random, -128, -20), cases.pick(random, 127, 30)
        made = pool_implementation(kind, shape, low, high, cases.M4F)
        assert made is not None
        x = random.integers(-128, 128, shape.in_h * shape.in_w * shape.channels).astype(np.int8)
        truth = cases.kernel_reference.pooling(kind, x, shape, low, high)
        distance = made.overlaps[0].max_distance if random.random() < 0.5 else None
        program.append(Case(made, (x,), truth.size, distance))
        expected.append(truth)
    check(program, expected, tmp_path, ALL)


@pytest.mark.skipif(golden_unavailable() is not None, reason="needs the golden reference")
def test_mean_over_space_gives_the_golden_bytes(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    program, expected = [], []
    for height, width, channels in [(3, 3, 8), (5, 7, 6), (1, 1, 4), (20, 20, 4), (4, 4, 3)]:
        scales = [float(np.float32(v)) for v in random.uniform(0.01, 0.1, 2)]
        points = [cases.zero_point(random) for _ in range(2)]
        builder = ModelBuilder()
        x = builder.input((1, height, width, channels), scale=scales[0], zero_point=points[0])
        output = builder.tensor((1, 1, 1, channels), scale=scales[1], zero_point=points[1])
        axes = builder.constant(np.array([1, 2], np.int32))
        model = builder.build([builder.operator("MEAN", [x, axes], output, keep_dims=True)])
        data = random.integers(-128, 128, (1, height, width, channels)).astype(np.int8)
        constants = mean_quantization(scales[0], points[0], scales[1], points[1], height * width)
        made = mean_implementation(MeanShape(height, width, channels), constants, cases.M4F)
        assert made is not None
        program.append(Case(made, (data.ravel(),), channels))
        expected.append(np.asarray(run_golden(model, [[data]]).inferences[0].outputs[0]).ravel())
    check(program, expected, tmp_path, ALL)


@pytest.mark.skipif(golden_unavailable() is not None, reason="needs the golden reference")
def test_softmax_gives_the_golden_bytes_in_place_too(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    program, expected = [], []
    for number, (rows, depth) in enumerate([(3, 10), (1, 256), (40, 4), (2, 1), (9, 33), (1, 2)]):
        scale = float(np.float32(2.0 ** random.uniform(-11, 2)))
        builder = ModelBuilder()
        x = builder.input((1, rows, depth), scale=scale)
        output = builder.tensor((1, rows, depth), scale=1 / 256, zero_point=-128)
        model = builder.build([builder.operator("SOFTMAX", [x], output, beta=1.0)])
        data = random.integers(-128, 128, (1, rows, depth)).astype(np.int8)
        if number % 2:
            data[:] = data[0, 0, 0]
        made = softmax_implementation(
            SoftmaxShape(rows, depth), softmax_quantization(1.0, scale), cases.M4F
        )
        assert made is not None
        program.append(Case(made, (data.ravel(),), data.size, 0 if number < 4 else None))
        expected.append(np.asarray(run_golden(model, [[data]]).inferences[0].outputs[0]).ravel())
    check(program, expected, tmp_path, ALL)


@pytest.mark.parametrize("make", [whole_convolution, depthwise, dense])
def test_predicted_instructions_are_within_a_tenth(make: Make, tmp_path: Path) -> None:
    layers = batch(make, 11)
    program = [Case(made, (layer.x,), layer.expected.size) for made, layer in layers]
    counted = CountedProgram(program, cases.M4F.core, tmp_path)
    for index, (made, layer) in enumerate(layers):
        counts = counted.run(index).instructions
        if layer.quantization.activation_max < 127 or layer.quantization.activation_min > -128:
            continue  # a pass over the outputs that the predictions leave out
        if made.kernel == "mcud_conv_s8" and (layer.shape.groups > 1 or layer.shape.dilation_w > 1):
            continue  # taps gathered one by one: predicted roughly
        predicted = predicted_instructions(made, cases.M4F.core)
        assert predicted is not None
        assert abs(predicted - counts) <= 0.1 * max(counts, 10_000), (layer.shape, counts)


def test_with_helium_depthwise_layers_are_ours_where_cmsis_nn_does_not_use_it() -> None:
    """Multipliers and dilation: 27,047 instructions on Cortex-M55 for 164,910 on 9x9x4 to 8."""
    random, helium = np.random.default_rng(5), Target(CORES["cortex-m55"])
    made = {}
    for _ in range(200):
        layer = cases.convolution(random, depthwise=True)
        shape = layer.shape
        assert isinstance(shape, ConvShape)
        plain = shape.depth_multiplier > 1 or max(shape.dilation_h, shape.dilation_w) > 1
        found = depthwise_implementations(
            shape, layer.quantization, layer.weights, layer.bias, helium
        )
        made.setdefault(plain, []).append(len(found))
    assert not any(made[False])
    assert sum(map(bool, made[True])) > 0.8 * len(made[True])
