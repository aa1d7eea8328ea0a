# SPDX-License-Identifier: Apache-2.0
"""The accuracy of a member on a small labelled set: trained in a child process.

Run as `python -m mcudeploy.explore.training MEMBER_AS_JSON DATA EPOCHS SEED`; the last line that it
prints is the accuracy. One sample in five, chosen by the seed, is held back and judged on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mcudeploy.errors import InputError, ToolError
from mcudeploy.explore.candidate import Member
from mcudeploy.frontend.calibration import read_arrays

_BATCH = 32
_RATE = 3e-3
_TAIL_LINES = 4


@dataclass(frozen=True)
class Task:
    """A labelled set of square images: x (n, side, side, channels) float, y (n,) classes."""

    path: Path
    side: int
    channels: int
    classes: int


def read_task(path: Path) -> Task:
    """What an .npz of x and y asks of a network. Raises InputError for anything else."""
    arrays = read_arrays(path)
    if not {"x", "y"} <= arrays.keys():
        raise InputError(
            "the samples have no x or no y", where=str(path),
            mend="numpy.savez(PATH, x=images, y=classes): (n, side, side, channels) and (n,)",
        )  # fmt: skip
    x, y = arrays["x"], arrays["y"]
    if x.ndim != 4 or x.shape[1] != x.shape[2] or y.shape != x.shape[:1] or not len(y):
        raise InputError(
            f"x {x.shape} and y {y.shape} are no square images with a class each", where=str(path)
        )
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
        raise InputError("y holds something else than class numbers", where=str(path))
    return Task(path, int(x.shape[1]), int(x.shape[3]), max(2, int(y.max()) + 1))


def trained_accuracy(member: Member, task: Task, *, epochs: int = 10, seed: int = 0) -> float:
    """Train a member and judge it, 0 to 1. Raises ToolError when TensorFlow fails."""
    text = json.dumps({"name": member.name, "options": dict(member.options)})
    done = subprocess.run(
        [sys.executable, "-m", "mcudeploy.explore.training", text, str(task.path), str(epochs),
         str(seed)],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
    )  # fmt: skip
    if done.returncode != 0:
        tail = "; ".join(done.stderr.strip().splitlines()[-_TAIL_LINES:])
        raise ToolError(
            f"TensorFlow could not train {member.label}", where=tail, mend="see `mcudeploy doctor`"
        )
    return float(done.stdout.splitlines()[-1])


def split(count: int, seed: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The samples to train on, and those to judge by."""
    order = np.random.default_rng(seed).permutation(count)
    held = max(1, count // 5)
    return order[held:], order[:held]


def main(member: str, data: str, epochs: str, seed: str) -> None:
    """What runs in the child."""
    import keras

    from mcudeploy import zoo

    chosen = json.loads(member)
    keras.utils.set_random_seed(int(seed))
    with np.load(data, allow_pickle=False) as arrays:
        x, y = arrays["x"].astype(np.float32), arrays["y"]
    train, judge = split(len(y), int(seed))
    model = zoo.keras_model(chosen["name"], seed=int(seed), **chosen["options"])
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9  # small sets have few steps in which statistics could settle
    steps = int(epochs) * -(-len(train) // _BATCH)
    rate = keras.optimizers.schedules.CosineDecay(_RATE, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    model.fit(x[train], y[train], batch_size=_BATCH, epochs=int(epochs), verbose=0)
    guessed = model.predict(x[judge], verbose=0).argmax(axis=1)
    print(float(np.mean(guessed == y[judge])))


if __name__ == "__main__":
    main(*sys.argv[1:5])
