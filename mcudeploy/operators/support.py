# SPDX-License-Identifier: Apache-2.0
"""Which operators of a network can be deployed, and which kernels could compute each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mcudeploy.errors import UnsupportedModelError
from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.base import Implementation, OperatorFamily, Target, family_of, known_kinds
from mcudeploy.operators.costs import fastest_first

_EDGE_DTYPES = ("int8", "uint8", "int16", "int32", "float32")
_EDGE_RANK = 5


def family(operator: Operator) -> OperatorFamily:
    """The family of an operator that `check_operators` has accepted."""
    found = family_of(operator.kind)
    assert found is not None
    return found


def macs(graph: Graph, operator: Operator) -> int:
    return family(operator).macs(graph, operator)


def check_operators(graph: Graph) -> None:
    """Refuses a network with all its operators that cannot be deployed, each with its reasons."""
    refusals = []
    replacements: dict[str, None] = {}
    for operator in graph.operators:
        found = family_of(operator.kind)
        if found is None:
            refusals.append(f"{graph.describe(operator)}: there is no kernel for {operator.kind}")
            continue
        reasons = tuple(found.limits(graph, operator))
        if reasons:
            refusals.append(f"{graph.describe(operator)}: {'; '.join(reasons)}")
            if found.replacement:
                replacements[f"{operator.kind} wants {found.replacement}"] = None
    edges = _edge_refusals(graph)
    if refusals or edges:
        counted = f"{len(refusals)} of {len(graph.operators)} operators"
        what = " and ".join(
            part for part in (refusals and counted, edges and f"{len(edges)} edges") if part
        )
        known = ", ".join(known_kinds())
        mend = "; ".join(replacements) or "express it with the operators that are supported"
        raise UnsupportedModelError(
            f"{what} of {graph.name} cannot be deployed:\n"
            + "\n".join(f"  - {line}" for line in (*refusals, *edges)),
            mend=f"{mend}. Supported: {known}",
        )


def row_candidates(graph: Graph, target: Target) -> tuple[tuple[Implementation, ...], ...]:
    """For each operator the kernels that could compute it row by row, the fastest first.

    Instructions are those of all rows.
    """
    return tuple(
        tuple(
            _of_all_rows(graph, operator, one)
            for one in fastest_first(
                family(operator).row_implementations(graph, operator, target), target.core
            )
        )
        for operator in graph.operators
    )


def _of_all_rows(graph: Graph, operator: Operator, form: Implementation) -> Implementation:
    known, cycles = form.instructions, form.cycles
    if known is None or form.rows is None or not form.rows.flat or form.rows.accumulates:
        return form
    height = graph.tensors[operator.outputs[0]].shape[1]
    return replace(
        form,
        instructions=known * height,
        cycles=None if cycles is None else cycles * height,
    )


def _edge_refusals(graph: Graph) -> list[str]:
    """Inputs and outputs that the generated interface cannot describe."""
    refusals = []
    for index in (*graph.inputs, *graph.outputs):
        tensor = graph.tensors[index]
        if tensor.dtype not in _EDGE_DTYPES:
            refusals.append(f"{tensor}: an input or output cannot be {tensor.dtype}")
        elif len(tensor.shape) > _EDGE_RANK:
            refusals.append(f"{tensor}: an input or output has at most {_EDGE_RANK} dimensions")
    return refusals


def candidates(graph: Graph, target: Target) -> tuple[tuple[Implementation, ...], ...]:
    """For each operator the kernels that could compute it, the fastest first."""
    return tuple(
        fastest_first(family(operator).implementations(graph, operator, target), target.core)
        for operator in graph.operators
    )


def fastest_alone(
    choices: Sequence[Sequence[Implementation]],
) -> tuple[tuple[Implementation, ...], ...]:
    """Of each operator the fastest kernel; with what may take its place where it is a view.

    One that works in place binds two buffers together: that saves memory, not time.
    """
    free = [[one for one in offered if not one.is_in_place] for offered in choices]
    return tuple(
        tuple(offered) if offered[0].placed or not offered[0].snippet else (offered[0],)
        for offered in free
    )
