# SPDX-License-Identifier: Apache-2.0
"""What the functions of `api` give back: a project, a build, a test, a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcudeploy.codegen.manifest import Manifest
from mcudeploy.deployment import Deployment

if TYPE_CHECKING:
    from mcudeploy.toolchain.compare import PartComparison
    from mcudeploy.verify import Verdict


@dataclass(frozen=True)
class Project:
    """A generated project."""

    folder: Path
    manifest: Manifest
    deployment: Deployment


@dataclass(frozen=True)
class Built:
    """A built project: predicted against linked, and what each region has left."""

    elf: Path
    seconds: float
    warnings: tuple[str, ...]
    sizes: tuple[PartComparison, ...]
    used_bytes: Mapping[str, int]
    capacity_bytes: Mapping[str, int]

    @property
    def fits(self) -> bool:
        return all(used <= self.capacity_bytes[name] for name, used in self.used_bytes.items())

    @property
    def as_predicted(self) -> bool:
        """Everything that was promised to the byte came out so."""
        return not any(row.broken for row in self.sizes)


@dataclass(frozen=True)
class Tested:
    """The verdicts of one or more emulators on one firmware."""

    manifest: Manifest
    verdicts: tuple[Verdict, ...]
    project_tests: tuple[str, bool] | None = None
    """The tail of what the project's own tests printed, and whether they passed."""
    skipped: tuple[tuple[str, str], ...] = ()
    """Emulators that could not run, each with the reason."""

    @property
    def counts_apart(self) -> int | None:
        """By how many instructions the emulators' counts differ; None for a single emulator."""
        counts = [verdict.instructions for verdict in self.verdicts]
        return max(counts) - min(counts) if len(counts) > 1 else None

    @property
    def counts_agree(self) -> bool:
        """Two emulators run the same code: their counts are equal to 0.1 % (or 20 instructions)."""
        most = max((verdict.instructions for verdict in self.verdicts), default=0)
        return (self.counts_apart or 0) <= max(20, most // 1000)

    @property
    def passed(self) -> bool:
        own = self.project_tests is None or self.project_tests[1]
        exact = bool(self.verdicts) and all(v.passed for v in self.verdicts)
        return own and exact and self.counts_agree

    def to_document(self) -> dict[str, Any]:
        """The content of the JSON document."""
        return {
            "passed": self.passed,
            "verdicts": self.verdicts,
            "skipped": self.skipped,
            "counts_apart": self.counts_apart,
        }


@dataclass(frozen=True)
class Deployed:
    """All that `deploy` did."""

    project: Project
    built: Built | None = None
    """None for a model that does not fit: there is nothing to build."""
    tested: Tested | None = None

    @property
    def passed(self) -> bool:
        if self.built is None or self.tested is None:
            return False
        return self.built.fits and self.built.as_predicted and self.tested.passed

    def to_document(self) -> dict[str, Any]:
        """The content of the JSON document."""
        return {
            "passed": self.passed,
            "project": self.project.folder,
            "report": self.project.deployment.report,
            "evaluation": self.project.deployment.evaluation,
            "build": self.built,
            "test": self.tested.to_document() if self.tested else None,
        }
