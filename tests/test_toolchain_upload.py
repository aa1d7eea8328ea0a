# SPDX-License-Identifier: Apache-2.0
"""`mcudeploy flash`: PlatformIO's upload, played by a program that says what PlatformIO says."""

from __future__ import annotations

import shlex
import sys
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from toolchain_project import write_project

from mcudeploy.board import find_board
from mcudeploy.errors import ToolError
from mcudeploy.toolchain import upload as uploading
from mcudeploy.toolchain.platformio import build, elf_path
from mcudeploy.toolchain.upload import upload, upload_command

BOARD = find_board("stm32f469")
FETCHING = "Platform Manager: Installing platformio/ststm32 @ ^19.0.0"


@pytest.fixture
def platformio(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what PlatformIO says, how it ends, and whether the registry answers."""

    def play(*says: str, status: int = 0, forever: bool = False, answers: bool = True) -> list[str]:
        lines = "".join(f"print({line!r}, flush=True)\n" for line in says)
        script = f"{lines}import sys, time\ntime.sleep({3600 * forever})\nsys.exit({status})"
        command = [sys.executable, "-c", script]
        monkeypatch.setattr(uploading, "upload_command", lambda project, board: command)
        monkeypatch.setattr(uploading, "_registry_answers", lambda: answers)
        return command

    return play


def test_every_line_is_shown_and_an_upload_that_ends_well_says_nothing(platformio: Any) -> None:
    platformio(FETCHING, "Uploading", "=== [SUCCESS] ===")
    shown: list[str] = []
    upload(Path(), BOARD, progress=shown.append)
    assert shown == [FETCHING, "Uploading", "=== [SUCCESS] ==="]


def test_a_registry_that_does_not_answer_is_not_waited_for(platformio: Any) -> None:
    command = platformio(FETCHING, forever=True, answers=False)
    with pytest.raises(ToolError, match="registry does not answer") as caught:
        upload(Path(), BOARD)
    assert shlex.join(command) in str(caught.value.mend)


def test_tools_that_are_there_need_no_registry(platformio: Any) -> None:
    platformio("Uploading", answers=False)
    upload(Path(), BOARD)


def test_what_was_built_is_still_there_for_the_test_on_the_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = write_project(tmp_path)
    built = build(project).elf.read_bytes()
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(tmp_path / "home"))  # no tools are there
    monkeypatch.setattr(uploading, "_registry_answers", lambda: False)
    with pytest.raises(ToolError, match="registry does not answer"):
        upload(project, BOARD)
    assert elf_path(project).read_bytes() == built


def test_a_network_that_is_lost_later_is_told_as_such(platformio: Any) -> None:
    platformio(FETCHING, "HTTPClientError: ", status=1)
    with pytest.raises(ToolError, match="registry does not answer"):
        upload(Path(), BOARD)


def test_an_upload_that_fails_is_told_with_the_command(platformio: Any) -> None:
    command = platformio("Error: no device found", status=1)
    with pytest.raises(ToolError, match="no device found") as caught:
        upload(Path(), BOARD)
    assert shlex.join(command) in str(caught.value.mend)


def test_the_registry_answers_with_any_page_and_not_without_a_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(error: Exception) -> Any:
        def open_(*_: Any, **__: Any) -> None:
            raise error

        return open_

    nothing: Any = None
    monkeypatch.setattr(
        "urllib.request.urlopen", failing(urllib.error.HTTPError("", 503, "busy", nothing, nothing))
    )
    assert uploading._registry_answers()
    for error in (urllib.error.URLError("no such name"), TimeoutError(), ConnectionResetError()):
        monkeypatch.setattr("urllib.request.urlopen", failing(error))
        assert not uploading._registry_answers()


def test_a_board_that_platformio_does_not_know_is_told_before_anything_runs() -> None:
    with pytest.raises(ToolError, match="PlatformIO does not know"):
        upload_command(Path(), find_board("mps2_an386"))
