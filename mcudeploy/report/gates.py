# SPDX-License-Identifier: Apache-2.0
"""What `check` and `verify` print, and two builds compared in a comment of a pull request."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from mcudeploy.gate import Change, Checked
from mcudeploy.integrity import Integrity
from mcudeploy.report.results import verdict_line
from mcudeploy.report.terminal import table

_SHOWN = 40


def print_checked(checked: Checked, out: Console) -> None:
    """What it takes, what changed, and the verdict."""
    measures = checked.measures
    out.print(f"{measures.model} on {measures.board}, {measures.sizes} sizes")
    for kind, word in (("ram", "RAM"), ("flash", "flash")):
        total = sum(r.used_bytes for r in measures.regions if r.kind == kind)
        out.print(f"  {word:<13}{total:>14,} bytes")
    if measures.instructions is not None:
        how = f"counted on {measures.counted_by}" if measures.counted_by else "predicted"
        out.print(f"  instructions {measures.instructions:>14,.0f} {how}")
    if measures.milliseconds is not None:
        out.print(f"  milliseconds {measures.milliseconds:>14,.2f} estimated by `profile`")
    if checked.changes is not None:
        _print_changes(checked.changes, out)
    for line in checked.broken:
        out.print(f"over: {line}")
    out.print(
        verdict_line(True, "PASSED: within all limits")
        if checked.passed
        else verdict_line(False, f"FAILED: limits broken: {len(checked.broken)}")
    )


def _print_changes(changes: tuple[Change, ...], out: Console) -> None:
    if not changes:
        out.print("nothing changed since the baseline")
        return
    made = table(
        "since the baseline", "before", "now", "change", "", right=("before", "now", "change")
    )
    for row in _rows(changes[:_SHOWN]):
        made.add_row(*row)
    out.print(made)
    if len(changes) > _SHOWN:
        out.print(f"and {len(changes) - _SHOWN} more: --json or --markdown has them all")


def _rows(changes: Iterable[Change]) -> Iterable[tuple[str, str, str, str, str]]:
    for change in changes:
        old, new = change.old, change.new
        difference = ""
        if old is not None and new is not None:
            share = f" ({100 * (new - old) / old:+.1f} %)" if old else ""
            digits = 0 if isinstance(new, int) or new > 1000 else 2
            difference = f"{new - old:+,.{digits}f}{share}" if new != old else "0"
        yield change.subject, _number(old), _number(new), difference, change.note


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if isinstance(value, int) or value > 1000 else f"{value:,.2f}"


def markdown(checked: Checked) -> str:
    """The verdict and all changes as GitHub's Markdown, from which no name breaks out."""
    measures = checked.measures
    state = "passed" if checked.passed else "**failed**"
    lines = [f"### {_cell(measures.model)} on {measures.board}: {state}", ""]
    lines += [f"- {_cell(line)}" for line in checked.broken]
    if checked.changes is None:
        lines.append(
            f"RAM {measures.total_bytes('ram'):,} bytes, flash {measures.total_bytes('flash'):,} "
            f"bytes ({measures.sizes})"
        )
    elif not checked.changes:
        lines.append("Nothing changed since the baseline.")
    else:
        lines += ["", "| | before | now | change | |", "|---|---:|---:|---:|---|"]
        lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in _rows(checked.changes)]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text that Markdown and HTML show as it is."""
    escaped = "".join(f"\\{c}" if c in "\\|`*_[]#~" else c for c in text)
    return " ".join(escaped.replace("&", "&amp;").replace("<", "&lt;").split())


def print_integrity(found: Integrity, out: Console) -> None:
    """File by file what is not as generated."""
    for word, names in (
        ("changed by hand", found.changed),
        ("missing", found.missing),
        ("added to the build", found.added),
        ("comes out differently", found.differing),
    ):
        for name in names:
            out.print(f"{word}: {name}")
    out.print(f"{found.files} files; {found.generated_anew}; {found.built_anew}")
    out.print(
        verdict_line(True, "PASSED: as generated")
        if found.passed
        else verdict_line(False, "FAILED: not as generated")
    )
