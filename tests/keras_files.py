# SPDX-License-Identifier: Apache-2.0
"""Writes the Keras files that tests/test_keras_*.py read: `python tests/keras_files.py FOLDER`.

In a process of its own, so that pytest never imports TensorFlow. `expected.npz` holds, for some
models, the float outputs for the inputs in it.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf
import tf_keras


def _functional(library: Any, shape: tuple[int | None, ...], *layers: Any) -> Any:
    inputs = x = library.layers.Input(shape)
    for layer in layers:
        x = layer(x)
    return library.Model(inputs, x)


def _depthwise(library: Any) -> Any:
    layers = library.layers
    return library.Sequential(
        [
            layers.Input((12, 12, 2)),
            layers.Conv2D(6, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(4, activation="softmax"),
        ]
    )


def _two_inputs() -> Any:
    layers = keras.layers
    second, first = layers.Input((8,), name="z first"), layers.Input((4,), name="a second")
    joined = layers.Dense(2, name="zz")(layers.Concatenate()([second, first]))
    return keras.Model([second, first], [joined, layers.Dense(3, name="aa")(first)])


@keras.saving.register_keras_serializable(package="tests")
class Plus(keras.layers.Layer):  # type: ignore[misc]
    """A layer that is not Keras' own."""

    def call(self, inputs: Any) -> Any:
        return inputs + 1.0


def _good(folder: Path) -> None:
    recurrent = {
        "lstm_keras2.h5": (tf_keras, tf_keras.layers.LSTM(6)),
        "gru.keras": (keras, keras.layers.Bidirectional(keras.layers.GRU(5))),
    }
    generator = np.random.default_rng(0)
    expected: dict[str, Any] = {}
    for name, (library, layer) in recurrent.items():
        model = _functional(library, (5, 4), layer, library.layers.Dense(3))
        x = generator.uniform(-1, 1, (16, 5, 4)).astype(np.float32)
        expected[f"{name}:x"], expected[f"{name}:y"] = x, np.asarray(model(x))
        model.save(folder / name)
    np.savez(folder / "expected.npz", **expected)
    _depthwise(tf_keras).save(folder / "depthwise_keras2.h5")
    _depthwise(keras).save(folder / "depthwise.h5")
    _two_inputs().save(folder / "two.keras")
    custom = _functional(keras, (4,), Plus(name="plus"), keras.layers.Dense(2))
    custom.save(folder / "custom.keras")
    custom.export(folder / "custom_saved", verbose=False)
    keras.config.set_dtype_policy("mixed_float16")
    mixed = _functional(keras, (6, 6, 1), keras.layers.Conv2D(2, 3), keras.layers.Flatten())
    keras.config.set_dtype_policy("float32")
    mixed.save(folder / "mixed.keras")


def _bad(folder: Path) -> None:
    doubled = keras.layers.Lambda(lambda x: x * 2, name="doubler")
    _functional(keras, (4,), doubled).save(folder / "lambda.h5")
    _functional(keras, (4,), doubled).save(folder / "lambda.keras")
    _functional(keras, (None, None, 3), keras.layers.Conv2D(2, 3)).save(folder / "open.keras")
    pooled = _functional(keras, (8, 8, 3), keras.layers.GlobalAveragePooling2D(),
                         keras.layers.Dense(2))  # fmt: skip
    pooled.save(folder / "pooled.keras")
    _declare(folder, "units.keras", '"units": 2', '"units": 1000000000')
    _declare(folder, "wide.keras", "[null, 8, 8, 3]", "[null, 1000000, 1000000, 3]")
    dense = _functional(keras, (4,), keras.layers.Dense(2, name="diverged"))
    dense.save_weights(folder / "alone.weights.h5")
    dense.layers[-1].set_weights([np.full((4, 2), np.nan), np.zeros(2)])
    dense.save(folder / "nan.keras")
    dense.layers[-1].set_weights([np.full((4, 2), 1e-12), np.zeros(2)])
    dense.save(folder / "vanishing.keras")
    _functional(keras, (5, 4), keras.layers.LSTM(2)).export(folder / "loop_saved", verbose=False)
    inputs = tf_keras.layers.Input((4,))
    tf_keras.Model(inputs, tf.math.abs(inputs)).save(folder / "function.h5")
    with h5py.File(folder / "function.h5", "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace("math.abs", "io.write_file")
    _depthwise(keras).save(folder / "linked.h5")
    with h5py.File(folder / "linked.h5", "r+") as file:
        file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")


def _declare(folder: Path, name: str, old: str, new: str) -> None:
    """pooled.keras, with something else in its configuration than its weights have."""
    with zipfile.ZipFile(folder / "pooled.keras") as archive:
        files = {member: archive.read(member) for member in archive.namelist()}
    text = files["config.json"].decode()
    assert old in text
    files["config.json"] = text.replace(old, new).encode()
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member, content in files.items():
            archive.writestr(member, content)


class _Writer(tf.Module):  # type: ignore[misc]
    @tf.function(input_signature=[tf.TensorSpec((1, 4))])
    def serve(self, x: Any) -> Any:
        tf.io.write_file("/tmp/never", "written")
        return x + 1.0


def main(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    tf_keras.utils.set_random_seed(0)
    _good(folder)
    _bad(folder)
    writer = _Writer()
    tf.saved_model.save(writer, str(folder / "writer_saved"), signatures=writer.serve)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
