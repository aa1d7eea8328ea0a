# SPDX-License-Identifier: Apache-2.0
"""Train LeNet-5 on scikit-learn's handwritten digits, padded to 32x32.

    python examples/train_lenet.py FOLDER

The 1,797 digits have 8x8 pixels of 0..16. Each pixel becomes a square of 3x3, which gives 24x24,
and a border of 4 makes it 32x32; values are scaled to 0..1. One digit in five is held back. The
others are also trained on shifted by two pixels in each direction.
Written to FOLDER:

    lenet.h5          the trained network
    digits.npz        the held-back digits, for --evaluate and for `mcudeploy test`: x, y
    calibration.npz   200 digits of the training set, for --calibration: x
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import absl.logging
import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

EPOCHS = 8
BATCH = 64
SHIFTS = ((0, 0), (2, 0), (-2, 0), (0, 2), (0, -2))


def digits() -> tuple[np.ndarray, np.ndarray]:
    """All digits as (1797, 32, 32, 1) float32 of 0..1, and their classes."""
    data = load_digits()
    enlarged = data.images.repeat(3, axis=1).repeat(3, axis=2) / 16
    padded = np.pad(enlarged, ((0, 0), (4, 4), (4, 4)))
    return padded[..., np.newaxis].astype(np.float32), data.target.astype(np.int64)


def lenet() -> keras.Model:
    """LeNet-5 with tanh, average pooling and sigmoids: 61,706 parameters."""
    return keras.Sequential(
        [
            layers.Input((32, 32, 1)),
            layers.Conv2D(6, 5, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Conv2D(16, 5, activation="tanh"),
            layers.AveragePooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="tanh"),
            layers.Dense(84, activation="tanh"),
            layers.Dense(10, activation="sigmoid"),
        ],
        name="lenet",
    )


def main(folder: Path) -> None:
    """Train, report the accuracy on held-back digits, and write the three files."""
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    x, y = digits()
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=0.2, random_state=0, stratify=y
    )
    model = lenet()
    calibration = x_train[:200]
    x_train = np.concatenate([np.roll(x_train, shift, axis=(1, 2)) for shift in SHIFTS])
    y_train = np.tile(y_train, len(SHIFTS))
    steps = EPOCHS * -(-len(x_train) // BATCH)
    print(f"training LeNet on {len(x_train):,} digits, {EPOCHS} epochs", flush=True)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
    model.fit(x_train, np.eye(10)[y_train], batch_size=BATCH, epochs=EPOCHS, verbose=0)
    predicted = model.predict(x_test, verbose=0).argmax(axis=1)
    print(f"accuracy on {len(x_test)} held-back digits: {100 * np.mean(predicted == y_test):.2f} %")
    absl.logging.set_verbosity(absl.logging.ERROR)  # Keras calls .h5 files legacy
    model.save(folder / "lenet.h5")
    np.savez(folder / "digits.npz", x=x_test, y=y_test)
    np.savez(folder / "calibration.npz", x=calibration)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/train_lenet.py FOLDER")
    main(Path(sys.argv[1]))
