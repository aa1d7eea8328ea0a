# SPDX-License-Identifier: Apache-2.0
"""GATHER along any axis, its indices constant or computed; an embedding is a GATHER of rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from mcudeploy.graph.ir import DTYPE_BYTES, Graph, Operator, Tensor
from mcudeploy.operators.base import (
    Constant,
    Implementation,
    OperatorFamily,
    Target,
    as_constant,
    register,
)
from mcudeploy.operators.view import output_of, scale_limits, tensor_at

_CALL = """
{% if blocks > 1 %}
for (int32_t i = 0; i < {{ blocks }}; i++)
{% endif %}
{{ "    " if blocks > 1 }}{{ function }}((const int8_t *){{ source }}{{ " + i * %d" % (size * run) if blocks > 1 }}, (int8_t *){{ outputs[0] }}{{ " + i * %d" % (count * run) if blocks > 1 }}, {{ indices }}{{ " + i / %d * %d" % (outer, count) if batches > 1 }}, {{ count }}, {{ run }}{{ ", %d" % size if computed }});
"""  # noqa: E501


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
        constants = []
        texts = {"source": "{{ inputs[0] }}", "indices": "{{ inputs[1] }}"}
        if table.data is not None:
            constants.append(Constant("table", as_constant(table.data, table.dtype), "weights"))
            texts["source"] = "{{ constants.table }}"
        if indices.data is not None:
            offsets = indices.data.astype(np.int64) * run
            constants.append(Constant("offsets", as_constant(offsets, "int32"), "tables"))
            texts["indices"] = "{{ constants.offsets }}"
        computed = indices.data is None
        function = "mcud_gather_indices" if computed else "mcud_gather_runs"
        snippet = _CALL
        for name, text in texts.items():
            snippet = snippet.replace(f"{{{{ {name} }}}}", text)
        return (
            Implementation(
                kernel=function,
                snippet=snippet,
                values={
                    "function": function,
                    "blocks": batches * outer,
                    "batches": batches,
                    "outer": outer,
                    "size": table.shape[axis],
                    "count": indices.elements // batches,
                    "run": run,
                    "computed": computed,
                },
                constants=tuple(constants),
                sources=("kernels/gather.c",),
                headers=("gather.h",),
                reason="the only kernel",
            ),
        )
