# SPDX-License-Identifier: Apache-2.0
"""GATHER along any axis, its indices constant or computed; an embedding is a GATHER of rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mcudeploy.graph.ir import DTYPE_BYTES, Graph, Operator, Tensor
from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OperatorFamily,
    Target,
    as_constant,
    register,
)
from mcudeploy.operators.box_copy import (
    LONGEST_SHORT_RUN,
    column_code_bytes,
    column_work,
    copies_columns,
    straight_runs,
    straight_work,
)
from mcudeploy.operators.code_size import CALL_BYTES
from mcudeploy.operators.view import output_of, scale_limits, tensor_at

_CALL = """
{% if blocks > 1 %}
for (int32_t i = 0; i < {{ blocks }}; i++)
{% endif %}
{{ "    " if blocks > 1 }}{{ function }}((const int8_t *){{ source }}{{ " + i * %d" % (size * run) if blocks > 1 }}, (int8_t *){{ outputs[0] }}{{ " + i * %d" % (count * run) if blocks > 1 }}, {{ indices }}{{ " + i / %d * %d" % (outer, count) if batches > 1 }}, {{ count }}, {{ run }}{{ ", %d" % size if computed }});
"""  # noqa: E501

_COLUMNS = """
for (int32_t i = 0; i < {{ count }}; i++) {
    mcud_copy_column((const int8_t *){{ source }} + {{ indices }}[i],
        (int8_t *){{ outputs[0] }} + i * {{ run }}, {{ blocks }}, {{ size * run }},
        {{ count * run }}, {{ run }});
}
"""
_STRAIGHT = """
for (int32_t i = 0; i < {{ outer }}; i++) {
    const int8_t *const from = (const int8_t *){{ source }} + i * {{ size * run }};
    int8_t *const to = (int8_t *){{ outputs[0] }} + i * {{ count * run }};
{% for offset in offsets %}
    mcud_copy_column(from + {{ offset }}, to + {{ loop.index0 * run }}, 1, 0, 0, {{ run }});
{% endfor %}
}
"""
_FEW_BLOCKS = 4


def gather_work(calls: int, count: int, run: int) -> dict[str, float]:
    """The work of `calls` calls of mcud_gather_runs or mcud_gather_indices."""
    work: dict[str, float] = {"call": 1, "gather": calls}
    runs = calls * count
    if run == 1:
        eights = count // 8
        return {**work, "eight bytes": calls * eights, "byte": calls * (count % 8)}
    if run <= LONGEST_SHORT_RUN:
        kind = f"{run} bytes" if run <= 4 else f"{-(-run // 4)} words"
        return {**work, f"run of {kind}": runs}
    return {**work, "long run": runs, "words": runs * (run // 4), "rest": runs * (run % 4)}


def gather_axis(operator: Operator, table: Tensor) -> int:
    return int(operator.attributes.get("axis", 0)) % max(len(table.shape), 1)


def _batch_dims(operator: Operator, indices: Tensor) -> int:
    batch = int(operator.attributes.get("batch_dims", 0))
    return batch + len(indices.shape) if batch < 0 else batch


@register
class Gather(OperatorFamily):
    """GATHER with int32 indices. Computed indices beyond the axis are clamped to it.

    With batch dimensions the first dimensions of table and indices are walked together.
    """

    kinds = ("GATHER",)
    replacement = "int32 indices"

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        table, indices = tensor_at(graph, operator, 0), tensor_at(graph, operator, 1)
        output = output_of(graph, operator)
        if table is None or indices is None:
            yield "an input is missing"
            return
        yield from scale_limits(graph, operator, 0)
        if table.dtype != output.dtype:
            yield f"it gathers {table.dtype} into {output.dtype}"
        if indices.dtype != "int32":
            yield f"its indices are {indices.dtype}, not int32"
        axis, batch = gather_axis(operator, table), _batch_dims(operator, indices)
        if (
            not table.shape
            or batch > axis
            or table.shape[:batch] != indices.shape[:batch]
            or output.shape
            != (*table.shape[:axis], *indices.shape[batch:], *table.shape[axis + 1 :])
        ):
            yield f"its indices do not lead from {table.shape} to {output.shape}"
        elif (
            indices.data is not None
            and indices.data.size
            and not (indices.data.min() >= 0 and indices.data.max() < table.shape[axis])
        ):
            yield f"its indices are not inside {table.shape[axis]}"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        table, indices = tensor_at(graph, operator, 0), tensor_at(graph, operator, 1)
        assert table is not None and indices is not None
        axis, batch = gather_axis(operator, table), _batch_dims(operator, indices)
        outer, batches = math.prod(table.shape[batch:axis]), math.prod(table.shape[:batch])
        run = math.prod(table.shape[axis + 1 :]) * DTYPE_BYTES[table.dtype]
        values: dict[str, Any] = {
            "blocks": batches * outer, "batches": batches, "outer": outer,
            "size": table.shape[axis], "count": indices.elements // batches, "run": run,
        }  # fmt: skip
        constants = []
        source, places = "{{ inputs[0] }}", "{{ inputs[1] }}"
        if table.data is not None:
            constants.append(Constant("table", as_constant(table.data, table.dtype), "weights"))
            source = "{{ constants.table }}"
        one = _computed(values)
        if indices.data is not None:
            offsets = as_constant(indices.data.astype(np.int64) * run, "int32")
            one = _constant(values, offsets, target)
            places = "{{ constants.offsets }}"
        snippet = one.snippet.replace("{{ source }}", source).replace("{{ indices }}", places)
        return (replace(one, snippet=snippet, constants=(*constants, *one.constants)),)


def _computed(values: dict[str, Any]) -> Implementation:
    """Each index becomes an offset while the network runs."""
    return Implementation(
        kernel="mcud_gather_indices",
        snippet=_CALL,
        values={**values, "function": "mcud_gather_indices", "computed": True},
        sources=("kernels/gather.c",),
        headers=("gather.h",),
        work=gather_work(values["blocks"], values["count"], values["run"]),
        reason="the only kernel",
    )


def _constant(
    values: dict[str, Any], offsets: npt.NDArray[np.int32], target: Target
) -> Implementation:
    """Few bytes at a time: one by one where there are few indices, else index by index."""
    outer, count, run = values["outer"], values["count"], values["run"]
    one = replace(
        _computed(values),
        kernel="mcud_gather_runs",
        values={**values, "function": "mcud_gather_runs", "computed": False},
        constants=(Constant("offsets", offsets, "tables"),),
    )
    straight = straight_runs(count, run, target)
    if values["batches"] > 1 or not (straight or copies_columns(run, target)):
        return one
    short = replace(
        one, kernel="mcud_copy_box", sources=("kernels/copy_column.h",), headers=("copy_column.h",)
    )
    by_index = copies_columns(run, target) and outer >= _FEW_BLOCKS
    if by_index and (outer >= count or not straight):
        steps = (outer, values["size"] * run, count * run)
        return replace(
            short,
            snippet=_COLUMNS,
            work=column_work(count, steps, run),
            code_bytes=CALL_BYTES + column_code_bytes(outer, run),
        )
    if not straight:
        return one
    return replace(
        short,
        snippet=_STRAIGHT,
        values={**values, "offsets": offsets.ravel().tolist()},
        constants=(),
        work=straight_work(outer, count, run),
        code_bytes=CALL_BYTES + count * column_code_bytes(1, run),
    )
