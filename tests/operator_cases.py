# SPDX-License-Identifier: Apache-2.0
"""Random operators, many in one model, against the golden reference byte for byte.

A family's test gives a hypothesis strategy of `Case`s. `check` draws some, puts them side by side
into one model (one compilation), runs the generated C on this machine under sanitizers and golden
on the same inputs, and names each operator that differs with all its parameters. Every kernel that
an operator offers is run, with its output as far over its input as the kernel permits. Rewrites
are off, but for views: an operator is tested as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from core_model import CoreProgram
from host_model import HostProgram, roomy_board
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from operator_layout import lay_out, ways
from tflite_builder import ModelBuilder

from mcudeploy.errors import McudeployError
from mcudeploy.frontend.reference import Reference, golden_unavailable, sample_inputs
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import Graph
from mcudeploy.graph.passes import place_parts
from mcudeploy.operators.base import Target
from mcudeploy.operators.support import candidates, check_operators

CI_CASES = 25
NIGHTLY_CASES = 200
RANDOM_INFERENCES = 3
CASES_PER_MODEL = 130
"""TFLM's time to allocate grows with the square of it."""
CASES_PER_LACKING_MODEL = 40
"""Where TFLM lacks most operators, for golden tries each of them alone in a copy of the model."""

golden_only = pytest.mark.skipif(golden_unavailable() is not None, reason=str(golden_unavailable()))
nightly = pytest.mark.slow(reason=f"{NIGHTLY_CASES} cases of each operator")


@dataclass(frozen=True)
class Case:
    """One operator: `parameters` name it in messages, `build` adds it and gives its outputs."""

    parameters: dict[str, Any]
    build: Callable[[ModelBuilder], Sequence[int]]

    def __str__(self) -> str:
        return " ".join(f"{k}={v}" for k, v in self.parameters.items())


zero_points = st.sampled_from([-128, -127, -1, 0, 1, 127]) | st.integers(-128, 127)
activations = st.sampled_from(["NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
extents = st.sampled_from([1, 1, 2, 3, 4, 5, 7, 8])
seeds = st.integers(0, 2**32 - 1)


def powers_of_two(low: float, high: float) -> st.SearchStrategy[float]:
    """2^x for x anywhere between, as single precision."""
    return st.floats(low, high).map(lambda x: float(np.float32(2.0**x)))


def shapes(least: int = 1, most: int = 5, sizes: st.SearchStrategy[int] = extents):
    return st.lists(sizes, min_size=least, max_size=most).map(tuple)


def int8(random: int, shape: Sequence[int]) -> npt.NDArray[np.int8]:
    """Values over the whole range; the same seed, the same array."""
    return np.random.default_rng(random).integers(-128, 128, shape).astype(np.int8)


def activation(b: ModelBuilder, shape: Sequence[int], **options: Any) -> int:
    """An input of the model seen as a tensor of `shape`, whatever its first dimension."""
    if shape and shape[0] == 1:
        return b.input(shape, **options)
    wanted = b.constant(np.array(shape, np.int32))
    flat = b.input((1, math.prod(shape)), **options)
    return b.operator("RESHAPE", [flat, wanted], b.tensor(shape, **options))


def draw(strategy: st.SearchStrategy[Case], count: int, start: int = 0) -> list[Case]:
    """`count` cases, the same ones each time."""
    found: list[Case] = []

    @seed(start)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


def together(cases: Sequence[Case]) -> tuple[bytes, list[int]]:
    """One model of all cases, and how many outputs each has."""
    builder = ModelBuilder()
    outputs = [list(case.build(builder)) for case in cases]
    return builder.build([i for own in outputs for i in own]), [len(own) for own in outputs]


def _refused(cases: Sequence[Case], graph: Graph) -> list[str]:
    try:
        check_operators(graph)
    except McudeployError:
        refused = []
        for case in cases:
            try:
                check_operators(read_tflite(together([case])[0], "one"))
            except McudeployError as error:
                refused.append(f"{case}: {error}")
        return refused
    return []


def _golden(model: bytes, cases: Sequence[Case], inputs: Sequence[Any]) -> Any:
    try:
        with Reference(model) as reference:
            return [reference.infer(arrays).outputs for arrays in inputs], reference.fallbacks
    except McudeployError as error:
        for case in cases:
            alone = together([case])[0]
            try:
                with Reference(alone) as reference:
                    graph = read_tflite(alone, "one")
                    reference.infer(sample_inputs(graph, 1, 0)[-1])
            except McudeployError as own:
                raise AssertionError(f"golden refuses {case}: {own}") from None
        raise AssertionError(f"golden refuses the cases together: {error}") from None


def check(
    strategies: Sequence[st.SearchStrategy[Case]],
    folder: Path,
    *,
    count: int = CI_CASES,
    kernels: str = "auto",
    lacking: Sequence[str] = (),
    core: str | None = None,
    per_model: int = CASES_PER_MODEL,
) -> None:
    """`count` cases of each strategy give golden's bytes with every kernel that they offer.

    `lacking` are the kinds that golden computes by LiteRT, because TFLM lacks them. With `core`
    they run on that core, emulated, else on this machine under sanitizers.
    """
    cases = [case for strategy in strategies for case in draw(strategy, count)]
    parts = -(-len(cases) // per_model)
    for number in range(parts):
        # Dealt in turn: a part of float operators alone would be a float network, and refused.
        _check_together(cases[number::parts], folder / f"part-{number}", kernels, lacking, core)


def _check_together(
    cases: Sequence[Case], folder: Path, kernels: str, lacking: Sequence[str], core: str | None
) -> None:
    model, sizes = together(cases)
    graph = place_parts.apply(read_tflite(model, "cases"))
    refused = _refused(cases, graph)
    assert not refused, "refused:\n" + "\n".join(refused)
    # Our fast kernels are offered for cores with DSP and have a plain C form; CMSIS-NN's plain C
    # wants the scratch of a core without.
    board = roomy_board(core or ("cortex-m4f" if kernels == "auto" else "cortex-m3"))
    offers = candidates(graph, Target(board.core, kernels))
    inputs = sample_inputs(graph, RANDOM_INFERENCES, seed=len(cases))
    golden, fallbacks = _golden(model, cases, inputs)
    assert set(fallbacks.values()) <= set(lacking), f"computed by LiteRT: {fallbacks}"
    programs = max(len(ways(graph, *pair)) for pair in zip(graph.operators, offers, strict=True))
    for number in range(programs):
        plan = lay_out(graph, offers, board, number)
        assert plan is not None, "an operator offers views alone, which are impossible here"
        here = folder / str(number)
        if core is None:
            got = [run.outputs for run in HostProgram(plan, here)(inputs)]
        else:
            got = CoreProgram(plan, here, board.core)(inputs)
        made = [graph.producer(i) for i in graph.outputs]
        used = [plan.implementations[p].kernel if p is not None else "" for p in made]
        _compare(cases, sizes, inputs, golden, got, used)


def _compare(
    cases: Sequence[Case],
    sizes: Sequence[int],
    inputs: Sequence[Any],
    golden: Sequence[Sequence[npt.NDArray[Any]]],
    got: Sequence[Sequence[bytes]],
    kernels: Sequence[str],
) -> None:
    faults = []
    at = 0
    for case, size in zip(cases, sizes, strict=True):
        for output in range(at, at + size):
            for inference in range(len(inputs)):
                wanted = np.ascontiguousarray(golden[inference][output])
                if wanted.tobytes() == got[inference][output]:
                    continue
                ours = np.frombuffer(got[inference][output], wanted.dtype).reshape(wanted.shape)
                bad = np.argwhere((ours != wanted) | (ours != ours))
                first = tuple(bad[0]) if len(bad) else ()
                faults.append(
                    f"{case}\n    output {output - at}, inference {inference}: {len(bad)} of "
                    f"{wanted.size} differ, first at {tuple(map(int, first))}: golden "
                    f"{wanted[first]}, ours {ours[first]}" + f" ({kernels[output]})"
                )
                break
        at += size
    assert not faults, f"{len(faults)} operators differ:\n" + "\n".join(faults[:12])
