# SPDX-License-Identifier: Apache-2.0
"""What a person reads: tables of at most 80 columns, plain text where there is no terminal.

Colour only repeats what a word says.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mcudeploy.advice import Remedy
from mcudeploy.budget import FitReport, OperatorRow, RegionBudget

WIDTH = 80


def console(*, stderr: bool = False) -> Console:
    """A console on standard output (or error) that never prints beyond 80 columns."""
    stream = sys.stderr if stderr else sys.stdout
    probe = Console(file=stream)
    width = min(WIDTH, probe.width) if probe.is_terminal else WIDTH
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def bytes_text(count: int) -> str:
    """Bytes with thousands separators, and KiB beside them where that helps."""
    return f"{count:,} B" if count < 10_240 else f"{count:,} B ({count / 1024:,.1f} KiB)"


def table(*columns: str, right: Iterable[str] = (), gives_way: str = "") -> Table:
    """An empty table of the house's style.

    `right` names the columns of figures, which are never cut; `gives_way` the one column whose
    text is broken into lines where the whole would be too wide (by default any text column).
    """
    made = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    numbers = set(right)
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in numbers else "left",
            no_wrap=column in numbers if not gives_way else column != gives_way,
            overflow="fold",
        )
    return made


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape without its batch of 1."""
    inner = shape[1:] if len(shape) > 1 and shape[0] == 1 else shape
    return "x".join(map(str, inner)) or "scalar"


def print_fit(report: FitReport, out: Console) -> None:
    """Regions with their parts, the operators, the certificate, the verdict."""
    out.print(Text(f"{report.model} on {report.board.title}, {report.dtype}", style="bold"))
    out.print(
        f"{len(report.operators)} operators, {report.macs:,} MACs, "
        f"{report.parameters:,} parameters, input {bytes_text(report.input_bytes)}, "
        f"output {bytes_text(report.output_bytes)}"
    )
    out.print()
    out.print(_region_table(report.regions))
    out.print()
    out.print(_operator_table(report))
    out.print()
    certificate = report.certificate
    bound = bytes_text(certificate.lower_bound_bytes)
    proof = "proven least" if certificate.gap_bytes <= 0 else f"proven bound {bound}"
    peak = report.peak
    out.print(
        f"> peak {bytes_text(certificate.peak_bytes)} at #{peak.index} {peak.kind} "
        f"({shape_text(peak.output_shape)}); {proof}; order: {certificate.order_method}"
    )
    if report.instructions is not None:
        time = f", {report.milliseconds:,.1f} ms" if report.milliseconds is not None else ""
        rate = f" ({report.instructions / report.macs:.2f} a MAC)" if report.macs else ""
        out.print(f"predicted: about {report.instructions:,.0f} instructions{rate}{time}")
    for note in report.notes:
        out.print(f"note: {note}")
    style = "bold green" if report.fits else "bold red"
    out.print(Text(("FITS: " if report.fits else "DOES NOT FIT: ") + report.verdict, style=style))


def _region_table(regions: Iterable[RegionBudget]) -> Table:
    made = table("region", "part", "bytes", "of", "left", right=("bytes", "of", "left"))
    for region in regions:
        for part in region.parts:
            if part.bytes:
                made.add_row("", part.name, f"{'' if part.exact else '~'}{part.bytes:,}", "", "")
        state = "" if region.fits else "OVER "
        made.add_row(
            Text(f"{region.region} ({region.kind})", style="bold"),
            "total",
            f"{region.used_bytes:,}",
            f"{region.capacity_bytes:,}",
            Text(f"{state}{region.margin_bytes:,}", style="" if region.fits else "bold red"),
        )
    return made


def _operator_table(report: FitReport) -> Table:
    made = table(
        "#", "operator", "output", "kMACs", "kinstr", "param", "in+out+scratch", "live",
        right=("#", "kMACs", "kinstr", "param", "in+out+scratch", "live"),
    )  # fmt: skip
    for row in report.operators:
        peak = row.index == report.certificate.peak_step
        made.add_row(
            f"{'>' if peak else ''}{row.index}",
            row.kind,
            shape_text(row.output_shape),
            _thousands(row.macs),
            _thousands(row.instructions),
            f"{row.parameters:,}" if row.parameters else "",
            _own_bytes(row),
            f"{row.live_bytes:,}",
            style="bold" if peak else "",
        )
    return made


def _thousands(count: float | None) -> str:
    """In thousands; nothing for zero, or where it is not known."""
    if not count:
        return ""
    return f"{count / 1000:,.0f}" if count >= 10_000 else f"{count / 1000:.1f}"


def _own_bytes(row: OperatorRow) -> str:
    scratch = f"+{row.scratch_bytes}" if row.scratch_bytes else ""
    return f"{row.input_bytes}+{row.output_bytes}{scratch}"


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A line on standard error that shows what is being done; nothing where it is no terminal."""
    errors = console(stderr=True)
    if not errors.is_terminal:
        yield lambda _: None
        return
    with errors.status("") as status:
        yield lambda text: status.update(text[: WIDTH - 4])


def print_advice(remedies: Iterable[Remedy], out: Console) -> None:
    """What would make it fit, computed."""
    rows = tuple(remedies)
    if not rows:
        out.print("no remedy that can be computed makes it smaller; a smaller network would")
        return
    made = table("what", "peak", "saves", "cost", "fits", right=("peak", "saves"), gives_way="cost")
    for row in rows:
        made.add_row(
            row.action,
            f"{row.peak_bytes:,}",
            f"{row.saves_bytes:,}",
            row.cost,
            "yes" if row.fits else "no" + (": " + ", ".join(row.over) if row.over else ""),
        )
    out.print("what would change it (bytes of activations and scratch; no: what stays over):")
    out.print(made)
