# SPDX-License-Identifier: Apache-2.0
"""Operators that keep state between inferences: SVDF and UNIDIRECTIONAL_SEQUENCE_LSTM.

Their state is a variable tensor among their inputs, which the kernel reads and updates; the plan
gives it a place of its own and `model_reset` its initial value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from mcudeploy.graph.ir import Graph, Operator, Tensor
from mcudeploy.operators.arithmetic import float_32
from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OperatorFamily,
    OverlapRule,
    Target,
    as_constant,
    register,
)
from mcudeploy.operators.shapes import quantize_multiplier
from mcudeploy.operators.view import (
    activation_of,
    constant_at,
    dtype_limits,
    output_of,
    quantization_of,
    tensor_at,
)
from mcudeploy.operators.work import lstm_work, svdf_work

_SVDF = """
static const mcud_svdf_s8_t params = {
    .feature = {{ constants.feature }}, .time = {{ constants.time }},
    .biases = {{ constants.biases if constants.biases is defined else "NULL" }},
{% for name, value in p.items() %}
    .{{ name }} = {{ value }},
{% endfor %}
};

mcud_svdf_s8_state_{{ state }}(&params, {{ inputs[0] }}, {{ inputs[4] }}, {{ outputs[0] }});
"""

_LSTM = """
static const mcud_lstm_s8_t params = {
{% for gate, values in gates.items() %}
    .{{ gate }} = {
        .input_weights = {{ constants[gate ~ "_input"] }},
        .hidden_weights = {{ constants[gate ~ "_hidden"] }},
        .biases = {{ constants[gate ~ "_biases"] }},
{% for name, value in values.items() %}
        .{{ name }} = {{ value }},
{% endfor %}
    },
{% endfor %}
{% for name, value in p.items() %}
    .{{ name }} = {{ value }},
{% endfor %}
};

mcud_lstm_s8(&params, {{ inputs[0] }}, {{ inputs[18] }}, {{ inputs[19] }}, {{ outputs[0] }});
"""

_SVDF_STATE = 4


def _given(graph: Graph, operator: Operator, position: int) -> Tensor:
    tensor = tensor_at(graph, operator, position)
    assert tensor is not None
    return tensor


def _weight_limits(
    graph: Graph, operator: Operator, position: int, dtypes: Sequence[str], what: str
) -> Iterator[str]:
    tensor = tensor_at(graph, operator, position)
    if tensor is None or tensor.data is None or tensor.dtype not in dtypes:
        yield f"its {what} are not constants of {' or '.join(dtypes)}"
    elif tensor.dtype != "int32" and (
        tensor.quantization is None or any(tensor.quantization.zero_points)
    ):
        yield f"its {what} are not symmetric (zero point other than 0)"


def _state_limits(
    graph: Graph, operator: Operator, position: int, dtypes: Sequence[str], elements: int
) -> Iterator[str]:
    tensor = tensor_at(graph, operator, position)
    if tensor is None or not tensor.is_variable or tensor.quantization is None:
        yield f"input {position} is no state"
    elif tensor.dtype not in dtypes or tensor.elements != elements:
        yield f"its state is {tensor}"


@register
class Svdf(OperatorFamily):
    """SVDF with an int16 or int8 state, batch 1."""

    kinds = ("SVDF",)

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from dtype_limits(graph, operator, (0,))
        yield from _weight_limits(graph, operator, 1, ("int8",), "feature weights")
        yield from _weight_limits(graph, operator, 2, ("int16", "int8"), "time weights")
        feature, time = tensor_at(graph, operator, 1), tensor_at(graph, operator, 2)
        source, bias = tensor_at(graph, operator, 0), tensor_at(graph, operator, 3)
        if bias is not None and (bias.data is None or bias.dtype != "int32"):
            yield "its bias is not a constant of int32"
        if feature is None or time is None or source is None:
            return
        rank = operator.attributes["rank"]
        shaped = len(feature.shape) == len(time.shape) == len(source.shape)
        if not shaped or rank < 1 or feature.shape[0] % rank or source.shape[0] != 1:
            yield f"its weights {feature.shape} and {time.shape} do not suit rank {rank}"
            return
        units = feature.shape[0] // rank
        fits = feature.shape[0] == time.shape[0] and feature.shape[1] == source.shape[-1]
        if not fits or output_of(graph, operator).elements != units:
            yield f"its weights {feature.shape} and {time.shape} do not go together"
        if bias is not None and bias.elements != units:
            yield f"its bias has {bias.elements} values for {units} units"
        yield from _state_limits(graph, operator, _SVDF_STATE, (time.dtype,), time.elements)
        if activation_of(operator) != "RELU":
            yield "its activation is not RELU, all that the reference computes in integers"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        source, feature, time = (_given(graph, operator, p) for p in (0, 1, 2))
        state = _given(graph, operator, _SVDF_STATE)
        assert feature.data is not None and time.data is not None
        scales = [quantization_of(t).scale for t in (source, feature, time, state)]
        output = quantization_of(output_of(graph, operator))
        into = float_32(float_32(scales[0] * scales[1]) / scales[3])
        out_of = float_32(float_32(scales[3] * scales[2]) / output.scale)
        state_multiplier, state_shift = quantize_multiplier(into)
        out_multiplier, out_shift = quantize_multiplier(out_of)
        rank = operator.attributes["rank"]
        constants = [
            Constant("feature", as_constant(feature.data, "int8"), "weights"),
            Constant("time", as_constant(time.data, time.dtype), "weights"),
        ]
        bias = constant_at(graph, operator, 3)
        if bias is not None:
            constants.append(Constant("biases", as_constant(bias, "int32"), "biases"))
        return (
            Implementation(
                kernel="mcud_svdf_s8",
                snippet=_SVDF,
                values={
                    "state": "s16" if state.dtype == "int16" else "s8",
                    "p": {
                        "in_c": feature.shape[1], "units": feature.shape[0] // rank,
                        "rank": rank, "memory": time.shape[1],
                        "in_zero_point": quantization_of(source).zero_point,
                        "state_zero_point": quantization_of(state).zero_point,
                        "out_zero_point": output.zero_point,
                        "state_multiplier": state_multiplier, "state_shift": state_shift,
                        "out_multiplier": out_multiplier, "out_shift": out_shift,
                    },
                },
                constants=tuple(constants),
                overlaps=(OverlapRule(input=0, max_distance=0, min_distance=0),),
                sources=("kernels/svdf_s8.c",),
                headers=("svdf_s8.h",),
                work=svdf_work(feature.shape, rank, time.shape[1], state.dtype),
                reason="the only kernel",
            ),
        )  # fmt: skip


_GATES = {"input": 0, "forget": 1, "cell": 2, "output": 3}
_INPUT_WEIGHTS, _HIDDEN_WEIGHTS, _BIASES = 1, 5, 12
_HIDDEN, _CELL = 18, 19
_ABSENT = {
    9: "peephole connections", 10: "peephole connections", 11: "peephole connections",
    16: "a projection", 17: "a projection",
    20: "layer normalization", 21: "layer normalization", 22: "layer normalization",
    23: "layer normalization",
}  # fmt: skip
_GATE_SCALE = 2.0**-12
_NONLINEAR_SCALE = 2.0**-15


@register
class Lstm(OperatorFamily):
    """UNIDIRECTIONAL_SEQUENCE_LSTM in int8 with an int16 cell: no peepholes, projection or norm."""

    kinds = ("UNIDIRECTIONAL_SEQUENCE_LSTM",)
    replacement = "a plain LSTM layer"

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        yield from dtype_limits(graph, operator, (0,))
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        if source is None or len(source.shape) != 3 or len(output.shape) != 3:
            yield "its sequence has not three dimensions"
            return
        for what in {w for p, w in _ABSENT.items() if tensor_at(graph, operator, p) is not None}:
            yield f"it has {what}"
        if activation_of(operator) != "TANH":
            yield f"its activation is {activation_of(operator)}, not TANH"
        units, in_c = output.shape[-1], source.shape[-1]
        if 1 not in source.shape[:2] or source.elements // in_c != output.elements // units:
            yield f"it has more than one batch: {source.shape} to {output.shape}"
        for gate, number in _GATES.items():
            for first, columns in ((_INPUT_WEIGHTS, in_c), (_HIDDEN_WEIGHTS, units)):
                yield from self._shape(graph, operator, first + number, gate, (units, columns))
            yield from self._shape(graph, operator, _BIASES + number, gate, (units,), "int32")
        yield from _state_limits(graph, operator, _HIDDEN, ("int8",), units)
        yield from _state_limits(graph, operator, _CELL, ("int16",), units)
        cell = tensor_at(graph, operator, _CELL)
        if cell is not None and cell.quantization is not None:
            power = math.log2(cell.quantization.scale)
            if power != round(power) or cell.quantization.zero_point:
                yield "its cell state's scale is not a power of two"

    def _shape(
        self, graph: Graph, operator: Operator, position: int, gate: str,
        shape: tuple[int, ...], dtype: str = "int8",
    ) -> Iterator[str]:  # fmt: skip
        what = f"{gate} gate's {'biases' if dtype == 'int32' else 'weights'}"
        yield from _weight_limits(graph, operator, position, (dtype,), what)
        tensor = tensor_at(graph, operator, position)
        if tensor is not None and tensor.shape != shape:
            yield f"its {what} have the shape {tensor.shape}, not {shape}"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        constants, gates = [], {}
        for gate, number in _GATES.items():
            for part, first in (("input", _INPUT_WEIGHTS), ("hidden", _HIDDEN_WEIGHTS)):
                data = constant_at(graph, operator, first + number)
                assert data is not None
                constants.append(Constant(f"{gate}_{part}", as_constant(data, "int8"), "weights"))
            bias = constant_at(graph, operator, _BIASES + number)
            assert bias is not None
            constants.append(Constant(f"{gate}_biases", as_constant(bias, "int32"), "biases"))
            gates[gate] = self._gate(graph, operator, number)
        parameters = self._parameters(graph, operator)
        return (
            Implementation(
                kernel="mcud_lstm_s8",
                snippet=_LSTM,
                values={"gates": gates, "p": parameters},
                constants=tuple(constants),
                sources=("kernels/lstm_s8.c", "cmsis-nn:arm_nn_activation_s16"),
                headers=("lstm_s8.h",),
                work=lstm_work(parameters["steps"], parameters["in_c"], parameters["units"]),
                reason="the only kernel",
            ),
        )

    def _gate(self, graph: Graph, operator: Operator, number: int) -> dict[str, int]:
        found: dict[str, int] = {}
        for part, first, source in (
            ("input", _INPUT_WEIGHTS, 0),
            ("hidden", _HIDDEN_WEIGHTS, _HIDDEN),
        ):
            weights = quantization_of(_given(graph, operator, first + number)).scale
            scale = quantization_of(_given(graph, operator, source)).scale
            real = float_32(scale * weights) / _GATE_SCALE
            found[f"{part}_multiplier"], found[f"{part}_shift"] = quantize_multiplier(real)
        return found

    def _parameters(self, graph: Graph, operator: Operator) -> dict[str, Any]:
        source, hidden, cell = (_given(graph, operator, p) for p in (0, _HIDDEN, _CELL))
        hidden_scale, cell_scale = quantization_of(hidden).scale, quantization_of(cell).scale
        products = {
            "forget": _NONLINEAR_SCALE * cell_scale / cell_scale,
            "update": _NONLINEAR_SCALE * _NONLINEAR_SCALE / cell_scale,
            "hidden": _NONLINEAR_SCALE * _NONLINEAR_SCALE / hidden_scale,
        }
        found: dict[str, Any] = {
            "steps": source.elements // source.shape[-1],
            "in_c": source.shape[-1],
            "units": hidden.elements,
            "in_zero_point": quantization_of(source).zero_point,
            "hidden_zero_point": quantization_of(hidden).zero_point,
            "cell_shift": 12 + round(math.log2(cell_scale)),
            "cell_clip": 0,
        }
        clip = float(operator.attributes.get("cell_clip", 0.0))
        if clip > 0:
            found["cell_clip"] = int(min(max(clip / cell_scale, -32768.0), 32767.0))
        for name, real in products.items():
            found[f"{name}_multiplier"], found[f"{name}_shift"] = quantize_multiplier(real)
        return found
