# SPDX-License-Identifier: Apache-2.0
"""A command that is killed, or that the disk fails, leaves the old project or the new, never half.

Faults are injected system call by system call: a child process ends itself without any clean-up
(as SIGKILL does) right before the n-th call that changes the disk, for every n.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from test_cli import dense_model

from mcudeploy import api
from mcudeploy.codegen import output
from mcudeploy.codegen.manifest import MANIFEST_NAME
from mcudeploy.errors import InputError
from mcudeploy.files import write_file

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="faults are injected with fork()")

CALLS = ("replace", "mkdir", "rmdir", "unlink", "open", "chmod")
"""Functions of `os` that all writing goes through."""


@pytest.fixture(scope="module")
def versions(tmp_path_factory) -> list[dict[str, bytes]]:
    """The files of two small projects, and of none other."""
    made = []
    for width in (8, 24):
        folder = tmp_path_factory.mktemp("version")
        (folder / "dense.tflite").write_bytes(dense_model(width))
        api.generate(folder / "dense.tflite", "stm32f469", folder / "out")
        kept = ("mcudeploy.json", "lib/model/", "tests/", "src/")
        made.append({
            name: path.read_bytes()
            for path in sorted((folder / "out").rglob("*"))
            if path.is_file()
            and (name := path.relative_to(folder / "out").as_posix()).startswith(kept)
        })  # fmt: skip
    return made


def which(folder: Path, versions: list[dict[str, bytes]]) -> int:
    """The version that the folder holds, whole; fails for anything else."""
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    found.pop("tests/test_mine.py", None)
    assert found in versions, f"half a project: {sorted(found)}"
    return versions.index(found)


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked child; its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(3)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class DiesAtCall:
    """Ends the process without clean-up right before the n-th call of any of CALLS."""

    def __init__(self, number: int) -> None:
        self.left = number

    def wrapped(self, function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            self.left -= 1
            if self.left < 0:
                os._exit(9)
            return function(*arguments, **options)

        return call

    def patches(self) -> list[mock._patch[object]]:
        return [mock.patch.object(os, name, self.wrapped(getattr(os, name))) for name in CALLS]


def write_and_die(folder: Path, files: dict[str, bytes], number: int, *, exchange: bool) -> int:
    def work() -> None:
        for patch in DiesAtCall(number).patches():
            patch.start()
        if not exchange:
            mock.patch.object(output, "_exchange", return_value=False).start()
        output.write_project(folder, files)

    return in_child(work)


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])
def test_killed_before_every_single_call_a_whole_project_is_left(tmp_path, versions, exchange):
    folder = tmp_path / "out"
    mine = folder / "tests/test_mine.py"
    output.write_project(folder, versions[0])
    mine.write_text("def test_mine(): pass\n")
    seen, missing, number = set(), 0, 0
    while True:
        status = write_and_die(folder, versions[1], number, exchange=exchange)
        assert status in (0, 9)
        if folder.exists():
            seen.add(which(folder, versions))
            assert mine.exists(), "what the user added is lost"
        else:
            missing += 1
        output.write_project(folder, versions[0])  # the next command finds everything in order
        assert which(folder, versions) == 0 and mine.exists()
        assert os.listdir(tmp_path) == ["out"], "a killed command's leftovers were not removed"
        if status == 0:
            break
        number += 1
    assert number > 20 and seen == {0, 1}
    assert missing == (0 if exchange else 1), "the folder must not be gone at any moment"


def test_killed_at_any_time_a_whole_project_is_left(tmp_path, versions):
    """SIGKILL at random moments while a child writes one version after the other."""
    folder = tmp_path / "out"
    output.write_project(folder, versions[0])
    delays = random.Random(0)

    def work() -> None:
        while True:
            output.write_project(folder, versions[1])
            output.write_project(folder, versions[0])

    for _ in range(60):
        child = os.fork()
        if child == 0:
            work()
        time.sleep(delays.uniform(0.001, 0.04))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        which(folder, versions)
    output.write_project(folder, versions[1])
    assert os.listdir(tmp_path) == ["out"]


def test_two_commands_on_one_folder_take_turns(tmp_path, versions):
    folder = tmp_path / "out"
    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            try:
                for _ in range(8):
                    output.write_project(folder, versions[number % 2])
                os._exit(0)
            except BaseException:
                os._exit(3)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
    which(folder, versions)
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_failing_disk_keeps_the_old_project_and_is_told(tmp_path, versions, code):
    folder = tmp_path / "out"
    output.write_project(folder, versions[0])
    write = Path.write_bytes
    for number in range(len(versions[1])):
        count = iter(range(10_000))

        def failing(path: Path, data: bytes, count=count, number=number) -> int:
            if next(count) == number:
                write(path, data[: len(data) // 2])
                raise OSError(code, os.strerror(code))
            return write(path, data)

        with (
            mock.patch.object(Path, "write_bytes", failing),
            pytest.raises(InputError, match="writing the project failed"),
        ):
            output.write_project(folder, versions[1])
        assert which(folder, versions) == 0 and os.listdir(tmp_path) == ["out"]


def test_a_full_disk_under_the_whole_command(tmp_path):
    """No file may grow beyond 2,000 bytes: a limit that the system itself enforces."""
    (tmp_path / "dense.tflite").write_bytes(dense_model())
    command = [sys.executable, "-m", "mcudeploy.cli", "generate", tmp_path / "dense.tflite",
               "-b", "stm32f469", "-o", tmp_path / "out"]  # fmt: skip
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 2 and "writing the project failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["dense.tflite"]


def test_interrupted_while_writing_nothing_is_left(tmp_path, versions):
    folder = tmp_path / "out"
    output.write_project(folder, versions[0])
    with (
        mock.patch.object(output, "_swap", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        output.write_project(folder, versions[1])
    assert which(folder, versions) == 0 and os.listdir(tmp_path) == ["out"]


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    target = tmp_path / "model.tflite"
    write_file(target, b"old" * 1000)
    for number in range(12):

        def work(number=number) -> None:
            for patch in DiesAtCall(number).patches():
                patch.start()
            write_file(target, b"new" * 1000)

        in_child(work)
        assert target.read_bytes() in (b"old" * 1000, b"new" * 1000)


def test_a_firmware_of_the_old_project_does_not_stay(tmp_path, versions):
    folder = tmp_path / "out"
    output.write_project(folder, versions[0])
    build = folder / ".pio/build/offline"
    build.mkdir(parents=True)
    for name in ("firmware.elf", "firmware.bin", "object.o"):
        (build / name).write_bytes(b"old")
    output.write_project(folder, versions[1])
    assert os.listdir(build) == ["object.o"]


def test_a_project_that_was_cut_in_two_renames_is_found_again(tmp_path, versions):
    """Where folders cannot be exchanged: the old project waits beside its place."""
    folder = tmp_path / "out"
    output.write_project(folder, versions[0])
    (folder / "tests/test_mine.py").write_text("def test_mine(): pass\n")
    folder.rename(tmp_path / ".out.mcudeploy-old")
    output.write_project(folder, versions[1])
    assert which(folder, versions) == 1 and (folder / "tests/test_mine.py").exists()
    assert (folder / MANIFEST_NAME).is_file()
