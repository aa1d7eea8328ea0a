# SPDX-License-Identifier: Apache-2.0
"""The gate of a pull request: is the network still as small and as fast as it has to be?

`Measures` is what a model or a project takes, as values that can be kept in a file: bytes by region
and part, instructions by operator. A project that has been built gives linked sizes and counts on
an emulator; a project that has not, or a model alone, gives predictions. Two measures of one sort
can be compared: operators are paired by kind and name in order (the longest common subsequence).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from mcudeploy import emulator as emulators
from mcudeploy.board import Board
from mcudeploy.codegen.manifest import MANIFEST_NAME, Manifest, read_manifest
from mcudeploy.codegen.output import sha256
from mcudeploy.deployment import Deployment
from mcudeploy.errors import InputError
from mcudeploy.profiling import Profile, profile_project
from mcudeploy.toolchain.platformio import elf_path
from mcudeploy.toolchain.sizes import linked_sizes

Progress = Callable[[str], None]
SCHEMA = "mcudeploy.check/1"


@dataclass(frozen=True)
class RegionMeasure:
    """Bytes that a memory region holds, part by part."""

    region: str
    kind: Literal["ram", "flash"]
    capacity_bytes: int
    parts: Mapping[str, int]

    @property
    def used_bytes(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True)
class OperatorMeasure:
    """One operator; `instructions` None where nobody counted or predicted them."""

    index: int
    kind: str
    name: str
    kernel: str
    macs: int
    output_bytes: int
    instructions: float | None


@dataclass(frozen=True)
class Measures:
    """What a network takes on a board.

    `sizes` says whether bytes are predicted or linked; `counted_by` names the emulator that counted
    the instructions, and is empty where they are predicted. `milliseconds` are the estimate of
    `profile`, None without a build.
    """

    model: str
    model_sha256: str
    board: str
    mcudeploy_version: str
    sizes: Literal["predicted", "linked"]
    counted_by: str
    macs: int
    parameters: int
    instructions: float | None
    milliseconds: float | None
    regions: tuple[RegionMeasure, ...]
    operators: tuple[OperatorMeasure, ...]

    def total_bytes(self, kind: Literal["ram", "flash"]) -> int:
        """The bytes of all regions of a kind."""
        return sum(region.used_bytes for region in self.regions if region.kind == kind)


@dataclass(frozen=True)
class Limits:
    """What must not be exceeded; None: no limit. `growth_percent` is over the baseline."""

    ram_bytes: int | None = None
    flash_bytes: int | None = None
    instructions: int | None = None
    milliseconds: float | None = None
    growth_percent: float = 0.0


@dataclass(frozen=True)
class Change:
    """A figure of the baseline and what became of it; None where it is not there."""

    subject: str
    old: float | None
    new: float | None
    note: str = ""


@dataclass(frozen=True)
class Checked:
    """The measures, what broke (a line each), and what changed since the baseline."""

    measures: Measures
    broken: tuple[str, ...]
    changes: tuple[Change, ...] | None = None
    """None without a baseline."""

    @property
    def passed(self) -> bool:
        return not self.broken


def measure_deployment(deployment: Deployment, version: str) -> Measures:
    """What a model is predicted to take."""
    report = deployment.report
    counts = [row.instructions for row in report.operators]
    return Measures(
        model=report.model,
        model_sha256=sha256(deployment.model),
        board=report.board.name,
        mcudeploy_version=version,
        sizes="predicted",
        counted_by="",
        macs=report.macs,
        parameters=report.parameters,
        instructions=_sum(counts),
        milliseconds=None,
        regions=tuple(
            RegionMeasure(
                region.region,
                "ram" if region.kind == "ram" else "flash",
                region.capacity_bytes,
                {part.name: part.bytes for part in region.parts if part.bytes},
            )
            for region in report.regions
        ),
        operators=tuple(
            OperatorMeasure(
                row.index, row.kind, row.name, row.kernel, row.macs, row.output_bytes,
                row.instructions,
            )
            for row in report.operators
        ),
    )  # fmt: skip


def measure_project(folder: Path, progress: Progress | None = None) -> Measures:
    """What a project takes: linked and counted once it has been built, else predicted."""
    manifest = read_manifest(folder)
    elf = elf_path(folder.resolve())
    built = elf.is_file()
    profile = _profile(folder, manifest, progress) if built else None
    used: list[float | None] = [operator.instructions for operator in manifest.operators]
    if profile is not None:
        used = [operator.instructions for operator in profile.operators]
    return Measures(
        model=manifest.model_name,
        model_sha256=manifest.model_sha256,
        board=manifest.board,
        mcudeploy_version=manifest.mcudeploy_version,
        sizes="linked" if built else "predicted",
        counted_by=profile.emulator if profile else "",
        macs=manifest.macs,
        parameters=manifest.parameters,
        instructions=profile.instructions if profile else _sum(used),
        milliseconds=profile.milliseconds if profile else None,
        regions=_linked(elf, manifest.board_record) if built else _predicted(manifest),
        operators=tuple(
            OperatorMeasure(o.index, o.kind, o.name, o.kernel, o.macs, sum(o.bytes), count)
            for o, count in zip(manifest.operators, used, strict=True)
        ),
    )


def _sum(counts: list[float | None]) -> float | None:
    known = [count for count in counts if count is not None]
    return sum(known) if counts and len(known) == len(counts) else None


def _linked(elf: Path, board: Board) -> tuple[RegionMeasure, ...]:
    linked = linked_sizes(elf, board)
    return tuple(
        RegionMeasure(
            r.name, r.kind, r.size, {k: v for k, v in linked.regions[r.name].items() if v}
        )
        for r in board.memory
        if linked.total(r.name) or not r.external
    )


def _predicted(manifest: Manifest) -> tuple[RegionMeasure, ...]:
    return tuple(
        RegionMeasure(r.region, r.kind, r.capacity_bytes, {k: v for k, v in r.parts.items() if v})
        for r in manifest.regions
    )


def _profile(folder: Path, manifest: Manifest, progress: Progress | None) -> Profile | None:
    """Counts and time of one inference; None where no emulator here can count them."""
    chosen = emulators.get("unicorn")
    if chosen.available() or chosen.supports(manifest.board_record):
        return None
    return profile_project(folder, progress=progress)


def read_baseline(path: Path, progress: Progress | None = None) -> Measures:
    """The measures in a file that `check --json` wrote, or those of another project."""
    if (path / MANIFEST_NAME).is_file():
        return measure_project(path, progress)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise KeyError("schema")
        return TypeAdapter(Measures).validate_python(document["measures"])
    except OSError as error:
        problem = f"cannot read the baseline: {error.strerror}"
    except (ValueError, TypeError, KeyError, ValidationError):
        problem = f"the baseline is none: it has no {SCHEMA} in it"
    raise InputError(problem, where=str(path), mend="`mcudeploy check DIR --json > FILE` makes one")


def check(measures: Measures, limits: Limits, baseline: Measures | None = None) -> Checked:
    """Hold measures to limits and to a baseline. Raises InputError when they cannot be compared."""
    broken = [*_over_capacity(measures), *_over_limits(measures, limits)]
    if baseline is None:
        return Checked(measures, tuple(broken))
    if (measures.sizes, bool(measures.counted_by)) != (baseline.sizes, bool(baseline.counted_by)):
        raise InputError(
            f"the baseline has {baseline.sizes} sizes, this has {measures.sizes} ones: "
            "they do not compare",
            mend="build both projects first, or neither",
        )
    changes = tuple(compare(baseline, measures))
    grown = [
        f"{change.subject} grew from {change.old:,.0f} to {change.new:,.0f}"
        + (f", more than {limits.growth_percent:g} %" if limits.growth_percent else "")
        for change in changes
        if change.subject in ("RAM", "flash", "instructions")
        and change.old is not None
        and change.new is not None
        and change.new > change.old * (1 + limits.growth_percent / 100)
    ]
    return Checked(measures, tuple(broken + grown), changes)


def _over_capacity(measures: Measures) -> list[str]:
    return [
        f"{region.region} holds {region.capacity_bytes:,} bytes and needs {region.used_bytes:,}: "
        + _largest(region.parts)
        for region in measures.regions
        if region.used_bytes > region.capacity_bytes
    ]


def _over_limits(measures: Measures, limits: Limits) -> list[str]:
    broken = []
    kinds: tuple[tuple[Literal["ram", "flash"], str, int | None], ...] = (
        ("ram", "RAM", limits.ram_bytes),
        ("flash", "flash", limits.flash_bytes),
    )
    for kind, word, limit in kinds:
        total = measures.total_bytes(kind)
        if limit is not None and total > limit:
            parts = {
                f"{r.region} {part}": count
                for r in measures.regions
                if r.kind == kind
                for part, count in r.parts.items()
            }
            broken.append(
                f"{word} takes {total:,} bytes, {total - limit:,} more than the limit of "
                f"{limit:,}: {_largest(parts)}"
            )
    costs: tuple[tuple[str, float | None, float | None], ...] = (
        ("instructions", measures.instructions, limits.instructions),
        ("milliseconds", measures.milliseconds, limits.milliseconds),
    )
    for word, cost, most in costs:
        if most is None:
            continue
        if cost is None:
            raise InputError(
                f"the {word} of an inference are not known here",
                mend="build the project first: mcudeploy build DIR",
            )
        if cost > most:
            worst = {f"#{o.index} {o.kind}": int(o.instructions or 0) for o in measures.operators}
            broken.append(
                f"an inference takes {cost:,.{0 if cost > 1000 else 2}f} {word}, more than the "
                f"limit of {most:,}; most instructions: {_largest(worst)}"
            )
    return broken


def _largest(parts: Mapping[str, int]) -> str:
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {count:,}" for name, count in ordered[:3])


def compare(old: Measures, new: Measures) -> list[Change]:
    """What differs: totals first, then regions part by part, then operators."""
    changes = []

    def add(subject: str, before: float | None, after: float | None, note: str = "") -> None:
        if before != after or note:
            changes.append(Change(subject, before, after, note))

    add("RAM", old.total_bytes("ram"), new.total_bytes("ram"))
    add("flash", old.total_bytes("flash"), new.total_bytes("flash"))
    add("instructions", old.instructions, new.instructions)
    add("milliseconds", old.milliseconds, new.milliseconds)
    add("MACs", old.macs, new.macs)
    add("parameters", old.parameters, new.parameters)
    before, after = (
        {(r.region, part): n for r in m.regions for part, n in r.parts.items()} for m in (old, new)
    )
    for region, part in dict.fromkeys((*before, *after)):
        add(f"{region}: {part}", before.get((region, part), 0), after.get((region, part), 0))
    for first, second in _pairs(old.operators, new.operators):
        shown = second or first
        assert shown is not None
        note = ""
        if first is None or second is None:
            note = "gone" if second is None else "new"
        elif first.kernel != second.kernel:
            note = f"{first.kernel} is now {second.kernel}"
        add(
            f"#{shown.index} {shown.kind}",
            first.instructions if first else None,
            second.instructions if second else None,
            note,
        )
    return changes


def _pairs(
    old: tuple[OperatorMeasure, ...], new: tuple[OperatorMeasure, ...]
) -> list[tuple[OperatorMeasure | None, OperatorMeasure | None]]:
    """Operators of both sides that are the same, by kind and name; None opposite a lonely one."""
    matcher = difflib.SequenceMatcher(
        None, [(o.kind, o.name) for o in old], [(o.kind, o.name) for o in new], autojunk=False
    )
    pairs: list[tuple[OperatorMeasure | None, OperatorMeasure | None]] = []
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            pairs += list(zip(old[a:b], new[c:d], strict=True))
        else:
            pairs += [(operator, None) for operator in old[a:b]]
            pairs += [(None, operator) for operator in new[c:d]]
    return pairs
