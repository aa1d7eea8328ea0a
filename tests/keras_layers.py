# SPDX-License-Identifier: Apache-2.0
"""A model of one layer for each layer class of Keras that makes sense at inference.

    python tests/keras_layers.py FOLDER NAME...

converts them in one process, with TensorFlow imported once, as `quantize` converts in its child:
FOLDER/NAME.tflite, or FOLDER/NAME.txt with the reason for which it was refused. A file
FOLDER/NAME.started that has no other beside it tells of a crash.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

MAP, SEQUENCE, VECTOR = (8, 8, 4), (6, 8), (12,)
VOLUME = (4, 4, 4, 3)

LAYERS: dict[str, tuple[tuple[int, ...], str]] = {
    # Of one input: its shape without the batch, and the layer.
    "Activation": (VECTOR, "L.Activation('selu')"),
    "ActivityRegularization": (VECTOR, "L.ActivityRegularization(0.1)"),
    "AdaptiveAveragePooling1D": (SEQUENCE, "L.AdaptiveAveragePooling1D(3)"),
    "AdaptiveAveragePooling2D": (MAP, "L.AdaptiveAveragePooling2D(4)"),
    "AdaptiveAveragePooling3D": (VOLUME, "L.AdaptiveAveragePooling3D(2)"),
    "AdaptiveMaxPooling1D": (SEQUENCE, "L.AdaptiveMaxPooling1D(3)"),
    "AdaptiveMaxPooling2D": (MAP, "L.AdaptiveMaxPooling2D(4)"),
    "AdaptiveMaxPooling3D": (VOLUME, "L.AdaptiveMaxPooling3D(2)"),
    "AlphaDropout": (VECTOR, "L.AlphaDropout(0.3)"),
    "AveragePooling1D": (SEQUENCE, "L.AveragePooling1D(2)"),
    "AveragePooling2D": (MAP, "L.AveragePooling2D(2)"),
    "AveragePooling3D": (VOLUME, "L.AveragePooling3D(2)"),
    "BatchNormalization": (MAP, "L.BatchNormalization()"),
    "Bidirectional": (SEQUENCE, "L.Bidirectional(L.GRU(4))"),
    "CenterCrop": (MAP, "L.CenterCrop(4, 4)"),
    "Conv1D": (SEQUENCE, "L.Conv1D(5, 3, dilation_rate=2)"),
    "Conv1DTranspose": (SEQUENCE, "L.Conv1DTranspose(5, 3, strides=2)"),
    "Conv2D": (MAP, "L.Conv2D(6, 3, groups=2)"),
    "Conv2DTranspose": (
        MAP,
        "L.Conv2DTranspose(5, 3, 2, 'same', activation='relu', bias_initializer='ones')",
    ),
    "Conv3D": (VOLUME, "L.Conv3D(4, 2)"),
    "Conv3DTranspose": (VOLUME, "L.Conv3DTranspose(4, 2)"),
    "ConvLSTM1D": ((4, 6, 3), "L.ConvLSTM1D(3, 3)"),
    "ConvLSTM2D": ((3, 5, 5, 2), "L.ConvLSTM2D(3, 3)"),
    "ConvLSTM3D": ((3, 4, 4, 4, 2), "L.ConvLSTM3D(2, 2)"),
    "Cropping1D": (SEQUENCE, "L.Cropping1D((1, 2))"),
    "Cropping2D": (MAP, "L.Cropping2D(((1, 2), (0, 1)))"),
    "Cropping3D": (VOLUME, "L.Cropping3D(1)"),
    "Dense": (VECTOR, "L.Dense(7, activation='relu')"),
    "DepthwiseConv1D": (SEQUENCE, "L.DepthwiseConv1D(3)"),
    "DepthwiseConv2D": (MAP, "L.DepthwiseConv2D(3, depth_multiplier=2)"),
    "Discretization": (VECTOR, "L.Discretization([0.0, 0.5])"),
    "Dropout": (VECTOR, "L.Dropout(0.3)"),
    "ELU": (VECTOR, "L.ELU()"),
    "EinsumDense": (SEQUENCE, "L.EinsumDense('abc,cd->abd', (None, 5))"),
    "Embedding": ((9,), "L.Embedding(20, 6)"),
    "Flatten": (MAP, "L.Flatten()"),
    "GRU": (SEQUENCE, "L.GRU(5)"),
    "GaussianDropout": (VECTOR, "L.GaussianDropout(0.3)"),
    "GaussianNoise": (VECTOR, "L.GaussianNoise(0.3)"),
    "GlobalAveragePooling1D": (SEQUENCE, "L.GlobalAveragePooling1D()"),
    "GlobalAveragePooling2D": (MAP, "L.GlobalAveragePooling2D()"),
    "GlobalAveragePooling3D": (VOLUME, "L.GlobalAveragePooling3D()"),
    "GlobalMaxPooling1D": (SEQUENCE, "L.GlobalMaxPooling1D()"),
    "GlobalMaxPooling2D": (MAP, "L.GlobalMaxPooling2D()"),
    "GlobalMaxPooling3D": (VOLUME, "L.GlobalMaxPooling3D()"),
    "GroupNormalization": (MAP, "L.GroupNormalization(2)"),
    "Identity": (VECTOR, "L.Identity()"),
    "LSTM": (SEQUENCE, "L.LSTM(5, return_sequences=True)"),
    "LayerNormalization": (SEQUENCE, "L.LayerNormalization()"),
    "LeakyReLU": (VECTOR, "L.LeakyReLU()"),
    "Masking": (SEQUENCE, "L.Masking()"),
    "MaxPooling1D": (SEQUENCE, "L.MaxPooling1D(2)"),
    "MaxPooling2D": (MAP, "L.MaxPooling2D(2)"),
    "MaxPooling3D": (VOLUME, "L.MaxPooling3D(2)"),
    "MelSpectrogram": ((512,), "L.MelSpectrogram(fft_length=128, num_mel_bins=8)"),
    "Normalization": (VECTOR, "L.Normalization(mean=0.2, variance=2.0)"),
    "PReLU": (MAP, "L.PReLU(alpha_initializer='random_normal')"),
    "Permute": (MAP, "L.Permute((3, 1, 2))"),
    "RMSNormalization": (SEQUENCE, "L.RMSNormalization()"),
    "RNN": (SEQUENCE, "L.RNN(L.GRUCell(4))"),
    "ReLU": (VECTOR, "L.ReLU(6.0)"),
    "RepeatVector": (VECTOR, "L.RepeatVector(3)"),
    "Rescaling": (VECTOR, "L.Rescaling(0.5, 0.1)"),
    "Reshape": (MAP, "L.Reshape((16, 16))"),
    "Resizing": (MAP, "L.Resizing(5, 11)"),
    "ReversibleEmbedding": ((9,), "L.ReversibleEmbedding(20, 6)"),
    "STFTSpectrogram": (
        (512, 1),
        "L.STFTSpectrogram(frame_length=64, frame_step=32, fft_length=64)",
    ),
    "SeparableConv1D": (SEQUENCE, "L.SeparableConv1D(5, 3)"),
    "SeparableConv2D": (MAP, "L.SeparableConv2D(5, 3)"),
    "SimpleRNN": (SEQUENCE, "L.SimpleRNN(5)"),
    "Softmax": (SEQUENCE, "L.Softmax()"),
    "SpatialDropout1D": (SEQUENCE, "L.SpatialDropout1D(0.3)"),
    "SpatialDropout2D": (MAP, "L.SpatialDropout2D(0.3)"),
    "SpatialDropout3D": (VOLUME, "L.SpatialDropout3D(0.3)"),
    "SpectralNormalization": (VECTOR, "L.SpectralNormalization(L.Dense(5))"),
    "TimeDistributed": (SEQUENCE, "L.TimeDistributed(L.Dense(5))"),
    "UnitNormalization": (SEQUENCE, "L.UnitNormalization()"),
    "UpSampling1D": (SEQUENCE, "L.UpSampling1D(2)"),
    "UpSampling2D": (MAP, "L.UpSampling2D(2, interpolation='bilinear')"),
    "UpSampling3D": (VOLUME, "L.UpSampling3D(2)"),
    "ZeroPadding1D": (SEQUENCE, "L.ZeroPadding1D(2)"),
    "ZeroPadding2D": (MAP, "L.ZeroPadding2D(1)"),
    "ZeroPadding3D": (VOLUME, "L.ZeroPadding3D(1)"),
}

JOINING: dict[str, tuple[tuple[int, ...], str]] = {
    # Of two inputs of one shape.
    "Add": (MAP, "L.Add()([x, y])"),
    "AdditiveAttention": (SEQUENCE, "L.AdditiveAttention()([x, y])"),
    "Attention": (SEQUENCE, "L.Attention()([x, y])"),
    "Average": (MAP, "L.Average()([x, y])"),
    "Concatenate": (MAP, "L.Concatenate(axis=2)([x, y])"),
    "Dot": (VECTOR, "L.Dot(axes=1)([x, y])"),
    "GroupQueryAttention": (SEQUENCE, "L.GroupQueryAttention(4, 4, 2)(x, y)"),
    "Maximum": (MAP, "L.Maximum()([x, y])"),
    "Minimum": (MAP, "L.Minimum()([x, y])"),
    "MultiHeadAttention": (SEQUENCE, "L.MultiHeadAttention(2, 4)(x, y)"),
    "Multiply": (MAP, "L.Multiply()([x, y])"),
    "Subtract": (MAP, "L.Subtract()([x, y])"),
}


def _model(name: str) -> object:
    import keras
    from keras import layers as L  # noqa: N812

    keras.utils.set_random_seed(1)
    names = {"keras": keras, "L": L}
    if name in LAYERS:
        shape, text = LAYERS[name]
        inputs = [keras.Input(shape)]
        return keras.Model(inputs, eval(text, names)(inputs[0]))
    shape, text = JOINING[name]
    inputs = [keras.Input(shape, name="x"), keras.Input(shape, name="y")]
    outputs = eval(text, names, {"x": inputs[0], "y": inputs[1]})
    return keras.Model(inputs, outputs)


def main(folder: Path, names: list[str]) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from mcudeploy.errors import McudeployError
    from mcudeploy.frontend import tf_worker
    from mcudeploy.frontend.keras import detect
    from mcudeploy.frontend.tf_worker_protocol import Reporter

    report = Reporter(os.open(os.devnull, os.O_WRONLY))
    for name in names:
        (folder / f"{name}.started").touch()
        work = folder / name
        work.mkdir()
        path = work / f"{name}.keras"
        try:
            _model(name).save(path)  # type: ignore[attr-defined]
            request = {
                "model": str(path), "name": path.name, "kind": detect(path).value,
                "calibration": None, "synthetic": True, "float": False,
            }  # fmt: skip
            tf_worker._TASKS["quantize"](request, work, report)
            (work / "model.tflite").rename(folder / f"{name}.tflite")
        except (McudeployError, ValueError, TypeError) as error:
            (folder / f"{name}.txt").write_text(str(error), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
