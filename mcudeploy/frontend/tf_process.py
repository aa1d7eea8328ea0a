# SPDX-License-Identifier: Apache-2.0
"""TensorFlow at arm's length: one job, one child process, whatever happens to it.

TensorFlow's converter can crash its process, and a model is untrusted input; so `run_worker`
starts `python -m mcudeploy.frontend.tf_worker FOLDER`, which reads `request.json` in a temporary
folder and leaves `result.json` (and the files that it made) there. On its standard output the
worker writes one JSON object a line: the phase that it has reached, for the user and to be able
to say where a crash happened. A pipe on its standard input ends when the parent dies, and then
the worker removes the folder and ends too.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import mcudeploy
from mcudeploy import errors
from mcudeploy.errors import McudeployError, ToolError, UnsupportedModelError

Progress = Callable[[str], None]

DEFAULT_TIMEOUT_SECONDS = 1800.0
_BLAME_TIMEOUT_SECONDS = 300.0
_WORKER = "mcudeploy.frontend.tf_worker"


@dataclass(frozen=True)
class WorkerResult:
    """What a job returned: its JSON result and the bytes of the files that it made, by name."""

    values: Mapping[str, Any]
    files: Mapping[str, bytes]


class WorkerCrashError(McudeployError):
    """The child process died or hung. `phase` is the last that it announced, `layer` likewise."""

    exit_code = 2

    def __init__(self, problem: str, *, phase: str, layer: str, log: str) -> None:
        super().__init__(problem, where=layer or phase)
        self.phase = phase
        self.layer = layer
        if log:
            self.add_note(f"last output of the child process:\n{log}")


def run_worker(
    request: Mapping[str, Any],
    *,
    progress: Progress | None = None,
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
) -> WorkerResult:
    """Run one job in a child process. Raises what the job raised.

    A crash or a time-out is followed by a second child that converts layer after layer alone, so
    that the error names the layer: UnsupportedModelError, or ToolError when no layer is to blame.
    """
    try:
        return _run(request, progress, timeout_seconds)
    except WorkerCrashError as crash:
        if crash.phase != "convert":
            raise ToolError(
                crash.problem,
                where=f"{request.get('model', '')}, while: {crash.phase}",
                mend="retry; if it persists, `mcudeploy doctor` shows what is installed",
            ) from crash
        first = crash
    if progress:
        progress("the converter failed: looking for the layer that breaks it")
    layer = first.layer
    try:
        _run({**request, "task": "blame"}, progress, _BLAME_TIMEOUT_SECONDS)
    except WorkerCrashError as second:
        layer = second.layer
    except McudeployError as error:
        raise error from first
    if not layer:
        raise UnsupportedModelError(
            f"{first.problem}, though each layer alone converts",
            where=str(request.get("model", "")),
            mend="simplify the model around loops and recurrent layers, or convert it to an int8 "
            ".tflite yourself and pass that",
        ) from first
    raise UnsupportedModelError(
        f"{first.problem}, and it does so on one layer alone",
        where=f"layer {layer}",
        mend="replace that layer by simpler ones (unroll=True for recurrent layers)",
    ) from first


def _run(
    request: Mapping[str, Any], progress: Progress | None, timeout_seconds: float
) -> WorkerResult:
    with tempfile.TemporaryDirectory(prefix="mcudeploy-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "request.json").write_text(json.dumps(dict(request)), encoding="utf-8")
        with (folder / "log").open("wb") as log, _child(folder, log) as child:
            phase, layer, ended = _follow(child, progress, timeout_seconds)
        tail = (folder / "log").read_text(encoding="utf-8", errors="replace")[-4000:]
        result = folder / "result.json"
        if ended and result.is_file():
            return _read_result(folder, json.loads(result.read_text(encoding="utf-8")))
        if not ended:
            problem = f"TensorFlow did not finish within {timeout_seconds:.0f} s"
        else:
            problem = f"TensorFlow crashed ({_status(child.returncode)})"
        raise WorkerCrashError(problem, phase=phase, layer=layer, log=tail)


@contextlib.contextmanager
def _child(folder: Path, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The worker, apart from the terminal's signals; it is gone when the block is left."""
    package = str(Path(mcudeploy.__file__).resolve().parent.parent)
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": "0",
        "KERAS_BACKEND": "tensorflow",
        "KERAS_HOME": str(folder / "keras"),
        "TF_USE_LEGACY_KERAS": "0",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "CUDA_VISIBLE_DEVICES": "-1",
        "HDF5_PLUGIN_PRELOAD": "::",
    }
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", _WORKER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        for stream in (child.stdin, child.stdout):
            if stream:
                stream.close()
        child.wait()


def _follow(
    child: subprocess.Popen[bytes], progress: Progress | None, timeout_seconds: float
) -> tuple[str, str, bool]:
    """Pass progress on until the child ends: (last phase, last layer, ended in time)."""
    lines: queue.Queue[bytes | None] = queue.Queue()
    output = child.stdout
    assert output is not None

    def read() -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in output:
                lines.put(line)
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    phase, layer = "start", ""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            child.kill()
            reader.join(5)
            return phase, layer, False
        if line is None:
            child.wait()
            reader.join(5)
            return phase, layer, True
        message = json.loads(line)
        phase, layer = message.get("phase", phase), message.get("layer", layer)
        if progress and message.get("text"):
            progress(message["text"])


def _read_result(folder: Path, values: dict[str, Any]) -> WorkerResult:
    error = values.get("error")
    if error:
        kind = getattr(errors, error["type"], McudeployError)
        raised: McudeployError = kind(error["problem"], where=error["where"], mend=error["mend"])
        if error["trace"]:
            raised.add_note(error["trace"])
        raise raised
    files = {name: (folder / name).read_bytes() for name in values.pop("files", [])}
    return WorkerResult(values, files)


def _status(code: int) -> str:
    if code < 0:
        import signal

        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit status {code}"
