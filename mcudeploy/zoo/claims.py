# SPDX-License-Identifier: Apache-2.0
"""Published figures and how our own count answers them.

A `Claim` is one figure of a paper, as it was printed, with the convention under which our count
meets it. `check` turns it into a `Row`. A figure is met when the computed value rounds to the
printed one at the printed precision; every other row must explain itself, and a test holds all
architectures to that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mcudeploy.zoo.counting import Counts

_UNITS = {
    "": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "%": 0.01, "B": 1.0, "MB": 1e6,
    "KiB": 1024.0, "MiB": 1024.0**2,
}  # fmt: skip
_PRINTED = re.compile(r"([\d,]+(?:\.(\d+))?) ?(K|M|G|%|B|MB|KiB|MiB)?")

Measure = Callable[[Counts], float | str]


@dataclass(frozen=True)
class Claim:
    """One published figure of a member, and the measure that answers it.

    `measure` gives a number, or a text where the figure is one (a shape); it is None for a figure
    that only training gives (accuracy): that is quoted.
    """

    figure: str
    published: str
    measure: Measure | None
    convention: str
    explanation: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One line of `zoo verify`: published, computed, convention, difference."""

    system: str
    figure: str
    published: str
    computed: float | str | None
    convention: str
    explanation: str = ""

    @property
    def difference(self) -> float | None:
        """Computed minus published; None where nothing, or a text, is computed."""
        if isinstance(self.computed, float):
            return self.computed - parse(self.published)[0]
        return None

    @property
    def met(self) -> bool:
        """Whether the computed figure is the published one, at its printed precision."""
        if isinstance(self.computed, float):
            value, half = parse(self.published)
            return abs(self.computed - value) <= half + 1e-9 * abs(value)
        return self.computed == self.published

    def __str__(self) -> str:
        if self.computed is None:
            return f"{self.system}: {self.figure} {self.published} ({self.convention})"
        sign = "=" if self.met else "is not"
        text = f"{self.system}: {self.figure} {self.published} {sign} {self.shown()}"
        text += f" ({self.convention})"
        return text + (f": {self.explanation}" if self.explanation else "")

    def shown(self) -> str:
        """The computed figure in the unit of the published one, two digits more precise."""
        if isinstance(self.computed, float):
            return _in_unit(self.computed, self.published)
        return self.computed or ""

    def shown_difference(self) -> str:
        """The difference in the unit of the published figure, with its sign."""
        if self.difference is None:
            return ""
        text = _in_unit(abs(self.difference), self.published)
        return text if self.difference == 0 else ("+" if self.difference > 0 else "-") + text


def _match(printed: str) -> re.Match[str]:
    match = _PRINTED.fullmatch(printed)
    if match is None:
        raise ValueError(f"not a printed figure: {printed!r}")
    return match


def parse(printed: str) -> tuple[float, float]:
    """A printed figure and half a unit of its last digit: `"4.2M"` is (4.2e6, 0.05e6).

    Trailing zeros of a plain whole number are digits: 86,400 is exact.
    """
    number, decimals, unit = _match(printed).groups()
    scale = _UNITS[unit or ""]
    exact = decimals is None and scale == 1
    return float(number.replace(",", "")) * scale, (
        0.0 if exact else 0.5 * scale * 10.0 ** -len(decimals or "")
    )


def _in_unit(value: float, printed: str) -> str:
    _, decimals, unit = _match(printed).groups()
    unit = unit or ""
    scaled = value / _UNITS[unit]
    whole = unit in ("", "B") and decimals is None and value == int(value)
    digits = 0 if whole else len(decimals or "") + 2
    space = " " if unit not in ("", "K", "M", "G", "%") else ""
    return f"{scaled:,.{digits}f}{space}{unit}"


def check(system: str, claim: Claim, counts: Callable[[], Counts]) -> Row:
    """The row of a claim; `counts` gives the counts of the member with the claim's options."""
    computed = None if claim.measure is None else claim.measure(counts())
    if isinstance(computed, int):
        computed = float(computed)
    return Row(system, claim.figure, claim.published, computed, claim.convention, claim.explanation)


def macs(published: str, explanation: str = "", **options: Any) -> Claim:
    """All multiply-accumulates, the classifier's among them."""
    return Claim("MACs", published, lambda c: c.macs, "all layers", explanation, options)


def macs_without_classifier(published: str, explanation: str = "", **options: Any) -> Claim:
    """Multiply-accumulates but those of the last layer with weights."""
    return Claim(
        "MACs", published, lambda c: c.macs_without_classifier, "without the classifier",
        explanation, options,
    )  # fmt: skip


def kernels(published: str, explanation: str = "", **options: Any) -> Claim:
    """Parameters without biases and batch norm."""
    return Claim(
        "parameters", published, lambda c: c.kernels, "weights alone, no biases, no batch norm",
        explanation, options,
    )  # fmt: skip


def with_biases(published: str, explanation: str = "", **options: Any) -> Claim:
    """Parameters with biases, batch norm folded away."""
    return Claim(
        "parameters", published, lambda c: c.kernels + c.biases, "weights and biases",
        explanation, options,
    )  # fmt: skip


def trainable(published: str, explanation: str = "", **options: Any) -> Claim:
    """Parameters that training changes."""
    return Claim(
        "parameters", published, lambda c: c.trainable,
        "trainable: weights, biases, batch norm's scale and shift", explanation, options,
    )  # fmt: skip


def parameters(published: str, explanation: str = "", **options: Any) -> Claim:
    """Every parameter that is stored, batch norm's moving statistics among them."""
    return Claim(
        "parameters", published, lambda c: c.parameters,
        "all that is stored, batch norm's statistics too", explanation, options,
    )  # fmt: skip


def conv_macs(published: str, explanation: str = "", **options: Any) -> Claim:
    """Multiply-accumulates of the convolutions alone."""
    return Claim(
        "MACs of convolutions", published,
        lambda c: sum(x.macs for x in c.of("conv", "depthwise")), "convolutions alone",
        explanation, options,
    )  # fmt: skip


def conv_kernels(published: str, explanation: str = "", **options: Any) -> Claim:
    """Weights of the convolutions alone."""
    return Claim(
        "weights of convolutions", published,
        lambda c: sum(x.kernels for x in c.of("conv", "depthwise")), "convolutions, no biases",
        explanation, options,
    )  # fmt: skip


def layer_parameters(layer: str, published: str, **options: Any) -> Claim:
    """Weights and biases of one layer, or of a module of layers named `layer/...`."""
    return Claim(
        f"parameters of {layer}", published, lambda c: c.named(layer).parameters,
        "weights and biases", "", options,
    )  # fmt: skip


def output(layer: str, published: str, explanation: str = "", **options: Any) -> Claim:
    """The output of one layer, HWC."""
    return Claim(
        f"output of {layer}", published, lambda c: "x".join(map(str, c.outputs[layer])),
        "height x width x channels", explanation, options,
    )  # fmt: skip


def top1(published: str, *, figure: str = "ImageNet top-1 accuracy, %", **options: Any) -> Claim:
    """An accuracy that the paper reports: quoted, never computed here."""
    return Claim(figure, published, None, "the paper's own; not measured here", "", options)


def top1_error(published: str, **options: Any) -> Claim:
    """An error that the paper reports: quoted, never computed here."""
    return top1(published, figure="ImageNet top-1 error, %", **options)
