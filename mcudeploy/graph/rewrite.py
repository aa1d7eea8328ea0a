# SPDX-License-Identifier: Apache-2.0
"""What rewrites of a graph have in common: a draft with tensors and operators as lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from mcudeploy.graph.ir import Graph, Operator, Tensor


class Draft:
    """A graph while it is rewritten; `graph` gives the result, the original if nothing changed."""

    def __init__(self, graph: Graph) -> None:
        self.tensors: list[Tensor] = list(graph.tensors)
        self.operators: list[Operator] = list(graph.operators)
        self.outputs = graph.outputs
        self._graph = graph
        self._stale = False
        self._readers: dict[int, list[Operator]] | None = None

    @property
    def graph(self) -> Graph:
        if self._stale:
            self._graph = replace(
                self._graph, tensors=tuple(self.tensors), operators=tuple(self.operators)
            )
            self._stale = False
        return self._graph

    def producer(self, tensor: int) -> Operator | None:
        """The operator that writes a tensor; None for inputs, constants and state."""
        return next((o for o in self.operators if tensor in o.outputs), None)

    def consumers(self, tensor: int) -> list[Operator]:
        if self._readers is None:
            self._readers = {}
            for operator in self.operators:
                for index in dict.fromkeys(operator.inputs):
                    self._readers.setdefault(index, []).append(operator)
        return list(self._readers.get(tensor, ()))

    def only_consumer(self, tensor: int) -> Operator | None:
        """The one operator that reads a tensor that is no output of the graph, else None."""
        found = self.consumers(tensor)
        return found[0] if len(found) == 1 and tensor not in self.outputs else None

    def add_tensor(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        self._stale = True
        return len(self.tensors) - 1

    def set_tensor(self, index: int, tensor: Tensor) -> None:
        self.tensors[index] = tensor
        self._stale = True

    def swap(self, old: Operator, *new: Operator) -> None:
        """Put operators (or none) where one stands."""
        at = self.operators.index(old)
        self.operators[at : at + 1] = new
        self._stale, self._readers = True, None

    def read_instead(self, old: int, new: int) -> None:
        """Everything that reads `old` reads `new`."""
        for operator in self.consumers(old):
            inputs = tuple(new if i == old else i for i in operator.inputs)
            self.swap(operator, replace(operator, inputs=inputs))


def with_attributes(operator: Operator, **changed: Any) -> Mapping[str, Any]:
    """The attributes of an operator with some added or replaced."""
    return MappingProxyType({**operator.attributes, **changed})
