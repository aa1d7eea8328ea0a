# SPDX-License-Identifier: Apache-2.0
"""What each section of the HTML report shows, as values for its template.

Numbers are turned into shares and texts here; templates only lay them out.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from mcudeploy.api import Built, Deployed, Tested
from mcudeploy.budget import OperatorRow, RegionBudget
from mcudeploy.codegen.output import sha256
from mcudeploy.deployment import Deployment
from mcudeploy.report.drawings import network_picture, plan_pictures
from mcudeploy.report.terminal import shape_text

Values = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """What an emulator counted, by operator; empty before a test. `differs` is the first operator
    whose bits are not golden's."""

    instructions: tuple[int, ...] = ()
    differs: int | None = None

    def of(self, row: OperatorRow) -> float | None:
        """Instructions of an operator: counted, else predicted, else unknown."""
        return self.instructions[row.index] if self.instructions else row.instructions


def measured(tested: Tested | None) -> Measured:
    """The counts of the first emulator that ran, and the first difference that any found."""
    if tested is None or not tested.verdicts:
        return Measured()
    differs = next((v.divergence.operator for v in tested.verdicts if v.divergence), None)
    return Measured(tested.verdicts[0].operator_instructions, differs)


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 3) if whole else 0.0


def regions(deployment: Deployment) -> Values:
    """Every region as a bar of its parts, over its capacity (or over what it would need)."""
    shown = [_region(r) for r in deployment.report.regions]
    return {"regions": shown, "notes": deployment.report.notes}


def _region(region: RegionBudget) -> Values:
    whole = max(region.capacity_bytes, region.used_bytes)
    return {
        "name": region.region,
        "kind": region.kind,
        "used": region.used_bytes,
        "capacity": region.capacity_bytes,
        "margin": region.margin_bytes,
        "fits": region.fits,
        "percent": round(_percent(region.used_bytes, region.capacity_bytes), 1),
        "limit": _percent(region.capacity_bytes, whole),
        "parts": [
            {
                "name": part.name,
                "class": part.name.replace(" ", "-"),
                "bytes": part.bytes,
                "exact": part.exact,
                "share": _percent(part.bytes, whole),
            }
            for part in region.parts
            if part.bytes
        ],
    }


def memory(deployment: Deployment) -> Values:
    """The arenas over time, and what is proven of the plan."""
    plan, report = deployment.plan, deployment.report
    return {
        "pictures": plan_pictures(plan),
        "certificate": report.certificate,
        "peak": report.peak,
        "peak_shape": shape_text(report.peak.output_shape),
        "streams": [
            f"#{stream.segment.first} to #{stream.segment.end - 1}" for stream in plan.streams
        ],
        "state": sum(place.bytes for place in plan.state.values()),
    }


def kinds(deployment: Deployment, counted: Measured) -> Values:
    """MACs, parameters and instructions summed by kind of operator, the costliest first."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0, 0])
    known = True
    for row in deployment.report.operators:
        instructions = counted.of(row)
        known = known and instructions is not None
        entry = sums[row.kind]
        for position, value in enumerate((1, row.macs, row.parameters, instructions or 0)):
            entry[position] += value
    totals = [sum(entry[i] for entry in sums.values()) for i in range(4)]
    rows: list[Values] = [
        {
            "kind": kind,
            "count": entry[0],
            "cells": [
                {"value": value, "share": _percent(value, total)}
                for value, total in zip(entry[1:], totals[1:], strict=True)
            ],
        }
        for kind, entry in sorted(sums.items(), key=lambda item: item[1][:0:-1], reverse=True)
    ]
    names = ["MACs", "parameters", _instruction_name(counted)]
    if not known or not totals[3]:
        names.pop()
        for shown in rows:
            del shown["cells"][2:]
    return {"names": names, "rows": rows, "totals": totals[1 : len(names) + 1]}


def _instruction_name(counted: Measured) -> str:
    return "instructions" if counted.instructions else "instructions (predicted)"


def operators(deployment: Deployment, counted: Measured) -> Values:
    """The table of operators."""
    report = deployment.report
    instructions = [counted.of(row) for row in report.operators]
    known = all(value is not None for value in instructions)
    peak = max((row.live_bytes for row in report.operators), default=0)
    busiest = max((value or 0 for value in instructions), default=0)
    return {
        "instruction_name": _instruction_name(counted) if known else None,
        "rows": [
            {
                "row": row,
                "shape": shape_text(row.output_shape),
                "instructions": value,
                "per_mac": value / row.macs if value and row.macs else None,
                "live_share": _percent(row.live_bytes, peak),
                "work_share": _percent(value or 0, busiest),
                "peak": row.index == report.certificate.peak_step,
                "differs": row.index == counted.differs,
            }
            for row, value in zip(report.operators, instructions, strict=True)
        ],
    }


def network(deployment: Deployment, counted: Measured) -> Values:
    """The drawing of the network, with what each operator costs beside it."""
    rows = deployment.report.operators
    work = [counted.of(row) for row in rows]
    figures: dict[str, list[float]] = {"MACs": [row.macs for row in rows]}
    if all(value is not None for value in work):
        figures = {_instruction_name(counted): [value or 0 for value in work]}
    figures["live bytes"] = [row.live_bytes for row in rows]
    return {
        "picture": network_picture(deployment.plan.graph, figures),
        "peak": deployment.report.certificate.peak_step,
        "differs": counted.differs,
    }


def bits(tested: Tested) -> Values:
    """Each emulator's verdict, and where bits first differ."""
    return {
        "verdicts": tested.verdicts,
        "skipped": tested.skipped,
        "project_tests": tested.project_tests,
        "macs": tested.manifest.macs,
    }


def test_figures(tested: Tested) -> list[tuple[str, str, str]]:
    """(name, value, remark) of the first emulator's run."""
    if not tested.verdicts:
        return []
    verdict = tested.verdicts[0]
    macs = tested.manifest.macs
    per_mac = f"{verdict.instructions / macs:.2f} per MAC" if macs else ""
    return [
        ("instructions", f"{verdict.instructions:,}", per_mac),
        (
            "bits",
            "exact" if verdict.bit_exact else "DIFFER",
            f"over {verdict.inferences} inferences on {verdict.emulator}",
        ),
        ("stack", f"{verdict.stack_bytes:,} B", "the most that was used"),
    ]


test_figures.__test__ = False  # type: ignore[attr-defined]


def failure(deployed: Deployed) -> str:
    """The first thing that is wrong with a firmware that was built."""
    if deployed.built is not None and not deployed.built.fits:
        return "the linked firmware is larger than a memory region"
    if deployed.built is not None and not deployed.built.as_predicted:
        return "linked sizes are not the ones promised"
    tested = deployed.tested
    if tested is None or not tested.verdicts:
        return "no emulator ran the firmware"
    for verdict in tested.verdicts:
        if verdict.divergence is not None:
            return f"on {verdict.emulator} {verdict.divergence}"
        if not verdict.bit_exact:
            return f"on {verdict.emulator} the outputs differ from golden"
        if verdict.constant_output:
            return f"on {verdict.emulator} the output never changed, which proves nothing"
    return "the project's own tests failed"


def linked(built: Built) -> Values:
    """Predicted against linked sizes."""
    return {
        "rows": built.sizes,
        "totals": [
            {"region": name, "used": used, "capacity": built.capacity_bytes[name]}
            for name, used in built.used_bytes.items()
            if used
        ],
        "warnings": built.warnings,
    }


def reproduce(deployment: Deployment, commands: object) -> Values:
    """What the result was made from, and the commands that make it again."""
    target, board = deployment.target, deployment.report.board
    made_from = [
        ("model", f"{deployment.name}, int8 .tflite, SHA-256 {sha256(deployment.model)}"),
        ("board", f"{board.name}: {board.title}; tried on {board.tried_on}"),
        ("kernels", f"{target.kernels}, optimized for {target.optimize}"),
    ]
    disabled = deployment.options.disabled_passes
    if disabled:
        made_from.append(("passes left out", ", ".join(disabled)))
    for name, value in (deployment.calibration or {}).items():
        if isinstance(value, str | int | float | bool) and value != "":
            made_from.append((f"calibration {name}", str(value)))
    return {"made_from": made_from, "commands": commands}
