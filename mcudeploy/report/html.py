# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML file that needs nothing else: no network, no font, no library.

A page is a verdict, a few figures and sections; a section is a template of `templates/report/`
with the values that it shows. Every command that reports builds its page here. Templates escape
what they print, and the page's own content policy forbids it to load or to send anything, so a
model's names stay text. The same result gives the same bytes: there is no date in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from mcudeploy import __version__
from mcudeploy.advice import Remedy
from mcudeploy.api import Deployed
from mcudeploy.deployment import Deployment
from mcudeploy.files import write_file
from mcudeploy.profiling import Profile
from mcudeploy.report import html_sections as sections
from mcudeploy.report.terminal import bytes_text
from mcudeploy.resources import resource_folder


@dataclass(frozen=True)
class Figure:
    """A figure at the top of the page, with one line of what it is."""

    name: str
    value: str
    remark: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page: `template` in templates/report/, rendered with `values`."""

    anchor: str
    title: str
    template: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Page:
    """A whole report. `passed` decides nothing but the colour: `verdict` says it in words."""

    title: str
    subtitle: str
    passed: bool
    verdict: str
    figures: tuple[Figure, ...]
    sections: tuple[Section, ...]


def environment() -> jinja2.Environment:
    """Templates over `templates/report/` that escape everything and refuse undefined names."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resource_folder("templates") / "report"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["bytes"] = bytes_text
    made.filters["count"] = lambda number: f"{number:,.0f}"
    return made


def render(page: Page) -> str:
    """The HTML text of a page."""
    return environment().get_template("page.html.j2").render(page=page, version=__version__)


def write_page(path: Path, page: Page) -> None:
    """Write the page to a file, as a whole or not at all."""
    write_file(path, render(page).encode())


def fit_page(
    deployment: Deployment, advice: Sequence[Remedy] = (), *, commands: Sequence[str] = ()
) -> Page:
    """The report of `fit`; `commands` are the command lines that give the same again."""
    report = deployment.report
    body = _plan_sections(deployment, sections.Measured())
    remedies = Section("advice", "What would change it", "advice.html.j2", {"remedies": advice})
    return Page(
        title=f"{report.model} on {report.board.title}",
        subtitle=_subtitle(deployment),
        passed=report.fits,
        verdict=("FITS: " if report.fits else "DOES NOT FIT: ") + report.verdict,
        figures=(
            *_memory_figures(deployment),
            *_size_figures(deployment),
            *_predicted_figures(deployment),
        ),
        sections=(
            body[0],
            *([remedies] if advice else []),
            *body[1:],
            _reproduce(deployment, commands),
        ),
    )


def deploy_page(deployed: Deployed, *, commands: Sequence[str] = ()) -> Page:
    """The report of `deploy`: that of `fit`, then the linked sizes and the emulators' verdicts."""
    deployment = deployed.project.deployment
    report = deployment.report
    measured = sections.measured(deployed.tested)
    extra: list[Section] = []
    if deployed.tested is not None:
        extra.append(
            Section("bits", "Is it right?", "bits.html.j2", sections.bits(deployed.tested))
        )
    figures = [*_memory_figures(deployment), *_size_figures(deployment)]
    if deployed.tested is not None:
        figures += [Figure(*texts) for texts in sections.test_figures(deployed.tested)]
    after: list[Section] = []
    if deployed.built is not None:
        values = sections.linked(deployed.built)
        after.append(Section("linked", "Predicted against linked", "linked.html.j2", values))
    body = _plan_sections(deployment, measured)
    if deployed.passed:
        verdict = f"FITS and is bit-exact: {report.verdict}"
    elif not report.fits:
        verdict = f"DOES NOT FIT: {report.verdict}"
    else:
        verdict = f"FAILED: {sections.failure(deployed)}"
    return Page(
        title=f"{report.model} on {report.board.title}",
        subtitle=_subtitle(deployment),
        passed=deployed.passed,
        verdict=verdict,
        figures=tuple(figures),
        sections=(body[0], *extra, *body[1:], *after, _reproduce(deployment, commands)),
    )


def profile_page(profile: Profile, *, commands: Sequence[str] = ()) -> Page:
    """The report of `profile`."""
    rate = f"{profile.instructions / profile.macs:.2f} per MAC" if profile.macs else ""
    figures = [Figure("instructions", f"{profile.instructions:,}", rate)]
    if profile.milliseconds is not None and profile.cycles is not None:
        error = f"about {profile.error_percent} %" if profile.error_percent else "not known"
        figures += [
            Figure("time", f"{profile.milliseconds:,.2f} ms", f"error on this part: {error}"),
            Figure("cycles", f"{profile.cycles:,.0f}", f"at {profile.clock_hz / 1e6:g} MHz"),
        ]
    if profile.microjoules is not None:
        figures.append(Figure("energy", f"{profile.microjoules:,.0f} µJ", "by the datasheet"))
    values = {"profile": profile, "commands": commands}
    return Page(
        title=f"{profile.model} on {profile.board}: time",
        subtitle=f"{profile.core}, {profile.kernels} kernels, counted on {profile.emulator}",
        passed=True,
        verdict=f"{profile.instructions:,} instructions per inference, counted exactly",
        figures=tuple(figures),
        sections=(Section("operators", "Operator by operator", "profile.html.j2", values),),
    )


def _subtitle(deployment: Deployment) -> str:
    report, board = deployment.report, deployment.report.board
    return (
        f"{report.dtype}, {len(report.operators)} operators, {board.mcu}, {board.core.name} "
        f"at {board.clock.hz / 1e6:g} MHz"
    )


def _memory_figures(deployment: Deployment) -> list[Figure]:
    return [
        Figure(
            f"{region.region} ({region.kind})",
            f"{region.used_bytes / 1024:,.1f} KiB",
            f"of {region.capacity_bytes / 1024:,.0f} KiB, "
            + (
                f"{100 * region.used_bytes / region.capacity_bytes:.1f} %"
                if region.fits
                else f"OVER by {-region.margin_bytes:,} bytes"
            ),
        )
        for region in deployment.report.regions
        if region.used_bytes
    ]


def _size_figures(deployment: Deployment) -> list[Figure]:
    report = deployment.report
    made = [Figure("MACs", f"{report.macs:,}", f"{report.parameters:,} parameters")]
    evaluation = deployment.evaluation
    if evaluation is not None and evaluation.int8_accuracy is not None:
        before = evaluation.float_accuracy
        remark = f"float {100 * before:.2f} %" if before is not None else "int8"
        made.append(Figure("accuracy, int8", f"{100 * evaluation.int8_accuracy:.2f} %", remark))
    return made


def _predicted_figures(deployment: Deployment) -> list[Figure]:
    """Instructions and time, where every kernel on this core has a prediction."""
    report = deployment.report
    if report.instructions is None:
        return []
    rate = f"{report.instructions / report.macs:.2f} per MAC" if report.macs else ""
    made = [Figure("instructions, predicted", f"{report.instructions:,.0f}", rate)]
    if report.milliseconds is not None:
        clock = f"at {report.board.clock.hz / 1e6:g} MHz"
        made.append(Figure("time, predicted", f"{report.milliseconds:,.2f} ms", clock))
    return made


def _plan_sections(deployment: Deployment, measured: sections.Measured) -> list[Section]:
    """What every report on a plan shows, in the order in which one reads it."""
    return [
        Section("regions", "Does it fit?", "regions.html.j2", sections.regions(deployment)),
        Section("plan", "Memory over time", "plan.html.j2", sections.memory(deployment)),
        Section(
            "kinds", "Where the work is", "kinds.html.j2", sections.kinds(deployment, measured)
        ),
        Section(
            "operators",
            "Operator by operator",
            "operators.html.j2",
            sections.operators(deployment, measured),
        ),
        Section(
            "network", "The network", "network.html.j2", sections.network(deployment, measured)
        ),
    ]


def _reproduce(deployment: Deployment, commands: Sequence[str]) -> Section:
    values = sections.reproduce(deployment, commands)
    return Section("reproduce", "Made from, and how to make it again", "reproduce.html.j2", values)
