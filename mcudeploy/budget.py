# SPDX-License-Identifier: Apache-2.0
"""Plan and board into a verdict: every byte of RAM and flash by name, region by region.

RAM and constants are known before the build to the byte; code, stack and the runtime's own data
are estimates until a build has been linked, and are marked so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mcudeploy.board import Board, MemoryRegion
from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator
from mcudeploy.memory.plan import Certificate, Plan
from mcudeploy.operators.base import Target
from mcudeploy.operators.code_size import code_bytes
from mcudeploy.operators.constants import constant_bytes
from mcudeploy.operators.costs import predicted_instructions, predicted_milliseconds
from mcudeploy.operators.repeat import repeat_of
from mcudeploy.operators.support import macs

STACK_RESERVE_BYTES = 2048
"""What the linker script keeps for the stack; `test` reports how much of it was used."""

EXTERNAL_NOTE = (
    "{} is external memory, whose controller nothing here sets up: write board_external_init(), "
    "which start-up calls before the network is touched (emulators need none)"
)

RUNTIME_RAM_BYTES = 1536
"""The most that start-up, serial link and C library take of .data and .bss."""


@dataclass(frozen=True)
class Part:
    """A named share of a memory region. `exact` is False for what only a build can tell."""

    name: str
    bytes: int
    exact: bool = True


@dataclass(frozen=True)
class RegionBudget:
    """One memory region: what it holds, and what is left of it."""

    region: str
    kind: str
    capacity_bytes: int
    parts: tuple[Part, ...]

    @property
    def used_bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def margin_bytes(self) -> int:
        """Negative when the region overflows."""
        return self.capacity_bytes - self.used_bytes

    @property
    def fits(self) -> bool:
        return self.margin_bytes >= 0


@dataclass(frozen=True)
class OperatorRow:
    """One operator as the tables show it. Bytes are those of its own tensors and scratch."""

    index: int
    kind: str
    name: str
    output_shape: tuple[int, ...]
    macs: int
    parameters: int
    input_bytes: int
    output_bytes: int
    scratch_bytes: int
    shared_bytes: int
    """Of the output, over the input: overlap, in place, or the same bytes."""
    live_bytes: int
    kernel: str
    reason: str
    instructions: float | None
    """Predicted; None where the kernel's cost on this core is not known."""
    milliseconds: float | None = None
    """Estimated from them."""


@dataclass(frozen=True)
class FitReport:
    """Does the model fit the board, and why (not)."""

    model: str
    board: Board
    dtype: str
    regions: tuple[RegionBudget, ...]
    operators: tuple[OperatorRow, ...]
    certificate: Certificate
    macs: int
    parameters: int
    input_bytes: int
    output_bytes: int
    instructions: float | None = None
    """Predicted for one inference; None when an operator's are not known."""
    milliseconds: float | None = None
    """Estimated from them; `profile` knows better after a build."""
    notes: tuple[str, ...] = ()
    arena_budget_bytes: int | None = None
    """What the user allows the arena; None: what the board has."""

    @property
    def arena_over_bytes(self) -> int:
        """Bytes of the arena beyond its budget."""
        if self.arena_budget_bytes is None:
            return 0
        return max(0, self.certificate.peak_bytes - self.arena_budget_bytes)

    @property
    def fits(self) -> bool:
        return all(region.fits for region in self.regions) and not self.arena_over_bytes

    @property
    def peak(self) -> OperatorRow:
        """The operator at which the most bytes are live."""
        return self.operators[self.certificate.peak_step]

    @property
    def verdict(self) -> str:
        """One line: fits, or which region overflows, by how much, at which operator."""
        if self.fits:
            return f"{self.model} fits {self.board.name}"
        phrases = []
        if self.arena_over_bytes:
            phrases.append(
                f"activations and scratch are {self.arena_over_bytes:,} bytes over --ram-budget "
                f"at operator #{self.peak.index} {self.peak.kind}"
            )
        for region in self.regions:
            if region.fits:
                continue
            at = f" at operator #{self.peak.index} {self.peak.kind}" if region.kind == "ram" else ""
            phrases.append(f"{region.region} is over by {-region.margin_bytes:,} bytes{at}")
        return f"{self.model} does not fit {self.board.name}: " + "; ".join(phrases)


def budget(
    plan: Plan,
    target: Target,
    *,
    model: str,
    notes: tuple[str, ...] = (),
    constants: Mapping[str, int] | None = None,
    arena_budget: int | None = None,
) -> FitReport:
    """The verdict on a plan: every region of the board with all that it would hold.

    `constants` are the bytes of weights, biases and tables, for a plan whose constants have sizes
    but no values to tell which of them are equal.
    """
    graph = plan.graph
    ram = plan.board.regions("ram", external=True)
    used = set(plan.arenas)
    regions = [
        _ram_budget(plan, region, first=position == 0)
        for position, region in enumerate(ram)
        if position == 0 or not region.external or region.name in used
    ]
    regions.append(_flash_budget(plan, target, constants))
    rows = operator_rows(plan)
    if plan.external_regions:
        names = " and ".join(plan.external_regions)
        notes = (*notes, EXTERNAL_NOTE.format(names))
    return FitReport(
        model=model,
        board=plan.board,
        dtype="int8",
        regions=tuple(regions),
        operators=rows,
        certificate=plan.certificate,
        macs=sum(macs(graph, operator) for operator in graph.operators),
        parameters=sum(row.parameters for row in rows),
        input_bytes=sum(graph.tensors[i].bytes for i in graph.inputs),
        output_bytes=sum(graph.tensors[i].bytes for i in graph.outputs),
        instructions=_sum(row.instructions for row in rows),
        milliseconds=_sum(row.milliseconds for row in rows),
        notes=notes,
        arena_budget_bytes=arena_budget,
    )


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum, None when one is not known."""
    known = list(values)
    return None if None in known else sum(value or 0.0 for value in known)


def _ram_budget(plan: Plan, region: MemoryRegion, *, first: bool) -> RegionBudget:
    arena = plan.arenas.get(region.name, 0)
    scratch = max(
        (
            place.bytes
            for position, place in plan.scratch.items()
            if place.region == region.name and position == plan.certificate.peak_step
        ),
        default=0,
    )
    state = arena - plan.state_begin(region.name) if arena else 0
    parts = [
        Part("activations", arena - state - scratch),
        Part("scratch", scratch),
        Part("state", state),
    ]
    if first:
        parts.append(Part("stack reserve", STACK_RESERVE_BYTES))
        parts.append(Part("runtime", RUNTIME_RAM_BYTES, exact=False))
    return RegionBudget(region.name, "ram", region.size, tuple(parts))


def _flash_budget(plan: Plan, target: Target, constants: Mapping[str, int] | None) -> RegionBudget:
    flash = plan.board.regions("flash")[0]
    sizes = constant_bytes(plan.implementations) if constants is None else constants
    parts = [Part(name, sizes[name]) for name in ("weights", "biases", "tables")]
    parts.append(Part("code", code_bytes(plan.implementations, target.core), exact=False))
    return RegionBudget(flash.name, "flash", flash.size, tuple(parts))


def operator_rows(plan: Plan) -> tuple[OperatorRow, ...]:
    """The per-operator table, in order of execution."""
    return tuple(
        _row(plan, position, operator) for position, operator in enumerate(plan.graph.operators)
    )


def parameters_of(graph: Graph, operator: Operator) -> int:
    """Constant elements that an operator computes with (weights and biases)."""
    if operator.kind == "REPEAT":
        body = repeat_of(operator).bodies[0]
        return sum(parameters_of(body, one) for one in body.operators)
    return sum(
        graph.tensors[i].elements
        for i in dict.fromkeys(operator.inputs)
        if i != NO_TENSOR and graph.tensors[i].is_constant and graph.tensors[i].quantization
    )


def _row(plan: Plan, position: int, operator: Operator) -> OperatorRow:
    graph = plan.graph
    implementation = plan.implementations[position]
    output = graph.tensors[operator.outputs[0]]
    return OperatorRow(
        index=position,
        kind=operator.kind,
        name=output.name,
        output_shape=output.shape,
        macs=macs(graph, operator),
        parameters=parameters_of(graph, operator),
        input_bytes=sum(
            graph.tensors[i].bytes
            for i in dict.fromkeys(operator.inputs)
            if i != NO_TENSOR and not graph.tensors[i].is_constant
        ),
        output_bytes=sum(graph.tensors[i].bytes for i in operator.outputs),
        scratch_bytes=implementation.scratch_bytes,
        shared_bytes=sum(shared.bytes for shared in plan.sharing(position)),
        live_bytes=plan.live_bytes[position],
        kernel=implementation.kernel,
        reason=implementation.reason,
        instructions=predicted_instructions(implementation, plan.board.core),
        milliseconds=predicted_milliseconds(implementation, plan.board),
    )
