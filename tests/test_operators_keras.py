# SPDX-License-Identifier: Apache-2.0
"""Recurrent and attention models from Keras, converted and compiled, give golden's bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from host_model import HostModel
from operator_cases import golden_only

from mcudeploy.frontend.quantize import quantize

_BUILD = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
from keras import layers as L
keras.utils.set_random_seed(1)

def stack(shape, *layers):
    return keras.Sequential([keras.Input(shape, batch_size=1), *layers])

def encoder(x):
    h = L.LayerNormalization()(x)
    h = x = L.Add()([x, L.MultiHeadAttention(2, 6)(h, h)])
    h = L.Dense(12)(L.Dense(24, activation="gelu")(L.LayerNormalization()(h)))
    return L.GlobalAveragePooling1D()(L.Add()([x, h]))

x = keras.Input((8, 12), batch_size=1)
({model}).save(sys.argv[1])
"""
MODELS = {
    "SimpleRNN": "stack((10, 6), L.SimpleRNN(8), L.Dense(4, activation='softmax'))",
    "LSTM": "stack((10, 6), L.LSTM(8), L.Dense(4))",
    "stacked LSTM": "stack((6, 6), L.LSTM(8, return_sequences=True), L.LSTM(5))",
    "GRU": "stack((7, 6), L.GRU(8, return_sequences=True), L.GlobalAveragePooling1D())",
    "Bidirectional LSTM": "stack((7, 6), L.Bidirectional(L.LSTM(5)), L.Dense(3))",
    "Bidirectional GRU": "stack((7, 6), L.Bidirectional(L.GRU(5, return_sequences=True)))",
    "Embedding": "stack((9,), L.Embedding(20, 6), L.GlobalAveragePooling1D(), L.Dense(3))",
    "transformer": "keras.Model(x, L.Dense(3, activation='softmax')(encoder(x)))",
}
IN_CI = ("SimpleRNN",)


@golden_only
@pytest.mark.parametrize(
    "name",
    [
        name if name in IN_CI
        else pytest.param(name, marks=pytest.mark.slow(reason="each is converted by TensorFlow"))
        for name in MODELS
    ],
)  # fmt: skip
def test_keras_model_gives_the_bytes_of_golden(name: str, tmp_path: Path):
    file = tmp_path / "model.keras"
    script = _BUILD.replace("{model}", MODELS[name])
    subprocess.run([sys.executable, "-c", script, str(file)], check=True, capture_output=True)
    model = quantize(file, synthetic=True).tflite
    HostModel(model, tmp_path / "host").check_against_golden(samples=4)
