# SPDX-License-Identifier: Apache-2.0
"""Rewrites of a graph that preserve every bit: one a file, run in the order of `PASSES`."""

from __future__ import annotations

from collections.abc import Callable, Collection

from mcudeploy.graph.ir import Graph

PASSES: tuple[tuple[str, Callable[[Graph], Graph]], ...] = ()


def run_passes(graph: Graph, disabled: Collection[str] = ()) -> Graph:
    """The graph after every rewrite whose name is not in `disabled`."""
    for name, apply in PASSES:
        if name not in disabled:
            graph = apply(graph)
    return graph
