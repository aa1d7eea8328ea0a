# SPDX-License-Identifier: Apache-2.0
"""The files that the documentation speaks of: a LeNet and data for it, made in no time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from tflite_builder import ModelBuilder

ROOT = Path(__file__).resolve().parent.parent
KERAS = """
import sys
sys.path.insert(0, sys.argv[1])
import keras
import numpy as np
from train_lenet import digits, lenet
keras.utils.set_random_seed(0)
x, y = digits()
model = lenet()
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(x, y, epochs=2, verbose=0)
model.save(sys.argv[2])
"""


def lenet_tflite(seed: int = 0) -> bytes:
    """LeNet-5 in int8 with random weights; another seed is a narrower one."""
    random = np.random.default_rng(seed)
    wide = 16 if seed == 0 else 8
    builder = ModelBuilder()

    def weights(*shape: int) -> int:
        return builder.constant(random.integers(-127, 128, shape).astype(np.int8),
                                scale=[0.004] * shape[0])  # fmt: skip

    def conv(x: int, size: int, depth: int, channels: int) -> int:
        made = builder.tensor((1, size, size, channels), scale=0.05)
        return builder.operator("CONV_2D", [x, weights(channels, 5, 5, depth)], made,
                                padding="VALID", stride_w=1, stride_h=1)  # fmt: skip

    def tanh(x: int, size: int, channels: int) -> int:
        made = builder.tensor((1, size, size, channels), scale=1 / 128)
        return builder.operator("TANH", [x], made)

    def pool(x: int, size: int, channels: int) -> int:
        made = builder.tensor((1, size, size, channels), scale=1 / 128)
        return builder.operator("AVERAGE_POOL_2D", [x], made, padding="VALID", stride_w=2,
                                stride_h=2, filter_width=2, filter_height=2)  # fmt: skip

    def dense(x: int, inputs: int, outputs: int) -> int:
        w = builder.constant(random.integers(-127, 128, (outputs, inputs)).astype(np.int8),
                             scale=0.004)  # fmt: skip
        return builder.operator("FULLY_CONNECTED", [x, w],
                                builder.tensor((1, outputs), scale=0.05))  # fmt: skip

    x = builder.input((1, 32, 32, 1), scale=1 / 255, zero_point=-128)
    y = pool(tanh(conv(x, 28, 1, 6), 28, 6), 14, 6)
    y = pool(tanh(conv(y, 10, 6, wide), 10, wide), 5, wide)
    flat = builder.constant(np.array([1, 25 * wide], np.int32))
    y = builder.operator("RESHAPE", [y, flat], builder.tensor((1, 25 * wide), scale=1 / 128))
    y = dense(dense(dense(y, 25 * wide, 120), 120, 84), 84, 10)
    return builder.build([builder.operator("SOFTMAX", [y], builder.tensor((1, 10), scale=1 / 256,
                          zero_point=-128), beta=1.0)])  # fmt: skip


def write_files(folder: Path) -> None:
    """lenet.tflite, other.tflite, model.tflite, digits.npz, calibration.npz, train.npz.

    With the folder of real models, vww.tflite, too.
    """
    models = os.environ.get("MCUDEPLOY_MODELS")
    if models:
        shutil.copy(Path(models, "vww_96_int8.tflite"), folder / "vww.tflite")
    random = np.random.default_rng(0)
    for name, seed in (("lenet", 0), ("model", 0), ("other", 1)):
        (folder / f"{name}.tflite").write_bytes(lenet_tflite(seed))
    x = random.random((12, 32, 32, 1), np.float32)
    np.savez(folder / "digits.npz", x=x, y=np.arange(12) % 10)
    for name in ("calibration", "train"):
        np.savez(folder / f"{name}.npz", x=x)


def write_keras_file(folder: Path) -> None:
    """lenet.h5, as examples/train_lenet.py defines it, hardly trained."""
    command = [sys.executable, "-c", KERAS, str(ROOT / "examples"), str(folder / "lenet.h5")]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
