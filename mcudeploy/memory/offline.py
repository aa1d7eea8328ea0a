# SPDX-License-Identifier: Apache-2.0
"""A memory plan for TensorFlow Lite Micro, written into the model file.

TFLM plans its arena when it starts, greedily by size. It takes a tensor's offset from the model
instead, where the file carries metadata named `OfflineMemoryAllocation`: a buffer of 32-bit
integers, namely format version, subgraph, number of tensors, and per tensor its offset in the
arena or -1 for "plan this one yourself". Scratch of kernels is always planned there, around the
rest. The interpreter runs operators in the file's order and copies where our own code makes views,
so this plan keeps that order and shares no byte between two live tensors.

The file is not rewritten. FlatBuffers point forward by relative distances, so a new root, with new
lists of buffers and metadata, is put in front of the old bytes, which stay as they are behind it.

Source: TensorFlow's schema.fbs; TFLM's documentation of offline planned tensor allocations.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mcudeploy.errors import InputError
from mcudeploy.frontend.flatbuffer_table import FlatBuffer, Table
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import Graph
from mcudeploy.memory.lifetimes import lifespans
from mcudeploy.memory.packing import NORMAL, Effort, pack
from mcudeploy.memory.problem import Buffer, Packing, Problem

METADATA = "OfflineMemoryAllocation"
TFLM_ALIGNMENT = 16
ONLINE = -1
"""Left to TFLM's own planner: constants, state."""

_VERSION = 1
_FIELDS = 8
_BUFFERS, _METADATA = 4, 6
"""Slots of the schema's table Model."""
_TABLE_ALIGNMENT = 64


@dataclass(frozen=True)
class OfflinePlan:
    """Arena offsets by tensor of the file (`ONLINE`: none), and how they were found."""

    offsets: tuple[int, ...]
    packing: Packing


def plan_offline(graph: Graph, effort: Effort = NORMAL) -> OfflinePlan:
    """Offsets for TFLM; `graph` as read from the file, with no rewrite applied."""
    spans = {i: s for i, s in lifespans(graph).items() if not graph.tensors[i].is_variable}
    buffers = tuple(
        Buffer(graph.tensors[i].name, graph.tensors[i].bytes, *span, TFLM_ALIGNMENT)
        for i, span in spans.items()
    )
    packing = pack(Problem(buffers), effort)
    offsets = [ONLINE] * len(graph.tensors)
    for index, offset in zip(spans, packing.offsets, strict=True):
        offsets[index] = offset
    return OfflinePlan(tuple(offsets), packing)


def write_offline_plan(data: bytes, plan: OfflinePlan | None = None) -> bytes:
    """The .tflite file `data` with an offline memory plan, by default the one of `plan_offline`.

    A plan that the file carries already is replaced. Raises InputError for a file that is damaged,
    has several subgraphs or does not have the tensors that the plan is for.
    """
    name = "the model"
    plan = plan or plan_offline(read_tflite(data, name, deployable=False))
    model = FlatBuffer(data, name).root()
    subgraphs = list(model.tables(2))
    if len(subgraphs) != 1:
        raise InputError(
            f"an offline plan is for one subgraph, and {name} has {len(subgraphs)}",
            mend="convert the model without control flow",
        )
    if sum(1 for _ in subgraphs[0].tables(0)) != len(plan.offsets):
        raise InputError("the plan was made for another model", where=name)
    if any(table.scalar(1, "Q") > 1 for table in model.tables(_BUFFERS)):
        raise InputError("constants behind the tables (files over 2 GiB) are not supported")
    numbers = (_VERSION, 0, len(plan.offsets), *plan.offsets)
    return _prepended(data, model, struct.pack(f"<{len(numbers)}i", *numbers))


def _prepended(data: bytes, model: Table, content: bytes) -> bytes:
    """The file with `content` as a further buffer that a further metadata entry names."""
    buffers = [table.position for table in model.tables(_BUFFERS)]
    kept = [t.position for t in model.tables(_METADATA) if t.text(0) != METADATA]
    start = 8 + 4 + 2 * _FIELDS
    root = start + (-start) % 4
    lists = root + 4 + 4 * _FIELDS
    at_metadata = lists
    at_buffers = at_metadata + 4 + 4 * (len(kept) + 1)
    entry = at_buffers + 4 + 4 * (len(buffers) + 1)  # vtable of 8 bytes, then the table
    at_name = entry + 8 + 12
    encoded = METADATA.encode() + b"\0"
    holder = at_name + 4 + len(encoded) + (-len(encoded)) % 4  # vtable of 6 bytes, 2 to spare
    at_content = holder + 8 + 8
    at_content += (-(at_content + 4)) % 16
    shift = at_content + 4 + len(content)
    shift += (-shift) % _TABLE_ALIGNMENT
    new = bytearray(shift)

    def put(position: int, form: str, *values: int) -> None:
        struct.pack_into("<" + form, new, position, *values)

    put(0, "I", root)
    new[4:8] = data[4:8]
    targets = {slot: model.address(slot) for slot in range(1, _FIELDS)}
    put(8, "HH", 4 + 2 * _FIELDS, 4 + 4 * _FIELDS)
    put(root, "i", root - 8)
    for slot in range(_FIELDS):
        field = 4 + 4 * slot
        target = targets.get(slot)
        position = {_BUFFERS: at_buffers, _METADATA: at_metadata}.get(
            slot, None if target is None else shift + target
        )
        if slot == 0:
            put(root + field, "I", model.scalar(0, "I"))
        elif position is not None:
            put(root + field, "I", position - root - field)
        if slot == 0 or position is not None:
            put(12 + 2 * slot, "H", field)
    for vector, old, added in (
        (at_metadata, kept, entry + 8), (at_buffers, buffers, holder + 8),
    ):  # fmt: skip
        put(vector, "I", len(old) + 1)
        for number, target in enumerate([*(shift + o for o in old), added]):
            position = vector + 4 + 4 * number
            put(position, "I", target - position)
    put(entry, "HHHH", 8, 12, 4, 8)
    put(entry + 8, "iII", 8, at_name - entry - 12, len(buffers))
    put(at_name, "I", len(METADATA))
    new[at_name + 4 : at_name + 4 + len(encoded)] = encoded
    put(holder, "HHH", 6, 8, 4)
    put(holder + 8, "iI", 8, at_content - holder - 12)
    put(at_content, "I", len(content))
    new[at_content + 4 : at_content + 4 + len(content)] = content
    return bytes(new) + data
