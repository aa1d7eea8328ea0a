# SPDX-License-Identifier: Apache-2.0
"""One candidate on one board: what it needs and whether it fits, from its shapes alone.

Nothing is trained or quantized: kernels are chosen, the plan is made and checked, constants have
their sizes without values. Constants of one weight tensor count once however many operators use it
(an unrolled recurrent layer), tables count for each operator, since their values depend on scales
that only quantization tells; of those with a row for each time step equal ones count once, as the
gates of a step have one scale. A layer of more than about a thousand weights an output may need
another kernel once its weights are known, as its sums can then exceed what the fastest one adds
up: `fit` on the quantized model has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mcudeploy import zoo
from mcudeploy.board import Board
from mcudeploy.budget import RUNTIME_RAM_BYTES, STACK_RESERVE_BYTES, FitReport, budget
from mcudeploy.deployment_stream import StreamMode, streamed_plan
from mcudeploy.errors import McudeployError
from mcudeploy.graph.ir import NO_TENSOR
from mcudeploy.graph.passes import run_passes
from mcudeploy.memory.bodies import with_bodies
from mcudeploy.memory.checked import demand_sound
from mcudeploy.memory.packing import QUICK
from mcudeploy.memory.plan import Plan
from mcudeploy.memory.planner import PlanOptions, in_plan_order, make_plan
from mcudeploy.operators.base import Target
from mcudeploy.operators.support import candidates, check_operators
from mcudeploy.zoo.architecture import OptionValue
from mcudeploy.zoo.lowering import lower
from mcudeploy.zoo.net import Network

_MANY_OPERATORS = 150


@dataclass(frozen=True)
class Member:
    """A member of the zoo: an architecture and all of its options."""

    name: str
    options: Mapping[str, OptionValue]

    def network(self) -> Network:
        """Its layers. Raises InputError where the options contradict each other."""
        return zoo.network(self.name, **self.options)

    @property
    def label(self) -> str:
        """The name with the options that differ from the default."""
        known = {option.name: option.default for option in zoo.describe(self.name).options}
        words = [
            f"{_SHORT.get(name, name)}{value:g}" if isinstance(value, int | float) else str(value)
            for name, value in self.options.items()
            if value != known[name] or name in _ALWAYS
        ]
        return " ".join([self.name, *words])


_ALWAYS = ("width", "resolution")
_SHORT = {
    "width": "x", "resolution": "@", "groups": "g", "stem": "stem", "se_ratio": "se",
    "squeeze_ratio": "sr", "share_3x3": "3x3:", "channels": "c", "classes": "k",
}  # fmt: skip


@dataclass(frozen=True)
class Need:
    """What a network needs on a board.

    `ram_bytes` is all RAM: activations, scratch, state, stack and runtime, over all regions.
    `reason` says why it does not fit, region by region, or why it cannot be deployed at all; then
    `deployable` is False and the bytes are 0.
    """

    fits: bool
    reason: str
    macs: int = 0
    parameters: int = 0
    ram_bytes: int = 0
    flash_bytes: int = 0
    activation_bytes: int = 0
    regions: Mapping[str, int] = field(default_factory=dict)
    """Bytes used of each region."""
    peak: str = ""
    """The operator at which the most bytes are live."""
    instructions: float | None = None
    """Predicted; None where a kernel on this core has no prediction."""
    milliseconds: float | None = None
    """Predicted, at the board's clock; None likewise."""
    deployable: bool = True


def measure(network: Network, board: Board, stream: StreamMode = "off") -> Need:
    """Plan a network on a board, streamed row by row as `stream` says.

    What cannot be deployed is no error but a `Need` that says so.
    """
    target = Target(board.core, sizes_only=True)
    try:
        graph = run_passes(lower(network))
        check_operators(graph)
        kernels = with_bodies(graph, candidates(graph, target), board, target)
        how = _plan_options(len(graph.operators))
        plan = make_plan(graph, kernels, board, options=how)
        if stream != "off":
            ordered = in_plan_order(plan, graph, kernels)
            plan = streamed_plan(plan, ordered, target, how, mode=stream)
    except McudeployError as error:
        return Need(False, _one_line(error), deployable=False)
    demand_sound(plan, where=network.name)
    report = budget(plan, target, model=network.name, constants=_constant_bytes(plan))
    return _need(report, plan)


def _plan_options(operators: int) -> PlanOptions:
    """Searching an order for an unrolled network takes longer than all the rest, and gains little:
    the order of the file stands, which bounds from above what `fit` finds."""
    reserve = STACK_RESERVE_BYTES + RUNTIME_RAM_BYTES
    if operators > _MANY_OPERATORS:
        return PlanOptions(reserve_bytes=reserve, reorder=False, effort=QUICK)
    return PlanOptions(reserve_bytes=reserve)


def _one_line(error: McudeployError) -> str:
    lines = error.problem.splitlines()
    return " ".join(line.strip(" -") for line in lines[:2]) + (" ..." if lines[2:] else "")


def _need(report: FitReport, plan: Plan) -> Need:
    counts = [row.instructions for row in report.operators]
    known = [count for count in counts if count is not None]
    peak = report.peak
    return Need(
        fits=report.fits,
        reason="" if report.fits else report.verdict.split(": ", 1)[1],
        macs=report.macs,
        parameters=report.parameters,
        ram_bytes=sum(r.used_bytes for r in report.regions if r.kind == "ram"),
        flash_bytes=sum(r.used_bytes for r in report.regions if r.kind == "flash"),
        activation_bytes=plan.certificate.peak_bytes,
        regions={region.region: region.used_bytes for region in report.regions},
        peak=f"#{peak.index} {peak.kind}",
        instructions=sum(known) if len(known) == len(counts) else None,
        milliseconds=report.milliseconds,
    )


def _constant_bytes(plan: Plan) -> dict[str, int]:
    """Bytes by part; see the head of this file for what counts once."""
    graph = plan.graph
    sizes: dict[tuple[Any, ...], tuple[str, int]] = {}
    for step, (operator, kernel) in enumerate(
        zip(graph.operators, plan.implementations, strict=True)
    ):
        tensors = tuple(
            i for i in operator.inputs if i != NO_TENSOR and graph.tensors[i].is_constant
        )
        for constant in kernel.constants:
            owner = (kernel.kernel, tensors) if tensors and constant.part != "tables" else (step,)
            rows = constant.part == "tables" and constant.data.ndim > 1
            name = constant.data.tobytes() if rows and operator.kind == "REPEAT" else constant.name
            sizes[*owner, name] = constant.part, constant.bytes
    totals = {"weights": 0, "biases": 0, "tables": 0}
    for part, size in sizes.values():
        totals[part] += size
    return totals


@dataclass(frozen=True)
class Candidate:
    """A member on a board, with what its paper says of its accuracy (ImageNet top-1, %)."""

    member: Member
    board: str
    need: Need
    accuracy: float | None = None

    @property
    def fits(self) -> bool:
        return self.need.fits


def published_top1(member: Member) -> float | None:
    """ImageNet top-1 accuracy in % as the paper prints it (or 100 - error); None without."""
    claim = zoo.published_accuracy(member.name, **member.options)
    number = re.search(r"\d+(?:\.\d+)?", claim.published) if claim is not None else None
    if claim is None or number is None:
        return None
    value = float(number.group())
    return round(100 - value, 2) if "error" in claim.figure else value


def within(candidate: Candidate, latency_ms: float) -> Candidate:
    """The candidate, refused when it is predicted to take longer, or nobody can predict it."""
    predicted = candidate.need.milliseconds
    if not candidate.need.deployable or (predicted is not None and predicted <= latency_ms):
        return candidate
    if predicted is None:
        reason = "its time cannot be predicted on this core"
    else:
        reason = f"takes {predicted:,.1f} ms, {predicted - latency_ms:,.1f} over"
    if candidate.need.reason:
        reason = f"{candidate.need.reason}; {reason}"
    return replace(candidate, need=replace(candidate.need, fits=False, reason=reason))
