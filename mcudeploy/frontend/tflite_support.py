# SPDX-License-Identifier: Apache-2.0
"""What a well-formed .tflite file may hold and still not become int8 firmware.

Kinds of models, not kinds of operators: whether an operator can be deployed is known to its
family in `operators/`. All reasons are collected and raised as one error.
"""

from __future__ import annotations

from collections.abc import Iterator

from mcudeploy.errors import UnsupportedModelError
from mcudeploy.graph.ir import DTYPE_BYTES, NO_TENSOR, Graph, Operator

_EDGES = {"QUANTIZE", "DEQUANTIZE", "CAST"}
_CONTROL_FLOW = {"WHILE", "IF", "CALL", "CALL_ONCE", "STABLEHLO_WHILE", "STABLEHLO_COMPOSITE"}
_RESOURCES = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}
_INT16_STATE = {"SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
_SHOWN = 4

_QUANTIZE = (
    "quantize it to full int8: `mcudeploy quantize MODEL --calibration data.npz`, starting from "
    "the Keras model"
)


def check_supported(
    graph: Graph, subgraphs: int, dynamic: frozenset[int], sparse: frozenset[int]
) -> None:
    """Raises UnsupportedModelError with every reason for which `graph` is no int8 network."""
    found = list(_problems(graph, subgraphs, dynamic, sparse))
    if not found:
        return
    if len(found) == 1:
        problem, mend = found[0]
        raise UnsupportedModelError(
            f"{graph.name} cannot be deployed: {problem}", where=graph.name, mend=mend
        )
    reasons = "\n".join(f"  - {problem}" for problem, _ in found)
    mends = "; ".join(dict.fromkeys(mend for _, mend in found))
    raise UnsupportedModelError(
        f"{graph.name} cannot be deployed, for {len(found)} reasons:\n{reasons}",
        where=graph.name,
        mend=mends,
    )


def _problems(
    graph: Graph, subgraphs: int, dynamic: frozenset[int], sparse: frozenset[int]
) -> Iterator[tuple[str, str]]:
    """(reason, remedy) pairs."""
    if not graph.operators:
        yield "it holds no operator", "convert the model again"
    if not graph.inputs or not graph.outputs:
        yield "it has no input or no output", "convert a function that takes and gives a tensor"
    yield from _control_flow(graph, subgraphs)
    yield from _arithmetic(graph)
    used = {i for o in graph.operators for i in (*o.inputs, *o.outputs) if i != NO_TENSOR}
    used |= set(graph.inputs) | set(graph.outputs)
    odd = sorted(i for i in used if graph.tensors[i].dtype not in DTYPE_BYTES)
    if odd:
        types = ", ".join(sorted({graph.tensors[i].dtype for i in odd}))
        yield (
            f"tensors of type {types} ({_names(graph, odd)})",
            "convert with int8 weights and activations",
        )
    compressed = sorted(i for i in used if i in sparse)
    if compressed:
        yield (
            f"sparse weights ({_names(graph, compressed)})",
            "convert without sparsity (drop Optimize.EXPERIMENTAL_SPARSITY)",
        )
    open_shapes = sorted(i for i in used if i in dynamic)
    if open_shapes:
        yield (
            f"shapes that are only known at run time ({_names(graph, open_shapes)})",
            "fix every dimension of the model's input before converting, batch 1",
        )


def _control_flow(graph: Graph, subgraphs: int) -> Iterator[tuple[str, str]]:
    flow = [o for o in graph.operators if o.kind in _CONTROL_FLOW]
    if flow:
        yield (
            f"control flow ({_places(graph, flow)})",
            "convert recurrent layers with unroll=True, and branches resolved",
        )
    elif subgraphs > 1:
        yield (
            f"{subgraphs} subgraphs, where one is expected",
            "convert one signature of the model without control flow",
        )
    held = [o for o in graph.operators if o.kind in _RESOURCES]
    if held:
        yield (
            f"resource variables ({_places(graph, held)})",
            "keep state in the inputs and outputs of the model, or in stateful TFLite operators",
        )
    custom = [o for o in graph.operators if o.kind.startswith(("CUSTOM", "BUILTIN_"))]
    if custom:
        yield (
            f"operators outside TensorFlow Lite's own ({_places(graph, custom)})",
            "build the model from layers that convert without custom operators or Select TF ops",
        )


def _arithmetic(graph: Graph) -> Iterator[tuple[str, str]]:
    """Float, hybrid, 16x8 and old uint8 models."""
    hybrid, wide, old, floating = [], [], [], []
    integers = 0
    for operator in graph.operators:
        if operator.kind in _EDGES:
            continue
        reads = [graph.tensors[i] for i in operator.inputs if i != NO_TENSOR]
        flowing = [t.dtype for t in reads if not t.is_constant and not t.is_variable]
        flowing += [graph.tensors[i].dtype for i in operator.outputs]
        weights = {t.dtype for t in reads if t.is_constant and t.quantization is not None}
        integers += "int8" in flowing
        if "float32" in flowing and weights & {"int8", "uint8", "int4"}:
            hybrid.append(operator)
        elif "float32" in flowing:
            floating.append(operator)
        elif "int16" in flowing and operator.kind not in _INT16_STATE:
            wide.append(operator)
        elif any(t.dtype == "uint8" and t.quantization is not None for t in reads):
            old.append(operator)
    if hybrid:
        yield (
            f"dynamic-range quantization: int8 weights, float activations "
            f"({_places(graph, hybrid)})",
            f"{_QUANTIZE}; a representative data set makes activations int8 too",
        )
    # Float between int8 edges may fold into tables; a float network has float edges.
    integers += sum(graph.tensors[i].dtype == "int8" for i in graph.inputs)
    if floating and not integers and not hybrid:
        yield f"it computes in float32 ({_places(graph, floating)})", _QUANTIZE
    if wide:
        yield (
            f"16x8 quantization: int16 activations ({_places(graph, wide)})",
            "convert with int8 activations (TFLITE_BUILTINS_INT8)",
        )
    if old:
        yield (
            f"uint8 quantization of TensorFlow 1 ({_places(graph, old)})",
            _QUANTIZE,
        )


def _places(graph: Graph, operators: list[Operator]) -> str:
    return _shortened([graph.describe(operator) for operator in operators])


def _names(graph: Graph, indices: list[int]) -> str:
    return _shortened([f"{graph.tensors[i].name}" for i in indices])


def _shortened(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
