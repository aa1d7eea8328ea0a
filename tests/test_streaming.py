# SPDX-License-Identifier: Apache-2.0
"""Row-streamed execution gives every operator's bytes as golden has them, in less memory."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from host_model import HostProgram, roomy_board
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mobile_networks import keras_channels, mobilenet_v2
from stream_models import networks, window_taller_than_its_map

from mcudeploy.deployment import LoadedModel, Options, plan_model
from mcudeploy.errors import InputError
from mcudeploy.frontend.reference import Reference, golden_unavailable, sample_inputs
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import Graph
from mcudeploy.graph.passes import join_shuffles, part_splits
from mcudeploy.memory.checker import check_plan
from mcudeploy.memory.plan import Placement, Plan
from mcudeploy.memory.planner import make_plan
from mcudeploy.memory.stream_steps import expected_instructions
from mcudeploy.memory.streamed import loop_instructions, plan_with_segments
from mcudeploy.operators.base import Target
from mcudeploy.operators.support import candidates, row_candidates

golden_only = pytest.mark.skipif(golden_unavailable() is not None, reason=str(golden_unavailable()))
QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
# Each example is compiled and run: shrinking one would take minutes.
ONCE = [Phase.explicit, Phase.generate]


def base_plan(graph: Graph) -> tuple[Plan, list, list]:
    """The unstreamed plan of a graph, with the candidates and row forms of its operators."""
    board = roomy_board("cortex-m4f")
    target = Target(board.core)
    base = make_plan(graph, candidates(graph, target), board)
    return base, candidates(base.graph, target), row_candidates(base.graph, target)


def streamed(model: bytes, cut: tuple[float, float], how: tuple[bool, int]) -> Plan | None:
    """The plan that streams a part of a network; `how`: fed by rows (from its start), strips."""
    fed, strips = how
    read = read_tflite(model, "network")
    base, choices, forms = base_plan(part_splits.apply(join_shuffles.apply(read)))
    count = len(base.graph.operators)
    first = 0 if fed else int(cut[0] * count)
    end = first + max(1, round(cut[1] * (count - first)))
    return plan_with_segments(base, choices, forms, [(first, end)], fed=fed, strips=strips)


def compare(model: bytes, plan: Plan, folder: Path, inferences: int = 2) -> None:
    graph = plan.graph
    inputs = sample_inputs(graph, inferences, seed=1)[-inferences:]
    runs = HostProgram(plan, folder)(inputs)
    sources = [graph.tensors[o.outputs[0]].source for o in graph.operators]
    with Reference(model) as golden:
        for arrays, run in zip(inputs, runs, strict=True):
            wanted = golden.infer(arrays, tensors=[s for s in sources if s is not None])
            for step, source in enumerate(sources):
                if source is not None:
                    expected = np.ascontiguousarray(wanted.tensors[source]).tobytes()
                    operator = graph.describe(graph.operators[step])
                    assert run.operators[step] == expected, f"{operator} differs"
            assert [np.ascontiguousarray(o).tobytes() for o in wanted.outputs] == list(run.outputs)


def check_random(model: bytes, cut: tuple[float, float], how: tuple[bool, int]) -> None:
    plan = streamed(model, cut, how)
    if plan is None:  # the part has an inner map that leaves it in a way that rows cannot
        return
    assert check_plan(plan) == ()
    with tempfile.TemporaryDirectory() as folder:
        compare(model, plan, Path(folder))


fractions = st.tuples(st.floats(0, 0.6), st.floats(0.3, 1))
manners = st.tuples(st.booleans(), st.sampled_from([0, 1, 2, 3]))


@golden_only
@settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=QUIET, phases=ONCE
)
@given(networks(), fractions, manners)
def test_any_part_of_a_network_gives_the_reference_bytes_row_by_row(model, cut, how):
    check_random(model, cut, how)


@golden_only
@pytest.mark.slow(reason="300 networks are compiled")
@settings(max_examples=300, deadline=None, suppress_health_check=QUIET, phases=ONCE)
@given(networks(), fractions, manners)
def test_any_part_of_300_networks_gives_the_reference_bytes(model, cut, how):
    check_random(model, cut, how)


@golden_only
def test_below_a_map_that_its_window_exceeds_no_kept_row_is_taken_for_padding(tmp_path):
    plan = streamed(window_taller_than_its_map(), (0, 1), (True, 1))
    assert plan.streams[0].strips
    compare(window_taller_than_its_map(), plan, tmp_path)


def moved(plan: Plan, tensor: int, distance: int) -> Plan:
    place = plan.tensors[tensor]
    shifted = Placement(place.region, place.offset + distance, place.bytes)
    return replace(plan, tensors={**plan.tensors, tensor: shifted})


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=QUIET)
@given(networks(), fractions, manners, st.data())
def test_the_checker_finds_a_ring_that_is_a_row_too_short(model, cut, how, data):
    plan = streamed(model, cut, how)
    if plan is None or not plan.streams[0].rings:
        return
    stream = plan.streams[0]
    tensor = data.draw(st.sampled_from(sorted(stream.rings)))
    if stream.rings[tensor] == 1:
        return
    same = [t for t in stream.rings if plan.tensors[t] == plan.tensors[tensor]]
    record = plan.graph.tensors[tensor]
    row = record.bytes // record.shape[1]
    rings = {t: n - (t in same) for t, n in stream.rings.items()}
    places = {
        t: Placement(p.region, p.offset, p.bytes - row * (t in same))
        for t, p in plan.tensors.items()
    }
    spoiled = replace(plan, tensors=places, streams=(replace(stream, rings=rings),))
    assert any("is not whole" in fault for fault in check_plan(spoiled))


@pytest.fixture(scope="module")
def vww(real_model) -> bytes:
    return real_model("vww_96_int8.tflite").read_bytes()


def planned(model: bytes, **options: object) -> Plan:
    return plan_model(
        LoadedModel(model), "m.tflite", roomy_board("cortex-m4f"), Options(**options)
    ).plan


def test_visual_wake_words_needs_little_more_than_its_input(vww):
    plan = planned(vww, ram_budget=28_900)
    assert plan.certificate.peak_bytes <= 28_900
    assert plan.streams


def test_visual_wake_words_fed_by_rows_needs_half_of_its_input(vww):
    plan = planned(vww, ram_budget=14_500, row_fed=True)
    assert plan.certificate.peak_bytes <= 14_500
    assert plan.row_fed
    assert plan.graph.tensors[plan.graph.inputs[0]].bytes == 27_648


@golden_only
def test_keyword_spotting_streams_as_a_whole_and_exactly(real_model, tmp_path):
    model = real_model("kws_ref_model.tflite").read_bytes()
    plan = planned(model, ram_budget=5_400, row_fed=True)
    assert plan.certificate.peak_bytes <= 5_400
    compare(model, plan, tmp_path)


@golden_only
def test_image_classification_streams_exactly_its_short_branches_first(real_model, tmp_path):
    model = real_model("pretrainedResnet_quant.tflite").read_bytes()
    plan = planned(model, ram_budget=12_800, row_fed=True)
    assert plan.certificate.peak_bytes <= 12_800
    assert len(plan.streams[0].strips) == 3
    compare(model, plan, tmp_path)


def test_image_classification_s_whole_input_is_within_its_budget(real_model):
    model = real_model("pretrainedResnet_quant.tflite").read_bytes()
    assert planned(model, ram_budget=15_500).certificate.peak_bytes <= 15_500


def instructions(plan: Plan) -> float:
    """As predicted, with what the loops over rows add."""
    return sum(one.instructions or 0 for one in plan.implementations) + loop_instructions(plan)


def test_keyword_spotting_by_rows_takes_at_most_5_percent_more_instructions(real_model):
    model = real_model("kws_ref_model.tflite").read_bytes()
    by_rows = planned(model, ram_budget=5_400, row_fed=True)
    assert instructions(by_rows) <= 1.05 * instructions(planned(model, stream="off"))


@pytest.mark.slow(reason="two plans of a MobileNetV2")
def test_strips_are_taken_where_rows_alone_would_be_slower():
    """The whole input leaves little room: without strips the first depthwise has no scratch."""
    model = mobilenet_v2(keras_channels(0.35), 96)
    plan = planned(model, ram_budget=30_300)
    assert plan.certificate.peak_bytes <= 30_300
    assert any(stream.strips for stream in plan.streams)
    assert instructions(plan) <= 1.05 * instructions(planned(model, stream="off"))


def test_a_kernel_that_nobody_has_measured_is_not_taken_for_free(vww):
    plan = planned(vww)
    graph, known = plan.graph, plan.implementations[0]
    unknown = replace(known, instructions=None)
    guess = expected_instructions(graph, 0, unknown)
    assert expected_instructions(graph, 0, known) == known.instructions
    assert known.instructions < guess < 50 * known.instructions
    view = next(p for p, one in enumerate(plan.implementations) if not one.snippet)
    assert expected_instructions(graph, view, replace(unknown, snippet="")) == 0


def test_nothing_is_streamed_that_fits(vww):
    assert planned(vww).streams == ()
    assert planned(vww, stream="off", ram_budget=10_000).streams == ()


def test_a_dense_network_cannot_take_rows(real_model):
    model = real_model("ad01_int8.tflite").read_bytes()
    with pytest.raises(InputError, match="row by row"):
        planned(model, row_fed=True)
