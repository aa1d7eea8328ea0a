# SPDX-License-Identifier: Apache-2.0
"""RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR: which input rows and columns an output is made of.

The positions are computed here, as TFLite's reference computes them (nearest in single precision,
bilinear in integers with 10 fraction bits), and go to flash as tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mcudeploy.graph.ir import DTYPE_BYTES, Graph, Operator
from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OperatorFamily,
    RowForm,
    RowWindow,
    Target,
    as_constant,
    register,
)
from mcudeploy.operators.box_copy import column_code_bytes, straight_runs, straight_work
from mcudeploy.operators.boxes import constant_argument
from mcudeploy.operators.code_size import CALL_BYTES
from mcudeploy.operators.gathering import gather_work
from mcudeploy.operators.view import output_of, scale_limits, tensor_at

Int64Array = npt.NDArray[np.int64]

_ONE = 1 << 10

_NEAREST = """
for (int32_t y = 0; y < {{ out_h }}; y++) {
    int8_t *const row = (int8_t *){{ outputs[0] }} + y * {{ row_bytes }};
{% if repeats %}
    if (y > 0 && {{ constants.rows }}[y] == {{ constants.rows }}[y - 1]) {
        memcpy(row, row - {{ row_bytes }}, {{ row_bytes }});
        continue;
    }
{% endif %}
{% if straight %}
    const int8_t *const from = (const int8_t *){{ inputs[0] }} + {{ constants.rows }}[y];
{% for column in straight %}
    mcud_copy_column(from + {{ column }}, row + {{ loop.index0 * run }}, 1, 0, 0, {{ run }});
{% endfor %}
{% else %}
    mcud_gather_runs((const int8_t *){{ inputs[0] }} + {{ constants.rows }}[y], row,
        {{ constants.columns }}, {{ out_w }}, {{ run }});
{% endif %}
}
"""

_NEAREST_ROW = """
const int32_t from = {{ constants.rows }}[{{ row_begin }}] / {{ in_w * run }} % {{ in_ring }};

mcud_gather_runs((const int8_t *){{ inputs[0] }} + from * {{ in_w * run }},
    (int8_t *){{ outputs[0] }} + {{ row_begin }} % {{ out_ring }} * {{ row_bytes }},
    {{ constants.columns }}, {{ out_w }}, {{ run }});
"""

_BILINEAR = """
static const mcud_resize_bilinear_s8_t params = {
    .rows = {{ constants.rows }}, .columns = {{ constants.columns }},
    .out_w = {{ out_w }}, .channels = {{ channels }},
};
const mcud_map in = { {{ inputs[0] }}, {{ in_w * channels }}, {{ in_ring | default(in_h) }} };
const mcud_map out = { {{ outputs[0] }}, {{ out_w * channels }}, {{ out_ring | default(out_h) }} };

mcud_resize_bilinear_s8(&params, in, out, {{ row_begin | default(0) }},
    {{ row_end | default(out_h) }});
"""


def nearest_positions(
    size: int, out_size: int, align_corners: bool, half_pixel_centers: bool
) -> npt.NDArray[np.int64]:
    """The input position of each output position, as TFLite's GetNearestNeighbor."""
    aligned = align_corners and out_size > 1
    scale = np.float32(size - 1 if aligned else size) / np.float32(
        out_size - 1 if aligned else out_size
    )
    offset = np.float32(0.5) if half_pixel_centers else np.float32(0)
    scaled = (np.arange(out_size).astype(np.float32) + offset) * scale
    # roundf is half away from zero; positions are not negative.
    found = np.floor(scaled + np.float32(0.5)) if align_corners else np.floor(scaled)
    clipped: npt.NDArray[np.int64] = np.clip(found.astype(np.int64), 0, size - 1)
    return clipped


def bilinear_positions(
    size: int, out_size: int, align_corners: bool, half_pixel_centers: bool
) -> npt.NDArray[np.int64]:
    """(low, high, share of high in 1024ths) of each output position, shape (out_size, 3)."""
    scale = (_ONE * size + out_size // 2) // out_size
    if align_corners and out_size > 1:
        scale = (_ONE * (size - 1) + (out_size - 1) // 2) // (out_size - 1)
    at = np.arange(out_size, dtype=np.int64) * scale
    if half_pixel_centers:
        at += scale // 2 - _ONE // 2
    low = np.maximum(np.where(at >= 0, at, 0) // _ONE, 0)
    above = at + _ONE - 1
    high = np.minimum(np.where(above >= 0, above // _ONE, -(-above // _ONE)), size - 1)
    return np.stack((low, high, at - low * _ONE), axis=1)


def _row_window(low: Int64Array, high: Int64Array, in_h: int) -> RowWindow:
    """What output rows read, from `low` to `high` of each, as steps of a common measure."""
    common = math.gcd(in_h, len(low))
    stride, up = in_h // common, len(low) // common
    first = np.arange(len(low)) * stride // up
    pad = max(0, int((first - low).max()))
    return RowWindow(0, int((high - first).max()) + pad + 1, stride, pad=pad, up=up)


def _different(rows: npt.NDArray[Any]) -> int:
    return len(set(rows.tolist()))


@register
class Resize(OperatorFamily):
    """Both resizings of an NHWC map with batch 1."""

    kinds = ("RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR")

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        if source is None or source.dtype != output.dtype:
            yield "its input and output are not of one type"
            return
        yield from scale_limits(graph, operator, 0)
        yield from constant_argument(graph, operator, 1, "sizes")
        if operator.kind == "RESIZE_BILINEAR" and source.dtype != "int8":
            yield f"its input is {source.dtype}, not int8"
        outer = (source.shape[:1], source.shape[3:])
        if len(source.shape) != 4 or outer != (output.shape[:1], output.shape[3:]):
            yield f"it resizes {source.shape} to {output.shape}"
        elif source.shape[0] != 1:
            yield f"its input has batch {source.shape[0]}, not 1"
        if operator.attributes.get("align_corners") and operator.attributes.get(
            "half_pixel_centers"
        ):
            yield "it aligns corners and pixel centers at once"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        one = self._from_tables(graph, operator)
        run, out_w = one.values["run"], one.values["out_w"]
        if operator.kind == "RESIZE_BILINEAR" or not straight_runs(out_w, run, target):
            return (one,)
        rows, columns = one.constants
        repeated = {"repeated": one.work["repeated"]}
        straight = replace(
            one,
            kernel="mcud_copy_box",
            values={**one.values, "straight": columns.data.tolist()},
            constants=(rows,),
            sources=("kernels/copy_column.h",),
            headers=("copy_column.h",),
            work=straight_work(_different(rows.data), out_w, run) | repeated,
            code_bytes=CALL_BYTES + out_w * column_code_bytes(1, run),
        )
        return (straight,)

    def _from_tables(self, graph: Graph, operator: Operator) -> Implementation:
        """The kernel that finds rows and columns in tables."""
        source, output = tensor_at(graph, operator, 0), output_of(graph, operator)
        assert source is not None
        _, in_h, in_w, channels = source.shape
        _, out_h, out_w, _ = output.shape
        nearest = operator.kind == "RESIZE_NEAREST_NEIGHBOR"
        positions = nearest_positions if nearest else bilinear_positions
        flags = (
            bool(operator.attributes.get("align_corners")),
            bool(operator.attributes.get("half_pixel_centers")),
        )
        rows, columns = positions(in_h, out_h, *flags), positions(in_w, out_w, *flags)
        run = channels * DTYPE_BYTES[source.dtype]
        work: dict[str, float] = {}
        made = _different(rows) if nearest else out_h
        if nearest:
            work = {**gather_work(made, out_w, run), "repeated": (out_h - made) * out_w * run}
            rows, columns = rows * (in_w * run), columns * run
        file = "gather" if nearest else "resize_bilinear_s8"
        return Implementation(
            kernel="mcud_gather_runs" if nearest else "mcud_resize_bilinear_s8",
            snippet=_NEAREST if nearest else _BILINEAR,
            values={
                "in_h": in_h, "in_w": in_w, "out_h": out_h, "out_w": out_w,
                "channels": channels, "run": run, "row_bytes": out_w * run,
                "repeats": made < out_h, "straight": [],
            },
            constants=(
                Constant("rows", as_constant(rows, "int32"), "tables"),
                Constant("columns", as_constant(columns, "int32"), "tables"),
            ),
            sources=(f"kernels/{file}.c",),
            headers=(f"{file}.h",),
            work=work,
            reason="the only kernel",
        )  # fmt: skip

    def row_implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        source = tensor_at(graph, operator, 0)
        assert source is not None
        whole = self._from_tables(graph, operator)
        table = whole.constants[0].data
        if operator.kind == "RESIZE_NEAREST_NEIGHBOR":
            rows = table // (source.bytes // source.shape[1])
            whole = replace(whole, snippet=_NEAREST_ROW)
            window = _row_window(rows, rows, source.shape[1])
        else:
            window = _row_window(table[:, 0], table[:, 1], source.shape[1])
        return (replace(whole, rows=RowForm((window,))),)
