# SPDX-License-Identifier: Apache-2.0
"""Networks for tests: untrained twins of the MLPerf Tiny four and LeNet-5, with sensible weights.

An untrained network's activations vanish or explode with depth, and then its int8 form says
nothing. Here one forward pass over smooth seeded inputs sets each batch normalization's statistics
to what it really sees (momentum 0), and the last layer is scaled so that its outputs spread over
the classes. Quantized by mcudeploy itself; built once per machine and cached by the hash of the
sources that make them.

    twin("kws").tflite          # bytes
    python tests/twins.py kws FOLDER    # what a child process does: kws.keras and kws.npz
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import mcudeploy.frontend
from mcudeploy.frontend.quantize import quantize
from mcudeploy.resources import cache_folder

NAMES = ("kws", "vww", "ic", "ad", "lenet")
_SHAPES: dict[str, tuple[int, ...]] = {
    "kws": (49, 10, 1),
    "vww": (96, 96, 3),
    "ic": (32, 32, 3),
    "ad": (640,),
    "lenet": (32, 32, 1),
}
_SAMPLES = 64


@dataclass(frozen=True)
class Twin:
    """A network: the Keras file, the samples that it was calibrated with, the int8 .tflite."""

    name: str
    keras: Path
    data: Path
    tflite_path: Path

    @property
    def tflite(self) -> bytes:
        return self.tflite_path.read_bytes()


def twin(name: str) -> Twin:
    """The twin of that name, from the cache or built now (5 to 20 s)."""
    folder = cache_folder("tests", f"twin-{name}-{_sources_hash()}")
    found = Twin(name, folder / f"{name}.keras", folder / f"{name}.npz", folder / f"{name}.tflite")
    if found.tflite_path.is_file():
        return found
    with tempfile.TemporaryDirectory(dir=folder) as place:
        command = [sys.executable, __file__, name, place]
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        environment = {**os.environ, **quiet, "TF_ENABLE_ONEDNN_OPTS": "0"}
        done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the twin {name} cannot be built:\n{done.stderr[-4000:]}")
        made = Path(place)
        quantized = quantize(made / f"{name}.keras", made / f"{name}.npz")
        (made / f"{name}.tflite").write_bytes(quantized.tflite)
        for path in (found.keras, found.data, found.tflite_path):
            os.replace(made / path.name, path)
    return found


def _sources_hash() -> str:
    """Of this file and of what quantizes: a change of either builds anew."""
    frontend = Path(mcudeploy.frontend.__file__).parent
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in [*sorted(frontend.glob("tf_worker*.py")), frontend / "calibration.py"]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def smooth_samples(shape: tuple[int, ...], count: int, seed: int) -> npt.NDArray[np.float32]:
    """Seeded inputs (count, *shape) with structure: noise on several scales, values within -1..1.

    Pictures are blocks of noise of 16, 8, ... 1 pixels, added; vectors are treated as one row.
    """
    generator = np.random.default_rng(seed)
    grid = shape if len(shape) == 3 else (1, shape[0], 1)
    height, width, channels = grid
    total = np.zeros((count, *grid), np.float32)
    for block in (16, 8, 4, 2, 1):
        rows, columns = -(-height // block), -(-width // block)
        noise = generator.normal(size=(count, rows, columns, channels)).astype(np.float32)
        spread = noise.repeat(block, axis=1).repeat(block, axis=2)
        total += spread[:, :height, :width] * np.float32(block**0.5)
    total += generator.normal(size=(count, 1, 1, channels)).astype(np.float32) * 3
    largest = np.abs(total).max(axis=(1, 2, 3), keepdims=True)
    return (total / largest).reshape(count, *shape)


def mixed_samples(shape: tuple[int, ...], count: int, seed: int) -> npt.NDArray[np.float32]:
    """Half smooth samples and half uniform noise, so that neither saturates the network."""
    noise = np.random.default_rng(seed + 1).uniform(-1, 1, (count // 2, *shape))
    smooth = smooth_samples(shape, count - count // 2, seed)
    return np.concatenate([smooth, noise.astype(np.float32)])


def _build(name: str, folder: Path) -> None:
    """In the child process: the Keras model and its samples."""
    import keras

    keras.utils.set_random_seed(sum(map(ord, name)))
    samples = mixed_samples(_SHAPES[name], _SAMPLES, seed=7)
    model: Any = _BUILDERS[name](keras, keras.layers)
    model(samples, training=True)
    _spread_last_layer(model, keras, samples)
    model.save(folder / f"{name}.keras")
    np.savez(folder / f"{name}.npz", x=samples)


def _spread_last_layer(model: Any, keras: Any, samples: npt.NDArray[np.float32]) -> None:
    """Give each output of the last dense layer mean 0 and standard deviation 2 over the samples."""
    last = model.layers[-1]
    before = keras.Model(model.inputs, last.input)
    kernel, _ = last.get_weights()
    outputs = np.asarray(before(samples, training=False)) @ kernel
    kernel = kernel * (2 / outputs.std(axis=0))
    outputs = np.asarray(before(samples, training=False)) @ kernel
    last.set_weights([kernel, -outputs.mean(axis=0)])


def _norm(layers: Any) -> Any:
    """A batch normalization whose statistics one training pass sets."""
    return layers.BatchNormalization(momentum=0.0)


def _kws(keras: Any, layers: Any) -> Any:
    """DS-CNN: a 10x4 convolution, four separable blocks of 64 channels, 12 words."""
    inputs = layers.Input(_SHAPES["kws"])
    x = layers.Conv2D(64, (10, 4), strides=2, padding="same")(inputs)
    x = layers.ReLU()(_norm(layers)(x))
    for _ in range(4):
        x = layers.DepthwiseConv2D(3, padding="same")(x)
        x = layers.ReLU()(_norm(layers)(x))
        x = layers.Conv2D(64, 1, padding="same")(x)
        x = layers.ReLU()(_norm(layers)(x))
    x = layers.AveragePooling2D((25, 5))(x)
    x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(12, activation="softmax")(x))


def _vww(keras: Any, layers: Any) -> Any:
    """MobileNetV1 of width 0.25 at 96x96: person or not."""
    inputs = layers.Input(_SHAPES["vww"])
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = layers.ReLU()(_norm(layers)(x))
    blocks = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2))
    for channels, stride in (*blocks, *[(128, 1)] * 5, (256, 2), (256, 1)):
        x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x)
        x = layers.ReLU()(_norm(layers)(x))
        x = layers.Conv2D(channels, 1, padding="same", use_bias=False)(x)
        x = layers.ReLU()(_norm(layers)(x))
    x = layers.AveragePooling2D(3)(x)
    x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(2, activation="softmax")(x))


def _ic(keras: Any, layers: Any) -> Any:
    """ResNet8: three stacks of 16, 32 and 64 channels, each with one shortcut; 10 classes."""
    inputs = layers.Input(_SHAPES["ic"])
    x = layers.Conv2D(16, 3, padding="same")(inputs)
    x = layers.ReLU()(_norm(layers)(x))
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = layers.Conv2D(channels, 3, strides=stride, padding="same")(x)
        y = layers.ReLU()(_norm(layers)(y))
        y = _norm(layers)(layers.Conv2D(channels, 3, padding="same")(y))
        if stride > 1:
            x = layers.Conv2D(channels, 1, strides=stride, padding="same")(x)
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.AveragePooling2D(8)(x)
    x = layers.Flatten()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


def _ad(keras: Any, layers: Any) -> Any:
    """The dense autoencoder: 640, four of 128, 8, four of 128, 640."""
    inputs = x = layers.Input(_SHAPES["ad"])
    for units in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        x = layers.Dense(units)(x)
        x = layers.ReLU()(_norm(layers)(x))
    return keras.Model(inputs, layers.Dense(640)(x))


def _lenet(keras: Any, layers: Any) -> Any:
    """LeNet-5: tanh, average pooling, a dense layer of sigmoids."""
    inputs = layers.Input(_SHAPES["lenet"])
    x = layers.Conv2D(6, 5, activation="tanh")(inputs)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Conv2D(16, 5, activation="tanh")(x)
    x = layers.AveragePooling2D(2)(x)
    x = layers.Flatten()(x)
    x = layers.Dense(120, activation="tanh")(x)
    x = layers.Dense(84, activation="tanh")(x)
    return keras.Model(inputs, layers.Dense(10, activation="sigmoid")(x))


_BUILDERS: dict[str, Callable[[Any, Any], Any]] = {
    "kws": _kws,
    "vww": _vww,
    "ic": _ic,
    "ad": _ad,
    "lenet": _lenet,
}

if __name__ == "__main__":
    _build(sys.argv[1], Path(sys.argv[2]))
