# SPDX-License-Identifier: Apache-2.0
"""Counts the kernels of a network one by one on an emulated core, with random input.

    (counts,) = count_layers([(graph, fastest(graph, Target(core)))], core)

Instructions are exact, cycles are those of `mcudeploy.profiling.cycles`, memory never waiting.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from kernel_emulator import CountedProgram
from kernel_program import Case

from mcudeploy.board import Core
from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator
from mcudeploy.operators import support
from mcudeploy.operators.base import Implementation, Target
from mcudeploy.toolchain import cmsis_nn

_SEED = 1


@dataclass(frozen=True, eq=False)
class LayerCount:
    """One operator by one kernel: what it costs and what it computed."""

    operator: int
    text: str
    macs: int
    implementation: Implementation
    instructions: int
    cycles: int
    output: npt.NDArray[np.int8]

    @property
    def kernel(self) -> str:
        return self.implementation.kernel


def fastest(graph: Graph, target: Target) -> list[Implementation]:
    """Of each operator the kernel that is chosen where memory does not matter."""
    return [offered[0] for offered in support.candidates(graph, target)]


def library_files(implementations: Sequence[Implementation]) -> list[str]:
    """Compiler arguments: CMSIS-NN's files that the implementations need, and its headers."""
    functions = {
        source.removeprefix("cmsis-nn:")
        for one in implementations
        for source in one.sources
        if source.startswith("cmsis-nn:")
    }
    root = cmsis_nn.source()
    files = [str(root / f) for f in cmsis_nn.closure(sorted(functions)) if f.suffix == ".c"]
    return ["-I", str(root / "Include"), *files]


def layer_text(graph: Graph, operator: Operator) -> str:
    """The kind, and the shapes of input, weights or second input, and output."""
    inputs = [i for i in operator.inputs[:2] if i != NO_TENSOR]
    shapes = [graph.tensor(i).shape for i in (*inputs, operator.outputs[0])]
    return " ".join([operator.kind, *("x".join(map(str, shape)) for shape in shapes)])


Network = tuple[Graph, Sequence[Implementation]]


def count_layers(networks: Sequence[Network], core: Core) -> list[list[LayerCount]]:
    """For each network those operators that call a kernel on int8 activations, in order.

    All are linked into one program.
    """
    cases: list[tuple[int, int, Case]] = []
    for number, (graph, implementations) in enumerate(networks):
        for step, operator in enumerate(graph.operators):
            case = _case(graph, operator, implementations[step])
            if case is not None:
                cases.append((number, step, case))
    more = library_files([case.implementation for *_, case in cases])
    counts: list[list[LayerCount]] = [[] for _ in networks]
    with tempfile.TemporaryDirectory() as folder:
        program = CountedProgram([case for *_, case in cases], core, Path(folder), more=more)
        for index, (number, step, case) in enumerate(cases):
            graph, run = networks[number][0], program.run(index)
            operator = graph.operators[step]
            counts[number].append(
                LayerCount(
                    operator=step,
                    text=layer_text(graph, operator),
                    macs=support.macs(graph, operator),
                    implementation=case.implementation,
                    instructions=run.instructions,
                    cycles=run.cycles,
                    output=run.output,
                )
            )
    return counts


def _case(graph: Graph, operator: Operator, implementation: Implementation) -> Case | None:
    """The same input for every kernel of an operator."""
    if not implementation.sources:
        return None
    random = np.random.default_rng(_SEED)
    inputs = []
    for index in operator.inputs:
        tensor = None if index == NO_TENSOR else graph.tensor(index)
        if tensor is None or tensor.data is not None:
            known = None if tensor is None else tensor.data
            inputs.append(np.zeros(1, np.int8) if known is None else known.view(np.int8).ravel())
            continue
        if tensor.dtype != "int8":
            return None
        values = random.normal(0, 50, tensor.elements)
        inputs.append(np.clip(values, -128, 127).astype(np.int8))
    return Case(implementation, tuple(inputs), graph.tensor(operator.outputs[0]).bytes)
