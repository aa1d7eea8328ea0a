# SPDX-License-Identifier: Apache-2.0
"""The child process may crash, hang, or lose its parent: the user reads why, and nothing stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mcudeploy.errors import InputError, ToolError, UnsupportedModelError
from mcudeploy.frontend import tf_process
from mcudeploy.frontend.tf_process import run_worker

_PRELUDE = """
import json, os, signal, sys, time
folder = sys.argv[1]
request = json.load(open(folder + "/request.json"))
def tell(**message):
    os.write(1, json.dumps(message).encode() + b"\\n")
def end(**values):
    json.dump(values, open(folder + "/result.json", "w"))
    sys.exit()
def crash():
    sys.stderr.write("last words\\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGSEGV)
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """worker(source) puts a script in the place of the real child process."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(tf_process, "_WORKER", "standin_worker")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    def install(source: str) -> Path:
        (tmp_path / "standin_worker.py").write_text(_PRELUDE + source, encoding="utf-8")
        return scratch

    return install


_REQUEST = {"task": "quantize", "model": "m.h5"}


def test_results_files_and_progress_come_back(worker) -> None:  # type: ignore[no-untyped-def]
    scratch = worker(
        """
tell(phase="load", text="loading")
open(folder + "/out.bin", "wb").write(b"abc")
end(files=["out.bin"], answer=42)
"""
    )
    told: list[str] = []
    result = run_worker(_REQUEST, progress=told.append)
    assert result.files == {"out.bin": b"abc"} and result.values == {"answer": 42}
    assert told == ["loading"]
    assert not list(scratch.iterdir())


def test_an_error_of_the_child_is_raised_as_itself(worker) -> None:  # type: ignore[no-untyped-def]
    worker('end(error=dict(type="InputError", problem="p", where="w", mend="m", trace="t"))')
    with pytest.raises(InputError) as raised:
        run_worker(_REQUEST)
    assert (raised.value.problem, raised.value.where, raised.value.mend) == ("p", "w", "m")
    assert raised.value.__notes__ == ["t"]


def test_a_crash_in_the_converter_names_the_layer_that_crashes_alone(worker) -> None:  # type: ignore[no-untyped-def]
    scratch = worker(
        """
if request["task"] == "blame":
    tell(phase="blame")
    tell(layer="'good' (Dense)")
    tell(layer="'bad' (LSTM)")
    crash()
tell(phase="convert")
crash()
"""
    )
    with pytest.raises(UnsupportedModelError, match="SIGSEGV") as raised:
        run_worker(_REQUEST)
    assert "'bad' (LSTM)" in raised.value.where and "unroll=True" in raised.value.mend
    assert not list(scratch.iterdir())


def test_a_crash_that_no_layer_repeats_says_so(worker) -> None:  # type: ignore[no-untyped-def]
    worker('end() if request["task"] == "blame" else (tell(phase="convert"), crash())')
    with pytest.raises(UnsupportedModelError, match="each layer alone converts"):
        run_worker(_REQUEST)


def test_a_crash_elsewhere_names_the_phase_and_keeps_the_last_output(worker) -> None:  # type: ignore[no-untyped-def]
    worker('tell(phase="load")\ncrash()')
    with pytest.raises(ToolError, match="crashed") as raised:
        run_worker(_REQUEST)
    assert "load" in raised.value.where
    assert raised.value.__cause__ is not None
    assert "last words" in raised.value.__cause__.__notes__[0]


def test_a_hang_ends_with_the_time_limit(worker) -> None:  # type: ignore[no-untyped-def]
    scratch = worker('tell(phase="load")\ntime.sleep(600)')
    begin = time.monotonic()
    with pytest.raises(ToolError, match="did not finish within 1 s"):
        run_worker(_REQUEST, timeout_seconds=1)
    assert time.monotonic() - begin < 10
    assert not list(scratch.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_when_the_parent_is_stopped(tmp_path: Path, number: int) -> None:
    """The real worker, stopped while TensorFlow starts: no process and no folder stays."""
    model = Path(__file__).with_name("data") / "quantization_aware.h5"
    script = (
        "import sys\n"
        "from mcudeploy.frontend.quantize import quantize\n"
        "quantize(sys.argv[1], progress=lambda text: print(text, flush=True))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(model)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline().strip() == b"starting TensorFlow"
    (folder,) = tmp_path.iterdir()
    parent.send_signal(number)
    parent.wait(20)
    parent.stdout.close()
    deadline = time.monotonic() + 90  # importing TensorFlow holds the interpreter for long
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list(tmp_path.iterdir())
    while _processes_with(folder.name) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _processes_with(folder.name)


def _processes_with(argument: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if argument.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found
