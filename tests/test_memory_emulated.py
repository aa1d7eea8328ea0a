# SPDX-License-Identifier: Apache-2.0
"""Plans on the emulated core: nothing is read that was never written or that is dead.

RAM is 0xA5 before the start. After every operator, all bytes of the arenas in which the plan keeps
nothing that is still to be read are overwritten: what another buffer may take at any moment is
taken at once. The firmware must equal golden in every byte of every operator all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mcudeploy
from mcudeploy.api import Project
from mcudeploy.emulator.link import Link
from mcudeploy.emulator.session import LinkSession
from mcudeploy.emulator.unicorn import Machine
from mcudeploy.errors import EmulationError
from mcudeploy.frontend.reference import sample_inputs
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.memory.plan import Placement, Plan
from mcudeploy.toolchain.elf import read_elf
from mcudeploy.verify import Verdict, verify
from mcudeploy.zoo.keras_file import write_keras_file

BOARD = "stm32f469"
RUBBISH = b"\xa5"
X_CUBE_AI_BOUND = {
    ("mobilenet_v1", 0.25, 224): 205_000,
    ("mobilenet_v2", 0.35, 128): 200_000,
}
"""The most that activations and scratch may take, bytes; the second's largest map has 196,608."""


def kept_after(plan: Plan, step: int) -> Iterator[Placement]:
    """Where what is still to be read lies once operator `step` has run."""
    graph = plan.graph
    made = {*graph.inputs, *(o for s in graph.operators[: step + 1] for o in s.outputs)}
    wanted = {*graph.outputs, *(i for s in graph.operators[step + 1 :] for i in s.inputs)}
    wanted |= set(graph.operators[step].outputs)
    yield from plan.state.values()
    yield from (plan.tensors[i] for i in made & wanted if i in plan.tensors)


def dead_ranges(plan: Plan, kept: Iterable[Placement]) -> Iterator[tuple[str, int, int]]:
    """Region, first byte and end of each part of an arena that holds none of `kept`."""
    places = list(kept)
    for region, size in plan.arenas.items():
        reached = 0
        live = sorted((p.offset, p.offset + p.bytes) for p in places if p.region == region)
        for low, high in [*live, (size, size)]:
            if low > reached:
                yield region, reached, low
            reached = max(reached, high)


class Spoiler:
    """Overwrites dead bytes as soon as an operator has run; `spoiled_bytes` counts them."""

    def __init__(self, machine: Machine, plan: Plan, forgotten: int | None = None) -> None:
        self._machine = machine
        self._arenas = {r: machine.image.address_of(f"model_arena_{r}") for r in plan.arenas}
        lost = plan.tensors.get(forgotten) if forgotten is not None else None
        self._dead = [
            list(dead_ranges(plan, (p for p in kept_after(plan, step) if p is not lost)))
            for step in range(len(plan.graph.operators))
        ]
        self.spoiled_bytes = 0
        observer = machine.image.address_of("observe") & ~1
        machine.on_block(observer, observer + 2, self._spoil)

    def _spoil(self, _: int) -> None:
        step = self._machine.register("R0")
        if step < len(self._dead):
            for region, low, high in self._dead[step]:
                self._machine._engine.mem_write(self._arenas[region] + low, RUBBISH * (high - low))
                self.spoiled_bytes += high - low


def run_spoiled(project: Project, *, random: int, forgotten: int | None = None) -> Verdict:
    """Build a project and compare it with golden while its dead buffers are overwritten."""
    plan = project.deployment.plan
    assert not plan.streams, "this is for plans whose maps lie in memory as a whole"
    built = mcudeploy.build(project.folder)
    machine = Machine(read_elf(built.elf), plan.board, poison=True)
    spoiler = Spoiler(machine, plan, forgotten)
    inputs = sample_inputs(read_tflite(project.deployment.model, "model"), random, 1)
    link = Link(machine, fault_error=machine.reported_fault)
    with LinkSession(link, finish=machine.finish) as session:
        verdict = verify(
            project.manifest, project.deployment.model, session, list(inputs), emulator="unicorn"
        )
    assert spoiler.spoiled_bytes > 0
    return verdict


def check_spoiled(project: Project, random: int) -> None:
    verdict = run_spoiled(project, random=random)
    assert verdict.passed, verdict.divergence
    assert verdict.compared_operators == verdict.operators


def test_no_operator_reads_what_the_plan_calls_dead(
    real_model: Callable[[str], Path], tmp_path: Path
) -> None:
    project = mcudeploy.generate(real_model("kws_ref_model.tflite"), BOARD, tmp_path / "kws")
    check_spoiled(project, random=3)


def test_a_buffer_that_is_declared_dead_too_early_is_found(
    real_model: Callable[[str], Path], tmp_path: Path
) -> None:
    """The check itself can fail: a map that is still to be read counts as dead."""
    project = mcudeploy.generate(real_model("hello_world_int8.tflite"), BOARD, tmp_path / "hello")
    early = project.deployment.graph.operators[0].outputs[0]
    with pytest.raises(EmulationError, match="give different outputs"):
        run_spoiled(project, random=3, forgotten=early)


@pytest.mark.slow(reason="three more networks under overwritten memory")
@pytest.mark.parametrize("name", ["vww_96_int8", "pretrainedResnet_quant", "ad01_int8"])
def test_real_networks_read_nothing_dead(
    real_model: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    check_spoiled(mcudeploy.generate(real_model(f"{name}.tflite"), BOARD, tmp_path / name), 3)


@pytest.mark.slow(reason="quantizes and emulates ImageNet networks, a minute each")
@pytest.mark.parametrize(("name", "width", "resolution"), X_CUBE_AI_BOUND)
def test_imagenet_networks_deploy_below_the_peers_memory(
    tmp_path: Path, name: str, width: float, resolution: int
) -> None:
    options: dict[str, Any] = {"width": width, "resolution": resolution}
    model, samples = tmp_path / "model.keras", tmp_path / "samples.npz"
    write_keras_file(name, options, model, calibration=samples)
    done = mcudeploy.deploy(model, BOARD, tmp_path / "firmware", calibration=samples, stream="off")
    assert done.passed
    certificate = done.project.deployment.plan.certificate
    assert certificate.peak_bytes <= X_CUBE_AI_BOUND[name, width, resolution]
    check_spoiled(done.project, random=2)
