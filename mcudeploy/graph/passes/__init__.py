# SPDX-License-Identifier: Apache-2.0
"""Rewrites of a network that keep every bit of its outputs, one a file.

A pass is a module with a `NAME` and `apply(graph) -> graph`; it returns the very graph that it was
given when there is nothing to do. Tensors keep their indices and their `source`, so the golden
reference can still be asked for every value that is left.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection
from types import ModuleType

from mcudeploy.errors import InputError
from mcudeploy.graph.ir import Graph
from mcudeploy.graph.passes import (
    drop_dead,
    drop_identities,
    fold_constants,
    fold_dilation,
    fold_pad,
    fuse_activations,
    fuse_tables,
    join_shuffles,
    part_splits,
    place_parts,
    roll_steps,
    tabulate_constants,
)

_log = logging.getLogger(__name__)

PASSES: tuple[ModuleType, ...] = (
    fold_constants,
    drop_identities,
    fold_dilation,
    fold_pad,
    join_shuffles,
    part_splits,
    fuse_activations,
    tabulate_constants,
    fuse_tables,
    roll_steps,
    drop_dead,
    place_parts,
)
"""In the order in which they run."""


def pass_names() -> tuple[str, ...]:
    return tuple(one.NAME for one in PASSES)


def run_passes(graph: Graph, disabled: Collection[str] = ()) -> Graph:
    """All passes but the `disabled` ones, each once. Raises InputError for a name unknown."""
    for name in disabled:
        if name not in pass_names():
            near = difflib.get_close_matches(name, pass_names(), 1)
            raise InputError(
                f"there is no pass {name!r}",
                where="--disable-pass",
                mend=f"did you mean {near[0]}?" if near else f"one of {', '.join(pass_names())}",
            )
    for one in PASSES:
        if one.NAME in disabled:
            continue
        after: Graph = one.apply(graph)
        if after is not graph:
            _log.debug("after %s:\n%s", one.NAME, after)
        graph = after
    return graph
