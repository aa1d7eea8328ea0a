# SPDX-License-Identifier: Apache-2.0
"""What `profile` prints: one build operator by operator, or two side by side."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from mcudeploy.profiling import Profile
from mcudeploy.report.terminal import table

_KIND_WIDTH = 17


def print_profile(profile: Profile, out: Console) -> None:
    """The operators with their shares, then totals, time and what is known of its error."""
    out.print(Text(f"{profile.model} on {profile.board}, {profile.core}", style="bold"))
    columns = ("instr", "predicted", "/MAC", "cycles", "/MAC", "share")
    made = table("#", "operator", *columns, right=("#", *columns))
    for row in profile.operators:
        made.add_row(
            str(row.index),
            row.kind[:_KIND_WIDTH],
            f"{row.instructions:,}",
            _count(row.predicted_instructions),
            _rate(row.instructions_per_mac),
            _count(row.cycles),
            _rate(row.cycles_per_mac),
            f"{100 * row.share:.1f} %",
        )
    out.print(made)
    out.print()
    per_mac = f" ({profile.instructions / profile.macs:.2f} a MAC)" if profile.macs else ""
    out.print(
        f"{profile.instructions:,} instructions{per_mac}, exact; "
        f"{profile.other_instructions:,} of them between operators"
    )
    if profile.predicted_instructions is not None and profile.instructions:
        error = 100 * (profile.predicted_instructions / profile.instructions - 1)
        out.print(
            f"predicted without a build: {profile.predicted_instructions:,.0f} ({error:+.1f} %)"
        )
    _print_time(profile, out)


def _print_time(profile: Profile, out: Console) -> None:
    if profile.cycles is None or profile.milliseconds is None:
        out.print(f"cycles: {profile.core} on {profile.emulator} has no model")
        return
    out.print(
        f"about {profile.cycles:,.0f} cycles, {profile.milliseconds:,.2f} ms at "
        f"{profile.clock_hz / 1e6:g} MHz; {profile.zero_wait_milliseconds:,.2f} ms if no memory "
        "waited"
    )
    out.print(f"flash: {profile.flash}")
    if profile.microjoules is not None:
        out.print(f"about {profile.microjoules:,.0f} uJ by the datasheet's run-mode current")
    if profile.calibration != 1.0:
        out.print(f"times are multiplied by {profile.calibration:.3f}, from the measurement given")
    if profile.error_percent is None:
        out.print("the estimate's error on this part is not known")
    else:
        out.print(f"the estimate's error on this part: about {profile.error_percent} %")


def print_comparison(one: Profile, other: Profile, out: Console) -> None:
    """Two builds side by side; operators are matched by the tensor that they write."""
    names = [f"{p.model}, {p.board}, {p.kernels}" for p in (one, other)]
    out.print(Text(f"A: {names[0]}", style="bold"))
    out.print(Text(f"B: {names[1]}", style="bold"))
    columns = ("instr A", "instr B", "B / A", "cycles A", "cycles B", "B / A")
    made = table("#", "operator", *columns, right=("#", *columns))
    partners = {row.name: row for row in other.operators}
    for row in one.operators:
        partner = partners.pop(row.name, None)
        made.add_row(
            str(row.index),
            row.kind[:_KIND_WIDTH],
            f"{row.instructions:,}",
            f"{partner.instructions:,}" if partner else "",
            _ratio(row.instructions, partner.instructions if partner else None),
            _count(row.cycles),
            _count(partner.cycles if partner else None),
            _ratio(row.cycles, partner.cycles if partner else None),
        )
    for row in partners.values():
        made.add_row(
            str(row.index), row.kind[:_KIND_WIDTH], "", f"{row.instructions:,}", "", "",
            _count(row.cycles), "",
        )  # fmt: skip
    made.add_row(
        "", "all", f"{one.instructions:,}", f"{other.instructions:,}",
        _ratio(one.instructions, other.instructions), _count(one.cycles), _count(other.cycles),
        _ratio(one.cycles, other.cycles), style="bold",
    )  # fmt: skip
    out.print(made)
    if one.milliseconds is not None and other.milliseconds is not None:
        out.print(f"about {one.milliseconds:,.2f} ms against {other.milliseconds:,.2f} ms")


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _ratio(before: float | None, after: float | None) -> str:
    return "" if not before or after is None else f"{after / before:.2f}"
