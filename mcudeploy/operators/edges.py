# SPDX-License-Identifier: Apache-2.0
"""QUANTIZE and DEQUANTIZE where a network meets the world in float32, uint8 or int16.

Between 8-bit types every conversion is a table of 256 bytes; the others are loops.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from mcudeploy.graph.ir import Graph, Operator, Quantization, Tensor
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
from mcudeploy.operators.fixed_point import multiply_by_quantized
from mcudeploy.operators.shapes import quantize_multiplier
from mcudeploy.operators.view import elementwise_overlap, output_of, quantization_of, tensor_at
from mcudeploy.operators.work import elements_work

_DEQUANTIZE = """
{{ function }}({{ inputs[0] }}, {{ outputs[0] }}, {{ elements }}, {{ scale }}, {{ zero_point }});
"""

_QUANTIZE = """
static const mcud_affine_t to = {
    .scale = {{ scale }}, .zero_point = {{ zero_point }}, .low = {{ low }}, .high = {{ high }},
};

{{ function }}({{ inputs[0] }}, {{ outputs[0] }}, {{ elements }}, &to);
"""

_RESCALE = """
static const mcud_rescale_t rescale = {
    .in_zero_point = {{ in_zero_point }}, .out_zero_point = {{ out_zero_point }},
    .multiplier = {{ multiplier }}, .shift = {{ shift }},
};

{{ function }}({{ inputs[0] }}, {{ outputs[0] }}, {{ elements }}, &rescale);
"""

_TABLE = """
mcud_table_s8((const int8_t *){{ inputs[0] }}, (int8_t *){{ outputs[0] }}, {{ elements }}, {{ constants.table }});
"""  # noqa: E501

_BYTES = ("int8", "uint8")
_SHORT = {"int8": "s8", "uint8": "u8", "int16": "s16"}
_RESCALES = {("int16", "int8"), ("int8", "int16")}


def _float_literal(value: float) -> str:
    text = repr(float_32(value))
    return (text if any(c in text for c in ".en") else f"{text}.0") + "f"


def _loop(
    kernel: str, snippet: str, elements: int, rule: OverlapRule, **values: object
) -> Implementation:
    return Implementation(
        kernel=kernel,
        snippet=snippet,
        values={"function": kernel, "elements": elements, **values},
        overlaps=(rule,),
        sources=("kernels/edges.c",),
        headers=("edges.h",),
        work=elements_work(elements),
        reason="the only kernel",
    )


@register
class Dequantize(OperatorFamily):
    """DEQUANTIZE of int8, uint8 or int16 to float32."""

    kinds = ("DEQUANTIZE",)

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        source = tensor_at(graph, operator, 0)
        if source is None or source.dtype not in _SHORT or source.quantization is None:
            yield "it does not dequantize int8, uint8 or int16"
        elif source.is_constant or source.quantization.per_channel:
            yield "it dequantizes a constant or per channel"
        if output_of(graph, operator).dtype != "float32":
            yield "its output is not float32"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        source = tensor_at(graph, operator, 0)
        assert source is not None
        quantization = quantization_of(source)
        return (
            # From the last element to the first, so that it may widen in place.
            _loop(
                f"mcud_dequantize_{_SHORT[source.dtype]}_f32",
                _DEQUANTIZE,
                source.elements,
                OverlapRule(input=0, min_distance=0),
                scale=_float_literal(quantization.scale),
                zero_point=quantization.zero_point,
            ),
        )


def quantize_edge_limits(graph: Graph, operator: Operator) -> Iterator[str]:
    """Limits of a QUANTIZE that is not from int8 to int8."""
    source, target = tensor_at(graph, operator, 0), output_of(graph, operator)
    if source is None:
        yield "its input is missing"
        return
    pair = source.dtype, target.dtype
    known = (
        (source.dtype == "float32" and target.dtype in _SHORT)
        or all(dtype in _BYTES for dtype in pair)
        or pair in _RESCALES
    )
    if not known:
        yield f"it quantizes {source.dtype} to {target.dtype}"
    elif target.quantization is None or target.quantization.per_channel:
        yield "its output has not one scale"
    elif source.dtype != "float32" and source.quantization is None:
        yield "its input has no scale"


def quantize_edge(graph: Graph, operator: Operator) -> Implementation:
    """QUANTIZE of float32, uint8 or int16 to int8, or of int8 to uint8 or int16."""
    source, target = tensor_at(graph, operator, 0), output_of(graph, operator)
    assert source is not None
    if source.dtype == "float32":
        return _from_float(target)
    first, last = quantization_of(source), quantization_of(target)
    if source.dtype in _BYTES and target.dtype in _BYTES:
        table = rescaling_table(first, source.dtype, last, target.dtype)
        return Implementation(
            kernel="mcud_table_s8",
            snippet=_TABLE,
            values={"elements": source.elements},
            constants=(Constant("table", as_constant(table, "int8"), "tables"),),
            overlaps=elementwise_overlap(0),
            sources=("kernels/table_s8.c",),
            headers=("table_s8.h",),
            work=elements_work(source.elements),
            reason="one look-up an element",
        )
    widens = target.dtype == "int16"
    multiplier, shift = quantize_multiplier(first.scale / last.scale)
    return _loop(
        f"mcud_rescale_{_SHORT[source.dtype]}_{_SHORT[target.dtype]}",
        _RESCALE,
        source.elements,
        OverlapRule(0, min_distance=0) if widens else OverlapRule(0, max_distance=0),
        in_zero_point=first.zero_point,
        out_zero_point=last.zero_point,
        multiplier=multiplier,
        shift=shift,
    )


def _from_float(target: Tensor) -> Implementation:
    quantization, limits = quantization_of(target), np.iinfo(target.dtype)
    return _loop(
        f"mcud_quantize_f32_{limits.bits}",
        _QUANTIZE,
        target.elements,
        OverlapRule(input=0, max_distance=0),
        scale=_float_literal(quantization.scale),
        zero_point=quantization.zero_point,
        low=limits.min,
        high=limits.max,
    )


def rescaling_table(
    source: Quantization, source_dtype: str, target: Quantization, target_dtype: str
) -> npt.NDArray[np.int8]:
    """The stored output of each stored input, both as bits: TFLite's Requantize."""
    bits = np.arange(256, dtype=np.uint8)
    values = bits.view(source_dtype).astype(np.int64) - source.zero_point
    multiplier, shift = quantize_multiplier(source.scale / target.scale)
    scaled = multiply_by_quantized(values, multiplier, shift) + target.zero_point
    limits = np.iinfo(target_dtype)
    return np.clip(scaled, limits.min, limits.max).astype(target_dtype).view(np.int8)
