# SPDX-License-Identifier: Apache-2.0
"""Writes a member of the zoo as a Keras file, in a child process: TensorFlow may crash its own.

Run as `python -m mcudeploy.zoo.keras_file NAME OPTIONS_AS_JSON SEED OUTPUT CALIBRATION`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcudeploy import zoo
from mcudeploy.errors import InputError, ToolError

_TAIL_LINES = 4


def write_keras_file(
    name: str,
    options: Mapping[str, Any],
    output: Path,
    *,
    calibration: Path | None = None,
    seed: int = 0,
) -> None:
    """Save the member as `output` (.keras or .h5), seeded weights that quantize to sane scales.

    `calibration` is an .npz to write seeded inputs to, under `x`. Raises InputError for a bad
    name, option or path, ToolError when TensorFlow is missing or fails.
    """
    zoo.network(name, **options)  # the name and the options are checked before TensorFlow starts
    if output.suffix not in (".keras", ".h5"):
        raise InputError(
            f"{output.name} is no name of a Keras file", where=str(output), mend="end it in .keras"
        )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=output.parent, prefix=".zoo-")
    except OSError as error:
        raise InputError(
            f"cannot write the file: {error.strerror}", where=str(output),
            mend="choose another place",
        ) from None  # fmt: skip
    with scratch as folder:
        made, samples = Path(folder) / output.name, Path(folder) / "calibration.npz"
        command = [
            sys.executable,
            "-m",
            "mcudeploy.zoo.keras_file",
            name,
            json.dumps(dict(options)),
        ]
        done = subprocess.run(
            [*command, str(seed), str(made), str(samples)],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        if done.returncode != 0 or not made.is_file():
            tail = "; ".join(done.stderr.strip().splitlines()[-_TAIL_LINES:])
            raise ToolError(
                f"TensorFlow could not build {name}", where=tail, mend="see `mcudeploy doctor`"
            )
        made.replace(output)
        if calibration is not None:
            samples.replace(calibration)


def main(name: str, options: str, seed: str, output: str, calibration: str) -> None:
    """What runs in the child."""
    import numpy as np

    chosen = json.loads(options)
    model = zoo.keras_model(name, seed=int(seed), **chosen)
    model.save(output)
    np.savez(calibration, x=zoo.sample_inputs(name, 32, seed=int(seed), **chosen))


if __name__ == "__main__":
    main(*sys.argv[1:6])
