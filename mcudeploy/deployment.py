# SPDX-License-Identifier: Apache-2.0
"""From a model file and a board to a checked plan: the stages in their order, called once each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mcudeploy.board import Board, MemoryRegion, find_board, parse_bytes
from mcudeploy.budget import RUNTIME_RAM_BYTES, STACK_RESERVE_BYTES, FitReport, budget
from mcudeploy.budget_float import float_budget
from mcudeploy.deployment_stream import StreamMode, budget_bytes, stream_note, streamed_plan
from mcudeploy.errors import InputError
from mcudeploy.files import read_file
from mcudeploy.frontend.int8_edges import strip_edges
from mcudeploy.frontend.keras import ModelKind, detect
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import Graph
from mcudeploy.graph.passes import run_passes
from mcudeploy.memory.bodies import with_bodies
from mcudeploy.memory.checked import demand_sound
from mcudeploy.memory.plan import Plan
from mcudeploy.memory.planner import PlanOptions, in_plan_order, make_plan
from mcudeploy.operators.base import Implementation, Target
from mcudeploy.operators.growth import growth
from mcudeploy.operators.support import candidates, check_operators, fastest_alone

if TYPE_CHECKING:
    from mcudeploy.frontend.calibration import Scaling
    from mcudeploy.frontend.evaluate import Evaluation

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What the user chose besides the model and the board. Sizes are bytes or text like `64K`."""

    calibration: Path | None = None
    synthetic_calibration: bool = False
    scaling: Scaling | None = None
    evaluate: Path | None = None
    kernels: Literal["auto", "cmsis-nn"] = "auto"
    optimize: Literal["speed", "balanced", "size"] = "balanced"
    disabled_passes: tuple[str, ...] = ()
    ram: str | int | None = None
    flash: str | int | None = None
    use_external: bool = False
    overlap: bool = True
    stream: StreamMode = "auto"
    ram_budget: str | int | None = None
    row_fed: bool = False
    dtype: Literal["int8", "float32"] = "int8"
    weights_in: Literal["flash", "ram"] = "flash"
    io: Literal["declared", "int8"] = "declared"


@dataclass(frozen=True, eq=False)
class Deployment:
    """A model planned on a board: everything that generation, tests and reports start from."""

    name: str
    model: bytes
    """The int8 .tflite; empty when only a graph was planned."""
    graph: Graph
    plan: Plan
    target: Target
    report: FitReport
    options: Options
    calibration: Mapping[str, Any] | None = None
    evaluation: Evaluation | None = None


def choose_board(board: str | Path | Board, options: Options) -> Board:
    """The board, its RAM or flash replaced by a budget where one is given."""
    chosen = board if isinstance(board, Board) else find_board(str(board))
    memory = list(chosen.memory)
    for kind, budget_text in (("ram", options.ram), ("flash", options.flash)):
        if budget_text is None:
            continue
        try:
            size = parse_bytes(budget_text)
        except ValueError as error:
            raise InputError(str(error), where=f"--{kind}") from None
        memory = _limited(memory, kind, size)
    return chosen.model_copy(update={"memory": tuple(memory)})


def _limited(memory: list[MemoryRegion], kind: str, size: int) -> list[MemoryRegion]:
    """One region of that kind, the first, with that size."""
    first = next(region for region in memory if region.kind == kind)
    others = [region for region in memory if region.kind != kind]
    return [first.model_copy(update={"size": size}), *others]


@dataclass(frozen=True)
class LoadedModel:
    """An int8 .tflite and what is known of its making."""

    model: bytes
    notes: tuple[str, ...] = ()
    calibration: Mapping[str, Any] | None = None
    evaluation: Evaluation | None = None


def load_model(
    path: Path, options: Options, *, allow_synthetic: bool, progress: Progress | None = None
) -> LoadedModel:
    """The int8 .tflite of a model file: read as it is, or quantized from Keras.

    `allow_synthetic` is for commands that need sizes alone. Raises McudeployError.
    """
    kind = detect(path)
    if kind is ModelKind.TFLITE:
        return _load_tflite(path, options, progress)
    from mcudeploy.frontend.quantize import quantize

    synthetic = options.calibration is None and (allow_synthetic or options.synthetic_calibration)
    quantized = quantize(
        path,
        options.calibration,
        synthetic=synthetic,
        scaling=options.scaling,
        evaluate=options.evaluate,
        progress=progress,
    )
    notes = [*quantized.notes, *quantized.warnings]
    if quantized.calibration.synthetic:
        notes.append(
            "calibrated on synthetic input: the sizes hold, the accuracy is unknown "
            "(give --calibration DATA for a network to use)"
        )
    return LoadedModel(
        quantized.tflite, tuple(notes), quantized.calibration.to_json(), quantized.evaluation
    )


def _load_tflite(path: Path, options: Options, progress: Progress | None) -> LoadedModel:
    model = read_file(path, "model")
    if options.calibration is not None:
        raise InputError(
            "a .tflite is quantized already: --calibration has nothing to do",
            where=str(path),
            mend="leave --calibration out, or give the Keras model",
        )
    if options.evaluate is None:
        return LoadedModel(model)
    from mcudeploy.frontend.evaluate import evaluate

    return LoadedModel(
        model,
        evaluation=evaluate(model, options.evaluate, scaling=options.scaling, progress=progress),
    )


def deploy_plan(
    path: Path,
    board: str | Path | Board,
    options: Options,
    *,
    allow_synthetic: bool,
    progress: Progress | None = None,
) -> Deployment:
    """Everything up to the verdict: load, rewrite, choose kernels, plan, check, budget.

    Raises McudeployError; a plan that does not fit is no error but a report that says so.
    """
    chosen = choose_board(board, options)
    loaded = load_model(path, options, allow_synthetic=allow_synthetic, progress=progress)
    if options.io == "int8":
        loaded = replace(loaded, model=strip_edges(loaded.model, path.name))
    return plan_model(loaded, path.name, chosen, options)


def _int8_plan(
    graph: Graph,
    choices: Sequence[Sequence[Implementation]],
    board: Board,
    target: Target,
    options: Options,
) -> tuple[Plan, str | None]:
    """The unstreamed plan, or the streamed one where that is needed, and what it gains.

    For speed each operator's fastest kernel is taken if that fits; else, as without, the fastest
    that do not raise the peak.
    """
    how = PlanOptions(
        reserve_bytes=STACK_RESERVE_BYTES + RUNTIME_RAM_BYTES,
        use_external=options.use_external,
        overlap=options.overlap,
    )
    plan = None
    if target.optimize == "speed":
        plan = make_plan(graph, fastest_alone(choices), board, options=how)
    if plan is None or not budget(plan, target, model=graph.name).fits:
        plan = make_plan(graph, choices, board, options=how)
    final = streamed_plan(
        plan,
        in_plan_order(plan, graph, choices),
        target,
        how,
        mode=options.stream,
        budget=budget_bytes(options.ram_budget),
        row_fed=options.row_fed,
    )
    return final, stream_note(plan, final)


def plan_model(loaded: LoadedModel, name: str, board: Board, options: Options) -> Deployment:
    """The part of `deploy_plan` after loading; `name` is the model's file name."""
    graph = run_passes(read_tflite(loaded.model, name), options.disabled_passes)
    check_operators(graph)
    made = plan_graph(graph, Path(name).stem, board, options, notes=loaded.notes)
    return replace(
        made,
        model=loaded.model,
        calibration=loaded.calibration,
        evaluation=loaded.evaluation,
    )


def plan_graph(
    graph: Graph, name: str, board: Board, options: Options, *, notes: tuple[str, ...] = ()
) -> Deployment:
    """The part of `plan_model` after the rewrites: kernels, plan, checker, budget."""
    target = Target(board.core, options.kernels, options.optimize)
    choices = with_bodies(graph, candidates(graph, target), board, target)
    if options.dtype == "float32":
        plan, report = float_budget(
            graph, choices, board, name=name, weights_in=options.weights_in, notes=notes
        )
    else:
        plan, gain = _int8_plan(graph, choices, board, target, options)
        notes = notes if gain is None else (*notes, gain)
        if target.kernels == "auto":
            notes = (*notes, growth(plan.graph, plan.implementations, target).note)
        allowed = budget_bytes(options.ram_budget)
        report = budget(plan, target, model=name, notes=notes, arena_budget=allowed)
    demand_sound(plan)
    return Deployment(
        name=name,
        model=b"",
        graph=graph,
        plan=plan,
        target=target,
        report=report,
        options=options,
    )
