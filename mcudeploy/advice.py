# SPDX-License-Identifier: Apache-2.0
"""What would make a network fit: each remedy planned anew, its bytes computed, never guessed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mcudeploy.deployment import Deployment, Options, plan_graph
from mcudeploy.errors import McudeployError
from mcudeploy.graph.resolution import at_resolution
from mcudeploy.memory.plan import Plan

_RESOLUTIONS = (0.75, 0.5)


@dataclass(frozen=True)
class Remedy:
    """One way to make it fit. Bytes are of activations and scratch over all internal regions.

    `cost` says what is paid for it; `instructions` is the prediction for one inference with it
    (None: not known).
    """

    action: str
    peak_bytes: int
    saves_bytes: int
    cost: str
    instructions: float | None
    fits: bool


def advise(deployment: Deployment) -> tuple[Remedy, ...]:
    """Remedies for a network that does not fit, those that make it fit first."""
    found = list(_remedies(deployment))
    return tuple(sorted(found, key=lambda remedy: (not remedy.fits, -remedy.saves_bytes)))


def _remedies(deployment: Deployment) -> Iterator[Remedy]:
    options = deployment.options
    ram_over = any(r.kind == "ram" and not r.fits for r in deployment.report.regions)
    if not ram_over:
        yield from _flash_remedies(deployment)
        return
    if options.stream != "max":
        streamed = replace(options, stream="max")
        yield from _tried(deployment, streamed, "--stream max", "a little time, no MAC more")
        fed = replace(streamed, row_fed=True)
        yield from _tried(
            deployment, fed, "--stream max --row-fed", "the input comes in rows, never whole"
        )
    if not options.use_external and deployment.plan.board.regions("ram", external=True) != (
        deployment.plan.board.regions("ram")
    ):
        external = replace(options, use_external=True)
        yield from _tried(deployment, external, "--use-external", "slower memory")
    yield from _smaller_inputs(deployment)


def _tried(deployment: Deployment, options: Options, action: str, cost: str) -> Iterator[Remedy]:
    try:
        other = plan_graph(deployment.graph, deployment.name, deployment.plan.board, options)
    except McudeployError:
        return
    now = deployment.plan.certificate.peak_bytes
    peak = _internal_bytes(other.plan)
    if peak < now or other.report.fits:
        yield Remedy(action, peak, now - peak, cost, other.report.instructions, other.report.fits)


def _internal_bytes(plan: Plan) -> int:
    """The peak without what lies in external memory."""
    internal = {region.name for region in plan.board.regions("ram")}
    outside = sum(size for name, size in plan.arenas.items() if name not in internal)
    return max(plan.certificate.peak_bytes - outside, 0)


def _smaller_inputs(deployment: Deployment) -> Iterator[Remedy]:
    graph = deployment.graph
    shape = graph.tensors[graph.inputs[0]].shape
    if len(shape) != 4:
        return
    for factor in _RESOLUTIONS:
        height, width = max(1, int(shape[1] * factor)), max(1, int(shape[2] * factor))
        smaller = at_resolution(graph, height, width)
        if smaller is None:
            return
        other = replace(deployment, graph=smaller)
        yield from _tried(
            other, deployment.options, f"train it for {height}x{width} inputs", "accuracy"
        )


def _flash_remedies(deployment: Deployment) -> Iterator[Remedy]:
    """Weights are what they are: a smaller network, or a memory outside."""
    options = deployment.options
    if options.optimize != "size":
        smaller = replace(options, optimize="size")
        other = plan_graph(deployment.graph, deployment.name, deployment.plan.board, smaller)
        if other.report.fits:
            peak = other.plan.certificate.peak_bytes
            yield Remedy("--optimize size", peak, 0, "more time", other.report.instructions, True)
