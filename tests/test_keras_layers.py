# SPDX-License-Identifier: Apache-2.0
"""Every layer class of Keras: deploys bit-exact as a model of its own, or is refused, and why."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from host_model import HostModel
from keras_layers import JOINING, LAYERS
from operator_cases import golden_only

from mcudeploy.errors import UnsupportedModelError

SCRIPT = Path(__file__).with_name("keras_layers.py")

NOTHING = "it holds no operator"
"""The layer does nothing at inference: in a larger network it vanishes, alone it is none."""
NO_3D_POOLING = r"TFLite has no operator for tf\.(Avg|Max)Pool3D"

REFUSED = {
    **dict.fromkeys(
        (
            "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout",
            "GaussianNoise", "Identity", "SpatialDropout1D", "SpatialDropout2D",
            "SpatialDropout3D",
        ),
        NOTHING,
    ),
    **dict.fromkeys(
        ("AdaptiveAveragePooling3D", "AdaptiveMaxPooling3D", "AveragePooling3D", "MaxPooling3D"),
        NO_3D_POOLING,
    ),
    "Conv3D": "there is no kernel for CONV_3D",
    "Conv3DTranspose": "there is no kernel for CONV_3D_TRANSPOSE",
    "ConvLSTM3D": "there is no kernel for CONV_3D",
    "Discretization": "there is no kernel for BUCKETIZE",
    "Masking": "there is no kernel for REDUCE_ANY",
    "MelSpectrogram": "tensors of type complex64",
}  # fmt: skip
"""Layers that cannot be deployed, with words of the reason that is given."""

NOT_AT_INFERENCE = {
    "another name of a class on the list": (
        "AvgPool1D AvgPool2D AvgPool3D Convolution1D Convolution1DTranspose Convolution2D "
        "Convolution2DTranspose Convolution3D Convolution3DTranspose GlobalAvgPool1D "
        "GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D GlobalMaxPool3D "
        "MaxPool1D MaxPool2D MaxPool3D SeparableConvolution1D SeparableConvolution2D"
    ),
    "a part of other layers, none by itself": (
        "GRUCell InputLayer InputSpec LSTMCell Layer SimpleRNNCell StackedRNNCells Wrapper"
    ),
    "runs code of the user or of another framework": (
        "FlaxLayer JaxLayer Lambda TFSMLayer TorchModuleWrapper"
    ),
    "prepares data before training, at random or from text": (
        "AugMix AutoContrast CategoryEncoding ContrastLimitedAdaptiveHistogramEqualization CutMix "
        "Equalization HashedCrossing Hashing IntegerLookup MaxNumBoundingBoxes MixUp Pipeline "
        "RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast "
        "RandomCrop RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur "
        "RandomGrayscale RandomHue RandomInvert RandomPerspective RandomPosterization "
        "RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation RandomZoom "
        "Solarization StringLookup TextVectorization"
    ),
}

_CLASSES = """
import inspect, os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
print(*[n for n, v in vars(keras.layers).items() if inspect.isclass(v)])
"""


def test_every_layer_class_of_keras_is_on_the_list():
    printed = subprocess.run(
        [sys.executable, "-c", _CLASSES], check=True, capture_output=True, text=True
    ).stdout
    others = {name for names in NOT_AT_INFERENCE.values() for name in names.split()}
    unknown = set(printed.splitlines()[-1].split()) - {*LAYERS, *JOINING, *others}
    assert not unknown, "write a model of each in tests/keras_layers.py, or say why there is none"


def test_what_is_refused_is_on_the_list():
    assert set(REFUSED) <= {*LAYERS, *JOINING}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with NAME.tflite or NAME.txt of every layer."""
    folder = tmp_path_factory.mktemp("layers")
    subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), *LAYERS, *JOINING],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@golden_only
@pytest.mark.slow(reason="TensorFlow converts a hundred layers, a minute and a half")
@pytest.mark.parametrize("name", [*LAYERS, *JOINING])
def test_a_layer_deploys_bit_exact_or_is_refused_with_its_reason(
    name: str, converted: Path, tmp_path: Path
):
    refusal = converted / f"{name}.txt"
    reason = refusal.read_text() if refusal.is_file() else ""
    if not reason:
        model = (converted / f"{name}.tflite").read_bytes()
        try:
            program = HostModel(model, tmp_path)
        except UnsupportedModelError as error:
            reason = str(error)
    if reason or name in REFUSED:
        assert name in REFUSED, reason
        assert re.search(REFUSED[name], reason), reason
        return
    program.check_against_golden(samples=3)
