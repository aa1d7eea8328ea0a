# SPDX-License-Identifier: Apache-2.0
"""docs/operators.md says what the code does.

What hypothesis draws depends on its version and on the modules that are loaded, so no run is held
to the page's very rows: a run finds nothing that the page lacks, and the long run finds all of it.
"""

from __future__ import annotations

import re

import pytest
from operator_table import (
    DRAWS_TO_CHECK,
    DRAWS_TO_WRITE,
    PAGE,
    SHOWN_CORES,
    refusals,
    rows,
    written_rows,
)

from mcudeploy.graph.passes import pass_names
from mcudeploy.operators.base import known_kinds

MEND = "python tests/operator_table.py writes it"


def test_every_operator_has_a_test_that_draws_it():
    assert set(known_kinds()) - set(rows(DRAWS_TO_CHECK)) == {"TABLE"}


def test_the_page_has_every_operator_type_and_kernel_that_is_drawn():
    written = written_rows(PAGE.read_text(encoding="utf-8"))
    drawn = rows(DRAWS_TO_CHECK)
    assert set(written) == set(drawn), MEND
    for kind, row in drawn.items():
        assert row.types <= written[kind].types, f"{kind}: {MEND}"
        for core in SHOWN_CORES:
            assert row.kernels[core] <= written[kind].kernels[core], f"{kind}, {core}: {MEND}"


def test_the_page_gives_the_reasons_that_the_code_has():
    assert PAGE.read_text(encoding="utf-8").endswith(refusals()), MEND


@pytest.mark.slow(reason=f"draws {DRAWS_TO_WRITE} of each operator")
def test_nothing_on_the_page_is_never_drawn():
    for kind, row in written_rows(PAGE.read_text(encoding="utf-8")).items():
        drawn = rows(DRAWS_TO_WRITE)[kind]
        assert row.types <= drawn.types, f"{kind}: {MEND}"
        for core in SHOWN_CORES:
            assert row.kernels[core] <= drawn.kernels[core], f"{kind}, {core}: {MEND}"


def test_the_page_of_passes_lists_them_in_the_order_in_which_they_run():
    text = (PAGE.parent / "concepts" / "passes.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)) == pass_names()
