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
from mcudeploy.deployment import Deployment, Options, Progress, plan_graph
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
    over: tuple[str, ...] = ()
    """The regions that overflow even so (none are named where only one operator is spoken of)."""


@dataclass(frozen=True)
class _Idea:
    """A remedy that is not planned yet: the network and the options that it would be planned of."""

    action: str
    cost: str
    graph: Graph
    options: Options


def advise(deployment: Deployment, progress: Progress | None = None) -> tuple[Remedy, ...]:
    """Remedies for a network that does not fit, those that make it fit first, those in use last."""
    found = list(_without_the_peak(deployment))
    for idea in _ideas(deployment):
        if progress:
            progress(f"what would make it fit: {idea.action}")
        found += _planned(deployment, idea)
    found.sort(key=lambda remedy: (not remedy.fits, -remedy.saves_bytes))
    return (*found, *_in_use(deployment))


def _over(deployment: Deployment) -> bool:
    """Whether it is RAM that does not suffice."""
    report = deployment.report
    return report.arena_over_bytes > 0 or any(
        region.kind == "ram" and not region.fits for region in report.regions
    )


def _ideas(deployment: Deployment) -> Iterator[_Idea]:
    graph, options, board = deployment.graph, deployment.options, deployment.plan.board
    if _over(deployment):
        if options.stream != "max":
            streamed = replace(options, stream="max")
            yield _Idea("--stream max", "a little time, no MAC more", graph, streamed)
            fed = replace(streamed, row_fed=True)
            cost = "the input comes in rows, never whole"
            yield _Idea("--stream max --row-fed", cost, graph, fed)
        if not options.use_external and board.regions("ram", external=True) != board.regions("ram"):
            external = replace(options, use_external=True)
            yield _Idea("--use-external", "slower memory", graph, external)
        yield from _smaller_inputs(deployment)
    elif options.optimize != "size":
        yield _Idea("--optimize size", "more time", graph, replace(options, optimize="size"))
    yield from _smaller_widths(deployment)


def _planned(deployment: Deployment, idea: _Idea) -> Iterator[Remedy]:
    """The remedy, if the idea can be planned and is of any use."""
    try:
        other = plan_graph(idea.graph, deployment.name, deployment.plan.board, idea.options)
    except McudeployError:
        return
    report, now = other.report, deployment.plan.certificate.peak_bytes
    peak = _internal_bytes(other.plan)
    if report.fits or (peak < now and _over(deployment)):
        over = tuple(region.region for region in report.regions if not region.fits)
        known = (idea.cost, report.instructions, report.fits, over)
        yield Remedy(idea.action, peak, now - peak, *known)


def _internal_bytes(plan: Plan) -> int:
    """The peak without what lies in external memory."""
    internal = {region.name for region in plan.board.regions("ram")}
    outside = sum(size for name, size in plan.arenas.items() if name not in internal)
    return max(plan.certificate.peak_bytes - outside, 0)


def _smaller_inputs(deployment: Deployment) -> Iterator[_Idea]:
    graph = deployment.graph
    shape = graph.tensors[graph.inputs[0]].shape
    if len(shape) != 4:
        return
    for factor in _RESOLUTIONS:
        height, width = max(1, int(shape[1] * factor)), max(1, int(shape[2] * factor))
        smaller = at_resolution(graph, height, width)
        if smaller is None:
            return
        action = f"train it for {height}x{width} inputs"
        yield _Idea(action, "accuracy", smaller, deployment.options)


def _smaller_widths(deployment: Deployment) -> Iterator[_Idea]:
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
        action = f"train width {width:g} of {name}"
        yield _Idea(action, "accuracy", graph, deployment.options)


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
    if not _over(deployment):
        return
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
