# SPDX-License-Identifier: Apache-2.0
"""Converts a loaded model to .tflite in the child process: int8, and float beside it.

Every model takes one way: its function is traced with a batch of 1 (an open batch would leave
SHAPE / PACK chains), saved as a SavedModel in the job's folder, and converted from there. When the
converter refuses, or after it has crashed, `convert_each_layer` converts layer by layer to tell
which one it is.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mcudeploy.errors import InputError, McudeployError, UnsupportedModelError
from mcudeploy.frontend import calibration
from mcudeploy.frontend.calibration import ModelInput, Samples
from mcudeploy.frontend.tf_worker_load import Loaded
from mcudeploy.frontend.tf_worker_protocol import Reporter
from mcudeploy.frontend.tflite import read_tflite
from mcudeploy.graph.ir import Graph

VANISHING_SCALE = 1e-7
_QUANTIZER_RUNS = 16


def export(loaded: Loaded, folder: Path, report: Reporter) -> Path:
    """Save the model's function with batch 1 under `folder`."""
    report.phase("trace", "fixing the batch to 1")
    try:
        _save(loaded, folder)
    except McudeployError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnsupportedModelError(
            f"the model cannot be run with a batch of 1: {first[:300]}",
            where=loaded.name,
            mend="see that model.predict works on one sample; fixed batch sizes must go",
        ) from error
    return folder


def argument_name(spec: ModelInput) -> str:
    """A name that TensorFlow accepts for an input."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", spec.name)
    return name if re.match(r"[A-Za-z]", name) else f"input_{name}"


def _save(loaded: Loaded, folder: Path) -> None:
    import tensorflow as tf

    names = [argument_name(spec) for spec in loaded.inputs]
    specs = {
        name: tf.TensorSpec((1, *spec.shape), spec.dtype, name=name)
        for name, spec in zip(names, loaded.inputs, strict=True)
    }

    def serve(**tensors: Any) -> dict[str, Any]:
        outputs = loaded.call([tensors[name] for name in names])
        return {f"output_{i:03d}": tf.identity(output) for i, output in enumerate(outputs)}

    module = tf.Module()
    module.keep = loaded.keep
    module.serve = tf.function(serve, autograph=False)
    concrete = module.serve.get_concrete_function(**specs)
    _check_loops(concrete, loaded.name)
    tf.saved_model.save(module, str(folder), signatures=concrete)


def _check_loops(concrete: Any, name: str) -> None:
    """Refuse loops here: the converter crashes when it quantizes them."""
    definition = concrete.graph.as_graph_def()
    nodes = list(definition.node)
    for function in definition.library.function:
        nodes += function.node_def
    for node in nodes:
        if node.op in ("While", "StatelessWhile"):
            raise UnsupportedModelError(
                "the model holds a loop, which the converter cannot quantize",
                where=f"{name}, operation {node.name!r}",
                mend="build recurrent layers with unroll=True; of LSTM, GRU and SimpleRNN give the "
                ".keras or .h5 file instead of a SavedModel, and they are unrolled for you",
            )


def to_int8(loaded: Loaded, saved: Path, samples: Samples | None, report: Reporter) -> bytes:
    """The int8 .tflite. `samples` are None for a model that was trained quantization-aware."""
    import tensorflow as tf

    def feed() -> Iterator[dict[str, Any]]:
        assert samples is not None
        total = len(next(iter(samples.values())))
        for position in range(total):
            yield {
                argument_name(spec): samples[spec.name][position : position + 1]
                for spec in loaded.inputs
            }
            report.count("calibrating: sample", position + 1, total)

    report.phase("convert", "quantizing to int8")
    converter = _converter(saved)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if samples is not None:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = feed
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    try:
        with _same_bytes_always():
            tflite = bytes(converter.convert())
    except Exception as error:
        raise _refused(error, loaded, saved.parent, report) from error
    report.phase("check")
    return in_order(tflite, [argument_name(spec) for spec in loaded.inputs])


@contextlib.contextmanager
def _same_bytes_always() -> Iterator[None]:
    """Make the converter's result a function of its inputs.

    Its last step orders operators by their addresses in memory: with branches (SPLIT in an LSTM)
    one run in six differs, in tensors' scales and in operators left in float. The step takes
    milliseconds, so it is taken often and the shortest of its results is kept.
    """
    from tensorflow.lite.python import lite

    quantize = lite._mlir_quantize

    def repeated(*arguments: Any, **options: Any) -> bytes:
        results = {bytes(quantize(*arguments, **options)) for _ in range(_QUANTIZER_RUNS)}
        return min(results, key=lambda result: (len(result), result))

    lite._mlir_quantize = repeated
    try:
        yield
    finally:
        lite._mlir_quantize = quantize


def to_float(loaded: Loaded, saved: Path, report: Reporter) -> bytes:
    """The same graph as a float .tflite, for comparison."""
    report.phase("convert", "converting in float for comparison")
    tflite = bytes(_converter(saved).convert())
    report.phase("check")
    return in_order(tflite, [argument_name(spec) for spec in loaded.inputs])


def _converter(saved: Path) -> Any:
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_saved_model(str(saved))


def in_order(tflite: bytes, inputs: list[str]) -> bytes:
    """The file with its inputs as in `inputs` and its outputs by name.

    The converter promises no order; the signature that it writes says which tensor is which. The
    two vectors of the subgraph are rewritten in place.
    """
    import tflite as schema

    model = schema.Model.GetRootAs(tflite, 0)
    graph, signature = model.Subgraphs(0), model.SignatureDefs(0)
    given = {}
    for position in range(signature.InputsLength()):
        entry = signature.Inputs(position)
        given[entry.Name().decode()] = int(entry.TensorIndex())
    made = {}
    for position in range(signature.OutputsLength()):
        entry = signature.Outputs(position)
        made[entry.Name().decode()] = int(entry.TensorIndex())
    changed = bytearray(tflite)
    inputs_field, outputs_field = 6, 8
    for field, indices in (
        (inputs_field, [given[name] for name in inputs]),
        (outputs_field, [made[name] for name in sorted(made)]),
    ):
        start = graph._tab.Vector(graph._tab.Offset(field))
        changed[start : start + 4 * len(indices)] = np.asarray(indices, "<i4").tobytes()
    return bytes(changed)


def check(tflite: bytes, loaded: Loaded, *, strict: bool) -> list[str]:
    """Warnings about ranges that cannot be right; errors instead when `strict`."""
    graph = read_tflite(tflite, loaded.name, deployable=False)
    for operator in graph.operators:
        for index in operator.outputs:
            tensor = graph.tensor(index)
            quantization = tensor.quantization
            if quantization is None or tensor.dtype not in ("int8", "int16"):
                continue
            scales = np.asarray(quantization.scales)
            if np.isfinite(scales).all() and scales.min() >= VANISHING_SCALE:
                continue
            problem = (
                f"activations vanish after operator {graph.describe(operator)} "
                f"(scale {quantization.scale:.1e}): is it trained?"
            )
            if strict:
                raise InputError(
                    problem,
                    where=loaded.name,
                    mend="train the model, or calibrate it with data scaled as in training",
                )
            return [problem]
    return []


def describe_float_islands(tflite: bytes) -> list[str]:
    """A note on the operators that the converter left in float."""
    graph = read_tflite(tflite, "model", deployable=False)
    kinds = sorted(
        {
            operator.kind
            for operator in graph.operators
            if operator.kind != "DEQUANTIZE" and _is_float(graph, operator.outputs[0])
        }
    )
    return [f"the converter left in float: {', '.join(kinds)}"] if kinds else []


def _is_float(graph: Graph, index: int) -> bool:
    return graph.tensor(index).dtype == "float32"


def convert_each_layer(loaded: Loaded, folder: Path, report: Reporter) -> None:
    """Quantize each layer alone: raises for the first that is refused, or crashes on it."""
    report.phase("blame")
    for position, layer in enumerate(loaded.layers):
        single = _single(layer, loaded)
        if single is None:
            continue
        label = f"{layer.name!r} ({type(layer).__name__})"
        report.layer(label)
        samples, _ = calibration.synthetic(single.inputs)
        place = folder / f"layer{position}"
        try:
            _save(single, place)
        except Exception:
            continue
        try:
            _quick_int8(single, place, samples)
        except Exception as error:
            raise UnsupportedModelError(
                f"the converter cannot quantize a layer: {_reason(str(error))}",
                where=f"{loaded.name}, layer {label}",
                mend="replace that layer by simpler ones",
            ) from error
    report.layer("")


def _quick_int8(single: Loaded, place: Path, samples: Samples) -> None:
    class Silent(Reporter):
        def _write(self, message: dict[str, str]) -> None:
            pass

    to_int8(single, place, samples, Silent(-1))


def _single(layer: Any, loaded: Loaded) -> Loaded | None:
    """A layer as a model of its own, as it is called in the network."""
    if type(layer).__name__ == "InputLayer":
        return None
    try:
        given = layer.input
        tensors = list(given) if isinstance(given, list | tuple) else [given]
        inputs = [
            ModelInput(f"x{i}", tuple(int(size) for size in tensor.shape[1:]))
            for i, tensor in enumerate(tensors)
        ]
    except Exception:
        return None

    def call(values: Any) -> list[Any]:
        import tensorflow as tf

        result = layer(list(values) if isinstance(given, list | tuple) else values[0])
        return list(tf.nest.flatten(result))

    keep = [getattr(v, "value", v) for v in layer.variables if not callable(getattr(v, "value", v))]
    return Loaded(loaded.name, inputs, call, keep)


def _refused(error: Exception, loaded: Loaded, folder: Path, report: Reporter) -> McudeployError:
    """The error for a model that the converter refused, by layer when one alone is refused too."""
    report.phase("blame", "the converter refuses the model: looking for the layer")
    try:
        convert_each_layer(loaded, folder, report)
    except McudeployError as blamed:
        return blamed
    return UnsupportedModelError(
        f"the converter cannot quantize the model: {_reason(str(error))}",
        where=loaded.name,
        mend="replace the operations it names by layers that TFLite has",
    )


def _reason(text: str) -> str:
    """What the converter's pages of output come to."""
    missing = set(re.findall(r"'(tf\.\w+)' op is neither", text))
    for listed in re.findall(r"(?:Custom|TF Select) ops: ([\w, ]+)", text):
        missing |= {f"tf.{op.strip()}" for op in listed.split(",")}
    if missing:
        return f"TFLite has no operator for {', '.join(sorted(missing))}"
    complaint = re.search(r"error: (?!loc\()(?:'[\w.]+' op )?[^\n]{1,300}", text)
    place = re.search(r'"([^"@]+)@__inference', text)
    if complaint or place:
        said = complaint.group(0)[7:] if complaint else "it fails"
        return f"{said} at {place.group(1)}" if place else said
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines or ["no reason given"])[0][:300]
