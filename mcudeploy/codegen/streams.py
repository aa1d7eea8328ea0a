# SPDX-License-Identifier: Apache-2.0
"""The C of row-streamed segments: tables of stages, and the operators' bodies for one row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcudeploy.graph.ir import NO_TENSOR, Tensor
from mcudeploy.memory.plan import Placement, Plan, Stream
from mcudeploy.memory.streaming import (
    Need,
    Segment,
    Stage,
    Strip,
    next_stages,
    pixel_bytes,
    row_bytes,
)
from mcudeploy.operators.base import Implementation, RowWindow

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
    pair = pair_of(stream, position)
    if pair is not None:
        return _part_values(plan, stream, pair, position, pointer)
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


def pair_of(stream: Stream, position: int) -> tuple[Stage, Stage, Strip] | None:
    """The producer, the reader and the strip of the pair that an operator belongs to."""
    return next(
        (pair for pair in stream.segment.pairs if position in (pair[0].operator, pair[1].operator)),
        None,
    )


def part_signature(stream: Stream, position: int) -> str | None:
    """The parameters of the C function for part of a row, None for operators outside of pairs."""
    pair = pair_of(stream, position)
    if pair is None:
        return None
    if position == pair[0].operator:
        return "int32_t row, const mcud_part *part, int8_t *to"
    return "int32_t row, const mcud_part *part, int8_t *const *rows, int32_t column"


def _part_values(
    plan: Plan, stream: Stream, pair: tuple[Stage, Stage, Strip], position: int, pointer: Pointer
) -> dict[str, Any]:
    """The values of a row form for part of a row, in the terms of `part_signature`."""
    graph, operator = plan.graph, plan.graph.operators[position]
    source, output = operator.inputs[0], operator.outputs[0]
    values: dict[str, Any] = {
        "row_begin": "row",
        "row_end": "row + 1",
        "storage": "const",
        "part_in_w": "part->in_w",
        "part_out_w": "part->out_w",
        "part_pad_left": "part->pad_left",
    }
    if position == pair[0].operator:
        base = f"({pointer(source)} + part->in_x * {pixel_bytes(graph.tensors[source])})"
        rings = {"in_ring": ring_of(plan, stream, source), "out_ring": 1}
        return {**values, **rings, "inputs": [base], "outputs": ["to"]}
    base = f"({pointer(output)} + column * {pixel_bytes(graph.tensors[output])})"
    rings = {
        "in_ring": -(ring_of(plan, stream, source) + 1),
        "out_ring": ring_of(plan, stream, output),
    }
    return {**values, **rings, "inputs": ["(int8_t *)(uintptr_t)rows"], "outputs": [base]}


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
    pairs = [_pair(plan, stream, pair, pointer, address) for pair in segment.pairs]
    driver = graph.tensors[segment.driver]
    return {
        "pairs": pairs,
        "made_by": {pair["producer"]["operator"]: pair for pair in pairs},
        "read_by": {pair["reader"]["operator"]: pair for pair in pairs},
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


def _pair(
    plan: Plan, stream: Stream, pair: tuple[Stage, Stage, Strip], pointer: Pointer, address: Address
) -> dict[str, Any]:
    """The members of a pair's mcud_strips."""
    graph, (producer, reader, strip) = plan.graph, pair
    between, output = graph.tensors[producer.output], graph.tensors[reader.output]
    made = plan.implementations[producer.operator].rows
    assert made is not None and made.columns is not None
    source = graph.tensors[graph.operators[producer.operator].inputs[0]]
    return {
        "producer": {"operator": producer.operator, **_columns(made.columns, source)},
        "reader": {"operator": reader.operator, **_columns(strip.columns, between)},
        "pointer": pointer(producer.output),
        "row_bytes": row_bytes(between),
        "ring": ring_of(plan, stream, producer.output),
        "strip": f"({address(stream.strips[reader.operator])})",
        "pixel_bytes": strip.pixel_bytes,
        "rows": between.shape[1],
        "out_w": output.shape[2],
        "stride": strip.stride,
        "lead": strip.lead,
        "step": strip.step,
    }


def _columns(window: RowWindow, source: Tensor) -> dict[str, int]:
    reach = (window.kernel - 1) * window.dilation + 1
    return {"width": source.shape[2], "stride": window.stride, "pad": window.pad, "reach": reach}


def _need(need: Need, sources: dict[int, int]) -> dict[str, int]:
    return {
        "source": sources[need.tensor],
        "stride": need.stride,
        "reach": need.reach - need.pad,
        "rows": need.rows,
        "up": need.up,
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
