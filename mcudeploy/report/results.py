# SPDX-License-Identifier: Apache-2.0
"""What the commands after `fit` print: builds, tests, deployments, boards, tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from mcudeploy.api import Built, Deployed, Project, Tested
from mcudeploy.board import Board
from mcudeploy.doctor import Check
from mcudeploy.frontend.evaluate import Evaluation
from mcudeploy.frontend.quantize import QuantizedModel
from mcudeploy.report.terminal import bytes_text, print_fit, table

if TYPE_CHECKING:
    from mcudeploy.verify import Verdict

_WORST_OPERATORS = 5


def verdict_line(passed: bool, text: str) -> Text:
    """The last line of a command: a word first, the colour only repeats it."""
    return Text(text, style="bold green" if passed else "bold red")


def print_evaluation(evaluation: Evaluation, out: Console) -> None:
    """Accuracy before and after quantization, and the operators that cost it most."""
    out.print(Text(f"accuracy on {evaluation.samples:,} samples of {evaluation.source}", "bold"))
    for name, value in (
        ("float", evaluation.float_accuracy),
        ("int8", evaluation.int8_accuracy),
        ("agreement", evaluation.agreement),
    ):
        if value is not None:
            out.print(f"  {name:<10} {100 * value:6.2f} %")
    worst = sorted(evaluation.operators, key=lambda o: o.added_error, reverse=True)
    if not worst:
        return
    made = table("#", "operator", "name", "error", "added", right=("#", "error", "added"))
    for operator in worst[:_WORST_OPERATORS]:
        made.add_row(
            str(operator.index),
            operator.kind,
            operator.name[-28:],
            f"{100 * operator.relative_error:.2f} %",
            f"{100 * operator.added_error:.2f} %",
        )
    out.print("  what quantization costs most, RMS error of outputs against float:")
    out.print(made)


def print_quantized(quantized: QuantizedModel, output: Path, out: Console) -> None:
    record = quantized.calibration
    source = record.source or "random input"
    out.print(f"{output}: {bytes_text(len(quantized.tflite))}, int8")
    out.print(f"calibrated on {record.samples} samples of {source}, scaling {record.scaling}")
    for note in (*quantized.notes, *quantized.warnings):
        out.print(f"note: {note}")
    if quantized.evaluation is not None:
        print_evaluation(quantized.evaluation, out)


def print_generated(project: Project, out: Console) -> None:
    report = project.deployment.report
    if project.deployment.evaluation is not None:
        print_evaluation(project.deployment.evaluation, out)
    for note in report.notes:
        out.print(f"note: {note}")
    if not report.fits:
        print_fit(report, out)
    out.print(f"{project.folder}: {len(project.manifest.files)} files")
    out.print(f"next: mcudeploy build {project.folder} && mcudeploy test {project.folder}")


def print_build(built: Built, out: Console) -> None:
    """Predicted against linked, part by part."""
    made = table(
        "region", "part", "predicted", "linked", "difference",
        right=("predicted", "linked", "difference"),
    )  # fmt: skip
    for row in built.sizes:
        mark = " DEFECT" if row.broken else ""
        made.add_row(
            row.region,
            row.part,
            f"{'' if row.exact else '~'}{row.predicted_bytes:,}",
            f"{row.linked_bytes:,}",
            f"{row.difference_bytes:+,}{mark}" if row.difference_bytes else "0",
        )
    out.print(made)
    for region, used in built.used_bytes.items():
        if used:
            capacity = built.capacity_bytes[region]
            out.print(f"{region}: {used:,} of {capacity:,} bytes, {100 * used / capacity:.1f} %")
    for warning in built.warnings:
        out.print(f"warning: {warning}")
    here = Path.cwd()
    elf = built.elf.relative_to(here) if built.elf.is_relative_to(here) else built.elf
    out.print(f"{elf} in {built.seconds:.1f} s")
    if not built.as_predicted:
        out.print(verdict_line(False, "DIFFERS: linked sizes are not the ones promised"))


def print_test(tested: Tested, out: Console, *, unit: str = "instructions") -> None:
    """One paragraph per emulator, then the project's own tests."""
    for verdict in tested.verdicts:
        _print_verdict(verdict, tested, out, unit)
    for name, reason in tested.skipped:
        out.print(f"{name}: skipped, {reason}")
    if tested.counts_apart is not None:
        state = "agree" if tested.counts_agree else "DIFFER"
        out.print(f"the emulators' counts {state}: {tested.counts_apart:,} instructions apart")
    if tested.project_tests is not None:
        text, passed = tested.project_tests
        out.print(f"the project's own tests: {'passed' if passed else 'FAILED'}: {text}")
    out.print(
        verdict_line(True, "PASSED: bit-exact") if tested.passed else verdict_line(False, "FAILED")
    )


def _print_verdict(verdict: Verdict, tested: Tested, out: Console, unit: str) -> None:
    state = "bit-exact" if verdict.bit_exact else "DIFFERS"
    out.print(
        f"{verdict.emulator}: {state} over {verdict.inferences} inferences, "
        f"{verdict.compared_operators} of {verdict.operators} operators compared each time, "
        f"{verdict.distinct_outputs} distinct outputs"
    )
    if verdict.constant_output:
        out.print("  the output never changed: that proves nothing, and counts as a failure")
    if verdict.divergence is not None:
        out.print(f"  {verdict.divergence}")
    if verdict.fallbacks:
        out.print(f"  golden is LiteRT's reference for {', '.join(sorted(set(verdict.fallbacks)))}")
    macs = tested.manifest.macs
    per_mac = f" ({verdict.instructions / macs:.2f} per MAC)" if macs else ""
    out.print(
        f"  {verdict.instructions:,} {unit} per inference{per_mac}, "
        f"stack {verdict.stack_bytes:,} bytes"
    )
    known = [operator.instructions for operator in tested.manifest.operators]
    if None not in known and verdict.instructions:
        predicted = sum(count or 0.0 for count in known)
        error = 100 * (predicted / verdict.instructions - 1)
        out.print(f"  predicted before the build: {predicted:,.0f} ({error:+.1f} %)")


def print_deployed(deployed: Deployed, out: Console) -> None:
    """The whole story of `deploy`."""
    report = deployed.project.deployment.report
    print_fit(report, out)
    if deployed.project.deployment.evaluation is not None:
        out.print()
        print_evaluation(deployed.project.deployment.evaluation, out)
    if deployed.built is not None and deployed.tested is not None:
        out.print()
        print_build(deployed.built, out)
        out.print()
        print_test(deployed.tested, out)
    out.print(f"project: {deployed.project.folder}")
    if deployed.built is None:
        out.print("next: `mcudeploy fit` on the same model and board says what would change it")


def print_boards(found: tuple[Board, ...], out: Console) -> None:
    made = table("board", "title", "core", "MHz", "RAM", "flash", right=("MHz", "RAM", "flash"))
    for board in found:
        ram = "+".join(f"{region.size // 1024}" for region in board.regions("ram"))
        flash = "+".join(f"{region.size // 1024}" for region in board.regions("flash"))
        made.add_row(
            board.name,
            board.title,
            board.core.name.removeprefix("cortex-"),
            f"{board.clock.hz / 1e6:g}",
            ram,
            flash,
        )
    out.print(made)
    out.print("sizes in KiB; `mcudeploy boards NAME` shows one in full")


def print_board(board: Board, out: Console) -> None:
    out.print(Text(board.title, style="bold"))
    out.print(f"{board.mcu} by {board.vendor}, {board.core.name}, {board.clock.hz / 1e6:g} MHz")
    out.print(f"tried on {board.tried_on}")
    made = table("region", "kind", "address", "bytes", "rules", right=("bytes",))
    for region in board.memory:
        rules = [
            word
            for word, holds in (
                ("no DMA", not region.dma),
                ("no code", not region.execute),
                ("external", region.external),
                (f"{region.wait_states} wait states", region.wait_states > 0),
            )
            if holds
        ]
        made.add_row(
            region.name, region.kind, f"0x{region.address:08x}", f"{region.size:,}",
            ", ".join(rules),
        )  # fmt: skip
    out.print(made)
    out.print(f"serial link: {board.uart.name} at {board.uart.baud:,} baud")
    if board.notes:
        out.print(board.notes)


def print_doctor(checks: tuple[Check, ...], out: Console) -> None:
    for check in checks:
        out.print(f"{check.state:<12} {check.name}: {check.detail}")
        if check.mend:
            out.print(f"{'':<12} needed for {check.needed_for}; mend:")
            out.print(f"    {check.mend}", soft_wrap=True)  # whole, so that it can be copied
    broken = [check for check in checks if check.required and check.state != "ok"]
    out.print(
        verdict_line(True, "all that is needed is here")
        if not broken
        else verdict_line(False, f"{len(broken)} needed tools are missing or broken")
    )
