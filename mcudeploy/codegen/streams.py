# SPDX-License-Identifier: Apache-2.0
"""The C of row-streamed segments: tables of stages, and the operators' bodies for one row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcudeploy.graph.ir import NO_TENSOR
from mcudeploy.memory.plan import Placement, Plan, Stream
from mcudeploy.memory.streaming import Need, Segment, next_stages, row_bytes
from mcudeploy.operators.base import Implementation

Pointer = Callable[[int], str]
"""The C expression of a tensor's address."""
Address = Callable[[Placement], str]
"""The C expression of the address of a place in an arena."""


def ring_of(plan: Plan, stream: Stream, tensor: int) -> int:
    """The rows that the place of a map holds."""
    return stream.rings.get(tensor, plan.graph.tensors[tensor].shape[1])


def row_values(
    plan: Plan, stream: Stream, position: int, pointer: Pointer, address: Address
) -> dict[str, Any]:
    """What a row form's snippet is rendered with, besides values, constants and scratch."""
    operator = plan.graph.operators[position]
    form = plan.implementations[position].rows
    assert form is not None
    inputs = [pointer(index) for index in operator.inputs]
    outputs = [pointer(index) for index in operator.outputs]
    if form.flat:
        for window in form.windows:
            inputs[window.input] = _row(plan, stream, operator.inputs[window.input], pointer)
        if not form.accumulates:
            outputs = [_row(plan, stream, operator.outputs[0], pointer)]
        rings: dict[str, Any] = {}
    else:
        rings = {
            "in_ring": ring_of(plan, stream, operator.inputs[form.windows[0].input]),
            "out_ring": ring_of(plan, stream, operator.outputs[0]),
        }
    state = stream.state.get(position)
    return {
        "inputs": inputs,
        "outputs": outputs,
        "row_begin": "row",
        "row_end": "row + 1",
        "state": f"({address(state)})" if state else "NULL",
        **rings,
    }


def _row(plan: Plan, stream: Stream, tensor: int, pointer: Pointer) -> str:
    """The address of row `row` of a map."""
    record = plan.graph.tensors[tensor]
    ring = ring_of(plan, stream, tensor)
    if ring == 1:
        return pointer(tensor)
    slot = "row" if ring >= record.shape[1] else f"row % {ring}"
    return f"({pointer(tensor)} + {slot} * {row_bytes(record)})"


def uses_row(implementation: Implementation, values: dict[str, Any]) -> bool:
    """Whether the body of a row form mentions the row at all."""
    form = implementation.rows
    assert form is not None
    return not form.flat or form.accumulates or "row" in " ".join(
        [*values["inputs"], *values["outputs"]]
    )  # fmt: skip


def segment_context(
    plan: Plan, stream: Stream, pointer: Pointer, address: Address
) -> dict[str, Any]:
    """What the template of a segment's loop needs."""
    graph, segment = plan.graph, stream.segment
    sources = {stage.output: number + 1 for number, stage in enumerate(segment.stages)}
    sources[segment.driver] = 0
    following = next_stages(segment)
    stages: list[dict[str, Any]] = []
    needs: list[dict[str, int]] = []
    for number, stage in enumerate(segment.stages):
        own = [need for need in stage.needs if need.tensor in sources]
        output = graph.tensors[stage.output]
        stages.append(
            {
                "operator": stage.operator,
                "rows": stage.rows,
                "next": following[number],
                "first": len(needs),
                "end": len(needs) + len(own),
                "pointer": pointer(stage.output),
                "row_bytes": output.bytes if stage.accumulates else row_bytes(output),
                "ring": 1 if stage.accumulates else ring_of(plan, stream, stage.output),
            }
        )
        needs += [_need(need, sources) for need in own]
    driver = graph.tensors[segment.driver]
    return {
        "first": segment.first,
        "last": segment.end - 1,
        "fed": segment.fed,
        "stages": stages,
        "needs": needs,
        "entry": following[-1],
        "made": f"(int16_t *)(void *)({address(stream.counters)})",
        "rows": driver.shape[1],
        "accumulates": [s.operator for s in segment.stages if s.accumulates],
        "input": {
            "pointer": pointer(segment.driver),
            "row_bytes": row_bytes(driver),
            "ring": ring_of(plan, stream, segment.driver),
        },
        "kept": _kept(plan, segment, stream),
    }


def _need(need: Need, sources: dict[int, int]) -> dict[str, int]:
    return {
        "source": sources[need.tensor],
        "stride": need.stride,
        "reach": need.reach - need.pad,
        "rows": need.rows,
    }


def _kept(plan: Plan, segment: Segment, stream: Stream) -> str:
    """What a comment says of the rows that are kept between stages."""
    rings = {
        plan.graph.operators[s.operator].outputs[0]: s.operator
        for s in segment.stages
        if s.output in stream.rings
    }
    parts = [f"{stream.rings[t]} of #{step}" for t, step in rings.items() if t != NO_TENSOR]
    return ", ".join(parts) or "none"
