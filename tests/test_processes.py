# SPDX-License-Identifier: Apache-2.0
"""What we started ends with us, though SIGKILL leaves us no moment to see to it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from process_ends import children_of, ends

from mcudeploy.frontend.reference import golden_unavailable

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

STOPPED_WORKER = """
import os, signal, sys, time
from tflite_builder import one_operator
from mcudeploy.frontend.reference import Reference
golden = Reference(one_operator("TANH", shape=(1, 4), scale=0.1, zero_point=0,
                                out_scale=1 / 128, out_zero_point=0))
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
