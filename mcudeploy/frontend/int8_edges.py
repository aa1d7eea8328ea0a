# SPDX-License-Identifier: Apache-2.0
"""A .tflite without the conversions at its edges: int8 goes in and comes out.

Converters put a QUANTIZE behind an input of float32, uint8 or int16, and a QUANTIZE or DEQUANTIZE
before an output of such a type. Where the firmware's surroundings speak int8 already, they are
time and memory for nothing. Here the file's lists are changed in place: the subgraph's inputs and
outputs name the int8 tensors within, and its operators end earlier. All that follows (the golden
reference too) then knows the model so.

Source: TensorFlow's schema.fbs.
"""

from __future__ import annotations

import struct

from mcudeploy.errors import InputError
from mcudeploy.frontend.flatbuffer_table import FlatBuffer, Table
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import Graph, Operator

_INPUTS, _OUTPUTS, _OPERATORS = 1, 2, 3
"""Slots of the schema's table SubGraph."""
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
_ENTRY = 4
"""Bytes of an element of these lists."""


def strip_edges(data: bytes, name: str) -> bytes:
    """The model with int8 at every edge that only a conversion keeps from it.

    Raises McudeployError for a file that is damaged or no network that can be deployed.
    """
    graph = read_tflite(data, name)
    taken_in, given_out = _inputs_within(graph), _outputs_within(graph)
    if not taken_in and not given_out:
        return data
    kept = [
        (number, one.kind, one.inputs, one.outputs)
        for number, one in enumerate(graph.operators)
        if not taken_in.keys() & set(one.inputs) and not given_out.keys() & set(one.outputs)
    ]
    subgraph = next(FlatBuffer(data, name).root().tables(2))
    stripped = bytearray(data)
    _rename(stripped, subgraph, _INPUTS, taken_in)
    _rename(stripped, subgraph, _OUTPUTS, given_out)
    _drop(stripped, subgraph, [number for number, *_ in kept])
    made = bytes(stripped)
    left = [(one.kind, one.inputs, one.outputs) for one in read_tflite(made, name).operators]
    if left != [tuple(rest) for _, *rest in kept]:
        raise InputError(
            "the conversions at the model's edges cannot be taken out: its tables share lists",
            where=name,
            mend="convert it with inference_input_type and inference_output_type int8",
        )
    return made


def _inputs_within(graph: Graph) -> dict[int, int]:
    """Inputs that one QUANTIZE alone reads, and the int8 tensor behind each."""
    found = {}
    for edge in graph.inputs:
        readers = [one for one in graph.operators if edge in one.inputs]
        if len(readers) == 1 and edge not in graph.outputs:
            within = readers[0].outputs[0]
            if _converts(graph, readers[0], edge, within):
                found[edge] = within
    return found


def _outputs_within(graph: Graph) -> dict[int, int]:
    """Outputs that a conversion makes and nothing reads, and the int8 tensor before each."""
    found: dict[int, int] = {}
    for edge in graph.outputs:
        maker = next((one for one in graph.operators if edge in one.outputs), None)
        if maker is None or any(edge in one.inputs for one in graph.operators):
            continue
        within = maker.inputs[0]
        if within not in found.values() and _converts(graph, maker, edge, within):
            found[edge] = within
    return found


def _converts(graph: Graph, operator: Operator, edge: int, within: int) -> bool:
    """Between another type at the edge and a computed int8 tensor that is no edge itself."""
    inner = graph.tensors[within]
    return (
        operator.kind in _CONVERSIONS
        and inner.dtype == "int8" != graph.tensors[edge].dtype
        and not inner.is_constant
        and within not in (*graph.inputs, *graph.outputs)
    )


def _rename(data: bytearray, subgraph: Table, slot: int, within: dict[int, int]) -> None:
    at = subgraph.address(slot)
    if at is None:
        return
    for number, index in enumerate(subgraph.vector(slot, "i4").tolist()):
        struct.pack_into("<i", data, at + _ENTRY * (1 + number), within.get(index, index))


def _drop(data: bytearray, subgraph: Table, kept: list[int]) -> None:
    """Keep the operators of these numbers: entries are distances forward from where they stand."""
    at = subgraph.address(_OPERATORS)
    assert at is not None
    targets = [table.position for table in subgraph.tables(_OPERATORS)]
    struct.pack_into("<I", data, at, len(kept))
    for number, operator in enumerate(kept):
        entry = at + _ENTRY * (1 + number)
        struct.pack_into("<I", data, entry, targets[operator] - entry)
