# SPDX-License-Identifier: Apache-2.0
"""What we started ends with us, though SIGKILL leaves us no moment to see to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from process_ends import children_of, ends
from tflite_builder import one_operator

from mcudeploy import api
from mcudeploy.frontend.reference import golden_unavailable

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

TANH = one_operator(
    "TANH", shape=(1, 4), scale=0.1, zero_point=0, out_scale=1 / 128, out_zero_point=0
)
STOPPED_WORKER = """
import os, signal, time
from test_processes import TANH
from mcudeploy.frontend.reference import Reference
golden = Reference(TANH)
os.kill(golden._process.pid, signal.SIGSTOP)  # as if it were deep in a long call
print(golden._process.pid, flush=True)
time.sleep(600)
"""


@linux_only
@pytest.mark.skipif(golden_unavailable() is not None, reason=str(golden_unavailable()))
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv of util-linux is not there")
def test_the_reference_ends_in_the_middle_of_a_call() -> None:
    ours = subprocess.Popen(
        [sys.executable, "-c", STOPPED_WORKER], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert ours.stdout is not None
    with ours.stdout:
        worker = int(ours.stdout.readline())
    ours.kill()
    ours.wait()
    assert ends(worker)


@linux_only
def test_the_processes_of_a_search_end(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "mcudeploy.cli", "explore", "all", "-b", "stm32f469",
         "--processes", "2"],
        env={**os.environ, "MCUDEPLOY_CACHE": str(tmp_path)}, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = children_of(run.pid)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert len(workers) >= 2
    assert all(ends(worker) for worker in workers)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "net.tflite").write_bytes(TANH)
    api.generate(folder / "net.tflite", "stm32f469", folder / "firmware")
    return folder / "firmware"


def child_of(pid: int, program: str, within_seconds: float = 60.0) -> int:
    """The child that runs a program, as soon as it does."""
    deadline = time.monotonic() + within_seconds
    while time.monotonic() < deadline:
        for child in children_of(pid):
            with contextlib.suppress(OSError):
                if program in Path(f"/proc/{child}/cmdline").read_text():
                    return child
        time.sleep(0.01)
    raise AssertionError(f"{program} was never seen")


@linux_only
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv of util-linux is not there")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_build_ends_with_all_that_it_started(project: Path, tmp_path: Path, number: int) -> None:
    run = subprocess.Popen(
        [sys.executable, "-m", "mcudeploy.cli", "build", str(project)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "MCUDEPLOY_CACHE": str(tmp_path)},  # no object is compiled yet
    )  # fmt: skip
    platformio = child_of(run.pid, "platformio")
    scons = child_of(platformio, "scons.py")
    run.send_signal(number)
    assert run.wait(60) == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert ends(platformio, 5.0) and ends(scons, 20.0)
