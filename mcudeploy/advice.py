# SPDX-License-Identifier: Apache-2.0
"""What would make a network fit: each remedy planned anew, its bytes computed, never guessed.

Whether a network is a member of a family of the zoo is told by its convolutions: those of one
member, and of no other width, have all its shapes. After the remedies stands what helps already,
by planning without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mcudeploy import zoo
from mcudeploy.deployment import Deployment, Options, plan_graph
from mcudeploy.errors import McudeployError
from mcudeploy.graph.ir import Graph
from mcudeploy.graph.passes import run_passes
from mcudeploy.graph.resolution import at_resolution
from mcudeploy.memory.packing import QUICK
from mcudeploy.memory.plan import Plan
from mcudeploy.memory.planner import PlanOptions, make_plan
from mcudeploy.operators.support import candidates

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
    """Remedies for a network that does not fit, those that make it fit first, those in use last."""
    found = list(_remedies(deployment))
    found.sort(key=lambda remedy: (not remedy.fits, -remedy.saves_bytes))
    return (*found, *_in_use(deployment))


def _remedies(deployment: Deployment) -> Iterator[Remedy]:
    options = deployment.options
    ram_over = any(r.kind == "ram" and not r.fits for r in deployment.report.regions)
    if not ram_over:
        yield from _flash_remedies(deployment)
        yield from _smaller_widths(deployment)
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
    yield from _smaller_widths(deployment)
    yield from _without_the_peak(deployment)


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


def _smaller_widths(deployment: Deployment) -> Iterator[Remedy]:
    """Narrower members of the zoo's family, if the network is a member of one."""
    found = _member(deployment.graph)
    if found is None:
        return
    name, now, options = found
    axis = next(o.axis for o in zoo.describe(name).options if o.name == "width")
    narrower = [v for v in axis if isinstance(v, float) and v < now] or [0.75 * now, 0.5 * now]
    for width in sorted(narrower, reverse=True):
        try:
            graph = run_passes(zoo.graph(name, width=width, **options))
        except McudeployError:
            continue
        other = replace(deployment, graph=graph)
        action = f"train {name} of width {width:g}, not {now:g}"
        yield from _tried(other, deployment.options, action, "accuracy")


def _member(graph: Graph) -> tuple[str, float, dict[str, int]] | None:
    """Architecture, width and other options of the member of the zoo that a network is."""
    shape, made = graph.tensors[graph.inputs[0]].shape, graph.tensors[graph.outputs[0]].shape
    if len(shape) != 4 or shape[1] != shape[2]:
        return None
    layers = _convolutions(graph)
    for name in zoo.names():
        known = {option.name: option for option in zoo.describe(name).options}
        asked = {"resolution": shape[1], "channels": shape[3], "classes": made[-1]}
        options = {option: value for option, value in asked.items() if option in known}
        for width in known["width"].axis if "width" in known else ():
            try:
                same = _convolutions(zoo.graph(name, width=width, **options)) == layers
            except McudeployError:
                break
            if same and layers:
                return name, float(width), options
    return None


def _convolutions(graph: Graph) -> list[tuple[str, tuple[int, ...]]]:
    return sorted(
        (operator.kind, graph.tensors[operator.outputs[0]].shape)
        for operator in graph.operators
        if operator.kind in ("CONV_2D", "DEPTHWISE_CONV_2D")
    )


def _without_the_peak(deployment: Deployment) -> Iterator[Remedy]:
    """What all other operators need: no change of the one at the peak saves more."""
    plan = deployment.plan
    step, now = plan.certificate.peak_step, plan.certificate.peak_bytes
    stream = plan.stream_at(step)
    at_peak = range(stream.segment.first, stream.segment.end) if stream else range(step, step + 1)
    rest = max((b for s, b in enumerate(plan.live_bytes) if s not in at_peak), default=0)
    if rest < now:
        kind = plan.graph.operators[step].kind
        cost = f"another network; this much at most, by #{step} alone"
        yield Remedy(f"a smaller #{step} {kind}", rest, now - rest, cost, None, fits=False)


def _in_use(deployment: Deployment) -> Iterator[Remedy]:
    """What the plan has already: bytes saved by it, without which the peak were higher."""
    plan, known = deployment.plan, deployment.plan.certificate
    now, cost = known.peak_bytes, "none: in use already"

    def used(what: str, saves: int) -> Iterator[Remedy]:
        if saves > 0:
            yield Remedy(what, now, saves, cost, deployment.report.instructions, fits=False)

    if not plan.streams and deployment.options.dtype == "int8":
        kernels = candidates(deployment.graph, deployment.target)
        options = PlanOptions(overlap=False, effort=QUICK)
        apart = make_plan(deployment.graph, kernels, plan.board, options=options)
        saves = apart.certificate.peak_bytes - now
        yield from used("outputs lie over inputs", saves)
    yield from used("reordered operators", known.file_order_live_bytes - known.order_live_bytes)
    for region in plan.board.regions("ram")[1:]:
        yield from used(f"{region.name} takes buffers", plan.arenas.get(region.name, 0))


def _flash_remedies(deployment: Deployment) -> Iterator[Remedy]:
    """Weights are what they are: a smaller network, or a memory outside."""
    options = deployment.options
    if options.optimize != "size":
        smaller = replace(options, optimize="size")
        other = plan_graph(deployment.graph, deployment.name, deployment.plan.board, smaller)
        if other.report.fits:
            peak = other.plan.certificate.peak_bytes
            yield Remedy("--optimize size", peak, 0, "more time", other.report.instructions, True)
