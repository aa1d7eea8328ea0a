# SPDX-License-Identifier: Apache-2.0
"""docs/operators.md says what the code does."""

from __future__ import annotations

from operator_table import PAGE, page, rows

from mcudeploy.operators.base import known_kinds


def test_every_operator_has_a_test_that_draws_it():
    assert set(known_kinds()) - set(rows()) == {"TABLE"}


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "python tests/operator_table.py writes it"
