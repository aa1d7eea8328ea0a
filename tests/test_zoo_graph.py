# SPDX-License-Identifier: Apache-2.0
"""The shape graphs: well formed, cheap, and agreeing with the counts; options refused clearly."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcudeploy import zoo
from mcudeploy.errors import InputError
from mcudeploy.graph.formulas import graph_macs
from mcudeploy.graph.ir import NO_TENSOR, Graph

# The converter leaves out the product with the first state, which is zero.
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def first_state_macs(name: str, options: dict[str, Any]) -> int:
    cell = name.split("_", maxsplit=1)[0]
    if cell not in GATES:
        return 0
    layers, units = options.get("layers", 1), options.get("units", 32)
    return int(layers * GATES[cell] * units**2)


def check_well_formed(graph: Graph) -> None:
    ready = set(graph.inputs) | {i for i, t in enumerate(graph.tensors) if t.is_constant}
    written: set[int] = set()
    for operator in graph.operators:
        assert all(i in ready for i in operator.inputs if i != NO_TENSOR), graph.describe(operator)
        assert not written & set(operator.outputs)
        written |= set(operator.outputs)
        ready |= written
    assert set(graph.outputs) <= written
    for tensor in graph.tensors:
        assert tensor.data is None or tensor.data.shape == tensor.shape
        assert all(size >= 1 for size in tensor.shape)
        if tensor.quantization and tensor.quantization.per_channel:
            axis = tensor.quantization.axis
            assert axis is not None
            assert len(tensor.quantization.scales) == tensor.shape[axis]


def stored_weights(graph: Graph) -> int:
    """Int8 weights of operators that multiply them, each tensor once."""
    kinds = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    used = {o.inputs[1] for o in graph.operators if o.kind in kinds}
    return sum(graph.tensors[i].elements for i in used)


@pytest.mark.parametrize("name", zoo.names())
def test_graph_and_counts_agree(name: str) -> None:
    graph, counts = zoo.graph(name), zoo.counts(name)
    check_well_formed(graph)
    assert graph_macs(graph) + first_state_macs(name, {}) == counts.macs
    assert stored_weights(graph) == counts.kernels
    assert graph.name == name


def test_all_shape_graphs_together_take_seconds_and_no_memory() -> None:
    started = time.process_time()
    graphs = [zoo.graph(name) for name in zoo.names()]
    assert time.process_time() - started < 5
    vgg = graphs[zoo.names().index("vgg16")]
    bases = [t.data.base for t in vgg.tensors if t.data is not None and t.elements > 1000]
    assert all(base is not None and base.nbytes <= 8 for base in bases)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_permitted_option_gives_a_consistent_member_or_a_clear_refusal(
    data: st.DataObject,
) -> None:
    name = data.draw(st.sampled_from(zoo.names()))
    options = {}
    for option in zoo.describe(name).options:
        if option.choices:
            options[option.name] = data.draw(st.sampled_from(option.choices))
        elif isinstance(option.default, float):
            options[option.name] = data.draw(st.floats(max(option.low, 0.05), min(option.high, 2)))
        elif isinstance(option.default, str):
            options[option.name] = data.draw(st.just(option.default) | st.text(max_size=40))
        else:
            low, high = max(1, int(option.low)), int(min(option.high, 40))
            options[option.name] = data.draw(st.integers(low, max(low, high)))
    try:
        graph = zoo.graph(name, **options)
    except InputError as error:
        assert error.mend
        return
    check_well_formed(graph)
    counts = zoo.counts(name, **options)
    assert graph_macs(graph) + first_state_macs(name, options) == counts.macs
    assert stored_weights(graph) == counts.kernels


@pytest.mark.parametrize("family", zoo.families())
def test_every_member_of_a_family_can_be_written(family: str) -> None:
    members = list(zoo.members(family))
    assert members
    assert len({(name, *options.items()) for name, options in members}) == len(members)
    for name, options in members[:40]:
        assert zoo.counts(name, **options).macs > 0


@pytest.mark.parametrize(
    ("call", "problem", "mend"),
    [
        (lambda: zoo.graph("mobilenet"), "the zoo has no 'mobilenet'", "mobilenet_v"),
        (lambda: zoo.counts("vgg16", widht=1), "has no option 'widht'", "choose one of"),
        (lambda: zoo.counts("mobilenet_v1", widht=1), "has no option 'widht'", "width"),
        (lambda: zoo.counts("shufflenet", groups=5), "groups 5 is not offered", "1, 2, 3, 4, 8"),
        (lambda: zoo.counts("mobilenet_v1", width="wide"), "must be a number", "channels"),
        (lambda: zoo.counts("mobilenet_v1", width=float("nan")), "must be a number", "channels"),
        (lambda: zoo.counts("lenet5", resolution=32.5), "must be a whole number", "pixels"),
        (lambda: zoo.counts("lenet5", resolution=True), "must be a whole number", "pixels"),
        (lambda: zoo.counts("lenet5", resolution=8), "out of range", "32 to"),
        (lambda: zoo.counts("transformer", heads=5), "5 heads do not divide 32", "multiple"),
        (lambda: list(zoo.members("mobilnet_v1")), "no family", "mobilenet_v1"),
    ],
)  # fmt: skip
def test_a_bad_request_says_what_would_be_right(call: Any, problem: str, mend: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert problem in caught.value.problem
    assert mend in caught.value.mend


def test_whole_floats_stand_for_integers() -> None:
    assert zoo.counts("lenet5", classes=7.0).classifier.shape == (7,)


def test_nothing_of_tensorflow_is_imported_for_counts_and_graphs() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from mcudeploy import zoo; zoo.verify(); zoo.graph('efficientnet_b0'); "
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
