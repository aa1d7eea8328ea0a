# SPDX-License-Identifier: Apache-2.0
"""Whether a network is streamed row by row, and how much of it.

`off`: never. `auto`: when the unstreamed plan does not fit the board or the RAM budget, and then
no more than it takes. `max`: for the least RAM.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mcudeploy.board import parse_bytes
from mcudeploy.errors import InputError
from mcudeploy.memory.plan import Plan
from mcudeploy.memory.planner import PlanOptions
from mcudeploy.memory.streamed import loop_instructions, make_streamed_plan
from mcudeploy.operators.base import Implementation, Target
from mcudeploy.operators.support import row_candidates

StreamMode = Literal["off", "auto", "max"]


def budget_bytes(text: str | int | None) -> int | None:
    """`--ram-budget` in bytes. Raises InputError."""
    try:
        return None if text is None else parse_bytes(text)
    except ValueError as error:
        raise InputError(str(error), where="--ram-budget") from None


def room_bytes(plan: Plan, options: PlanOptions) -> int:
    """What the first RAM region has for the arena."""
    return plan.board.regions("ram")[0].size - options.reserve_bytes


def fits(plan: Plan, options: PlanOptions) -> bool:
    """Each arena fits its region (the planner overfills the first one alone)."""
    first = plan.board.regions("ram")[0].name
    return plan.arenas.get(first, 0) <= room_bytes(plan, options)


def stream_note(before: Plan, after: Plan) -> str | None:
    """What streaming gains and costs, for the report; None where nothing is streamed."""
    if not after.streams:
        return None
    parts = ", ".join(f"#{s.segment.first} to #{s.segment.end - 1}" for s in after.streams)
    old, new = before.certificate.peak_bytes, after.certificate.peak_bytes
    note = f"operators {parts} run row by row: {new:,} bytes of arena in place of {old:,}"
    if after.row_fed:
        note += ", the input comes by rows"
    spent = [
        [one.instructions for one in plan.implementations if one.snippet]
        for plan in (before, after)
    ]
    known = [sum(n for n in counts if n is not None) for counts in spent]
    if all(n is not None for counts in spent for n in counts) and known[0]:
        change = (known[1] + loop_instructions(after)) / known[0] - 1
        note += f"; about {100 * change:+.1f} % instructions"
    return note


def streamed_plan(
    plan: Plan,
    candidates: Sequence[Sequence[Implementation]],
    target: Target,
    options: PlanOptions,
    *,
    mode: StreamMode,
    budget: int | None = None,
    row_fed: bool = False,
) -> Plan:
    """`plan`, or a streamed one in its place; `candidates` go by its operators.

    Raises InputError when the input cannot come row by row.
    """
    enough = fits(plan, options) and (budget is None or plan.certificate.peak_bytes <= budget)
    if not row_fed and (mode == "off" or (mode == "auto" and enough)):
        return plan
    room = room_bytes(plan, options)
    only_if_enough = mode == "auto" and budget is None and not row_fed
    if only_if_enough and sum(plan.graph.tensors[i].bytes for i in plan.graph.inputs) > room:
        return plan  # the input is whole in RAM before any row is computed
    forms = row_candidates(plan.graph, target)
    found = make_streamed_plan(
        plan,
        candidates,
        forms,
        options=options,
        capacity=0 if mode == "max" else min(room, room if budget is None else budget),
        fed=row_fed,
        only_if_enough=only_if_enough,
    )
    if row_fed and (found is None or not found.row_fed):
        raise InputError(
            "the network cannot take its input row by row",
            where="--row-fed",
            mend="its first operators must compute rows from rows (convolutions, pooling, "
            "elementwise), and it must have one input",
        )
    if found is None:
        return plan
    better = row_fed or found.certificate.peak_bytes < plan.certificate.peak_bytes
    return found if better else plan
