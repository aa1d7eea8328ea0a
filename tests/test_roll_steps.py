# SPDX-License-Identifier: Apache-2.0
"""Unrolled recurrent layers become one loop: the same bytes, with weights and code once."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from host_model import HostModel
from hypothesis import given
from hypothesis import strategies as st
from operator_cases import golden_only
from recurrent_models import Recurrent

import mcudeploy
from mcudeploy.codegen.manifest import OperatorRecord, values_shown
from mcudeploy.codegen.model import ModelSource, render_model
from mcudeploy.deployment import Deployment, LoadedModel, Options, choose_board, plan_model
from mcudeploy.frontend.quantize import quantize
from mcudeploy.frontend.reference import Reference, sample_inputs
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import Graph
from mcudeploy.graph.passes import roll_steps
from mcudeploy.operators.base import Constant, Implementation
from mcudeploy.operators.repeat import repeat_of
from mcudeploy.operators.shapes import quantize_multiplier
from mcudeploy.operators.step_fully_connected import multiplier_of
from mcudeploy.operators.unify import unify
from mcudeploy.resources import resource_folder
from mcudeploy.toolchain import cmsis_nn
from mcudeploy.verify import name_of

GCC = "arm-none-eabi-gcc"
CODE_GROWTH_BYTES = 64

MODELS: dict[str, Callable[[], tuple[Recurrent, list[str]]]] = {
    "the last": lambda: (Recurrent(7).simple(), ["last"]),
    "all": lambda: (Recurrent(6, 2).simple(per_row=False), ["all"]),
    "all, backward": lambda: (Recurrent(5, 3, backward=True).simple(), ["reversed"]),
    "biases of each step": lambda: (Recurrent(6, 5).simple(biased=True), ["last"]),
    "two states, the last and all": lambda: (Recurrent(5, 4).gated(), ["last"]),
}


def model_of(name: str) -> bytes:
    layer, wanted = MODELS[name]()
    outputs = {
        "last": lambda: layer.hidden[-1],
        "all": lambda: layer.packed(layer.hidden),
        "reversed": lambda: layer.packed(layer.hidden[::-1]),
    }
    return layer.build(*(outputs[one]() for one in wanted))


def kinds(graph: Graph) -> list[str]:
    return [operator.kind for operator in graph.operators]


def rolled(model: bytes) -> Graph:
    return roll_steps.apply(read_tflite(model, "recurrent"))


def planned(model: bytes, **options: object) -> Deployment:
    board = choose_board("stm32f469", Options())
    return plan_model(LoadedModel(model), "recurrent", board, Options(**options))  # type: ignore[arg-type]


# --- the bytes -----------------------------------------------------------------------------------


@golden_only
@pytest.mark.parametrize("name", MODELS)
def test_a_loop_gives_the_bytes_of_golden_in_every_operator_of_every_step(
    name: str, tmp_path: Path
):
    model = model_of(name)
    program = HostModel(model, tmp_path)
    graph = program.plan.graph
    loops = [p for p, operator in enumerate(graph.operators) if operator.kind == "REPEAT"]
    assert len(loops) == 1
    groups = [[source for source, _ in values_shown(program.plan, loop)] for loop in loops]
    inputs = sample_inputs(graph, 4, seed=3)
    with Reference(model) as golden:
        for arrays, run in zip(inputs, program(inputs), strict=True):
            wanted = golden.infer(arrays, checksums=groups)
            assert [output.tobytes() for output in wanted.outputs] == list(run.outputs)
            shown = [zlib.crc32(run.operators[loop]) for loop in loops]
            assert list(wanted.checksums) == shown


def test_what_is_shown_of_a_loop_is_every_value_that_it_computes():
    deployment = planned(model_of("the last"))
    plan, graph = deployment.plan, deployment.plan.graph
    loop = kinds(graph).index("REPEAT")
    sources = [source for source, _ in values_shown(plan, loop)]
    bodies = repeat_of(graph.operators[loop]).bodies
    computed = {b.tensors[o].source for b in bodies for one in b.operators for o in one.outputs}
    assert set(sources) == computed and None not in computed
    assert len(sources) == len(set(sources)) == 6 * 4


def test_a_difference_in_a_loop_is_named_by_its_step_and_operator():
    loop = OperatorRecord(
        index=3, kind="REPEAT", name="hidden", kernel="loop", macs=1, tensors=(1, 2, 3, 4),
        bytes=(1, 1, 1, 1), instructions=None, shown=("ADD sum", "TANH hidden"),
    )  # fmt: skip
    assert name_of(loop, 2) == "step 1 of hidden, ADD sum"


# --- what stands once ----------------------------------------------------------------------------


def code_bytes(deployment: Deployment, folder: Path) -> int:
    """The .text of the network's own C, kernels aside."""
    folder.mkdir()
    for name, text in render_model(ModelSource(deployment.plan, "recurrent")).items():
        (folder / name).write_text(text)
    include = resource_folder("firmware") / "kernels"
    target = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]
    command = [GCC, *target, "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-c"]
    command += [
        f"-I{include}",
        f"-I{cmsis_nn.source() / 'Include'}",
        "-o",
        str(folder / "model.o"),
        str(folder / "model.c"),
    ]
    subprocess.run(command, check=True)
    sections = subprocess.run(
        ["arm-none-eabi-size", "-A", str(folder / "model.o")],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    rows = [line.split() for line in sections.splitlines()]
    return sum(int(row[1]) for row in rows if row and row[0].startswith(".text"))


def part(deployment: Deployment, kind: str, name: str) -> int:
    regions = [region for region in deployment.report.regions if region.kind == kind]
    return sum(p.bytes for region in regions for p in region.parts if p.name == name)


@pytest.mark.skipif(shutil.which(GCC) is None, reason="no cross compiler")
def test_code_weights_and_scratch_do_not_grow_with_the_number_of_steps(tmp_path: Path):
    few, many = (
        planned(layer.build(layer.hidden[-1]))
        for layer in (Recurrent(6).gated(), Recurrent(24).gated())
    )
    sizes = [code_bytes(few, tmp_path / "few"), code_bytes(many, tmp_path / "many")]
    assert abs(sizes[1] - sizes[0]) <= CODE_GROWTH_BYTES
    assert part(few, "flash", "weights") == part(many, "flash", "weights")
    assert part(few, "ram", "scratch") == part(many, "ram", "scratch")


def test_ram_holds_the_sequence_the_state_and_what_one_step_needs():
    deployment = planned(model_of("the last"))
    loop = kinds(deployment.plan.graph).index("REPEAT")
    scratch = deployment.plan.implementations[loop].scratch_bytes
    sequence, state, product = 44, 8, 8  # 42, 5 and 5 bytes, aligned
    assert scratch <= state + 2 * product
    # The state that the loop begins with lies where its result will.
    assert deployment.plan.certificate.peak_bytes <= sequence + scratch + state


# --- what stays unrolled -------------------------------------------------------------------------


def test_a_step_that_is_read_from_outside_keeps_the_layer_unrolled():
    layer = Recurrent(6).simple()
    assert "REPEAT" not in kinds(rolled(layer.build(layer.hidden[3], layer.hidden[-1])))


def test_steps_with_weights_of_their_own_are_no_loop():
    layer = Recurrent(6)
    hidden = layer.tanh(layer.dense(layer.slices[0], layer.weights(5, 6), 5), 5)
    for step in range(1, layer.steps):
        fed_back = layer.dense(hidden, layer.weights(5, 5), 5)
        product = layer.dense(layer.slices[step], layer.weights(5, 6), 5)
        total = layer.builder.operator("ADD", [product, fed_back], layer.activation(5))
        hidden = layer.tanh(total, 5)
    layer.hidden = [hidden]
    assert "REPEAT" not in kinds(rolled(layer.build(hidden)))


def test_two_steps_are_too_few():
    layer = Recurrent(3).simple()
    assert "REPEAT" not in kinds(rolled(layer.build(layer.hidden[-1])))


def test_the_pass_can_be_switched_off():
    deployment = planned(model_of("the last"), disabled_passes=("roll-steps",))
    assert "REPEAT" not in kinds(deployment.plan.graph)


# --- one snippet for all steps -------------------------------------------------------------------


def implementation(snippet: str, **constants: int) -> Implementation:
    made = [Constant(n, np.full(3, v, np.int8), "tables") for n, v in constants.items()]
    return Implementation("k", snippet, constants=tuple(made))


def test_integers_that_differ_become_columns_and_their_declaration_is_no_longer_static():
    one = unify([implementation(f"static const p_t p = {{ {v}, 7 }};\nf(&p);") for v in (3, -4)])
    assert one is not None and one.columns == ((3, -4),)
    assert one.text == "const p_t p = { MCUD_COLUMN_0, 7 };\nf(&p);"


def test_constants_that_differ_are_stacked_and_equal_ones_kept_once():
    steps = [implementation("f({{ constants.a }}, {{ constants.b }});", a=v, b=9) for v in (1, 2)]
    one = unify(steps)
    assert one is not None and one.stacked == {"a"}
    assert [c.data.shape for c in one.constants] == [(2, 3), (3,)]


@pytest.mark.parametrize("snippets", [("f(x);", "g(x);"), ("f(1.5f);", "f(2.5f);"), ("f(1);", "")])
def test_snippets_that_differ_in_more_than_integers_have_none_in_common(
    snippets: tuple[str, str],
):
    assert unify([implementation(snippet) for snippet in snippets]) is None


def test_weights_that_differ_have_no_snippet_in_common():
    steps = [
        Implementation("k", "f();", constants=(Constant("w", np.full(2, v, np.int8), "weights"),))
        for v in (1, 2)
    ]
    assert unify(steps) is None


scales = st.floats(2.0**-20, 2.0**4, width=32)


@given(scales, scales, scales)
def test_a_row_s_multiplier_from_its_scale_and_the_step_s_ratio_is_tflite_s(
    source: float, weights: float, output: float
):
    mantissa, exponent = math.frexp(source / output)
    bits = int(np.array(weights, np.float32).view(np.uint32))
    wanted = quantize_multiplier(source * weights / output)
    got = multiplier_of(bits, min(round(mantissa * 2**64), 2**64 - 1), exponent)
    # Two roundings may fall apart where the quotient lies halfway; then the kernel is not offered.
    assert abs(got[0] * 2.0 ** got[1] - wanted[0] * 2.0 ** wanted[1]) <= 2.0 ** wanted[1]


# --- from Keras ----------------------------------------------------------------------------------

_LSTM = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
keras.utils.set_random_seed(1)
layers = [keras.Input((int(sys.argv[2]), 28), batch_size=1), keras.layers.LSTM(32)]
keras.Sequential([*layers, keras.layers.Dense(10)]).save(sys.argv[1])
"""


@golden_only
@pytest.mark.slow(reason="TensorFlow converts 280 steps, five minutes")
@pytest.mark.skipif(shutil.which(GCC) is None, reason="no cross compiler")
def test_an_lstm_of_280_steps_is_exact_with_the_code_and_weights_of_one_of_28(tmp_path: Path):
    built = []
    for steps in (28, 280):
        file = tmp_path / f"{steps}.keras"
        subprocess.run(
            [sys.executable, "-c", _LSTM, str(file), str(steps)], check=True, capture_output=True
        )
        path = tmp_path / f"{steps}.tflite"
        path.write_bytes(quantize(file, synthetic=True).tflite)
        mcudeploy.generate(path, "stm32f469", tmp_path / f"firmware-{steps}")
        built.append(mcudeploy.build(tmp_path / f"firmware-{steps}"))
        for verdict in mcudeploy.test(tmp_path / f"firmware-{steps}").verdicts:
            assert verdict.bit_exact and verdict.distinct_outputs > 1
    few, many = ({row.part: row.linked_bytes for row in one.sizes} for one in built)
    assert abs(many["code"] - few["code"]) <= CODE_GROWTH_BYTES
    assert many["weights"] == few["weights"]
    grown = many["activations and scratch"] - few["activations and scratch"]
    assert grown == (280 - 28) * 28  # the sequence alone
