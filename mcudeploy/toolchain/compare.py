# SPDX-License-Identifier: Apache-2.0
"""Predicted against linked sizes, part by part and region by region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mcudeploy.codegen.manifest import Manifest, RegionRecord
from mcudeploy.toolchain.sizes import LinkedSizes

_RAM_PARTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], bool]] = {
    "activations and scratch": (("activations", "scratch"), ("arena",), True),
    "state": (("state",), ("state",), True),
    "stack reserve": (("stack reserve",), ("stack",), True),
    "runtime": (("runtime",), ("data", "bss", "padding"), False),
}
"""Row: the manifest's parts, the linker's parts, and whether the two must be equal."""

_FLASH_PARTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], bool]] = {
    "weights": (("weights",), ("weights",), True),
    "biases": (("biases",), ("biases",), True),
    "tables": (("tables",), ("tables",), True),
    "code": (("code",), ("code", "constants", "data", "padding"), False),
    "self-test vectors": ((), ("selftest",), False),
}


@dataclass(frozen=True)
class PartComparison:
    """One part of one region. `exact` parts are a promise: a difference is a defect."""

    region: str
    part: str
    predicted_bytes: int
    linked_bytes: int
    exact: bool

    @property
    def difference_bytes(self) -> int:
        return self.linked_bytes - self.predicted_bytes

    @property
    def broken(self) -> bool:
        return self.exact and self.difference_bytes != 0


def compare_sizes(manifest: Manifest, linked: LinkedSizes) -> tuple[PartComparison, ...]:
    """Every part that was predicted or linked, region by region."""
    rows: list[PartComparison] = []
    for region in manifest.regions:
        rows.extend(_compare_region(region, linked))
    return tuple(rows)


def _compare_region(region: RegionRecord, linked: LinkedSizes) -> list[PartComparison]:
    rows = []
    parts = _RAM_PARTS if region.kind == "ram" else _FLASH_PARTS
    for part, (ours, theirs, exact) in parts.items():
        predicted = sum(region.parts.get(name, 0) for name in ours)
        found = sum(linked.of(region.region, name) for name in theirs)
        if predicted or found:
            rows.append(PartComparison(region.region, part, predicted, found, exact))
    return rows
