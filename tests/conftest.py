# SPDX-License-Identifier: Apache-2.0
"""What all tests share: which of them run here, where the real models are, what was skipped."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nightly", action="store_true", help="run the tests marked slow, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for reason in _reasons_to_skip(config, item):
            item.add_marker(pytest.mark.skip(reason=reason))


def _reasons_to_skip(config: pytest.Config, item: pytest.Item) -> Iterator[str]:
    slow = item.get_closest_marker("slow")
    if slow and not config.getoption("--nightly"):
        why = " ".join([*slow.args, *slow.kwargs.values()]) or "takes long"
        yield f"slow ({why}): `make nightly` runs it"
    if item.get_closest_marker("renode") and not shutil.which("renode"):
        yield "Renode is not installed"
    if item.get_closest_marker("board") and not os.environ.get("MCUDEPLOY_PORT"):
        yield "no board: MCUDEPLOY_PORT names no serial port"


@pytest.fixture(scope="session")
def real_model() -> Callable[[str], Path]:
    """`real_model("kws_ref_model.tflite")` is that file in the folder MCUDEPLOY_MODELS.

    Without the variable the test is skipped; with it, a file that is missing fails the test.
    """
    folder = os.environ.get("MCUDEPLOY_MODELS")

    def find(name: str) -> Path:
        if not folder:
            pytest.skip("MCUDEPLOY_MODELS is not set: no folder of real models")
        path = Path(folder, name)
        assert path.is_file(), f"MCUDEPLOY_MODELS is set, but {path} is missing"
        return path

    return find


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = Counter(_skip_reason(r) for r in terminalreporter.stats.get("skipped", ()))
    if skipped:
        terminalreporter.section("skipped, and why")
        for reason, count in sorted(skipped.items()):
            terminalreporter.line(f"{count:4d}  {reason}")


def _skip_reason(report: pytest.TestReport) -> str:
    where = report.longrepr
    text = where[2] if isinstance(where, tuple) else str(where)
    return text.removeprefix("Skipped: ")
