# SPDX-License-Identifier: Apache-2.0
"""The child process in which TensorFlow runs: `python -m mcudeploy.frontend.tf_worker FOLDER`.

Started by `tf_process`, never by a user. It reads `FOLDER/request.json`, does one task and writes
`FOLDER/result.json`: either what the task returned or the error to raise. Standard output carries
the progress, one JSON object a line; whatever libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from mcudeploy.errors import InputError, McudeployError, ToolError
from mcudeploy.frontend import calibration
from mcudeploy.frontend.calibration import CalibrationRecord, ModelInput, Samples
from mcudeploy.frontend.tf_worker_protocol import Reporter

_LEAST_MEMORY = 8 << 30
_MEMORY_PER_BYTE = 32
"""Bytes of memory for each byte of the model and of the calibration data, beside the least."""


def main(folder: Path) -> None:
    """Do the task that `folder` holds."""
    report = Reporter(_private_output())
    _end_with_parent(folder)
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    _limit_memory(request)
    try:
        values = _TASKS[request["task"]](request, folder, report)
    except McudeployError as error:
        cause = "".join(traceback.format_exception(error)) if error.__cause__ else ""
        values = _failure(error, cause)
    except ImportError as error:
        problem = ToolError(
            f"TensorFlow cannot be imported: {error}", mend="pip install tensorflow tf-keras"
        )
        values = _failure(problem, traceback.format_exc())
    except MemoryError as error:
        refusal = InputError(
            f"the model takes more memory than a file of its size may: {error}",
            where=request["name"],
            mend="is it whole? Its layers declare weights or inputs that it does not hold",
        )
        values = _failure(refusal, traceback.format_exc())
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        problem = ToolError(
            f"TensorFlow failed: {first[:300]}",
            where=request["name"],
            mend="--debug shows TensorFlow's own message",
        )
        values = _failure(problem, traceback.format_exc())
    (folder / "result.json").write_text(json.dumps(values), encoding="utf-8")
    sys.stderr.flush()
    os._exit(0)  # TensorFlow's own tear-down takes a second and may crash; nothing is left to do


def _limit_memory(request: dict[str, Any]) -> None:
    """A file may declare weights or inputs of any size; what it holds bounds what they may take.

    An allocation beyond that fails, and the error says so, instead of the machine going down.
    """
    if sys.platform == "win32":
        return  # it has no such limit
    import resource

    given = sum(_bytes_of(request[key]) for key in ("model", "calibration") if request[key])
    limit = _LEAST_MEMORY + _MEMORY_PER_BYTE * given
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _bytes_of(name: str) -> int:
    path = Path(name)
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.is_file() else 0


def _private_output() -> int:
    """A descriptor of the real standard output; what libraries print there goes to the log."""
    private = os.dup(1)
    os.dup2(2, 1)
    return private


def _end_with_parent(folder: Path) -> None:
    """When the parent is gone its pipe ends: leave nothing behind."""

    def watch() -> None:
        sys.stdin.buffer.read()
        for _ in range(20):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.05)  # the task wrote into it while it was emptied
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _failure(error: McudeployError, trace: str) -> dict[str, Any]:
    described = {
        "type": type(error).__name__,
        "problem": error.problem,
        "where": error.where,
        "mend": error.mend,
        "trace": trace,
    }
    return {"error": described}


def _quantize(request: dict[str, Any], folder: Path, report: Reporter) -> dict[str, Any]:
    from mcudeploy.frontend import tf_worker_convert, tf_worker_load

    loaded = tf_worker_load.load(request, report)
    samples, record = _samples(request, loaded.inputs, loaded.trained_for_int8, report)
    saved = tf_worker_convert.export(loaded, folder / "saved", report)
    tflite = tf_worker_convert.to_int8(loaded, saved, samples, report)
    warnings = tf_worker_convert.check(tflite, loaded, strict=not record.synthetic)
    files = {"model.tflite": tflite}
    if request["float"]:
        files["float.tflite"] = tf_worker_convert.to_float(loaded, saved, report)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {
        "files": list(files),
        "inputs": [
            {"name": spec.name, "shape": spec.shape, "dtype": spec.dtype} for spec in loaded.inputs
        ],
        "calibration": record.to_json(),
        "notes": loaded.notes + tf_worker_convert.describe_float_islands(tflite),
        "warnings": warnings,
    }


def _samples(
    request: dict[str, Any], inputs: list[ModelInput], trained_for_int8: bool, report: Reporter
) -> tuple[Samples | None, CalibrationRecord]:
    if trained_for_int8:
        return None, CalibrationRecord(kind="training")
    report.phase("read the calibration data")
    if request["calibration"] is not None:
        return calibration.load(
            request["calibration"],
            inputs,
            samples=request["samples"],
            scaling=request["scaling"],
        )
    if request["synthetic"]:
        return calibration.synthetic(inputs)
    listed = ", ".join(map(str, inputs))
    raise InputError(
        "quantization needs calibration data: typical inputs, from which the ranges are taken",
        where=request["name"],
        mend=f"--calibration data.npz with 100 or more samples for {listed}; or "
        "--synthetic-calibration for random ones (sizes hold, accuracy does not)",
    )


def _blame(request: dict[str, Any], folder: Path, report: Reporter) -> dict[str, Any]:
    from mcudeploy.frontend import tf_worker_convert, tf_worker_load

    loaded = tf_worker_load.load(request, report)
    tf_worker_convert.convert_each_layer(loaded, folder, report)
    return {}


_TASKS = {"quantize": _quantize, "blame": _blame}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
