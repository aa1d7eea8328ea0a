# SPDX-License-Identifier: Apache-2.0
"""One C snippet for an operator that runs in many steps, each with constants of its own.

The snippets of all steps are rendered and compared word by word. Where they differ, and both words
are integers, the word becomes a column of a table with a row for each step; a constant array that
differs becomes an array of arrays. A declaration that reads the table can no longer be static.
Steps whose snippets differ in anything else, or whose weights differ, have no snippet in common.

Names in a snippet stand for what is not known yet: `MCUD_IN_0`, `MCUD_OUT_0`, `MCUD_SCRATCH`,
`MCUD_CONSTANT_<name>` and `MCUD_COLUMN_<number>`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcudeploy.graph.ir import Graph, Operator
from mcudeploy.operators.base import Constant, Implementation, Target, as_constant, family_of
from mcudeploy.operators.snippet import snippet_template
from mcudeploy.operators.step_fully_connected import step_fully_connected

_WORDS = re.compile(r"[A-Za-z_]\w*|\d[\w.]*|\s+|.", re.DOTALL)
_INTEGER = re.compile(r"-?\d+$")
_BEFORE_A_SIGN = frozenset("=,({[:?<>+*/")
_INT32 = range(-(1 << 31), 1 << 31)


@dataclass(frozen=True, eq=False)
class Unified:
    """`text` for all steps. `columns` have a value a step; `stacked` constants a row a step."""

    implementation: Implementation
    """That of the first step."""
    text: str
    columns: tuple[tuple[int, ...], ...]
    constants: tuple[Constant, ...]
    stacked: frozenset[str]


def unified_kernels(bodies: Sequence[Graph], position: int, target: Target) -> tuple[Unified, ...]:
    """The kernels that can compute operator `position` of every body by one snippet.

    Also where sizes alone are asked for: which constants differ follows from their values.
    """
    target = replace(target, sizes_only=False)
    operators = [body.operators[position] for body in bodies]
    offers = [
        _offers(body, operator, target) for body, operator in zip(bodies, operators, strict=True)
    ]
    found = []
    for number, kernel in enumerate(one.kernel for one in offers[0]):
        same = [
            next((one for one in (*offer[number:], *offer) if one.kernel == kernel), None)
            for offer in offers
        ]
        known = [one for one in same if one is not None]
        one = unify(known) if len(known) == len(same) else None
        if one is not None:
            found.append(one)
    return tuple(found)


def _offers(body: Graph, operator: Operator, target: Target) -> Sequence[Implementation]:
    """The kernels of one step, the one made for steps first."""
    family = family_of(operator.kind)
    assert family is not None
    if operator.kind != "FULLY_CONNECTED":
        return family.implementations(body, operator, target)
    # Our packed kernel has what a step's zero point adds among the weights, which stand once.
    library = Target(target.core, "cmsis-nn", target.optimize, target.sizes_only)
    own = step_fully_connected(body, operator, target) if target.kernels == "auto" else None
    offers = family.implementations(body, operator, library)
    return (own, *offers) if own is not None else offers


def unify(steps: Sequence[Implementation]) -> Unified | None:
    """The implementation that all steps have in common; None where there is none."""
    first = steps[0]
    if any(_needs(one) != _needs(first) for one in steps):
        return None
    constants = _unified_constants(steps)
    texts = [_words(_rendered(one)) for one in steps]
    if constants is None or len({len(words) for words in texts}) != 1:
        return None
    columns: list[tuple[int, ...]] = []
    words: list[str] = []
    varied: set[int] = set()
    for at, options in enumerate(zip(*texts, strict=True)):
        if len(set(options)) == 1:
            words.append(options[0])
            if options[0].removeprefix("MCUD_CONSTANT_") in constants[1]:
                varied.add(at)
            continue
        values = [_integer(option) for option in options]
        known = tuple(value for value in values if value is not None)
        if len(known) != len(values):
            return None
        varied.add(at)
        words.append(f"MCUD_COLUMN_{len(columns)}")
        columns.append(known)
    return Unified(
        first, _without_static(words, varied), tuple(columns), constants[0], constants[1]
    )


def _needs(one: Implementation) -> tuple[object, ...]:
    return one.overlaps, one.placed, one.sources, one.scratch_bytes


def _unified_constants(
    steps: Sequence[Implementation],
) -> tuple[tuple[Constant, ...], frozenset[str]] | None:
    names = [tuple(c.name for c in one.constants) for one in steps]
    if len(set(names)) != 1:
        return None
    found: list[Constant] = []
    stacked: set[str] = set()
    for versions in zip(*(one.constants for one in steps), strict=True):
        first = versions[0]
        if any(v.data.shape != first.data.shape for v in versions):
            return None
        if all(np.array_equal(v.data, first.data) for v in versions):
            found.append(first)
            continue
        if first.part == "weights":
            return None
        data = as_constant(np.stack([v.data for v in versions]), str(first.data.dtype))
        found.append(Constant(first.name, data, first.part, first.alignment))
        stacked.add(first.name)
    return tuple(found), frozenset(stacked)


def _rendered(one: Implementation) -> str:
    return snippet_template(one.snippet).render(
        one.values,
        inputs=[f"MCUD_IN_{number}" for number in range(32)],
        outputs=[f"MCUD_OUT_{number}" for number in range(32)],
        scratch="MCUD_SCRATCH",
        constants={c.name: f"MCUD_CONSTANT_{c.name}" for c in one.constants},
    )


def _words(text: str) -> list[str]:
    """The words of a C text; an integer has its sign with it."""
    words: list[str] = []
    before = last = ""  # the last two words that are no space
    for word in _WORDS.findall(text):
        if last == "-" and words[-1] == "-" and word.isdigit() and before in _BEFORE_A_SIGN:
            words[-1] = f"-{word}"
            last = words[-1]
            continue
        words.append(word)
        if not word.isspace():
            before, last = last, word
    return words


def _integer(word: str) -> int | None:
    if word == "INT32_MIN":
        return _INT32.start
    if not _INTEGER.match(word):
        return None
    value = int(word)
    return value if value in _INT32 else None


def _without_static(words: Sequence[str], varied: set[int]) -> str:
    """The text; declarations that a varied word stands in are no longer static."""
    kept = list(words)
    for at, word in enumerate(words):
        if word == "static":
            end = next((i for i in range(at, len(words)) if words[i] == ";"), len(words))
            if any(at < i < end for i in varied):
                kept[at] = ""
                kept[at + 1] = ""
    return "".join(kept)
