# SPDX-License-Identifier: Apache-2.0
"""Loads a model in the child process and makes one function of it, whatever it was saved as.

Keras 3 files load with `keras`, Keras 2 files with `tf_keras` (Keras 3 refuses many of them), a
SavedModel by its signature. Recurrent layers are unrolled in place, because the converter cannot
quantize their loops; mixed precision becomes float32. See `tf_worker_config` for what is refused
before anything is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mcudeploy.errors import InputError, UnsupportedModelError
from mcudeploy.frontend.calibration import ModelInput
from mcudeploy.frontend.keras import ModelKind
from mcudeploy.frontend.tf_worker_config import Description, describe, walk
from mcudeploy.frontend.tf_worker_protocol import Reporter

_REBUILD = "rebuild the model with a fixed input, as in keras.Input(shape=(96, 96, 3))"
_MANY_STEPS = 200
_OPERATIONS_WITH_EFFECTS = re.compile(
    r"(Eager)?PyFunc|PyFuncStateless|.*(Read|Write)File|MatchingFiles|.*ReaderV?\d?|PrintV2?|"
    r"LogicalPrint|.*Summary.*Writer.*|.*DatasetV?\d?|.*Send|.*Recv|Rpc.*|.*Iterator.*|Debug.*"
)


@dataclass
class Loaded:
    """A model ready to be converted.

    `call` takes one tensor an input, batch first, and returns the outputs in order. `keep` is
    what owns the variables. `layers` are Keras' own, flat; a SavedModel has none.
    """

    name: str
    inputs: list[ModelInput]
    call: Callable[[Sequence[Any]], Sequence[Any]]
    keep: Any
    layers: list[Any] = field(default_factory=list)
    trained_for_int8: bool = False
    notes: list[str] = field(default_factory=list)


def load(request: dict[str, Any], report: Reporter) -> Loaded:
    """The model of `request`. Raises InputError and UnsupportedModelError."""
    path, name = Path(request["model"]), request["name"]
    kind = ModelKind(request["kind"])
    report.phase("start", "starting TensorFlow")
    if kind is ModelKind.SAVED_MODEL:
        return _load_saved_model(path, name, report)
    description = describe(path, kind, name)
    report.phase("load", f"loading {path.name} (Keras {description.keras_version})")
    model, keras = _load_keras(path, description, name)
    loaded = Loaded(
        name=name,
        inputs=_keras_inputs(model, name),
        call=lambda tensors: _flat(
            model(list(tensors) if len(tensors) > 1 else tensors[0], training=False)
        ),
        keep=[getattr(v, "value", v) if keras.__name__ == "keras" else v for v in model.variables],
        layers=_leaf_layers(model),
        trained_for_int8=description.quantization_aware,
    )
    if description.is_keras_2:
        loaded.notes.append(f"saved by Keras {description.keras_version}: loaded with tf_keras")
    _check_weights(loaded)
    _use_float32(loaded, keras)
    _unroll(loaded, keras)
    return loaded


def _flat(outputs: Any) -> list[Any]:
    import tensorflow as tf

    return list(tf.nest.flatten(outputs))


def _load_keras(path: Path, description: Description, name: str) -> tuple[Any, Any]:
    scope: dict[str, Any] = {}
    if description.is_keras_2:
        import tf_keras as keras
    else:
        import keras
    if description.quantization_aware:
        from mcudeploy.frontend import tf_worker_qat

        scope = tf_worker_qat.CLASSES
    try:
        with keras.utils.custom_object_scope(scope):
            return keras.models.load_model(str(path), compile=False), keras
    except UnsupportedModelError:
        raise
    except Exception as error:
        raise _explain(error, description, name) from error


def _explain(error: Exception, description: Description, name: str) -> UnsupportedModelError:
    """Keras' complaint in one sentence, with the layer that it is about."""
    text = str(error) or type(error).__name__
    unknown = re.search(r"(?:Unknown [\w ]+: ?|Could not locate class )'?([\w>.]+)'?", text)
    if unknown:
        kind = unknown.group(1)
        layers = [
            layer for node, layer in walk(description.config) if node.get("class_name") == kind
        ]
        place = f"layer {layers[0]!r} ({kind})" if layers else kind
        return UnsupportedModelError(
            f"{kind} is not part of Keras, and its code is not in the file",
            where=f"{name}, {place}",
            mend="express it with Keras' own layers, or export the model with "
            "model.export(FOLDER) and give that SavedModel folder",
        )
    return UnsupportedModelError(
        f"Keras {description.keras_version} cannot rebuild the model: {text.splitlines()[0][:300]}",
        where=name,
        mend="load it where it was trained and export it with model.export(FOLDER)",
    )


def _keras_inputs(model: Any, name: str) -> list[ModelInput]:
    tensors = getattr(model, "inputs", None)
    if not tensors:
        raise UnsupportedModelError(
            "the model is not built: it does not say what its inputs are", where=name, mend=_REBUILD
        )
    names = getattr(model, "input_names", None) or [tensor.name for tensor in tensors]
    inputs = []
    for tensor, label in zip(tensors, names, strict=True):
        dtype = getattr(tensor.dtype, "name", tensor.dtype)
        inputs.append(_input(str(label), list(tensor.shape), str(dtype), name))
    return inputs


def _input(label: str, shape: list[int | None], dtype: str, name: str) -> ModelInput:
    where = f"{name}, input {label!r}"
    shown = "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"
    if any(size is None for size in shape[1:]) or not shape:
        raise InputError(
            f"the input's shape is open: {shown}; a microcontroller needs it fixed",
            where=where,
            mend=_REBUILD,
        )
    if shape[0] not in (None, 1):
        raise InputError(
            f"the model has a fixed batch of {shape[0]}: {shown}",
            where=where,
            mend="rebuild the model with an open batch (or 1): keras.Input(shape=...)",
        )
    if dtype in ("float16", "bfloat16", "float64"):
        dtype = "float32"
    return ModelInput(label, tuple(int(size) for size in shape[1:] if size is not None), dtype)


def _leaf_layers(model: Any) -> list[Any]:
    return [
        layer
        for layer in model._flatten_layers(include_self=False)
        if not list(layer._flatten_layers(include_self=False, recursive=False))
        or not hasattr(layer, "layers")
    ]


def _check_weights(loaded: Loaded) -> None:
    for layer in loaded.layers:
        for weight, values in zip(layer.weights, layer.get_weights(), strict=False):
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise InputError(
                    f"the weight {weight.name} holds NaN or infinity: training diverged",
                    where=f"{loaded.name}, layer {layer.name!r}",
                    mend="train the model again, with a smaller learning rate",
                )


def _use_float32(loaded: Loaded, keras: Any) -> None:
    """Mixed precision is a matter of training: the variables are float32 already."""
    changed = False
    for layer in loaded.layers:
        policy = getattr(layer, "dtype_policy", None)
        if "float16" not in str(getattr(policy, "name", "")):
            continue
        if keras.__name__ == "keras":
            layer.dtype_policy = keras.dtype_policies.DTypePolicy("float32")
        else:
            layer._set_dtype_policy(keras.mixed_precision.Policy("float32"))
        changed = True
    if changed:
        loaded.notes.append("trained in mixed precision: converted in float32")


def _unroll(loaded: Loaded, keras: Any) -> None:
    """Make recurrent layers straight lines: the converter crashes when it quantizes their loops."""
    names = []
    for layer in loaded.layers:
        if not isinstance(layer, keras.layers.RNN):
            continue
        where = f"{loaded.name}, layer {layer.name!r} ({type(layer).__name__})"
        if layer.stateful:
            raise UnsupportedModelError(
                "a stateful recurrent layer keeps its state between calls, which is not converted",
                where=where,
                mend="rebuild it with stateful=False and feed whole sequences",
            )
        if not layer.unroll:
            names.append(layer.name)
        layer.unroll = True
        if hasattr(layer, "_could_use_gpu_kernel"):
            layer._could_use_gpu_kernel = False
    if names:
        loaded.notes.append(
            f"recurrent layers unrolled for quantization, weights unchanged: {', '.join(names)}"
        )
        steps = max((spec.shape[0] for spec in loaded.inputs if len(spec.shape) > 1), default=0)
        if steps > _MANY_STEPS:
            loaded.notes.append(f"{steps} time steps unrolled: a long program, shorten the input")


def _load_saved_model(path: Path, name: str, report: Reporter) -> Loaded:
    _check_operations(path, name)
    import tensorflow as tf

    report.phase("load", f"loading the SavedModel {path.name}")
    try:
        model = tf.saved_model.load(str(path))
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the SavedModel cannot be loaded: {first[:300]}",
            where=name,
            mend="export it again with model.export(FOLDER)",
        ) from error
    signatures = getattr(model, "signatures", {})
    if not signatures:
        raise InputError(
            "the SavedModel has no signature",
            where=name,
            mend="export it with model.export(FOLDER), which adds one",
        )
    key = "serving_default" if "serving_default" in signatures else sorted(signatures)[0]
    signature = signatures[key]
    specs = signature.structured_input_signature[1]
    # A signature keeps its inputs sorted by name; the graph's own order is the model's.
    order = [tensor.name.split(":")[0] for tensor in signature.inputs if tensor.dtype != "resource"]
    labels = sorted(specs, key=lambda label: order.index(label) if label in order else 0)
    inputs = []
    for label in labels:
        if specs[label].shape.rank is None:
            raise InputError("the input's rank is open", where=f"{name}, {label}", mend=_REBUILD)
        shape = specs[label].shape.as_list()
        inputs.append(_input(label, shape, specs[label].dtype.name, name))

    def call(tensors: Sequence[Any]) -> list[Any]:
        found = signature(**dict(zip(labels, tensors, strict=True)))
        return [found[output] for output in sorted(found)]

    operations = {op.type for op in signature.graph.get_operations()}
    for function in signature.graph.as_graph_def().library.function:
        operations |= {node.op for node in function.node_def}
    trained = any(operation.startswith("FakeQuant") for operation in operations)
    return Loaded(name, inputs, call, model, trained_for_int8=trained)


def _check_operations(path: Path, name: str) -> None:
    """A SavedModel is a program: refuse one that reads, writes, prints or calls Python."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((path / "saved_model.pb").read_bytes())
    except Exception as error:
        raise InputError(
            "saved_model.pb is damaged or truncated", where=name, mend="export the model again"
        ) from error
    for graph in (meta.graph_def for meta in saved.meta_graphs):
        nodes = list(graph.node)
        for function in graph.library.function:
            nodes += function.node_def
        for node in nodes:
            if _OPERATIONS_WITH_EFFECTS.fullmatch(node.op):
                raise UnsupportedModelError(
                    f"the SavedModel does more than compute: {node.op}",
                    where=f"{name}, operation {node.name!r}",
                    mend="export the network alone, without its input pipeline",
                )
