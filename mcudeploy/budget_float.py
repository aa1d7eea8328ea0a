# SPDX-License-Identifier: Apache-2.0
"""The classic question: what would the network take in float32, its weights in RAM perhaps?

The same graph with four bytes for every element, planned without kernels: no scratch, elementwise
operators in place, one input and one output map at a time otherwise. It answers, it does not build.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from mcudeploy.board import Board
from mcudeploy.budget import FitReport, Part, RegionBudget, operator_rows
from mcudeploy.graph.ir import Graph, Tensor
from mcudeploy.memory.plan import Plan
from mcudeploy.memory.planner import make_plan
from mcudeploy.operators.base import Implementation
from mcudeploy.operators.support import macs
from mcudeploy.operators.view import elementwise_overlap

_ELEMENTWISE_RULE = elementwise_overlap(0)[0]


def float_budget(
    graph: Graph,
    choices: Sequence[Sequence[Implementation]],
    board: Board,
    *,
    name: str,
    weights_in: Literal["flash", "ram"],
    notes: tuple[str, ...] = (),
) -> tuple[Plan, FitReport]:
    """The plan and the verdict of the float32 network; `choices` are those of the int8 one."""
    wide = replace(graph, tensors=tuple(_widened(tensor) for tensor in graph.tensors))
    kernels = tuple((_float_kernel(options[0]),) for options in choices)
    plan = make_plan(wide, kernels, board)
    rows = operator_rows(plan)
    parameters = sum(row.parameters for row in rows)
    weights = Part("weights", 4 * parameters)
    regions = []
    for position, region in enumerate(board.regions("ram")):
        parts = [Part("activations", plan.arenas.get(region.name, 0))]
        if position == 0 and weights_in == "ram":
            parts.append(weights)
        regions.append(RegionBudget(region.name, "ram", region.size, tuple(parts)))
    flash = board.regions("flash")[0]
    flash_parts = (weights,) if weights_in == "flash" else ()
    regions.append(RegionBudget(flash.name, "flash", flash.size, flash_parts))
    report = FitReport(
        model=name,
        board=board,
        dtype="float32",
        regions=tuple(regions),
        operators=rows,
        certificate=plan.certificate,
        macs=sum(macs(graph, operator) for operator in graph.operators),
        parameters=parameters,
        input_bytes=sum(wide.tensors[i].bytes for i in wide.inputs),
        output_bytes=sum(wide.tensors[i].bytes for i in wide.outputs),
        notes=(*notes, "float32 is counted, not built: code, stack and runtime come on top"),
    )
    return plan, report


def _widened(tensor: Tensor) -> Tensor:
    if tensor.dtype not in ("int8", "int16", "int32") or tensor.quantization is None:
        return tensor
    data = None
    if tensor.data is not None:
        # Only the size matters: one zero, seen as an array of the tensor's shape.
        data = np.broadcast_to(np.zeros((), np.float32), tensor.shape)
    return replace(tensor, dtype="float32", data=data)


def _float_kernel(chosen: Implementation) -> Implementation:
    """The int8 kernel's promise to work in place, where it holds for elements of any size."""
    in_place = tuple(
        rule for rule in chosen.overlaps if rule.min_distance == 0 or rule == _ELEMENTWISE_RULE
    )
    return Implementation(
        kernel="float32" if chosen.snippet else "none", snippet=chosen.snippet, overlaps=in_place
    )
