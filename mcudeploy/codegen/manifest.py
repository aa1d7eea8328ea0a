# SPDX-License-Identifier: Apache-2.0
"""`mcudeploy.json`: what a generated project was made from, and what it promises.

`test`, `profile`, `validate` and `verify` read everything they need about a project from here;
`files` holds the hash of each generated file, so that a change by hand can be told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mcudeploy import __version__
from mcudeploy.board import Board
from mcudeploy.budget import FitReport
from mcudeploy.errors import InputError
from mcudeploy.memory.plan import Plan
from mcudeploy.operators.base import Target

MANIFEST_NAME = "mcudeploy.json"


@dataclass(frozen=True)
class Form:
    """What is generated: a project or a library, the prefix of its C names, whose arena it uses."""

    layout: Literal["project", "library"] = "project"
    prefix: str = "model"
    shares_arena: bool = False


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EdgeRecord(_Record):
    """An input or output: real = scale * (stored - zero_point); scale 0 when nothing is scaled."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int
    bytes: int


class OperatorRecord(_Record):
    """An operator in order of execution. `tensors` are its outputs' indices in model.tflite.

    A loop has those of all values that it shows: of each step, what `shown` names.
    """

    index: int
    kind: str
    name: str
    kernel: str
    macs: int
    tensors: tuple[int | None, ...]
    bytes: tuple[int, ...]
    instructions: float | None
    shown: tuple[str, ...] = ()


class RegionRecord(_Record):
    """Predicted bytes of a memory region, part by part."""

    region: str
    kind: Literal["ram", "flash"]
    capacity_bytes: int
    parts: dict[str, int]


class PlanRecord(_Record):
    """The plan's certificate and arenas."""

    peak_bytes: int
    lower_bound_bytes: int
    peak_operator: int
    arenas: dict[str, int]
    order_method: str
    packing_method: str


class Manifest(_Record):
    """The whole of mcudeploy.json."""

    schema_version: Literal[1] = 1
    mcudeploy_version: str
    model_name: str
    model_sha256: str
    board: str
    board_record: Board
    """The whole board, so that a project does not depend on the file it came from."""
    kernels: Literal["auto", "cmsis-nn"]
    optimize: Literal["speed", "balanced", "size"]
    passes_disabled: tuple[str, ...]
    use_external: bool = False
    stream: Literal["off", "auto", "max"] = "auto"
    ram_budget: int | None = None
    row_fed: bool = False
    layout: Literal["project", "library"] = "project"
    """A whole firmware, or the network with its kernels for another one."""
    prefix: str = "model"
    shares_arena: bool = False
    macs: int
    parameters: int
    inputs: tuple[EdgeRecord, ...]
    outputs: tuple[EdgeRecord, ...]
    operators: tuple[OperatorRecord, ...]
    plan: PlanRecord
    regions: tuple[RegionRecord, ...]
    calibration: dict[str, Any] | None = None
    labels: tuple[str, ...] = ()
    files: dict[str, str] = {}

    @property
    def has_state(self) -> bool:
        """Some tensor is kept between inferences."""
        return any(region.parts.get("state") for region in self.regions)


def make_manifest(
    plan: Plan,
    report: FitReport,
    target: Target,
    *,
    model_sha256: str,
    calibration: Mapping[str, Any] | None,
    labels: tuple[str, ...],
    passes_disabled: tuple[str, ...],
    use_external: bool = False,
    stream: Literal["off", "auto", "max"] = "auto",
    ram_budget: int | None = None,
    row_fed: bool = False,
    form: Form | None = None,
) -> Manifest:
    """The manifest of a project, its files' hashes not yet known."""
    graph = plan.graph
    form = form or Form()
    return Manifest(
        layout=form.layout,
        prefix=form.prefix,
        shares_arena=form.shares_arena,
        use_external=use_external,
        stream=stream,
        ram_budget=ram_budget,
        row_fed=row_fed,
        mcudeploy_version=__version__,
        model_name=report.model,
        model_sha256=model_sha256,
        board=plan.board.name,
        board_record=plan.board,
        kernels=target.kernels,
        optimize=target.optimize,
        passes_disabled=passes_disabled,
        macs=report.macs,
        parameters=report.parameters,
        inputs=_edges(plan, graph.inputs),
        outputs=_edges(plan, graph.outputs),
        operators=_operators(plan, report),
        plan=_plan_record(plan),
        regions=_regions(report),
        calibration=dict(calibration) if calibration else None,
        labels=labels,
    )


def _operators(plan: Plan, report: FitReport) -> tuple[OperatorRecord, ...]:
    records = []
    for row in report.operators:
        values = values_shown(plan, row.index)
        records.append(
            OperatorRecord(
                index=row.index,
                kind=row.kind,
                name=row.name,
                kernel=row.kernel,
                macs=row.macs,
                tensors=tuple(source for source, _ in values),
                bytes=tuple(size for _, size in values),
                instructions=row.instructions,
                shown=tuple(s.what for s in plan.implementations[row.index].shows),
            )
        )
    return tuple(records)


def values_shown(plan: Plan, position: int) -> list[tuple[int | None, int]]:
    """(index in model.tflite, bytes) of what the observer is shown of an operator, in order."""
    shows = plan.implementations[position].shows
    if shows:
        steps = range(len(shows[0].sources))
        return [(one.sources[step], one.bytes) for step in steps for one in shows]
    tensors = [plan.graph.tensors[i] for i in plan.graph.operators[position].outputs]
    return [(tensor.source, tensor.bytes) for tensor in tensors]


def _plan_record(plan: Plan) -> PlanRecord:
    certificate = plan.certificate
    return PlanRecord(
        peak_bytes=certificate.peak_bytes,
        lower_bound_bytes=certificate.lower_bound_bytes,
        peak_operator=certificate.peak_step,
        arenas=dict(plan.arenas),
        order_method=certificate.order_method,
        packing_method=certificate.packing_method,
    )


def _regions(report: FitReport) -> tuple[RegionRecord, ...]:
    return tuple(
        RegionRecord(
            region=region.region,
            kind="ram" if region.kind == "ram" else "flash",
            capacity_bytes=region.capacity_bytes,
            parts={part.name: part.bytes for part in region.parts},
        )
        for region in report.regions
    )


def _edges(plan: Plan, indices: Iterable[int]) -> tuple[EdgeRecord, ...]:
    records = []
    for index in indices:
        tensor = plan.graph.tensors[index]
        scaled = tensor.quantization if tensor.dtype != "float32" else None
        records.append(
            EdgeRecord(
                name=tensor.name,
                shape=tensor.shape,
                dtype=tensor.dtype,
                scale=scaled.scale if scaled else 0.0,
                zero_point=scaled.zero_point if scaled else 0,
                bytes=tensor.bytes,
            )
        )
    return tuple(records)


def read_manifest(project: Path) -> Manifest:
    """The manifest of a project folder. Raises InputError when the folder is none of ours."""
    path = project / MANIFEST_NAME
    try:
        return Manifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError:
        if project.is_dir():
            problem = "this folder is no project of mcudeploy: it has no mcudeploy.json"
        elif project.exists():
            problem = "this is a file, and no project folder"
        else:
            problem = "the project folder does not exist"
        raise InputError(
            problem,
            where=str(project),
            mend="`mcudeploy generate MODEL --board BOARD -o DIR` makes one",
        ) from None
    except (ValueError, ValidationError):
        raise InputError(
            "mcudeploy.json is damaged or from another version of mcudeploy",
            where=str(path),
            mend="generate the project again",
        ) from None
