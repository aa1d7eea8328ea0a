# SPDX-License-Identifier: Apache-2.0
"""Layers into a Keras model whose weights, though untrained, quantize to sane scales.

With Keras's own initial weights the activations of a deep network vanish, and its int8 scales with
them. So every layer is run, as soon as it is made, on a few seeded images: batch norms take their
moving statistics from what they see, and a layer without batch norm is rescaled so that each of its
channels has mean 0 and variance 1 there (a data-dependent initialization: Mishkin and Matas, 2016,
arXiv:1511.06422). The images are smooth and differ in brightness and contrast, so that different
inputs still give different outputs behind a global average. A classifier behind a softmax is
scaled until one class of many stands out: evenly spread probabilities would all be 0 in int8.

TensorFlow is imported by these functions, and only by them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from mcudeploy.errors import ToolError
from mcudeploy.zoo.net import Layer, Network, Shape

Samples = npt.NDArray[np.float32]
_SAMPLES = 8
_SMALLEST_DEVIATION = 1e-3


def sample_inputs(shape: Shape, count: int = _SAMPLES, seed: int = 0) -> Samples:
    """`count` seeded inputs of `shape` (HWC, (t, k) or (k,)) as float32 in -1 to 1.

    Sums of smooth waves with a brightness and contrast of their own: what networks are initialized
    on here, and what stands in for calibration data when there is none.
    """
    generator = np.random.default_rng([seed, *shape])
    axes = [np.linspace(0, 1, size, dtype=np.float32) for size in shape[: max(1, len(shape) - 1)]]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    channels = shape[-1] if len(shape) > 1 else 1
    samples = np.empty((count, *shape), np.float32)
    for sample in samples:
        waves = generator.normal(size=(6, channels)) * generator.uniform(0.1, 1.0)
        frequencies = generator.uniform(-6, 6, size=(6, grid.shape[-1]))
        phases = generator.uniform(0, 2 * np.pi, size=6)
        image = np.sin(2 * np.pi * grid @ frequencies.T + phases) @ waves
        image = image.reshape(shape) + generator.normal(0, 0.1, shape) + generator.normal(0, 0.3)
        sample[...] = np.tanh(0.5 * image)
    return samples


def build(network: Network, seed: int = 0) -> Any:
    """The Keras model of a network, initialized on seeded data; same seed, same weights.

    Inputs are float32 batches of the network's input shape. Raises ToolError without TensorFlow.
    """
    keras = _import_keras()
    keras.utils.set_random_seed(seed)
    source = keras.Input(network.input_shape, name="input")
    classifier: Any = None
    symbols: list[Any] = [source]
    samples: list[Any] = [sample_inputs(network.input_shape, seed=seed)]
    readers = _last_readers(network)
    followed_by_norm = {layer.inputs[0] for layer in network.layers if layer.kind == "norm"}
    for position, layer in enumerate(network.layers[1:], start=1):
        made = _LAYERS[layer.kind](keras, layer)
        symbols.append(_call(made, [symbols[i] for i in layer.inputs]))
        inputs = [samples[i] for i in layer.inputs]
        if layer.kind in ("conv", "dense"):
            classifier = made
        if layer is network.layers[-1] and layer.options.get("function") == "softmax":
            inputs = [_sharpen(classifier, inputs[0])]
        samples.append(_initialize(made, layer, inputs, position in followed_by_norm))
        for i in layer.inputs:
            if readers[i] == position:
                samples[i] = None
    return keras.Model(source, symbols[-1], name=network.name)


def _import_keras() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
    except ImportError as error:
        raise ToolError(
            "a Keras model needs TensorFlow, which is not installed",
            mend="pip install tensorflow-cpu",
        ) from error
    return keras


def _last_readers(network: Network) -> dict[int, int]:
    return {i: p for p, layer in enumerate(network.layers) for i in layer.inputs}


def _call(made: Any, inputs: list[Any]) -> Any:
    if isinstance(made, _SelfAttention):
        return made.layer(inputs[0], inputs[0])
    return made(inputs[0] if len(inputs) == 1 else inputs)


class _SelfAttention:
    """Marks a MultiHeadAttention that reads its one input twice."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer


def _initialize(made: Any, layer: Layer, inputs: list[Any], norm_follows: bool) -> Any:
    """Runs a new layer on the samples and mends its weights; returns its final output."""
    if layer.kind == "norm":
        values = np.asarray(inputs[0])
        axes = tuple(range(values.ndim - 1))
        made.moving_mean.assign(values.mean(axes))
        made.moving_variance.assign(np.maximum(values.var(axes), _SMALLEST_DEVIATION**2))
    elif layer.kind in ("recurrent", "attention"):
        _seed_biases(made.layer if layer.kind == "attention" else made, layer.name)
    output = np.asarray(_call(made, inputs))
    if layer.kind in ("conv", "depthwise", "dense") and not norm_follows:
        axes = tuple(range(output.ndim - 1))
        deviation = np.maximum(output.std(axes), _SMALLEST_DEVIATION)
        mean = output.mean(axes)
        kernel = np.asarray(made.kernel)
        scale = deviation.reshape((-1, 1)) if layer.kind == "depthwise" else deviation
        made.kernel.assign(kernel / scale)
        if made.use_bias:
            made.bias.assign(-mean / deviation)
        output = (output - mean * made.use_bias) / deviation
    return output


def _sharpen(classifier: Any, logits: Any) -> Any:
    """Scales a classifier so that its logits deviate by sqrt(2 ln n) from sample to sample.

    That is where the largest of n normal logits holds its own against the sum of all. What stands
    between classifier and softmax (ReLU, a mean) scales along. Returns the scaled logits.
    """
    values = np.asarray(logits)
    deviation = max(float((values - values.mean(axis=0)).std()), _SMALLEST_DEVIATION)
    gain = math.sqrt(2 * math.log(values.shape[-1])) / deviation
    for variable in classifier.trainable_variables:
        variable.assign(variable * gain)
    return values * gain


def _seed_biases(layer: Any, name: str) -> None:
    """Small biases, since zero ones would let the converter drop what a trained layer has."""
    generator = np.random.default_rng(len(name))
    for variable in layer.trainable_variables:
        if "bias" in variable.path.rsplit("/", maxsplit=1)[-1]:
            variable.assign(variable + generator.normal(0, 0.1, variable.shape))


def _keras_name(layer: Layer) -> str:
    return layer.name.replace("/", "_")


def _conv(keras: Any, layer: Layer) -> Any:
    o = layer.options
    return keras.layers.Conv2D(
        layer.shape[-1], o["kernel"], o["stride"], padding=o["padding"], groups=o["groups"],
        use_bias=o["bias"], name=_keras_name(layer),
    )  # fmt: skip


def _depthwise(keras: Any, layer: Layer) -> Any:
    o = layer.options
    return keras.layers.DepthwiseConv2D(
        o["kernel"], o["stride"], padding=o["padding"], use_bias=o["bias"],
        name=_keras_name(layer),
    )  # fmt: skip


def _pool(keras: Any, layer: Layer) -> Any:
    o = layer.options
    kind = keras.layers.MaxPooling2D if o["how"] == "max" else keras.layers.AveragePooling2D
    return kind(o["kernel"], o["stride"], padding=o["padding"], name=_keras_name(layer))


def _mean(keras: Any, layer: Layer) -> Any:
    ranks = {2: keras.layers.GlobalAveragePooling1D, 3: keras.layers.GlobalAveragePooling2D}
    kind = ranks[layer.options["rank"]]
    return kind(keepdims=layer.options["keep"], name=_keras_name(layer))


_FUNCTIONS = {"hard_swish": "hard_silu", "swish": "silu"}


def _activation(keras: Any, layer: Layer) -> Any:
    function, name = layer.options["function"], _keras_name(layer)
    if function in ("relu", "relu6"):
        return keras.layers.ReLU(6.0 if function == "relu6" else None, name=name)
    if function == "softmax":
        return keras.layers.Softmax(name=name)
    return keras.layers.Activation(_FUNCTIONS.get(function, function), name=name)


def _recurrent(keras: Any, layer: Layer) -> Any:
    kinds = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM, "gru": keras.layers.GRU}
    # Rolled loops crash TensorFlow's converter when it quantizes; unrolled ones do not.
    return kinds[layer.options["cell"]](
        layer.shape[-1], return_sequences=layer.options["sequence"], unroll=True,
        name=_keras_name(layer),
    )  # fmt: skip


def _attention(keras: Any, layer: Layer) -> Any:
    heads = layer.options["heads"]
    return _SelfAttention(
        keras.layers.MultiHeadAttention(heads, layer.shape[-1] // heads, name=_keras_name(layer))
    )


_LAYERS: dict[str, Callable[[Any, Layer], Any]] = {
    "conv": _conv,
    "depthwise": _depthwise,
    "dense": lambda keras, layer: keras.layers.Dense(
        layer.shape[-1], use_bias=layer.options["bias"], name=_keras_name(layer)
    ),
    "norm": lambda keras, layer: keras.layers.BatchNormalization(
        beta_initializer=keras.initializers.RandomNormal(0, 0.1), name=_keras_name(layer)
    ),
    "activation": _activation,
    "pool": _pool,
    "mean": _mean,
    "add": lambda keras, layer: keras.layers.Add(name=_keras_name(layer)),
    "multiply": lambda keras, layer: keras.layers.Multiply(name=_keras_name(layer)),
    "concat": lambda keras, layer: keras.layers.Concatenate(name=_keras_name(layer)),
    "reshape": lambda keras, layer: keras.layers.Reshape(layer.shape, name=_keras_name(layer)),
    "permute": lambda keras, layer: keras.layers.Permute(
        layer.options["axes"], name=_keras_name(layer)
    ),
    "recurrent": _recurrent,
    "attention": _attention,
    "layer_norm": lambda keras, layer: keras.layers.LayerNormalization(
        beta_initializer=keras.initializers.RandomNormal(0, 0.1), name=_keras_name(layer)
    ),
    "weighted_sum": lambda keras, layer: keras.layers.Dot((2, 1), name=_keras_name(layer)),
}
