# SPDX-License-Identifier: Apache-2.0
"""The table of operators in docs/operators.md, from the code and the tests of operators.

`python tests/operator_table.py` writes it. Types and kernels are those that the tests' random
operators really have and get, on one core of each sort, over many more of them than one run of the
tests draws; the reasons for which an operator is refused are the phrases that its family's
`limits` can yield, read off the source.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import test_operators_conv
import test_operators_edges
import test_operators_elementwise
import test_operators_matmul
import test_operators_movement
import test_operators_plain
import test_operators_recurrent
import test_operators_reduction
import test_operators_softmax
from hypothesis import strategies as st
from operator_cases import CI_CASES, NIGHTLY_CASES, Case, draw, together
from test_one_to_one import CASES as TABLES
from test_one_to_one import quantizations
from tflite_builder import ModelBuilder

from mcudeploy.board import CORES
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import NO_TENSOR, Graph, Operator
from mcudeploy.graph.passes import place_parts
from mcudeploy.operators.base import OperatorFamily, Target, family_of, known_kinds

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operators.md"
DRAWS_TO_WRITE = 200
DRAWS_TO_CHECK = 12
SHOWN_CORES = ("cortex-m4f", "cortex-m0plus", "cortex-m55")
HEAD = """\
# Operators

What can be deployed, written by `python tests/operator_table.py` from the code and from the random
operators that the tests draw. Every output byte equals that of the golden reference: TensorFlow
Lite Micro (TFLM), or LiteRT's reference kernels where TFLM lacks the operator or the type. Each
operator is tested with {ci} random instances in every run and with {nightly} nightly, each kernel
that it offers, with its output as far over its input as the kernel permits.

Kernels named `arm_…` are CMSIS-NN's; `--kernels cmsis-nn` prefers them. Where a core has several,
shapes and scales decide, and the memory plan may take one that needs less RAM. `none` costs
nothing: the output lies where the input is.

| operator | types | reference | Cortex-M4F | Cortex-M0+ | Cortex-M55 |
|---|---|---|---|---|---|
"""


@dataclass
class Row:
    """What is known of one operator kind."""

    types: set[str] = field(default_factory=set)
    kernels: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


def operator_strategies(*, known_to_tflm: bool = False) -> list[st.SearchStrategy[Case]]:
    """Every strategy of the operator tests, tables aside.

    With `known_to_tflm` only those that TFLM computes: a model of many operators that TFLM lacks
    takes golden minutes, because each of them is tried alone.
    """
    modules = (
        test_operators_edges, test_operators_matmul, test_operators_plain,
        test_operators_recurrent, test_operators_softmax,
    )  # fmt: skip
    found = [
        one
        for module in modules
        for one in module.STRATEGIES
        if not (known_to_tflm and module is test_operators_plain)
    ]
    found += test_operators_conv.STRATEGIES.values()
    for groups in (test_operators_movement.GROUPS, test_operators_reduction.GROUPS):
        found += [
            one
            for name, group in groups.items()
            for one in group
            if not (known_to_tflm and name == "unknown to TFLM")
        ]
    kinds = {kind for _, group in test_operators_elementwise.GROUPS for kind in group}
    found += [test_operators_elementwise.binary(kind) for kind in sorted(kinds)]
    return found


@st.composite
def table(draw: st.DrawFn, kind: str, options: dict[str, Any]) -> Case:
    """An operator that becomes a table."""
    source, target = draw(quantizations(kind))

    def build(b: ModelBuilder) -> Sequence[int]:
        x = b.input((1, 8), scale=source.scale, zero_point=source.zero_point)
        y = b.tensor((1, 8), scale=target.scale, zero_point=target.zero_point)
        return [b.operator(kind, [x], y, **options)]

    return Case({"kind": kind}, build)


def lacking_in_tflm() -> set[str]:
    """The kinds that the tests let LiteRT compute."""
    named = [*test_operators_movement.LACKING.values(), test_operators_plain.LACKING]
    kinds = {"ELU", "GELU", *(kind for group in named for kind in group)}
    return kinds


def _reference(kind: str) -> str:
    # TFLM has arithmetic in int8, and slices without ellipsis and new axes.
    known = {*test_operators_plain.ARITHMETIC, "STRIDED_SLICE"}
    return "LiteRT" if kind in lacking_in_tflm() - known else "TFLM"


def _type(graph: Graph, operator: Operator) -> str:
    reads = [graph.tensors[i] for i in operator.inputs if i != NO_TENSOR]
    flowing = [t for t in reads if not t.is_constant and not t.is_variable] or reads
    state = sorted({t.dtype for t in reads if t.is_variable})
    first = "/".join(dict.fromkeys(t.dtype for t in flowing))
    last = graph.tensors[operator.outputs[0]].dtype
    text = first if first == last else f"{first} → {last}"
    return text + (f" (state {'/'.join(state)})" if state else "")


@cache
def rows(draws: int) -> dict[str, Row]:
    """A row for each kind that the strategies draw, from that many draws of each."""
    found: dict[str, Row] = defaultdict(Row)
    tables = [table(kind, options) for kind, options in TABLES]
    for strategy in (*operator_strategies(), *tables):
        cases = draw(strategy, draws)
        graph = place_parts.apply(read_tflite(together(cases)[0], "cases", deployable=False))
        for operator in graph.operators:
            family = family_of(operator.kind)
            assert family is not None, operator.kind
            row = found[operator.kind]
            row.types.add(_type(graph, operator))
            for core in SHOWN_CORES:
                target = Target(CORES[core])
                offered = family.implementations(graph, operator, target)
                row.kernels[core].update(one.kernel for one in offered)
    return found


def page() -> str:
    """The text of docs/operators.md."""
    head = HEAD.format(ci=CI_CASES, nightly=NIGHTLY_CASES)
    found = rows(DRAWS_TO_WRITE)
    return head + "".join(_line(kind, found[kind]) for kind in sorted(found)) + refusals()


def _line(kind: str, row: Row) -> str:
    kernels = [", ".join(f"`{name}`" for name in sorted(row.kernels[core])) for core in SHOWN_CORES]
    cells = [kind, ", ".join(sorted(row.types)), _reference(kind), *kernels]
    return f"| {' | '.join(cells)} |\n"


def written_rows(text: str) -> dict[str, Row]:
    """The rows that a page's text has: what `page` wrote, read again."""
    found = {}
    for line in text.partition("|---|")[2].splitlines()[1:]:
        if not line.startswith("| "):
            break
        kind, types, _, *kernels = [cell.strip() for cell in line.strip("| ").split(" | ")]
        row = Row(set(types.split(", ")))
        for core, names in zip(SHOWN_CORES, kernels, strict=True):
            row.kernels[core] = set(names.replace("`", "").split(", "))
        found[kind] = row
    return found


def refusals() -> str:
    """The second half of the page: why an operator of each family may be refused."""
    lines = ["\n## What is refused, and why\n\nEach reason is given with the operator's name.\n"]
    families: dict[type[OperatorFamily], list[str]] = defaultdict(list)
    for kind in known_kinds():
        families[type(family_of(kind))].append(kind)
    for family, kinds in sorted(families.items(), key=lambda item: item[1]):
        reasons = list(dict.fromkeys(_reasons(family)))
        lines.append(
            f"\n**{', '.join(kinds)}.** {' '.join((inspect.getdoc(family) or '').split())}\n"
        )
        if reasons:
            lines.append("\n" + "".join(f"- {reason}\n" for reason in reasons))
    return "".join(lines)


def _reasons(family: type[OperatorFamily]) -> Iterator[str]:
    """The phrases that `limits` of a family can yield, itself and through what it calls."""
    seen: set[str] = set()
    for base in family.__mro__:
        for name in ("limits", "arguments"):
            if name in vars(base):
                yield from _phrases(vars(base)[name], sys.modules[base.__module__], family, seen)


def _phrases(
    function: Any, module: ModuleType, family: type[OperatorFamily], seen: set[str]
) -> Iterator[str]:
    name = f"{module.__name__}.{function.__qualname__}"
    if name in seen or not module.__name__.startswith("mcudeploy.operators"):
        return
    seen.add(name)
    for node in ast.walk(ast.parse(dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Yield) and node.value is not None:
            yield _text(node.value)
        elif isinstance(node, ast.YieldFrom) and isinstance(node.value, ast.Call):
            called = node.value.func
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                target = getattr(family, called.attr, None)
            elif isinstance(called, ast.Name):
                target = getattr(module, called.id, None)
            else:
                target = None
            if inspect.isfunction(target):
                where = importlib.import_module(target.__module__)
                yield from _phrases(target, where, family, seen)


def _text(node: ast.expr) -> str:
    """A phrase with what is filled in shown as an ellipsis."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
        )
    return "…"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
