# SPDX-License-Identifier: Apache-2.0
"""The loop of a REPEAT: its body's memory planned, its kernels chosen, its C snippet written.

A body is a network of its own: it is planned as one, checked as one, and what it needs is the
scratch memory of the whole. The state lies where nothing else does, so that it can be replaced
when a step is over. All that differs between steps stands in two tables, of int32 and of int8, with
a row for each step; equal columns stand once.

After each operator of each step its output is shown to the observer, so every value of every step
can be compared; operators that are views show nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mcudeploy.board import Board
from mcudeploy.errors import PlanError
from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator
from mcudeploy.memory.checked import demand_sound
from mcudeploy.memory.geometry import align_up
from mcudeploy.memory.plan import Plan
from mcudeploy.memory.planner import Candidates, in_plan_order, make_plan
from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OverlapRule,
    Shown,
    Target,
    as_constant,
)
from mcudeploy.operators.costs import predicted_instructions
from mcudeploy.operators.repeat import Repeat, repeat_of
from mcudeploy.operators.unify import Unified, unified_kernels

_ROOM = 1 << 30
_NAMES = re.compile(r"\bMCUD_(IN|OUT|CONSTANT|COLUMN)_(\w+)\b|\bMCUD_(SCRATCH)\b")
_COPY_INSTRUCTIONS = 24
_SHOW_INSTRUCTIONS = 2
_COLUMN_INSTRUCTIONS = 2
"""About what the loop adds to its operators."""


def with_bodies(
    graph: Graph, candidates: Candidates, board: Board, target: Target
) -> tuple[tuple[Implementation, ...], ...]:
    """The candidates; those of a REPEAT are its loop, planned.

    Raises PlanError for a REPEAT that has an operator without a kernel for all steps.
    """
    return tuple(
        (_planned(graph, operator, board, target),) if operator.kind == "REPEAT" else tuple(own)
        for operator, own in zip(graph.operators, candidates, strict=True)
    )


def _planned(graph: Graph, operator: Operator, board: Board, target: Target) -> Implementation:
    repeat = repeat_of(operator)
    body = repeat.bodies[0]
    kernels = [
        unified_kernels(repeat.bodies, position, target) for position in range(len(body.operators))
    ]
    for one, found in zip(body.operators, kernels, strict=True):
        if not found:
            raise PlanError(
                "no kernel can compute all steps of a recurrent layer",
                where=body.describe(one),
                mend="--disable-pass roll-steps leaves the steps unrolled",
            )
    plan = make_plan(
        body,
        [[one.implementation for one in found] for found in kernels],
        _roomy(board),
    )
    demand_sound(plan, "the plan of a loop")
    chosen = [
        next(one for one in offers if one.implementation.kernel == implementation.kernel)
        for offers, implementation in zip(
            in_plan_order(plan, body, kernels), plan.implementations, strict=True
        )
    ]
    return _Loop(graph, operator, repeat, plan, chosen).implementation(board, target)


def _roomy(board: Board) -> Board:
    """The board with one region that holds any body."""
    first = board.regions("ram")[0].model_copy(update={"size": _ROOM})
    rest = tuple(region for region in board.memory if region.kind != "ram")
    return board.model_copy(update={"memory": (first, *rest)})


@dataclass(eq=False)
class _Loop:
    """The loop while it is written; `plan` has the body's operators in the order to run."""

    graph: Graph
    operator: Operator
    repeat: Repeat
    plan: Plan
    kernels: Sequence[Unified]
    constants: list[Constant] = field(default_factory=list)
    wide: dict[tuple[int, ...], int] = field(default_factory=dict)
    narrow: dict[tuple[int, ...], int] = field(default_factory=dict)
    shows: list[Shown] = field(default_factory=list)

    def implementation(self, board: Board, target: Target) -> Implementation:
        blocks = [self._block(position) for position in range(len(self.kernels))]
        columns = len(self.wide) + len(self.narrow)
        text = self._loop(blocks)
        used = [one.implementation for one in self.kernels]
        known = [predicted_instructions(one, target.core) for one in used]
        copies = len(self.repeat.takes) + len(self.repeat.carries) + len(self.repeat.gives)
        extra = (
            _COPY_INSTRUCTIONS * copies
            + _SHOW_INSTRUCTIONS * len(self.shows)
            + _COLUMN_INSTRUCTIONS * columns
        )
        return Implementation(
            kernel="loop",
            snippet=text,
            constants=tuple(self.constants),
            scratch_bytes=align_up(sum(self.plan.arenas.values()), board.core.alignment),
            overlaps=self._overlaps(),
            sources=tuple(dict.fromkeys(s for one in used for s in one.sources)),
            headers=tuple(dict.fromkeys(h for one in used for h in one.headers)),
            instructions=None
            if None in known
            else self.repeat.steps * (sum(one or 0.0 for one in known) + extra),
            code_bytes=72 * len(used) + 4 * columns,
            reason=f"{self.repeat.steps} steps of {len(used)} operators",
            shows=tuple(self.shows),
        )

    def _overlaps(self) -> tuple[OverlapRule, ...]:
        """Outputs may lie over what the state begins as: that is copied before all else."""
        taken = {take.input for take in self.repeat.takes}
        begins = {carry.input for carry in self.repeat.carries} - taken
        return tuple(
            OverlapRule(begin, output, max_distance=_ROOM)
            for begin in sorted(begins)
            for output in range(len(self.operator.outputs))
        )

    def _pointer(self, tensor: int) -> str:
        """The C expression of a body tensor's address; NULL for what has none."""
        record = self.plan.graph.tensors[tensor] if tensor != NO_TENSOR else None
        if record is None or record.is_constant:
            return "NULL"
        place = self.plan.place(tensor)
        assert place is not None
        offset = place.offset
        ctype = "float" if record.dtype == "float32" else f"{record.dtype}_t"
        if ctype == "int8_t":
            return f"(memory + {offset})"
        return f"(({ctype} *)(void *)(memory + {offset}))"

    def _constant(self, name: str) -> str:
        return f"\x01constants['{name}']\x02"

    def _block(self, position: int) -> list[str]:
        """The C of one operator of the body; nothing for a view."""
        operator, kernel = self.plan.graph.operators[position], self.kernels[position]
        if not kernel.implementation.snippet:
            return []
        for one in kernel.constants:
            name = f"{position}_{one.name}"
            self.constants.append(Constant(name, one.data, one.part, one.alignment))

        def named(match: re.Match[str]) -> str:
            what, name = match.group(1), match.group(2)
            if what in ("IN", "OUT"):
                tensors = operator.inputs if what == "IN" else operator.outputs
                return self._pointer(tensors[int(name)])
            if what == "CONSTANT":
                return self._constant_row(position, name)
            if what == "COLUMN":
                return self._column(kernel.columns[int(name)])
            scratch = self.plan.scratch.get(position)
            return f"(memory + {scratch.offset})" if scratch else "NULL"

        text = _NAMES.sub(named, kernel.text)
        tensors = self.plan.graph.tensors
        lines = ["{", *(f"    {line}" if line else "" for line in text.splitlines()), "}"]
        for output in operator.outputs:
            lines += [
                "if (observe != NULL)",
                "{",
                f"    observe(\x01index\x02, {self._pointer(output)}, {tensors[output].bytes});",
                "}",
            ]
            sources = tuple(body.tensors[output].source for body in self.repeat.bodies)
            what = f"{operator.kind} {tensors[output].name}"
            self.shows.append(Shown(what, tensors[output].bytes, sources))
        return [f"/* {operator.kind}, {kernel.implementation.kernel} */", *lines]

    def _constant_row(self, position: int, name: str) -> str:
        kernel, whole = self.kernels[position], self._constant(f"{position}_{name}")
        if name not in kernel.stacked:
            return whole
        data = next(c.data for c in kernel.constants if c.name == name)
        return f"({whole} + step * {data[0].size})"

    def _column(self, values: tuple[int, ...]) -> str:
        is_narrow = all(-128 <= value <= 127 for value in values)
        table = self.narrow if is_narrow else self.wide
        number = table.setdefault(values, len(table))
        return f"{'narrow' if is_narrow else 'wide'}[{number}]"

    def _loop(self, blocks: Sequence[Sequence[str]]) -> str:
        lines = ["int8_t *const memory = \x01scratch\x02;"]
        advance = ["step++"]
        for name, dtype, table in (("wide", "int32", self.wide), ("narrow", "int8", self.narrow)):
            if table:
                data = np.array(list(table), np.int64).T
                self.constants.append(Constant(name, as_constant(data, dtype), "tables"))
                lines.append(f"const {dtype}_t *{name} = {self._constant(name)};")
                advance.append(f"{name} += {len(table)}")
        lines.append("")
        for carry in self.repeat.carries:
            lines.append(self._copy(self._pointer(carry.tensor), self._input(carry.input),
                                    carry.tensor))  # fmt: skip
        lines.append(f"for (int32_t step = 0; step < {self.repeat.steps}; {', '.join(advance)})")
        lines.append("{")
        for take in self.repeat.takes:
            source = _moved(self._input(take.input), take.first, take.stride)
            lines.append("    " + self._copy(self._pointer(take.tensor), source, take.tensor))
        lines += [f"    {line}" if line else "" for block in blocks for line in block]
        for give in self.repeat.gives:
            target = _moved(f"(int8_t *)\x01outputs[{give.output}]\x02", give.first, give.stride)
            lines.append("    " + self._copy(target, self._pointer(give.tensor), give.tensor))
        for carry in self.repeat.carries:
            lines.append("    " + self._copy(self._pointer(carry.tensor),
                                             self._pointer(carry.made), carry.made))  # fmt: skip
        lines.append("}")
        text = "\n".join(lines).replace("{{", "{ {")
        return text.replace("\x01", "{{ ").replace("\x02", " }}")

    def _input(self, position: int) -> str:
        """An input of the whole; a constant one lies in flash."""
        tensor = self.graph.tensors[self.operator.inputs[position]]
        if tensor.data is None:
            return f"(const int8_t *)\x01inputs[{position}]\x02"
        name = f"input_{position}"
        if name not in [constant.name for constant in self.constants]:
            data = as_constant(tensor.data, tensor.dtype)
            self.constants.append(Constant(name, data, "weights"))
        return f"(const int8_t *){self._constant(name)}"

    def _copy(self, target: str, source: str, tensor: int) -> str:
        return f"memcpy({target}, {source}, {self.plan.graph.tensors[tensor].bytes});"


def _moved(pointer: str, first: int, stride: int) -> str:
    start = f"{pointer} + {first}" if first else pointer
    return f"{start} + step * {stride}" if stride else start
