# SPDX-License-Identifier: Apache-2.0
"""RESHAPE and its relatives: the same bytes under another shape, nothing to compute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.base import (
    SAME_BYTES,
    Constant,
    Implementation,
    OperatorFamily,
    Target,
    as_constant,
    register,
)
from mcudeploy.operators.view import output_of, tensor_at

_COPY = """
memcpy({{ outputs[0] }}, {{ constants.data }}, {{ bytes }});
"""


@register
class Reshape(OperatorFamily):
    """RESHAPE, SQUEEZE and EXPAND_DIMS."""

    kinds = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")

    def limits(self, graph: Graph, operator: Operator) -> Iterator[str]:
        source = tensor_at(graph, operator, 0)
        if source is not None and source.bytes != output_of(graph, operator).bytes:
            yield "its output does not have its input's size"

    def implementations(
        self, graph: Graph, operator: Operator, target: Target
    ) -> Sequence[Implementation]:
        source = tensor_at(graph, operator, 0)
        assert source is not None
        if source.data is not None:
            return (
                Implementation(
                    kernel="memcpy",
                    snippet=_COPY,
                    values={"bytes": source.bytes},
                    work={"call": 1, "long aligned words": source.bytes / 4},
                    constants=(
                        Constant("data", as_constant(source.data, source.dtype), "weights"),
                    ),
                    reason="a constant",
                ),
            )
        return (SAME_BYTES,)
