# SPDX-License-Identifier: Apache-2.0
"""Reads models that were trained quantization-aware with tensorflow_model_optimization.

Such a file wraps each layer in a `QuantizeWrapperV2` whose weights include the ranges that
training found: of the kernel (`kernel_min`, per channel for convolutions), before or after the
activation, of the output. The package itself needs an old absl that other packages exclude; and
to convert a model only the inference of its wrappers is wanted, which is here: fake quantization
with the stored ranges, from which the converter takes the int8 parameters.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tf_keras

from mcudeploy.errors import UnsupportedModelError

# Where the package puts the range of an activation, as the names of its weights show.
_RANGE_BEFORE = ("softmax", "sigmoid", "tanh", "gelu")
_RANGE_AFTER = ("linear", "relu", "swish", "gelu")
_NO_ACTIVATION = "NoOpActivation"
_PER_CHANNEL = "Default8BitConvQuantizeConfig"
_TRANSPOSED = "Default8BitConvTransposeQuantizeConfig"
_KNOWN_CONFIGS = (
    "Default8BitQuantizeConfig",
    _PER_CHANNEL,
    _TRANSPOSED,
    "Default8BitOutputQuantizeConfig",
    "Default8BitActivationQuantizeConfig",
    "NoOpQuantizeConfig",
)


class _Ranges(tf_keras.layers.Layer):  # type: ignore[misc]
    """Keeps pairs of minimum and maximum as weights, in the order that the file has them."""

    def add_step(self) -> None:
        """The counter of training steps that every wrapper carries."""
        self._step = self.add_weight(
            name="optimizer_step", dtype=tf.int32, initializer="zeros", trainable=False
        )

    def add_range(self, name: str, shape: tuple[int, ...] = ()) -> tuple[Any, Any]:
        low = self.add_weight(name=f"{name}_min", shape=shape, initializer="zeros", trainable=False)
        high = self.add_weight(
            name=f"{name}_max", shape=shape, initializer="zeros", trainable=False
        )
        return low, high


def _quantized(values: Any, span: tuple[Any, Any]) -> Any:
    return tf.quantization.fake_quant_with_min_max_vars(values, span[0], span[1], num_bits=8)


class QuantizeLayer(_Ranges):
    """The range of a model's input."""

    def __init__(self, quantizer: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self._active = quantizer is not None

    def build(self, input_shape: Any) -> None:
        if self._active:
            self._span = self.add_range(self.name)
        self.add_step()
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        return _quantized(inputs, self._span) if self._active else inputs


class QuantizeWrapperV2(_Ranges):
    """A layer between fake quantizations of its kernel, activation and output."""

    def __init__(self, layer: Any, quantize_config: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        kind = quantize_config["class_name"]
        if kind not in _KNOWN_CONFIGS:
            raise UnsupportedModelError(
                f"the quantization-aware layer uses {kind}, which is not the 8-bit default",
                where=f"layer {self.name!r}",
                mend="export the trained model with model.export(FOLDER) and give that folder",
            )
        self._kind = kind
        self._settings = quantize_config.get("config", {})
        self._activation = _activation_of(layer["config"].get("activation"))
        self.layer = tf_keras.layers.deserialize(_plain(layer, self._activation))

    def build(self, input_shape: Any) -> None:
        if not self.layer.built:
            self.layer.build(input_shape)
            self.layer.built = True
        self.add_step()
        self._kernels = {
            name: self.add_range(name, self._kernel_ranges(name))
            for name in self._settings.get("weight_attrs", [])
        }
        quantized = bool(self._settings.get("activation_attrs"))
        before = quantized and self._activation in _RANGE_BEFORE
        after = quantized and self._activation in _RANGE_AFTER
        self._before = self.add_range("pre_activation") if before else None
        self._after = self.add_range("post_activation") if after else None
        self._output = self.add_range("output") if self._has_output_range() else None
        # A .keras file keeps trainable weights with the wrapper and the kernels only there.
        self._load_layer = self.layer.load_own_variables
        self.layer.load_own_variables = self._load_rest_of_layer
        super().build(input_shape)

    def load_own_variables(self, store: Any) -> None:
        """From a .keras file: the layer's trainable weights first, the ranges last."""
        for position, variable in enumerate(self.layer.trainable_weights):
            variable.assign(store[str(position)])
        own = self._non_trainable_weights
        for position, variable in enumerate(own, start=len(store.keys()) - len(own)):
            variable.assign(store[str(position)])

    def _load_rest_of_layer(self, store: Any) -> None:
        if len(store.keys()) == len(self.layer.weights):
            self._load_layer(store)

    def _kernel_ranges(self, name: str) -> tuple[int, ...]:
        if self._kind != _PER_CHANNEL:
            return ()
        return (int(getattr(self.layer, name).shape[-1]),)

    def _has_output_range(self) -> bool:
        if self._kind == "Default8BitOutputQuantizeConfig":
            return bool(self._settings.get("quantize_output", True))
        if self._kind == "Default8BitActivationQuantizeConfig":
            return self._activation in ("relu", "swish", "gelu", "relu6")
        return bool(self._settings.get("quantize_output"))

    @property
    def trainable_weights(self) -> list[Any]:
        return list(self.layer.trainable_weights)

    @property
    def non_trainable_weights(self) -> list[Any]:
        return [*self.layer.non_trainable_weights, *self._non_trainable_weights]

    def call(self, inputs: Any) -> Any:
        with self._kernels_replaced():
            outputs = self.layer(inputs)
        return _quantized(outputs, self._output) if self._output else outputs

    @contextlib.contextmanager
    def _kernels_replaced(self) -> Iterator[None]:
        """The layer's kernels and activation quantized while it is called, and put back."""
        state = self.layer.__dict__
        kept = {name: state[name] for name in self._kernels}
        for name, (low, high) in self._kernels.items():
            state[name] = self._quantized_kernel(kept[name], low, high)
        if self._before or self._after:
            kept["activation"] = state["activation"]
            state["activation"] = self._quantized_activation(kept["activation"])
        try:
            yield
        finally:
            state.update(kept)

    def _quantized_kernel(self, kernel: Any, low: Any, high: Any) -> Any:
        if self._kind == _PER_CHANNEL:
            return tf.quantization.fake_quant_with_min_max_vars_per_channel(
                kernel, low, high, num_bits=8, narrow_range=True
            )
        return tf.quantization.fake_quant_with_min_max_vars(
            kernel, low, high, num_bits=8, narrow_range=True
        )

    def _quantized_activation(self, activation: Any) -> Any:
        def call(values: Any) -> Any:
            values = _quantized(values, self._before) if self._before else values
            values = activation(values)
            return _quantized(values, self._after) if self._after else values

        return call


def _activation_of(serialized: Any) -> str:
    """The name within a serialized activation, wrapped for quantization or not."""
    while isinstance(serialized, dict):
        if serialized.get("class_name") == "QuantizeAwareActivation":
            serialized = serialized["config"]["activation"]
        elif serialized.get("class_name") == "function":
            serialized = serialized["config"]
        else:
            serialized = serialized.get("class_name")
    return str(serialized)


def _plain(layer: dict[str, Any], activation: str) -> dict[str, Any]:
    """The wrapped layer's description with a plain activation in it."""
    config = dict(layer["config"])
    if "activation" in config:
        config["activation"] = "linear" if activation in (_NO_ACTIVATION, "None") else activation
    return {**layer, "config": config}


CLASSES = {
    "QuantizeLayer": QuantizeLayer,
    "QuantizeWrapper": QuantizeWrapperV2,
    "QuantizeWrapperV2": QuantizeWrapperV2,
}
