# SPDX-License-Identifier: Apache-2.0
"""Which operators of a network can be deployed, and which kernels could compute each."""

from __future__ import annotations

from mcudeploy.errors import UnsupportedModelError
from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.base import Implementation, OperatorFamily, Target, family_of, known_kinds
from mcudeploy.operators.costs import fastest_first


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
    if refusals:
        known = ", ".join(known_kinds())
        mend = "; ".join(replacements) or "express it with the operators that are supported"
        raise UnsupportedModelError(
            f"{len(refusals)} of {len(graph.operators)} operators of {graph.name} cannot be "
            "deployed:\n" + "\n".join(f"  - {line}" for line in refusals),
            mend=f"{mend}. Supported: {known}",
        )


def candidates(graph: Graph, target: Target) -> tuple[tuple[Implementation, ...], ...]:
    """For each operator the kernels that could compute it, the fastest first."""
    return tuple(
        fastest_first(family(operator).implementations(graph, operator, target), target.core)
        for operator in graph.operators
    )
